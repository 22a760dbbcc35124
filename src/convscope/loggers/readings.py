"""What every logger says of events and of a run, in the same words."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from convscope.training.recipe_values import flat_values
from convscope.types import Event

NAMES = {
    "train": {
        "loss": "loss/batches",
        "accuracy": "accuracy/batches",
        "learning_rate": "learning_rate",
        "images_per_second": "images_per_second",
        "epoch": "epoch",
    },
    "eval": {
        "train_loss": "loss/train",
        "test_loss": "loss/test",
        "train_accuracy": "accuracy/train",
        "test_accuracy": "accuracy/test",
    },
    "end": {
        "train_loss": "final/train_loss",
        "test_loss": "final/test_loss",
        "train_accuracy": "final/train_accuracy",
        "test_accuracy": "final/test_accuracy",
    },
}
"""By kind of event, what its values are called: `batches` are since the last event, `train` the epoch so far."""


def scalars(event: Event) -> dict[str, float]:
    """The event's numbers by their names.

    >>> scalars(Event("eval", 40, 2.0, {"test_loss": 0.5, "test_accuracy": 0.75, "confusion": None}))
    {'loss/test': 0.5, 'accuracy/test': 0.75}
    """
    names = NAMES.get(event.kind, {})
    return {name: float(event.data[key]) for key, name in names.items() if event.data.get(key) is not None}


def sentence(event: Event) -> str:
    """What a phase or an alarm is about, in words; empty for other events.

    >>> data = {"index": 1, "optimizer": "sgd", "learning_rate": 0.05, "schedule": "one-cycle"}
    >>> sentence(Event("phase", 40, 2.0, {**data, "first_step": 40, "last_step": 80}))
    'phase 2: sgd, learning rate 0.05, one-cycle, steps 40 to 80'
    """
    data = event.data
    if event.kind == "alarm":
        return str(data["message"])
    if event.kind == "phase":
        how = f"{data['optimizer']}, learning rate {data['learning_rate']:g}, {data['schedule']}"
        return f"phase {data['index'] + 1}: {how}, steps {data['first_step']} to {data['last_step']}"
    return ""


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What decided the training, from run.json, under flat names.

    >>> settings({"recipe": {"phases": [{"optimizer": "sgd", "steps": None}]}, "seed": 3, "machine": {"cores": 2}})
    {'recipe.phases.0.optimizer': 'sgd', 'seed': 3}
    """
    told = {key: config[key] for key in ("recipe", "weights", "seed", "device", "precision") if key in config}
    dataset, model = config.get("dataset", {}), config.get("model", {})
    told["dataset"] = {key: dataset[key] for key in ("name", "fingerprint", "train_images") if key in dataset}
    told["model"] = {key: model[key] for key in ("name", "parameters") if key in model}
    told["versions"] = config.get("versions", {})
    return {key: value for key, value in flat_values(told).items() if value is not None}


def began(config: Mapping[str, Any]) -> float:
    """When the training began, in seconds since 1970: as run.json says, or now where there is none."""
    started = config.get("started")
    return datetime.fromisoformat(started).timestamp() if started else time.time()


def as_text(config: Mapping[str, Any]) -> str:
    """The whole run.json as Markdown."""
    return f"```json\n{json.dumps(config, indent=2, ensure_ascii=False)}\n```" if config else ""
