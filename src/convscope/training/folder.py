"""The run folder: run.json, events.jsonl, checkpoints/, pictures/; plain files, all of it readable."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from filelock import FileLock, Timeout

from convscope.durable import as_file_name, refusal_told, replace_file, to_json
from convscope.errors import BusyError, CheckpointError, UsageError
from convscope.types import Event

RUNS = Path("runs")
"""Where runs go unless told otherwise, and where "latest" is looked for."""

FORMAT = 1
"""The version of run.json and of the checkpoints; another one is refused by name."""

ELSEWHERE, ONWARD = "name another folder with --out", "see to the disk, then go on with: convscope resume RUN"
"""What to do where a disk refuses, before a run has begun and after."""

KEYS = ("command", "started", "recipe", "dataset", "weights", "device", "precision", "versions", "machine", "report")
"""What every run.json has beside it."""

KINDS: Mapping[str, Any] = {
    "recipe": {},
    "dataset": {"name": "", "options": {}, "fingerprint": ""}
    | {key: [0] for key in ("class_names", "image_size", "mean", "std")},
    "versions": {},
    "machine": {},
    "model": {},
}
"""Of what kind the values are that a network is built and fed by; a list that holds something may not be empty."""


def new_run_path(dataset: str, recipe: str) -> Path:
    """A path under runs/ that is not taken: dataset, recipe and the time."""
    stem = f"{as_file_name(f'{dataset}-{recipe}')[:60]}-{datetime.now():%Y%m%d-%H%M%S}"
    path, number = RUNS / stem, 2
    while path.exists():
        path, number = RUNS / f"{stem}-{number}", number + 1
    return path


def find_run(name: str) -> Path:
    """The run folder of that path, or for "latest" the one under runs/ that was started last.

    Raises UsageError where there is none.
    """
    if name == "latest":
        # One folder deeper lie the runs of comparisons.
        runs = [path.parent for depth in ("*", "*/*") for path in RUNS.glob(f"{depth}/run.json")]
        if not runs:
            raise UsageError(f'no run in {RUNS}/, so there is no "latest"; make one: convscope run digits')
        return max(runs, key=_started)
    path = Path(name)
    if not (path / "run.json").is_file():
        found = ", ".join(sorted(str(run.parent) for run in RUNS.glob("*/run.json"))[-3:])
        known = f"; in {RUNS}/: {found}" if found else ""
        known += f"; an archive becomes a run by: convscope import {name}" if path.suffix == ".tar" else ""
        raise UsageError(f'"{name}" is no run folder (it has no run.json); allowed: latest or a folder{known}')
    return path


def _started(path: Path) -> float:
    """When the run was started, in seconds since 1970; what cannot be read was started before all others."""
    try:
        return datetime.fromisoformat(read_config(path)["started"]).timestamp()
    except (CheckpointError, TypeError, ValueError):
        return 0.0


def check_free(path: Path) -> None:
    """Raise UsageError where the folder holds a run already."""
    if (path / "run.json").exists():
        raise UsageError(f"{path} holds a run already; go on with: convscope resume {path}; or name another --out")


def create_run(path: Path, config: Mapping[str, Any]) -> None:
    """Make the folder and its run.json.

    Raises UsageError where the folder holds a run already, ResourceError where the disk refuses.
    """
    check_free(path)
    with refusal_told(f"write to {path}", ELSEWHERE):
        path.mkdir(parents=True, exist_ok=True)
        replace_file(path / "run.json", to_json(config))


def read_config(path: Path) -> dict[str, Any]:
    """The run's run.json. Raises CheckpointError where it is damaged or of another format."""
    try:
        config: Any = json.loads((path / "run.json").read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path / 'run.json'} cannot be read: {error}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise CheckpointError(f"{path / 'run.json'} {_tell_format(config)}")
    missing = [key for key in KEYS if key not in config]
    if missing:
        raise CheckpointError(f'{path / "run.json"} lacks "{missing[0]}": it is damaged')
    return config


def check_kinds(path: Path, values: Mapping[str, Any], kinds: Mapping[str, Any] = KINDS) -> None:
    """Raise CheckpointError, naming the run.json at `path`, unless its values are of their KINDS."""
    for key, kind in kinds.items():
        value: Any = values.get(key)
        if not isinstance(value, type(kind)) or (kind and not value):
            raise CheckpointError(f'{path}: "{key}" is {value!r:.60}: it is damaged')
        if isinstance(kind, dict):
            check_kinds(path, value, kind)


def _tell_format(config: Any) -> str:
    """What is wrong with a run.json of another format, and what reads it."""
    if not isinstance(config, dict):
        return f"has format {type(config).__name__!r}; this convscope reads {FORMAT}"
    values = cast("dict[str, Any]", config)
    found, versions = values.get("format"), values.get("versions")
    by = versions.get("convscope") if isinstance(versions, dict) else None
    writer = f", written by convscope {by}" if by else ""
    is_newer = isinstance(found, int) and found > FORMAT
    advice = "; a newer one reads it: pip install --upgrade convscope" if is_newer else ""
    return f"has format {found!r}{writer}; this convscope reads {FORMAT}{advice}"


def read_events(path: Path) -> list[Event]:
    """Every event of the run's log; a last line that was cut off is left out. Raises CheckpointError."""
    try:
        lines = (path / "events.jsonl").read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    try:
        return [Event(**json.loads(line)) for line in lines[:-1]]
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path / 'events.jsonl'} is damaged: {error}") from error


@contextmanager
def lock_run(path: Path) -> Generator[None]:
    """Hold the folder as its only training. Raises BusyError naming the process that holds it."""
    owner = path / ".owner"
    lock = FileLock(path / ".lock")
    with refusal_told(f"write to {path}", ELSEWHERE):
        path.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            who = owner.read_text(encoding="utf-8").partition("\n")[0] if owner.is_file() else "another process"
            raise BusyError(f"{path} is being trained by {who}; wait for it, or name another --out") from None
    try:
        who = f"process {os.getpid()} since {datetime.now():%Y-%m-%d %H:%M:%S}"
        with refusal_told(f"write to {path}", ELSEWHERE):
            owner.write_text(f"{who}\n{path.resolve()}", encoding="utf-8")  # a copy of the folder is nobody's
        yield
    finally:
        with suppress(OSError):  # it names nobody once the lock is free
            owner.unlink()
        lock.release()


class EventLog:
    """The run's events.jsonl, open for appending."""

    def __init__(self, path: Path, *, keep_bytes: int = 0) -> None:
        """Open the log, cut to the part that the checkpoint to go on from knew."""
        with refusal_told("write the event log", ONWARD):
            self._file = (path / "events.jsonl").open("ab", buffering=0)  # each line is one write, at once visible
            self._file.truncate(keep_bytes)
            self._file.seek(0, os.SEEK_END)

    def append(self, event: Event) -> None:
        """Write one line. Raises ResourceError."""
        line = (json.dumps(asdict(event), ensure_ascii=False, allow_nan=False) + "\n").encode()
        with refusal_told("write the event log", ONWARD):
            while line:  # of what a disk has room for a part, it takes that part and says so
                line = line[self._file.write(line) :]

    def sync(self) -> int:
        """Wait until the disk has it; its length in bytes. Raises ResourceError."""
        with refusal_told("write the event log", ONWARD):
            os.fsync(self._file.fileno())
            return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
