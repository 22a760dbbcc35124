"""Recorded outputs are what the layer gave, and a model comes out as it went in."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from convscope.errors import UsageError
from convscope.hooks import (
    changed_outputs,
    convolutions,
    frozen_eval,
    list_layers,
    observe_outputs,
    record_input,
    record_outputs,
    resolve_layer,
)


class InPlaceBlock(nn.Module):
    """A residual block as others write it: one in-place ReLU, used twice, overwriting what came before it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.bn = nn.BatchNorm2d(3)
        self.relu = nn.ReLU(inplace=True)
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn(self.relu(self.conv(x)))
        out += x
        return self.relu(out)


@pytest.fixture
def block() -> InPlaceBlock:
    torch.manual_seed(0)
    block = InPlaceBlock()
    block.bn.weight.data = torch.tensor([1.0, -2.0, 0.5])
    return block


def state(model: nn.Module) -> list[object]:
    return [
        [module.training for module in model.modules()],
        [(p.requires_grad, None if p.grad is None else (id(p.grad), p.grad.tolist())) for p in model.parameters()],
        [len(module._forward_hooks) for module in model.modules()],
        [value.tolist() for value in model.state_dict().values()],
    ]


def test_records_what_layers_gave_before_anything_overwrote_it(block):
    x = torch.randn(2, 3, 6, 6)
    with frozen_eval(block), torch.no_grad():
        got = record_outputs(block, x, ["bn", "conv", "relu"])
        conv = nn.functional.conv2d(x, block.conv.weight, block.conv.bias, padding=1)
        relu = conv.clamp(min=0)
        bn = block.bn(relu)
        naive = {}
        handle = block.bn.register_forward_hook(lambda _m, _i, output: naive.update(bn=output))
        block(x)
        handle.remove()
    assert list(got) == ["bn", "conv", "relu"]
    torch.testing.assert_close(got["conv"], conv)
    torch.testing.assert_close(got["relu"], relu)  # its first run of two
    torch.testing.assert_close(got["bn"], bn)
    assert not torch.allclose(naive["bn"], bn), "the trap is gone: an output kept without a clone was not overwritten"


def test_outputs_can_be_seen_without_a_copy_while_they_are_what_the_layer_gave(block):
    x = torch.randn(2, 3, 6, 6)
    seen, values = {}, {}

    def see(name: str, output: Tensor) -> None:
        assert name not in seen, "a module's first run counts"
        seen[name], values[name] = output, output.clone()

    with frozen_eval(block), torch.no_grad():
        observe_outputs(block, x, ["bn", "relu"], see)
        expected = record_outputs(block, x, ["bn", "relu"])
        assert all(values[name].equal(expected[name]) for name in expected)
        observe_outputs(block, x, ["bn"], lambda _, output: values.update(bn=output))
        assert values["bn"].equal(expected["bn"])  # the pass ended before anything overwrote it
    with pytest.raises(UsageError, match='layer "unused" does not run'):
        observe_outputs(block, x, ["unused"], lambda *_: None)


def test_forward_stops_once_all_layers_ran(block):
    ran = []
    model = nn.Sequential(block, nn.ReLU())
    model[1].register_forward_hook(lambda *_: ran.append("after"))
    record_outputs(model, torch.zeros(1, 3, 4, 4), ["0.conv", "0"])
    assert ran == []


def test_recorded_outputs_carry_gradients(block):
    x = torch.randn(1, 3, 4, 4, requires_grad=True)
    record_outputs(block, x, ["conv"])["conv"].sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


def test_recorded_input_is_what_the_layer_before_gave(block):
    x = torch.randn(1, 3, 4, 4, requires_grad=True)
    block.eval()
    before = state(block)
    given = record_input(block, x, "bn")
    torch.testing.assert_close(given, block.conv(x).relu())
    given.sum().backward(inputs=[x])
    assert x.grad.abs().sum() > 0
    assert state(block) == before
    assert not block.bn._forward_pre_hooks
    with pytest.raises(UsageError, match='layer "unused" does not run in the forward pass of InPlaceBlock'):
        record_input(block, x, "unused")
    assert not block.unused._forward_pre_hooks


