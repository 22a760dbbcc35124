"""Patterns that follow the weights begin where the last ended, and give the model its own weights back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convscope.errors import CheckpointError
from convscope.methods.ascents.ascent import REACH, ascend
from convscope.methods.ascents.canvas import random_canvas
from convscope.methods.ascents.follow import follow
from convscope.methods.ascents.image_statistics import assumed_statistics
from convscope.methods.ascents.objectives import climbed, score
from convscope.methods.ascents.transforms import draw_moves
from convscope.methods.needs import layer_maps
from convscope.types import Network

CHANNELS = [3, 1]


def small_model(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3))


@pytest.fixture
def network() -> Network:
    return Network(small_model(0), (0.5, 0.4, 0.3), (0.2,) * 3, (12, 12), (), "small")


WEIGHTS = [small_model(seed).state_dict() for seed in (1, 2, 3)]


def noise_canvas(network: Network):
    return random_canvas("fourier", [(0, each, 0) for each in CHANNELS], (12, 12), assumed_statistics(network))


def test_without_steps_every_image_is_the_start(network):
    followed = follow(network, "3", CHANNELS, WEIGHTS, assumed_statistics(network), first_steps=0, steps=0, kept=1)
    for images in followed:
        torch.testing.assert_close(images, noise_canvas(network).images().detach(), rtol=0, atol=0)


def test_first_is_an_ascent_from_noise_and_the_next_begins_at_its_end(network):
    statistics = assumed_statistics(network)
    first, second = follow(network, "3", CHANNELS, WEIGHTS[:2], statistics, first_steps=6, steps=4, kept=0.5)
    network.model.load_state_dict(WEIGHTS[0])
    canvas = noise_canvas(network)
    objective = climbed(CHANNELS, "channel")
    moves = draw_moves([(0, each, 0) for each in CHANNELS], 6, (12, 12))
    alone = ascend(network, "3", canvas, objective, moves=moves, reach=REACH["fourier"])
    torch.testing.assert_close(first, alone.images, rtol=0, atol=0)
    network.model.load_state_dict(WEIGHTS[1])
    canvas.parameters[0].data *= 0.5
    moves = draw_moves([(0, each, 1) for each in CHANNELS], 4, (12, 12))
    alone = ascend(network, "3", canvas, objective, moves=moves, reach=REACH["fourier"])
    torch.testing.assert_close(second, alone.images, rtol=0, atol=0)


def test_faded_to_nothing_is_the_mean_colour(network):
    followed = follow(network, "3", [0], WEIGHTS[:2], assumed_statistics(network), first_steps=2, steps=0, kept=0)
    first, second = followed
    assert first.std((2, 3)).min() > 0.01
    torch.testing.assert_close(second, torch.tensor(network.mean).view(1, 3, 1, 1).expand(1, 3, 12, 12))


def test_each_climbs_its_own_weights(network):
    images = list(follow(network, "3", CHANNELS, WEIGHTS, assumed_statistics(network), first_steps=16, steps=8))
    network.model.eval()
    for number, weights in enumerate(WEIGHTS):
        network.model.load_state_dict(weights)
        with torch.no_grad():
            scores = [score(layer_maps(network, "3", each), "channel")[[0, 1], CHANNELS] for each in images]
        if number:
            assert (scores[number] > scores[number - 1]).all()


def test_a_batch_gives_what_its_channels_give_alone(network, monkeypatch):
    statistics = assumed_statistics(network)
    together = list(follow(network, "3", CHANNELS, WEIGHTS, statistics, first_steps=3, steps=2))
    alone = list(follow(network, "3", CHANNELS[1:], WEIGHTS, statistics, first_steps=3, steps=2))
    monkeypatch.setattr("convscope.methods.ascents.excite.PIXELS", 2 * 12 * 12)
    parts = list(follow(network, "3", CHANNELS, WEIGHTS, statistics, first_steps=3, steps=2))
    for whole, single, part in zip(together, alone, parts, strict=True):
        torch.testing.assert_close(whole[1:], single)
        torch.testing.assert_close(whole, part)


def test_the_model_is_left_as_found(network):
    network.model[1].eval()
    before = {name: value.clone() for name, value in network.model.state_dict().items()}

    def check():
        torch.testing.assert_close(network.model.state_dict(), before, rtol=0, atol=0)
        assert [module.training for module in network.model] == [True, False, True, True]
        assert all(parameter.grad is None and parameter.requires_grad for parameter in network.model.parameters())

    statistics = assumed_statistics(network)
    list(follow(network, "3", [0], WEIGHTS, statistics, first_steps=1, steps=1))
    check()
    half = follow(network, "3", [0], WEIGHTS, statistics, first_steps=1, steps=1)
    next(half)
    half.close()
    check()
    with pytest.raises(CheckpointError, match="weights that are not of small"):
        list(follow(network, "3", [0], [WEIGHTS[0], {"0.weight": torch.zeros(1)}], statistics, first_steps=1))
    check()

    def interrupt(what, done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(follow(network, "3", [0], WEIGHTS, statistics, first_steps=4, progress=interrupt))
    check()
