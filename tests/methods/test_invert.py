"""Inversions of layers whose inverse is known, and the numbers that say how near they came."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.errors import NumericsError, UsageError
from convscope.methods.ascents.canvas import random_canvas
from convscope.methods.ascents.image_statistics import ImageStatistics, assumed_statistics
from convscope.methods.ascents.inversion import power, squared_distance, variation
from convscope.methods.invert import invert, invert_layers
from convscope.types import Network

MEAN, STD = (0.4, 0.5, 0.6), (0.25, 0.2, 0.3)


def network(model: nn.Module, channels: int = 3, size: tuple[int, int] = (12, 12)) -> Network:
    return Network(
        model, MEAN[:1] * channels if channels != 3 else MEAN, (0.25,) * channels, size, ("a", "b"), "tiny"
    )


def photograph(channels: int = 3, height: int = 12, width: int = 12) -> Tensor:
    """Smooth noise, away from black and white."""
    noise = torch.rand(1, channels, 4, 4, generator=torch.Generator().manual_seed(0))
    return F.interpolate(noise, (height, width), mode="bilinear")[0] * 0.8 + 0.1


def identity(channels: int = 3) -> nn.Conv2d:
    layer = nn.Conv2d(channels, channels, 1, bias=False)
    layer.weight.data = torch.eye(channels)[:, :, None, None]
    return layer


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.Conv2d(8, 6, 3, stride=2), nn.ReLU())


@pytest.mark.parametrize("prior", ["fourier", "tv"])
def test_layer_that_gives_the_image_gives_it_back(prior):
    image = photograph()
    picture = invert(network(nn.Sequential(identity())), "0", image, prior=prior, steps=200, strength=0.01)
    np.testing.assert_array_equal(picture.values[0], image.numpy())
    np.testing.assert_allclose(picture.values[1], image.numpy(), atol=0.02)
    assert picture.numbers["pixel_error"] < 0.005


def test_orthogonal_patches_are_undone_as_their_transpose_undoes_them():
    image = photograph()
    layer = nn.Conv2d(3, 12, 2, stride=2, bias=False)
    matrix = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(1)))[0]
    layer.weight.data = matrix.view(12, 3, 2, 2)
    net = network(nn.Sequential(layer))
    with torch.no_grad():
        undone = F.conv_transpose2d(layer(net.normalize(image[None])), layer.weight, stride=2)[0]
    expected = undone * 0.25 + torch.tensor(MEAN)[:, None, None]
    torch.testing.assert_close(expected, image)
    picture = invert(net, "0", image, strength=0.01)
    np.testing.assert_allclose(picture.values[1], expected.numpy(), atol=0.02)


def test_chosen_channels_match_and_others_are_free():
    image = photograph()
    picture = invert(network(nn.Sequential(identity())), "0", image, [0, 2], strength=0.01, steps=200)
    errors = np.abs(picture.values[1] - image.numpy()).mean(axis=(1, 2))
    assert errors[[0, 2]].max() < 0.01
    assert errors[1] > 0.03
    assert picture.numbers["distance"] < 0.05
    assert "chosen channels alone" in picture.caption


@pytest.mark.parametrize("prior", ["fourier", "tv"])
def test_numbers_are_the_distances_of_what_is_shown(prior):
    model, image = small(), photograph()
    picture = invert(network(model), "2", image, prior=prior, steps=100)
    net = network(model)
    start = random_canvas("fourier", [(0,)], (12, 12), assumed_statistics(net)).images()
    with torch.no_grad():
        tiles = torch.cat([torch.from_numpy(picture.values), start])
        target, reached, begun = model[:3](net.normalize(tiles))
    distance, at_start = ((torch.dist(each, target) / target.norm()).item() for each in (reached, begun))
    assert picture.numbers["distance"] == pytest.approx(distance, rel=1e-4)
    assert picture.numbers["distance_at_start"] == pytest.approx(at_start, rel=1e-4)
    assert distance < 0.2 * min(picture.numbers["distance_at_start"], picture.numbers["distance_of_random"])
    error = np.sqrt(((picture.values[1] - image.numpy()) ** 2).mean())
    assert picture.numbers["pixel_error"] == pytest.approx(float(error), rel=1e-4)


def test_squared_distance_is_of_each_image_alone():
    maps, target = torch.randn(3, 2, 4, 5), torch.randn(1, 2, 4, 5)
    expected = [sum((a - b) ** 2 for a, b in zip(one.flatten(), target.flatten(), strict=True)) for one in maps]
    torch.testing.assert_close(squared_distance(maps, target), torch.stack(expected) / (target**2).sum())


def test_variation_equals_the_sum_over_neighbours():
    torch.manual_seed(0)
    colours = torch.randn(3, 3)
    statistics = ImageStatistics(torch.full((3,), 0.5), colours, torch.ones(3, 5, 3), (5, 4))
    image = torch.rand(1, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    planes = torch.linalg.solve(colours.double(), image[0].reshape(3, -1)).reshape(3, 5, 4)
    total = torch.zeros((), dtype=torch.float64)
    for channel in range(3):
        for y in range(5):
            for x in range(4):
                right = planes[channel, y, x + 1] - planes[channel, y, x] if x < 3 else 0
                down = planes[channel, y + 1, x] - planes[channel, y, x] if y < 4 else 0
                total = total + right**2 + down**2
    found = variation(image, statistics)
    torch.testing.assert_close(found, total / 60, rtol=1e-5, atol=0)
    gradients = (torch.autograd.grad(each, image)[0] for each in (found, total / 60))
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def test_power_is_the_mean_square_of_the_frequencies():
    assert power(torch.tensor([3.0, 4.0]).expand(1, 3, 4, 3, 2)).item() == 25


@pytest.mark.parametrize("prior", ["fourier", "tv"])
def test_more_strength_is_smoother_and_fits_less(prior):
    net = network(small())
    image = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(3))
    light, heavy = (invert(net, "0", image, prior=prior, steps=60, strength=strength) for strength in (0.1, 30))
    rough = [variation(torch.from_numpy(each.values[1:]), assumed_statistics(net)).item() for each in (light, heavy)]
    assert rough[1] < 0.8 * rough[0]
    assert heavy.numbers["distance"] > light.numbers["distance"]


def test_equal_seeds_give_equal_pictures_and_others_do_not():
    pictures = [invert(network(small()), "1", photograph(), steps=5, seed=seed).values for seed in (0, 0, 1)]
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert np.abs(pictures[0][1] - pictures[2][1]).max() > 1e-3


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 12, 12), (5, 12, 12), (3, 9, 20), (3, 8, 8)])
def test_other_images_work(channels, height, width):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(channels, 6, 3), nn.ReLU())
    picture = invert(network(model, channels), "1", photograph(channels, height, width), steps=40)
    assert picture.values.shape == (2, 3, height, width)
    assert picture.numbers["distance"] < picture.numbers["distance_at_start"]


def stop_at(step: int) -> Any:
    def progress(_what: str, done: int, _total: int | None) -> None:
        if done == step:
            raise KeyboardInterrupt

    return progress


def test_interruption_gives_the_inversion_so_far():
    net, image = network(small()), photograph()
    picture = invert(net, "1", image, steps=50, control=True, progress=stop_at(25))
    whole = invert(net, "1", image, steps=50)
    assert picture.numbers["interrupted"] is True
    assert "interrupted" not in whole.numbers
    numbers = picture.numbers
    assert whole.numbers["distance"] < numbers["distance"] < numbers["distance_at_start"]
    assert len(picture.values) == 2


def test_layers_side_by_side_equal_each_alone():
    net, image = network(small()), photograph()
    net.model.layer_aliases = {"conv1": "0"}
    picture = invert_layers(net, ["conv1", "2"], image, steps=6)
    alone = [invert(net, layer, image, steps=6) for layer in ("0", "2")]
    for tile, one in enumerate(alone, start=1):
        np.testing.assert_array_equal(picture.values[tile], one.values[1])
    for key, values in picture.numbers.items():
        assert values == [one.numbers[key] for one in alone]
    assert [caption.split("\n")[0] for caption in picture.captions] == ["image", "conv1", "2"]
    assert picture.provenance["Layer"] == "0, 2"


def test_interrupted_layers_keep_those_that_are_done():
    done: list[tuple[int, int | None]] = []

    def progress(what: str, step: int, total: int | None) -> None:
        done.append((step, total))
        stop_at(8)(what, step, total)

    picture = invert_layers(network(small()), ["0", "1", "2"], photograph(), steps=6, progress=progress)
    assert done == [(step, 18) for step in range(1, 9)]
    assert len(picture.values) == len(picture.captions) == 3
    assert len(picture.numbers["distance"]) == 2
    assert picture.numbers["interrupted"] is True


def test_control_is_the_inversion_from_random_weights():
    picture = invert(network(small()), "2", photograph(), steps=5, control=True, seed=5)
    assert len(picture.values) == 4
    assert len(picture.numbers["control_similarity"]) == 1
    assert np.abs(picture.values[1] - picture.values[3]).max() > 1e-3


def test_half_precision_gives_the_distances_of_single_precision():
    """Planted: features whose squares sum to more than half precision holds."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3))
    torch.manual_seed(0)
    model[0].weight.data.normal_(0, 20)
    single = invert(network(model), "0", photograph(), steps=10).numbers
    half = invert(network(model.half()), "0", photograph(), steps=10).numbers
    assert half["distance_of_random"] == pytest.approx(single["distance_of_random"], rel=0.01)
    assert half["distance"] == pytest.approx(single["distance"], rel=0.1)
    assert half["distance"] < half["distance_at_start"]


