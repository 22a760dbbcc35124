"""Each method equals the paper, Captum and zennit; and where Captum goes wrong, ours does not."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.errors import UsageError
from convscope.hooks import frozen_eval
from convscope.methods.attributions import (
    HOWS,
    Asked,
    attributions,
    grad_cam_layer,
    heat,
    occlusion_window,
)


class Modules(nn.Module):
    """A residual net whose ReLUs are modules of their own; one reads a tensor that a skip reads too."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 6, 3, padding=1)
        self.relu1 = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(6, 8, 3, padding=1)
        self.relu3 = nn.ReLU()
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        start = self.pool(self.relu1(self.conv1(x)))
        deep = self.relu3(self.conv3(self.relu2(self.conv2(start)) + start))
        return self.fc(deep.mean((2, 3)))


class Functions(Modules):
    """The same with ReLUs that are function calls, one of them in place."""

    def forward(self, x: Tensor) -> Tensor:
        start = self.pool(F.relu(self.conv1(x)))
        deep = F.relu(self.conv3(self.conv2(start).relu_() + start))
        return self.fc(deep.mean((2, 3)))


class ChannelsLast(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(1, -1)


def made(kind: type[nn.Module] = Modules, **options: int) -> nn.Module:
    torch.manual_seed(0)
    model = kind(**options).eval().requires_grad_(False)
    model.fc.bias.data.uniform_(-1, 1)
    return model


def drawn(*shape: int) -> Tensor:
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(1))


def ours(how: str, model: nn.Module, inputs: Tensor, **asked: object) -> Tensor:
    with frozen_eval(model):
        return attributions(how, model, inputs, Asked(2, **asked))


def plain_gradient(model: nn.Module, inputs: Tensor) -> Tensor:
    leaf = inputs.clone().requires_grad_()
    return torch.autograd.grad(model(leaf)[0, 2], leaf)[0]


