"""Tables take in what other packages add, lazily; a broken package is one clear line, and harms nothing else."""

import sys

import pytest

from convscope.errors import UsageError
from convscope.tables import Entry, Table, look_up
from convscope.training import recipes
from convscope.training.recipes import get_recipe
from tests.installed import install

OWN = {"filters": Entry("convscope.methods.filters:filters", "ours")}


@pytest.fixture
def added(tmp_path, monkeypatch):
    """A package is installed that adds a method, takes one of our names, and has two that do not load."""
    (tmp_path / "theirs.py").write_text("def spectra(): return 1\n\nquick = {}\n")
    points = {"spectra": "theirs:spectra", "filters": "theirs:spectra", "gone": "nowhere:it", "lost": "theirs:it"}
    groups = {"convscope.methods": points, "convscope.recipes": {"quick": "theirs:quick"}}
    install(tmp_path, {"name": "their-things", "version": "2.0", "description": "spectra", "entry-points": groups})
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("theirs", None)


def test_ours_stand_first_and_stay_ours(added):
    table = Table("convscope.methods", OWN)
    assert list(table) == ["filters", "gone", "lost", "spectra"]
    assert table["filters"] == OWN["filters"]
    assert list(table.own) == ["filters"]


def test_a_list_imports_nothing_of_the_package(added):
    table = Table("convscope.methods", OWN)
    assert table["spectra"].summary == "spectra (their-things 2.0)"
    assert "theirs" not in sys.modules
    assert table["spectra"].load()() == 1


@pytest.mark.parametrize(("name", "why"), [("gone", "No module named 'nowhere'"), ("lost", "no attribute 'it'")])
def test_one_that_does_not_load_is_named_with_its_package(added, name, why):
    table = Table("convscope.methods", OWN)
    with pytest.raises(UsageError, match=rf"the package their-things adds, does not load: .*{why}.*uninstall"):
        look_up(table, name, kind="method").load()


def test_our_own_faults_are_not_blamed_on_a_package():
    with pytest.raises(ModuleNotFoundError):
        Entry("convscope.nowhere:it", "a mistake of ours").load()


def test_what_is_no_recipe_is_refused(added, monkeypatch):
    monkeypatch.setattr(recipes, "RECIPES", Table("convscope.recipes", recipes.RECIPES.own))
    with pytest.raises(UsageError, match='the recipe "quick" of another package is a dict, no Recipe'):
        get_recipe("quick")


def test_a_test_may_add_and_take_away():
    table = Table("convscope.methods", OWN)
    table["planted"] = Entry("convscope.errors:closest", "for a moment")
    assert "planted" in table
    del table["planted"]
    assert list(table) == list(Table("convscope.methods", OWN))
    assert "planted" not in OWN
