"""What the flags of a training come to: mistakes told before images are read, and the images as the model is fed."""

from __future__ import annotations

import dataclasses
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convscope.command_line.console import say
from convscope.command_line.flags import DataFlags, TrainFlags
from convscope.errors import UsageError
from convscope.tables import look_up

if TYPE_CHECKING:
    from convscope.models.feed import Feed
    from convscope.types import Dataset, Progress, Recipe, Say


def check_flags(flags: TrainFlags, recipes: Sequence[Recipe]) -> str | None:
    """Where the weights are that the training begins with, once everything was looked at that needs no images.

    Raises UsageError for a model, logger, device or file that is not there, before anything is read or downloaded.
    """
    from convscope.loggers import load_loggers
    from convscope.training.engine import select_device
    from convscope.training.tune import check_tune

    for recipe in recipes:
        check_model(recipe.model, named=flags.model is not None)
        check_tune(flags.tune, recipe)
    load_loggers(flags.log)
    select_device(flags.device)
    return weights_place(flags, recipes[0].model)


def check_model(name: str, *, named: bool) -> None:
    """Raise UsageError for a model that there is not, and for someone's code that a recipe's file alone names."""
    from convscope.models import MODELS

    if ":" not in name:
        look_up(MODELS, name, kind="model")
        return
    from convscope.models.factories import was_named
    from convscope.models.zoo import is_factory

    if is_factory(name) and not named and not was_named(name):
        raise UsageError(f"the recipe's model is made by {name}; if you trust that code, name it: --model {name}")


def load_images(
    dataset: str,
    flags: TrainFlags,
    data: DataFlags,
    recipe: Recipe,
    weights: str | None,
    *,
    tell: Say,
    progress: Progress,
) -> tuple[Dataset, dict[str, Any], str]:
    """The images with the size, mean and deviation that the model is fed; the options to load them again; and why.

    Of one of ours a training decides all three. Any other network is fed as the run that its weights come from was,
    or as its library says, unless flags say otherwise: only then does what it learned before count.
    """
    from convscope.data import PLACES, load_dataset

    feed = _feed(recipe.model, weights)
    options: dict[str, Any] = {**dataset_options(data), "seed": recipe.seed}
    resized = dataset.partition(":")[0] in PLACES and not data.image_size and feed.input_size
    if resized:
        options["image_size"] = max(resized)
    images = load_dataset(dataset, **options, progress=progress)
    if images.skipped:
        tell(f"{len(images.skipped)} images that cannot be read are left out; run.json names them")
    mean = parse_numbers("--mean", flags.mean) or feed.mean or images.mean
    std = parse_numbers("--std", flags.std) or feed.std or images.std
    if not len(mean) == len(std) == len(images.mean):
        raise UsageError(
            f"a mean of {len(mean)} and a deviation of {len(std)} numbers; allowed: {len(images.mean)} each"
        )
    if (mean, std) == (images.mean, images.std) and not resized:
        return images, options, ""
    told = f"{recipe.model} is fed {_sides(images.image_size)} pixels"
    if feed.input_size and feed.input_size != images.image_size:
        told += f" (it was made for {_sides(feed.input_size)})"
    told += f" with mean {_spoken(mean)} and deviation {_spoken(std)}"
    tell(f"{told}; others: --image-size, --mean, --std")
    return dataclasses.replace(images, mean=mean, std=std), options, told


def _feed(name: str, weights: str | None) -> Feed:
    """What is known of how a model is fed: by the run that its weights are of, else by where it comes from."""
    from convscope.models import MODELS
    from convscope.models.feed import Feed
    from convscope.models.zoo import PRETRAINED, feed_of
    from convscope.training.run import open_run

    if name in MODELS:
        return Feed()
    if weights and weights != PRETRAINED and Path(weights).is_dir():
        then = open_run(weights).config["dataset"]
        return Feed(tuple(then["mean"]), tuple(then["std"]), tuple(then["image_size"]))
    return feed_of(name, pretrained=weights == PRETRAINED)


def parse_numbers(flag: str, text: str | None) -> tuple[float, ...] | None:
    """The numbers that a flag names, one for each channel of an image; None for none.

    >>> parse_numbers("--mean", "0.485, 0.456, 0.406"), parse_numbers("--mean", None)
    ((0.485, 0.456, 0.406), None)
    """
    if text is None:
        return None
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = (math.nan,)
    if not all(math.isfinite(value) and (value > 0 or flag != "--std") for value in found):
        raise UsageError(f'{flag} "{text}"; allowed: a number for each channel, such as 0.485,0.456,0.406')
    return found


def _sides(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"


def _spoken(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:.3g}" for number in numbers)


def start_options(
    flags: TrainFlags, options: Mapping[str, Any], weights: str | None, fed: str, *, report: bool
) -> dict[str, Any]:
    """What start_run is told of a training, beside its images and its recipe."""
    return {
        "dataset_options": options,
        "weights": weights,
        "device": flags.device,
        "tune": flags.tune,
        "report": report,
        "film": not flags.no_film,
        "fed": fed,
    }


def overrides(flags: TrainFlags) -> dict[str, Any]:
    """The flags that each replace one value of the recipe."""
    part = "head" if flags.freeze and flags.train is None else flags.train
    return {
        "model": flags.model and anywhere(flags.model),
        "epochs": flags.epochs,
        "steps": flags.steps,
        "seed": flags.seed,
        "precision": flags.precision,
        "eval_every": flags.eval_every,
        "settings": (*flags.set, *((f"freeze={'true' if part == 'head' else 'false'}",) if part else ())),
    }


def anywhere(name: str) -> str:
    """A dataset's or a model's name with a folder's whole path, so that a run can be gone on with from elsewhere."""
    from convscope.data import PLACES

    kind, _, path = name.partition(":")
    is_path = kind in PLACES or (kind == "huggingface" and Path(path).is_dir())
    return f"{kind}:{Path(path).resolve()}" if path and is_path else name


def dataset_options(data: DataFlags) -> dict[str, Any]:
    """What the flags say about a dataset, as it is kept in run.json."""
    return {
        "data_dir": str(data.data_dir.resolve()) if data.data_dir else None,
        "sources": list(data.source),
        "image_size": data.image_size,
        "skip_bad": data.skip_bad,
    }


def command_line() -> str:
    """The command as it was typed."""
    return shlex.join(["convscope", *sys.argv[1:]])


def weights_place(flags: TrainFlags, model: str) -> str | None:
    """Where the weights are that --weights names, so that a resumption finds them from anywhere, or "pretrained"."""
    from convscope.models.zoo import PRETRAINED, default_weights, is_library
    from convscope.training.folder import find_run

    if flags.weights is None:
        return default_weights(model)
    if flags.weights == PRETRAINED:
        if not is_library(model):
            raise UsageError(
                f"--weights pretrained is for networks of libraries; {model} has none: --weights FILE|RUN"
            )
        return PRETRAINED
    named = find_run(flags.weights) if flags.weights == "latest" else Path(flags.weights)
    return str(without_pickle(named.resolve(), allow=flags.allow_pt))


def without_pickle(path: Path, *, allow: bool) -> Path:
    """The path; or where it is a pickle that is allowed, that of its tensors, kept where downloads are."""
    from convscope.data.download import cache_folder
    from convscope.models.pickled import keep_as_safetensors
    from convscope.models.weights import PICKLED

    if not allow or path.suffix.lower() not in PICKLED:
        return path
    kept = keep_as_safetensors(path, cache_folder() / "weights")
    say(f"the tensors of {path} are kept as {kept}")
    return kept
