"""What channels answer to, followed through a training: each ascent begins where the one before ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from convscope.errors import CheckpointError
from convscope.hooks import like_model
from convscope.methods.ascents.ascent import REACH, ascend
from convscope.methods.ascents.canvas import random_canvas
from convscope.methods.ascents.excite import chunks
from convscope.methods.ascents.image_statistics import ImageStatistics
from convscope.methods.ascents.objectives import climbed
from convscope.methods.ascents.transforms import draw_moves
from convscope.types import Network, Progress, no_progress

KEPT = 0.5
"""The share of an image's distance from the mean colour that the next one begins with.

A quarter of the steps reaches half as far (see ascent.REACH), so that with this share the images stay as rich in
contrast as the first, however many follow.
"""


def follow(
    network: Network,
    layer: str,
    channels: Sequence[int],
    weights: Iterable[Mapping[str, Tensor]],
    statistics: ImageStatistics,
    *,
    first_steps: int = 64,
    steps: int = 16,
    kept: float = KEPT,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Iterator[Float[Tensor, "N C H W"]]:
    """For each set of weights, in turn, the images in [0, 1] that excite the channels most, on the CPU.

    The first begin as noise and climb `first_steps`; the others begin as those before, faded to the share `kept`,
    and climb `steps`, so that a pattern moves only where the weights did, and keeps something of its past. `layer`
    is a dotted name, and each set of weights all of the model's. The model has its own weights again when the
    last were looked at, or the iterator is closed. Raises CheckpointError for weights of another model, and
    KeyboardInterrupt where Ctrl-C ends an ascent.

    >>> from torch import nn
    >>> from convscope.methods.ascents.image_statistics import assumed_statistics
    >>> network = Network(nn.Sequential(nn.Conv2d(3, 4, 3)), (0.5,) * 3, (0.25,) * 3, (8, 8), (), "tiny")
    >>> weights = [nn.Sequential(nn.Conv2d(3, 4, 3)).state_dict() for _ in range(3)]
    >>> images = follow(network, "0", [1, 3], weights, assumed_statistics(network), first_steps=4, steps=1)
    >>> [tuple(each.shape) for each in images]
    [(2, 3, 8, 8), (2, 3, 8, 8), (2, 3, 8, 8)]
    """
    own = {name: value.clone() for name, value in network.model.state_dict().items()}
    device = like_model(network.model, torch.empty(0)).device
    parts = chunks(channels, network.input_size)
    keys = [[(seed, channel, 0) for channel in part] for part in parts]
    canvases = [random_canvas("fourier", key, network.input_size, statistics, device=device) for key in keys]
    try:
        for number, each in enumerate(weights):
            _load(network, each)
            images: list[Tensor] = []
            for part, canvas in zip(parts, canvases, strict=True):
                if number:
                    with torch.no_grad():
                        for parameter in canvas.parameters:
                            parameter *= kept
                moved = [(seed, channel, number) for channel in part]
                climb = ascend(
                    network,
                    layer,
                    canvas,
                    climbed(part, "channel"),
                    moves=draw_moves(moved, steps if number else first_steps, network.input_size),
                    reach=REACH["fourier"],
                    progress=progress,
                )
                if climb.interrupted:
                    raise KeyboardInterrupt
                images.append(climb.images.cpu())
            yield torch.cat(images)
    finally:
        network.model.load_state_dict(own)


def _load(network: Network, weights: Mapping[str, Tensor]) -> None:
    """Give the model these weights. Raises CheckpointError where they are of another one."""
    try:
        network.model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"weights that are not of {network.name}: {str(error).splitlines()[0]}") from error
