"""What the explorer tells of a network as a whole: its layers as a map, where they belong, what can be opened."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from convscope.errors import UsageError
from convscope.hooks import Layer, frozen_eval, layer_aliases, like_model, list_layers, observe_outputs
from convscope.methods.depths import head_layer
from convscope.methods.needs import as_maps
from convscope.relu_rules import RULES, ReluRule, Rule
from convscope.types import Network


def describe_layers(network: Network) -> list[dict[str, Any]]:
    """Every layer that runs, in order of first output: its names, shape and weights, and whether it can be opened.

    A layer that gives maps or a vector can be opened where its channels are worth a page: convolutions, ReLUs,
    stages, blocks and the head.
    """
    listed = list_layers(network.model, network.input_size, channels=len(network.mean), blocks=True)
    shapes = map_shapes(network, listed)
    modules = dict(network.model.named_modules())
    aliases = {name: alias for alias, name in layer_aliases(network.model).items()}
    head = head_layer(network)
    found: list[dict[str, Any]] = []
    for layer in listed:
        shape = shapes.get(layer.name)
        parts = next(modules[layer.name].children(), None) is not None
        worth = layer.name in (head, *aliases) or "Conv" in layer.kind or "ReLU" in layer.kind or parts
        found.append(
            {
                "name": layer.name,
                "alias": aliases.get(layer.name),
                "kind": layer.kind,
                "shape": list(layer.output_shape),
                "parameters": sum(each.numel() for each in modules[layer.name].parameters()),
                "detail": layer.detail,
                "channels": shape[0] if shape else None,
                "maps": list(shape) if shape else None,
                "block": parts,
                "explorable": shape is not None and worth,
            }
        )
    return found


def find_rules(network: Network) -> tuple[Rule, ...]:
    """The rules by which a signal goes back through the network: all, where it has ReLUs and no other rectifier.

    >>> from torch import nn
    >>> models = [nn.Sequential(nn.Conv2d(3, 4, 3), each, nn.Flatten()) for each in (nn.ReLU(), nn.GELU())]
    >>> [find_rules(Network(model, (0.5,) * 3, (0.5,) * 3, (8, 8), (), "tiny")) for model in models]
    [('deconvnet', 'guided', 'gradient'), ('gradient',)]
    """
    images = torch.zeros(1, len(network.mean), *network.input_size)
    with frozen_eval(network.model) as model, torch.no_grad(), suppress(UsageError), ReluRule("deconvnet") as met:
        model(network.normalize(like_model(model, images)))
        if met.count:
            return RULES
    return ("gradient",)


def map_shapes(network: Network, layers: list[Layer]) -> dict[str, tuple[int, int, int]]:
    """The (channels, height, width) of each layer's maps, from one pass of a black image; of others nothing."""
    images = torch.zeros(1, len(network.mean), *network.input_size)
    found: dict[str, tuple[int, int, int]] = {}

    def note(name: str, output: Tensor) -> None:
        with suppress(UsageError):
            maps = as_maps(network.model.get_submodule(name), output, layer=name, image_size=network.input_size)
            found[name] = (maps.shape[1], maps.shape[2], maps.shape[3])

    with frozen_eval(network.model) as model, torch.no_grad():
        fed = network.normalize(like_model(model, images))
        observe_outputs(model, fed, [layer.name for layer in layers], note)
    return found


def find_head(network: Network, layers: Mapping[str, Any]) -> str | None:
    """The dotted name of the layer whose channels are the classes; None where there is none."""
    name = head_layer(network)
    return name if name and layers.get(name, {}).get("channels") == len(network.class_names) else None
