"""A few hundred files, odd, broken and mutated, through every reader; scripts/soak sends ten thousand."""

import pytest

from convscope.web.explorer import uploads
from tests.faults import images
from tests.faults.images import odd_files, soak
from tests.patience import PATIENCE


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """How long an image takes is counted by scripts/soak, which has the machine for itself."""
    monkeypatch.setattr(images, "SECONDS", PATIENCE)
    monkeypatch.setattr(uploads, "DECODE_SECONDS", PATIENCE)


def test_every_reader_agrees_on_every_file(tmp_path):
    tally = soak(tmp_path, count=2 * len(odd_files()) + 150, seed=1)
    assert tally.failures == []


def test_a_reader_that_is_wrong_is_seen(tmp_path, monkeypatch):
    real = images.decode_image
    monkeypatch.setattr(images, "decode_image", lambda data, size: real(data, size)[::-1])
    assert soak(tmp_path, count=30, seed=1).failures
