"""Names for the stages of other people's networks, by which reports and the explorer know how deep a layer is."""

from __future__ import annotations

import re

from torch import nn

WORDS = re.compile(r"(?:.+\.)?(layer|stages\.|denseblock)(\d+)")
"""How ResNets, networks with a list of stages, and DenseNets call theirs."""


def name_stages(model: nn.Module) -> nn.Module:
    """The model with `layer_aliases` for its stages: conv2 … conv5 of a ResNet, as in its paper, else stage1, ….

    A model that has such names, or none of the stages known, stays as it is.

    >>> from collections import OrderedDict
    >>> net = nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, 4, 3), layer1=nn.Sequential(nn.ReLU())))
    >>> name_stages(net).layer_aliases
    {'conv2': 'layer1'}
    """
    if hasattr(model, "layer_aliases"):
        return model
    found = [(name, match) for name, _ in model.named_modules() if (match := WORDS.fullmatch(name))]
    depth = min((name.count(".") for name, _ in found), default=0)
    stages = [(name, match[1]) for name, match in found if name.count(".") == depth]
    first = 2 if stages and stages[0] == ("layer1", "layer") else 1
    word = "conv" if first == 2 else "stage"
    if stages:
        aliases = {f"{word}{number}": name for number, (name, _) in enumerate(stages, start=first)}
        model.__dict__["layer_aliases"] = aliases
    return model
