"""How far a run has come, from its run.json and its log: what the list of runs tells of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from convscope.film.story import optimizer_name
from convscope.web.dashboard.run_log import RunLog

FIGURES = ("train_accuracy", "test_accuracy", "train_loss", "test_loss")


def describe_run(config: Mapping[str, Any], log: RunLog, *, running: bool, trouble: str) -> dict[str, Any]:
    """The run's settings, status, progress, phases, figures and alarms.

    `config` is run.json, empty where it cannot be read, for which `trouble` is the reason. Whatever the two files
    hold, texts are texts and numbers are numbers.
    """
    recipe, dataset = (_mapping(config.get(key)) for key in ("recipe", "dataset"))
    start = next((_mapping(event["data"]) for event in reversed(log.told("start"))), {})
    steps, per_epoch = (_number(start.get(key)) for key in ("steps", "steps_per_epoch"))
    newest = log.newest or {"step": 0, "time": 0.0}
    names = dataset.get("class_names")
    return {
        "dataset": _text(dataset.get("name")),
        "recipe": _text(recipe.get("name")),
        "model": _text(recipe.get("model")),
        "seed": _number(recipe.get("seed")),
        "started": _text(config.get("started")),
        **_status(log, running=running, trouble=trouble),
        "step": newest["step"],
        "steps": steps,
        "steps_per_epoch": per_epoch,
        "epoch": newest["step"] / per_epoch if per_epoch else None,
        "epochs": steps / per_epoch if per_epoch and steps else None,
        "seconds": newest["time"],
        "seconds_left": _seconds_left(log, steps) if running and steps else None,
        "images_per_second": log.measured.get("train", {}).get("images_per_second"),
        "phases": list(_phases(recipe.get("phases"), log, per_epoch)),
        "figures": _figures(log),
        "alarms": [
            {
                "step": event["step"],
                "time": event["time"],
                **{key: _text(event["data"].get(key)) for key in ("what", "layer", "message")},
            }
            for event in log.told("alarm")
        ],
        "class_names": [str(name) for name in names] if isinstance(names, list) else [],
    }


def _status(log: RunLog, *, running: bool, trouble: str) -> dict[str, str | None]:
    """The run's status and, where there is something to say, why."""
    newest = log.newest or {"kind": "", "data": {}}
    lines = f"{log.damaged} damaged line{'s' if log.damaged > 1 else ''} of events.jsonl left out"
    message = lines if log.damaged else None
    if trouble or log.trouble:
        return {"status": "damaged", "message": trouble or log.trouble}
    if is_finished(log):
        return {"status": "finished", "message": message}
    if running:
        return {"status": "running", "message": message}
    if newest["kind"] == "end":
        return {"status": "interrupted", "message": message}
    if newest["kind"] == "alarm" and newest["data"].get("what") == "not finite":
        return {"status": "failed", "message": _text(newest["data"].get("message")) or message}
    return {"status": "stopped", "message": message or (None if log.newest else "nothing in its log yet")}


def is_finished(log: RunLog) -> bool:
    """Whether the training came to its end."""
    newest = log.newest
    return newest is not None and newest["kind"] == "end" and newest["data"].get("reason") == "finished"


def _seconds_left(log: RunLog, steps: float) -> float | None:
    """How long the rest takes at the speed of the last minutes or so."""
    if len(log.recent) < 2:
        return None
    (first, began), (last, now) = log.recent[0], log.recent[-1]
    return (now - began) / max(last - first, 1) * max(steps - last, 0)


def _phases(planned: Any, log: RunLog, per_epoch: float | None) -> Iterator[dict[str, Any]]:
    """The phases that the recipe plans, corrected by what the log tells of those that have begun."""
    told = {_number(event["data"].get("index")): event for event in log.told("phase")}
    plan = [_mapping(phase) for phase in planned] if isinstance(planned, list) else []
    first: float | None = 0
    for index in range(max(len(plan), len(told))):
        phase = plan[index] if index < len(plan) else {}
        event = told.get(index)
        begun = event["data"] if event else {}
        first = _number(begun.get("first_step")) if event else first
        length = _number(phase.get("steps")) or (_number(phase.get("epochs")) or 0) * (per_epoch or 0)
        planned_last = first + length if first is not None and length else None
        last = _number(begun.get("last_step")) if event else planned_last
        if first is None or last is None:
            return
        optimizer = _text(begun.get("optimizer") or phase.get("optimizer"))
        yield {
            "index": index,
            "optimizer": optimizer,
            "name": optimizer_name({"optimizer": optimizer}) if optimizer else None,
            "first_step": first,
            "last_step": last,
            "first_epoch": first / per_epoch if per_epoch else None,
            "last_epoch": last / per_epoch if per_epoch else None,
            "first_time": event["time"] if event else None,
        }
        first = last


def _figures(log: RunLog) -> dict[str, float | None]:
    """The newest accuracies and losses: of the end, else of the last evaluation, else of the last training steps."""
    ended = log.newest["data"] if log.newest and log.newest["kind"] == "end" else {}
    train = log.measured.get("train", {})
    early = {"train_accuracy": train.get("accuracy"), "train_loss": train.get("loss")}
    known = log.measured.get("eval", early)
    return {name: _number(ended.get(name)) if name in ended else known.get(name) for name in FIGURES}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
