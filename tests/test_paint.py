"""Pixels are exactly what the values, the limits and the colour scale say."""

from __future__ import annotations

import base64
import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from convscope.errors import NumericsError, UsageError
from convscope.paint import GAP, GRID_WIDTH, PAPER, image_picture, paint, png_bytes, save_png, tile_bounds
from convscope.types import Picture


def picture(values, limits, scale="sequential", captions=(), **rest) -> Picture:
    values = np.asarray(values, dtype=np.float32)
    return Picture(
        "p", "P", values, np.asarray(limits, dtype=np.float32), scale, tuple(captions), "how to read", **rest
    )


def test_rgb_values_become_bytes_and_tiles_stand_in_a_grid():
    values = np.zeros((2, 3, 1, 2))
    values[0, :, 0, 1] = [-1, 0, 1]
    values[1] = 0.5
    pixels = paint(picture(values, [[-1, 1], [0, 1]], "rgb"), scale=2)
    assert pixels.shape == (2 + 2 * GAP, 2 * 4 + 3 * GAP, 3)
    assert (pixels[0] == PAPER).all()
    assert (pixels[GAP : GAP + 2, GAP : GAP + 2] == 128).all()  # the zero of symmetric limits
    assert (pixels[GAP : GAP + 2, GAP + 2 : GAP + 4] == [0, 128, 255]).all()
    assert (pixels[GAP : GAP + 2, 2 * GAP + 4 : 2 * GAP + 8] == 128).all()
    assert (pixels[:, GAP + 4 : 2 * GAP + 4] == PAPER).all()


def test_diverging_ends_are_blue_and_red_and_zero_is_neutral():
    row = paint(picture([[[[-2, 0, 2, 9]]]], [[-2, 2]], "diverging"), scale=1)[GAP, GAP:-GAP].astype(int)
    assert row[0, 2] > row[0, 0] + 50
    assert row[2, 0] > row[2, 2] + 50
    assert row[1].min() > 240
    assert (row[3] == row[2]).all()  # clipped


def test_sequential_grows_lighter():
    row = paint(picture([[[np.linspace(0, 1, 9)]]], [[0, 1]]), scale=1)[GAP, GAP:-GAP].astype(int)
    assert (np.diff(row.sum(axis=1)) > 0).all()
    assert row[0].sum() < 20


@pytest.mark.parametrize("scale", ["rgb", "diverging", "sequential"])
@pytest.mark.parametrize("value", [0.0, 3.0])
def test_dead_tile_is_one_colour(scale, value):
    values = np.full((1, 3 if scale == "rgb" else 1, 4, 4), value)
    pixels = paint(picture(values, [[value, value]], scale), scale=1)[GAP:-GAP, GAP:-GAP]
    assert (pixels == pixels[0, 0]).all()
    assert (
        pixels[0, 0].mean()
        == {"rgb": 128, "diverging": 739 / 3, "sequential": 1}[scale] + (scale == "sequential") / 3
    )


