"""However a model spells its ReLUs, gradients pass them by the rule, and what is no ReLU is refused."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.errors import UsageError
from convscope.hooks import frozen_eval, record_outputs
from convscope.relu_rules import OpenRelus, ReluRule

SPELLINGS = {
    "module": nn.ReLU(),
    "module in place": nn.ReLU(inplace=True),
    "F.relu": F.relu,
    "F.relu in place": lambda x: F.relu(x, inplace=True),
    "F.relu by keyword": lambda x: F.relu(input=x),
    "F.relu_": F.relu_,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "method": lambda x: x.relu(),
    "method in place": lambda x: x.relu_(),
    "clamp": lambda x: x.clamp(min=0),
    "clamp in place": lambda x: x.clamp_(0),
    "torch.clamp": lambda x: torch.clamp(x, 0),
    "clamp_min": lambda x: x.clamp_min(0.0),
    "torch.clip": lambda x: torch.clip(x, min=0),
    "threshold": nn.Threshold(0, 0),
    "maximum": lambda x: torch.maximum(x, torch.zeros(())),
    "max of two": lambda x: torch.max(torch.zeros_like(x), x),
    "where": lambda x: torch.where(x > 0, x, 0),
    "where of tensors": lambda x: x.where(x > 0, torch.zeros_like(x)),
}
SATURATING = {
    "ReLU6": nn.ReLU6(),
    "ReLU6 in place": nn.ReLU6(inplace=True),
    "F.relu6": F.relu6,
    "hardtanh": nn.Hardtanh(0.0, 6.0),
    "clamp": lambda x: x.clamp(0, 6),
}
X = torch.tensor([-2.0, -1.0, 1.0, 2.0, 7.0, 8.0])
G = torch.tensor([3.0, -3.0, 4.0, -4.0, 5.0, -5.0])
EXPECTED = {
    "gradient": [0.0, 0.0, 4.0, -4.0, 5.0, -5.0],
    "deconvnet": [3.0, 0.0, 4.0, 0.0, 5.0, 0.0],
    "guided": [0.0, 0.0, 4.0, 0.0, 5.0, 0.0],
}
each_rule = pytest.mark.parametrize("rule", EXPECTED)


def passed(relu, rule) -> tuple[Tensor, list[float], int]:
    x = X.clone().requires_grad_()
    with ReluRule(rule) as met:
        y = relu(x * 1)
    return y, torch.autograd.grad(y, x, G)[0].tolist(), met.count


@each_rule
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_follows_the_rule(spelling, rule):
    y, gradient, count = passed(SPELLINGS[spelling], rule)
    assert y.tolist() == X.clamp(min=0).tolist()
    assert gradient == EXPECTED[rule]
    assert count == 1


@each_rule
@pytest.mark.parametrize("spelling", SATURATING)
def test_saturating_ones_also_close_above(spelling, rule):
    y, gradient, count = passed(SATURATING[spelling], rule)
    assert y.tolist() == X.clamp(0, 6).tolist()
    assert gradient == [*EXPECTED[rule][:4], 0.0, 0.0]
    assert count == 1


@pytest.mark.parametrize(
    "other",
    [
        lambda x: x.clamp(min=0.1),
        lambda x: x.clamp(max=6),
        lambda x: torch.maximum(x, torch.ones(())),
        lambda x: torch.where(x > 1, x, 0),
        lambda x: x.max() * x,
        torch.sigmoid,
    ],
)
def test_what_is_not_a_relu_is_left_alone(other):
    x = X.clone().requires_grad_()
    with ReluRule("guided") as met:
        got = torch.autograd.grad(other(x), x, G)[0]
    assert met.count == 0
    torch.testing.assert_close(got, torch.autograd.grad(other(x), x, G)[0])


@each_rule
def test_a_skip_that_shares_the_input_keeps_its_own_gradient(rule):
    """The gradient at x is the rule's, through the ReLU, plus the skip's, which no rule touches."""
    x = X.clone().requires_grad_()
    with ReluRule(rule):
        shared = x * 1
        y = F.relu(shared) + 10 * shared
    expected = torch.tensor(EXPECTED[rule]) + 10 * G
    torch.testing.assert_close(torch.autograd.grad(y, x, G)[0], expected)


def test_what_follows_an_in_place_relu_sees_its_output():
    x = X.clone().requires_grad_()
    with ReluRule("deconvnet"):
        y = x * 1
        F.relu(y, inplace=True)  # its result is not used, only its effect
        z = 2 * y
    assert z.tolist() == (2 * X.clamp(min=0)).tolist()
    assert torch.autograd.grad(z, x, G)[0].tolist() == (2 * G).clamp(min=0).tolist()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (nn.GELU(), "gelu"),
        (nn.SiLU(), "silu"),
        (nn.LeakyReLU(), "leaky_relu"),
        (nn.LeakyReLU(inplace=True), "leaky_relu"),
        (nn.PReLU(), "prelu"),
        (nn.ELU(), "elu"),
        (nn.Hardswish(), "hardswish"),
        (nn.Mish(), "mish"),
        (nn.Softplus(), "softplus"),
        (nn.Hardtanh(), "hardtanh"),
    ],
)
def test_other_activations_are_refused_by_name(module, name):
    with pytest.raises(UsageError) as caught, ReluRule("guided"):
        module(X.clone())
    assert str(caught.value) == (
        f'the rule "guided" is not defined for {name}; allowed: ReLU and ReLU6, or the rule gradient'
    )
    with ReluRule("gradient"):
        module(X.clone())


def test_unknown_rule_is_refused():
    with pytest.raises(UsageError, match='no rule "deconv"; allowed: deconvnet, guided, gradient'):
        ReluRule("deconv")


def test_batched_gradients_equal_the_loop():
    x = X.clone().requires_grad_()
    with ReluRule("guided"):
        y = F.relu(x)
    seeds = torch.stack([G, -G, 2 * G])
    batched = torch.autograd.grad(y, x, seeds, is_grads_batched=True, retain_graph=True)[0]
    assert torch.equal(batched, torch.stack([torch.autograd.grad(y, x, s, retain_graph=True)[0] for s in seeds]))


class Block(nn.Module):
    """Ends in a ReLU of a residual sum."""

    def __init__(self, relu) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv(x)
        out += x
        return self.relu(out)


@pytest.mark.parametrize("relu", [nn.ReLU(), nn.ReLU(inplace=True), F.relu], ids=["module", "in place", "function"])
def test_a_layer_that_ends_in_a_relu_is_recorded_before_it(relu):
    block = Block(relu) if isinstance(relu, nn.Module) else Block(None)
    if block.relu is None:
        block.relu = relu
    model = nn.Sequential(block, nn.Conv2d(2, 2, 1))
    x = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with frozen_eval(model):
        got = record_outputs(model, x, ["0", "0.conv", "1"], before_relu=True)
    torch.testing.assert_close(got["0"], block.conv(x) + x)
    torch.testing.assert_close(got["0.conv"], block.conv(x))  # does not end in one
    torch.testing.assert_close(got["1"], model(x))
    assert bool((got["0"] < 0).any())
    assert bool(torch.autograd.grad(got["0"].sum(), x)[0].all())


def test_what_was_changed_after_its_relu_is_not_recorded_before_it():
    """The block gives relu(conv(x)) + x: the ReLU's input is no longer what its output came from."""

    class After(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            out = F.relu(self.conv(x))
            out += x
            return out

    block = After()
    x = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    with frozen_eval(block), torch.no_grad():
        got = record_outputs(nn.Sequential(block), x, ["0"], before_relu=True)["0"]
        torch.testing.assert_close(got, block(x))
    with torch.inference_mode():
        record_outputs(nn.Sequential(nn.ReLU()), x, ["0"], before_relu=True)


@pytest.mark.parametrize("relu", [*SPELLINGS.values(), *SATURATING.values()], ids=[*SPELLINGS, *SATURATING])
def test_an_open_relu_gives_what_came_and_its_gradient(relu):
    x = X.clone().requires_grad_()
    with OpenRelus():
        y = relu(x * 1)
    assert y.tolist() == X.tolist()
    assert torch.autograd.grad(y, x, G)[0].tolist() == G.tolist()
    assert relu(X * 1).tolist() != X.tolist()


def test_open_relus_leave_other_functions_alone():
    with OpenRelus():
        assert F.gelu(X).tolist() == F.gelu(X).tolist()
        assert X.clamp(-1, 1).tolist() == [-1, -1, 1, 1, 1, 1]
