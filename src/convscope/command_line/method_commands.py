"""A command for each method, made from its signature when it is asked for: its needs and knobs become flags."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from docstring_parser import DocstringStyle, parse

from convscope.command_line.console import print_results, show_work
from convscope.command_line.flags import (
    DEFAULT_DATA,
    DEFAULT_OUTPUT,
    DEFAULT_SUBJECT,
    DataFlags,
    NetworkName,
    Output,
    SubjectFlags,
)
from convscope.command_line.jobs import parse_duration
from convscope.command_line.subject import Subject, keep_picture, open_subject
from convscope.errors import Interrupted, UsageError
from convscope.methods import METHODS
from convscope.picture_files import check_picture_name
from convscope.signatures import read_signature
from convscope.tables import look_up

if TYPE_CHECKING:
    from convscope.types import Dataset

WITH_BUDGET = ("budget", "layer", "dataset", "seed", "subject", "data", "output")
"""The flags of maximize that go with --budget."""

GIVEN = ("progress", "store", "ranks")
"""Keyword parameters that no flag sets: the terminal's progress, the run's folder, and the processes of torchrun."""

HELP = {
    "layer": "The layer (see: convscope layers), or conv1 ... conv5; otherwise the first convolution, or the method's"
    " own choice.",
    "channel": "One channel, several (0-15 or 1,5,9), all, or a class of the head; otherwise the method's choice.",
    "image": "A test image by its number, or an image file.",
    "dataset": "The images to look through (see: convscope datasets); otherwise those that the run was trained on.",
    "budget": "Instead of one picture, every channel of every layer (or of --layer) for about this long, such as 10m;"
    " called again, it goes on, at first with what is missing and then in finer steps.",
    "out": "The file to write: .png, or its numbers as .npz, .npy, .safetensors or .json; otherwise a .png in the"
    " run's pictures/, or in pictures/.",
}


def __getattr__(name: str) -> Callable[..., None]:
    """The command of that method: what cyclopts imports when it is called for."""
    if name in METHODS:
        return method_command(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def method_command(name: str) -> Callable[..., None]:
    """A function that draws the method's picture, with a signature and a docstring that cyclopts turns into flags."""
    parameters, written = read_signature(look_up(METHODS, name, kind="method"), without=("network", *GIVEN))
    needs = [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
    knobs = [each for each in parameters if each.kind is each.KEYWORD_ONLY]
    docs = parse(written, style=DocstringStyle.NUMPYDOC)
    told = {each.arg_name: " ".join((each.description or "").split()) for each in docs.params}

    def draw(network: str, /, **values: Any) -> None:
        _draw(name, network, needs, [knob.name for knob in knobs], values)

    fields: dict[str, tuple[Any, Any]] = {}
    for need in needs:
        default = "0" if need == "image" else None
        fields[need] = (Annotated[str | None, Parameter(help=HELP[need])], default)
    for knob in knobs:
        kind = Annotated[_flag_type(knob.annotation), Parameter(help=told.get(knob.name))]
        fields[knob.name] = (kind, knob.default)
    if name == "maximize":
        fields["budget"] = (Annotated[str | None, Parameter(help=HELP["budget"])], None)
    fields["out"] = (Annotated[Path | None, Parameter(name=["--out", "-o"], help=HELP["out"])], None)
    fields["subject"] = (SubjectFlags, DEFAULT_SUBJECT)
    if "dataset" in needs:
        fields["data"] = (DataFlags, DEFAULT_DATA)
    fields["output"] = (Output, DEFAULT_OUTPUT)
    draw.__signature__ = inspect.Signature(  # pyright: ignore[reportFunctionMemberAccess]
        [
            inspect.Parameter("network", inspect.Parameter.POSITIONAL_ONLY, annotation=NetworkName),
            *(
                inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
                for key, (kind, default) in fields.items()
            ),
        ]
    )
    draw.__annotations__ = {
        "network": NetworkName,
        **{key: kind for key, (kind, _) in fields.items()},
        "return": None,
    }
    draw.__doc__ = docs.short_description
    draw.__name__ = name
    return draw


def _flag_type(annotation: Any) -> Any:
    """A knob's type as a flag: tensors, which only Python can give, left out of a union."""
    members = typing.get_args(annotation)
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return annotation
    plain = [member for member in members if member.__module__.partition(".")[0] in ("builtins", "pathlib", "typing")]
    return reduce(or_, plain)


def _draw(name: str, place: str, needs: list[str], knobs: list[str], values: dict[str, Any]) -> None:
    """Open the network, fill the method's needs, draw, and save."""
    method = METHODS[name].load()
    from convscope.ranks import join_ranks

    output: Output = values.get("output", DEFAULT_OUTPUT)
    out: Path | None = values.get("out")
    if out:  # told before anything is drawn
        check_picture_name(out)
    subject = open_subject(place, values.get("subject", DEFAULT_SUBJECT))
    if values.get("budget"):
        if unused := [f"--{key.replace('_', '-')}" for key in values if key not in WITH_BUDGET]:
            raise UsageError(f"--budget draws every channel in its own way; leave out {', '.join(unused)}")
        dataset = subject.dataset(values.get("dataset"), values.get("data", DEFAULT_DATA), output)
        _maximize_all(
            subject, dataset, values["budget"], layer=values.get("layer"), seed=values.get("seed", 0), output=output
        )
        return
    given: dict[str, Any] = {knob: values[knob] for knob in knobs if knob in values}
    given |= {need: _need(need, method, subject, values, output) for need in needs}
    keywords = inspect.signature(method).parameters
    given |= {"store": subject.path} if "store" in keywords and subject.path else {}
    with join_ranks() as ranks:
        if not ranks.alone and "ranks" not in keywords:
            raise UsageError(f"{name} is drawn by one process; several can share top-images")
        with show_work(quiet=output.quiet or not ranks.leads) as progress:
            given |= {key: value for key, value in (("progress", progress), ("ranks", ranks)) if key in keywords}
            picture = method(subject.network, **given)
    if not ranks.leads:
        return
    if "image" in needs:
        picture = replace(picture, name=f"{picture.name}-image-{Path(values.get('image', '0')).stem}")
    path = keep_picture(subject, picture, out)
    print_results({"picture": str(path), **picture.numbers}, as_json=output.json)
    if picture.numbers.get("interrupted"):
        raise Interrupted(f"stopped; what was drawn until then is {path}")


def _need(need: str, method: Callable[..., Any], subject: Subject, values: dict[str, Any], output: Output) -> Any:
    """What one of the method's needs is filled with."""
    value = values.get(need)
    if need == "image":
        return subject.image(value or "0", output)
    if need == "dataset":
        return subject.dataset(value, values.get("data", DEFAULT_DATA), output)
    if need == "channel":
        return parse_channels(value)
    required = inspect.signature(method).parameters[need].default is inspect.Parameter.empty
    return subject.first_layer() if value is None and required else value


def _maximize_all(
    subject: Subject, dataset: Dataset | None, budget: str, *, layer: str | None, seed: int, output: Output
) -> None:
    """Draw every channel for as long as the budget says, and a picture of each layer that any is drawn of."""
    from convscope.methods.ascents.maximize_all import drawn_picture, maximize_within

    store, seconds = subject.path or Path(), parse_duration(budget)
    with show_work(quiet=output.quiet) as progress:
        drawn = maximize_within(
            subject.network,
            store,
            dataset,
            budget=seconds,
            layers=[layer] if layer else None,
            seed=seed,
            progress=progress,
        )
    pictures = [
        drawn_picture(subject.network, store, name, None, dataset, seed=seed)
        for name, steps in drawn.items()
        if any(steps)
    ]
    results: dict[str, Any] = {"pictures": [str(keep_picture(subject, picture, None)) for picture in pictures]}
    print_results(
        results | {f"steps of {name}": _spread(steps) for name, steps in drawn.items()}, as_json=output.json
    )


def _spread(steps: list[int]) -> str:
    """How many channels are drawn in how many steps, the finest first.

    >>> _spread([64, 16, 16, 0])
    '64 for 1, 16 for 2, 0 for 1'
    """
    return ", ".join(f"{count} for {steps.count(count)}" for count in sorted(set(steps), reverse=True))


def parse_channels(text: str | None) -> int | str | list[int] | None:
    """The channels that a flag names: a number, numbers and ranges, or words left to the method.

    >>> parse_channels("3"), parse_channels("0-2,7"), parse_channels("all"), parse_channels(None)
    (3, [0, 1, 2, 7], 'all', None)
    """
    if text is None:
        return None
    if text.isdecimal():
        return int(text)
    if not set(text) <= set("0123456789,-"):
        return text
    chosen: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise UsageError(f'channels "{text}"; allowed: a number, or numbers and ranges such as 0-15,20')
        chosen += range(int(first), int(last or first) + 1)
    return chosen
