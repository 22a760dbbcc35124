"""The optimizer: the numbers of torch's plain ones, wherever weights and gradients lie in memory."""

import dataclasses
from unittest.mock import patch

import pytest
import torch
from torch import nn

from convscope.training.optimizers import DenseOptimizer
from convscope.types import Phase

from .conftest import ADAM, SGD, tiny_net

PHASES = [
    SGD,
    ADAM,
    Phase("sgd", 0.05, steps=7, nesterov=True, weight_decay=1e-2),
    Phase("sgd", 0.05, steps=7, momentum=0),
    Phase("sgd", 0.05, steps=7, norm_rate=1.0, weight_decay=1e-2, decay_norms_and_biases=True),
]


def set_gradients(model, step, layout):
    generator = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        gradient = torch.randn(parameter.shape, generator=generator)
        parameter.grad = gradient.to(memory_format=layout) if gradient.ndim == 4 else gradient


def plain_optimizer(model, phase):
    if phase.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), weight_decay=phase.weight_decay, foreach=False)
    options = {"momentum": phase.momentum, "nesterov": phase.nesterov, "weight_decay": phase.weight_decay}
    return torch.optim.SGD(model.parameters(), foreach=False, **options)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_moves_the_weights_as_torchs_plain_optimizers_do(phase, layout):
    """Also where gradients lie otherwise than their weights, which torch's fused ones get wrong by themselves."""
    model, plain = tiny_net(), tiny_net()
    optimizer, textbook = DenseOptimizer(model, phase), plain_optimizer(plain, phase)
    for step in range(5):
        set_gradients(model, step, layout)
        set_gradients(plain, step, layout)
        optimizer.step(learning_rate=0.1 / (step + 1))
        for group in textbook.param_groups:
            group["lr"] = 0.1 / (step + 1)
        textbook.step()
        assert all(parameter.grad is None for parameter in model.parameters())
    for weight, expected in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(weight, expected, rtol=1e-5, atol=1e-7)


def test_norms_alone_have_a_rate_of_their_own():
    """Not the biases of convolutions and linear layers, which such a rate would carry off."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4), nn.Linear(2, 3)
    )
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    phase = Phase("sgd", 0.1, steps=1, momentum=0, norm_rate=5)
    optimizer = DenseOptimizer(model, phase)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step(learning_rate=0.1)
    for name, value in model.named_parameters():
        rate = 0.5 if name.startswith(("1.", "3.")) else 0.1
        torch.testing.assert_close(value.detach(), before[name] - rate, rtol=0, atol=1e-6)


@pytest.mark.parametrize("phase", PHASES)
def test_goes_on_from_its_state_to_the_last_bit(phase):
    model = tiny_net()
    optimizer = DenseOptimizer(model, phase)
    for step in range(6):
        if step == 3:
            kept = {
                i: {k: v.contiguous().clone() for k, v in s.items() if v is not None}
                for i, s in optimizer.state().items()
            }
            again = tiny_net()
            again.load_state_dict({name: value.clone() for name, value in model.state_dict().items()})
            resumed = DenseOptimizer(again, phase)
            resumed.load_state(kept)
        set_gradients(model, step, torch.channels_last)
        optimizer.step(learning_rate=0.1)
        if step >= 3:
            set_gradients(again, step, torch.channels_last)
            resumed.step(learning_rate=0.1)
    for weight, expected in zip(again.parameters(), model.parameters(), strict=True):
        assert torch.equal(weight, expected)


def test_state_has_the_axes_of_its_parameters():
    """So that checkpoints do not depend on how memory is laid out."""
    model = tiny_net()
    optimizer = DenseOptimizer(model, SGD)
    set_gradients(model, 0, torch.channels_last)
    gradient = model.conv2.weight.grad.clone() + 1e-3 * model.conv2.weight.detach()
    optimizer.step(learning_rate=0.1)
    shapes = [tuple(values["momentum_buffer"].shape) for values in optimizer.state().values()]
    matrices = [tuple(p.shape) for p in model.parameters() if p.ndim > 1]
    assert shapes == matrices + [tuple(p.shape) for p in model.parameters() if p.ndim == 1]
    torch.testing.assert_close(optimizer.state()[1]["momentum_buffer"], gradient)


def test_gradients_are_not_copied():
    model = tiny_net()
    optimizer = DenseOptimizer(model, ADAM)
    set_gradients(model, 0, torch.channels_last)
    where = {parameter.grad.data_ptr() for parameter in model.parameters()}
    seen = set()

    def look(self):
        seen.update(p.grad.data_ptr() for group in self.param_groups for p in group["params"])
        assert all(p.is_contiguous() and p.grad.is_contiguous() for g in self.param_groups for p in g["params"])

    with patch.object(torch.optim.Adam, "step", look):
        optimizer.step(learning_rate=0.1)
    assert seen == where


def test_norms_and_biases_can_be_spared_decay():
    for spared in (True, False):
        model = tiny_net()
        before = [parameter.detach().clone() for parameter in model.parameters()]
        phase = dataclasses.replace(SGD, weight_decay=0.5, momentum=0.0, decay_norms_and_biases=not spared)
        optimizer = DenseOptimizer(model, phase)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step(learning_rate=0.1)
        for parameter, old in zip(model.parameters(), before, strict=True):
            kept = 1.0 if spared and old.ndim == 1 else 1 - 0.1 * 0.5
            torch.testing.assert_close(parameter.detach(), kept * old)
