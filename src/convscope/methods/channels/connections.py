"""A channel's strongest connections: whose weights write it, and whose weights read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor, nn

from convscope.hooks import frozen_eval, resolve_layer
from convscope.methods.channels.gains import Gains, measure_gains
from convscope.methods.channels.wiring import Wiring, find_wiring, norm_scale
from convscope.methods.needs import channel_count, check_at_least, choose_channels
from convscope.types import Network

KERNELS = (nn.Conv2d, nn.Linear)


@dataclass(frozen=True)
class Connection:
    """One channel that the weights join to the one in question."""

    layer: str | None  # the dotted name; None where no layer gives this channel as it is read
    channel: int
    strength: float  # the norm of the weights between the two
    balance: float  # -1 to 1: their sum over the sum of their sizes; below zero it inhibits
    weights: str  # the layer whose weights they are


@dataclass(frozen=True)
class Connections:
    """A channel's connections, the strongest first, and what could not be told."""

    layer: str
    channel: int
    incoming: tuple[Connection, ...]
    outgoing: tuple[Connection, ...]
    writers: tuple[str, ...]  # all layers whose weights write the channel
    readers: tuple[str, ...]  # and all whose weights read it
    notes: tuple[str, ...]


def find_connections(network: Network, layer: str, channel: int, *, count: int = 8) -> Connections:
    """The `count` channels that weigh most in writing a layer's channel, and the `count` in which it weighs most.

    Between the channel and the weights of convolutions and linear layers lie only batch norms, ReLUs, poolings, sums,
    concatenations and the like. Which weights these are, and which of their channels, is measured: in one pass every
    layer with weights gives numbers that do not depend on its input, so that what still moves the channel writes it,
    and what the channel still moves reads it. So the output of a residual block has all the convolutions as writers
    that its sums lead to. ReLUs let everything pass meanwhile; what else bends, such as a gate, counts with its slope
    at numbers drawn by chance. An instance norm hides what passes it, since it takes away what a map has in common.

    A strength is the norm of the kernel between two channels, times what the layers between multiply it by, and the
    scale of the batch norm that directly follows the weights; over all positions for a linear layer that reads
    maps. It does not know how large or how alike the channels' activations are.

    An incoming channel is named by the layer whose output the weights read as it stands, an outgoing one by the layer
    that has the weights. The notes say what could not be told. Raises UsageError for an unknown layer or channel, and
    a count below 1.

    >>> import torch
    >>> model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 1))
    >>> model[2].weight.data = torch.tensor([[3.0, 1.0], [-4.0, 2.0]]).view(2, 2, 1, 1)
    >>> network = Network(model, (0.5,) * 3, (0.5,) * 3, (4, 4), (), "tiny")
    >>> found = find_connections(network, "0", 0).outgoing
    >>> [(each.layer, each.channel, round(each.strength, 4), each.balance) for each in found]
    [('2', 1, 4.0, -1.0), ('2', 0, 3.0, 1.0)]
    """
    name = resolve_layer(network.model, layer, model_name=network.name)
    available = channel_count(network, name)
    [channel] = choose_channels(channel, available, layer=layer)
    check_at_least(1, count=count)
    wiring, notes = find_wiring(network), list[str]()
    modules = dict(network.model.named_modules())
    with frozen_eval(network.model):
        gains = measure_gains(network, name, channel)
    writers, readers = (_with_kernels(gain, modules, notes) for gain in gains)
    incoming: list[Connection] = []
    for writer, gain in writers.items():
        if writer == name:
            gain = gain * _scale_after(writer, wiring, modules)
        rows = _tally(
            *_rows(modules[writer], np.flatnonzero(gain)), gain[gain != 0], per=wiring.flattened.get(writer, 1)
        )
        incoming += _connections(wiring.sources.get(writer), writer, *rows)
        if writer in wiring.reads_image:
            notes.append(f"{writer} reads the image: its incoming channels are the image's")
        elif writer not in wiring.sources:
            notes.append(
                f"{writer} reads what no layer gives as it stands: its incoming channels are as it counts them"
            )
    outgoing: list[Connection] = []
    for reader, gain in readers.items():
        strengths, balances = _tally(*_columns(modules[reader], np.flatnonzero(gain)), gain[gain != 0])
        scale = _scale_after(reader, wiring, modules)[: len(strengths)]
        outgoing += _connections(reader, reader, strengths * np.abs(scale), balances * np.sign(scale))
        if isinstance(modules[reader], nn.Conv2d) and np.count_nonzero(gain) > 1:
            notes.append(f"{reader} reads the channel through {np.count_nonzero(gain)} of its inputs")
    for some, does in ((writers, "write"), (readers, "read")):
        if not some:
            notes.append(f"no convolution or linear layer was seen to {does} this channel")
    return Connections(
        layer=name,
        channel=channel,
        incoming=_strongest(incoming, count),
        outgoing=_strongest(outgoing, count),
        writers=tuple(writers),
        readers=tuple(readers),
        notes=tuple(notes),
    )


