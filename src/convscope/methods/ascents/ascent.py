"""Gradient ascent: a canvas moved uphill by Adam, every image by its own objective alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from convscope.hooks import frozen_eval
from convscope.methods.ascents.canvas import Canvas, Parameterization
from convscope.methods.ascents.transforms import move
from convscope.methods.needs import layer_maps
from convscope.types import Network, Progress, no_progress

Objective = Callable[[Float[Tensor, "N K h w"]], Float[Tensor, " N"]]
"""What each image is to raise, from the layer's maps for all of them."""

Respond = Callable[[Float[Tensor, "N C H W"]], Float[Tensor, "N K h w"]]
"""The maps that the objective is to see, of images in [0, 1]."""

REACH: dict[Parameterization, float] = {"fourier": 4.8, "maco": 12.8, "pixel": 1.0}
"""How far Adam may carry a parameter in all steps together, so that 64 end as rich in contrast as more do."""
ENOUGH = 64  # steps; fewer get not so far, since larger ones would miss what they climb

EPSILON = 1e-12  # Adam's, far below any gradient that is not zero: those of a mean over many positions are small


class Climb(NamedTuple):
    """Where an ascent got to."""

    images: Tensor  # (N, C, H, W) in [0, 1]
    frames: dict[int, Tensor]  # images (N, C, H, W) by the number of steps taken
    interrupted: bool


def ascend(
    network: Network,
    layer: str,
    canvas: Canvas,
    objective: Objective,
    *,
    respond: Respond | None = None,
    moves: Float[Tensor, "steps N 2 3"],
    reach: float,
    keep: Collection[int] = (),
    progress: Progress = no_progress,
) -> Climb:
    """The canvas's images after a step of Adam for each of the `moves`, and those at the steps to `keep`.

    `reach` is what the learning rates of 64 or more steps sum to; see REACH. The objective sees the layer's maps
    before their ReLU, so that a silent channel has a gradient too, or what `respond` gives instead. The sum over
    images is raised, and no image sees another's. Ctrl-C ends the climb where it is. After Erhan et al. 2009
    (Université de Montréal, report 1341), section 3.1; Adam as in Olah et al. 2017 (doi:10.23915/distill.00007).

    >>> from torch import nn
    >>> from convscope.methods.ascents.canvas import canvas_from
    >>> from convscope.methods.ascents.image_statistics import assumed_statistics
    >>> from convscope.methods.ascents.transforms import draw_moves
    >>> network = Network(nn.Sequential(nn.Conv2d(3, 2, 3)), (0.5,) * 3, (0.5,) * 3, (8, 8), (), "tiny")
    >>> canvas = canvas_from("pixel", torch.full((1, 3, 8, 8), 0.5), assumed_statistics(network))
    >>> moves = draw_moves([(0,)], 3, (8, 8))
    >>> climb = ascend(network, "0", canvas, lambda maps: maps[:, 0].mean((1, 2)), moves=moves, reach=0.3)
    >>> climb.images.shape, climb.interrupted
    (torch.Size([1, 3, 8, 8]), False)
    """
    rate = reach / math.sqrt(max(1, len(moves)) * max(ENOUGH, len(moves)))
    optimizer = torch.optim.Adam(canvas.parameters, lr=rate, eps=EPSILON)
    see = respond or partial(layer_maps, network, layer, before_relu=True)
    frames: dict[int, Tensor] = {}
    interrupted = False
    moves = moves.to(canvas.parameters[0].device)
    with frozen_eval(network.model), torch.enable_grad():
        try:
            for step in range(len(moves)):
                images = canvas.images()  # (N, C, H, W)
                if step in keep:
                    frames[step] = images.detach()
                (-objective(see(move(images, moves[step]))).sum()).backward(inputs=canvas.parameters)
                optimizer.step()
                optimizer.zero_grad()
                progress(f"climbing {layer}", step + 1, len(moves))
        except KeyboardInterrupt:
            interrupted = True
    reached = canvas.images().detach()
    if len(moves) in keep:
        frames[len(moves)] = reached
    return Climb(reached, frames, interrupted)
