"""What is read of a function's source is what importing it would say, and nothing is imported for it."""

from __future__ import annotations

import inspect
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from convscope.command_line.method_commands import GIVEN, _flag_type
from convscope.errors import UsageError
from convscope.methods import METHODS
from convscope.signatures import Unimported, read_signature
from convscope.tables import Entry


@pytest.mark.parametrize("name", METHODS.own)
def test_a_methods_source_says_what_its_function_says(name):
    function = METHODS[name].load()
    found, told = read_signature(METHODS[name], without=GIVEN)
    true = [each for each in inspect.signature(function, eval_str=True).parameters.values() if each.name not in GIVEN]
    assert [(each.name, each.kind, each.default) for each in found] == [
        (each.name, each.kind, each.default) for each in true
    ]
    knobs = [pair for pair in zip(found, true, strict=True) if pair[0].kind is pair[0].KEYWORD_ONLY]
    assert [_flag_type(ours.annotation) for ours, _ in knobs] == [_flag_type(truth.annotation) for _, truth in knobs]
    assert told == inspect.getdoc(function)


def test_no_method_needs_torch_for_its_help_and_flags():
    code = (
        "import sys\nfrom convscope.command_line.method_commands import method_command\n"
        "from convscope.methods import METHODS\n"
        "for name in METHODS.own: method_command(name)\nsys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module of another package, and says where its function is."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "otherpackage").mkdir()
    (tmp_path / "otherpackage" / "__init__.py").touch()

    def write(name: str, source: str) -> Entry:
        (tmp_path / "otherpackage" / f"{name}.py").write_text(source)
        return Entry(f"otherpackage.{name}:draw", "", "other 1.0")

    yield write
    for name in [name for name in sys.modules if name.partition(".")[0] == "otherpackage"]:
        del sys.modules[name]


HEAD = "import nothing_of_this_name\n"


def test_names_are_followed_through_the_packages_modules(module):
    module("words", HEAD + "from typing import Literal\nWord = Literal['a', 'b']\nMANY = 7\n")
    entry = module(
        "plain",
        HEAD + "from otherpackage.words import MANY as COUNT, Word\nfrom pathlib import Path as Place\n"
        "def draw(network, layer=None, *, word: Word = 'a', count: int = COUNT, places: 'list[Place]' = ()):\n"
        "    '''Draws.'''\n",
    )
    found, told = read_signature(entry)
    assert {each.name: each.default for each in found} == {
        "network": inspect.Parameter.empty,
        "layer": None,
        "word": "a",
        "count": 7,
        "places": (),
    }
    assert typing.get_args(found[2].annotation) == ("a", "b")
    assert found[4].annotation == list[Path]
    assert _flag_type(Path | Unimported | None) == Path | None
    assert told == "Draws."
    assert "otherpackage.words" not in sys.modules


def test_names_are_followed_by_their_place_in_the_package(module):
    module("typing", HEAD + "Word = int\n")
    module("kinds", HEAD + "from .typing import Word\n")
    module("beside", HEAD + "from .kinds import Word\ndef paint(network, *, word: Word = 3): pass\n")
    found, _ = read_signature(module("before", "from .beside import paint as draw\n"))
    assert [(each.name, each.annotation) for each in found[1:]] == [("word", int)]
    assert "otherpackage.before" not in sys.modules


def test_a_function_from_elsewhere_in_the_package_is_found(module):
    module("inner", HEAD + "def paint(network, *, size: int = 3): pass\n")
    found, told = read_signature(module("outer", "from otherpackage.inner import paint as draw\n"))
    assert [each.name for each in found] == ["network", "size"]
    assert told == ""


def test_types_of_other_packages_are_not_imported(module):
    found, _ = read_signature(module("far", HEAD + "def draw(*, x: nothing_of_this_name.T | None = None): pass\n"))
    assert typing.get_args(found[0].annotation) == (Unimported, type(None))


@pytest.mark.parametrize(
    "source",
    [
        "from functools import cache\n@cache\ndef draw(network, *, size: int = 3): '''Draws.'''\n",
        "def make():\n    def draw(network, *, size: int = 3): '''Draws.'''\n    return draw\ndraw = make()\n",
        "import math\nimport otherpackage\ndef three(): return 3\nTHREE = three()\n"
        "def draw(network, *, size: int = THREE): '''Draws.'''\n",
    ],
    ids=["decorated", "made", "computed"],
)
def test_what_the_source_does_not_say_plainly_is_imported(module, source):
    found, told = read_signature(module("odd", source))
    assert [(each.name, each.default) for each in found] == [("network", inspect.Parameter.empty), ("size", 3)]
    assert told == "Draws."
    assert "otherpackage.odd" in sys.modules


def test_a_class_among_the_types_is_imported(module):
    source = "from enum import Enum\nclass Way(Enum):\n    ONE = 1\ndef draw(*, way: Way = Way.ONE): pass\n"
    [way], _ = read_signature(module("ways", source))
    assert way.default.name == "ONE"
    assert issubclass(way.annotation, type(way.default))


def test_another_packages_entry_that_is_not_there_is_named():
    with pytest.raises(
        UsageError, match=r"otherpackage\.gone:draw, which the package other 1\.0 adds, does not load"
    ):
        read_signature(Entry("otherpackage.gone:draw", "", "other 1.0"))
