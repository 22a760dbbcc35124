"""What a network is fed, as far as where it comes from says; and packages that convscope does not bring along."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

from convscope.errors import UsageError


class Feed(NamedTuple):
    """What a network is fed; None for what is not known."""

    mean: tuple[float, ...] | None = None  # one for each channel of an image
    std: tuple[float, ...] | None = None
    input_size: tuple[int, int] | None = None  # (H, W)
    class_names: tuple[str, ...] | None = None


def package(name: str, form: str, *, extra: str) -> Any:
    """A package that networks of that form need. Raises UsageError, naming the extra that brings it.

    >>> package("no_such_package", "none:NAME", extra="zoo")
    Traceback (most recent call last):
    convscope.errors.UsageError: none:NAME needs no_such_package: pip install 'convscope[zoo]'
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise UsageError(f"{form} needs {name}: pip install 'convscope[{extra}]'") from error
