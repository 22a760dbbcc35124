"""Recipes from plain values (a TOML table, a run.json, KEY=VALUE): every key, type and range checked."""

from __future__ import annotations

import dataclasses
import tomllib
import types
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from convscope.errors import UsageError, closest
from convscope.types import Recipe

KINDS: Mapping[Any, str] = {
    tuple: "a list",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
}
"""What the types of a recipe's values are called where one writes them; its other types are tables."""


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


def set_value(values: dict[str, Any], setting: str) -> None:
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
        known = place[last]
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise UsageError(
            f'no recipe key "{key}"{closest(key, flat_values(values))}; see them all: convscope recipes NAME'
        ) from error
    if isinstance(known, dict | list | tuple):
        raise UsageError(f"--set {key} names a group; allowed: one value in it, as in {key}.KEY=VALUE")
    place[last] = value


def flat_values(values: Any, prefix: str = "") -> dict[str, Any]:
    """Every value in a recipe, or in nested mappings and sequences, by its dotted key.

    >>> flat_values({"phases": [{"epochs": 6}]})
    {'phases.0.epochs': 6}
    """
    if dataclasses.is_dataclass(values) and not isinstance(values, type):
        values = dataclasses.asdict(values)
    if isinstance(values, Mapping):
        items = [(str(key), value) for key, value in values.items()]
    elif isinstance(values, list | tuple):
        items = [(str(index), value) for index, value in enumerate(values)]
    else:
        return {prefix: values}
    start = f"{prefix}." if prefix else ""
    return {key: leaf for name, value in items for key, leaf in flat_values(value, start + name).items()}


def differences(first: Recipe, second: Recipe) -> dict[str, Any]:
    """The first recipe's values that are others in the second, by their dotted keys."""
    others = flat_values(second)
    return {key: value for key, value in flat_values(first).items() if value != others.get(key)}


def _build(kind: type[Any], values: Mapping[str, Any], *, where: str) -> Any:
    """A dataclass from a mapping, its keys and types checked; `where` is the dotted key so far."""
    hints = get_type_hints(kind)
    known = [field.name for field in dataclasses.fields(kind)]
    for key in values:
        if key not in known:
            raise UsageError(f'no recipe key "{where}{key}"{closest(key, known)}; allowed: {", ".join(known)}')
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
    allowed = " or ".join(map(str, arguments)) if origin is Literal else KINDS.get(origin or hint, "a table")
    raise UsageError(f'recipe key "{where}" is {value!r}; allowed: {allowed}')


def check_recipe(recipe: Recipe) -> None:
    """Raise UsageError for a value outside of its range, naming key, value and range."""
    _within("batch_size", recipe.batch_size, 2, 1_000_000)  # batch norm needs two
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
        _within(where + "norm_rate", phase.norm_rate, 0, 1000)
        _within(where + "resolution", phase.resolution, 0.1, 1)
        if phase.nesterov and (phase.optimizer != "sgd" or phase.momentum == 0):
            raise UsageError(f"{where}nesterov needs sgd with a momentum above 0")
        if phase.whitened and phase.optimizer != "sgd":
            raise UsageError(f"{where}whitened needs sgd: adam scales each weight's step by itself")


def _within(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UsageError(f'recipe key "{key}" is {value}; allowed: {low} to {high}')
