"""The state of a training: with the weights, all that going on from a step takes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from convscope.ranks import Ranks
from convscope.training.engine import Engine

PART = 1 << 20
"""Bytes of small tensors that are put together, at most."""


@dataclass
class TrainingState:
    """How far a training has come: with the weights, all that going on from here takes."""

    step: int = 0
    seconds: float = 0.0
    epoch_loss: float = 0.0  # sums over the images of the epoch so far
    epoch_correct: int = 0
    epoch_images: int = 0
    phase: int | None = None  # the phase whose optimizer's state this is
    optimizer: dict[int, dict[str, Any]] = field(default_factory=dict[int, dict[str, Any]])

    def position(self) -> dict[str, Any]:
        """All of it but the optimizer's tensors."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "optimizer"}

    def tensors(self) -> dict[str, Tensor]:
        """The optimizer's tensors by "INDEX.KEY"."""
        return {
            f"{index}.{key}": value
            for index, values in self.optimizer.items()
            for key, value in values.items()
            if isinstance(value, Tensor)
        }


def join_state(position: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> TrainingState:
    """The state again, from its two parts. Raises ValueError and TypeError for parts of something else."""
    optimizer: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition(".")
        optimizer.setdefault(int(index), {})[key] = value
    return TrainingState(**position, optimizer=optimizer)


def share_start(
    model: nn.Module, state: TrainingState | None, engine: Engine, ranks: Ranks
) -> tuple[TrainingState | None, Engine]:
    """Give every rank what the leader begins with: the model's weights, in place, the state and the engine."""
    for values in model.state_dict().values():
        ranks.copy_from_leader(values)
    begins = {"engine": asdict(engine), "position": state.position() if state else None}
    told = json.loads(ranks.from_leader(lambda: json.dumps(begins).encode()))
    if told["position"] is None:
        return None, Engine(**told["engine"])
    tensors = safetensors.torch.load(ranks.from_leader(lambda: b"".join(serialize(state.tensors() if state else {}))))
    return join_state(told["position"], tensors), Engine(**told["engine"])


def serialize(tensors: Mapping[str, Tensor]) -> Iterator[bytes]:
    """The bytes of a safetensors file of the tensors, part after part, so that no second copy of them all is held.

    Tensors that share memory are written one by one, each whole.

    >>> tensors = {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}
    >>> b"".join(serialize(tensors)) == safetensors.torch.save(tensors)
    True
    """
    if sys.byteorder == "big":  # the library turns the bytes
        yield safetensors.torch.save({name: value.contiguous().cpu() for name, value in tensors.items()})
        return
    # The library says in what order, and by what names of types, it tells of them.
    empty = safetensors.torch.save({name: torch.empty(0, dtype=value.dtype) for name, value in tensors.items()})
    header: dict[str, dict[str, Any]] = json.loads(empty[8:])
    last = 0
    for name, told in header.items():
        first, last = last, last + tensors[name].nbytes
        told.update(shape=list(tensors[name].shape), data_offsets=[first, last])
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    gathered = bytearray(len(text).to_bytes(8, "little") + text)
    for name in header:
        part = tensors[name].cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        if gathered and len(gathered) + len(part) > PART:
            yield bytes(gathered)
            gathered.clear()
        if len(part) > PART:
            yield part
        else:
            gathered += part
    if gathered:
        yield bytes(gathered)
