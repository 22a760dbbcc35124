"""How much of a change arrives between a channel and the weights next to it, measured in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from convscope.hooks import changed_outputs, like_model
from convscope.methods.needs import as_maps
from convscope.relu_rules import OpenRelus
from convscope.types import Network

ROUNDING = 1e-5  # of the largest gain: below it nothing arrived

Gains = dict[str, NDArray[np.float64]]
"""By layer, a gain for each of its outputs, or of its inputs."""


def measure_gains(network: Network, layer: str, channel: int) -> tuple[Gains, Gains]:
    """How much of a change in other layers' outputs arrives at a channel, and of one there at other layers' inputs.

    Layers are those with weights, by dotted name; those that nothing reaches are left out. Meanwhile each of them
    gives numbers that its input does not decide, the same at all positions, so that no change passes two of them;
    ReLUs pass everything. The layer itself, where it has weights, is its own writer. `layer` is a dotted name; the
    model's mode and gradients are the caller's (see `hooks.frozen_eval`).

    >>> model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 1), nn.AvgPool2d(2))
    >>> network = Network(model.requires_grad_(False), (0.5,) * 3, (0.5,) * 3, (4, 4), (), "tiny")
    >>> writers, readers = measure_gains(network, "1", 0)
    >>> writers["0"].tolist(), [*readers], readers["2"].round(4).tolist()
    ([1.0, 0.0], ['2'], [1.0, 0.0])
    """
    modules = dict(network.model.named_modules())
    weighted = {name for name, module in modules.items() if name and _has_weights(module)}
    generator = torch.Generator().manual_seed(0)
    free: dict[str, Tensor] = {}
    given: dict[str, Tensor] = {}
    ends: list[Tensor] = []

    def maps(output: Tensor) -> Tensor:
        return as_maps(modules[layer], output, layer=layer, image_size=network.input_size)

    def change(name: str, read: Tensor, output: Tensor) -> Tensor | None:
        level = torch.empty_like(output)
        if name != layer:
            _fill(_by_channel(modules[name], level), generator)
            if name in free:
                return level
            free[name] = level.requires_grad_()
            given[name] = read.detach().clone()
            return level.clone()  # what follows may overwrite it
        if ends:
            return None
        ends.append(maps(output))
        _fill(maps(level), generator)
        maps(level)[2:, channel] += 1
        return level

    with torch.enable_grad(), OpenRelus(), changed_outputs(network.model, {*weighted, layer}, change):
        images = torch.zeros(4, len(network.mean), *network.input_size)
        network.model(network.normalize(like_model(network.model, images)))
    [end] = ends  # (4, K, h, w)
    if layer in weighted:
        writers = {layer: np.eye(end.shape[1])[channel]}
    else:
        changes = _gradients(end[:2, channel].flatten(1).mean(1).sum(), free)
        writers = {
            name: _largest(_by_channel(modules[name], each).flatten(2).sum(2).T) for name, each in changes.items()
        }
    readers: Gains = {}
    for name, read in given.items():
        before, after = _by_channel(modules[name], read).chunk(2)  # (2, I, …)
        readers[name] = _largest((after - before).transpose(0, 1).flatten(1))
    return _arriving(writers), _arriving(readers)


def _has_weights(module: nn.Module) -> bool:
    """Whether the module itself has kernels or a matrix, rather than a number for each channel."""
    own = module.parameters(recurse=False)
    return isinstance(module, (nn.Conv2d, nn.Linear)) or any(sum(n > 1 for n in each.shape) > 1 for each in own)


def _by_channel(module: nn.Module, values: Tensor) -> Float[Tensor, "N K *positions"]:
    """A view of what a module with weights reads or gives, with its channels second and at least one position."""
    if values.ndim == 2:
        return values[:, :, None]
    return values.movedim(-1, 1) if isinstance(module, nn.Linear) else values


def _fill(values: Float[Tensor, "N K *positions"], generator: torch.Generator) -> None:
    """Set each channel to a number of its own, of turning sign from image to image."""
    numbers = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]]) * torch.randn(values.shape[1], generator=generator)
    values.copy_(numbers.view(*numbers.shape, *(1,) * (values.ndim - 2)))


def _gradients(value: Tensor, free: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The value's gradient by each of these tensors that it depends on."""
    if not value.requires_grad:
        return {}
    found = cast("Sequence[Tensor | None]", torch.autograd.grad(value, [*free.values()], allow_unused=True))
    return {name: each for name, each in zip(free, found, strict=True) if each is not None}


def _largest(changes: Float[Tensor, "K n"]) -> Float[np.ndarray, " K"]:
    """Of each channel's changes the largest in size."""
    changes = changes.detach().cpu().double()
    return changes.gather(1, changes.abs().argmax(1, keepdim=True))[:, 0].numpy()


def _arriving(gains: Gains) -> Gains:
    """The gains that are more than rounding, of layers that have any."""
    kept = {name: np.where(np.abs(gain) > ROUNDING * np.abs(gain).max(), gain, 0) for name, gain in gains.items()}
    return {name: gain for name, gain in kept.items() if np.abs(gain).max() > ROUNDING}
