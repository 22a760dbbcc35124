"""Every mistake of the catalogue is answered by one line, its exit code, and nothing left behind."""

import pytest

from tests.faults.mistakes import CATALOGUE, fault_of, workplace


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    with workplace(tmp_path_factory.mktemp("mistakes")):
        yield


def test_the_catalogue_has_sixty_mistakes_of_every_kind_of_error():
    assert len({mistake.command for mistake in CATALOGUE}) == len(CATALOGUE) >= 60
    assert {mistake.code for mistake in CATALOGUE} == {2, 3, 4, 6}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("mistake", CATALOGUE, ids=lambda mistake: mistake.command)
def test_a_mistake_is_one_line_and_its_exit_code(mistake):
    assert fault_of(mistake) == ""
