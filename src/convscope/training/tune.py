"""--tune: which engine trains a network soonest on the machine at hand, measured, and checked against fp32."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args, get_type_hints

import torch
from torch import nn

from convscope.data.download import cache_folder
from convscope.durable import replace_file, to_json
from convscope.errors import UsageError
from convscope.kept_memory import kept_memory
from convscope.training.engine import (
    Engine,
    MemoryFormat,
    Precision,
    describe_machine,
    describe_versions,
    engine_by_rule,
)
from convscope.training.probe import Probe
from convscope.training.schedule import plan
from convscope.types import Dataset, Recipe

FEWEST_STEPS = 2000
"""A shorter training is over before a probe would have paid."""

LARGEST_FILE = 100_000
"""Bytes; a decision is a few hundred."""


@dataclass(frozen=True)
class Decision:
    """The engine of a training, and how it was found; written to run.json."""

    engine: Engine
    how: str = "by rule"  # or "measured", "measured before", or from which file
    images_per_second: Mapping[str, float] = field(default_factory=dict[str, float])
    refused: Mapping[str, str] = field(default_factory=dict[str, str])

    def config(self) -> dict[str, Any]:
        """What run.json says of it."""
        values = asdict(self)
        return {"engine": values.pop("engine"), "tuning": values}

    def __str__(self) -> str:
        """One line of it."""
        speeds = "; ".join(f"{name}: {speed:,.0f}" for name, speed in self.images_per_second.items())
        refused = "".join(f"; refused {name}: {why}" for name, why in self.refused.items())
        return f"engine: {self.engine} ({self.how}{f', images/s: {speeds}' if speeds else ''}{refused})"


def choose_engine(model: nn.Module, dataset: Dataset, recipe: Recipe, *, device: torch.device, tune: str) -> Decision:
    """The engine for what the recipe leaves to the machine ("auto"); the model is left as it was found.

    `tune` is "auto", which measures where the training is long enough to pay for it, "off", which goes by rule, or a
    file: another run's run.json, or its "engine" alone. The recipe is one that suits the model (see `suit_model`).
    Raises UsageError for a file that cannot be used.
    """
    by_rule = engine_by_rule(recipe, device)
    if tune not in ("auto", "off"):
        return _from_file(Path(tune), recipe)
    steps = plan(recipe, steps_per_epoch=len(dataset.train.labels) // recipe.batch_size)[-1].last
    allowed = sorted(_allowed(recipe), key=lambda engine: engine != by_rule)  # the one by rule comes first
    if tune == "off" or steps < FEWEST_STEPS or len(allowed) == 1:
        return Decision(by_rule)
    key = _key(model, dataset, recipe, device)
    kept = cache_folder() / "engines" / f"{hashlib.sha256(to_json(key)).hexdigest()}.json"
    known = _recall(kept, key, recipe)
    if known is not None:
        return known
    with kept_memory():  # as in the training itself
        found = Probe(model, dataset, recipe, device).decide(allowed, steps=steps)
    decision = Decision(found.engine, "measured", found.images_per_second, found.refused)
    with suppress(OSError):  # if it cannot be kept, it is measured again
        kept.parent.mkdir(parents=True, exist_ok=True)
        replace_file(kept, to_json({"key": key, "decision": asdict(decision)}))
    return decision


def check_tune(tune: str, recipe: Recipe) -> None:
    """Raise UsageError, before anything long begins, where `tune` is a file that the recipe cannot follow."""
    if tune not in ("auto", "off"):
        _from_file(Path(tune), recipe)


def engine_from_mapping(values: Any) -> Engine:
    """The engine that run.json or a file describes. Raises UsageError for anything else than an engine's values."""
    hints = get_type_hints(Engine)
    if not isinstance(values, dict) or set(values) != set(hints):
        raise UsageError(f"an engine has the keys {', '.join(hints)}; this has not")
    for key, hint in hints.items():
        allowed = get_args(hint) or (False, True)
        if not any(values[key] is each or (isinstance(each, str) and values[key] == each) for each in allowed):
            raise UsageError(f'engine key "{key}" is {values[key]!r}; allowed: {", ".join(map(str, allowed))}')
    return Engine(**values)


def _from_file(path: Path, recipe: Recipe) -> Decision:
    """The engine that a file names, for a recipe that does not say otherwise."""
    values = _read_json(path)
    if values is None:
        raise UsageError(f"--tune {path} cannot be read as JSON; allowed: auto, off, or the run.json of a run")
    engine = engine_from_mapping(_engine_values(values))
    for key, wanted in (
        ("precision", recipe.precision),
        ("memory_format", recipe.memory_format),
        ("compiled", recipe.compiled),
    ):
        named = getattr(engine, key)
        named = {True: "yes", False: "no"}.get(named, named)
        if wanted not in ("auto", named):
            raise UsageError(f"{path} has {key} {named}, the recipe {wanted}; allow it with --set {key}=auto")
    return Decision(engine, f"from {path.name}")


def _engine_values(values: Any) -> Any:
    """An engine's values, whether they stand alone or under "engine", as in run.json."""
    while isinstance(values, dict) and "engine" in values:
        values = values["engine"]
    return values


def _read_json(path: Path) -> Any:
    """What a small JSON file holds; None where there is none, or it is no such file."""
    with suppress(OSError, ValueError, RecursionError):
        if path.is_file() and path.stat().st_size <= LARGEST_FILE:
            return json.loads(path.read_bytes())
    return None


def _key(model: nn.Module, dataset: Dataset, recipe: Recipe, device: torch.device) -> dict[str, Any]:
    """All that a decision depends on: the machine, the versions, the network, the batch, what is left open."""
    return {
        "machine": describe_machine(device),
        "device": str(device),
        "versions": describe_versions(),
        "weights": {name: list(value.shape) for name, value in model.state_dict().items()},
        "model": [recipe.model, repr(model)],
        "batch": [recipe.batch_size, *dataset.image_size],
        "recipe": [
            recipe.precision,
            recipe.memory_format,
            recipe.compiled,
            recipe.freeze,
            recipe.phases[0].optimizer,
        ],
    }


def _recall(path: Path, key: Mapping[str, Any], recipe: Recipe) -> Decision | None:
    """The decision that is kept there for exactly this key; None where there is none that could be one of ours."""
    kept = _read_json(path)
    with suppress(UsageError, TypeError, ValueError, KeyError, AttributeError):
        if json.dumps(kept["key"]) != json.dumps(key):
            return None
        engine = engine_from_mapping(kept["decision"]["engine"])
        speeds = {str(name)[:80]: float(speed) for name, speed in kept["decision"]["images_per_second"].items()}
        refused = {str(name)[:80]: str(why)[:300] for name, why in kept["decision"]["refused"].items()}
        if engine not in _allowed(recipe) or not all(0 < speed < 1e12 for speed in speeds.values()):
            return None
        return Decision(engine, "measured before", speeds, refused)
    return None


def _allowed(recipe: Recipe) -> Iterator[Engine]:
    """Every engine that the recipe leaves open."""
    precisions: tuple[Precision, ...] = get_args(Precision) if recipe.precision == "auto" else (recipe.precision,)
    formats: tuple[MemoryFormat, ...] = (
        get_args(MemoryFormat) if recipe.memory_format == "auto" else (recipe.memory_format,)
    )
    compiled = (False, True) if recipe.compiled == "auto" else (recipe.compiled == "yes",)
    for values in itertools.product(precisions, formats, compiled):
        yield Engine(*values)
