"""The streamed survey equals a plain one that holds everything at once, and holds no more for more images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convscope.data.memory import TensorImages, dataset_in_memory
from convscope.errors import NumericsError, UsageError
from convscope.hooks import frozen_eval, record_outputs
from convscope.methods.surveys import survey as survey_module
from convscope.methods.surveys import tally as tally_module
from convscope.methods.surveys.survey import survey, surveyed_layers
from convscope.methods.surveys.tally import BINS, SAMPLED, Tally
from convscope.types import Dataset, Network, Split

COUNT = 60
CLASSES = ("a", "b", "c")


def whole_numbers() -> Network:
    """A network whose every sum is of whole numbers: exact, in whatever order and batch it is computed."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 5, 3), nn.Flatten(), nn.Linear(5 * 9, 3)
    )
    for module in model:
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.weight.data = torch.randint(-2, 3, module.weight.shape).float()
            module.bias.data = torch.randint(-3, 4, module.bias.shape).float()
    model.layer_aliases = {"stem": "1"}
    return Network(model, (0.0,) * 3, (1 / 255,) * 3, (12, 12), CLASSES, "whole")


def few_colours(count: int = COUNT) -> Dataset:
    """Images of few values, so that many channels reach the same maximum in several of them."""
    drawn = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 3, (count, 3, 12, 12), generator=drawn, dtype=torch.uint8)
    pixels[count // 2 :] = pixels[: count - count // 2]
    labels = torch.arange(count) % 3
    return dataset_in_memory("few", (pixels, labels), (pixels[:9], labels[:9]), CLASSES, source="drawn here")


def outputs(network: Network, images: Tensor, layers: list[str]) -> dict[str, np.ndarray]:
    with frozen_eval(network.model), torch.no_grad():
        found = record_outputs(network.model, network.normalize(images.float() / 255), layers)
    return {name: (maps if maps.ndim == 4 else maps[:, :, None, None]).numpy() for name, maps in found.items()}


def brute_force(maps: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, images and positions of the highest per-image maxima, by sorting all of them."""
    _, channels, _, width = maps.shape
    values, images, positions = [], [], []
    for channel in range(channels):
        best = sorted(range(len(maps)), key=lambda image: -maps[image, channel].max())[:count]
        images.append(best)
        values.append([maps[image, channel].max() for image in best])
        places = [int(maps[image, channel].argmax()) for image in best]
        positions.append([(place // width, place % width) for place in places])
    return np.array(values), np.array(images), np.array(positions)


def likenesses(maps: np.ndarray) -> np.ndarray:
    """How alike any two channels are, below -1 for one and itself."""
    means = maps.mean(axis=(2, 3))
    compared = [means.T, np.moveaxis(maps, 1, 0).reshape(maps.shape[1], -1)]
    if maps[0, 0].size > 1:
        compared.append(np.moveaxis(maps - means[..., None, None], 1, 0).reshape(maps.shape[1], -1))
    return np.min([np.corrcoef(each) for each in compared], axis=0) - 3 * np.eye(maps.shape[1])


@pytest.mark.parametrize("batch", [1, 7, 25, 250])
@pytest.mark.parametrize("count", [1, 9, 100])
def test_highest_images_equal_a_brute_force_sort(monkeypatch, batch, count):
    monkeypatch.setattr(survey_module, "forward_batch", lambda _: batch)
    network, dataset = whole_numbers(), few_colours()
    layers = surveyed_layers(network)
    assert layers == ["0", "3", "1", "5"]
    expected = outputs(network, dataset.train.images.pixels, layers)
    found = survey(network, dataset, count=count)
    ties = 0
    for name in layers:
        values, images, positions = brute_force(expected[name], count)
        np.testing.assert_array_equal(found[name].values, values)
        np.testing.assert_array_equal(found[name].images, images)
        np.testing.assert_array_equal(found[name].positions, positions)
        np.testing.assert_array_equal(found[name].maxima, expected[name].max(axis=(0, 2, 3)))
        ties += (np.diff(values, axis=1) == 0).sum()
    assert ties > 10 or count == 1


@pytest.mark.parametrize(("batch", "part"), [(7, tally_module.PART), (7, 100), (1, 1000), (250, tally_module.PART)])
def test_statistics_equal_naive_ones(monkeypatch, batch, part):
    """Whether they are counted at once, after some batches, or at the end."""
    monkeypatch.setattr(tally_module, "PART", part)
    monkeypatch.setattr(survey_module, "forward_batch", lambda _: batch)
    network, dataset = whole_numbers(), few_colours()
    found = survey(network, dataset)
    labels = dataset.train.labels.numpy()
    for name, maps in outputs(network, dataset.train.images.pixels, list(found)).items():
        layer = found[name]
        np.testing.assert_allclose(layer.means, maps.mean(axis=(0, 2, 3)), rtol=1e-5)
        np.testing.assert_allclose(layer.shares_of_zeros, (maps <= 0).mean(axis=(0, 2, 3)), atol=1e-12)
        assert layer.map_size.tolist() == list(maps.shape[2:])
        activity = np.maximum(maps, 0).mean(axis=(2, 3))
        means = np.stack([activity[labels == label].mean(axis=0) for label in range(3)])
        np.testing.assert_allclose(layer.class_means, means, rtol=1e-5)
        for channel, of_classes in enumerate(means.T.tolist()):
            best = max(of_classes)
            rest = (sum(of_classes) - best) / 2
            expected = (best - rest) / (best + rest) if best + rest else 0
            assert layer.selectivity[channel] == pytest.approx(expected, abs=1e-5)
            assert of_classes[layer.selective_class[channel]] == pytest.approx(best)
        correlation = likenesses(maps)
        np.testing.assert_allclose(layer.likeness, correlation.max(axis=1), atol=1e-4)
        np.testing.assert_array_equal(layer.twins, correlation.argmax(axis=1))


def test_maps_with_their_channels_last_give_the_same():
    network, dataset = whole_numbers(), few_colours()
    expected = survey(network, dataset)
    network.model.to(memory_format=torch.channels_last)
    for name, layer in survey(network, dataset).items():
        for each in dataclasses.fields(layer):
            np.testing.assert_array_equal(getattr(layer, each.name), getattr(expected[name], each.name))


@pytest.mark.parametrize("batch", [7, 25])
def test_of_many_images_a_sample_is_watched(monkeypatch, batch):
    monkeypatch.setattr(survey_module, "forward_batch", lambda _: batch)
    monkeypatch.setattr(tally_module, "WATCHED", 20)
    monkeypatch.setattr(tally_module, "COMPARED", 20)
    network, dataset = whole_numbers(), few_colours()
    maps = outputs(network, dataset.train.images.pixels, ["3"])["3"]
    layer = survey(network, dataset, ["3"])["3"]
    np.testing.assert_allclose(layer.means, maps[::3].mean(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(layer.shares_of_zeros, (maps[::3] <= 0).mean(axis=(0, 2, 3)), atol=1e-12)
    np.testing.assert_allclose(layer.likeness, likenesses(maps[::3]).max(axis=1), atol=1e-4)
    np.testing.assert_array_equal(layer.images, brute_force(maps, 9)[1])


def test_histogram_counts_the_maximum_of_each_image():
    network, dataset = whole_numbers(), few_colours()
    layer = survey(network, dataset, ["0"])["0"]
    peaks = outputs(network, dataset.train.images.pixels, ["0"])["0"].max(axis=(2, 3))
    for channel, of_images in enumerate(peaks.T.astype(np.float64)):
        counts, edges = np.histogram(of_images, bins=BINS)
        np.testing.assert_array_equal(layer.histogram[channel].cumsum()[-1], len(of_images))
        np.testing.assert_allclose(layer.histogram_range[channel], [edges[0], edges[-1]])
        np.testing.assert_allclose(layer.histogram[channel], counts, atol=1)


def test_histogram_of_many_images_is_of_evenly_spaced_ones():
    count = 2 * SAMPLED + 1
    maps = torch.arange(count, dtype=torch.float32).view(-1, 1, 1, 1)
    tally = Tally(maps, layer="a", count=2, images=count, classes=1)
    for part in maps.split(100):
        tally.add(part, torch.ones(len(part), 1))
    assert tally.sample[:, 0].tolist() == list(range(0, count, 3))
    found = tally.survey()
    assert found.histogram.sum() == len(tally.sample)
    assert found.selectivity.tolist() == [0]  # a single class


def test_planted_dead_and_duplicate_channels_are_found():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    model[0].weight.data[2] = 0
    model[0].bias.data[2] = 0.3  # constant, though not zero
    model[0].bias.data[4] = -50  # never above zero after the ReLU
    model[0].weight.data[7] = 2.5 * model[0].weight.data[1]
    model[0].bias.data[7] = 2.5 * model[0].bias.data[1]
    noise = torch.rand(200, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    pixels, labels = (noise * 255).to(torch.uint8), torch.arange(200) % 3
    dataset = dataset_in_memory("noise", (pixels, labels), (pixels, labels), CLASSES, source="drawn here")
    found = survey(Network(model, (0.5,) * 3, (0.25,) * 3, (12, 12), CLASSES, "planted"), dataset, ["0", "1"])
    assert np.flatnonzero(found["0"].dead).tolist() == [2]
    assert np.flatnonzero(found["1"].dead).tolist() == [2, 4]
    for layer in found.values():
        assert (layer.twins[1], layer.twins[7]) == (7, 1)
        assert layer.likeness[[1, 7]].min() > 0.999
        assert layer.twins[2] == -1
        assert (np.delete(layer.likeness, [1, 7]) < 0.98).all()
    assert found["1"].shares_of_zeros[4] == 1
    assert found["1"].images[4].tolist() == list(range(9))  # all alike: the earliest


def test_channels_that_follow_the_brightness_alike_are_no_duplicates():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    model[0].weight.data.abs_()
    model[0].bias.data.fill_(0.1)
    model[0].weight.data[7] = 2.5 * model[0].weight.data[1]
    model[0].weight.data[5] = model[0].weight.data[4]
    drawn = torch.Generator().manual_seed(0)
    noise = torch.rand(600, 3, 12, 12, generator=drawn) * 0.2 + torch.rand(600, 1, 1, 1, generator=drawn) * 0.8
    pixels, labels = (noise * 255).to(torch.uint8), torch.arange(600) % 3
    dataset = dataset_in_memory("lamps", (pixels, labels), (pixels, labels), CLASSES, source="drawn here")
    network = Network(model, (0.0,) * 3, (1.0,) * 3, (12, 12), CLASSES, "lamps")
    means = outputs(network, pixels, ["0"])["0"].mean(axis=(2, 3))
    assert np.corrcoef(means.T).min() > 0.98  # all would be duplicates by their means alone
    expected = likenesses(outputs(network, pixels, ["0"])["0"]).max(axis=1)
    for layer in survey(network, dataset).values():
        assert layer.twins[[1, 7, 4, 5]].tolist() == [7, 1, 5, 4]
        assert layer.likeness[[1, 7, 4, 5]].min() > 0.999
        assert layer.likeness[[0, 2, 3, 6]].max() < 0.95
        np.testing.assert_allclose(layer.likeness, expected, atol=0.05)  # of positions that were drawn


@pytest.mark.parametrize("size", [1, 4, 30])
@pytest.mark.parametrize(
    "differ", ["nowhere", "within images", "between images", "in their proportion", "not within"]
)
def test_twins_are_alike_between_and_within_images(differ, size):
    drawn = torch.Generator().manual_seed(0)
    light, other = 3 * torch.randn(2, 300, 1, 1, generator=drawn)
    texture, own = torch.randn(2, 300, size, size, generator=drawn) * (size > 1)
    second = {
        "nowhere": 2 * (light + texture) + 5,
        "within images": light + own,
        "between images": other + 100 * texture,
        "in their proportion": light + 100 * texture,
        "not within": light.expand_as(texture),
    }[differ]
    first = light.expand_as(texture) if differ == "not within" else light + texture
    maps = torch.stack([first, second], dim=1)
    tally = Tally(maps[:7], layer="a", count=2, images=300, classes=1)
    for part in maps.split(7):
        tally.add(part, torch.ones(len(part), 1))
    found = tally.survey()
    alike = differ in ("nowhere", "not within") or (size == 1 and differ != "between images")
    assert (found.likeness > 0.98).tolist() == [alike] * 2
    if alike:
        assert found.likeness.min() > 0.9999


def test_channel_of_one_class_is_selective_for_it():
    pixels = torch.zeros(30, 3, 4, 4, dtype=torch.uint8)
    pixels[2::3, 1] = 255  # the third class is green
    labels = torch.arange(30) % 3
    dataset = dataset_in_memory("green", (pixels, labels), (pixels, labels), CLASSES, source="drawn here")
    model = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False))
    model[0].weight.data = torch.eye(3)[:, :, None, None]
    layer = survey(Network(model, (0.0,) * 3, (1.0,) * 3, (4, 4), CLASSES, "colours"), dataset)["0"]
    assert layer.selectivity.tolist() == [0, 1, 0]
    assert layer.selective_class[1] == 2
    assert layer.class_means[:, 1].tolist() == [0, 0, 1]


class Drawn:
    """As many images as wanted, drawn when they are asked for, none of them kept."""

    def __init__(self, count: int) -> None:
        self.shape = (count, 3, 6, 6)

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        for index in indices:
            yield ((index[:, None, None, None] * 7919 + torch.arange(108).view(3, 6, 6) * 31) % 256).to(torch.uint8)


def test_what_is_held_does_not_grow_with_the_images(monkeypatch):
    held: dict[int, list[int]] = {}
    add = Tally.add

    def watched(tally: Tally, maps: Tensor, classes: Tensor) -> None:
        add(tally, maps, classes)
        tensors = [value for value in vars(tally).values() if isinstance(value, Tensor)]
        held[tally.total].append(sum(value.untyped_storage().nbytes() for value in tensors))

    monkeypatch.setattr(Tally, "add", watched)
    network = Network(nn.Sequential(nn.Conv2d(3, 4, 3)), (0.5,) * 3, (0.5,) * 3, (6, 6), CLASSES, "tiny")
    most = {}
    for count in (1_000, 50_000):
        held[count] = []
        half = Split(Drawn(count), torch.arange(count) % 3)
        dataset = Dataset("drawn", half, half, CLASSES, (0.5,) * 3, (0.5,) * 3, "", "drawn here")
        layer = survey(network, dataset)["0"]
        most[count] = max(held[count])
        assert held[count][0] == held[count][-1]
        assert layer.histogram.sum() == 4 * len(range(0, count, -(-count // SAMPLED)))
    assert most[50_000] <= 1.05 * most[1_000]


def test_test_half_and_several_names_for_a_layer():
    network, dataset = whole_numbers(), few_colours()
    found = survey(network, dataset, ["stem", "1"], split="test")
    assert list(found) == ["1"]
    assert found["1"].images.max() < 9
    assert found["1"].first(2).values.shape == (6, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "count 0; allowed: 1 or more"),
        ({"layers": ["stem.5"]}, 'no layer "stem.5" in whole'),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        survey(whole_numbers(), few_colours(), **options)


def test_images_of_other_channels_are_refused():
    network = dataclasses.replace(whole_numbers(), mean=(0.5,), std=(0.5,))
    with pytest.raises(UsageError, match="images of 3 channels; allowed for whole: 1"):
        survey(network, few_colours(), ["0"])


def test_values_that_are_not_finite_are_refused():
    network = whole_numbers()
    network.model[3].bias.data[2] = torch.nan
    with pytest.raises(NumericsError, match='layer "3" gives values that are not finite in channel 2'):
        survey(network, few_colours())


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("size", [1, 4])
def test_a_single_value_that_is_not_finite_is_refused(value, size):
    maps = torch.rand(3, 2, size, size)
    maps[2, 1, -1, 0] = value
    tally = Tally(maps, layer="a", count=2, images=3, classes=1)

    def counted():
        tally.add(maps, torch.ones(3, 1))
        tally.survey()

    with pytest.raises(NumericsError, match='layer "a" gives values that are not finite in channel 1'):
        counted()


def test_greyscale_images_and_a_network_without_a_head():
    pixels = torch.arange(24, dtype=torch.uint8).view(6, 1, 2, 2)
    half = Split(TensorImages(pixels.expand(-1, 3, -1, -1)), torch.arange(6) % 3)
    half.images.pixels = pixels
    dataset = Dataset("grey", half, half, CLASSES, (0.5,) * 3, (0.5,) * 3, "", "drawn here")
    network = Network(nn.Sequential(nn.Conv2d(1, 1, 1)), (0.5,), (0.5,), (2, 2), CLASSES, "grey")
    found = survey(network, dataset)
    assert list(found) == ["0"]
    assert found["0"].twins.tolist() == [-1]
