"""The runs of a folder: which there are, and what is known of each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from convscope.errors import CheckpointError
from convscope.training.folder import read_config
from convscope.training.frames import FOLDER as FILM
from convscope.web.dashboard.run_log import RunLog
from convscope.web.dashboard.run_summary import describe_run


class WatchedRun:
    """One run folder: its run.json, its log, and whether a training holds it."""

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = printable(name)
        self.id = run_id(path)
        self.log = RunLog(path / "events.jsonl")
        self.running = False
        self._has_film = False
        self._config: dict[str, Any] = {}
        self._trouble = ""
        self._config_seen: tuple[int, int] | None = (-1, -1)  # not looked at yet
        self._described: tuple[Any, dict[str, Any]] | None = None

    def look(self) -> None:
        """Notice a changed run.json, a training that began or ended, a film that began."""
        seen = _stamp(self.path / "run.json")
        if seen != self._config_seen:
            self._config_seen, self._config, self._trouble = seen, {}, ""
            try:
                self._config = read_config(self.path)
            except CheckpointError as error:
                self._trouble = (
                    printable(str(error)) if seen else "run.json is missing: copied by half, or still being"
                )
        self.running = is_training(self.path)
        self._has_film = _stamp(self.path / FILM / "film.json") is not None

    def describe(self) -> dict[str, Any]:
        """What the list of runs tells of it; made again only when something has changed."""
        log = self.log
        state = (log.generation, log.position, log.caught_up, log.trouble)
        known = (*state, self._config_seen, self.running, self._has_film)
        if self._described is None or self._described[0] != known:
            row = describe_run(self._config, log, running=self.running, trouble=self._trouble)
            self._described = known, {"id": self.id, "name": self.name, **row, "has_film": self._has_film}
        return self._described[1]


class RunList:
    """The runs within a folder, or the one run that the folder is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.runs: dict[str, WatchedRun] = {}
        self.gone: dict[str, str] = {}  # the names of runs whose folders were deleted

    def scan(self) -> None:
        """Notice runs that came or went, and look at each."""
        there = {run_id(path): path for path in find_runs(self.folder)}
        runs = {key: self.runs.get(key) or WatchedRun(path, self._name(path)) for key, path in there.items()}
        self.gone |= {key: run.name for key, run in self.runs.items() if key not in runs}
        for run in runs.values():
            run.look()
        self.runs = runs

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix() if path != self.folder else path.name

    def describe(self) -> dict[str, Any]:
        """What the page lists: the run that was started last comes first."""
        rows = sorted((run.describe() for run in self.runs.values()), key=lambda row: row["name"])
        rows.sort(key=lambda row: _seconds(row["started"]), reverse=True)
        return {"folder": printable(str(self.folder)), "runs": rows}


def run_id(path: Path) -> str:
    """A name for the folder that is no path.

    >>> len(run_id(Path("runs/a"))), run_id(Path("runs/a")) == run_id(Path("runs/b"))
    (12, False)
    """
    return hashlib.blake2s(os.fsencode(path.absolute()), digest_size=6).hexdigest()


def printable(text: str) -> str:
    r"""The text as it can be sent: what is no character in a file's name becomes a question mark.

    >>> printable("a\udcffb")
    'a?b'
    """
    return text.encode("utf-8", "replace").decode("utf-8")


def find_runs(folder: Path) -> Iterator[Path]:
    """The run folders: the folder itself, or those in it, and those in its folders that are none."""
    if _is_run(folder):
        yield folder
        return
    for path in _subfolders(folder):
        if _is_run(path):
            yield path
        else:
            yield from (inner for inner in _subfolders(path) if _is_run(inner))


def _is_run(path: Path) -> bool:
    """Whether the folder is a run, or a part of one."""
    return _stamp(path / "run.json") is not None or _stamp(path / "events.jsonl") is not None


def _subfolders(folder: Path) -> list[Path]:
    """The folders within one; none where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if entry.is_dir()]
    except OSError:
        return []


def _stamp(path: Path) -> tuple[int, int] | None:
    """When the file was written and how long it is; None where it is not there."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size


def is_training(path: Path) -> bool:
    """Whether the process that noted itself as the owner of this folder, not of one that it is a copy of, lives.

    The lock itself is left alone: whoever tries it holds it for a moment, and a training would be refused.
    """
    try:
        who, _, folder = (path / ".owner").read_text(encoding="utf-8").partition("\n")
        if folder != str(path.resolve()):
            return False
        _, number, _, date, clock = who.split()
        since = datetime.strptime(f"{date} {clock}", "%Y-%m-%d %H:%M:%S").timestamp()
        return psutil.Process(int(number)).create_time() < since + 2  # else it is another process by now
    except (OSError, ValueError, OverflowError, psutil.Error):
        return False


def _seconds(started: str | None) -> float:
    """When a run was started, in seconds since 1970; what does not say so was started before all others."""
    try:
        return datetime.fromisoformat(started or "").timestamp()
    except ValueError:
        return 0.0
