"""What the explorer's page shows while a run's network is being opened, for which torch takes seconds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from convscope import __version__
from convscope.durable import replace_file, to_json
from convscope.errors import ConvscopeError
from convscope.training.folder import read_config, read_events
from convscope.types import Event

PLACE = Path("explorer") / "network.json"
"""Where in a run's folder its description is kept for the next time."""


def describe_early(run: Path, source: str) -> dict[str, Any]:
    """The description of a run's network that was kept, or else what its record says, marked as "opening".

    A kept one holds as long as the run's newest weights are those that it is of. `source` is what names the run in a
    command. Empty where the record cannot be read: what is wrong is said when the network is opened.
    """
    try:
        config, events = read_config(run), read_events(run)
        kept = _kept(run)
        if kept and kept.get("weights_sha256") == newest_weights(events):
            return kept
        return _recorded(config, events, source)
    except (ConvscopeError, KeyError, TypeError, ValueError, AttributeError):  # run.json may be anybody's
        return {}


def keep_description(run: Path, description: Mapping[str, Any]) -> None:
    """Keep it for the next time, where the disk allows that."""
    if _kept(run) != description:
        with suppress(OSError, ValueError):  # nor where a figure is no number
            (run / PLACE).parent.mkdir(parents=True, exist_ok=True)
            replace_file(run / PLACE, to_json({"convscope": __version__, "network": description}))


def last_figures(events: Sequence[Event]) -> dict[str, float]:
    """The accuracies that a run's log tells last.

    >>> last_figures([Event("eval", 9, 1.0, {"test_accuracy": 0.5}), Event("film", 9, 1.0, {})])
    {'test_accuracy': 0.5}
    """
    keys = ("train_accuracy", "test_accuracy")
    last = next((each.data for each in reversed(events) if each.data.get("test_accuracy") is not None), {})
    return {key: last[key] for key in keys if key in last}


def newest_weights(events: Sequence[Event]) -> str:
    """The SHA-256 of the weights that were saved last; empty where none were.

    >>> newest_weights([Event("checkpoint", 9, 1.0, {"weights_sha256": "c0ffee"})])
    'c0ffee'
    """
    return next((each.data["weights_sha256"] for each in reversed(events) if each.kind == "checkpoint"), "")


def _kept(run: Path) -> dict[str, Any] | None:
    """What was kept by this version, whose page understands it."""
    try:
        kept = json.loads((run / PLACE).read_bytes())
        return dict(kept["network"]) if kept["convscope"] == __version__ else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _recorded(config: Mapping[str, Any], events: Sequence[Event], source: str) -> dict[str, Any]:
    """What run.json and the log say of the network."""
    dataset = config["dataset"]
    return {
        "opening": True,
        "name": str(config["recipe"]["model"]),
        "source": source,
        "dataset": {
            "name": str(dataset["name"]),
            "train": int(dataset["train_images"]),
            "test": int(dataset["test_images"]),
        },
        "classes": [str(name) for name in dataset["class_names"]],
        "input_size": [int(side) for side in dataset["image_size"]],
        "parameters": (config.get("model") or {}).get("parameters"),
        "figures": last_figures(events),
        "layers": [],
        "weights_sha256": newest_weights(events),
    }
