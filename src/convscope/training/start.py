"""Trainings in a run folder: begun, and gone on with where they were stopped."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from convscope.errors import CheckpointError, NumericsError, ResourceError, UsageError, is_out_of_memory
from convscope.models import build_model
from convscope.models.zoo import describe_model
from convscope.ranks import ALONE, Ranks
from convscope.training.checkpoint import (
    Checkpoint,
    checkpoint_bytes,
    load_checkpoint,
    remove_unfinished,
    save_checkpoint,
)
from convscope.training.engine import Engine, describe_machine, describe_versions, select_device
from convscope.training.film import WEIGHTS_BYTES
from convscope.training.folder import FORMAT, EventLog, check_free, create_run, lock_run, read_events
from convscope.training.initial import initial_model
from convscope.training.loop import train
from convscope.training.recipe_values import differences
from convscope.training.run import Run, load_into
from convscope.training.state import TrainingState, serialize
from convscope.training.suited import suit_model, what_is_left_out
from convscope.training.tune import choose_engine, engine_from_mapping
from convscope.types import Dataset, Event, Recipe, Say, say_nothing


def start_run(
    path: Path,
    dataset: Dataset,
    recipe: Recipe,
    *,
    dataset_options: Mapping[str, Any],
    weights: str | None = None,
    device: str = "auto",
    tune: str = "auto",
    command: str = "",
    report: bool = False,
    film: bool = True,
    fed: str = "",
    say: Say = say_nothing,
    should_stop: Callable[[], bool] = lambda: False,
    ranks: Ranks = ALONE,
) -> Iterator[Event]:
    """Train in a new run folder; `dataset_options` and `weights` (absolute paths) are kept to do it again.

    `weights` are a .safetensors file, a run folder, or "pretrained": those that the network's own library has. `fed`
    tells why the network is fed as the dataset says.

    `tune` is how the engine is found that the recipe leaves open (see `choose_engine`).
    With `film`, what the network looks like is kept at steps that lie ever farther apart. Of several ranks only the
    leader has the folder.

    Raises BusyError, UsageError or ResourceError where the folder cannot be had.
    """
    where = select_device(device)
    if not ranks.leads:
        model = build_model(recipe.model, class_count=len(dataset.class_names), seed=recipe.seed)
        yield from train(model, dataset, recipe, device=where, should_stop=should_stop, ranks=ranks)
        return
    model = initial_model(recipe, weights, dataset, say=say)
    asked, recipe = recipe, suit_model(recipe, model, dataset)
    for left_out in what_is_left_out(asked, recipe):
        say(left_out)
    _check_room(path, model, film=film)
    with lock_run(path):
        check_free(path)
        decision = choose_engine(model, dataset, recipe, device=where, tune=tune)
        if decision.how != "by rule":
            say(str(decision))
        config = {
            "format": FORMAT,
            "command": command,
            "report": report,
            "film": film,
            "started": datetime.now().astimezone().isoformat(timespec="seconds"),
            "recipe": dataclasses.asdict(recipe),
            "asked": differences(asked, recipe),
            "model": {**describe_model(recipe.model, model), **({"fed": fed} if fed else {})},
            "weights": weights,
            "initial_sha256": _sum(model),
            "dataset": _describe_dataset(dataset, dataset_options),
            "seed": recipe.seed,
            "device": str(where),
            "precision": decision.engine.precision,
            **decision.config(),
            "versions": describe_versions(),
            "machine": describe_machine(where),
            "processes": ranks.count,
        }
        create_run(path, config)
        yield from _train_in(Run(path, config), model, dataset, where, None, {}, should_stop, ranks)


def resume_run(
    run: Run,
    dataset: Dataset,
    *,
    device: str | None = None,
    say: Say = say_nothing,
    should_stop: Callable[[], bool] = lambda: False,
    ranks: Ranks = ALONE,
) -> Iterator[Event]:
    """Go on from the newest whole checkpoint; on the same CPU and versions every bit comes out the same.

    `dataset` is the run's own (see `Run.dataset`). Raises CheckpointError where every checkpoint is damaged.
    """
    recipe = run.recipe
    where = select_device(device or (run.config["device"] if ranks.alone else "auto"))
    if not ranks.leads:
        yield from train(run.model(), dataset, recipe, device=where, should_stop=should_stop, ranks=ranks)
        return
    with lock_run(run.path):
        reasons = list(_not_exact(run, where, ranks))
        for reason in reasons:
            say(f"not bit-exact: {reason}")
        loaded = load_checkpoint(run.path / "checkpoints", warn=say)
        if loaded is None:
            say("no checkpoint yet: from the beginning")
            model = initial_model(recipe, run.config["weights"], dataset, run=run, say=say)
            if _sum(model) != run.config.get("initial_sha256"):
                raise CheckpointError("the weights that the run began from have changed; start a new one")
        else:
            model = run.model()
            load_into(model, loaded)
        resumption = {"device": str(where), "versions": describe_versions(), "not_bit_exact": reasons}
        yield from _train_in(run, model, dataset, where, loaded, resumption, should_stop, ranks)


def _train_in(
    run: Run,
    model: nn.Module,
    dataset: Dataset,
    device: torch.device,
    loaded: Checkpoint | None,
    resumption: Mapping[str, Any],
    should_stop: Callable[[], bool],
    ranks: Ranks,
) -> Iterator[Event]:
    """Train in a folder that is locked, writing its log and its checkpoints.

    `resumption` is what the "start" event tells of the circumstances, where they may differ from run.json's.
    """
    checkpoints = run.path / "checkpoints"
    remove_unfinished(checkpoints)
    with closing(EventLog(run.path, keep_bytes=loaded.log_bytes if loaded else 0)) as log:

        def save(state: TrainingState) -> dict[str, Any]:
            return save_checkpoint(checkpoints, model, state, log_bytes=log.sync())

        events = train(
            model,
            dataset,
            run.recipe,
            device=device,
            engine=_engine(run.config),
            state=loaded.state if loaded else None,
            save=save,
            film=run.path if run.config.get("film", True) else None,
            should_stop=should_stop,
            ranks=ranks,
        )
        told = {_alarm(event) for event in read_events(run.path)}
        try:
            for event in _watch_disk(events, run.path, model):
                if event.kind == "start":
                    event = dataclasses.replace(event, data={**event.data, **resumption})
                if event.kind == "alarm" and _alarm(event) in told:
                    continue  # told before the resumption: an alarm says when something began
                told.add(_alarm(event))
                log.append(event)
                yield event
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise ResourceError(
                "out of memory; what was saved stands; a smaller batch helps: --set batch_size=VALUE"
            ) from error
        except NumericsError as error:
            last = read_events(run.path)[-1]
            step = last.step if error.step is None else error.step
            log.append(Event("alarm", step, last.time, {"what": "not finite", "message": str(error)}))
            raise


def _engine(config: Mapping[str, Any]) -> Engine:
    """The engine that the run began with; runs from before there was a choice name its precision only."""
    if "engine" not in config:
        return Engine(config["precision"])
    try:
        return engine_from_mapping(config["engine"])
    except UsageError as error:
        raise CheckpointError(f"run.json is damaged: {error}") from error


def _alarm(event: Event) -> tuple[Any, Any] | None:
    """What an alarm is about, without when; None for other events."""
    return (event.data["what"], event.data.get("layer")) if event.kind == "alarm" else None


def _watch_disk(events: Iterator[Event], path: Path, model: nn.Module) -> Iterator[Event]:
    """The events, with an alarm after the checkpoint that leaves too little room for the next three."""
    for event in events:
        yield event
        if event.kind == "checkpoint":
            free, needed = shutil.disk_usage(path).free, 3 * checkpoint_bytes(model)
            if free < needed:
                text = f"{free / 1e6:.0f} MB free at {path}, {needed / 1e6:.0f} MB may be needed: make room"
                yield Event("alarm", event.step, event.time, {"what": "disk", "message": text})


def _sum(model: nn.Module) -> str:
    """The SHA-256 of a model's weights."""
    sha256 = hashlib.sha256()
    for part in serialize(model.state_dict()):
        sha256.update(part)
    return sha256.hexdigest()


