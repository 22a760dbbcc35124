"""Which layer's output another one reads, and which batch norm follows a layer: seen in one forward pass."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from convscope.hooks import changed_outputs, frozen_eval, like_model
from convscope.types import Network

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)
PASSING = (nn.Identity, nn.Dropout, nn.Dropout2d)  # in evaluation mode they only hand on what they are given


class Wiring(NamedTuple):
    """What one pass shows of how layers are joined, by dotted names."""

    sources: dict[str, str]  # layer: the outermost layer whose output is, as it stands, what this one reads
    norms: dict[str, str]  # layer: the batch norm that reads its output as it stands
    flattened: dict[str, int]  # layer that reads maps as a vector: how many of its entries are each channel's
    reads_image: frozenset[str]  # layers that read the network's input as it stands


class _Given(NamedTuple):
    """An output, and how often it had been changed in place when it was given."""

    name: str
    output: Tensor
    version: int


def find_wiring(network: Network) -> Wiring:
    """How the layers of a network are joined, from one pass of a black image.

    A layer reads another's output as it stands where both are the same memory, unchanged since: so what is
    computed between layers by functions, such as a sum, has no source. Of a layer that runs more than once the
    first run counts.

    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3))
    >>> wiring = find_wiring(Network(model, (0.5,) * 3, (0.5,) * 3, (8, 8), (), "tiny"))
    >>> wiring.sources, wiring.norms, wiring.reads_image
    ({'1': '0', '2': '1', '3': '2'}, {'0': '1'}, frozenset({'0'}))
    """
    seen: list[_Given] = []  # all are kept until the end, so that no memory is used twice
    met: set[str] = set()
    sources: dict[str, str] = {}
    norms: dict[str, str] = {}
    flattened: dict[str, int] = {}
    reads_image: set[str] = set()
    modules = {name: module for name, module in network.model.named_modules() if name}

    def note(name: str, given: Tensor, output: Tensor) -> None:
        if name not in met:
            met.add(name)
            given_by = [each for each in seen if _is_same(each, given) and not each.name.startswith(name + ".")]
            if source := _outermost(given_by, modules):
                sources[name] = source.name
                if given.ndim == 2 and source.output.ndim == 4:
                    flattened[name] = source.output.shape[2:].numel()
            if isinstance(modules[name], NORMS):
                norms.update({each.name: name for each in given_by})
            if _is_same(image, given):
                reads_image.add(name)
        seen.append(_Given(name, output, output._version))

    with frozen_eval(network.model) as model, torch.no_grad():
        inputs = network.normalize(like_model(model, torch.zeros(1, len(network.mean), *network.input_size)))
        image = _Given("", inputs, inputs._version)
        with changed_outputs(model, modules, note):
            model(inputs)
    return Wiring(sources, norms, flattened, frozenset(reads_image))


def norm_scale(norm: nn.Module) -> Float[Tensor, " K"] | None:
    """What a batch norm in evaluation mode multiplies each channel by; None where it keeps no statistics.

    >>> norm_scale(nn.BatchNorm2d(2, eps=0))
    tensor([1., 1.])
    """
    variance, weight = (cast("Tensor | None", getattr(norm, name)) for name in ("running_var", "weight"))
    if variance is None:
        return None
    scale = (variance + cast("float", norm.eps)).rsqrt()
    return (scale if weight is None else scale * weight).detach().cpu().float()


def _is_same(earlier: _Given, given: Tensor) -> bool:
    """Whether both are the same numbers in the same memory, unchanged since the first was given."""
    output = earlier.output
    same = output.data_ptr() == given.data_ptr() and output.numel() == given.numel()
    return same and given._version == earlier.version


def _outermost(given_by: list[_Given], modules: dict[str, nn.Module]) -> _Given | None:
    """Of layers that gave the same numbers the last to end, maps before vectors and doers before what hands on."""
    doers = [each for each in given_by if not isinstance(modules[each.name], PASSING)]
    maps = [each for each in doers if each.output.ndim == 4]
    return next(reversed(maps or doers or given_by), None)
