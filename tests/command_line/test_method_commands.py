"""A method's command is its signature: the needs, a flag for each knob with the docstring's line, nothing more."""

from __future__ import annotations

import inspect
from typing import get_args

import pytest

from convscope.command_line import method_commands
from convscope.command_line.method_commands import GIVEN, method_command, parse_channels
from convscope.errors import UsageError
from convscope.methods import METHODS


@pytest.mark.parametrize("name", METHODS)
def test_every_need_and_knob_is_a_flag_with_its_help(name):
    method = inspect.signature(METHODS[name].load()).parameters
    command = inspect.signature(method_command(name)).parameters
    shared = {"out", "subject", "data", "output"} | ({"budget"} if name == "maximize" else set())
    assert set(command) - shared == set(method) - set(GIVEN)
    for each in method.values():
        if each.kind is each.KEYWORD_ONLY and each.name not in GIVEN:
            assert command[each.name].default == each.default
            (_, described) = get_args(command[each.name].annotation)
            assert described.help, f"{name}: no line for {each.name} in the docstring's Parameters"
    assert ("data" in command) == ("dataset" in method)


def test_a_knob_that_takes_a_tensor_in_python_takes_words_as_a_flag():
    annotation = inspect.signature(method_command("maximize")).parameters["objective"].annotation
    assert "Tensor" not in str(annotation)
    assert "position" in str(annotation)


def test_only_methods_have_commands():
    with pytest.raises(AttributeError, match="no attribute 'paint_it'"):
        method_commands.__getattr__("paint_it")


@pytest.mark.parametrize(
    ("text", "channels"),
    [(None, None), ("7", 7), ("7,3", [7, 3]), ("2-4,9", [2, 3, 4, 9]), ("all", "all"), ("cat", "cat"), ("5-5", [5])],
)
def test_channels_are_read(text, channels):
    assert parse_channels(text) == channels


@pytest.mark.parametrize("text", ["4-2", "1,,2", "-3", "1-2-3", ","])
def test_channels_that_cannot_be_read_are_told(text):
    with pytest.raises(UsageError) as caught:
        parse_channels(text)
    assert str(caught.value) == f'channels "{text}"; allowed: a number, or numbers and ranges such as 0-15,20'
