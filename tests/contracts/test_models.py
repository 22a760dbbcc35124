"""What every model must satisfy, over the whole table, so that every method and recipe works on it."""

import pytest
import torch
from torch import nn

from convscope.hooks import convolutions, list_layers
from convscope.models import MODELS, build_model
from convscope.models.weights import head_name


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_what_the_methods_need(name: str):
    model = build_model(name, class_count=7, seed=0).eval()
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    calls: list[nn.Module] = []
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            assert not module.inplace
            module.register_forward_hook(lambda module, *_: calls.append(module))
    model(torch.zeros(1, 3, 32, 32))
    assert len(calls) == len(set(calls)) > 0, "a ReLU runs twice, so recordings of it are ambiguous"
    assert all(isinstance(model.get_submodule(layer), nn.Module) for layer in model.layer_aliases.values())


@pytest.mark.parametrize("name", MODELS)
def test_every_model_can_be_looked_into(name: str):
    model = build_model(name, class_count=7, seed=0)
    layers = list_layers(model, (32, 32))
    assert sum(layer.parameters for layer in layers) == sum(p.numel() for p in model.parameters())
    assert model.get_submodule(convolutions(model)[0]).weight.shape[1] == 3
    assert head_name(model) == layers[-1].name == "fc"


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_a_function_of_its_seed(name: str):
    first, again, other = (build_model(name, class_count=7, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)
