"""The tiles are the images that excite a channel most, cut where the unit looks."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from convscope.data.memory import dataset_in_memory
from convscope.errors import UsageError
from convscope.methods.patches import cut
from convscope.methods.projection import project
from convscope.methods.reconstruct import reconstruct
from convscope.methods.surveys.survey import survey
from convscope.methods.top_images import top_images
from convscope.paint import PAPER, paint
from convscope.relu_rules import RULES
from convscope.types import Dataset, Network

CLASSES = ("cat", "dog", "frog")


def network() -> Network:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 20, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(20, 5, 3, padding=1), nn.Flatten()
    )
    model.append(nn.Linear(5 * 36, 3))
    return Network(model, (0.5,) * 3, (0.25,) * 3, (12, 12), CLASSES, "tiny")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    drawn = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (60, 3, 12, 12), generator=drawn, dtype=torch.uint8)
    half = pixels, torch.arange(60) % 3
    return dataset_in_memory("noise", half, half, CLASSES, source="drawn here")


def test_whole_images_are_those_of_the_survey(dataset):
    net = network()
    found = survey(net, dataset, ["3"], count=4)["3"]
    picture = top_images(net, "3", [4, 1], dataset, count=4, crop=False)
    pixels = dataset.train.images.pixels.numpy() / np.float32(255)
    np.testing.assert_array_equal(picture.values, pixels[found.images[[4, 1]].ravel()])
    assert picture.columns == 4
    assert picture.captions[5] == f"{CLASSES[found.images[1, 1] % 3]}\n{found.values[1, 1]:.3g}\n"
    assert picture.captions[4].endswith("\n#1")
    numbers = picture.numbers
    assert numbers["maximum"] == found.maxima[[4, 1]].tolist()
    assert numbers["images"] == found.images[[4, 1]].tolist()
    shares = [np.bincount(row % 3).max() / 4 for row in found.images[[4, 1]]]
    assert numbers["commonest_class_share"] == shares
    assert np.shape(numbers["histogram"]) == (2, 32)


def test_patches_are_what_decides_the_value(dataset):
    """Outside of a patch an image may be anything: the unit at its position gives the same value."""
    net = network()
    picture = top_images(net, "3", 2, dataset)
    found = survey(net, dataset, ["3"])["3"]
    assert picture.numbers["receptive_field"] == [8, 8]
    paper = torch.tensor(PAPER) / 255
    blank = 0
    for tile, value, (row, column) in zip(
        picture.values, found.values[2].tolist(), found.positions[2].tolist(), strict=True
    ):
        top, left = row * 2 - 3, column * 2 - 3  # where the field begins, perhaps beyond the image
        image = torch.rand(3, 12, 12)
        inside_y, inside_x = (slice(max(start, 0), min(start + 8, 12)) for start in (top, left))
        shift_y, shift_x = (slice(max(-start, 0), 8 - max(start - 4, 0)) for start in (top, left))
        image[:, inside_y, inside_x] = torch.from_numpy(tile)[:, shift_y, shift_x]
        with torch.no_grad():
            maps = net.model[:4](net.normalize(image[None]))
        assert maps[0, 2, row, column].item() == pytest.approx(value, rel=1e-4)
        beyond = torch.ones(8, 8, dtype=torch.bool)
        beyond[shift_y, shift_x] = False
        np.testing.assert_allclose(tile[:, beyond.numpy()], paper[:, None].expand(-1, int(beyond.sum())), atol=1e-6)
        blank += int(beyond.sum())
    assert blank > 0


@pytest.mark.parametrize("rule", ["deconvnet", "guided", "gradient"])
def test_reconstructions_stand_below_their_images(dataset, rule):
    net = network()
    plain = top_images(net, "3", [0, 3], dataset, count=5)
    both = top_images(net, "3", [0, 3], dataset, count=5, reconstructions=True, rule=rule)
    assert both.values.shape == (20, 3, 8, 8)
    np.testing.assert_array_equal(both.values[[*range(5), *range(10, 15)]], plain.values)
    found = survey(net, dataset, ["3"])["3"]
    image = dataset.train.images.pixels[found.images[3, 1]][None].float() / 255
    row, column = found.positions[3, 1].tolist()
    signal = torch.zeros(1, 5, 6, 6)
    signal[0, 3, row, column] = 1
    back = project(net, "3", image, signal, rule=rule)
    height, width = (torch.tensor([[max(2 * at - 3, 0), min(2 * at + 5, 12)]]) for at in (row, column))
    expected = cut(back, height, width, (8, 8), fill=torch.zeros(1, 3))[0].numpy()
    inside = np.abs(expected) > 0
    np.testing.assert_allclose(both.values[16][inside], expected[inside], rtol=1e-5)
    assert back.abs().sum().item() == pytest.approx(np.abs(expected).sum(), rel=1e-4)  # nothing lies outside
    assert (both.limits[16] == [-both.limits[16, 1], both.limits[16, 1]]).all()
    assert rule in both.caption
    assert paint(both).std() > 0


@pytest.mark.parametrize("rule", RULES)
def test_position_that_is_not_above_zero_sends_back_what_reconstruct_does(dataset, rule):
    net = network()
    net.model[0].bias.data[3] = -100
    both = top_images(net, "0", 3, dataset, count=1, crop=False, reconstructions=True, rule=rule)
    [[index]], [[(row, column)]], [[value]] = (both.numbers[key] for key in ("images", "positions", "values"))
    image = dataset.train.images.pixels[index].float() / 255
    alone = reconstruct(net, "0", image, 3, rule=rule, position=f"{row},{column}").values[-1]
    assert alone.any() == (rule == "gradient")
    np.testing.assert_allclose(both.values[1], alone / abs(value), atol=1e-5)


@pytest.mark.parametrize(("batch", "rows"), [(4, 2), (5, 3), (8, 4)])
def test_interrupted_reconstructions_leave_whole_rows(dataset, monkeypatch, batch, rows):
    monkeypatch.setattr("convscope.methods.top_images.batch_limit", lambda _: batch)

    def stopped(what: str, done: int, _: int) -> None:
        if (what, done) == ("reconstructions", 3 * batch):
            raise KeyboardInterrupt

    options = {"count": 5, "reconstructions": True}
    chosen = [4, 0, 3, 1, 2]
    whole = top_images(network(), "3", chosen[:rows], dataset, **options)
    part = top_images(network(), "3", chosen, dataset, **options, progress=stopped)
    assert part.numbers == {**whole.numbers, "interrupted": True}
    np.testing.assert_allclose(part.values, whole.values, atol=1e-6)
    assert part.captions == whole.captions


def test_interrupt_before_a_row_is_whole_is_passed_on(dataset, monkeypatch):
    monkeypatch.setattr("convscope.methods.top_images.batch_limit", lambda _: 4)

    def stopped(what: str, done: int, _: int) -> None:
        if (what, done) == ("reconstructions", 4):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        top_images(network(), "3", [0, 1], dataset, count=5, reconstructions=True, progress=stopped)


def test_blank_of_a_reconstruction_looks_like_paper(dataset):
    picture = top_images(network(), "3", [0, 1, 2, 3, 4], dataset, reconstructions=True)
    pixels = paint(dataclasses.replace(picture, captions=()), scale=1)
    paper = (pixels == PAPER).all(axis=2).mean()
    assert paper > 0.35  # the gaps between tiles, a third here, and the blanks


def test_badges_name_what_is_special(dataset):
    net = network()
    first = net.model[0]
    first.weight.data[1] = first.weight.data[0] * 2
    first.bias.data[1] = first.bias.data[0] * 2
    first.weight.data[2] = 0
    picture = top_images(net, "0", [0, 2, 5], dataset, count=2)
    assert [caption.split("\n")[2] for caption in picture.captions] == ["#0 = #1", "", "#2 dead", "", "#5", ""]
    assert picture.numbers["duplicate_of"] == [1, None, None]
    assert picture.numbers["dead_channels"] == [2]


def test_selective_channel_names_its_class():
    pixels = torch.zeros(12, 3, 4, 4, dtype=torch.uint8)
    pixels[1::3, 2] = 255
    half = pixels, torch.arange(12) % 3
    data = dataset_in_memory("blue", half, half, CLASSES, source="drawn here")
    model = nn.Sequential(nn.Conv2d(3, 1, 1, bias=False))
    model[0].weight.data = torch.tensor([0.0, 0, 1]).view(1, 3, 1, 1)
    net = Network(model, (0.0,) * 3, (1.0,) * 3, (4, 4), CLASSES, "blue")
    picture = top_images(net, "0", dataset=data, count=3)
    assert picture.captions[0] == "dog\n1\n#0: dog"
    assert picture.numbers["commonest_class"] == ["dog"]
    assert picture.numbers["selectivity"] == [1]


def test_first_sixteen_channels_and_classes_by_name(dataset):
    net = network()
    assert len(top_images(net, "0", dataset=dataset, count=2).values) == 32
    assert len(top_images(net, "0", "all", dataset, count=2).values) == 40
    head = top_images(net, "5", "frog", dataset)
    assert head.numbers["channels"] == [2]
    assert head.values.shape == (9, 3, 12, 12)
    assert "sees the whole image" in head.caption


def test_wrong_channel_is_refused_before_the_long_search(dataset, monkeypatch):
    monkeypatch.setattr("convscope.methods.top_images.stored_survey", None)
    with pytest.raises(UsageError, match="no channel 20 in 0; allowed: 0 to 19"):
        top_images(network(), "0", 20, dataset)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": None}, "searched for in a dataset, and none was given"),
        ({"split": "valid"}, 'no split "valid"; allowed: train, test'),
        ({"count": 0}, "count 0; allowed: 1 or more"),
        ({"rule": "nonsense"}, 'no rule "nonsense"; allowed: deconvnet, guided, gradient'),
    ],
)
def test_what_does_not_fit_is_refused(dataset, changes, message):
    arguments: dict[str, Any] = {"dataset": dataset, **changes}
    with pytest.raises(UsageError, match=message):
        inspect.unwrap(top_images)(network(), "0", **arguments)  # past the tests' own check of types


def test_network_without_relus_has_no_guided_figure(dataset):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 2, 3))
    net = Network(model, (0.5,) * 3, (0.25,) * 3, (12, 12), CLASSES, "smooth")
    with pytest.raises(UsageError, match="no ReLU was met in smooth"):
        top_images(net, "2", dataset=dataset, reconstructions=True)
    assert top_images(net, "2", dataset=dataset, reconstructions=True, rule="gradient").values.shape[0] == 36
