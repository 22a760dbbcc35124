"""What every channel of every layer answers to, coarse to fine, within a budget; a later call goes on from there."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from convscope.durable import replace_file, to_json
from convscope.errors import ResourceError, UsageError
from convscope.hooks import resolve_layer
from convscope.methods.excite import Excited, chunks, excite, joined
from convscope.methods.excited_picture import excited_picture
from convscope.methods.image_statistics import statistics_for
from convscope.methods.needs import Channels, channel_count, choose_channels
from convscope.methods.reference import Reference, reference
from convscope.methods.survey import resolved_layers
from convscope.methods.survey_store import weights_identity
from convscope.types import Dataset, Network, Picture, Progress, no_progress

FORMAT = 1  # counted up when what is stored, or how it is drawn, changes
ROUNDS = (16, 64, 256)  # steps; every channel is drawn anew in each, so that a part of a round is as good as alone
RECORD = "maximize.json"


def maximize_within(
    network: Network,
    store: Path,
    dataset: Dataset | None = None,
    *,
    budget: float,
    layers: Iterable[str] | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> dict[str, list[int]]:
    """Draw every channel of the layers, at first in few steps, then in more, for about `budget` seconds.

    Returns, by dotted name, in how many steps each channel of a layer is drawn by now, 0 where it is not.
    `layers` defaults to all convolutions, stages and the head. What is drawn is kept part by part in the folder
    `store`/maximize, in one of its own for these weights, dataset and seed, and never drawn again unless it is
    damaged: a call that is stopped, by its budget or by Ctrl-C, and one that goes on later give what one long call
    gives. A part that is known to take longer than what is left is not begun. `drawn_picture` shows them.

    Raises UsageError for a layer that is unknown and ResourceError where the disk refuses.

    >>> from tempfile import TemporaryDirectory
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
    >>> network = Network(model, (0.5,) * 3, (0.25,) * 3, (8, 8), ("cat", "dog"), "tiny")
    >>> with TemporaryDirectory() as store:
    ...     steps = maximize_within(network, Path(store), budget=60, layers=["0"])
    ...     picture = drawn_picture(network, Path(store), "0", [1, 3])
    >>> steps["0"], picture.values.shape[1:], picture.numbers["channels"]
    ([256, 256, 256, 256], (3, 8, 8), [1, 3])
    """
    if not budget > 0:
        raise UsageError(f"budget {budget:g}; allowed: more than 0 seconds")
    began = time.monotonic()
    names = resolved_layers(network, layers)
    statistics = statistics_for(network, dataset)
    record = _record(network, dataset, seed)
    folder = _folder(store, record)
    _write(folder / RECORD, to_json(record))
    counts = {name: channel_count(network, name) for name in names}
    parts = [
        (steps, name, part)
        for steps in ROUNDS
        for name in names
        for part in chunks(range(counts[name]), network.input_size)
    ]
    with suppress(KeyboardInterrupt):
        for number, (steps, name, part) in enumerate(parts):
            left = budget - (time.monotonic() - began)
            if left <= 0:
                break
            progress("maximizing all channels", number, len(parts))
            if dataset is not None and not _is_whole(yardstick := _yardstick_path(folder, name)):
                _save(yardstick, vars(reference(network, name, dataset, "channel")))
            path = _path(folder, name, steps, part)
            if _is_whole(path):
                continue
            if _expected_seconds(folder, name, steps, part) > left:
                break
            start = time.monotonic()
            excited = excite(network, name, part, statistics, steps=steps, seed=seed)
            if excited.interrupted:
                break
            _save(path, _tensors(excited) | {"seconds": torch.tensor(time.monotonic() - start)})
    return {name: _steps_drawn(folder, network, name, counts[name]) for name in names}


def drawn_picture(
    network: Network,
    store: Path,
    layer: str,
    channel: Channels = None,
    dataset: Dataset | None = None,
    *,
    seed: int = 0,
) -> Picture:
    """The finest images that `maximize_within` has drawn of a layer's channels, or of some, with the same arguments.

    Raises UsageError where there are none of these weights, dataset and seed, and for a channel out of range. The
    example stands at `maximize_within`.
    """
    name = resolve_layer(network.model, layer, model_name=network.name)
    record = _record(network, dataset, seed)
    folder = _folder(store, record)
    available = channel_count(network, name)
    drawn = _steps_drawn(folder, network, name, available)
    wanted = choose_channels(channel, available, layer=layer, class_names=network.class_names)
    owners = [index for index in wanted if drawn[index]]
    if not owners:
        raise UsageError(f"no pictures of {layer} in {folder} yet; draw them with maximize_within")
    parts = {part[0]: part for part in chunks(range(available), network.input_size)}
    room = len(parts[0])
    needed = {index - index % room for index in owners}  # the first channel of each part
    whole = {first: _excited(_load(_path(folder, name, drawn[first], parts[first]))) for first in needed}
    yardstick_path = _yardstick_path(folder, name)
    yardstick = _reference(_load(yardstick_path)) if _is_whole(yardstick_path) else None
    return excited_picture(
        network,
        name,
        joined([whole[index - index % room].pick(index % room) for index in owners]),
        owners,
        yardstick,
        called=layer,
        provenance={
            "Parameterization": "fourier",
            "Steps": ", ".join(str(steps) for steps in sorted({drawn[index] for index in owners})),
            "Seed": str(seed),
            "Statistics": record["statistics"],
        },
    )


def _record(network: Network, dataset: Dataset | None, seed: int) -> dict[str, Any]:
    """What the pictures are of: others have a folder of their own."""
    return {
        "format": FORMAT,
        "network": network.name,
        "weights": weights_identity(network),
        "input_size": list(network.input_size),
        "statistics": "assumed" if dataset is None else dataset.name,
        "fingerprint": "" if dataset is None else dataset.fingerprint,
        "seed": seed,
    }


def _folder(store: Path, record: dict[str, Any]) -> Path:
    """Where the pictures of a record are."""
    return store / "maximize" / hashlib.sha256(to_json(record)).hexdigest()[:12]


def _steps_drawn(folder: Path, network: Network, name: str, available: int) -> list[int]:
    """In how many steps each channel is drawn, 0 where it is not."""
    drawn: list[int] = []
    for part in chunks(range(available), network.input_size):
        done = [steps for steps in ROUNDS if _is_whole(_path(folder, name, steps, part))]
        drawn += [max(done, default=0)] * len(part)
    return drawn


def _expected_seconds(folder: Path, name: str, steps: int, part: list[int]) -> float:
    """How long a part will take, by what it took in the round before; 0 where it was not drawn."""
    earlier = [known for known in ROUNDS if known < steps and _is_whole(_path(folder, name, known, part))]
    if not earlier:
        return 0.0
    return _load(_path(folder, name, earlier[-1], part))["seconds"].item() * steps / earlier[-1]


def _path(folder: Path, name: str, steps: int, part: list[int]) -> Path:
    return folder / name / f"{steps}-steps-{part[0]}-{part[-1]}.safetensors"


def _yardstick_path(folder: Path, name: str) -> Path:
    return folder / name / "dataset.safetensors"


STORED = ("activations", "scores", "start_scores", "agreements", "still")


def _tensors(excited: Excited) -> dict[str, Tensor]:
    """What is stored: the images as bytes, their evidence as it is."""
    return {"images": (excited.images * 255).round().to(torch.uint8)} | {key: getattr(excited, key) for key in STORED}


def _excited(tensors: dict[str, Tensor]) -> Excited:
    evidence: dict[str, Any] = {key: tensors[key] for key in STORED}
    return Excited(images=tensors["images"].float() / 255, frames={}, likenesses=None, interrupted=False, **evidence)


def _reference(tensors: dict[str, Tensor]) -> Reference:
    return Reference(tensors["maxima"], tensors["means"], tensors["dead"], int(tensors["images"]))


def _save(path: Path, tensors: dict[str, Any]) -> None:
    """Write tensors and numbers. Raises ResourceError."""
    _write(path, safetensors.torch.save({key: torch.as_tensor(value).contiguous() for key, value in tensors.items()}))


def _write(path: Path, data: bytes) -> None:
    """Write a file, which is whole or not there. Raises ResourceError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, data)
    except OSError as error:
        raise ResourceError(f"cannot save pictures in {path.parent}: {error.strerror}; make room there") from error


def _is_whole(path: Path) -> bool:
    """Whether the file is there and not damaged; a damaged one is drawn again."""
    try:
        with safe_open(path, "pt"):
            return True
    except (OSError, SafetensorError):
        return False


def _load(path: Path) -> dict[str, Tensor]:
    """The tensors of a whole file."""
    return safetensors.torch.load(path.read_bytes())
