"""The images excite their channels, the evidence is true, and a batch gives what its channels give alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from convscope.data.memory import dataset_in_memory
from convscope.errors import UsageError
from convscope.hooks import frozen_eval
from convscope.methods.ascents.ascent import REACH, ascend
from convscope.methods.ascents.canvas import random_canvas
from convscope.methods.ascents.excite import chunks, excite
from convscope.methods.ascents.image_statistics import assumed_statistics
from convscope.methods.ascents.objectives import climbed, likeness, score
from convscope.methods.ascents.transforms import draw_moves
from convscope.methods.maximize import maximize
from convscope.methods.needs import layer_maps
from convscope.types import Dataset, Network


def tiny(size=(16, 16), channels=3, width=8) -> Network:
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(channels, width, 5, padding=2), nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        *(nn.Conv2d(width, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)),
    )
    model[1].bias.data.uniform_(-0.3, 0.3)
    names = ("apple", "pear", "plum")
    return Network(model, (0.45,) * channels, (0.25,) * channels, size, names, "tiny")


@pytest.fixture(scope="module")
def network() -> Network:
    return tiny()


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    noise = torch.rand(60, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    pixels = (nn.functional.interpolate(noise, (16, 16), mode="bicubic").clamp(0, 1) * 255).to(torch.uint8)
    labels = torch.arange(60) % 3
    return dataset_in_memory("noise", (pixels, labels), (pixels[:3], labels[:3]), ("a", "b", "c"), source="here")


def clean(network, layer, images):
    with frozen_eval(network.model), torch.no_grad():
        return layer_maps(network, layer, torch.as_tensor(images), before_relu=True)


@pytest.mark.parametrize("parameterization", ["fourier", "maco", "pixel"])
@pytest.mark.parametrize("layer", ["0", "2", "5", "8"])
def test_live_channels_end_above_their_start_random_images_and_the_datasets_mean(
    network, dataset, layer, parameterization
):
    numbers = (picture := maximize(network, layer, "all", dataset, parameterization=parameterization)).numbers
    scores = score(clean(network, layer, picture.values), "channel").diagonal()
    random = score(clean(network, layer, torch.rand(50, 3, 16, 16)), "channel").mean(0)
    live = [index for index in numbers["channels"] if index not in numbers["dead_channels"]]
    assert len(live) >= 3
    np.testing.assert_allclose(numbers["objective"], scores, atol=1e-4)
    for index in live:
        assert scores[index] > numbers["objective_at_start"][index]
        assert scores[index] > random[index]
        assert scores[index] > numbers["objective_dataset_mean"][index]


def test_evidence_is_what_the_shown_image_gives(network, dataset):
    picture = maximize(network, "5", [4, 1], dataset, steps=6)
    maps, numbers = clean(network, "5", picture.values), picture.numbers
    pixels = dataset.train.images.pixels.float() / 255
    for tile, channel in enumerate((4, 1)):
        highest = clean(network, "5", pixels)[:, channel].max().item()
        assert numbers["activation"][tile] == pytest.approx(maps[tile, channel].max().item(), rel=1e-4)
        assert numbers["dataset_maximum"][tile] == pytest.approx(highest, rel=1e-4)
        expected = numbers["activation"][tile] / highest if highest > 0 else None
        assert numbers["ratio"][tile] == pytest.approx(expected, rel=1e-4)
        assert -1 <= numbers["agreement"][tile] <= 1
    assert picture.captions[0].startswith(
        "4: dead" if 4 in numbers["dead_channels"] else f"4: {numbers['ratio'][0]:.1f}×"
    )


def test_equal_seeds_give_equal_pictures_and_others_do_not(network):
    first, again = (maximize(network, "4", steps=5, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.values, again.values)
    assert first.numbers == again.numbers
    assert np.abs(first.values - maximize(network, "4", steps=5, seed=4).values).mean() > 0.01


def test_batch_of_64_equals_64_single_runs():
    network = tiny(width=64)
    statistics = assumed_statistics(network)
    batch = excite(network, "0", range(64), statistics, steps=12)
    for channel in range(0, 64, 7):
        alone = excite(network, "0", [channel], statistics, steps=12)
        torch.testing.assert_close(alone.images[0], batch.images[channel], rtol=0, atol=2e-3)
        torch.testing.assert_close(alone.activations[0], batch.activations[channel], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(alone.agreements[0], batch.agreements[channel], rtol=0, atol=1e-3)


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 3}, {"dilation": 2, "bias": False}, {"groups": 2}])
def test_one_channel_of_a_convolution_is_climbed_as_all_of_it(options, monkeypatch):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 6, 3, **options))
    network = Network(model, (0.4,) * 3, (0.2,) * 3, (16, 16), (), "tiny")
    fast = maximize(network, "2", [5, 0, 3], steps=8)
    monkeypatch.setattr("convscope.methods.ascents.excite._own_responses", lambda *_: None)
    slow = maximize(network, "2", [5, 0, 3], steps=8)
    np.testing.assert_allclose(fast.values, slow.values, atol=2e-3)
    assert not model[2]._forward_pre_hooks


def test_agreement_is_the_cosine_of_what_two_starts_changed(network):
    """At the head, from the parts; an unchanged offset of the layer must not count."""
    keys, statistics = [(0, 1, 0), (0, 1, 1)], assumed_statistics(network)
    starts = clean(network, "8", random_canvas("fourier", keys, (16, 16), statistics).images().detach())
    first, second = (image_of(network, "8", key)[0] for key in keys)
    change = [clean(network, "8", image)[0] - start for image, start in zip((first, second), starts, strict=True)]
    expected = torch.cosine_similarity(change[0].flatten(), change[1].flatten(), dim=0)
    found = excite(network, "8", [1], statistics, steps=4).agreements
    torch.testing.assert_close(found[0], expected, rtol=0, atol=1e-3)


def test_chunks_change_nothing(network, monkeypatch):
    whole = maximize(network, "0", "all", steps=6)
    monkeypatch.setattr("convscope.methods.ascents.excite.PIXELS", 3 * 2 * 256)
    seen: list[tuple[int, int | None]] = []
    parts = maximize(network, "0", "all", steps=6, progress=lambda what, done, total: seen.append((done, total)))
    assert chunks(range(8), (16, 16)) == [[0, 1, 2], [3, 4, 5], [6, 7]]
    np.testing.assert_allclose(parts.values, whole.values, atol=2e-3)
    assert seen == [(done + 1, 18) for done in range(18)]


def test_the_better_of_two_starts_is_shown(network):
    picture = maximize(network, "5", "all", steps=4)
    for tile, channel in enumerate(picture.numbers["channels"]):
        both = excite(network, "5", [channel], assumed_statistics(network), steps=4)
        assert picture.numbers["objective"][tile] == pytest.approx(both.scores[0].item(), abs=1e-3)
        single = [image_of(network, "5", (0, channel, start))[1] for start in (0, 1)]
        assert both.scores[0] == pytest.approx(max(single), abs=1e-3)


def image_of(network, layer, key):
    """The image that one start leads to in four steps, and its score, by the parts that excite() is made of."""
    canvas = random_canvas("fourier", [key], network.input_size, assumed_statistics(network))
    moves, objective = draw_moves([key], 4, network.input_size), climbed([key[1]], "channel")
    images = ascend(network, layer, canvas, objective, moves=moves, reach=REACH["fourier"]).images
    return images, score(clean(network, layer, images), "channel")[0, key[1]].item()


def test_diversity_drives_variants_apart(network, monkeypatch):
    diverse = maximize(network, "4", [0, 1, 2], variants=3, steps=24)
    monkeypatch.setattr("convscope.methods.ascents.objectives.DIVERSITY", 0.0)
    plain = maximize(network, "4", [0, 1, 2], variants=3, steps=24)
    assert diverse.columns == 3
    assert diverse.numbers["channels"] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert "agreement" not in diverse.numbers
    expected = likeness(clean(network, "4", diverse.values), 3)
    np.testing.assert_allclose(diverse.numbers["likeness"], expected, atol=1e-4)
    for row in range(3):
        tiles = slice(3 * row, 3 * row + 3)
        assert np.mean(diverse.numbers["likeness"][tiles]) < np.mean(plain.numbers["likeness"][tiles])


def test_position_excites_the_centre_alone(network):
    picture = maximize(network, "0", "all", objective="position")
    maps = clean(network, "0", picture.values)[range(8), range(8)]
    np.testing.assert_allclose(picture.numbers["objective"], maps[:, 8, 8], rtol=1e-4)
    assert (maps[:, 8, 8] > 0.7 * maps.amax((1, 2))).all()
    assert (maps[:, 8, 8] > 5 * maps[:, :4].abs().mean((1, 2))).all()


def test_direction_of_one_channel_is_that_channel(network, dataset):
    channel = maximize(network, "0", [0], dataset, steps=6)
    direction = maximize(network, "0", None, dataset, steps=6, objective=torch.eye(8)[0])
    np.testing.assert_allclose(direction.values, channel.values, atol=1e-3)
    assert direction.numbers["channels"] is None
    assert direction.numbers["ratio"] == pytest.approx(channel.numbers["ratio"], rel=1e-3)
    mixed = maximize(network, "0", objective=torch.tensor([1.0, -1, 0, 0, 0, 0, 0, 0]), steps=30)
    maps = clean(network, "0", mixed.values)[0].mean((1, 2))
    assert maps[0] > maps[1]


def test_class_by_name_is_a_channel_of_the_head(network):
    picture = maximize(network, "8", "pear", steps=20)
    logits = clean(network, "8", picture.values)[0, :, 0, 0]
    assert picture.numbers["channels"] == [1]
    assert picture.captions[0].startswith("pear: ")
    assert logits[1] == pytest.approx(picture.numbers["activation"][0], rel=1e-4)


def test_frames_begin_at_the_start_and_end_at_the_end(network):
    whole, film = maximize(network, "4", [0, 3], steps=16), maximize(network, "4", [0, 3], steps=16, frames=4)
    assert film.columns == 4
    assert film.captions[:3] == ("step 0", "step 1", "step 4")
    np.testing.assert_array_equal(film.values[[3, 7]], whole.values)
    assert score(clean(network, "4", film.values), "channel")[:4, 0].diff().min() > 0


def test_dead_channels_are_named(dataset):
    network = tiny()
    network.model[0].weight.data[2] = 0
    network.model[4].bias.data[1] = -1000
    constant, silent = (
        maximize(network, "0", "all", dataset, steps=2),
        maximize(network, "5", "all", dataset, steps=2),
    )
    assert constant.numbers["dead_channels"] == [2]
    assert constant.captions[2] == "2: dead"
    assert 1 in silent.numbers["dead_channels"]
    assert silent.numbers["ratio"][1] is None
    assert 1 not in maximize(network, "5", "all", steps=2).numbers["dead_channels"]  # a gradient, and no dataset
    assert "none of those 60 images" in silent.caption
    assert "another image may still excite it" in silent.caption
    assert "answers to nothing" not in silent.caption


def test_channel_is_a_part_of_the_file_name_and_a_layer_of_the_title(network):
    one, named = maximize(network, "4", 3, steps=1), maximize(network, "8", "pear", steps=1)
    assert (one.name, one.title) == ("maximize-4-3", "What excites channels of 4 most")
    assert (named.name, named.title) == ("maximize-8-pear", "What excites channels of 8 most")
    slashed = replace(network, class_names=("cat/x", "b", "c"))
    assert maximize(slashed, "8", "cat/x", steps=1).name == "maximize-8-cat-x"


def test_survey_in_a_store_tells_its_progress(network, dataset, tmp_path):
    told: set[str] = set()
    maximize(network, "4", 0, dataset, steps=1, store=tmp_path, progress=lambda what, *_: told.add(what))
    assert len(told) == 2


def test_interruption_shows_what_is_drawn(network, monkeypatch):
    monkeypatch.setattr("convscope.methods.ascents.excite.PIXELS", 2 * 2 * 256)

    def interrupt(what: str, done: int, total: int | None) -> None:
        if done == 7:
            raise KeyboardInterrupt

    picture = maximize(network, "0", "all", steps=5, frames=3, progress=interrupt)
    assert picture.numbers["interrupted"] is True
    assert picture.numbers["channels"] == [0, 1, 2, 3]
    assert picture.values.shape == (12, 3, 16, 16)
    assert "interrupted" not in maximize(network, "0", steps=1).numbers


@pytest.mark.parametrize("parameterization", ["fourier", "maco", "pixel"])
@pytest.mark.parametrize(
    ("size", "channels"), [((8, 8), 3), ((12, 20), 3), ((9, 15), 1), ((16, 16), 6), ((70, 66), 2)]
)
def test_any_size_and_number_of_channels(parameterization, size, channels):
    network = tiny(size, channels)
    picture = maximize(network, "4", [0, 5], parameterization=parameterization, steps=12)
    assert picture.values.shape == (2, 3, *size)
    assert np.isfinite(picture.values).all()
    assert (np.array(picture.numbers["objective"]) > picture.numbers["objective_at_start"]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps 0; allowed: 1 or more"),
        ({"variants": 0}, "variants 0; allowed: 1 or more"),
        ({"frames": 0}, "frames 0; allowed: 1 or more"),
        ({"seed": -1}, "seed -1; allowed: 0 or more"),
        ({"objective": torch.ones(7)}, r"a direction of shape \(7,\) in 0; allowed: \(8,\)"),
        ({"objective": "class"}, r'no objective "class"; allowed: channel, position, or a tensor \(8,\)'),
        ({"parameterization": "wavelet"}, 'no parameterization "wavelet"; allowed: fourier, maco, pixel'),
    ],
)
def test_knobs_that_do_not_fit_are_refused(network, options, message):
    unchecked = getattr(maximize, "__wrapped__", maximize)
    with pytest.raises(UsageError, match=message):
        unchecked(network, "0", **options)