def _with_kernels(gains: Gains, modules: Mapping[str, nn.Module], notes: list[str]) -> Gains:
    """Those of layers whose weights are known to be kernels; the others are noted."""
    for name in gains:
        if not isinstance(modules[name], KERNELS):
            notes.append(
                f"{name} is joined to this channel, but the weights of {type(modules[name]).__name__} are not read"
            )
    return {name: gain for name, gain in gains.items() if isinstance(modules[name], KERNELS)}


def _scale_after(name: str, wiring: Wiring, modules: Mapping[str, nn.Module]) -> Float[np.ndarray, " O"]:
    """What the batch norm that directly follows multiplies each of the layer's channels by; ones where none does."""
    scale = norm_scale(modules[wiring.norms[name]]) if name in wiring.norms else None
    return np.ones(len(_kernels(modules[name]))) if scale is None else scale.double().numpy()


def _kernels(module: nn.Module) -> Float[np.ndarray, "O I positions"]:
    """The module's weights, the positions of a kernel in a row."""
    weight = cast("Tensor", module.weight).detach().cpu().float()
    return weight.reshape(*weight.shape[:2], -1).numpy()


def _rows(module: nn.Module, outputs: Int64[np.ndarray, " M"]) -> tuple[np.ndarray, np.ndarray]:
    """The kernels (M, n, positions) that these outputs are computed with, and the inputs (M, n) that they read."""
    kernels = _kernels(module)
    groups, inputs = getattr(module, "groups", 1), kernels.shape[1]
    group = outputs // (len(kernels) // groups)
    return kernels[outputs], group[:, None] * inputs + np.arange(inputs)


def _columns(module: nn.Module, inputs: Int64[np.ndarray, " M"]) -> tuple[np.ndarray, np.ndarray]:
    """The kernels (M, n, positions) that these inputs are read with, and the outputs (M, n) that they serve."""
    kernels = _kernels(module)
    groups, wide = getattr(module, "groups", 1), kernels.shape[1]
    size = len(kernels) // groups
    outputs = (inputs // wide)[:, None] * size + np.arange(size)
    return kernels[outputs, (inputs % wide)[:, None]], outputs


def _tally(
    kernels: Float[np.ndarray, "M n positions"],
    channels: Int64[np.ndarray, "M n"],
    gains: Float[np.ndarray, " M"],
    *,
    per: int = 1,
) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """Each channel's norm of its kernels times their gains, and their balance; `per` indices are one channel."""
    weighed = kernels * gains[:, None, None]
    size = int(channels.max(initial=-1)) // per + 1
    squares, sums, sizes = np.zeros(size), np.zeros(size), np.zeros(size)
    for totals, values in ((squares, weighed**2), (sums, weighed), (sizes, np.abs(weighed))):
        np.add.at(totals, channels // per, values.sum(2))
    return np.sqrt(squares), np.divide(sums, sizes, out=np.zeros(size), where=sizes > 0)


def _connections(
    layer: str | None, weights: str, strengths: Float[np.ndarray, " K"], balances: Float[np.ndarray, " K"]
) -> list[Connection]:
    """A connection for each channel that there are weights for."""
    return [
        Connection(layer, int(index), float(strengths[index]), float(balances[index]), weights)
        for index in np.flatnonzero(strengths)
    ]


def _strongest(found: list[Connection], count: int) -> tuple[Connection, ...]:
    return tuple(sorted(found, key=lambda each: -each.strength)[:count])
