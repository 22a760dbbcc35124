"""The picture of all channels, against reconstructions drawn one by one."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from convscope.methods.evidence import randomized
from convscope.methods.reconstruct import reconstruct
from convscope.report.all_channels import from_all_channels
from convscope.types import Network
from tests.planted import small

LAYERS = ["0", "4"]


@pytest.fixture(scope="module")
def drawn():
    network, dataset = small()
    images = [dataset.test.images.images[index].float() / 255 for index in range(3)]
    return network, images, from_all_channels(network, LAYERS, images)


def test_each_row_is_an_image_and_what_each_layer_gives_back(drawn):
    network, images, picture = drawn
    assert picture.columns == 3
    assert picture.values.shape == (2 * 3 * 3, 3, 12, 12)
    for weights, start in ((network, 0), (randomized(network), 9)):
        for row, image in enumerate(images):
            np.testing.assert_array_equal(picture.values[start + 3 * row], image.numpy())
            for column, layer in enumerate(LAYERS, 1):
                alone = reconstruct(weights, layer, image, "all")
                np.testing.assert_allclose(picture.values[start + 3 * row + column], alone.values[1], atol=1e-5)


def test_likeness_is_the_mean_correlation_with_the_original(drawn):
    _, images, picture = drawn
    for place, name in ((0, "likeness"), (9, "random_likeness")):
        for column in (1, 2):
            tiles = [picture.values[place + 3 * row + column] for row in range(3)]
            pairs = zip(tiles, images, strict=True)
            by_hand = [abs(np.corrcoef(tile.ravel(), image.numpy().ravel())[0, 1]) for tile, image in pairs]
            assert picture.numbers[name][column - 1] == pytest.approx(np.mean(by_hand), abs=1e-3)
            assert f"{picture.numbers[name][column - 1]:.2f}" in picture.caption


def test_a_layer_that_keeps_the_image_gives_it_back():
    _, dataset = small()
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())
    nn.init.dirac_(model[0].weight)
    model[0].bias.data.fill_(5.0)
    network = Network(model, (0.5,) * 3, (0.2,) * 3, (12, 12), ("a",), "identity")
    picture = from_all_channels(network, ["0"], [dataset.test.images.images[0].float() / 255])
    assert picture.numbers["likeness"] == [pytest.approx(1.0)]
    assert picture.numbers["random_likeness"][0] < 0.99
