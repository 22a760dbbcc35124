"""The film's frames as loggers show them: the filters and one probe image's maps as pixels, as soon as they exist."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from convscope.errors import CheckpointError
from convscope.film.frame_pictures import film_scale, filters_picture, frame_scale, maps_picture
from convscope.paint import paint
from convscope.training.frames import read_frame, read_info
from convscope.types import Picture

PROBE = 0
TILE_SIDE = 32  # pixels, small: what is drawn here is drawn beside a training


def frame_painter(run: Path) -> Callable[[int], dict[str, np.ndarray]]:
    """What gives the pictures (H, W, 3) uint8, by name, of the frame of this run's film at a step.

    Later frames are not known yet, so the colours are scaled by the largest values up to the frame. A frame that is
    missing or damaged gives no pictures.
    """
    scale = film_scale([])

    @lru_cache(maxsize=4)  # several loggers ask for the same frame, one soon after the other
    def pixels(step: int) -> dict[str, np.ndarray]:
        nonlocal scale
        try:
            info, frame = read_info(run), read_frame(run, step)
        except CheckpointError:
            return {}
        if info is None:
            return {}
        scale = film_scale([scale, frame_scale(frame)])
        pictures = {"filters": filters_picture(info, frame, limit=scale.filters)}
        for layer in info.map_layers:
            pictures[f"maps/{layer}"] = maps_picture(info, frame, layer, PROBE, limit=scale.maps[layer])
        return {name: _small(picture) for name, picture in pictures.items()}

    return pixels


def _small(picture: Picture) -> np.ndarray:
    """The picture's pixels with tiles of about TILE_SIDE pixels and no captions."""
    return paint(replace(picture, captions=()), scale=max(1, TILE_SIDE // max(picture.values.shape[2:])))
