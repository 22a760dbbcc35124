"""The help of each command says what it does, explains every flag, and ends with examples that are right."""

from __future__ import annotations

import re
import shlex

import pytest

from convscope.cli import app, main
from convscope.command_line.examples import EXAMPLES
from convscope.methods import METHODS

COMMANDS = [name for name in app if not name.startswith("-")]
ADDED = set(METHODS) - set(METHODS.own)  # by packages that happen to be installed


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - ADDED))
def test_help_ends_with_examples_that_parse(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert not end.value.code
    shown = capsys.readouterr().out
    head, _, tail = shown.partition("Examples")
    assert "Usage: convscope " + command in head
    for typed, what in EXAMPLES[command].items():
        assert " ".join(typed.split()) in " ".join(tail.split()), "not whole in the help"
        assert " ".join(what.split()) in " ".join(tail.split())
        program, words = _called(typed)
        assert words[0] == command
        app.parse_args(words, exit_on_error=False, print_error=False)
        assert program in ("convscope", "torchrun")


def _called(typed: str) -> tuple[str, list[str]]:
    """The program, and what convscope is given."""
    words = shlex.split(typed.partition(">")[0])
    return words[0], words[words.index("convscope") + 1 :]


def test_no_command_has_no_examples_and_none_is_of_a_command_that_is_not():
    assert set(EXAMPLES) == {"", *COMMANDS} - ADDED


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - ADDED))
def test_every_argument_and_flag_is_explained(command):
    for argument in app[command].assemble_argument_collection(parse_docstring=True):
        if argument.show:
            assert argument.parameter.help, f"{command}: nothing is said of {argument.name}"


def test_the_list_of_commands_fits_on_a_screen_and_says_what_each_does(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    for command in COMMANDS:
        assert re.search(rf"\b{command}\s+\w+", shown), command
    assert "convscope run digits" in shown
    assert len(shown.splitlines()) < 60
