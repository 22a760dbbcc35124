"""What the tests of the explorer share: quick patterns, and a page in the browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.patience import PATIENCE


@pytest.fixture(scope="module")
def quick() -> Iterator[None]:
    """Patterns are drawn in few steps."""
    from convscope.web.explorer import behind

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convscope.methods.ascents.pattern_store.ROUNDS", (2, 3, 4))
        patch.setattr(behind, "ROUNDS", (2, 3, 4))
        yield


@pytest.fixture(scope="module")
def profile(browser: Any, address: str) -> Iterator[Any]:
    """A profile of the browser that knows the explorer at the module's address."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(1000 * PATIENCE)
    context.new_page().goto(address)
    yield context
    context.close()


@pytest.fixture
def page(profile: Any, address: str) -> Iterator[Any]:
    """A page that must stay clean."""
    from tests.web.explorer.walked import opened

    with opened(profile, address) as page:
        yield page
