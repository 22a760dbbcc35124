"""What is compared: runs that differ in nothing but their seed are one contender, and what sets contenders apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from convscope.report.page import phase_settings, settings
from convscope.report.training_words import began_said
from convscope.training.recipe_values import flat_values
from convscope.training.run import Run
from convscope.types import Event


class Trained(NamedTuple):
    """A run with its log, which is read once."""

    run: Run
    events: list[Event]

    @property
    def seed(self) -> int:
        """Its seed."""
        return self.run.config["recipe"]["seed"]


class Contender(NamedTuple):
    """Runs of the same settings, by seed."""

    name: str
    members: list[Trained]


def find_contenders(runs: Sequence[Run]) -> list[Contender]:
    """The runs, those of equal settings together, in the order in which each first came.

    A contender is called by its recipe, or where two have the same by its first run's folder.
    """
    groups: dict[str, list[Trained]] = {}
    for run in runs:
        groups.setdefault(_settings_key(run.config), []).append(Trained(run, run.events()))
    recipes = Counter(members[0].run.config["recipe"]["name"] for members in groups.values())
    folders = Counter(members[0].run.path.name for members in groups.values())
    found: list[Contender] = []
    for members in groups.values():
        first = members[0].run
        name = first.config["recipe"]["name"]
        if recipes[name] > 1:
            name = first.path.name if folders[first.path.name] == 1 else str(first.path)
        found.append(Contender(name, sorted(members, key=lambda member: member.seed)))
    return found


def _settings_key(config: Mapping[str, Any]) -> str:
    """What is the same for two runs that differ in nothing but their seed."""
    kept = {
        key: value for key, value in flat_values(config["recipe"]).items() if key not in ("name", "summary", "seed")
    }
    return repr([kept, config["dataset"]["fingerprint"], config["weights"], config["precision"]])


def setting_rows(contenders: Sequence[Contender]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Settings in words, by name: those that differ, with a value for each contender, and those that all share."""
    each = [_described(contender) for contender in contenders]
    names = sorted({name for rows in each for name in rows}, key=lambda name: _place(name, each))
    table = {name: [rows.get(name, "") for rows in each] for name in names}
    shared = {name: values[0] for name, values in table.items() if len(set(values)) == 1}
    return {name: values for name, values in table.items() if name not in shared}, shared


def _place(name: str, each: Sequence[Mapping[str, str]]) -> int:
    """Where a setting stands in the longest list that has it."""
    return max(list(rows).index(name) for rows in each if name in rows)


def _described(contender: Contender) -> dict[str, str]:
    """A contender's settings in words; what its runs do not agree on stands with every value that it has."""
    rows: dict[str, list[str]] = {}
    for member in contender.members:
        for name, value in _run_settings(member.run.config).items():
            rows.setdefault(name, []).append(value)
    return {name: ", ".join(dict.fromkeys(values)) for name, values in rows.items()}


def _run_settings(config: Mapping[str, Any]) -> dict[str, str]:
    """What decides a run, in words."""
    recipe, dataset, machine = config["recipe"], config["dataset"], config["machine"]
    phases = {f"Phase {number}": phase_settings(phase) for number, phase in enumerate(recipe["phases"], start=1)}
    threads = "1 thread" if machine.get("threads") == 1 else f"{machine.get('threads', '')} threads"
    return {
        "Dataset": f"{dataset['name']}, fingerprint {dataset['fingerprint'][:12]}",
        "Classes": f"{len(dataset['class_names'])}",
        "Images": f"{dataset['train_images']:,} to train on, {dataset['test_images']:,} to test on",
        "Model": recipe["model"],
        **phases,
        "Batch size": str(recipe["batch_size"]),
        "Augmentation": settings(recipe["augmentation"]) or "none",
        "Label smoothing": str(recipe["label_smoothing"] or "none"),
        "Trained": "the head only" if recipe["freeze"] else "every layer",
        "Began with": began_said(config),
        "Seeds": str(recipe["seed"]),
        "Precision": config["precision"],
        "Device": config["device"],
        "Processor": f"{machine.get('gpu') or machine.get('processor', '')}, {threads}",
        "Torch": config["versions"].get("torch", ""),
    }


def same_start(contenders: Sequence[Contender]) -> tuple[bool | None, bool]:
    """Whether all began, seed by seed, from the same weights (None where unknown), and saw the same images in order.

    Which images come when is decided by dataset, seed and batch size alone.
    """
    seeds = [[member.seed for member in contender.members] for contender in contenders]
    configs = [member.run.config for contender in contenders for member in contender.members]
    sums = [(config["recipe"]["seed"], config.get("initial_sha256")) for config in configs]
    if any(sha256 is None for _, sha256 in sums):
        weights = None
    else:
        weights = all(each == seeds[0] for each in seeds) and len(set(sums)) == len(set(seeds[0]))
    orders = {(config["dataset"]["fingerprint"], config["recipe"]["batch_size"]) for config in configs}
    return weights, len(orders) == 1 and all(each == seeds[0] for each in seeds)


def share_test_images(contenders: Sequence[Contender]) -> bool:
    """Whether all were tested on the same images."""
    members = [member for contender in contenders for member in contender.members]
    return len({member.run.config["dataset"]["fingerprint"] for member in members}) == 1
