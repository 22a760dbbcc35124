"""A class's images and channels are those that a plain search finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from convscope.data.memory import dataset_in_memory
from convscope.errors import UsageError
from convscope.hooks import frozen_eval
from convscope.methods.channels.class_channels import find_class_channels, last_layer
from convscope.methods.surveys import class_images as module
from convscope.methods.surveys.class_images import choose_class_images, predict
from convscope.models.resnet import ResNet
from convscope.types import Dataset, Network

CLASSES = ("a", "b", "c")


def noise(count: int = 24) -> Dataset:
    pixels = torch.randint(0, 256, (count, 3, 12, 12), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    labels = torch.arange(count) % 3
    other = pixels.flip(0)
    return dataset_in_memory("noise", (other, labels), (pixels, labels), CLASSES, source="drawn here")


def small_resnet() -> Network:
    torch.manual_seed(0)
    model = ResNet(class_count=3, widths=(6, 8), strides=(2, 2), blocks=1, stem_kernel=3)
    return Network(model, (0.5,) * 3, (0.25,) * 3, (12, 12), CLASSES, "tiny")


def test_probabilities_are_those_of_the_whole_split(monkeypatch):
    monkeypatch.setattr(module, "batch_limit", lambda _: 7)
    net, dataset = small_resnet(), noise()
    with frozen_eval(net.model), torch.no_grad():
        expected = net(dataset.test.images.pixels / 255).softmax(1)
    np.testing.assert_allclose(predict(net, dataset), expected, rtol=1e-5)
    assert net.model.training
    assert not np.allclose(predict(net, dataset, split="train"), expected)


def test_images_of_a_class_are_found_as_by_hand():
    drawn = np.random.default_rng(0)
    probabilities = drawn.dirichlet(np.ones(3), 200).astype(np.float32)
    labels = drawn.integers(0, 3, 200)
    found = choose_class_images(probabilities, labels, 1, count=5)
    rows = [(i, labels[i], probabilities[i].argmax(), probabilities[i]) for i in range(200)]
    typical = sorted((-p[1], i) for i, own, top, p in rows if own == 1 and top == 1)[:5]
    intruders = sorted((-p[1], i) for i, own, top, p in rows if own != 1 and top == 1)[:5]
    missed = sorted((-p[top], i) for i, own, top, p in rows if own == 1 and top != 1)[:5]
    for got, expected in ((found.typical, typical), (found.intruders, intruders), (found.missed, missed)):
        assert [each.image for each in got] == [i for _, i in expected]
        assert [each.probability for each in got] == pytest.approx([-value for value, _ in expected])
        assert all(each.label == labels[each.image] for each in got)
        assert all(each.predicted == probabilities[each.image].argmax() for each in got)


def test_equal_images_come_in_their_order_and_there_may_be_none():
    found = choose_class_images(np.array([[0.5, 0.5]] * 4), np.array([0, 0, 1, 1]), 0)
    assert [each.image for each in found.typical] == [0, 1]
    assert [each.image for each in found.intruders] == [2, 3]
    assert found.missed == ()
    with pytest.raises(UsageError, match="no class 2; allowed: 0 to 1"):
        choose_class_images(np.zeros((1, 2)), np.array([0]), 2)
    with pytest.raises(UsageError, match="count 0; allowed: 1 or more"):
        choose_class_images(np.zeros((1, 2)), np.array([0]), 1, count=0)


def test_channels_of_a_class_are_the_heads_weights_times_mean_activations():
    net, dataset = small_resnet(), noise()
    found = find_class_channels(net, dataset, 1)
    assert (found.layer, found.images) == ("layer2", 8)
    with frozen_eval(net.model) as model, torch.no_grad():
        x = net.normalize(dataset.test.images.pixels[1::3] / 255)
        maps = model.layer2(model.layer1(model.maxpool(model.relu(model.bn1(model.conv1(x))))))
        each = maps.mean((2, 3)) * (model.fc.weight[1] - model.fc.weight.mean(0))
    np.testing.assert_allclose(found.contributions, each.mean(0), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found.errors, each.std(0) / 8**0.5, rtol=1e-3, atol=1e-7)
    order = each.mean(0).argsort(descending=True).tolist()
    assert list(found.strongest_for) == [channel for channel in order if each.mean(0)[channel] > 0]
    assert list(found.strongest_against) == [channel for channel in order[::-1] if each.mean(0)[channel] < 0]
    few = find_class_channels(net, dataset, 2, "conv3", count=1, images=2)
    assert few.images == 2
    assert len(few.strongest_for) == 1


def test_the_last_layer_before_the_head():
    assert last_layer(small_resnet()) == "layer2"
    torchvision = pytest.importorskip("torchvision")
    fire = torchvision.models.squeezenet1_1(num_classes=3)
    assert last_layer(Network(fire, (0.5,) * 3, (0.5,) * 3, (32, 32), CLASSES, "fire")) == "classifier.2"
    flat = nn.Sequential(nn.Flatten(), nn.Linear(432, 3))
    with pytest.raises(UsageError, match="no layer of flat gives maps"):
        last_layer(Network(flat, (0.5,) * 3, (0.5,) * 3, (12, 12), CLASSES, "flat"))


def test_mistakes_are_told():
    net, dataset = small_resnet(), noise()
    for arguments, message in (
        ({"count": 0}, "count 0; allowed: 1 or more"),
        ({"images": 0}, "images 0; allowed: 1 or more"),
        ({"layer": "conv9"}, 'no layer "conv9"'),
    ):
        with pytest.raises(UsageError, match=message):
            find_class_channels(net, dataset, 0, **arguments)
    with pytest.raises(UsageError, match="no class 3 in noise; allowed: 0 to 2"):
        find_class_channels(net, dataset, 3)