def test_changed_outputs_are_what_the_rest_of_the_pass_reads(block):
    x = torch.randn(2, 3, 6, 6)
    calls: list[str] = []
    conv = nn.functional.conv2d(x, block.conv.weight, block.conv.bias, padding=1)

    def change(name: str, given: Tensor, output: Tensor) -> Tensor | None:
        calls.append(name)
        if name == "bn":
            torch.testing.assert_close(given, conv.clamp(min=0))
            return torch.full_like(output, 2)
        return None

    before = state(block.eval())
    with torch.no_grad():
        with changed_outputs(block, ["conv", "bn", "relu"], change):
            torch.testing.assert_close(block(x), (2 + x).clamp(min=0))
        with pytest.raises(ZeroDivisionError), changed_outputs(block, ["conv"], lambda *_: 1 // 0):
            block(x)
    assert calls == ["conv", "relu", "bn", "relu"]
    assert state(block) == before


@pytest.mark.parametrize("fails", [False, True])
def test_model_is_left_as_found(block, fails):
    block.bn.eval()
    block.conv.bias.requires_grad_(False)
    block(torch.randn(2, 3, 4, 4)).sum().backward()
    before = state(block)

    def use() -> None:
        with frozen_eval(block):
            assert not any(module.training for module in block.modules())
            assert not any(p.requires_grad for p in block.parameters())
            block.zero_grad()
            record_outputs(block, torch.randn(1, 3, 4, 4), ["conv"])
            if fails:
                record_outputs(block, torch.randn(1, 4, 4, 4), ["relu"])

    if fails:
        with pytest.raises(RuntimeError, match="channels"):
            use()
    else:
        use()
    assert state(block) == before


def test_list_layers_leaves_model_as_found(block):
    before = state(block)
    list_layers(block, (4, 4))
    assert state(block) == before


def test_list_layers_of_resnet18():
    torchvision = pytest.importorskip("torchvision")
    model = torchvision.models.resnet18(num_classes=10)
    layers = list_layers(model, (32, 32))
    assert [layer.name for layer in layers[:5]] == ["conv1", "bn1", "relu", "maxpool", "layer1.0.conv1"]
    assert layers[0].output_shape == (64, 16, 16)
    assert layers[0].detail == "7×7, stride 2"
    assert layers[0].parameters == 64 * 3 * 49
    assert layers[-1].output_shape == (10,)
    assert layers[-1].detail == "512 to 10"
    assert sum(layer.parameters for layer in layers) == sum(p.numel() for p in model.parameters())
    assert len(layers) == len({layer.name for layer in layers})


def test_layer_details_in_words():
    model = nn.Sequential(
        nn.Conv2d(3, 6, (3, 1), stride=(2, 1), dilation=2, groups=3),
        nn.AvgPool2d(2),
        nn.Dropout(0.25),
        nn.ReLU(),
    )
    details = [layer.detail for layer in list_layers(model, (12, 12))]
    assert details == ["3×1, stride 2×1, dilation 2×2, 3 groups", "2×2, stride 2", "p 0.25", ""]


def test_aliases_name_modules_and_what_is_in_them(block):
    model = nn.Sequential(block)
    model.layer_aliases = {"conv2": "0", "0": "nothing"}
    assert resolve_layer(model, "conv2") == "0"
    assert resolve_layer(model, "conv2.bn") == "0.bn"
    assert resolve_layer(model, "0") == "0"  # a module's own name wins


def test_unknown_layer_names_the_nearest():
    torchvision = pytest.importorskip("torchvision")
    model = torchvision.models.resnet18()
    with pytest.raises(UsageError) as caught:
        resolve_layer(model, "layer3.conv2", model_name="resnet18")
    message = str(caught.value)
    assert message.startswith('no layer "layer3.conv2" in resnet18; closest: layer3.')
    assert "layer3.0.conv2" in message
    assert message.endswith("; list them: convscope layers RUN")
    with pytest.raises(UsageError, match='no layer "" in ResNet'):
        resolve_layer(model, "")


def test_layer_that_does_not_run_is_refused(block):
    with pytest.raises(UsageError, match='layer "unused" does not run in the forward pass of InPlaceBlock'):
        record_outputs(block, torch.zeros(1, 3, 4, 4), ["conv", "unused"])


def test_layer_that_gives_no_tensor_is_refused():
    model = nn.Sequential(nn.LSTM(4, 4))
    with pytest.raises(UsageError, match='layer "0" gives a tuple, not a tensor'):
        record_outputs(model, torch.zeros(1, 1, 4), ["0"])


def test_convolutions_within_a_block(block):
    model = nn.Sequential(nn.Conv2d(3, 3, 1), block)
    assert convolutions(model) == ["0", "1.conv"]
    assert convolutions(model, within="1") == ["1.conv"]
    assert convolutions(model, within="1.bn") == []


def test_every_layer_of_torchvisions_resnet18_equals_a_twin_that_overwrites_nothing():
    """Its ReLUs work in place and run twice a block: without a clone, `layer1.0.bn2` reads as the block's output."""
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=10)
    twin = copy.deepcopy(model).eval()
    for module in twin.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    names = [name for name, module in model.named_modules() if name and not isinstance(module, nn.ReLU)]
    expected: dict[str, Tensor] = {}
    naive: dict[str, Tensor] = {}

    def keep(kept: dict[str, Tensor], name: str, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        kept.setdefault(name, output)

    for network, kept in ((twin, expected), (model, naive)):
        for name in names:
            network.get_submodule(name).register_forward_hook(partial(keep, kept, name))
    x = torch.rand(2, 3, 64, 64)
    with frozen_eval(model), torch.no_grad():
        got = record_outputs(model, x, names)
        naive.clear()
        model(x)
        twin(x)
    # the twin's own sums are in place too, so what a block's second batch norm gave is computed from its input
    for name in (name for name in names if not name.endswith("bn2")):
        torch.testing.assert_close(got[name], expected[name])
    for name in (name for name in names if name.endswith("bn2")):
        convolved = expected[name.replace("bn2", "conv2")]
        torch.testing.assert_close(got[name], twin.get_submodule(name)(convolved))
        assert not torch.allclose(naive[name], got[name]), "the trap is gone: nothing was overwritten"
