"""How much each channel adds to a class's score: its activation times the score's gradient there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from convscope.errors import UsageError
from convscope.hooks import changed_outputs, frozen_eval, like_model
from convscope.methods.needs import as_maps, check_logits
from convscope.types import Network


def class_contributions(
    network: Network, images: Float[Tensor, "N C H W"], layers: Iterable[str], target: int
) -> dict[str, Float[Tensor, "N K"]]:
    """For each layer and image what each channel adds to the class's score, in main memory.

    The score is `class_score`. A channel adds the sum over its positions of activation times gradient: by how much
    the score would fall, to first order, were the channel zero. Of a layer that only linear ones follow it is exact.
    `layers` are dotted names, and images are in [0, 1]. Raises UsageError for a layer that does not run or gives no
    maps, and a network that gives no logits; NumericsError for logits that are not finite.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(2, 2, bias=False))
    >>> model[2].weight.data = torch.tensor([[3.0, 0.0], [1.0, 0.0]])
    >>> network = Network(model, (0.0,) * 2, (1.0,) * 2, (1, 1), ("a", "b"), "tiny")
    >>> class_contributions(network, torch.ones(1, 2, 1, 1), ["0"], 0)["0"].tolist()
    [[1.0, 0.0]]
    """
    asked = list(layers)
    kept: dict[str, Tensor] = {}

    def keep(name: str, _given: Tensor, output: Tensor) -> Tensor | None:
        if name in kept:
            return None
        kept[name] = output.clone()
        return kept[name].clone()  # what follows may overwrite it

    with frozen_eval(network.model) as model, torch.enable_grad(), changed_outputs(model, asked, keep):
        inputs = network.normalize(like_model(model, images)).requires_grad_()
        score = class_score(check_logits(network, model(inputs)), target)
        if missing := [name for name in asked if name not in kept]:
            raise UsageError(f'layer "{missing[0]}" does not run in the forward pass of {type(model).__name__}')
        outputs = [kept[name] for name in asked]
        found = cast("Sequence[Tensor | None]", torch.autograd.grad(score.sum(), outputs, allow_unused=True))
    added: dict[str, Tensor] = {}
    for name, gradient in zip(asked, found, strict=True):
        product = torch.zeros_like(kept[name]) if gradient is None else kept[name].detach() * gradient
        maps = as_maps(network.model.get_submodule(name), product, layer=name, image_size=images.shape[2:])
        added[name] = maps.sum((2, 3)).float().cpu()
    return added


def class_score(logits: Float[Tensor, "N classes"], target: int) -> Float[Tensor, " N"]:
    """The class's logit less the mean of all classes' logits, which softmax does not see; the logit of an only class.

    >>> class_score(torch.tensor([[4.0, 1.0, 1.0]]), 0).tolist()
    [2.0]
    """
    return logits[:, target] - (logits.mean(1) if logits.shape[1] > 1 else 0)
