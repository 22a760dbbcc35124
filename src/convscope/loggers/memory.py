"""What loggers remember in the run's folder: which of their tool's runs is this one, and what that was told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convscope.durable import write_quickly
from convscope.errors import CheckpointError
from convscope.loggers import LOGGERS


def used_loggers(run: Path) -> list[str]:
    """The loggers that the run was passed on to so far, for its resumption.

    >>> used_loggers(Path("no-such-run"))
    []
    """
    return [name for name in LOGGERS if _path(run, name).is_file()]


def read_memory(run: Path, name: str) -> dict[str, Any]:
    """What the logger remembers; empty at first. Raises CheckpointError where it is damaged."""
    path = _path(run, name)
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {error}; remove it to begin anew there") from error


def write_memory(run: Path, name: str, memory: Mapping[str, Any]) -> None:
    """Keep it, in place of what it remembered before. Raises OSError."""
    path = _path(run, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_quickly(path, [json.dumps(memory).encode()])


def _path(run: Path, name: str) -> Path:
    return run / "loggers" / f"{name}.json"
