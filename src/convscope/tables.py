"""What a table of methods, datasets, models or recipes holds: where each entry lives, imported when it is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from functools import cached_property
from importlib import import_module
from typing import Any, NamedTuple, TypeVar

from convscope.errors import UsageError, closest, in_one_line

Value = TypeVar("Value")


class Entry(NamedTuple):
    """One line of a table: `module:name` and what it is, readable without importing it."""

    target: str
    summary: str
    package: str = ""  # that adds it, where it is not ours

    def load(self) -> Any:
        """The function itself, or whatever the name stands for.

        Raises UsageError where another package's entry does not load.

        >>> Entry("convscope.errors:closest", "names alike").load().__name__
        'closest'
        """
        module, _, name = self.target.partition(":")
        try:
            return getattr(import_module(module), name)
        except Exception as error:
            if not self.package:
                raise
            raise UsageError(
                f"{self.target}, which the package {self.package} adds, does not load: {in_one_line(error)}; "
                f"mend it, or without it: pip uninstall {self.package}"
            ) from error


class Table(MutableMapping[str, Entry | Value]):
    """What there is of one kind, by name: ours, then what installed packages add by their entry points.

    The packages are asked when the table is first read, and nothing of them is imported; a name of ours stays ours.

    >>> list(Table("convscope.nothing", {"sgd": Entry("convscope.errors:closest", "ours")}))
    ['sgd']
    """

    def __init__(self, group: str, own: Mapping[str, Entry | Value]) -> None:
        self.group = group
        self.own = own

    @cached_property
    def _entries(self) -> dict[str, Entry | Value]:
        entries = dict(self.own)
        for name, entry in _added(self.group):
            entries.setdefault(name, entry)
        return entries

    def __getitem__(self, name: str) -> Entry | Value:
        return self._entries[name]

    def __setitem__(self, name: str, value: Entry | Value) -> None:
        self._entries[name] = value

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _added(group: str) -> Iterator[tuple[str, Entry]]:
    """The names that installed packages add by entry points of that group, with where each lives; by package."""
    from importlib.metadata import entry_points  # reads a file of every installed package

    found = [(point.dist, point) for point in entry_points(group=group) if point.dist]
    for package, point in sorted(found, key=lambda each: (each[0].name, each[1].name)):
        told = package.metadata.json.get("summary", point.value)
        yield point.name, Entry(point.value, f"{told} ({package.name} {package.version})", package.name)


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
