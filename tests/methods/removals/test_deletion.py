"""The logit without the top pixels is the one computed by hand, and the control has the same shape elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from convscope.methods.removals.deletion import without_top


class Counts(nn.Module):
    """Logits: how many pixels are not zero, and the sum of the left half."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([(x != 0).float().sum((1, 2, 3)), x[..., : x.shape[3] // 2].sum((1, 2, 3))], 1)


@pytest.mark.parametrize("size", [(10, 10), (8, 20), (1, 5)])
def test_a_fifth_is_taken_here_and_elsewhere(size):
    values = np.random.default_rng(0).random((1, 1, *size))
    top, elsewhere = without_top(Counts(), torch.ones(1, 1, *size), 0, [values, -values])
    left = size[0] * size[1] - round(0.2 * size[0] * size[1])
    assert top == elsewhere == [left, left]


def test_the_highest_pixels_are_taken():
    inputs, left = torch.ones(1, 2, 8, 10), np.zeros((1, 1, 8, 10))
    left[..., :2] = 1
    top, elsewhere = without_top(Counts(), inputs, 1, [left, -left])
    assert top[0] == 2 * 8 * 3
    assert top[1] < 2 * 8 * 5
    assert elsewhere[0] > top[0]


def test_a_maps_figures_do_not_depend_on_the_others():
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2)).requires_grad_(False)
    maps = [np.random.default_rng(seed).random((1, 1, 8, 8)) for seed in range(3)]
    inputs = torch.rand(1, 3, 8, 8)
    together, alone = without_top(model, inputs, 1, maps), without_top(model, inputs, 1, maps[2:])
    np.testing.assert_allclose([side[2] for side in together], [side[0] for side in alone], rtol=1e-5)
    assert without_top(model, inputs, 1, maps, seed=1)[1] != together[1]
