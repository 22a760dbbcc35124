"""The stages of other people's networks have names, where it is known what their authors call them."""

import pytest
from torch import nn

from convscope.hooks import resolve_layer
from convscope.models import build_model
from convscope.models.stages import name_stages

RESNET = {"conv2": "layer1", "conv3": "layer2", "conv4": "layer3", "conv5": "layer4"}


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:resnet10t"])
def test_a_resnets_stages_are_those_of_its_paper(name):
    pytest.importorskip(name.partition(":")[0])
    model = build_model(name, class_count=3, seed=0)
    assert model.layer_aliases == RESNET
    assert resolve_layer(model, "conv5") == "layer4"
    assert resolve_layer(model, "conv1") == "conv1", "a module's own name wins"


def test_stages_in_a_list_are_counted():
    pytest.importorskip("torchvision")
    model = build_model("torchvision:densenet121", class_count=3, seed=0)
    assert model.layer_aliases == {f"stage{number}": f"features.denseblock{number}" for number in range(1, 5)}


def test_where_nothing_is_known_nothing_is_named():
    assert not hasattr(name_stages(nn.Sequential(nn.Conv2d(3, 4, 3))), "layer_aliases")
    ours = build_model("resnet8", class_count=3, seed=0)
    named = dict(ours.layer_aliases)
    assert name_stages(ours).layer_aliases == named
