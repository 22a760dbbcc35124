"""The runs of a folder: which there are, how far each has come, and what is wrong with it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from convscope.errors import CheckpointError
from convscope.training.folder import read_config
from convscope.training.frames import FOLDER as FILM
from convscope.web.run_log import RunLog


class WatchedRun:
    """One run folder: its run.json, its log, and whether a training holds it."""

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        self.id = run_id(path)
        self.log = RunLog(path / "events.jsonl")
        self.running = False
        self.has_film = False
        self._config: dict[str, Any] = {}
        self._trouble: str | None = None
        self._config_seen: tuple[int, int] | None = None
        self._described: tuple[Any, dict[str, Any]] | None = None

    def look(self) -> None:
        """Notice a changed run.json, a training that began or ended, a film that began."""
        try:
            state = os.stat(self.path / "run.json")
            seen = (state.st_mtime_ns, state.st_size)
        except OSError:
            seen = (0, 0)
        if seen != self._config_seen:
            self._config_seen = seen
            try:
                self._config, self._trouble = read_config(self.path), None
            except CheckpointError as error:
                there = seen != (0, 0)
                self._config, self._trouble = {}, str(error) if there else "run.json is missing: copied by half?"
        self.running = is_training(self.path)
        self.has_film = self.has_film or (self.path / FILM / "film.json").is_file()

    def describe(self) -> dict[str, Any]:
        """What the list of runs tells of it; made again only when something has changed."""
        log = self.log
        known = (log.generation, log.position, log.trouble, log.damaged, self._config_seen, self.running, self.has_film)
        if self._described is None or self._described[0] != known:
            try:
                row = self._describe()
            except (TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
                self._config, self._trouble = {}, f"run.json is damaged: {type(error).__name__} {error}"
                row = self._describe()
            self._described = known, row
        return self._described[1]

    def _describe(self) -> dict[str, Any]:
        log, config = self.log, self._config
        recipe: dict[str, Any] = config.get("recipe", {})
        dataset: dict[str, Any] = config.get("dataset", {})
        started: dict[str, Any] = next((e["data"] for e in reversed(log.others) if e["kind"] == "start"), {})
        steps, per_epoch = started.get("steps"), started.get("steps_per_epoch")
        newest = log.newest or {"step": 0, "time": 0.0}
        speed = newest_value(log, "train", "images_per_second")
        return {
            "id": self.id,
            "name": self.name,
            "dataset": dataset.get("name"),
            "recipe": recipe.get("name"),
            "model": recipe.get("model"),
            "seed": recipe.get("seed"),
            "started": config.get("started"),
            **self._status(),
            "step": newest["step"],
            "steps": steps,
            "steps_per_epoch": per_epoch,
            "epoch": newest["step"] / per_epoch if per_epoch else None,
            "epochs": steps / per_epoch if per_epoch and steps else None,
            "seconds": newest["time"],
            "seconds_left": seconds_left(log, steps) if self.running else None,
            "images_per_second": speed,
            "phases": list(describe_phases(recipe, log, per_epoch, steps)),
            "figures": newest_figures(log),
            "alarms": [
                {"step": event["step"], "time": event["time"], "what": None, "message": None, **event["data"]}
                for event in log.others
                if event["kind"] == "alarm"
            ],
            "class_names": dataset.get("class_names", []),
            "has_film": self.has_film,
        }

    def _status(self) -> dict[str, Any]:
        """The run's status and, where there is something to say, why."""
        log = self.log
        newest = log.newest or {"kind": "", "data": {}}
        message = f"{log.damaged} damaged lines in events.jsonl are left out" if log.damaged else None
        if self._trouble or log.trouble:
            return {"status": "damaged", "message": self._trouble or log.trouble}
        if newest["kind"] == "end" and newest["data"].get("reason") == "finished":
            return {"status": "finished", "message": message}
        if self.running:
            return {"status": "running", "message": message}
        if newest["kind"] == "end":
            return {"status": "interrupted", "message": message}
        if newest["kind"] == "alarm" and newest["data"].get("what") == "not finite":
            return {"status": "failed", "message": newest["data"].get("message") or message}
        return {"status": "stopped", "message": message or (None if log.newest else "no events yet")}