@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 12, 20), (1, 16, 16), (5, 9, 9)])
def test_equal_captum_on_a_net_of_modules(shape):
    from captum import attr

    model, inputs = made(channels=shape[0]), drawn(*shape)
    leaf = inputs.clone().requires_grad_()
    side, stride = occlusion_window(shape[1:])
    with pytest.warns(UserWarning, match="Setting|backward hooks"):
        rules = {
            "guided": attr.GuidedBackprop(model).attribute(leaf, 2).detach(),
            "deconvnet": attr.Deconvolution(model).attribute(leaf, 2).detach(),
        }
    cam = attr.LayerGradCam(model, model.relu3).attribute(leaf, 2, relu_attributions=True).detach()
    cam = F.interpolate(cam, shape[1:], mode="bilinear")
    expected = {
        "saliency": attr.Saliency(model).attribute(leaf, 2, abs=False),
        "input-x-gradient": attr.InputXGradient(model).attribute(leaf, 2),
        "integrated-gradients": attr.IntegratedGradients(model).attribute(leaf, 0, 2, n_steps=50),
        "occlusion": attr.Occlusion(model).attribute(
            inputs, (shape[0], side, side), (shape[0], stride, stride), target=2
        )[:, :1],
        "grad-cam": cam,
        "guided-grad-cam": cam * rules["guided"],
        **rules,
    }
    assert set(expected) == set(HOWS) - {"smoothgrad"}
    for how, values in expected.items():
        assert values.any(), how
        torch.testing.assert_close(ours(how, model, inputs, layer="relu3"), values.detach(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("how", ["guided", "deconvnet"])
@pytest.mark.parametrize("kind", [Modules, Functions])
def test_rules_equal_zennit_on_the_module_twin(how, kind):
    zennit = pytest.importorskip("zennit.composites")
    from zennit.attribution import Gradient

    composite = {"guided": zennit.GuidedBackprop, "deconvnet": zennit.DeconvNet}[how]()
    model, inputs = made(), drawn(3, 16, 16)
    with Gradient(model, composite) as attributor:
        _, expected = attributor(inputs.clone().requires_grad_(), torch.eye(4)[[2]])
    torch.testing.assert_close(ours(how, made(kind), inputs), expected.detach(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("how", HOWS)
def test_functional_twin_equals_the_module_twin(how):
    inputs = drawn(3, 16, 16)
    both = [ours(how, made(kind), inputs, layer="conv3") for kind in (Modules, Functions)]
    torch.testing.assert_close(*both)


@pytest.mark.parametrize(("how", "captums"), [("guided", "GuidedBackprop"), ("deconvnet", "Deconvolution")])
def test_captum_gives_the_plain_gradient_on_the_functional_twin_and_ours_does_not(how, captums):
    """Why these two rules are our own: should Captum ever do better, this fails."""
    from captum import attr

    model, inputs = made(Functions), drawn(3, 16, 16)
    with pytest.warns(UserWarning, match="Setting|backward hooks"):
        theirs = getattr(attr, captums)(model).attribute(inputs.clone().requires_grad_(), 2)
    plain = plain_gradient(model, inputs)
    torch.testing.assert_close(theirs, plain)
    difference = (ours(how, model, inputs) - plain).norm() / plain.norm()
    assert difference > 0.3


def test_saliency_is_the_gradient():
    model, inputs = made(), drawn(3, 16, 16)
    torch.testing.assert_close(ours("saliency", model, inputs), plain_gradient(model, inputs))
    torch.testing.assert_close(ours("input-x-gradient", model, inputs), inputs * plain_gradient(model, inputs))


def test_smoothgrad_is_the_mean_gradient_of_noisy_inputs():
    model, inputs = made(), drawn(3, 16, 16)
    generator = torch.Generator().manual_seed(7)
    noise = torch.randn(5, 3, 16, 16, generator=generator)
    spread = 0.15 * (inputs.max() - inputs.min())
    slow = torch.stack([plain_gradient(model, inputs + spread * each) for each in noise]).mean(0)
    state = torch.random.get_rng_state()
    torch.testing.assert_close(ours("smoothgrad", model, inputs, samples=5, seed=7), slow)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.equal(ours("smoothgrad", model, inputs, samples=5, seed=8), slow)


def test_integrated_gradients_sum_to_the_rise_of_the_logit():
    model, inputs = made(), drawn(3, 16, 16)
    rise = (model(inputs) - model(torch.zeros_like(inputs)))[0, 2]
    total = ours("integrated-gradients", model, inputs, samples=300).sum()
    assert total.item() == pytest.approx(rise.item(), rel=0.01)


@pytest.mark.parametrize("size", [(10, 10), (9, 14)])
def test_occlusion_equals_a_slow_loop(size):
    model, inputs = made(), drawn(3, *size)
    side, stride = occlusion_window(size)
    falls, counts = torch.zeros(size), torch.zeros(size)
    starts = [range(0, length - side + stride, stride) for length in size]
    for y in starts[0]:
        for x in starts[1]:
            covered = inputs.clone()
            covered[:, :, y : y + side, x : x + side] = 0
            falls[y : y + side, x : x + side] += (model(inputs) - model(covered))[0, 2]
            counts[y : y + side, x : x + side] += 1
    torch.testing.assert_close(ours("occlusion", model, inputs)[0, 0], falls / counts, rtol=1e-4, atol=1e-5)


def resnet18(inplace: bool) -> nn.Module:
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=4).eval().requires_grad_(False)
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = inplace
    return model


def slow_grad_cam(model: nn.Module, module: nn.Module, inputs: Tensor) -> Tensor:
    """Equations 1 and 2 of Selvaraju et al. 2017, word by word."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()  # the residual sum is in place too

    with torch.enable_grad():
        handle = module.register_forward_hook(keep)
        score = model(inputs.clone().requires_grad_())[0, 2]
        handle.remove()
        (gradient,) = torch.autograd.grad(score, kept[0])
    total = torch.zeros(kept[0].shape[2:])
    for k in range(kept[0].shape[1]):
        alpha = gradient[0, k].sum() / gradient[0, k].numel()
        total += alpha * kept[0][0, k].detach()
    return F.interpolate(total.clamp(min=0)[None, None], inputs.shape[2:], mode="bilinear")


@pytest.mark.parametrize("layer", ["layer4", "layer3.0.bn2", "layer2.1", "conv1", "layer1.0.relu"])
def test_grad_cam_equals_the_paper_also_where_the_layer_is_overwritten_or_runs_again(layer):
    inputs = drawn(3, 64, 64)
    twin = resnet18(inplace=False)
    expected = slow_grad_cam(twin, twin.get_submodule(layer), inputs)
    assert expected.any()
    torch.testing.assert_close(ours("grad-cam", resnet18(inplace=True), inputs, layer=layer), expected)


@pytest.mark.parametrize(
    ("size", "layer"), [(32, "layer2"), (64, "layer3"), (128, "layer4"), (16, "layer1"), (8, "relu")]
)
def test_grad_cam_reads_the_last_layer_with_positions_enough(size, layer):
    found = grad_cam_layer(resnet18(inplace=True), drawn(3, size, size))
    assert found == layer


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("vgg11", "features.19"),
        ("mobilenet_v3_small", "features.8"),
        ("shufflenet_v2_x0_5", "stage3"),
        ("squeezenet1_1", "features.7"),
    ],
)
def test_grad_cam_reads_the_trunk_not_a_branch(name, layer):
    models = pytest.importorskip("torchvision").models
    assert grad_cam_layer(getattr(models, name)().eval(), drawn(3, 64, 64)) == layer


def test_grad_cam_looks_into_a_model_that_is_wrapped():
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = resnet18(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x)

    assert grad_cam_layer(Wrapped(), drawn(3, 32, 32)) == "inner.layer2"


def test_grad_cam_reads_no_pooling_no_vectors_and_no_channels_last():
    conv = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
    model = nn.Sequential(conv, nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(196, 2))
    assert grad_cam_layer(model, drawn(3, 16, 16)) == "0.1"
    flat = nn.Sequential(nn.Flatten(), nn.Linear(768, 2))
    assert grad_cam_layer(flat, drawn(3, 16, 16)) is None
    last = nn.Sequential(nn.Conv2d(3, 5, 3), ChannelsLast(), nn.Linear(5, 8), nn.Flatten(), nn.Linear(8 * 14 * 14, 3))
    assert grad_cam_layer(last, drawn(3, 16, 16)) == "0"
    with pytest.raises(
        UsageError, match=r'layer "2" gives \(1, 14, 14, 8\) for an image of 16×16, which Grad-CAM can'
    ):
        ours("grad-cam", last, drawn(3, 16, 16), layer="2")


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (None, "no layer of Modules gives maps with positions for an image of 8×8, so Grad-CAM has nothing to read"),
        ("fc", r'layer "fc" gives \(1, 4\) for an image of 8×8, which Grad-CAM cannot read; allowed: \(N, C, h, w\)'),
    ],
)
def test_grad_cam_without_positions_is_refused(layer, message):
    with pytest.raises(UsageError, match=message):
        ours("grad-cam", made(), drawn(3, 8, 8), layer=layer)


@pytest.mark.parametrize("how", ["guided", "deconvnet", "guided-grad-cam"])
def test_rules_without_a_relu_are_refused(how):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 3)).requires_grad_(False)
    with pytest.raises(
        UsageError, match="no ReLU was met in Sequential, so .* would be the plain gradient; a scripted"
    ):
        ours(how, model, drawn(3, 8, 8), layer="0")
    model[1] = nn.GELU()
    with pytest.raises(UsageError, match="is not defined for gelu"):
        ours(how, model, drawn(3, 8, 8), layer="0")


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_scripted_model_is_refused_rather_than_explained_wrongly():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).requires_grad_(False)
    traced = torch.jit.trace(model, drawn(3, 8, 8))
    with pytest.raises(UsageError, match="no ReLU was met"):
        ours("guided", traced, drawn(3, 8, 8))


@pytest.mark.parametrize("how", HOWS)
def test_heat_is_the_sum_or_the_largest_size(how):
    colours = torch.tensor([[1.0, -3.0, 0.5], [-1.0, 2.0, 0.0]]).T.view(1, 3, 1, 2)
    signed = how in ("input-x-gradient", "integrated-gradients", "occlusion")
    assert heat(how, colours).flatten().tolist() == ([-1.5, 1.0] if signed else [3.0, 2.0])


@pytest.mark.parametrize("how", HOWS)
def test_doubles_give_the_same(how):
    model = made().double()
    values = ours(how, model, drawn(3, 16, 16).double(), layer="conv3", samples=3)
    torch.testing.assert_close(
        values.float(), ours(how, made(), drawn(3, 16, 16), layer="conv3", samples=3), atol=1e-4, rtol=1e-3
    )
    assert heat(how, values).shape == (1, 1, 16, 16)
