"""The ResNet family against torchvision and against the first report."""

import pytest
import torch
import torchvision

from convscope.errors import UsageError
from convscope.models import build_model


def test_imagenet_member_equals_torchvision():
    reference = torchvision.models.resnet18(num_classes=10).eval()
    model = build_model("resnet18-imagenet", class_count=10, seed=0).eval()
    model.load_state_dict(reference.state_dict())
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(model(images), reference(images))


def test_first_reports_network():
    model = build_model("resnet18-7x7", class_count=10, seed=0).eval()
    assert sum(parameter.numel() for parameter in model.parameters()) == 11_185_866
    x, sides = torch.zeros(1, 3, 32, 32), []
    for layer in ("conv1", "layer1", "layer2", "layer3", "layer4"):
        x = model.get_submodule(layer)(x)
        sides.append(x.shape[-1])
    assert sides == [16, 8, 4, 2, 1]
    assert model.get_submodule("conv1").bias is None


def test_weights_are_a_function_of_the_seed_alone():
    before = torch.get_rng_state()
    first, again, other = (build_model("resnet8", class_count=10, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first.conv1.weight, again.conv1.weight)
    assert not torch.equal(first.conv1.weight, other.conv1.weight)


def test_unknown_model_names_the_nearest():
    with pytest.raises(UsageError, match=r'no model "resnet-18"; closest: resnet18.*convscope models'):
        build_model("resnet-18", class_count=10, seed=0)
