"""What a network gives with channels of one layer removed, without computing again what comes before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from convscope.hooks import record_outputs
from convscope.methods.channels.wiring import find_wiring
from convscope.methods.needs import as_maps, check_logits
from convscope.methods.removals.replay import resume
from convscope.types import Network


class Prefix(NamedTuple):
    """A pass of N images up to a layer."""

    network: Network
    layer: str  # the dotted name
    inputs: Tensor  # (N, C, H, W): what the model is fed
    outputs: dict[str, Tensor]  # of the layer and of those before it
    read: Mapping[str, bool]  # whether what follows reads them

    @property
    def maps(self) -> Float[Tensor, "N K h w"]:
        """The layer's maps."""
        return _maps(self, self.outputs[self.layer])


def record_prefix(network: Network, images: Float[Tensor, "N C H W"], layer: str, read: Mapping[str, bool]) -> Prefix:
    """A pass of images in [0, 1] up to a layer, a dotted name; `read` is what `replay.layers_until` gives for it.

    The model's mode is the caller's, as in what follows (see `hooks.frozen_eval`).
    """
    inputs = network.normalize(images)
    return Prefix(network, layer, inputs, record_outputs(network.model, inputs, read), read)


def logits_with_all(prefix: Prefix) -> Float[Tensor, "N classes"]:
    """The logits with nothing removed. Raises what `logits_without` raises."""
    outputs = {name: output.clone() for name, output in prefix.outputs.items()}  # they may be overwritten
    return check_logits(prefix.network, resume(prefix.network.model, prefix.inputs, outputs))


def logits_without(
    prefix: Prefix, rows: Int64[Tensor, " M"], channels: Int64[Tensor, " M"], values: Float[Tensor, " M"]
) -> Float[Tensor, "M classes"]:
    """The logits for each of the rows of the images, each with one of the layer's channels set to a value.

    Raises UsageError for a network that gives no logits, and NumericsError for logits that are not finite.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Identity(), nn.Flatten())
    >>> network = Network(model, (0.0,) * 2, (1.0,) * 2, (1, 1), ("a", "b"), "tiny")
    >>> prefix = record_prefix(network, torch.ones(1, 2, 1, 1), "0", {"0": True})
    >>> logits_without(prefix, torch.tensor([0, 0]), torch.tensor([0, 1]), torch.tensor([0.0, 5.0])).tolist()
    [[0.0, 1.0], [1.0, 5.0]]
    """
    count = len(rows)
    outputs = {
        name: output[rows] if prefix.read[name] or count > len(output) else output[:count]
        for name, output in prefix.outputs.items()
    }  # what is read is copied, since it may be overwritten; of the rest any rows do
    maps = _maps(prefix, outputs[prefix.layer])
    maps[torch.arange(count), channels] = values[:, None, None]
    return check_logits(prefix.network, resume(prefix.network.model, prefix.inputs[rows], outputs))


def removal_place(network: Network, layer: str) -> str:
    """Where a layer's channels are removed: behind the batch norm that directly follows it, else at the layer itself.

    Zero before a batch norm would not be nothing: it is what the norm's mean and shift make of it.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    >>> network = Network(model, (0.5,) * 3, (0.5,) * 3, (8, 8), (), "tiny")
    >>> removal_place(network, "0"), removal_place(network, "2")
    ('1', '2')
    """
    return find_wiring(network).norms.get(layer, layer)


def _maps(prefix: Prefix, output: Tensor) -> Float[Tensor, "N K h w"]:
    """A view of the layer's output as maps."""
    module = prefix.network.model.get_submodule(prefix.layer)
    return as_maps(module, output, layer=prefix.layer, image_size=prefix.inputs.shape[2:])
