"""The plain network: its sides and weights, and that it takes images of any size."""

import pytest
import torch

from convscope.hooks import resolve_layer
from convscope.models import build_model


@pytest.fixture
def model():
    return build_model("vgg7", class_count=10, seed=0).eval()


def test_sides_and_weights(model):
    x, sides = torch.zeros(1, 3, 32, 32), []
    for layer in ("conv1", "layer1", "layer2", "layer3"):
        x = model.get_submodule(layer)(x)
        sides.append(x.shape[-1])
    assert sides == [32, 16, 8, 4]
    kernels = 3 * 32 * 25 + 9 * (32 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256)
    norms = 2 * (32 + 2 * (64 + 256 + 256))
    assert sum(parameter.numel() for parameter in model.parameters()) == kernels + norms + 256 * 10 + 10


def test_the_logits_are_those_of_a_plain_list_of_layers(model):
    images = torch.randn(2, 3, 32, 32)
    x = model.bn1(model.conv1(images)).relu()
    for stage in (model.layer1, model.layer2, model.layer3):
        x = stage.bn1(torch.nn.functional.max_pool2d(stage.conv1(x), 2)).relu()
        x = stage.bn2(stage.conv2(x)).relu()
    torch.testing.assert_close(model(images), x.mean((2, 3)) @ model.fc.weight.T + model.fc.bias)


@pytest.mark.parametrize("side", [24, 32, 64])
def test_takes_images_of_any_size(model, side):
    assert model(torch.zeros(2, 3, side, side)).shape == (2, 10)


def test_the_papers_names_are_known(model):
    assert resolve_layer(model, "conv4") == "layer3"


def test_deeper_convolutions_begin_by_passing_on_what_they_are_given(model):
    x = torch.randn(2, 64, 8, 8)
    torch.testing.assert_close(model.layer1.conv2(x), x)
    torch.testing.assert_close(model.layer2.conv1(x)[:, :64], x)
    assert model.layer2.conv1(x)[:, 64:].std() > 0.1
    assert model.conv1.weight[:3, :, 2, 2].diag().std() > 0  # what is looked at begins as noise
