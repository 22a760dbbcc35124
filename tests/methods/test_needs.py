"""Channels come first wherever a network keeps them, and each is named once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from convscope.errors import UsageError
from convscope.methods.needs import as_maps, choose_channels


class Permuted(nn.Module):
    """Stands for any block: its class says nothing of where channels stand."""


@pytest.mark.parametrize(
    ("module", "shape", "size", "expected"),
    [
        (nn.Conv2d(3, 16, 3), (2, 16, 16, 8), (32, 32), (2, 16, 16, 8)),  # known, whatever its sides
        (nn.LayerNorm(96), (2, 16, 16, 96), (64, 64), (2, 96, 16, 16)),
        (nn.Linear(4, 96), (2, 5, 7, 96), (64, 64), (2, 96, 5, 7)),
        (nn.GELU(), (2, 16, 16, 384), (64, 64), (2, 384, 16, 16)),
        (Permuted(), (2, 8, 12, 96), (32, 48), (2, 96, 8, 12)),
        (Permuted(), (2, 96, 8, 12), (32, 48), (2, 96, 8, 12)),
        (Permuted(), (2, 96, 9, 9), (65, 65), (2, 96, 9, 9)),
        (Permuted(), (2, 16, 16, 16), (64, 64), (2, 16, 16, 16)),  # either would do: PyTorch's own order
        (Permuted(), (2, 96, 29, 29), (64, 64), (2, 96, 29, 29)),
        (nn.ReLU(), (2, 512), (64, 64), (2, 512, 1, 1)),
        (nn.ReLU(), (2, 512, 1, 1), (64, 64), (2, 512, 1, 1)),
    ],
)
def test_channels_come_first(module, shape, size, expected):
    output = torch.arange(float(np.prod(shape))).view(shape)
    maps = as_maps(module, output, layer="it", image_size=size)
    assert maps.shape == expected
    if len(shape) == 4 and expected != shape:
        assert torch.equal(maps[:, 3], output[..., 3])


def test_networks_that_keep_channels_last_agree_with_themselves():
    models = pytest.importorskip("torchvision").models
    from convscope.hooks import frozen_eval
    from convscope.methods.needs import layer_maps
    from convscope.types import Network

    torch.manual_seed(0)
    network = Network(models.convnext_tiny(num_classes=3), (0.5,) * 3, (0.5,) * 3, (64, 64), (), "convnext")
    with frozen_eval(network.model), torch.no_grad():
        image = torch.rand(1, 3, 64, 64)
        channels = [layer_maps(network, f"features.1.0.block.{part}", image).shape for part in range(6)]
    assert channels == [(1, width, 16, 16) for width in (96, 96, 96, 384, 384, 96)]


def test_what_is_neither_maps_nor_vectors_is_refused():
    with pytest.raises(UsageError, match=r'layer "tokens" gives \(2, 50, 768\); allowed: \(N, C, H, W\) or \(N, C\)'):
        as_maps(nn.Identity(), torch.zeros(2, 50, 768), layer="tokens", image_size=(64, 64))


def test_channels_are_named_once_and_by_any_integer():
    assert choose_channels([0, 0, 2, 1, 2], 4, layer="it") == [0, 2, 1]
    assert choose_channels(np.int64(3), 4, layer="it") == [3]
    assert choose_channels(list(np.arange(2)), 4, layer="it") == [0, 1]
    assert choose_channels("b", 2, layer="fc", class_names=("a", "b")) == [1]
    with pytest.raises(UsageError, match="no channel 4 in it; allowed: 0 to 3"):
        choose_channels([1, 4], 4, layer="it")
    with pytest.raises(UsageError, match='no class "c"; allowed: a, b'):
        choose_channels("c", 2, layer="fc", class_names=("a", "b"))
    with pytest.raises(UsageError, match="no channel of it is named; allowed: 0 to 3"):
        choose_channels([], 4, layer="it")
