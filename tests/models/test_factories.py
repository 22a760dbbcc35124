"""module:function: someone's own code, called where its user named it and never because a file does."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

import pytest
from torch import nn

from convscope.errors import UsageError
from convscope.models import factories
from convscope.models.factories import call_factory, call_named_factory, factory_folder, was_named


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty list of names, and a module in the current folder that counts how often it is imported."""
    monkeypatch.setattr(factories, "user_state_dir", lambda *_, **__: str(tmp_path / "state"))
    (tmp_path / "counted.py").write_text(
        textwrap.dedent(
            """
            import sys
            from torch import nn

            sys.imported_how_often = getattr(sys, "imported_how_often", 0) + 1

            def make():
                return nn.Conv2d(3, 4, 3)
            """
        )
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "imported_how_often", 0, raising=False)
    yield tmp_path
    sys.modules.pop("counted", None)


def test_what_was_named_may_be_called_by_a_run(place):
    with pytest.raises(UsageError, match="made by counted:make, code that was never named on this machine"):
        call_named_factory("counted:make", str(place))
    assert sys.imported_how_often == 0
    assert not was_named("counted:make")
    assert isinstance(call_factory("counted:make"), nn.Conv2d)
    assert was_named("counted:make")
    assert isinstance(call_named_factory("counted:make", str(place)), nn.Conv2d)
    assert sys.imported_how_often == 1
    assert json.loads((place / "state" / factories.NAMED).read_text()) == [["counted:make", str(place)]]


def test_a_run_does_not_choose_the_folder(place, monkeypatch):
    """The code of that name that lies beside a run from elsewhere is not what was named."""
    call_factory("counted:make")
    sys.modules.pop("counted")
    theirs = place / "theirs"
    theirs.mkdir()
    (theirs / "counted.py").write_text("raise SystemExit('code of a stranger')")
    monkeypatch.chdir(theirs)
    assert isinstance(call_named_factory("counted:make", str(theirs)), nn.Conv2d)
    assert Path(sys.modules["counted"].__file__).parent == place


@pytest.mark.parametrize("content", [b"", b"{", b"[3]", b'{"a": 1}', b"\xff"])
def test_a_damaged_list_names_nothing(place, content):
    (place / "state").mkdir()
    (place / "state" / factories.NAMED).write_bytes(content)
    assert not was_named("counted:make")
    call_factory("counted:make")
    assert was_named("counted:make")


def test_the_folder_is_that_from_which_the_module_is_imported(place):
    (place / "package" / "inner").mkdir(parents=True)
    for path in ("package/__init__.py", "package/inner/__init__.py"):
        (place / path).write_text("from torch import nn\ndef make():\n    return nn.ReLU()\n")
    for module in ("package", "package.inner"):
        call_factory(f"{module}:make")
        assert factory_folder(f"{module}:make") == str(place)
    assert factory_folder("sys:exit") == ""
    for module in ("package", "package.inner"):
        sys.modules.pop(module)


def test_a_module_that_fails_is_one_line(place):
    (place / "broken_module.py").write_text("import torch\nraise ValueError('two\\nlines')\n")
    with pytest.raises(UsageError, match="broken_module cannot be imported: ValueError: two lines; --debug shows"):
        call_factory("broken_module:make")
    assert not was_named("broken_module:make")
