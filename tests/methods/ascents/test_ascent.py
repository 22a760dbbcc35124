"""The climb goes up, keeps what it is asked to, stops when asked to, and leaves everything else alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convscope.methods.ascents.ascent import ascend
from convscope.methods.ascents.canvas import canvas_from
from convscope.methods.ascents.image_statistics import assumed_statistics
from convscope.types import Network

STILL = torch.eye(3)[None, None, :2]  # (1, 1, 2, 3)


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 3))
    return Network(model, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), (8, 8), ("a", "b"), "tiny")


def climb(network, steps=10, images=2, objective=None, **options):
    canvas = canvas_from("pixel", torch.full((images, 3, 8, 8), 0.5), assumed_statistics(network))
    objective = objective or (lambda maps: maps[:, 0].mean((1, 2)))
    return ascend(network, "0", canvas, objective, moves=STILL.expand(steps, images, 2, 3), reach=0.5, **options)


def test_first_steps_are_adams_by_hand(network):
    """Two steps of Kingma & Ba's Algorithm 1, on a gradient written out for a filter without its bias."""
    found = climb(network, 2, images=1, keep=[1]).frames[1]
    values = torch.zeros(1, 3, 8, 8).requires_grad_()
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (network.mean, network.std))

    def image():
        start = torch.logit(torch.tensor(0.5)) - torch.logit(mean)
        return torch.sigmoid(torch.logit(mean) + start + values / (mean * (1 - mean)))

    inputs = (image() - mean) / std
    score = nn.functional.conv2d(inputs, network.model[0].weight[:1], network.model[0].bias[:1], padding=1).mean()
    (gradient,) = torch.autograd.grad(score, values)
    with torch.no_grad():
        rate = 0.5 / (2 * 64) ** 0.5  # two steps of at least 64
        values += rate * gradient / (gradient.abs() + 1e-12)  # the corrected moments of a first step
    torch.testing.assert_close(found, image().detach(), rtol=0, atol=1e-5)


def test_only_the_images_own_objective_moves_it(network):
    still = climb(network, objective=lambda maps: maps[:, 0].mean((1, 2)) * torch.tensor([1.0, 0.0]))
    assert (still.images[0] - 0.5).abs().max() > 0.05
    torch.testing.assert_close(still.images[1], torch.full((3, 8, 8), 0.5), rtol=0, atol=1e-6)


def test_objective_is_taken_before_the_relu(network):
    """With a bias that silences the layer, its ReLU would pass no gradient at all."""
    network.model[0].bias.data.fill_(-100)
    canvas = canvas_from("pixel", torch.full((1, 3, 8, 8), 0.5), assumed_statistics(network))
    moves = STILL.expand(5, 1, 2, 3)
    found = ascend(network, "1", canvas, lambda maps: maps[:, 0].mean((1, 2)), moves=moves, reach=0.5)
    assert (found.images - 0.5).abs().max() > 0.05


def test_frames_are_the_images_at_their_steps(network):
    whole = climb(network, 10, keep=[0, 3, 10])
    assert list(whole.frames) == [0, 3, 10]
    torch.testing.assert_close(whole.frames[0], torch.full((2, 3, 8, 8), 0.5), rtol=0, atol=1e-6)
    assert torch.equal(whole.frames[10], whole.images)
    assert not torch.equal(whole.frames[3], whole.images)


def test_interruption_gives_what_is_reached_and_leaves_the_model(network):
    def interrupt(what: str, done: int, total: int | None) -> None:
        assert (what, total) == ("climbing 0", 10)
        if done == 4:
            raise KeyboardInterrupt

    found = climb(network, progress=interrupt)
    assert found.interrupted
    assert 0.01 < (found.images - 0.5).abs().max() < (climb(network).images - 0.5).abs().max()
    assert network.model.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.model.parameters())


def test_gradients_are_had_where_they_are_switched_off(network):
    with torch.no_grad():
        assert (climb(network).images - 0.5).abs().max() > 0.05
