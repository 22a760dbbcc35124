"""Zero shows the image, the strongest value its colour, and each value stands on its pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from convscope.methods.overlay import PALE, STRENGTH, coloured, over_image
from convscope.paint import colours

LIMITS = np.array([[-2.0, 2.0]])


def test_zero_shows_the_grey_image():
    image = torch.rand(1, 3, 6, 4, generator=torch.Generator().manual_seed(0))
    shown = over_image(np.zeros((1, 1, 3, 2)), LIMITS, "diverging", image)
    grey = (1 - PALE) / 2 + PALE * image.mean(1, keepdim=True)
    np.testing.assert_allclose(shown, grey.expand(1, 3, 6, 4), rtol=1e-5)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_each_value_stands_on_its_own_pixels(channels):
    values = np.zeros((1, 1, 2, 2))
    values[0, 0, 1, 0] = -2
    bare = over_image(values * 0, LIMITS, "diverging", torch.full((1, channels, 6, 8), 0.5))
    shown = over_image(values, LIMITS, "diverging", torch.full((1, channels, 6, 8), 0.5))
    changed = (shown != bare).any(axis=1)[0]
    assert changed[3:, :4].all()
    assert changed.sum() == 3 * 4
    blue = colours(values, LIMITS, "diverging")[0, 1, 0] / 255
    np.testing.assert_allclose(shown[0, :, 5, 0], STRENGTH * blue + (1 - STRENGTH) * bare[0, :, 5, 0], rtol=1e-5)


def test_each_pixel_has_the_value_nearest_to_its_middle():
    values = np.arange(1.0, 4.0).reshape(1, 1, 1, 3) - 2
    wide = over_image(values, LIMITS, "diverging", torch.full((1, 3, 1, 8), 0.5))
    cells = [
        over_image(np.full((1, 1, 1, 1), each), LIMITS, "diverging", torch.full((1, 3, 1, 1), 0.5))
        for each in values.ravel()
    ]
    for x in range(8):
        nearest = int((x + 0.5) * 3 / 8)
        np.testing.assert_allclose(wide[0, :, 0, x], cells[nearest][0, :, 0, 0], rtol=1e-6)


def test_a_blank_map_shows_the_image_alone():
    image = torch.rand(1, 3, 4, 4)
    blank = over_image(np.zeros((1, 1, 4, 4)), np.zeros((1, 2)), "sequential", image)
    np.testing.assert_array_equal(blank, over_image(np.zeros((1, 1, 4, 4)), LIMITS, "diverging", image))


def test_colours_are_those_of_the_picture():
    values = np.linspace(0, 1, 4).reshape(1, 1, 2, 2)
    limits = np.array([[0.0, 1.0]])
    np.testing.assert_allclose(
        coloured(values, limits, "sequential").transpose(0, 2, 3, 1) * 255,
        colours(values, limits, "sequential"),
        rtol=1e-6,
    )