def test_distance_that_is_not_finite_is_refused():
    layer = nn.Conv2d(3, 4, 3)
    layer.weight.data.fill_(1e25)
    with pytest.raises(NumericsError, match='the distance of the features of layer "0" is not finite in step 1'):
        invert(network(nn.Sequential(layer)), "0", photograph(), steps=2)


def test_file_name_holds_no_slash():
    model = small().append(nn.AdaptiveAvgPool2d(1)).append(nn.Flatten()).append(nn.Linear(6, 2))
    net = replace(network(model), class_names=("cat/x", "b"))
    assert invert(net, "6", photograph(), "cat/x", steps=1).name == "invert-6-cat-x"


def test_silent_channels_are_refused():
    model = small()
    model[0].bias.data[3] = -100
    with pytest.raises(UsageError, match="the channels asked for of 1 give nothing but zeros for this image"):
        invert(network(model), "1", photograph(), 3)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"prior": "lucky"}, 'no prior "lucky"; allowed: fourier, tv'),
        ({"steps": 0}, "steps 0; allowed: 1 or more"),
        ({"strength": -1.0}, "strength -1; allowed: 0 or more"),
        ({"seed": -1}, "seed -1; allowed: 0 or more"),
    ],
)
def test_knobs_that_do_not_fit_are_refused(knobs, message):
    with pytest.raises(UsageError, match=message):
        inspect.unwrap(invert)(network(small()), "1", photograph(), **knobs)  # past the tests' own check of types


def test_no_layers_are_refused():
    with pytest.raises(UsageError, match="no layer is named; list them: convscope layers RUN"):
        invert_layers(network(small()), [], photograph())
