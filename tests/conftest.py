"""The shapes and types in convscope's signatures are checked on every call that a test makes."""

import os

import pytest
from jaxtyping import install_import_hook

from tests import typechecker

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: a thread each, or they wait for one another
    os.environ["OMP_NUM_THREADS"] = "1"

HOUSES = (
    "batched_backward",
    "data",
    "exports",
    "film",
    "hooks",
    "methods",
    "models",
    "paint",
    "picture_files",
    "report",
    "training",
    "web",
)
install_import_hook([f"convscope.{house}" for house in HOUSES], f"{typechecker.__name__}.check")


@pytest.fixture(autouse=True, scope="session")
def quick_reports():
    """Reports are drawn whole in tests, but in few steps and of few channels."""
    from convscope.report import sections

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"ASCENT_STEPS": 2, "INVERSION_STEPS": 2, "SAMPLES": 2, "MAPS": 8, "ROWS": 2}.items():
            patch.setattr(sections, name, value)
        yield


@pytest.fixture(autouse=True, scope="session")
def state_of_its_own(tmp_path_factory):
    """What convscope remembers of its user is remembered of the tests alone, also by processes that they start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield
