"""RECIPES: the trainings that convscope knows by name, recipes from TOML files, and single values overridden."""

from __future__ import annotations

import dataclasses
import tomllib
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from convscope.errors import UsageError, closest
from convscope.tables import look_up
from convscope.types import Augmentation, Phase, Recipe

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="fast",
            summary="the best accuracy in about 15 minutes on 2 CPU cores: one-cycle SGD on a narrow ResNet",
            model="resnet10-narrow",
            phases=(
                Phase(
                    optimizer="sgd",
                    learning_rate=0.4,
                    epochs=18,
                    schedule="one-cycle",
                    nesterov=True,
                    weight_decay=5e-4,
                    decay_norms_and_biases=False,
                ),
            ),
            batch_size=256,
            augmentation=Augmentation(crop=4, flip=True),
            label_smoothing=0.1,
            precision="auto",
        ),
        Recipe(
            name="best",
            summary="the CIFAR standard, full width: 93 to 94 % on the official CIFAR-10 in 26 epochs; for a GPU",
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
            precision="auto",
        ),
        Recipe(
            name="sgd",
            summary="plain SGD with momentum 0.9 at a constant learning rate of 0.01",
            model="resnet18-7x7",
            phases=(Phase(optimizer="sgd", learning_rate=0.01, epochs=12),),
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
}


def get_recipe(name: str) -> Recipe:
    """The built-in recipe of that name, or the recipe in that TOML file.

    Raises UsageError for an unknown name, a missing file, or a file that is not a recipe.

    >>> get_recipe("adam-then-sgd").phases[0].optimizer
    'adam'
    """
    if not name.endswith(".toml"):
        return look_up(RECIPES, name, kind="recipe")
    path = Path(name)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"no recipe file {path}; built-in ones: convscope recipes") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read the recipe {path}: {error}") from error
    defaults = {"name": path.stem, "summary": f"from {path.name}", "model": "resnet18"}
    return recipe_from_mapping(defaults | values)


def recipe_from_mapping(values: Mapping[str, Any]) -> Recipe:
    """The recipe that a TOML table or a run.json describes; every key, type and range is checked.

    Raises UsageError naming the key, what came and what is allowed.

    >>> recipe_from_mapping({"name": "mine", "summary": "", "model": "resnet8", "phases": [
    ...     {"optimizer": "sgd", "learning_rate": 0.1, "epochs": 2}]}).phases[0].momentum
    0.9
    """
    recipe: Recipe = _build(Recipe, values, where="")
    check_recipe(recipe)
    return recipe


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
        _set(values, setting)
    if epochs is not None and steps is not None:
        raise UsageError("--epochs and --steps both given; allowed: one of them")
    for unit, length in (("epochs", epochs), ("steps", steps)):
        if length is not None:
            values["phases"] = _fit_phases(values["phases"], unit, length)
    return recipe_from_mapping(values)


def _fit_phases(phases: list[dict[str, Any]], unit: str, length: int) -> list[dict[str, Any]]:
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


def _set(values: dict[str, Any], setting: str) -> None:
    """Replace one value, named by a dotted key, in nested dictionaries and lists."""
    key, equals, text = setting.partition("=")
    if not equals:
        raise UsageError(f"--set {setting}; allowed: KEY=VALUE, as in --set batch_size=64")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    place: Any = values
    *parents, last = key.split(".")
    try:
        for part in parents:
            place = place[int(part)] if isinstance(place, list | tuple) else place[part]
        known = place[int(last)] if isinstance(place, list | tuple) else place[last]
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise UsageError(f'no recipe key "{key}"{closest(key, _keys(values))}; see run.json or --help') from error
    if isinstance(known, dict | list | tuple):
        raise UsageError(f"--set {key} names a group; allowed: one value in it, as in {key}.KEY=VALUE")
    place[last] = value


def _keys(values: Any, prefix: str = "") -> list[str]:
    """Every dotted key of nested dictionaries and lists."""
    if isinstance(values, Mapping):
        items = [(str(key), value) for key, value in values.items()]
    elif isinstance(values, list | tuple):
        items = [(str(index), value) for index, value in enumerate(values)]
    else:
        return [prefix.rstrip(".")]
    return [key for name, value in items for key in _keys(value, f"{prefix}{name}.")]


def _build(kind: type[Any], values: Mapping[str, Any], *, where: str) -> Any:
    """A dataclass from a mapping, its keys and types checked; `where` is the dotted key so far."""
    hints = get_type_hints(kind)
    known = [field.name for field in dataclasses.fields(kind)]
    for key in values:
        if key not in known:
            raise UsageError(
                f'no recipe key "{where}{key}"{closest(key, known)}; allowed: {", ".join(known)}'
            )
    required = [f.name for f in dataclasses.fields(kind) if f.default is f.default_factory is dataclasses.MISSING]
    for key in required:
        if key not in values:
            raise UsageError(f'the recipe lacks "{where}{key}"')
    return kind(**{key: _convert(hints[key], value, where=where + key) for key, value in values.items()})


def _convert(hint: Any, value: Any, *, where: str) -> Any:
    """The value as the type that a field's hint asks for."""
    origin, arguments = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and isinstance(value, Mapping):
        return _build(hint, value, where=where + ".")
    if origin is tuple and isinstance(value, list | tuple):
        items: Iterable[Any] = value
        return tuple(_convert(arguments[0], item, where=f"{where}.{i}") for i, item in enumerate(items))
    if origin is Literal and value in arguments:
        return value
    if origin in (types.UnionType, Union):
        if value is None:
            return None
        return _convert(arguments[0], value, where=where)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    allowed = " or ".join(map(str, arguments)) if origin is Literal else getattr(hint, "__name__", str(hint))
    raise UsageError(f'recipe key "{where}" is {value!r}; allowed: {allowed}')


def check_recipe(recipe: Recipe) -> None:
    """Raise UsageError for a value outside of its range, naming key, value and range."""
    _within("batch_size", recipe.batch_size, 1, 1_000_000)
    _within("label_smoothing", recipe.label_smoothing, 0, 0.99)
    _within("augmentation.crop", recipe.augmentation.crop, 0, 1024)
    _within("augmentation.cutout", recipe.augmentation.cutout, 0, 1024)
    _within("seed", recipe.seed, 0, 2**63 - 1)
    if recipe.eval_every is not None:
        _within("eval_every", recipe.eval_every, 1, 10**9)
    if not recipe.phases:
        raise UsageError("the recipe has no phases; allowed: one or more [[phases]]")
    for index, phase in enumerate(recipe.phases):
        where = f"phases.{index}."
        if (phase.epochs is None) == (phase.steps is None):
            raise UsageError(f"{where}epochs or {where}steps: allowed is exactly one of them")
        _within(where + ("epochs" if phase.steps is None else "steps"), phase.epochs or phase.steps or 0, 1, 10**9)
        _within(where + "learning_rate", phase.learning_rate, 0, 1000)
        _within(where + "momentum", phase.momentum, 0, 0.9999)
        _within(where + "weight_decay", phase.weight_decay, 0, 1)
        _within(where + "warmup", phase.warmup, 0, 1)
        if phase.nesterov and (phase.optimizer != "sgd" or phase.momentum == 0):
            raise UsageError(f"{where}nesterov needs sgd with a momentum above 0")


def _within(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UsageError(f'recipe key "{key}" is {value}; allowed: {low} to {high}')