def _describe_dataset(dataset: Dataset, options: Mapping[str, Any]) -> dict[str, Any]:
    """What run.json says of the dataset."""
    return {
        "name": dataset.name,
        "options": dict(options),
        "source": dataset.source,
        "fingerprint": dataset.fingerprint,
        "class_names": list(dataset.class_names),
        "image_size": list(dataset.image_size),
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "train_images": len(dataset.train.labels),
        "test_images": len(dataset.test.labels),
        "skipped": list(dataset.skipped),
    }


def _check_room(path: Path, model: nn.Module, *, film: bool) -> None:
    """Raise ResourceError where film and three checkpoints would not fit: two are kept while a third is written."""
    needed = 3 * checkpoint_bytes(model) + (WEIGHTS_BYTES if film else 0)
    there = next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise ResourceError(
            f"{free / 1e6:.0f} MB free at {path}, {needed / 1e6:.0f} MB needed for checkpoints and film; "
            "make room or name another folder with --out"
        )


def _not_exact(run: Run, device: torch.device, ranks: Ranks) -> Iterator[str]:
    """What is not as it was when the run began, and so may change the last bits."""
    now = {**describe_versions(), **describe_machine(device), "device": str(device), "processes": ranks.count}
    then = {"processes": 1, **run.config["versions"], **run.config["machine"]}
    then |= {key: run.config[key] for key in ("device", "processes") if key in run.config}
    for key in ("convscope", "torch", "numpy", "processor", "threads", "device", "gpu", "processes"):
        if now.get(key) != then.get(key):
            yield f"{key} was {then.get(key)}, is {now.get(key)}"
    if device.type != "cpu":
        yield f"{device.type} kernels are not deterministic by default"