class RunList:
    """The runs within a folder, or the one run that the folder is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.runs: dict[str, WatchedRun] = {}
        self.gone: dict[str, str] = {}  # the names of runs whose folders were deleted

    def scan(self) -> None:
        """Notice runs that came or went, and look at each."""
        there = {run_id(path): path for path in find_runs(self.folder)}
        for key in self.runs.keys() - there.keys():
            self.gone[key] = self.runs.pop(key).name
        for key, path in there.items():
            if key not in self.runs:
                name = path.relative_to(self.folder).as_posix() if path != self.folder else path.name
                self.runs[key] = WatchedRun(path, name)
            self.runs[key].look()

    def describe(self) -> dict[str, Any]:
        """What the page lists: the newest first."""
        rows = [run.describe() for run in list(self.runs.values())]
        rows.sort(key=lambda row: (started_at(row["started"]), row["name"]), reverse=True)
        return {"folder": str(self.folder), "runs": rows}


def run_id(path: Path) -> str:
    """A name for the folder that is no path.

    >>> len(run_id(Path("runs/a"))), run_id(Path("runs/a")) == run_id(Path("runs/b"))
    (12, False)
    """
    return hashlib.blake2s(str(path.absolute()).encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def find_runs(folder: Path) -> Iterator[Path]:
    """The run folders: the folder itself, or those in it and in its folders that are none."""
    if is_run(folder):
        yield folder
        return
    for path in subfolders(folder):
        if is_run(path):
            yield path
        else:
            yield from (inner for inner in subfolders(path) if is_run(inner))


def subfolders(folder: Path) -> list[Path]:
    """The folders within one; none where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if entry.is_dir()]
    except OSError:
        return []


def is_run(path: Path) -> bool:
    """Whether the folder is a run, or what is left of one."""
    return (path / "run.json").is_file() or (path / "events.jsonl").is_file()


def is_training(path: Path) -> bool:
    """Whether a living process says that it holds the folder; its lock is not touched, so that none is refused."""
    try:
        _, number, _, date, clock = (path / ".owner").read_text(encoding="utf-8").split()
        since = datetime.strptime(f"{date} {clock}", "%Y-%m-%d %H:%M:%S").timestamp()
        return psutil.Process(int(number)).create_time() < since + 2  # else the number is another process's by now
    except (OSError, ValueError, psutil.Error):
        return False


def seconds_left(log: RunLog, steps: Any) -> float | None:
    """How long the rest takes at the speed of the last minutes or so."""
    if len(log.recent) < 2 or not isinstance(steps, int):
        return None
    (first, began), (last, now) = log.recent[0], log.recent[-1]
    return (now - began) / max(last - first, 1) * max(steps - last, 0)


def describe_phases(
    recipe: Mapping[str, Any], log: RunLog, per_epoch: int | None, steps: int | None
) -> Iterator[dict[str, Any]]:
    """The phases that the recipe plans, or that the log tells of, with when each began."""
    told = {event["data"].get("index"): event for event in log.others if event["kind"] == "phase"}
    planned: list[dict[str, Any]] = recipe.get("phases", [])
    first = 0
    for index in range(max(len(planned), len(told))):
        event = told.get(index)
        if event:
            optimizer, first, last = (event["data"].get(key) for key in ("optimizer", "first_step", "last_step"))
        elif index < len(planned) and per_epoch:
            phase = planned[index]
            optimizer, last = phase["optimizer"], first + (phase.get("steps") or phase["epochs"] * per_epoch)
        else:
            continue
        yield {
            "index": index,
            "optimizer": optimizer,
            "first_step": first,
            "last_step": last,
            "first_epoch": first / per_epoch if per_epoch else None,
            "last_epoch": last / per_epoch if per_epoch else None,
            "first_time": event["time"] if event else None,
        }
        first = last


def newest_figures(log: RunLog) -> dict[str, float | None]:
    """The newest accuracies and losses: of the end, else of the last evaluation, else of the last training steps."""
    names = ("train_accuracy", "test_accuracy", "train_loss", "test_loss")
    newest = log.newest
    if newest and newest["kind"] == "end" and "test_accuracy" in newest["data"]:
        return {name: newest["data"].get(name) for name in names}
    if log.evals:
        return {name: newest_value(log, "eval", name) for name in names}
    early = {"train_accuracy": "accuracy", "train_loss": "loss"}
    return {name: newest_value(log, "train", early[name]) if name in early else None for name in names}


def newest_value(log: RunLog, kind: str, name: str) -> float | None:
    """The last value of a column; None where there is none."""
    values = log.columns[kind].view()[name]
    return float(values[-1]) if len(values) else None


def started_at(text: Any) -> float:
    """Seconds since 1970; runs that do not say when they began come last."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError):
        return 0.0
