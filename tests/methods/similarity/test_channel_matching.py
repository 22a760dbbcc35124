"""Channels that were shuffled, scaled and dropped are found again, and those without a partner are told."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from convscope.data.memory import dataset_in_memory
from convscope.errors import NumericsError, UsageError
from convscope.hooks import frozen_eval, record_outputs
from convscope.methods.similarity import channel_matching as module
from convscope.methods.similarity.channel_matching import channel_correlations, match_channels
from convscope.types import Dataset, Network


def small(width: int = 6, *, seed: int = 0, stride: int = 1) -> Network:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, width, 3, stride), nn.ReLU(), nn.Conv2d(width, 4, 3), nn.BatchNorm2d(4))
    return Network(model, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25), (12, 12), (), "small")


@pytest.fixture
def dataset() -> Dataset:
    drawn = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (20, 3, 12, 12), generator=drawn, dtype=torch.uint8)
    halves = (pixels[:10], torch.arange(10) % 5), (pixels, torch.arange(20) % 5)
    return dataset_in_memory("noise", *halves, tuple("abcde"), source="drawn here")


def maps(network: Network, dataset: Dataset, layer: str) -> torch.Tensor:
    with frozen_eval(network.model), torch.no_grad():
        fed = network.normalize(dataset.test.images.pixels.float() / 255)
        return record_outputs(network.model, fed, [layer])[layer].double()


def test_correlations_are_those_of_numpy_over_images_and_positions(dataset, monkeypatch):
    monkeypatch.setattr(module, "batch_limit", lambda _: 12)  # batches of three, the last of two
    first, second = small(seed=0), small(8, seed=1)
    found = channel_correlations(first, second, "1", "0", dataset)
    rows = [maps(n, dataset, name).movedim(1, 0).flatten(1).numpy() for n, name in ((first, "1"), (second, "0"))]
    np.testing.assert_allclose(found, np.corrcoef(*rows)[:6, 6:], atol=1e-6)


def test_maps_of_two_sizes_meet_at_the_coarser(dataset):
    fine, coarse = small(seed=0), small(5, seed=1, stride=2)  # 10 and 5 positions wide
    found = channel_correlations(fine, coarse, "0", "0", dataset)
    halved = maps(fine, dataset, "0").unflatten(2, (5, 2)).unflatten(4, (5, 2)).mean((3, 5))
    rows = [each.movedim(1, 0).flatten(1).numpy() for each in (halved, maps(coarse, dataset, "0"))]
    np.testing.assert_allclose(found, np.corrcoef(*rows)[:6, 6:], atol=1e-6)


def test_a_planted_permutation_is_found_exactly(dataset):
    first, second = small(16), small(16)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(2))
    conv = second.model[0]
    scale = torch.linspace(0.1, 5, 16).view(-1, 1, 1, 1)  # a channel's own scale and offset change nothing
    conv.weight.data = scale * conv.weight.data[order]
    conv.bias.data = scale.flatten() * conv.bias.data[order] + 3
    match = match_channels(channel_correlations(first, second, "0", "0", dataset))
    assert sorted(match.pairs) == sorted((int(source), place) for place, source in enumerate(order))
    np.testing.assert_allclose(match.correlations, 1, atol=1e-6)
    assert match.alone == match.others_alone == []


def test_other_counts_leave_some_alone_and_the_dead_come_last(dataset):
    first, second = small(6), small(6)
    second.model[0] = nn.Conv2d(3, 4, 3)
    kept = [5, 0, 2, 3]
    second.model[0].weight.data = first.model[0].weight.data[kept].clone()
    second.model[0].weight.data[3] = 0
    second.model[0].bias.data[3] = 1e4
    match = match_channels(channel_correlations(first, second, "0", "0", dataset))
    assert set(match.pairs) >= {(5, 0), (0, 1), (2, 2)}
    assert match.pairs[:3] == sorted(match.pairs[:3], key=lambda pair: pair[0]) or match.correlations[2] > 0.999
    assert match.others_alone == match.others_dead == [3]
    assert set(match.alone) == {1, 3, 4}
    assert match.dead == []
    back = match_channels(channel_correlations(second, first, "0", "0", dataset))
    assert sorted(back.pairs) == sorted((b, a) for a, b in match.pairs)
    assert back.alone[-1:] == back.dead == [3]


def test_the_assignment_has_the_largest_sum_of_all_permutations():
    drawn = np.random.default_rng(0)
    for _ in range(20):
        table = drawn.uniform(0.5, 1, (4, 5))
        best = max(
            sum(table[row, column] for row, column in enumerate(each)) for each in itertools.permutations(range(5), 4)
        )
        match = match_channels(table)
        assert sum(match.correlations) == pytest.approx(best)
        assert match.correlations == sorted(match.correlations, reverse=True)
        assert [table[pair] for pair in match.pairs] == match.correlations


def test_opposites_and_strangers_are_no_partners():
    match = match_channels(np.array([[-1.0, 0.2], [0.3, 0.49]]))
    assert match.pairs == []
    assert match.alone == match.others_alone == [0, 1]
    assert match.dead == match.others_dead == []


def test_two_dead_layers_match_nothing():
    match = match_channels(np.zeros((2, 3)))
    assert match.pairs == []
    assert (match.dead, match.others_dead) == ([0, 1], [0, 1, 2])


def test_mistakes_are_told(dataset):
    network = small()
    with pytest.raises(UsageError, match='no layer "5" in small'):
        channel_correlations(network, network, "5", "0", dataset, count=2)
    network.model[0].bias.data[3] = torch.nan
    with pytest.raises(NumericsError, match='layer "0" gives values that are not finite in channel 3'):
        channel_correlations(network, network, "0", "0", dataset, count=2)
