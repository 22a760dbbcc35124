"""A film's pictures show the values that were planted, on scales that are the same for every frame."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from convscope.errors import UsageError
from convscope.film.frame_pictures import Scale, film_scale, filters_picture, frame_scale, maps_picture
from convscope.paint import paint
from convscope.training.frames import FilmInfo, Frame

INFO = FilmInfo("conv1", ["conv1", "block.2"], np.zeros((2, 3, 8, 8), np.uint8), [11, 7], [0, 1])


def frame(step: int, filters: np.ndarray, **maps: np.ndarray) -> Frame:
    return Frame(step, filters.astype(np.float16), maps, np.zeros((2, 3), np.float16), [])


def test_colour_filters_are_the_planted_values_on_the_given_scale():
    planted = np.zeros((4, 3, 2, 2))
    planted[1, 0, 0, 1], planted[2, 2, 1, 0], planted[3] = 0.5, -0.25, 2.0
    picture = filters_picture(INFO, frame(120, planted), limit=0.5, epoch=2.71)
    assert picture.scale == "rgb"
    assert picture.title == "The filters of conv1 after step 120, epoch 2.7"
    assert picture.captions == ("0", "1", "2", "3")
    np.testing.assert_array_equal(picture.values, planted.astype(np.float32))
    np.testing.assert_array_equal(picture.limits, np.tile(np.float32([-0.5, 0.5]), (4, 1)))
    tiles = paint(picture, scale=1)  # 2 × 2 tiles of 2 × 2 pixels
    assert tiles[4, 4].tolist() == [128, 128, 128]
    assert tiles[4, 11].tolist() == [255, 128, 128]
    assert tiles[5 + 20, 4].tolist() == [128, 128, 64]
    assert tiles[24, 10].tolist() == [255, 255, 255]  # beyond the limit


def test_one_channel_is_grey_and_others_are_fixed_slices():
    grey = filters_picture(INFO, frame(0, np.arange(8).reshape(2, 1, 2, 2)), limit=7)
    assert grey.values.shape == (2, 3, 2, 2)
    np.testing.assert_array_equal(grey.values[:, 0], grey.values[:, 2])
    planted = np.random.default_rng(0).normal(size=(20, 18, 3, 3))
    slices = filters_picture(INFO, frame(0, planted), limit=1)
    assert slices.values.shape == (256, 1, 3, 3)
    assert slices.columns == 16
    assert slices.scale == "diverging"
    assert slices.captions[16 + 2] == "2 → 1"
    np.testing.assert_array_equal(slices.values[16 + 2, 0], planted[1, 2].astype(np.float16).astype(np.float32))


def test_scale_leaves_few_values_out_and_is_the_largest_of_all_frames():
    ramp = np.arange(-1000, 1001).reshape(1, 1, 1, -1) / 1000  # absolute values are spread evenly over [0, 1]
    scale = frame_scale(Frame(0, ramp, {"conv1": 2 * ramp, "empty": ramp[:0]}, np.zeros((1, 2)), []))
    assert scale.filters == pytest.approx(0.995, abs=1e-3)
    assert scale.maps == {"conv1": pytest.approx(1.99, abs=2e-3), "empty": 0.0}
    half = frame_scale(Frame(1, ramp / 2, {"conv1": 3 * ramp}, np.zeros((1, 2)), []))
    whole = film_scale([scale, half])
    assert whole == Scale(scale.filters, {"conv1": half.maps["conv1"], "empty": 0.0})
    assert film_scale([]) == Scale(0.0, {})


def test_same_value_has_the_same_colour_in_every_frame():
    frames = [frame(step, np.full((1, 3, 1, 1), 0.2) * [[[[1.0, size]]]]) for step, size in ((0, 1), (9, 4))]
    limit = film_scale(map(frame_scale, frames)).filters
    early, late = (paint(filters_picture(INFO, each, limit=limit), scale=1) for each in frames)
    np.testing.assert_array_equal(early[4, 4], late[4, 4])
    assert (early[4, 5] < late[4, 5]).all()


def test_maps_are_those_of_the_probe_and_diverge_where_any_probe_is_negative():
    maps = np.arange(16, dtype=np.float16).reshape(2, 2, 2, 2)
    taken = frame(5, np.zeros((1, 3, 1, 1)), **{"conv1": maps - 1, "block.2": maps})
    positive = maps_picture(INFO, taken, "block.2", 1, limit=4.0)
    assert (positive.scale, positive.limits.tolist()) == ("sequential", [[0, 4], [0, 4]])
    np.testing.assert_array_equal(positive.values[:, 0], maps[1])
    assert positive.title == "Maps of block.2 for test image 7 after step 5"
    signed = maps_picture(INFO, taken, "conv1", 1, limit=4.0)  # only image 0 has a negative value
    assert (signed.scale, signed.limits.tolist()) == ("diverging", [[-4, 4], [-4, 4]])
    silent = maps_picture(INFO, frame(0, np.zeros((1, 3, 1, 1)), conv1=np.zeros((2, 1, 4, 4))), "conv1", 0, limit=0)
    assert paint(silent, scale=1)[4, 4].tolist() == [0, 0, 4]


def test_unknown_layers_and_probes_are_named():
    taken = frame(5, np.zeros((1, 3, 1, 1)), conv1=np.zeros((2, 1, 4, 4)))
    with pytest.raises(UsageError, match='no layer "fc" in the film; allowed: conv1'):
        maps_picture(INFO, taken, "fc", 0, limit=1)
    for probe in (2, -1):
        with pytest.raises(UsageError, match=f"no probe image {probe} in the film; allowed: 0 to 1"):
            maps_picture(INFO, taken, "conv1", probe, limit=1)


def test_drawing_needs_no_torch():
    code = "import convscope.film.frame_pictures, convscope.film.render, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