def test_noise_far_below_the_largest_tile_stays_faint():
    noise = np.random.default_rng(0).normal(size=(1, 1, 8, 8)) * 1e-9
    values = np.concatenate([np.ones((1, 1, 8, 8)), noise])
    bounds = tile_bounds(np.abs(values).max(axis=(1, 2, 3)), shared=False)
    pixels = paint(picture(values, np.stack([-bounds, bounds], axis=1), "diverging"), scale=1)
    assert np.ptp(pixels[GAP:-GAP, 2 * GAP + 8 : -GAP].astype(int)) <= 2
    assert tile_bounds(np.array([1.0, 4.0]), shared=True).tolist() == [4.0, 4.0]
    assert tile_bounds(np.zeros(2), shared=False).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("count", "side", "columns"), [(1, 8, 1), (7, 8, 3), (10, 8, 5), (64, 7, 8), (512, 1, 32), (64, 112, 8)]
)
def test_grid_is_nearly_square_and_not_too_wide(count, side, columns):
    pixels = paint(image_picture("p", "P", np.ones((count, 3, side, side))))
    assert pixels.shape[1] <= GRID_WIDTH
    pitch = (pixels.shape[1] - GAP) // columns
    assert (pixels[GAP, GAP::pitch] == 255).all()
    assert (pitch - GAP) % side == 0
    assert (pixels.shape[0] - GAP) / pitch == -(-count // columns)


def test_captions_stand_below_their_tiles_and_leave_them_alone():
    plain = image_picture("p", "P", np.zeros((2, 3, 4, 4)))
    captioned = dataclasses.replace(plain, captions=("one\ntwo", "a caption that is far too long for its tile"))
    without, with_captions = paint(plain, scale=16), paint(captioned, scale=16)
    height = GAP + 64
    assert (with_captions[:height] == without[:height]).all()
    assert with_captions.shape[0] == without.shape[0] + 2 * 14
    assert (with_captions[height:] != PAPER).any()
    assert (with_captions[:, -GAP:] == PAPER).all()


def test_captions_that_cannot_fit_are_left_out():
    tiny = image_picture("p", "P", np.zeros((1, 3, 2, 2)), captions=["W"])
    assert (paint(tiny, scale=1)[GAP + 2 :] == PAPER).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_value_that_is_not_finite_names_its_tile(bad):
    values = np.zeros((3, 1, 2, 2))
    values[1, 0, 1, 1] = bad
    with pytest.raises(NumericsError, match=r'picture "p": tile 1 \("b"\) holds values or limits that are not'):
        paint(picture(values, [[0, 1]] * 3, captions="abc"))


@pytest.mark.parametrize(
    ("values", "limits", "scale", "captions", "message"),
    [
        (
            np.zeros((1, 1, 2, 2)),
            [[0, 1]],
            "rgb",
            (),
            r"values of shape \(1, 1, 2, 2\); allowed: \(N, 3, H, W\) in a",
        ),
        (np.zeros((1, 3, 2, 2)), [[0, 1]], "sequential", (), r"allowed: \(N, 1, H, W\) in a sequential"),
        (np.zeros((0, 1, 2, 2)), np.zeros((0, 2)), "sequential", (), "values of shape"),
        (np.zeros((2, 1, 2, 2)), [[0, 1]], "diverging", (), r"limits of shape \(1, 2\); allowed: \(2, 2\)"),
        (np.zeros((2, 1, 2, 2)), [[0, 1]] * 2, "diverging", "a", "1 captions for 2 tiles; allowed: one each"),
    ],
)
def test_parts_that_do_not_fit_are_refused(values, limits, scale, captions, message):
    with pytest.raises(UsageError, match=message):
        paint(picture(values, limits, scale, captions))


def test_png_holds_pixels_and_provenance(tmp_path):
    shown = image_picture(
        "p",
        "Title ü",
        np.random.default_rng(0).random((4, 3, 5, 5)),
        caption="read",
        provenance={"Command": "x --y"},
    )
    path = save_png(shown, tmp_path / "new" / "p.png")
    with Image.open(path) as image:
        assert (np.asarray(image) == paint(shown)).all()
        assert image.text == {
            "Title": "Title ü",
            "Description": "read",
            "Software": "convscope",
            "Command": "x --y",
        }
    assert path.read_bytes() == png_bytes(shown)
    assert np.asarray(Image.open(io.BytesIO(png_bytes(shown, scale=1)))).shape == (2 * 5 + 3 * GAP,) * 2 + (3,)


def test_a_picture_shows_itself_in_a_notebook():
    picture = dataclasses.replace(
        image_picture("a", "Cats & <dogs>", np.random.default_rng(0).random((1, 3, 4, 4)), caption="Read it so."),
        numbers={"ratio_of_two": 0.123456, "channels": [1, 2], "layer": "<b>"},
    )
    assert picture._repr_png_() == png_bytes(picture)
    page = picture._repr_html_()
    assert base64.b64encode(png_bytes(picture)).decode() in page
    assert "<b>Cats &amp; &lt;dogs&gt;</b>" in page
    assert "<figcaption>Read it so.</figcaption>" in page
    assert "<figcaption>ratio of two 0.123; layer &lt;b&gt;</figcaption>" in page
