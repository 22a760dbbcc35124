"""The methods' pictures drawn on a device and on the CPU: how far they are apart, within what rounding explains."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from bench.figures import Figure, not_measured
from bench.given import given
from bench.stand_ins import untrained
from convscope.methods import METHODS
from convscope.types import Dataset, Network, Picture

ROUNDING = 1e-3
"""How far two pictures may be apart as a share of the largest value: fp32 sums in another order, layer by layer."""

CLIMBED = 0.05
"""The same for pictures that are climbed to in steps, each of which amplifies the rounding of those before."""

KNOBS: Mapping[str, dict[str, Any]] = {
    "attribute": {"how": "input-x-gradient"},
    "maximize": {"channel": [0, 1], "steps": 4},
    "invert": {"steps": 4},
    "dream": {"octaves": 1, "steps": 2},
    "top-images": {"channel": [0, 1]},
}
"""How the methods are made quick; the others are as their commands have them."""


def parity(model: str, dataset: Dataset, device: torch.device) -> list[Figure]:
    """For every method, the largest difference of a value as a share of the largest value, in fp32 without TF32."""
    here = untrained(model)
    there = replace(here, model=copy.deepcopy(here.model).to(device))
    figures: list[Figure] = []
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        for name, entry in METHODS.items():
            method = entry.load()
            knobs = KNOBS.get(name, {})
            draw = partial(method, **given(method, dataset), **knobs)
            figures.append(compared(name, draw, here, there, CLIMBED if "steps" in knobs else ROUNDING))
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32
    return figures


def compared(name: str, draw: Callable[[Network], Picture], here: Network, there: Network, allowed: float) -> Figure:
    """How far a picture that is drawn here and there is apart; why not, where drawing fails."""
    what = f"{name}: difference from the CPU's ÷ largest value"
    try:
        ours, theirs = draw(there).values, draw(here).values
    except Exception as error:  # of whatever kind: that it fails there is what is looked for
        return not_measured(what, error)
    if ours.shape != theirs.shape:
        return Figure(what, (float("inf"),), wanted=allowed, note=f"shapes {ours.shape} and {theirs.shape}")
    apart = float(np.abs(ours - theirs).max() / max(float(np.abs(theirs).max()), 1e-12))
    return Figure(what, (apart,), wanted=allowed)
