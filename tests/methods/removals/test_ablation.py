"""Ablating in one resumed pass equals removing each channel by hand in a whole one."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.data.memory import dataset_in_memory
from convscope.errors import NumericsError, UsageError
from convscope.hooks import frozen_eval
from convscope.methods.removals import ablation as module
from convscope.methods.removals.ablation import Ablation, ablate
from convscope.methods.removals.replay import layers_until, resume
from convscope.models.resnet import ResNet
from convscope.types import Dataset, Network

CLASSES = ("a", "b", "c")


def noise(count: int = 30, classes: tuple[str, ...] = CLASSES) -> Dataset:
    pixels = torch.randint(0, 256, (count, 3, 12, 12), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    labels = torch.arange(count) * len(classes) // count  # sorted, as folders are
    return dataset_in_memory("noise", (pixels, labels), (pixels, labels), classes, source="drawn here")


def network(model: nn.Module) -> Network:
    torch.manual_seed(2)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(std=0.3)
            part.weight.data.uniform_(-1, 2)
            part.bias.data.normal_(std=0.5)
    return Network(model, (0.5,) * 3, (0.25,) * 3, (12, 12), CLASSES, "tiny")


def small_resnet() -> Network:
    torch.manual_seed(0)
    return network(ResNet(class_count=3, widths=(6, 8), strides=(2, 2), blocks=1, stem_kernel=3))


def by_hand(net: Network, dataset: Dataset, place: str, channel: int | None, value: float = 0.0) -> Tensor:
    """The logits of whole passes in which the channel is overwritten where the layer gives it."""

    def overwrite(_module: nn.Module, _given: object, output: Tensor) -> Tensor:
        output = output.clone()
        if channel is not None:
            output[:, channel] = value
        return output

    handle = net.model.get_submodule(place).register_forward_hook(overwrite)
    with frozen_eval(net.model), torch.no_grad():
        logits = net(dataset.test.images.pixels.float() / 255)
    handle.remove()
    return logits


def judged(logits: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    right, loss = (logits.argmax(1) == labels).double(), F.cross_entropy(logits, labels, reduction="none")
    means = [[values[labels == each].mean().item() for each in range(3)] for values in (right, loss)]
    return np.array(means[0]), np.array(means[1])


def assert_equals_by_hand(found: Ablation, net: Network, dataset: Dataset, value: float | Tensor = 0.0) -> None:
    labels = dataset.test.labels
    accuracy, loss = judged(by_hand(net, dataset, found.removed_at, None), labels)
    np.testing.assert_array_equal(found.accuracy_before, accuracy)
    np.testing.assert_allclose(found.loss_before, loss, rtol=1e-5)
    for row, channel in enumerate(found.channels):
        level = value if isinstance(value, float) else value[channel].item()
        accuracy, loss = judged(by_hand(net, dataset, found.removed_at, channel, level), labels)
        np.testing.assert_array_equal(found.accuracy[row], accuracy)
        np.testing.assert_allclose(found.loss[row], loss, rtol=1e-4)
        np.testing.assert_allclose(
            found.loss_change[row], loss.mean() - found.loss_before.mean(), rtol=1e-3, atol=1e-6
        )
    assert np.abs(found.loss - found.loss_before).max() > 1e-3


@pytest.mark.parametrize(
    ("layer", "place"),
    [("conv1", "bn1"), ("relu", "relu"), ("layer1.0.conv2", "layer1.0.bn2"), ("conv3", "layer2"), ("fc", "fc")],
)
def test_equals_removing_each_channel_by_hand(layer, place, monkeypatch):
    monkeypatch.setattr(module, "batch_limit", lambda _: 7)
    net, dataset = small_resnet(), noise()
    found = ablate(net, layer, "all", dataset)
    assert found.removed_at == place
    assert found.counts.tolist() == [10, 10, 10]
    assert_equals_by_hand(found, net, dataset)


def test_the_mean_is_over_the_images_and_positions():
    net, dataset = small_resnet(), noise()
    with frozen_eval(net.model), torch.no_grad():
        maps = net.model.bn1(net.model.conv1(net.normalize(dataset.test.images.pixels / 255)))
    found = ablate(net, "conv1", [4, 1], dataset, rule="mean")
    assert found.channels == (4, 1)
    assert_equals_by_hand(found, net, dataset, maps.mean((0, 2, 3)))


class InPlace(nn.Module):
    """One in-place ReLU used twice, a sum in place, a concatenation, and a layer that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.conv1(x))
        y = self.conv2(x)
        y += x
        y = torch.cat([self.relu(y), x], 1)
        return self.head(y.mean((2, 3)))


@pytest.mark.parametrize("layer", ["conv1", "conv2"])
def test_what_is_overwritten_after_the_layer_is_what_the_layer_gave_in_each_pass(layer):
    torch.manual_seed(0)
    net, dataset = network(InPlace()), noise()
    assert_equals_by_hand(ablate(net, layer, "all", dataset), net, dataset)


