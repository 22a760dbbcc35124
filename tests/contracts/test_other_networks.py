"""Every method on other people's networks: a finite picture, or one line that says why there is none."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.errors import UsageError
from convscope.hooks import convolutions
from convscope.methods import METHODS
from convscope.models.huggingface import huggingface_again
from convscope.types import Network, Picture
from tests.contracts.test_methods import FEW, everything, photographs

TORCHVISION = [
    "vgg11",
    "alexnet",
    "densenet121",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "convnext_tiny",
    "googlenet",
]
NOT_RECTIFIED = {"mobilenet_v3_small": "hardswish", "efficientnet_b0": "silu", "convnext_tiny": "gelu"}
NETS = [*TORCHVISION, "timm:resnet10t", "huggingface", "functional"]


class Functional(nn.Module):
    """Calls functions only; the pool, the ReLUs and the sum have no modules."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 5, stride=2, padding=2)
        self.middle = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.stem(x)), 3, 2, 1)
        x = torch.relu_(self.middle(x) + x)
        return self.head(F.dropout(x.mean((2, 3)), training=self.training))


@cache
def net(name: str) -> Network:
    torch.manual_seed(0)
    if name == "functional":
        model: nn.Module = Functional()
    elif name == "huggingface":
        config = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
        pytest.importorskip("transformers")
        model = huggingface_again({**config, "layer_type": "basic"}, 3)
    elif name.startswith("timm:"):
        model = pytest.importorskip("timm").create_model(name.removeprefix("timm:"), num_classes=3)
    else:
        options: dict[str, Any] = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
        model = pytest.importorskip("torchvision").models.get_model(name, num_classes=3, **options)
    if name in ("vgg11", "alexnet"):  # whose heads have a hundred million weights, which only take time
        inputs = next(each.in_features for each in model.classifier if isinstance(each, nn.Linear))
        model.classifier = nn.Sequential(nn.Dropout(), nn.Linear(inputs, 16), nn.ReLU(inplace=True), nn.Linear(16, 3))
    return Network(model, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), (64, 64), ("a", "b", "c"), name)


def draw(method: str, network: Network) -> Picture:
    function = METHODS[method].load()
    found = convolutions(network.model)
    have = {
        "network": network,
        "layer": found[0] if method == "filters" else found[len(found) // 2],
        "channel": [0, 1],
        "image": torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(1)),
        "dataset": photographs(network),
        **FEW,
    }
    return function(**{name: have[name] for name in inspect.signature(function).parameters if name in have})


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_works_or_says_why_not(method, name):
    network = net(name)
    before = everything(network.model)
    if method == "reconstruct" and name in NOT_RECTIFIED:
        with pytest.raises(UsageError, match=f'the rule "deconvnet" is not defined for {NOT_RECTIFIED[name]}'):
            draw(method, network)
    else:
        picture = draw(method, network)
        assert np.isfinite(picture.values).all()
        assert picture.values.std() > 0
    assert everything(network.model) == before
