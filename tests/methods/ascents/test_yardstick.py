"""The yardstick is what the images give, whichever batches they come in."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convscope.data.memory import dataset_in_memory
from convscope.methods.ascents import yardstick as module
from convscope.methods.ascents.yardstick import find_yardstick
from convscope.types import Dataset, Network


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(4 * 36, 2))
    model[0].bias.data[2] = -100
    return Network(model.eval(), (0.5,) * 3, (0.25,) * 3, (8, 8), ("a", "b"), "tiny")


@pytest.fixture
def dataset() -> Dataset:
    pixels = torch.randint(0, 256, (40, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(40) % 2
    return dataset_in_memory("noise", (pixels, labels), (pixels[:2], labels[:2]), ("a", "b"), source="here")


@pytest.mark.parametrize("at_once", [7, 1000])
@pytest.mark.parametrize("layer", ["0", "1"])
def test_maxima_and_means_are_those_before_the_relu(network, dataset, monkeypatch, layer, at_once):
    monkeypatch.setattr(module, "PIXELS", at_once * 64)
    with torch.no_grad():
        maps = network.model[0](network.normalize(dataset.train.images.pixels.float() / 255))
    found = find_yardstick(network, layer, dataset, "channel")
    torch.testing.assert_close(found.maxima, maps.amax((0, 2, 3)))
    torch.testing.assert_close(found.means, torch.where(maps > 0, maps, 0.1 * maps).mean((0, 2, 3)))
    torch.testing.assert_close(find_yardstick(network, layer, dataset, "position").means, maps[:, :, 3, 3].mean(0))
    assert found.dead.tolist() == [False, False, layer == "1", False]  # only a ReLU silences
    assert found.images == 40


def test_direction_is_one_channel(network, dataset):
    found = find_yardstick(network, "0", dataset, "channel", direction=torch.tensor([0.0, 1.0, 0, 0]))
    whole = find_yardstick(network, "0", dataset, "channel")
    torch.testing.assert_close(found.maxima, whole.maxima[1:2])
    torch.testing.assert_close(found.means, whole.means[1:2])


def test_sample_is_bounded_and_spread(network, dataset):
    found = find_yardstick(network, "3", dataset, "channel", most=3)
    with torch.no_grad():
        logits = network(dataset.train.images.pixels[[0, 20, 39]].float() / 255)
    assert found.images == 3
    torch.testing.assert_close(found.maxima, logits.amax(0))


def test_survey_of_the_whole_dataset_tells_its_progress(network, dataset, tmp_path):
    told: list[tuple[int, int | None]] = []
    find_yardstick(network, "0", dataset, "channel", store=tmp_path, progress=lambda _what, *done: told.append(done))
    assert told


def test_with_a_store_the_highest_values_are_those_of_all_training_images(network, dataset, tmp_path):
    """Planted: the brightest image is one that the sample of three does not hold."""
    dataset.train.images.pixels[1] = 255
    sampled = find_yardstick(network, "0", dataset, "channel", most=3)
    whole = find_yardstick(network, "0", dataset, "channel", most=3, store=tmp_path)
    everything = find_yardstick(network, "0", dataset, "channel")
    assert not torch.equal(sampled.maxima, everything.maxima)
    torch.testing.assert_close(whole.maxima, everything.maxima)
    assert (sampled.images, whole.images) == (3, dataset.train.images.shape[0])
    assert torch.equal(sampled.means, whole.means)


@pytest.mark.parametrize("layer", ["0", "1"])
def test_each_batch_runs_once_but_the_first(network, dataset, monkeypatch, layer):
    monkeypatch.setattr(module, "PIXELS", 8 * 64)  # 40 images in 5 batches
    passes: list[int] = []
    network.model[0].register_forward_hook(lambda _module, _given, output: passes.append(len(output)))
    find_yardstick(network, layer, dataset, "channel")
    assert passes == [8] * 6
