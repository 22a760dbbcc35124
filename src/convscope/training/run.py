"""A run folder opened for reading: its images, its events, what it came to, its network."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from convscope.data import load_dataset
from convscope.errors import CheckpointError, DataError, UsageError
from convscope.models.zoo import rebuild_model
from convscope.training.checkpoint import Checkpoint, load_checkpoint, weights_sum
from convscope.training.folder import check_kinds, find_run, read_config, read_events
from convscope.training.recipe_values import flat_values, recipe_from_mapping
from convscope.types import Dataset, Event, Network, Progress, Recipe, Say, no_progress


@dataclass(frozen=True)
class Run:
    """A run folder opened for reading."""

    path: Path
    config: Mapping[str, Any]  # run.json

    def events(self) -> list[Event]:
        """The run's log so far."""
        return read_events(self.path)

    @property
    def recipe(self) -> Recipe:
        """The recipe that it is trained by. Raises CheckpointError where it cannot be used."""
        try:
            return recipe_from_mapping(self.config["recipe"])
        except UsageError as error:
            raise CheckpointError(f"{self.path / 'run.json'}: {error}") from error

    def dataset(self, *, progress: Progress = no_progress) -> Dataset:
        """The images that it is trained on, with the mean and deviation that its network is fed by.

        Raises DataError where they are no longer the same.
        """
        described = self.config["dataset"]
        dataset = load_dataset(described["name"], **described["options"], progress=progress)
        if dataset.fingerprint != described["fingerprint"]:
            raise DataError(
                f"the images of {described['name']} are not those that {self.path} was trained on: fingerprint "
                f"{dataset.fingerprint[:12]} instead of {described['fingerprint'][:12]}"
            )
        return dataclasses.replace(dataset, mean=tuple(described["mean"]), std=tuple(described["std"]))

    def check_same(self, recipe: Recipe, dataset: Dataset, weights: str | None) -> None:
        """Raise UsageError unless it is a training by the same recipe, on the same images, from the same weights."""
        asked = self.config.get("asked")  # what the network did not allow, and so was done otherwise
        then = flat_values(self.config["recipe"]) | (asked if isinstance(asked, dict) else {})
        then["weights"] = self.config["weights"]
        now = {**flat_values(recipe), "weights": weights}
        described = self.config["dataset"]
        then["dataset"], now["dataset"] = described["fingerprint"][:12], dataset.fingerprint[:12]
        for key in ("mean", "std"):  # which another torch may sum up in another order
            then[key], now[key] = ([round(each, 6) for each in of] for of in (described[key], getattr(dataset, key)))
        other = [
            f"{key} was {then.get(key)}, is {now.get(key)}"
            for key in dict.fromkeys([*now, *then])
            if key != "summary" and then.get(key) != now.get(key)
        ]
        if other:
            raise UsageError(
                f"{self.path} holds a run of other settings: {', '.join(other)}; the same settings go on with it, "
                "others need another --out"
            )

    def results(self) -> dict[str, float | int | str]:
        """What it came to: accuracies, losses and time of its end, and the hash of its weights; empty before."""
        events = self.events()
        end = next((event for event in reversed(events) if event.kind == "end"), None)
        if end is None or end.data["reason"] != "finished":
            return {}
        keys = ("train_accuracy", "test_accuracy", "train_loss", "test_loss")
        figures = {key: end.data[key] for key in keys}
        weights = weights_sum(self.path / "checkpoints")
        return {**figures, "steps": end.step, "seconds": end.time, "weights_sha256": weights}

    def model(self) -> nn.Module:
        """Its model as it was built, with the weights of no checkpoint yet.

        Raises UsageError where it is made by a function that this user never named (see `models.factories`).
        """
        recipe, classes = self.recipe, len(self.config["dataset"]["class_names"])
        return rebuild_model(recipe.model, self.config.get("model", {}), class_count=classes, seed=recipe.seed)

    def network(self, *, say: Say) -> Network:
        """Its network with the newest weights; damaged ones are named through `say` and those before them taken.

        Raises CheckpointError where there are none whole.
        """
        described = self.config["dataset"]
        model = self.model()
        loaded = load_checkpoint(self.path / "checkpoints", warn=say)
        if loaded is None:
            raise CheckpointError(f"no checkpoint in {self.path}; the run was stopped before its first")
        load_into(model, loaded)
        model.eval()
        return Network(
            model=model,
            mean=tuple(described["mean"]),
            std=tuple(described["std"]),
            input_size=tuple(described["image_size"]),
            class_names=tuple(described["class_names"]),
            name=self.recipe.model,
            weights_sha256=loaded.weights_sha256,
        )


def open_run(name: str) -> Run:
    """The run of that folder, or the "latest" one.

    Raises UsageError where there is none, and CheckpointError where its run.json is damaged.
    """
    path = find_run(name)
    config = read_config(path)
    check_kinds(path / "run.json", {"model": {}, **config})  # older runs say nothing of their model
    return Run(path, config)


def load_into(model: nn.Module, loaded: Checkpoint) -> None:
    """Give the model a checkpoint's weights. Raises CheckpointError where they are of another model."""
    try:
        model.load_state_dict(loaded.weights)
    except RuntimeError as error:
        raise CheckpointError(
            "the checkpoint is of another model than run.json names: one of them was changed"
        ) from error
