"""First-order estimates equal autograd and the head by hand; removals equal whole passes without the channel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convscope.errors import NumericsError, UsageError
from convscope.hooks import frozen_eval
from convscope.methods.channels.contributions import class_contributions, class_score
from convscope.methods.removals.decisive import find_decisive
from convscope.models.resnet import ResNet
from convscope.types import Network

CLASSES = ("a", "b", "c")


def small_resnet() -> Network:
    torch.manual_seed(0)
    model = ResNet(class_count=3, widths=(6, 8), strides=(2, 2), blocks=1, stem_kernel=3)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(std=0.3)
            part.bias.data.normal_(std=0.5)
    return Network(model, (0.5,) * 3, (0.25,) * 3, (12, 12), CLASSES, "tiny")


def an_image(count: int = 1) -> Tensor:
    return torch.rand(count, 3, 12, 12, generator=torch.Generator().manual_seed(3))


def score(logits: Tensor, target: int) -> Tensor:
    return logits[:, target] - logits.mean(1)


def by_hand(net: Network, image: Tensor, place: str, channel: int) -> Tensor:
    def overwrite(_module: nn.Module, _given: object, output: Tensor) -> Tensor:
        output = output.clone()
        output[:, channel] = 0
        return output

    handle = net.model.get_submodule(place).register_forward_hook(overwrite)
    with frozen_eval(net.model), torch.no_grad():
        logits = net(image)
    handle.remove()
    return logits


def test_both_numbers_equal_those_by_hand():
    net, image = small_resnet(), an_image()
    found = find_decisive(net, image[0], "b", ["conv1", "conv3", "relu"], count=6)
    with frozen_eval(net.model) as model:
        whole = net(image)
        assert found.score == pytest.approx(score(whole, 1).item())
        assert found.probability == pytest.approx(whole.softmax(1)[0, 1].item())
        assert (found.target, found.predicted) == (1, whole.argmax().item())
        x = model.bn1(model.conv1(net.normalize(image))).requires_grad_()
        tail = nn.Sequential(
            model.relu, model.maxpool, model.layer1, model.layer2, model.avgpool, nn.Flatten(), model.fc
        )
        (gradient,) = torch.autograd.grad(score(tail(x), 1), x)
    np.testing.assert_allclose(
        found.estimates["conv1"], -(x * gradient).sum((0, 2, 3)).detach(), rtol=1e-4, atol=1e-6
    )
    assert len(found.removed) == 6
    assert [abs(each.change) for each in found.removed] == sorted(
        (abs(e.change) for e in found.removed), reverse=True
    )
    least = min(abs(each.estimate) for each in found.removed)
    everything = np.abs(np.concatenate([*found.estimates.values()]))
    assert (everything > least + 1e-9).sum() == 5, "the largest estimates are removed"
    for each in found.removed:
        place = {"conv1": "bn1", "layer2": "layer2", "relu": "relu"}[each.layer]
        without = by_hand(net, image, place, each.channel)
        assert each.change == pytest.approx(score(without - whole.detach(), 1).item(), rel=1e-3, abs=1e-5)
        assert each.probability == pytest.approx(without.softmax(1)[0, 1].item(), rel=1e-4)
        assert each.predicted == without.argmax().item()
        assert each.estimate == pytest.approx(found.estimates[each.layer][each.channel])


def test_by_default_all_convolutions_and_the_predicted_class():
    net, image = small_resnet(), an_image()
    found = find_decisive(net, image[0])
    assert found.target == found.predicted
    assert set(found.estimates) == {
        *("conv1", "layer1.0.conv1", "layer1.0.conv2", "layer1.0.downsample.0"),
        *("layer2.0.conv1", "layer2.0.conv2", "layer2.0.downsample.0"),
    }
    assert len(found.removed) == 12


def test_before_a_linear_head_the_estimate_is_exact_and_the_head_by_hand():
    net, images = small_resnet(), an_image(4)
    added = class_contributions(net, images, ["layer2", "fc"], 2)
    with frozen_eval(net.model) as model, torch.no_grad():
        maps = net(images) * 0
        maps = model.layer2(model.layer1(model.maxpool(model.relu(model.bn1(model.conv1(net.normalize(images)))))))
        weight = model.fc.weight[2] - model.fc.weight.mean(0)
        bias = model.fc.bias[2] - model.fc.bias.mean()
        torch.testing.assert_close(added["layer2"], maps.mean((2, 3)) * weight)
        torch.testing.assert_close(added["layer2"].sum(1) + bias, score(net(images), 2))
        torch.testing.assert_close(added["fc"].sum(1), score(net(images), 2))
    found = find_decisive(net, images[0], 2, ["layer2"], count=8)
    for each in found.removed:
        assert each.change == pytest.approx(each.estimate, abs=1e-5)


def test_in_place_models_give_what_the_layer_gave():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(400, 3))
    net, images = Network(model, (0.5,) * 3, (0.25,) * 3, (12, 12), CLASSES, "tiny"), an_image(2)
    before = model[0](net.normalize(images)).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(class_score(model[3](before.relu().flatten(1)), 0).sum(), before)
    added = class_contributions(net, images, ["0"], 0)["0"]
    torch.testing.assert_close(added, (before * gradient).sum((2, 3)).detach())


class AddsInPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        y += 1
        return self.head(y.mean((2, 3)))


def test_what_is_added_in_place_is_not_the_layers():
    torch.manual_seed(0)
    net, images = Network(AddsInPlace(), (0.5,) * 3, (0.25,) * 3, (12, 12), CLASSES, "tiny"), an_image(2)
    weight = net.model.head.weight[1] - net.model.head.weight.mean(0)
    expected = net.model.conv(net.normalize(images)).mean((2, 3)) * weight
    torch.testing.assert_close(class_contributions(net, images, ["conv"], 1)["conv"], expected.detach())


def test_leaves_the_model_as_found_and_tells_mistakes():
    net, image = small_resnet(), an_image()[0]
    net.model.layer1.eval()
    before = [part.training for part in net.model.modules()]
    find_decisive(net, image, count=2)
    for arguments, message in (
        (("d",), 'no class "d" in tiny'),
        ((3,), "no class 3 in tiny; allowed: 0 to 2"),
        ((0, ["conv9"]), 'no layer "conv9"'),
    ):
        with pytest.raises(UsageError, match=message):
            find_decisive(net, image, *arguments)
    with pytest.raises(UsageError, match="count 0; allowed: 1 or more"):
        find_decisive(net, image, count=0)
    with pytest.raises(UsageError, match="gives .*; allowed: logits"):
        find_decisive(Network(nn.Conv2d(3, 2, 3), (0.5,) * 3, (0.5,) * 3, (12, 12), (), "maps"), image)
    model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Flatten(), nn.Linear(300, 3))
    model.spare = nn.Identity()
    model.forward = lambda x: model[2](model[1](model[0](x)))
    with pytest.raises(UsageError, match='layer "spare" does not run'):
        class_contributions(Network(model, (0.5,) * 3, (0.5,) * 3, (12, 12), CLASSES, "x"), image[None], ["spare"], 0)
    net.model.fc.weight.data[0] = torch.nan
    with pytest.raises(NumericsError, match="tiny gives logits that are not finite"):
        find_decisive(net, image)
    assert [part.training for part in net.model.modules()] == before
    assert not any(part._forward_hooks for part in net.model.modules())
