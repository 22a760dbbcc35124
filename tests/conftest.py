"""The shapes and types in convscope's signatures are checked on every call that a test makes."""

import os

import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

from tests import typechecker

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: a thread each, or they wait for one another
    os.environ["OMP_NUM_THREADS"] = "1"

# An example may take as long as it takes.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

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


LONGEST = (
    "test_dashboard_page.py",
    "test_faults.py",
    "test_cli.py",
    "test_page_pictures.py",
    "test_killed.py",
    "test_ranks.py",
    "test_report.py",
    "test_methods.py",
    "test_other_networks.py",
    "test_explorer_hands.py",
    "test_notebooks.py",
    "test_doc_blocks.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no process waits for one of them at the end."""
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


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
