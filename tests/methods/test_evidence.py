"""A control is the same network with other weights, and similarity is a correlation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from convscope.methods.evidence import randomized, similarity, with_control
from convscope.paint import image_picture, paint
from convscope.types import Network


class Scaled(nn.Module):
    """A parameter beside any layer that could reset it."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.arange(4.0))
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.bn(self.conv(x)) * self.scale.view(1, -1, 1, 1)


@pytest.fixture
def network() -> Network:
    model = Scaled()
    model.bn.running_mean.fill_(5)
    model.bn.weight.data.fill_(7)
    return Network(model.eval(), (0.5,) * 3, (0.5,) * 3, (8, 8), (), "scaled", "c0ffee")


def test_every_weight_is_drawn_anew_by_the_seed_and_the_network_untouched(network):
    before = {key: value.clone() for key, value in network.model.state_dict().items()}
    state = torch.get_rng_state()
    first, again, other = (randomized(network, seed=seed).model.state_dict() for seed in (0, 0, 1))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[key], value) for key, value in network.model.state_dict().items())
    assert all(torch.equal(first[key], again[key]) for key in first)
    for key in ("conv.weight", "conv.bias", "scale"):
        assert not torch.equal(first[key], before[key])
        assert not torch.equal(first[key], other[key])
    assert sorted(first["scale"].tolist()) == [0, 1, 2, 3]
    assert first["bn.running_mean"].tolist() == [0] * 4
    assert first["bn.weight"].tolist() == [1] * 4
    assert randomized(network).weights_sha256 == ""
    assert not randomized(network).model.training


def test_similarity_is_the_absolute_correlation_of_numpy():
    draw = np.random.default_rng(0)
    first, second = draw.normal(size=(5, 3, 6, 7)), draw.normal(size=(5, 3, 6, 7))
    second[1] = -2 * first[1] + 3
    second[2] = 0.25
    expected = [
        abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) for a, b in zip(first, second + 0, strict=True) if b.std()
    ]
    got = similarity(first, second)
    np.testing.assert_allclose(np.delete(got, 2), expected)
    assert got[1] == pytest.approx(1)
    assert got[2] == 0


def test_the_control_begins_a_row_of_its_own_and_originals_are_not_compared():
    draw = np.random.default_rng(0)
    tiles, others = draw.random((2, 5, 3, 4, 4)).astype(np.float32)
    captions = ["image", "a", "b", "c", "d"]
    picture = image_picture("p", "P", tiles, captions=captions, caption="Read it.", columns=3)
    both = with_control(picture, image_picture("q", "Q", others, captions=captions), originals=1)
    assert both.columns == 3
    np.testing.assert_array_equal(both.values[:5], tiles)
    np.testing.assert_array_equal(both.values[6:], others)  # after one blank, in the third row
    assert both.captions[:7] == (*captions, "", "image random")
    np.testing.assert_allclose(both.numbers["control_similarity"], similarity(tiles[1:], others[1:]), atol=1e-4)
    assert "lower half is the same from random weights" in both.caption
    assert paint(both).std() > 0


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize(
    "normalize", [nn.utils.spectral_norm, nn.utils.weight_norm, nn.utils.parametrizations.weight_norm]
)
def test_weights_behind_a_normalization_are_drawn_anew_too(normalize):
    model = normalize(nn.Conv2d(3, 8, 3)).eval()
    network = Network(model, (0.5,) * 3, (0.5,) * 3, (8, 8), (), "normalized")
    image = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        trained, control = network(image).numpy(), randomized(network)(image).numpy()
    assert similarity(trained, control)[0] < 0.8


def test_no_gpu_is_seeded(network, monkeypatch):
    def planted(*_):
        raise AssertionError("every GPU would be seeded")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", planted)
    randomized(network)