class Ignored(nn.Module):
    """A ReLU whose answer is not taken: it works only because it is in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.last = nn.Conv2d(3, 3, 3), nn.ReLU(inplace=True), nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        self.relu(x)
        return (self.last(x) + x).mean((2, 3))


def test_a_model_that_relies_on_what_is_overwritten_is_run_whole():
    torch.manual_seed(0)
    net, dataset = network(Ignored()), noise()
    x = torch.rand(1, 3, 12, 12)
    assert layers_until(net.model, x, "last") == {"last": True}
    assert_equals_by_hand(ablate(net, "last", "all", dataset), net, dataset)


def test_only_images_that_change_are_computed(monkeypatch):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    model[0].bias.data = torch.tensor([-100.0, 100.0, 0.0])
    computed = []
    whole = module.logits_without

    def spy(prefix, rows, channels, values):
        computed.append(channels)
        return whole(prefix, rows, channels, values)

    monkeypatch.setattr(module, "logits_without", spy)
    found = ablate(network(model), "1", "all", noise())
    assert found.unchanged[:2].tolist() == [30, 0]
    assert torch.cat(computed).bincount(minlength=3).tolist() == [0, 30, 30 - found.unchanged[2]]
    assert found.accuracy_change[0] == found.loss_change[0] == 0


def test_fewer_images_are_spread_over_the_split_and_it_is_the_test_half():
    net, dataset = small_resnet(), noise()
    found = ablate(net, "relu", 2, dataset, count=6)
    assert found.counts.tolist() == [2, 2, 2]
    picked = torch.tensor([0, 5, 10, 15, 20, 25])
    logits = by_hand(net, dataset, "relu", 2)[picked]
    right = (logits.argmax(1) == dataset.test.labels[picked]).view(3, 2).double().mean(1)
    np.testing.assert_array_equal(found.accuracy[0], right.numpy())


def test_a_pass_is_resumed_without_running_what_came_before():
    net = small_resnet()
    x = torch.rand(2, 3, 12, 12)
    with frozen_eval(net.model) as model, torch.no_grad():
        names = layers_until(model, x, "layer2.0.conv1")
        assert list(names) == ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2.0.downsample", "layer2.0.conv1"]
        assert [name for name, read in names.items() if read] == ["layer2.0.downsample", "layer2.0.conv1"]
        ran = []
        handle = model.conv1.register_forward_pre_hook(lambda *_: ran.append("pre"))
        forward = model.layer1.forward
        maps = model.layer1(model.relu(model.bn1(model.conv1(x))))
        ran.clear()
        got = resume(model, x, {"conv1": x, "bn1": x, "relu": x, "maxpool": x, "layer1": maps})
        handle.remove()
        torch.testing.assert_close(got, model(x))
        assert vars(model.layer1).keys().isdisjoint({"forward"})
        assert model.layer1.forward == forward
        with pytest.raises(RuntimeError):
            resume(model, x, {"layer1": torch.zeros(2, 5, 3, 3)})
        assert "forward" not in vars(model.layer1)
        model.layer1.forward = own = lambda x: x  # one that somebody else has put there
        resume(model, x, {"layer1": maps})
        assert vars(model.layer1)["forward"] is own


def test_mistakes_are_told():
    net, dataset = small_resnet(), noise()
    with pytest.raises(UsageError, match="none was given; name one, such as digits"):
        ablate(net, "conv1")
    with pytest.raises(UsageError, match="count 0; allowed: 1 or more"):
        ablate(net, "conv1", None, dataset, count=0)
    with pytest.raises(UsageError, match='no rule "half"; allowed: zero, mean'):
        inspect.unwrap(ablate)(net, "conv1", None, dataset, rule="half")
    with pytest.raises(UsageError, match="3 classes in tiny; allowed: those of noise, 2"):
        ablate(net, "conv1", None, noise(classes=("a", "b")))
    with pytest.raises(UsageError, match='layer "relu" runs 2 times in a pass; allowed: one that runs once'):
        ablate(network(InPlace()), "relu", None, dataset)
    net.model.fc.bias.data[0] = torch.nan
    with pytest.raises(NumericsError, match="tiny gives logits that are not finite"):
        ablate(net, "conv1", None, dataset)


def test_leaves_the_model_as_found():
    net = small_resnet()
    net.model.layer1.eval()
    before = [part.training for part in net.model.modules()]
    ablate(net, "layer1", [0], noise(), rule="mean")
    assert [part.training for part in net.model.modules()] == before
    assert all(parameter.requires_grad for parameter in net.model.parameters())
    assert not any(part._forward_hooks or "forward" in vars(part) for part in net.model.modules())
