"""Which layers stand for a network where not all can be shown: its ends, its depths, its head."""

from __future__ import annotations

from convscope.errors import CheckpointError
from convscope.hooks import convolutions, layer_aliases
from convscope.models.weights import head_name
from convscope.types import Network


def end_layers(network: Network) -> tuple[str, str]:
    """The first convolution, and the last stage where the model names its stages, else its last convolution."""
    found, stages = convolutions(network.model), list(layer_aliases(network.model))
    return found[0], stages[-1] if stages else found[-1]


def middle_layer(network: Network) -> str:
    """The layer in the middle of the network's depth: deep enough for patterns, and its maps have positions yet."""
    found = depths(network)
    return found[len(found) // 2]


def depths(network: Network) -> list[str]:
    """The first convolution, the stages where the model names them, and the last convolution where it does not."""
    first, last = end_layers(network)
    return list(dict.fromkeys([first, *layer_aliases(network.model), last]))


def head_layer(network: Network) -> str | None:
    """The last linear layer, which gives the classes' scores; None where there is none."""
    try:
        return head_name(network.model)
    except CheckpointError:
        return None
