"""The reference's pages, written from the command line, the docstrings, the tables and the errors themselves."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from docstring_parser import DocstringStyle, parse

import convscope as cs
from convscope import errors
from convscope.cli import app
from convscope.command_line.examples import examples_of
from convscope.data import DATASETS
from convscope.loggers import LOGGERS
from convscope.methods import METHODS
from convscope.models import MODELS
from convscope.tables import Table
from convscope.training.recipe_values import flat_values
from convscope.training.recipes import RECIPES, get_recipe

WIDE = 90  # characters; longer signatures take a line for each parameter


def commands() -> str:
    """Every command with its arguments, flags and examples."""
    text = app.generate_docs(heading_level=1, max_heading_level=2)
    text = re.sub(r"## Table of Contents\n.*?(?=\n[^\s-])", "", text, flags=re.DOTALL)
    text = re.sub(r"^# .*", "# Commands", text, count=1)
    sections = re.split(r"(?m)^(?=## convscope )", text)
    names = ["", *(section.partition("\n")[0].removeprefix("## convscope ") for section in sections[1:])]
    ended = (f"{section.rstrip()}\n\n{examples_of(name)}" for name, section in zip(names, sections, strict=True))
    return "\n\n".join(ended)


def python() -> str:
    """Every public name, in the order of the flow."""
    parts = [
        "# Python",
        "These names are what `import convscope as cs` promises, in the order in which data flows. Each is imported "
        "when it is asked for, so that importing convscope does not import torch.",
    ]
    for name in cs.__all__:
        thing = getattr(cs, name)
        shown = _fields(thing) if dataclasses.is_dataclass(thing) else _signature(name, thing)
        parts += [f"## {name}", f"```python\n{shown}\n```", _told(thing)]
    return "\n\n".join(parts)


def tables() -> str:
    """What there is by name."""
    parts = ["# Methods, models, datasets, recipes", "The lists that the commands of these names print."]
    linked = {f"[{name}](../methods/{name}.md)": entry.summary for name, entry in METHODS.own.items()}
    parts += ["## Methods", _rows(("name", "what it draws"), linked.items())]
    kinds: dict[str, Any] = {"Models": MODELS, "Datasets": DATASETS}
    for heading, table in kinds.items():
        parts += [f"## {heading}", _rows(("name", "what it is"), _summaries(table))]
    parts += [
        "## Loggers",
        _rows(("name", "where it goes"), [(name, each.summary) for name, each in LOGGERS.items()]),
    ]
    parts += ["## Recipes", _rows(("name", "what it does"), _summaries(RECIPES))]
    parts += ["Every value of each, as `--set KEY=VALUE` takes it:"]
    values = {name: flat_values(get_recipe(name)) for name in RECIPES.own}
    keys = dict.fromkeys(key for recipe in values.values() for key in recipe if key not in ("name", "summary"))
    parts += [
        _rows(("", *values), [(f"`{key}`", *(_value(each.get(key)) for each in values.values())) for key in keys])
    ]
    return "\n\n".join(parts)


def exit_codes() -> str:
    """Every exit code, from the errors' classes."""
    found = [errors.ConvscopeError, *errors.ConvscopeError.__subclasses__()]
    rows = [(str(each.exit_code), f"`{each.__name__}`", _sentence(each)) for each in found]
    return "\n\n".join(
        [
            "# Exit codes",
            "Every failure is one line on standard error; `--debug` adds the traceback. From Python the same "
            "failures are these exceptions.",
            _rows(("code", "exception", "meaning"), [("0", "", "Done."), *rows]),
            "SIGTERM ends with 143 where Ctrl-C ends with 130. Code 1 is anything unforeseen.",
        ]
    )


PAGES: dict[str, Callable[[], str]] = {
    "commands": commands,
    "python": python,
    "tables": tables,
    "exit-codes": exit_codes,
}


def write_reference(folder: Path) -> None:
    """Write each page into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (folder / f"{name}.md").write_text(page() + "\n", encoding="utf-8")


def _signature(name: str, thing: Any) -> str:
    """The call, a parameter a line where it is long."""
    if inspect.isclass(thing):
        return f"class {name}({', '.join(base.__name__ for base in thing.__bases__)})"
    signature = inspect.signature(thing)
    shown: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in shown:
            shown.append("*")
        given = parameter.default
        default = "" if given is parameter.empty else f" = {getattr(given, '__name__', repr(given))}"
        shown.append(f"{parameter.name}: {parameter.annotation}{default}")
    short = f"{name}({', '.join(shown)}) -> {signature.return_annotation}"
    if len(short) <= WIDE:
        return short
    return "\n".join([f"{name}(", *(f"    {each}," for each in shown), f") -> {signature.return_annotation}"])


def _fields(thing: type) -> str:
    """A dataclass's fields as its source has them, with what their comments say."""
    lines = inspect.getsource(thing).splitlines()
    head = next(index for index, line in enumerate(lines) if line.startswith("class "))
    fields = [line for line in lines[head:] if line.startswith("class ") or re.match(r"    \w+:", line)]
    return "\n".join(fields)


def _told(thing: Any) -> str:
    """The docstring as Markdown: its paragraphs, its parameters, its example."""
    text = inspect.getdoc(thing) or ""
    prose, example = re.split(r"(?m)^(?=>>> )", text, maxsplit=1) if ">>> " in text else (text, "")
    docs = parse(prose, style=DocstringStyle.NUMPYDOC)
    parts = [docs.short_description or "", docs.long_description or ""]
    parts += ["\n".join(f"- `{each.arg_name}`: {' '.join((each.description or '').split())}" for each in docs.params)]
    parts += [f"```python\n{example.strip()}\n```" if example else ""]
    return "\n\n".join(filter(None, parts))


def _sentence(thing: type) -> str:
    """The docstring's first line."""
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def _summaries(table: Table[Any]) -> list[tuple[str, str]]:
    """Our own names and what each is."""
    return [(f"`{name}`", entry.summary) for name, entry in table.own.items()]


def _value(value: Any) -> str:
    """A recipe's value as TOML has it."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _rows(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
