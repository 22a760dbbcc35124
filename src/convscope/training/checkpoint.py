"""Checkpoints: a folder each, with weights, training state and their SHA-256, renamed into place when whole."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
from torch import Tensor, nn

from convscope.durable import make_folder, refusal_told, sync_folder, to_json, write_synced
from convscope.errors import CheckpointError
from convscope.training.folder import ONWARD
from convscope.training.state import TrainingState, join_state, serialize
from convscope.types import Say

KEPT = 2
"""How many checkpoints stay: the newest, and the one before in case the newest is damaged later."""

WEIGHTS, STATE, RECORD = "weights.safetensors", "state.safetensors", "checkpoint.json"


class Checkpoint(NamedTuple):
    """What a checkpoint holds."""

    weights: dict[str, Tensor]
    state: TrainingState
    log_bytes: int  # how much of the event log belongs to it
    weights_sha256: str


def save_checkpoint(folder: Path, model: nn.Module, state: TrainingState, *, log_bytes: int) -> dict[str, Any]:
    """Write model and state to `folder`/step-N, then delete what is older than the last `KEPT`.

    `log_bytes` is how much of the event log belongs to it. Returns what the "checkpoint" event says.
    Raises ResourceError where the disk refuses; what was there before stands.
    """
    began = time.monotonic()
    target = folder / f"step-{state.step:09d}"
    temporary = folder / f".{target.name}.tmp"
    files = {WEIGHTS: model.state_dict(), STATE: state.tensors()}
    what = f"save the checkpoint of step {state.step}"
    with refusal_told(what, f"the one before stands; {ONWARD}"), _new_folder(temporary):
        sums = {name: write_synced(temporary / name, serialize(tensors)) for name, tensors in files.items()}
        size = sum((temporary / name).stat().st_size for name in files)
        record: dict[str, Any] = {"sha256": sums, "log_bytes": log_bytes, "state": state.position()}
        record["record_sha256"] = _sum(record)
        write_synced(temporary / RECORD, [to_json(record)])
        sync_folder(temporary)
        _remove(target)
        os.rename(temporary, target)
        sync_folder(folder)
        others = [path for path in _newest_first(folder) if path != target]
        newer = [path for path in others if path.name > target.name]  # damaged, or it would have been gone on from
        for path in newer + others[len(newer) + KEPT - 1 :]:
            _remove(path)
    return {
        "name": target.name,
        "bytes": size,
        "seconds": round(time.monotonic() - began, 3),
        "weights_sha256": sums[WEIGHTS],
    }


def load_checkpoint(folder: Path, *, warn: Say) -> Checkpoint | None:
    """The newest whole checkpoint; None where there is none at all.

    A damaged one is named through `warn` and the one before it is taken. Raises CheckpointError when all are damaged.
    """
    candidates = _newest_first(folder)
    for path in candidates:
        try:
            return _read(path)
        except CheckpointError as error:
            warn(str(error))
    if candidates:
        raise CheckpointError(
            f"all {len(candidates)} checkpoints in {folder} are damaged; the training must start anew"
        )
    return None


def weights_sum(folder: Path) -> str:
    """The SHA-256 of the newest checkpoint's weights, as recorded; empty where there is none that can be read."""
    for path in _newest_first(folder):
        try:
            return json.loads((path / RECORD).read_bytes())["sha256"][WEIGHTS]
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return ""


def checkpoint_bytes(model: nn.Module) -> int:
    """The most that a checkpoint of the model takes: Adam keeps two tensors a weight beside it."""
    return 3 * sum(value.numel() * value.element_size() for value in model.state_dict().values())


def remove_unfinished(folder: Path) -> None:
    """Delete what a save that was cut off left behind."""
    for path in folder.glob(".step-*.tmp"):
        shutil.rmtree(path, ignore_errors=True)


def _newest_first(folder: Path) -> list[Path]:
    return sorted((p for p in folder.glob("step-*") if re.fullmatch(r"step-\d{9,}", p.name)), reverse=True)


def _read(path: Path) -> Checkpoint:
    """A checkpoint, every byte checked against its sum."""
    try:
        record: dict[str, Any] = json.loads((path / RECORD).read_bytes())
        if record.pop("record_sha256") != _sum(record):
            raise CheckpointError(f"{path.name}/{RECORD} is damaged: its SHA-256 is not the recorded one")
        tensors: dict[str, dict[str, Tensor]] = {}
        for name, recorded in record["sha256"].items():
            data = (path / name).read_bytes()
            if hashlib.sha256(data).hexdigest() != recorded:
                raise CheckpointError(f"{path.name}/{name} is damaged: its SHA-256 is not the recorded one")
            tensors[name] = safetensors.torch.load(data)
        state = join_state(record["state"], tensors[STATE])
        return Checkpoint(tensors[WEIGHTS], state, record["log_bytes"], record["sha256"][WEIGHTS])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path.name} is damaged: {type(error).__name__} {error}") from error


def _sum(record: dict[str, Any]) -> str:
    """The SHA-256 of a record's values, however they are written down."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


@contextmanager
def _new_folder(path: Path) -> Generator[None]:
    """An empty folder for the block to fill and to rename; what it did not rename is deleted."""
    _remove(path)
    make_folder(path.parent)
    path.mkdir()
    try:
        yield
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)
