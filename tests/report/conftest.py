"""Reports of tests take few steps: what is tested is the report, not how good its pictures are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from convscope.report import report, sections


@pytest.fixture(autouse=True, scope="session")
def few_steps() -> Iterator[None]:
    """Draw in few steps."""
    with pytest.MonkeyPatch.context() as patched:
        for name in ("ASCENT_STEPS", "INVERSION_STEPS", "SAMPLES"):
            patched.setattr(sections, name, 3)
        yield


@pytest.fixture
def no_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what methods draw, for tests of all the rest."""
    monkeypatch.setattr(report, "sections", lambda *_, **__: iter(()))
