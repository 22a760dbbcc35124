"""The film on the disk, film/ in the run folder; read and written with NumPy, so that a server needs no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from convscope.durable import replace_file, to_json, write_quickly
from convscope.errors import CheckpointError

FOLDER = "film"
_INFO, _PROBES = "film.json", "probes.safetensors"


class Frame(NamedTuple):
    """What the film kept of one step."""

    step: int
    filters: np.ndarray  # (O, I, kh, kw) float16: the first convolution's weights
    maps: dict[str, np.ndarray]  # by layer (P, C, H, W) float16: its first channels for each probe image
    logits: np.ndarray  # (P, classes) float16
    layers: list[dict[str, Any]]  # a summary of each: name, kind, channels, and what Recorder measured


class FilmInfo(NamedTuple):
    """What holds for every frame of a film."""

    filter_layer: str
    map_layers: list[str]
    images: np.ndarray  # (P, 3, H, W) uint8: the probe images
    indices: list[int]  # their numbers among the test images
    labels: list[int]


def frame_path(run: Path, step: int) -> Path:
    """The file of the frame that was taken after `step` steps."""
    return run / FOLDER / f"step-{step:09d}.safetensors"


def weights_path(run: Path, step: int) -> Path:
    """The file of all weights after `step` steps, where the film kept them."""
    return run / FOLDER / f"weights-{step:09d}.safetensors"


def write_info(run: Path, info: FilmInfo) -> None:
    """Begin a film. Raises OSError."""
    folder = run / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    said = {key: value for key, value in info._asdict().items() if key != "images"}
    replace_file(folder / _PROBES, save({"images": np.ascontiguousarray(info.images)}))
    replace_file(folder / _INFO, to_json(said))


def read_info(run: Path) -> FilmInfo | None:
    """What the run's film is of; None where it has none. Raises CheckpointError where it is damaged."""
    folder = run / FOLDER
    try:
        said = json.loads((folder / _INFO).read_bytes())
        return FilmInfo(images=load((folder / _PROBES).read_bytes())["images"], **said)
    except FileNotFoundError as error:
        if any(folder.glob("step-*.safetensors")):
            raise CheckpointError(f"{error.filename} is missing, without which the film cannot be read") from error
        return None
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise CheckpointError(f"{folder / _INFO} is damaged: {error}") from error


def write_frame(run: Path, frame: Frame) -> int:
    """Write a frame, whole or not at all, without waiting for the disk; its size in bytes. Raises OSError."""
    arrays = {"filters": frame.filters, "logits": frame.logits}
    arrays |= {f"maps.{layer}": values for layer, values in frame.maps.items()}
    contiguous = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    return write_quickly(frame_path(run, frame.step), [save(contiguous, {"layers": json.dumps(frame.layers)})])


def read_frame(run: Path, step: int) -> Frame:
    """The frame that was taken after `step` steps. Raises CheckpointError where it is missing or damaged."""
    path = frame_path(run, step)
    try:
        data = path.read_bytes()
        arrays = load(data)
        layers = json.loads(_metadata(data)["layers"])
        maps = {name.removeprefix("maps."): values for name, values in arrays.items() if name.startswith("maps.")}
        return Frame(step, arrays["filters"], maps, arrays["logits"], layers)
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise CheckpointError(f"the film's frame {path} cannot be read: {error}") from error


def _metadata(data: bytes) -> Mapping[str, str]:
    """The texts in a safetensors file's header: after its length in eight bytes it is JSON."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length])["__metadata__"]


def recorded_steps(run: Path, told: Sequence[int]) -> list[int]:
    """Those of the steps that the log tells of, in order, whose frame is there."""
    return [step for step in sorted(set(told)) if frame_path(run, step).is_file()]


def weights_steps(run: Path, told: Sequence[int]) -> list[int]:
    """Those of the steps that the log tells of, in order, of which all weights were kept."""
    return [step for step in sorted(set(told)) if weights_path(run, step).is_file()]
