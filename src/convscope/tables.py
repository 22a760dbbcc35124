"""What a table of methods, datasets or models holds: where each entry lives, imported when it is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, NamedTuple, TypeVar

from convscope.errors import UsageError, closest

Value = TypeVar("Value")


class Entry(NamedTuple):
    """One line of a table: `module:function` and what it is, readable without importing it."""

    target: str
    summary: str

    def load(self) -> Callable[..., Any]:
        """The function itself.

        >>> Entry("convscope.errors:closest", "names alike").load().__name__
        'closest'
        """
        module, _, name = self.target.partition(":")
        return getattr(import_module(module), name)


def look_up(table: Mapping[str, Value], name: str, *, kind: str) -> Value:
    """The table's entry of that name.

    Raises UsageError, naming the nearest entries and the command that lists them.

    >>> look_up({"sgd": 1}, "sgdd", kind="recipe")
    Traceback (most recent call last):
    convscope.errors.UsageError: no recipe "sgdd"; closest: sgd; list them: convscope recipes
    """
    if name in table:
        return table[name]
    raise UsageError(f'no {kind} "{name}"{closest(name, table)}; list them: convscope {kind}s')
