"""A phase's optimizer, which walks the weights in the order in which memory has them."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn

from convscope.training.whitening import PatchWhitening
from convscope.types import Phase


class DenseOptimizer:
    """SGD or Adam over a model's trainable parameters; norms and biases have a decay of their own, norms a rate too.

    torch's fused optimizers copy every gradient that is not row after row in memory, as those of channels-last
    kernels are. So what they are given are the same weights with their axes in memory's order: the same numbers come
    out, without the copies. State goes in and out with the axes of the parameters themselves. A whitening turns the
    first convolution's gradient before each step.
    """

    def __init__(self, model: nn.Module, phase: Phase, *, whitening: PatchWhitening | None = None) -> None:
        self._whitening = whitening
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        vectors_decay = phase.weight_decay if phase.decay_norms_and_biases else 0.0
        matrices = [parameter for parameter in trainable if parameter.ndim > 1]
        vectors = [parameter for parameter in trainable if parameter.ndim <= 1]
        self._parameters = [*matrices, *vectors]  # in the order in which torch numbers their states
        for parameter in self._parameters:
            parameter.grad = None
        self._axes = [_memory_order(parameter) for parameter in self._parameters]
        self._views = [
            nn.Parameter(parameter.detach().permute(axes))
            for parameter, axes in zip(self._parameters, self._axes, strict=True)
        ]
        norms = _of_norms(model)
        kinds = [(phase.weight_decay, 1.0)] * len(matrices)
        kinds += [(vectors_decay, phase.norm_rate if vector in norms else 1.0) for vector in map(id, vectors)]
        groups = [
            {"params": [view for _, view in alike], "weight_decay": decay, "times": times}
            for (decay, times), alike in groupby(zip(kinds, self._views, strict=True), key=itemgetter(0))
        ]
        if phase.optimizer == "adam":
            self._optimizer = torch.optim.Adam(groups, lr=phase.learning_rate, fused=True)
        else:
            self._optimizer = torch.optim.SGD(
                groups, lr=phase.learning_rate, momentum=phase.momentum, nesterov=phase.nesterov, fused=True
            )

    def step(self, *, learning_rate: float) -> None:
        """Move the weights by their gradients, and forget the gradients."""
        if self._whitening:
            self._whitening.turn_gradient()
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate * group["times"]
        for parameter, view, axes in zip(self._parameters, self._views, self._axes, strict=True):
            view.grad = None if parameter.grad is None else parameter.grad.permute(axes).contiguous()
            parameter.grad = None
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[int, dict[str, Any]]:
        """What it remembers of each parameter, by number: tensors shaped like it, and 0-d counters."""
        return {
            index: {key: self._turned(index, value, back=True) for key, value in values.items()}
            for index, values in self._optimizer.state_dict()["state"].items()
        }

    def load_state(self, state: dict[int, dict[str, Any]]) -> None:
        """Take over what another one of the same phase remembered, wherever its tensors lie."""
        turned = {
            index: {key: self._turned(index, value, back=False) for key, value in values.items()}
            for index, values in state.items()
        }
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": turned, "param_groups": groups})

    def _turned(self, index: int, value: Any, *, back: bool) -> Any:
        """A tensor of a parameter's shape with its axes in memory's order, or back; anything else as it is."""
        parameter, axes = self._parameters[index], self._axes[index]
        if not isinstance(value, Tensor) or value.ndim != parameter.ndim or not value.ndim:
            return value
        if back:
            return value.permute([axes.index(axis) for axis in range(len(axes))])
        return value.permute(axes).clone(memory_format=torch.contiguous_format)


def _of_norms(model: nn.Module) -> set[int]:
    """The ids of the parameters of modules that have vectors alone: norms' weights and biases, not those of a layer.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    >>> _of_norms(net) == {id(net[1].weight), id(net[1].bias)}
    True
    """
    own = [list(module.parameters(recurse=False)) for module in model.modules()]
    return {id(value) for values in own if all(value.ndim <= 1 for value in values) for value in values}


def _memory_order(parameter: Tensor) -> list[int]:
    """The parameter's axes, the one with the widest strides first; as they are where that is not dense.

    >>> _memory_order(torch.zeros(8, 3, 5, 5).to(memory_format=torch.channels_last))
    [0, 2, 3, 1]
    """
    axes = sorted(range(parameter.ndim), key=lambda axis: -parameter.stride(axis))
    return axes if parameter.detach().permute(axes).is_contiguous() else list(range(parameter.ndim))
