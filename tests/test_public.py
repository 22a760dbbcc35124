"""The public names are there, and asking for convscope alone imports nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import convscope


@pytest.mark.parametrize("name", convscope.__all__)
def test_every_public_name_is_what_it_says(name):
    assert getattr(convscope, name).__name__ == name
    assert getattr(convscope, name).__doc__


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(convscope.__file__).read_text(encoding="utf-8"))
    (seen,) = [node for node in tree.body if isinstance(node, ast.If)]
    names = [alias.name for node in seen.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(names) == sorted(convscope.__all__)


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="no attribute 'fliters'"):
        convscope.fliters  # noqa: B018


def test_importing_convscope_is_light():
    code = "import sys, convscope; sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'matplotlib')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
