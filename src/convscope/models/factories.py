"""Networks by module:function, someone's own code: called where its user named it, and never because a file does."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from platformdirs import user_state_dir
from torch import nn

from convscope.durable import replace_file, to_json
from convscope.errors import UsageError, closest, in_one_line
from convscope.types import Network

FORMS = "torchvision:NAME, timm:NAME, huggingface:PLACE or module:function"
NAMED = "factories.json"
"""Where the factories are kept that the user has named, each with the folder in which its module lay."""

MOST_NAMED = 1000


def call_factory(name: str, folder: Path | None = None) -> nn.Module | Network:
    """What an importable function gives, called without arguments; from now on it counts as named by the user.

    Its module is looked for in `folder`, by default the current one, before everywhere else. Raises UsageError for
    a module or a function that is not there, a function that fails, and one that gives something else.
    """
    module_name, _, inner = name.partition(":")
    with _looked_into(folder or Path.cwd()):
        try:
            module = import_module(module_name)
        except ModuleNotFoundError as error:
            raise UsageError(f'no network "{name}": {error}; allowed: {FORMS}') from error
        except Exception as error:
            raise UsageError(
                f"{module_name} cannot be imported: {in_one_line(error)}; --debug shows where"
            ) from error
        factory = getattr(module, inner, None)
        if not callable(factory):
            raise UsageError(f'no function "{inner}" in {module_name}{closest(inner, vars(module))}')
        try:
            made: Any = factory()
        except Exception as error:
            raise UsageError(f"{name}() failed: {in_one_line(error)}; --debug shows where") from error
    if not isinstance(made, Network | nn.Module):
        raise UsageError(f"{name} gives a {type(made).__name__}; allowed: a torch.nn.Module or a convscope.Network")
    _remember(name)
    return made


def call_named_factory(name: str, folder: str) -> nn.Module | Network:
    """What a factory gives that a run names, if this user once named it, on the command line or in Python.

    `folder` is where its module lay when the run was made; it is looked for there only if it was named there as well.
    Raises UsageError where it was not named, so that no run folder that came from elsewhere runs any code.
    """
    known = [place for named, place in _named() if named == name]
    if not known:
        raise UsageError(
            f"the run's network is made by {name}, code that was never named on this machine; if you trust it, name "
            f"it once where Python finds it: convscope layers {name}"
        )
    return call_factory(name, Path(folder if folder in known else known[-1]))


def was_named(name: str) -> bool:
    """Whether the user ever named that factory."""
    return any(name == named for named, _ in _named())


def factory_folder(name: str) -> str:
    """The folder in which a factory's module lies, once it was imported; empty where it lies in no file."""
    module_name = name.partition(":")[0]
    file = getattr(sys.modules.get(module_name), "__file__", None)
    if not file:
        return ""
    up = module_name.count(".") + (Path(file).name == "__init__.py")
    return str(Path(file).resolve().parents[up])


@contextmanager
def _looked_into(folder: Path) -> Generator[None]:
    """Within it modules are looked for in that folder first, as Python itself looks into that of a script."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with suppress(ValueError):
            sys.path.remove(str(folder))


def _place() -> Path:
    return Path(user_state_dir("convscope", appauthor=False)) / NAMED


def _named() -> list[tuple[str, str]]:
    """Every factory that was named, and its folder, the last one last; what is damaged counts as never named."""
    with suppress(OSError, ValueError, TypeError):
        return [(str(name), str(folder)) for name, folder in json.loads(_place().read_bytes())]
    return []


def _remember(name: str) -> None:
    """Put a factory last among those that were named."""
    entry = (name, factory_folder(name))
    before = _named()
    if before[-1:] == [entry]:
        return
    kept = [*(each for each in before if each != entry), entry][-MOST_NAMED:]
    with suppress(OSError):  # where it cannot be kept, it is asked for again
        _place().parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        replace_file(_place(), to_json(kept))
