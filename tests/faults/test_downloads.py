"""Each way in which a source can fail, alone, once, and before a sound one; scripts/soak mixes them."""

import pytest

from tests.faults.downloads import FAULTS, fault_of, serving, trial

QUICK = [number for number in range(3 * len(FAULTS)) if trial(number, 0).sources[0][0].__name__ != "stalled"]
"""What stalls takes its time: tests/data/test_download.py has one of them."""


@pytest.fixture(scope="module")
def server():
    with serving(0) as server:
        yield server


@pytest.mark.parametrize("number", QUICK, ids=lambda number: trial(number, 0).name)
def test_a_broken_download_ends_whole_or_says_why_not(server, number, tmp_path):
    place = tmp_path / f"download-{number}"
    place.mkdir()
    assert fault_of(server, trial(number, 0), place) == ""
