"""Reconstructions equal networks run backwards by hand, and other tools where those are right."""

from __future__ import annotations

import copy
import inspect

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.errors import NumericsError, UsageError
from convscope.methods.projection import project, record_pass
from convscope.methods.reconstruct import reconstruct, reconstruct_one
from convscope.types import Network


def network(model: nn.Module, *, channels: int = 3, size: tuple[int, int] = (16, 16)) -> Network:
    """A network that feeds images as they are, so that a reference needs no normalizing."""
    return Network(model.eval(), (0.0,) * channels, (1.0,) * channels, size, ("a", "b"), "tiny")


def an_image(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def plain() -> nn.Sequential:
    """conv, batch norm, ReLU, pool, conv, ReLU, pool, conv: pools do not overlap."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 5, 3, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, 4, 2)),
    )
    model[1].running_mean.uniform_(-0.3, 0.3)
    model[1].running_var.uniform_(0.5, 2)
    model[1].weight.data = torch.tensor([1.0, -1.0, 0.5, 2.0, -0.7, 1.5])
    return model


def backwards_by_hand(model: nn.Sequential, image: Tensor, signal: Tensor, rule: str) -> Tensor:
    """Zeiler & Fergus 2014, section 2.1, literally: unpool at the switches, rectify, filter with the transpose."""
    conv1, bn, _, _, conv2, _, _, conv3 = model
    a1 = bn(conv1(image[None]))
    p1, switches1 = F.max_pool2d(a1.relu(), 2, return_indices=True)
    a2 = conv2(p1)
    _, switches2 = F.max_pool2d(a2.relu(), 2, return_indices=True)

    def rectify(back: Tensor, forward: Tensor) -> Tensor:
        passed = back.clamp(min=0)
        return passed * (forward > 0) if rule == "guided" else passed

    back = F.conv_transpose2d(signal[None], conv3.weight)
    back = F.max_unpool2d(back, switches2, 2, output_size=a2.shape)
    back = F.conv_transpose2d(rectify(back, a2), conv2.weight, stride=2, padding=1, output_padding=1)
    back = F.max_unpool2d(back, switches1, 2, output_size=a1.shape)
    scale = (bn.weight / (bn.running_var + bn.eps).sqrt()).view(1, -1, 1, 1)
    return F.conv_transpose2d(rectify(back, a1) * scale, conv1.weight, padding=1)[0]


@pytest.mark.parametrize("rule", ["deconvnet", "guided"])
@pytest.mark.parametrize("start", ["map", "peak"])
def test_a_plain_network_equals_one_run_backwards_by_hand(rule, start):
    model, image = plain(), an_image(3, 24, 24)
    with torch.no_grad():
        maps = model.eval()(image[None])[0].clamp(min=0)  # (4, 2, 2)
        if start == "peak":
            maps = maps * (maps == maps.amax((1, 2), keepdim=True))
        signals = [maps, *(maps * (torch.arange(4) == c).view(4, 1, 1) for c in range(4))]
        expected = torch.stack([backwards_by_hand(model, image, signal, rule) for signal in signals])
    values = reconstruct(network(model), "7", image, "all", rule=rule, start=start).values
    assert np.abs(expected.numpy()).max() > 1e-3
    np.testing.assert_allclose(values[[1, 3, 4, 5, 6]], expected.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(values[2], expected[1:].sum(0).numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(values[0], image.numpy())


class Residual(nn.Module):
    """A stem and a residual block of whichever spelling; relu is called three times."""

    def __init__(self, relu) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.conv1, self.conv2 = nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.short = nn.Conv2d(6, 8, 1, stride=2)
        self.head = nn.Conv2d(8, 4, 1)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        y = self.conv2(self.relu(self.conv1(x)))
        return self.head(self.relu(y + self.short(x)))


class Modules(Residual):
    """The same with a module of its own for each ReLU, as Captum and zennit need it."""

    def __init__(self) -> None:
        super().__init__(None)
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.relus[0](self.stem(x))
        y = self.conv2(self.relus[1](self.conv1(x)))
        return self.head(self.relus[2](y + self.short(x)))


def residual(relu=F.relu) -> Residual:
    torch.manual_seed(3)
    return Residual(relu)


def module_twin(model: Residual) -> Modules:
    twin = Modules()
    twin.load_state_dict(model.state_dict())
    return twin.eval()


@pytest.mark.parametrize("rule", ["deconvnet", "guided", "gradient"])
@pytest.mark.parametrize("relu", [F.relu, torch.relu, nn.ReLU(inplace=True), lambda x: x.clamp(min=0)])
def test_a_residual_network_equals_a_slow_reference(rule, relu):
    model, image = residual(relu), an_image(3, 12, 12)
    expected = []
    with torch.no_grad():
        x0 = model.stem(image[None])
        x1 = x0.relu()
        y0 = model.conv1(x1)
        z0 = model.conv2(y0.relu()) + model.short(x1)
        out = model.head(z0.relu())

        def rectify(back, forward):
            if rule == "gradient":
                return back * (forward > 0)
            return back.clamp(min=0) * (forward > 0 if rule == "guided" else 1)

        for channel in range(4):
            signal = torch.zeros_like(out)
            signal[:, channel] = out[:, channel] if rule == "gradient" else out[:, channel].clamp(min=0)
            z = rectify(F.conv_transpose2d(signal, model.head.weight), z0)
            y = rectify(F.conv_transpose2d(z, model.conv2.weight, padding=1), y0)
            x = F.conv_transpose2d(y, model.conv1.weight, stride=2, padding=1, output_padding=1)
            x = rectify(x + F.conv_transpose2d(z, model.short.weight, stride=2, output_padding=1), x0)
            expected.append(F.conv_transpose2d(x, model.stem.weight, padding=1)[0])
    values = reconstruct(network(model), "head", image, [0, 1, 2, 3], rule=rule).values[3:]
    np.testing.assert_allclose(values, torch.stack(expected).numpy(), rtol=1e-5, atol=1e-6)


def test_gradients_add_up_over_channels_and_equal_autograd():
    model, image = residual(), an_image(3, 12, 12)
    x = image[None].clone().requires_grad_()
    out = model(x)
    (expected,) = torch.autograd.grad(out, x, out.detach())
    picture = reconstruct(network(model), "head", image, "all", rule="gradient")
    np.testing.assert_allclose(picture.values[1], expected[0].numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(picture.values[2], picture.values[1], rtol=1e-4, atol=1e-6)
    assert picture.numbers["sum_similarity"] == 1


def test_all_at_once_is_not_the_sum_under_the_other_rules():
    picture = reconstruct(network(residual()), "head", an_image(3, 12, 12), "all", rule="deconvnet")
    assert picture.captions[:3] == ("image", "all at once", "sum")
    assert picture.numbers["sum_similarity"] < 0.999


@pytest.mark.filterwarnings("ignore:Setting backward hooks")
@pytest.mark.parametrize("rule", ["deconvnet", "guided"])
def test_agrees_with_captum_and_zennit_where_relus_are_modules(rule):
    captum = pytest.importorskip("captum.attr")
    zennit = pytest.importorskip("zennit.composites")
    attribution = pytest.importorskip("zennit.attribution")
    functional = residual().eval()
    modules, image = module_twin(functional), an_image(3, 12, 12)
    ours = project(network(modules), "head", image[None], one_hot := _one_hot(2), rule=rule)
    of_functional = project(network(functional), "head", image[None], one_hot, rule=rule)
    torch.testing.assert_close(of_functional, ours, rtol=1e-5, atol=1e-6)

    method = {"deconvnet": captum.NeuronDeconvolution, "guided": captum.NeuronGuidedBackprop}[rule]
    theirs = method(modules, modules.head).attribute(image[None].clone().requires_grad_(), (2, 1, 1)).detach()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    composite = {"deconvnet": zennit.DeconvNet, "guided": zennit.GuidedBackprop}[rule]()
    with attribution.Gradient(modules, composite) as attributor:
        _, theirs = attributor(image[None].clone(), lambda _: one_hot)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)

    missed = method(functional, functional.head).attribute(image[None].clone().requires_grad_(), (2, 1, 1)).detach()
    assert not torch.allclose(missed, ours, atol=1e-4), "the trap is gone: functional ReLUs were met by a peer"


def _one_hot(channel: int) -> Tensor:
    signal = torch.zeros(1, 4, 6, 6)
    signal[0, channel, 1, 1] = 1
    return signal


def test_a_batch_of_signals_equals_single_ones():
    net, image = network(residual()), an_image(3, 12, 12)
    batch = reconstruct(net, "head", image, "all").values
    for channel in range(4):
        np.testing.assert_allclose(
            reconstruct(net, "head", image, channel).values[2], batch[3 + channel], rtol=1e-5, atol=1e-6
        )


def test_one_units_gradient_is_its_activation_times_autograds():
    model, image = residual(), an_image(3, 12, 12)
    x = image[None].clone().requires_grad_()
    unit = model(x)[0, 1, 2, 4]
    (expected,) = torch.autograd.grad(unit, x)
    picture = reconstruct(network(model), "head", image, 1, rule="gradient", position="2,4")
    np.testing.assert_allclose(picture.values[-1], (unit.detach() * expected[0]).numpy(), rtol=1e-5, atol=1e-7)
    assert picture.numbers["position"] == [2, 4]
    assert picture.numbers["value"] == [pytest.approx(unit.item())]
    assert picture.name == "gradient-head-1-2-4"
    assert picture.provenance["Position"] == "2,4"
    assert "the unit in row 2, column 4 of each channel alone" in picture.caption


def test_gradients_of_units_add_up_to_their_channels():
    net, image = network(residual()), an_image(3, 12, 12)
    units = [f"{row},{column}" for row in range(6) for column in range(6)]
    whole = reconstruct(net, "head", image, [0, 3], rule="gradient").values[2:]
    parts = [reconstruct(net, "head", image, [0, 3], rule="gradient", position=unit).values[2:] for unit in units]
    np.testing.assert_allclose(np.sum(parts, axis=0), whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rule", ["deconvnet", "guided"])
def test_one_unit_equals_a_network_run_backwards_by_hand(rule):
    model, image = plain(), an_image(3, 24, 24)
    with torch.no_grad():
        maps = model.eval()(image[None])[0]
        channel, row, column = (maps == maps.max()).nonzero()[0].tolist()
        signal = torch.zeros_like(maps)
        signal[channel, row, column] = maps[channel, row, column]
        expected = backwards_by_hand(model, image, signal, rule)
    picture = reconstruct(network(model), "7", image, channel, rule=rule, position=f"{row},{column}")
    np.testing.assert_allclose(picture.values[2], expected.numpy(), rtol=1e-5, atol=1e-6)
    peak = reconstruct(network(model), "7", image, channel, rule=rule, start="peak")
    np.testing.assert_allclose(picture.values[2], peak.values[2], rtol=1e-5, atol=1e-8)


def test_without_a_channel_those_that_answer_most_at_the_position_are_shown():
    model, image = residual(), an_image(3, 12, 12)
    model.head.bias.data -= model(image[None]).detach()[0, :, 5, 0] - torch.tensor([2.0, 1.0, 3.0, 0.0]) / 1000
    maps = model(image[None]).detach()[0]
    assert maps.flatten(1).amax(1).argmax() == 3  # the strongest channel, and the weakest at the position
    values = maps[:, 5, 0]
    picture = reconstruct(network(model), "head", image, position="5,0", channels=2)
    assert picture.captions[2:] == tuple(map(str, values.argsort(descending=True)[:2].tolist()))
    below = int(values.argmin())
    model.head.bias.data[below] -= 100
    dark = reconstruct(network(model), "head", image, below, position="5,0")
    assert dark.numbers["dark_channels"] == [below]
    control = reconstruct(network(model), "head", image, position="5,0", control=True)
    assert control.numbers["position"] == [5, 0]


def test_each_channel_is_shown_by_its_strength_and_dark_ones_are_named():
    model = residual()
    model.head.bias.data = torch.tensor([0.0, 5.0, -50.0, 9.0])
    picture = reconstruct(network(model), "head", an_image(3, 12, 12), channels=4)
    assert picture.captions[3:] == ("3", "1", "0", "2")
    assert picture.numbers["dark_channels"] == [2]
    assert not picture.values[-1].any()


def test_a_layer_before_any_relu_is_reconstructed_but_a_network_without_any_is_refused():
    picture = reconstruct(network(residual()), "stem", an_image(3, 12, 12), rule="guided")
    assert picture.numbers["relus"] == 0
    assert "No ReLU lies between" in picture.caption
    linear = network(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sigmoid(), nn.Conv2d(4, 2, 3)))
    with pytest.raises(UsageError, match='no ReLU was met in tiny, so the rule "guided" would be the plain gradient'):
        reconstruct(linear, "2", an_image(3, 12, 12), rule="guided")
    assert reconstruct(linear, "2", an_image(3, 12, 12), rule="gradient").numbers["relus"] == 0


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_a_scripted_part_that_hides_its_relus_is_refused():
    scripted = torch.jit.trace(residual().eval(), an_image(1, 3, 12, 12))
    model = nn.Sequential(scripted, nn.Conv2d(4, 2, 1))
    with pytest.raises(UsageError, match="no ReLU was met in tiny"):
        reconstruct(network(model), "1", an_image(3, 12, 12))


def test_control_is_of_other_weights_and_compared():
    net, image = network(residual()), an_image(3, 12, 12)
    before = copy.deepcopy(net.model.state_dict())
    plain_picture = reconstruct(net, "head", image)
    picture = reconstruct(net, "head", image, control=True)
    again = reconstruct(net, "head", image, control=True)
    np.testing.assert_array_equal(picture.values, again.values)
    count = len(plain_picture.values)
    np.testing.assert_array_equal(picture.values[:count], plain_picture.values)
    assert len(picture.numbers["control_similarity"]) == count - 1
    assert all(torch.equal(before[key], value) for key, value in net.model.state_dict().items())
    assert not np.array_equal(picture.values[1], picture.values[-count + 1])


@pytest.mark.parametrize("rule", ["deconvnet", "guided", "gradient"])
def test_one_recorded_pass_gives_every_unit_s_tile(rule, monkeypatch):
    """Planted: how often the network runs is counted."""
    net, image = network(residual()), an_image(3, 12, 12)
    recorded = record_pass(net, "head", image[None], rule=rule)
    expected = {
        unit: reconstruct(net, "head", image, 2, rule=rule, position=unit and f"{unit[0]},{unit[1]}")
        for unit in (None, (0, 0), (5, 3), (2, 4))
    }
    runs: list[int] = []
    monkeypatch.setattr(type(net.model), "forward", lambda *_: runs.append(1))
    for unit, picture in expected.items():
        tile = reconstruct_one(recorded, 2, unit)
        np.testing.assert_allclose(tile[0], picture.values[-1], rtol=1e-5, atol=1e-7)
    assert not runs


@pytest.mark.parametrize(
    ("channels", "size"), [(1, (8, 8)), (3, (8, 20)), (5, (31, 17)), (3, (128, 96)), (3, (512, 512))]
)
def test_any_number_of_channels_and_any_size(channels, size):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Conv2d(4, 1, 3))
    picture = reconstruct(network(model, channels=channels, size=size), "2", an_image(channels, *size))
    assert picture.values.shape == (4, 3, *size)  # the image, all, their sum, the one channel
    np.testing.assert_allclose(picture.values[1], picture.values[3], rtol=1e-5, atol=1e-7)


def test_interrupted_it_gives_the_channels_that_are_done(monkeypatch):
    from convscope.methods import reconstruct as module

    net, image = network(residual()), an_image(3, 12, 12)
    whole = reconstruct(net, "head", image, "all")
    monkeypatch.setattr(module, "batch_limit", lambda _: 2)

    def stop(_what: str, done: int, _total: int | None) -> None:
        if done == 4:
            raise KeyboardInterrupt

    part = reconstruct(net, "head", image, "all", progress=stop, control=True)
    assert part.numbers["interrupted"]
    assert part.captions == ("image", "all at once", "0", "1", "2")
    np.testing.assert_allclose(part.values[2:], whole.values[3:6], rtol=1e-5, atol=1e-6)


def test_mistakes_are_told():
    net, image = network(residual()), an_image(3, 12, 12)
    for arguments, message in (
        ({"start": "max"}, 'no start "max"; allowed: map, peak'),
        ({"channels": 0}, "channels 0; allowed: 1 or more"),
        ({"position": "6,0"}, 'no position "6,0" in head; allowed: row,column from 0,0 to 5,5'),
        ({"position": "5,6"}, 'no position "5,6" in head; allowed: row,column from 0,0 to 5,5'),
        ({"position": "-1,0"}, 'no position "-1,0" in head; allowed: row,column from 0,0 to 5,5'),
        ({"position": "3"}, 'no position "3" in head; allowed: row,column from 0,0 to 5,5'),
        ({"position": "1,1", "start": "peak"}, 'position "1,1" with the start peak; allowed: one of the two'),
    ):
        with pytest.raises(UsageError) as caught:
            inspect.unwrap(reconstruct)(net, "head", image, **arguments)  # past the tests' own check of types
        assert str(caught.value) == message
    net.model.conv2.bias.data[0] = float("nan")
    with pytest.raises(NumericsError, match='layer "head" gives values that are not finite'):
        reconstruct(net, "head", image)
