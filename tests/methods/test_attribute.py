"""The picture shows the asked class's maps with true figures beside them, and leaves the network as found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convscope.errors import NumericsError, UsageError
from convscope.methods import attributions as methods
from convscope.methods.attribute import attribute
from convscope.methods.attributions import HOWS, SIGNED, Asked, attributions, heat
from convscope.paint import paint
from convscope.types import Network
from tests.contracts.test_methods import everything

NAMES = ("cat", "dog", "frog")


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


def network(channels: int = 3, *, activation: type[nn.Module] = nn.ReLU, names: tuple[str, ...] = NAMES) -> Network:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1), nn.BatchNorm2d(8), activation(), nn.MaxPool2d(2), nn.Conv2d(8, 6, 3)
    )
    model.extend([activation(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)])
    model[-1].weight.data *= 10
    return Network(model, (0.4,) * channels, (0.25,) * channels, (16, 16), names, "tiny")


def image(*shape: int) -> Tensor:
    return torch.rand(*(shape or (3, 16, 16)), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("how", HOWS)
def test_one_method_gives_its_own_map(how):
    net = network()
    picture = attribute(net, image(), how=how, target="dog", samples=7, seed=3)
    net.model.eval().requires_grad_(False)
    expected = heat(how, attributions(how, net.model, net.normalize(image()[None]), Asked(1, "5", 7, 3)))
    np.testing.assert_allclose(picture.values, expected.numpy(), rtol=1e-5)
    bound = np.quantile(np.abs(picture.values), 0.99)
    np.testing.assert_allclose(picture.limits, [[-bound if how in SIGNED else 0, bound]], rtol=1e-5)
    assert picture.scale == ("diverging" if how in SIGNED else "sequential")
    assert picture.numbers.get("layer") == picture.provenance.get("Layer") == ("5" if "cam" in how else None)
    assert HOWS[how] in picture.caption


def test_numbers_say_what_the_network_says():
    net = network()
    picture = attribute(net, image(), target="frog", samples=100)
    net.model.eval()
    logits = net(image()[None])[0].detach()
    numbers = picture.numbers
    assert numbers["target"] == "frog"
    assert numbers["target_index"] == 2
    assert numbers["logit"] == pytest.approx(logits[2].item(), rel=1e-5)
    assert numbers["probability"] == pytest.approx(logits.softmax(0)[2].item(), rel=1e-4)
    assert numbers["predicted"] == NAMES[logits.argmax()]
    rise = logits[2] - net(torch.full((1, 3, 16, 16), 0.4))[0, 2]
    assert numbers["rise_since_mean"] == pytest.approx(rise.item(), rel=1e-4)
    assert abs(numbers["completeness_gap"]) < 0.02 * abs(rise)
    maps = attribute(net, image(), how="integrated-gradients", target="frog", samples=100)
    assert maps.values.sum() == pytest.approx(rise.item() + numbers["completeness_gap"], rel=1e-4)
    assert numbers["methods"] == [*HOWS]
    assert len(numbers["logit_without_top"]) == len(numbers["logit_without_elsewhere"]) == len(HOWS)


def test_predicted_class_is_the_default():
    net = network()
    default = attribute(net, image(), how="saliency")
    named = attribute(net, image(), how="saliency", target=default.numbers["predicted"])
    np.testing.assert_array_equal(default.values, named.values)
    other = attribute(net, image(), how="saliency", target=(default.numbers["target_index"] + 1) % 3)
    assert (other.values != default.values).any()


def test_a_name_that_is_a_number_is_first_of_all_a_name():
    net = network(names=("2", "0", "1"))
    assert attribute(net, image(), how="saliency", target="2").numbers["target_index"] == 0
    assert attribute(net, image(), how="saliency", target=2).numbers["target"] == "1"
    assert attribute(network(names=()), image(), how="saliency", target="2").numbers["target"] == "2"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"target": "frogg"}, 'no class "frogg" in tiny; closest: frog, dog; allowed: cat, dog, frog'),
        ({"target": 3}, "no class 3 in tiny; allowed: 0 to 2, or a class's name"),
        ({"target": -1}, "no class -1 in tiny"),
        ({"target": "3"}, "no class 3 in tiny"),
        ({"how": "saliancy"}, 'no method "saliancy"; closest: saliency; allowed: all, saliency, input'),
        (
            {"layer": "4", "how": "occlusion"},
            'layer "4" with occlusion; allowed: a layer with grad-cam, guided-grad-cam',
        ),
        ({"layer": "44"}, 'no layer "44" in tiny; closest: 4'),
        ({"layer": "8", "how": "grad-cam"}, r'layer "8" gives \(1, 3\) for an image of 16×16'),
        ({"samples": 0}, "samples 0; allowed: 1 or more"),
        ({"seed": -1}, "seed -1; allowed: 0 or more"),
        ({"image": torch.rand(1, 16, 16)}, r"an image of shape \(1, 16, 16\); allowed: \(3, H, W\)"),
    ],
)
def test_mistakes_are_explained(asked, message):
    with pytest.raises(UsageError, match=message):
        attribute.__wrapped__(**{"network": network(), "image": image(), **asked})


def test_a_model_without_logits_is_refused():
    net = network()
    with pytest.raises(UsageError, match=r"tiny gives \(1, 6, 6, 6\); allowed: logits \(N, classes\)"):
        attribute(replace(net, model=net.model[:6]), image())
    with pytest.raises(UsageError, match="tiny gives a tuple"):
        attribute(replace(net, model=Pair()), image())


def test_values_that_are_not_finite_are_refused(monkeypatch):
    net = network()
    monkeypatch.setattr(methods, "_gradients", lambda _model, inputs, _target: inputs * torch.nan)
    with pytest.raises(NumericsError, match="saliency gives values that are not finite for tiny"):
        attribute(net, image(), how="saliency")
    net.model[-1].bias.data[1] = torch.inf
    with pytest.raises(NumericsError, match="tiny gives logits that are not finite"):
        attribute(net, image())


def test_all_are_coloured_beside_the_image():
    picture = attribute(network(), image())
    assert picture.scale == "rgb"
    assert picture.values.shape == (1 + len(HOWS), 3, 16, 16)
    np.testing.assert_array_equal(picture.values[0], image())
    alone = attribute(network(), image(), how="occlusion")
    tile = 1 + [*HOWS].index("occlusion")
    np.testing.assert_array_equal(
        paint(alone, scale=1)[4:20, 4:20], np.rint(picture.values[tile] * 255).transpose(1, 2, 0)
    )
    assert picture.captions[tile].startswith("occlusion\n")
    assert picture.captions[0].split("\n")[0] in NAMES


def test_an_overlay_is_the_image_where_the_map_is_zero():
    plain, over = (attribute(network(), image(), how="grad-cam", target=0, overlay=each) for each in (False, True))
    assert over.values.shape == (2, 3, 16, 16)
    zero = plain.values[0, 0] == 0
    grey = over.values[1].std(axis=0) < 1e-6
    assert zero.any()
    assert grey[zero].all()
    assert not grey[plain.values[0, 0] > 0.1 * plain.limits[0, 1]].any()


def test_what_is_not_defined_is_left_out_of_all_and_refused_alone():
    net = network(activation=nn.GELU)
    picture = attribute(net, image())
    assert picture.numbers["methods"] == [how for how in HOWS if "guided" not in how and how != "deconvnet"]
    assert len(picture.numbers["left_out"]) == 3
    assert 'guided: the rule "guided" is not defined for gelu' in picture.numbers["left_out"][1]
    with pytest.raises(UsageError, match="not defined for gelu"):
        attribute(net, image(), how="guided")
    flat = replace(net, model=nn.Sequential(nn.Flatten(), nn.Linear(768, 3)))
    assert any("Grad-CAM has nothing to read" in each for each in attribute(flat, image()).numbers["left_out"])


@pytest.mark.parametrize("overlay", [False, True])
def test_control_is_the_same_method_on_random_weights(overlay):
    net = network()
    picture = attribute(net, image(), how="guided", control=True, seed=5, overlay=overlay)
    bare = attribute(net, image(), how="guided", overlay=overlay)
    count = len(bare.values)
    assert len(picture.values) == 2 * count
    np.testing.assert_array_equal(picture.values[:count], bare.values)
    assert (picture.values[-1] != bare.values[-1]).any()
    assert picture.captions[-1] == "guided\n random"
    (alike,) = picture.numbers["control_similarity"]
    assert 0 <= alike < 1
    assert alike == attribute(net, image(), how="guided", control=True, seed=5).numbers["control_similarity"][0]


def test_layer_is_named_only_where_a_grad_cam_is_shown():
    shown, not_shown = (attribute(network(), image(), layer) for layer in ("4", "8"))
    assert shown.title.endswith(", with Grad-CAM of 4")
    assert shown.numbers["layer"] == shown.provenance["Layer"] == "4"
    assert len(not_shown.numbers["left_out"]) == 2
    assert "Grad-CAM" not in not_shown.title
    assert "layer" not in not_shown.numbers
    assert "Layer" not in not_shown.provenance


def test_a_blank_map_is_named():
    net = network()
    net.model[-1].weight.data[1] = -1
    picture = attribute(net, image(), how="grad-cam", target=1)
    assert picture.numbers["blank"] == ["grad-cam"]
    assert "Nothing in the image speaks for the class by grad-cam." in picture.caption


def test_interrupted_keeps_what_is_done(monkeypatch):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(methods, "_occlusion", stop)
    picture = attribute(network(), image(), control=True)
    assert picture.numbers["interrupted"] is True
    assert picture.numbers["methods"] == [*HOWS][:4]
    assert len(picture.values) == 5
    with pytest.raises(KeyboardInterrupt):
        attribute(network(), image(), how="occlusion")


def test_interrupted_during_the_control_keeps_the_picture():
    seen: list[int] = []

    def stop(_what: str, done: int, _total: int | None) -> None:
        seen.append(done)
        if len(seen) == 12:
            raise KeyboardInterrupt

    picture = attribute(network(), image(), control=True, progress=stop)
    assert picture.numbers["interrupted"] is True
    assert len(picture.values) == 1 + len(HOWS)
    assert seen == [*range(9), 0, 1, 2]


@pytest.mark.parametrize("shape", [(1, 16, 16), (5, 16, 16), (3, 8, 8), (3, 12, 40), (2, 9, 9)])
def test_any_channels_and_sizes(shape):
    picture = attribute(network(shape[0]), image(*shape), overlay=True)
    assert picture.values.shape == (1 + len(HOWS), 3, *shape[1:])
    assert "left_out" not in picture.numbers
    assert attribute(network(shape[0]), image(1, *shape), how="saliency").values.shape == (1, 1, *shape[1:])


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("fails", [False, True])
def test_leaves_the_network_as_found(how, fails):
    net = network()
    net.model[0].eval()
    net.model[4].weight.requires_grad_(False)
    net(image(2, 3, 16, 16)).sum().backward()
    if fails:
        net.model[-1].register_forward_pre_hook(_fails_at_the_third_pass())
    before = everything(net.model)
    given = image().requires_grad_()
    if fails:
        with pytest.raises(RuntimeError, match="planted"):
            attribute(net, given, how=how)
    else:
        attribute(net, given, how=how)
    assert everything(net.model) == before
    assert given.grad is None


def _fails_at_the_third_pass():
    seen: list[int] = []

    def hook(*_: object) -> None:
        seen.append(1)
        if len(seen) >= 3:
            raise RuntimeError("planted")

    return hook
