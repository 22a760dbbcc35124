"""Every block of code in the documentation does what it says: Python is executed, commands are parsed or run."""

import re
import tomllib
from pathlib import Path

import pytest
from cyclopts import CoercionError, MissingArgumentError
from torch import nn

import convscope as cs
from convscope.cli import app
from convscope.training.recipe_values import recipe_from_mapping
from convscope.training.recipes import get_recipe, override_recipe
from tests.docs.blocks import PAGES, ROOT, blocks, called, commands, prose
from tests.docs.reader import call

EXTENDING = ROOT / "docs" / "extending.md"  # its commands are those of a package that test_extending installs
READERS = [page for page in PAGES if page != EXTENDING]


def parse(arguments: list[str]) -> None:
    app.parse_args(arguments, exit_on_error=False, print_error=False)


def test_a_wrong_flag_is_found():
    with pytest.raises(Exception, match="--leyer"):
        parse(commands("convscope maps latest --leyer conv1")[0])


@pytest.mark.parametrize("page", READERS, ids=called)
def test_commands_in_blocks_exist_with_their_flags(page: Path):
    for block in blocks(page):
        if block.language in ("", "shell", "bash"):
            for arguments in commands(block.text):
                parse(arguments)


@pytest.mark.parametrize("page", READERS, ids=called)
def test_commands_in_sentences_exist_with_their_flags(page: Path):
    for span in re.findall(r"`(convscope [^`]+)`", prose(page).replace("\n", " ")):
        for arguments in commands(span):
            try:
                parse(arguments)
            except MissingArgumentError:
                pass  # only the command is named
            except CoercionError:
                assert any(word.isupper() for word in arguments), span  # N for a number


def flags() -> set[str]:
    named = [name for name in app if not name.startswith("-")]
    collections = [app[name].assemble_argument_collection() for name in named]
    return {flag for arguments in collections for argument in arguments for flag in argument.names}


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name in ("guides", "methods")], ids=called)
def test_flags_in_sentences_exist(page: Path):
    named = set(re.findall(r"`(--[a-z][a-z-]*)", prose(page)))
    assert named <= flags() | {"--debug"}


@pytest.mark.parametrize("page", PAGES, ids=called)
def test_recipes_are_recipes(page: Path):
    for block in blocks(page):
        if block.language == "toml" and "[[phases]]" in block.text:
            recipe_from_mapping({"name": "mine", "summary": "", **tomllib.loads(block.text)})


def shortened(name: str) -> cs.Recipe:
    return override_recipe(get_recipe(name), model="resnet8", precision="fp32", steps=2)


WITH_PYTHON = [page for page in READERS if any(block.language == "python" or block.run for block in blocks(page))]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=called)
def test_python_is_executed_and_marked_commands_are_run(page: Path, desk: Path, monkeypatch, capsys):
    names: dict[str, object] = {"__name__": "reader"}
    if page.name == "README.md":
        monkeypatch.setattr(cs, "get_recipe", shortened)
        layers = [nn.Conv2d(3, 8, 3, padding=1) if place % 2 == 0 else nn.ReLU() for place in range(1)]
        layers += [each for _ in range(6) for each in (nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())]
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
        names["my_model"] = nn.Sequential()
        names["my_model"].add_module("features", nn.Sequential(*layers))
        names["my_model"].add_module("head", head)
    for block in blocks(page):
        if block.language == "python" and block.file:
            (desk / block.file).write_text(block.text)
        elif block.language == "python":
            exec(compile(block.text, f"{called(page)}:{block.line}", "exec"), names)
        elif block.run:
            for arguments in commands(block.text):
                call(*arguments)
                assert capsys.readouterr().out, arguments
