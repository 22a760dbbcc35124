"""RECIPES: the trainings that convscope knows by name, recipes from TOML files, and single values overridden."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from convscope.errors import UsageError
from convscope.tables import Entry, Table, look_up
from convscope.training.recipe_values import recipe_from_mapping, set_value
from convscope.types import Augmentation, Dataset, Phase, Recipe

LEFT_TO_THE_MACHINE: dict[str, Any] = dict.fromkeys(("precision", "memory_format", "compiled"), "auto")

OWN = (
    Recipe(
        name="fast",
        summary="the best accuracy in some minutes on 2 CPU cores: one cycle of SGD, its rise on smaller images",
        model="vgg7",
        phases=(
            Phase(
                optimizer="sgd",
                learning_rate=0.2,
                epochs=8,
                schedule="one-cycle",
                warmup=0.375,
                nesterov=True,
                weight_decay=5e-4,
                decay_norms_and_biases=False,
                norm_rate=16.0,
                whitened=True,
                resolution=0.75,
            ),
        ),
        augmentation=Augmentation(crop=2, flip=True),
        label_smoothing=0.1,
        **LEFT_TO_THE_MACHINE,
    ),
    Recipe(
        name="small",
        summary="for some thousands of images, in about a minute on 2 CPU cores: gentler steps, smaller batches",
        model="resnet10-narrow",
        phases=(
            Phase(
                optimizer="sgd",
                learning_rate=0.05,
                epochs=15,
                schedule="one-cycle",
                nesterov=True,
                weight_decay=5e-4,
                decay_norms_and_biases=False,
            ),
        ),
        batch_size=32,
        augmentation=Augmentation(crop=2, flip=True),
        label_smoothing=0.1,
        **LEFT_TO_THE_MACHINE,
    ),
    Recipe(
        name="best",
        summary="the CIFAR standard at full width, a published setting of 26 epochs; for a GPU",
        model="resnet18",
        phases=(
            Phase(
                optimizer="sgd",
                learning_rate=0.2,
                epochs=26,
                schedule="one-cycle",
                nesterov=True,
                weight_decay=5e-4,
            ),
        ),
        batch_size=500,
        augmentation=Augmentation(crop=4, flip=True, cutout=12),
        **LEFT_TO_THE_MACHINE,
    ),
    Recipe(
        name="sgd",
        summary="plain SGD with momentum 0.9 at a constant learning rate of 0.01",
        model="resnet18-7x7",
        phases=(Phase(optimizer="sgd", learning_rate=0.01, epochs=12),),
        batch_size=256,
        **LEFT_TO_THE_MACHINE,
    ),
    Recipe(
        name="adam",
        summary="plain Adam at a constant learning rate of 0.001",
        model="resnet18-7x7",
        phases=(Phase(optimizer="adam", learning_rate=1e-3, epochs=12),),
    ),
    Recipe(
        name="adam-then-sgd",
        summary="Adam for 6 epochs, then SGD with momentum 0.9 at 0.01: quick at first, steady after",
        model="resnet18-7x7",
        phases=(
            Phase(optimizer="adam", learning_rate=1e-3, epochs=6),
            Phase(optimizer="sgd", learning_rate=0.01, epochs=6),
        ),
    ),
)

RECIPES: Table[Recipe] = Table("convscope.recipes", {recipe.name: recipe for recipe in OWN})


SMALL = 10_000
"""Fewer training images than this are trained by the recipe "small" unless another is named."""


def default_recipe(image_count: int) -> Recipe:
    """The recipe for that many training images: "small" or "fast"."""
    return get_recipe("small" if image_count < SMALL else "fast")


def get_recipe(name: str) -> Recipe:
    """The built-in recipe of that name, or the recipe in that TOML file.

    Raises UsageError for an unknown name, a missing file, or a file that is not a recipe.

    >>> get_recipe("adam-then-sgd").phases[0].optimizer
    'adam'
    """
    if not name.endswith(".toml"):
        found = look_up(RECIPES, name, kind="recipe")
        recipe = found.load() if isinstance(found, Entry) else found
        if not isinstance(recipe, Recipe):
            raise UsageError(f'the recipe "{name}" of another package is a {type(recipe).__name__}, no Recipe')
        return recipe
    path = Path(name)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"no recipe file {path}; built-in ones: convscope recipes") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(
            f"cannot read the recipe {path}: {error}; what one holds: convscope recipes small"
        ) from error
    defaults = {"name": path.stem, "summary": f"from {path.name}", "model": "resnet18"}
    return recipe_from_mapping(defaults | values)


def override_recipe(
    recipe: Recipe,
    *,
    model: str | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    seed: int | None = None,
    precision: str | None = None,
    eval_every: int | None = None,
    settings: Iterable[str] = (),
) -> Recipe:
    """The recipe with single values replaced; settings are KEY=VALUE with dotted keys, values as in TOML.

    `epochs` or `steps` is the length of the whole training: phases past it are dropped or cut short, and the last
    one is lengthened where it falls short. Raises UsageError for a key or value that does not exist or fit.

    >>> recipe = override_recipe(get_recipe("adam-then-sgd"), epochs=12, settings=["phases.1.learning_rate=0.05"])
    >>> [(phase.optimizer, phase.epochs, phase.learning_rate) for phase in recipe.phases]
    [('adam', 6, 0.001), ('sgd', 6, 0.05)]
    """
    values = dataclasses.asdict(recipe)
    named = {"model": model, "seed": seed, "precision": precision, "eval_every": eval_every}
    values |= {key: value for key, value in named.items() if value is not None}
    for setting in settings:
        set_value(values, setting)
    if epochs is not None and steps is not None:
        raise UsageError("--epochs and --steps both given; allowed: one of them")
    for unit, length in (("epochs", epochs), ("steps", steps)):
        if length is not None:
            values["phases"] = _fit_phases(values["phases"], unit, length)
    return recipe_from_mapping(values)


def suit_dataset(recipe: Recipe, dataset: Dataset) -> Recipe:
    """The recipe with batches no larger than the dataset, and no mirroring where that would change the class."""
    flip = recipe.augmentation.flip and dataset.mirror
    return dataclasses.replace(
        recipe,
        batch_size=min(recipe.batch_size, len(dataset.train.labels)),
        augmentation=dataclasses.replace(recipe.augmentation, flip=flip),
    )


def _fit_phases(phases: Sequence[dict[str, Any]], unit: str, length: int) -> list[dict[str, Any]]:
    """Cut or lengthen the phases to a total length in epochs or steps."""
    if length < 1:
        raise UsageError(f"--{unit} {length}; allowed: 1 or more")
    other = "steps" if unit == "epochs" else "epochs"
    if len(phases) > 1 and any(phase[unit] is None for phase in phases):
        raise UsageError(
            f"--{unit} does not fit a recipe whose phases are in {other}; set each: --set phases.0.{other}=N"
        )
    fitted: list[dict[str, Any]] = []
    left = length
    for index, phase in enumerate(phases):
        taken = left if index == len(phases) - 1 else min(phase[unit], left)
        if taken > 0:
            fitted.append(phase | {unit: taken, other: None})
        left -= taken
    return fitted
