"""What loggers show of a film's frame: small pictures on a scale that never shrinks, and none where there is none."""

import numpy as np
import pytest

from convscope.film.logged_frames import frame_painter
from convscope.training.frames import FilmInfo, Frame, frame_path, write_frame, write_info


def frame(step, peak):
    filters = np.zeros((4, 3, 5, 5), np.float16)
    filters[0, 0] = peak
    maps = {layer: np.full((2, 8, 16, 16), peak, np.float16) for layer in ("conv1", "conv2")}
    return Frame(step, filters, maps, np.zeros((2, 3), np.float16), [])


@pytest.fixture
def film(tmp_path):
    images = np.zeros((2, 3, 8, 8), np.uint8)
    write_info(tmp_path, FilmInfo("conv1", ["conv1", "conv2"], images, [0, 1], [0, 1]))
    for step, peak in ((0, 1.0), (10, 4.0), (20, 2.0)):
        write_frame(tmp_path, frame(step, peak))
    return tmp_path


def test_pictures_by_name(film):
    pictures = frame_painter(film)(0)
    assert list(pictures) == ["filters", "maps/conv1", "maps/conv2"]
    assert all(pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 for pixels in pictures.values())


def test_colours_mean_the_same_once_the_largest_values_were_seen(film):
    paint = frame_painter(film)
    lone, seen = frame_painter(film)(20), [paint(step) for step in (0, 10, 20)]
    assert np.array_equal(lone["filters"], seen[0]["filters"])  # each the largest so far
    assert not np.array_equal(seen[2]["filters"], seen[1]["filters"])  # half as strong as the largest
    darker = [int(picture["maps/conv1"][8, 8].astype(int).sum()) for picture in (seen[1], seen[2])]
    assert darker[1] < darker[0]


def test_a_missing_or_damaged_frame_has_no_pictures(film, tmp_path):
    paint = frame_painter(film)
    frame_path(film, 10).write_bytes(b"torn")
    assert paint(10) == {}
    assert paint(15) == {}
    assert frame_painter(tmp_path / "no-film")(0) == {}
