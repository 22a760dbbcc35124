"""What the dashboard tells and draws of a run's film."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image

from convscope.errors import CheckpointError, UsageError
from convscope.film.frame_pictures import Scale, film_scale, filters_picture, frame_scale, maps_picture
from convscope.paint import paint
from convscope.training.frames import FilmInfo, Frame, frame_path, read_frame, read_info, recorded_steps
from convscope.web.answers import Missing
from convscope.web.dashboard.run_list import WatchedRun


class FilmScales:
    """The colour scales of films, remembered by frame, so that a new frame costs one file's reading."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: dict[str, dict[int, tuple[int, Scale]]] = {}  # by run and step: when it was written, its scale

    def of(self, run: WatchedRun, steps: Iterable[int]) -> Scale:
        """One scale for all of a run's frames; a little larger than it has to be, so that it seldom changes."""
        with self._lock:
            known = self._known.setdefault(run.id, {})
            scales: list[Scale] = []
            for step in steps:
                try:
                    written = frame_path(run.path, step).stat().st_mtime_ns
                    if step not in known or known[step][0] != written:
                        known[step] = written, frame_scale(read_frame(run.path, step))
                    scales.append(known[step][1])
                except (OSError, CheckpointError):
                    continue  # being replaced, or damaged: said when the frame itself is asked for
        whole = film_scale(scales)
        return Scale(round_up(whole.filters), {layer: round_up(value) for layer, value in whole.maps.items()})


def round_up(value: float) -> float:
    """The next of four steps to each doubling.

    >>> [round(round_up(value), 3) for value in (0.0, 0.9, 1.0, 1.01)]
    [0.0, 1.0, 1.0, 1.189]
    """
    return 2.0 ** (math.ceil(math.log2(value) * 4 - 1e-9) / 4) if value > 0 else 0.0


def describe_film(run: WatchedRun, scales: FilmScales) -> dict[str, Any]:
    """The frames there are, what they are of, and what the film costs. Raises Missing where there is no film."""
    info, steps = film_of(run)
    told = run.log.told("film")
    per_epoch = steps_per_epoch(run)
    newest = {event["step"]: event for event in told}
    newest_time = (run.log.newest or {"time": 0.0})["time"]
    spent = sum(event["data"].get("seconds", 0.0) for event in told)
    scale = scales.of(run, steps)
    return {
        "frames": [
            {
                "step": step,
                "epoch": step / per_epoch if per_epoch else None,
                "time": newest[step]["time"],
                "weights": bool(newest[step]["data"].get("weights")),
            }
            for step in steps
        ],
        "filter_layer": info.filter_layer,
        "map_layers": info.map_layers,
        "probes": [{"index": index, "label": label} for index, label in zip(info.indices, info.labels, strict=True)],
        "share": spent / newest_time if newest_time else None,
        "scale": "-".join([run.log.generation, *(f"{value:.4g}" for value in (scale.filters, *scale.maps.values()))]),
    }


def describe_frame(run: WatchedRun, step: int) -> dict[str, Any]:
    """What was measured of each layer at a step, and what the network said of the probe images. Raises Missing."""
    frame = frame_of(run, step)
    logits = frame.logits.astype(np.float32)  # (P, classes)
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return {"step": step, "layers": frame.layers, "probabilities": shares / shares.sum(1, keepdims=True)}


def draw_filters(run: WatchedRun, step: int, scales: FilmScales) -> bytes:
    """The first convolution's filters at a step as PNG. Raises Missing."""
    info, steps = film_of(run)
    limit = scales.of(run, steps).filters
    return _png(paint(filters_picture(info, frame_of(run, step), limit=limit, epoch=epoch_of(run, step))))


def draw_maps(run: WatchedRun, step: int, layer: str, probe: int, scales: FilmScales) -> bytes:
    """A layer's maps of a probe image at a step as PNG. Raises Missing, or UsageError for another layer or image."""
    info, steps = film_of(run)
    layer = layer or info.map_layers[0]
    limit = scales.of(run, steps).maps.get(layer, 0.0)
    return _png(paint(maps_picture(info, frame_of(run, step), layer, probe, limit=limit, epoch=epoch_of(run, step))))


def draw_probe(run: WatchedRun, number: int) -> bytes:
    """A probe image as PNG, each pixel one pixel. Raises Missing, or UsageError for a number that there is not."""
    info, _ = film_of(run)
    if number >= len(info.images):
        raise UsageError(f"no probe image {number} in the film; allowed: 0 to {len(info.images) - 1}")
    return _png(info.images[number].transpose(1, 2, 0))


def film_of(run: WatchedRun) -> tuple[FilmInfo, list[int]]:
    """What the film is of, and the steps of its frames. Raises Missing."""
    try:
        info = read_info(run.path)
    except CheckpointError as error:
        raise Missing(str(error)) from error
    if info is None:
        raise Missing("this run was not filmed: it is of an earlier version, or its film/ was deleted")
    return info, recorded_steps(run.path, [event["step"] for event in run.log.told("film")])


def frame_of(run: WatchedRun, step: int) -> Frame:
    """The frame of a step. Raises Missing."""
    try:
        return read_frame(run.path, step)
    except CheckpointError as error:
        raise Missing(str(error)) from error


def steps_per_epoch(run: WatchedRun) -> int | None:
    """As the log's last start tells it."""
    starts = run.log.told("start")
    return starts[-1]["data"].get("steps_per_epoch") if starts else None


def epoch_of(run: WatchedRun, step: int) -> float | None:
    """The epoch of a step."""
    per_epoch = steps_per_epoch(run)
    return step / per_epoch if per_epoch else None


def _png(pixels: np.ndarray) -> bytes:
    """Pixels (H, W, 3) uint8 as PNG, quickly rather than small: a film is played, and over no network."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
