"""The small film in a report: an animation and its last image, both inside the page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from convscope.errors import CheckpointError, UsageError
from convscope.film.animation import webp_bytes
from convscope.film.render import HOLD, draw_film, read_frames
from convscope.report.page import Album
from convscope.report.training_words import film_said
from convscope.types import Event, Progress

FRAMES_PER_SECOND = 8.0
LARGEST = 750_000
"""Bytes of the animation, so that it takes less than a megabyte of the page; frames are left out beyond that."""


def film_of_run(run: Path, events: Sequence[Event], album: Album, *, progress: Progress) -> dict[str, Any] | None:
    """What the page shows of the run's film, which the album keeps too; None where there is none."""
    try:
        sheets = draw_film(run, events, compact=True, progress=progress)
    except UsageError:
        return None
    except CheckpointError as error:
        return {"moving": None, "reading": f"Not drawn: {error}.", "measured": ""}
    about = "; ".join([sheets.caption, *(f"{key}: {value}" for key, value in album.provenance.items())])
    images, data = _within(sheets.images, about)
    seconds = sum(event.data["seconds"] for event in events if event.kind == "film")
    whole = max(event.time for event in events)
    left_out = f" {sheets.skipped} frames could not be read." if sheets.skipped else ""
    return {
        "moving": _kept(album, "film-small.webp", data, images[-1]),
        "still": _kept(album, "film-small-last.png", _png(images[-1], about), images[-1]),
        "count": len(images),
        "seconds": seconds,
        "share": seconds / whole if whole else None,
        "reading": sheets.caption + left_out,
        "measured": film_said(read_frames(run, sheets.steps)),
    }


def _within(images: Sequence[np.ndarray], about: str) -> tuple[list[np.ndarray], bytes]:
    """As many of the images, evenly chosen and the ends among them, as have room; and the animation of them."""
    chosen = list(images)
    data = webp_bytes(chosen, frames_per_second=FRAMES_PER_SECOND, hold=HOLD, about=about)
    while len(data) > LARGEST and len(chosen) > 2:
        count = max(2, min(len(chosen) - 1, len(chosen) * LARGEST // len(data)))
        chosen = [images[round(place)] for place in np.linspace(0, len(images) - 1, count)]
        data = webp_bytes(chosen, frames_per_second=FRAMES_PER_SECOND, hold=HOLD, about=about)
    return chosen, data


def _kept(album: Album, name: str, data: bytes, image: np.ndarray) -> dict[str, Any]:
    """A file of the album as the page shows it."""
    if album.folder:
        (album.folder / name).write_bytes(data)
    return {"src": album.source(name, data), "width": image.shape[1], "height": image.shape[0]}


def _png(image: np.ndarray, about: str) -> bytes:
    """The image as PNG that says what it is."""
    info = PngInfo()
    info.add_itxt("Description", about)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", pnginfo=info, optimize=True)
    return file.getvalue()
