"""No file of the package opens a pickle, other than weights by torch.load(weights_only=True)."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "convscope"
FORBIDDEN = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "pandas"}
LOADERS = {"torch", "numpy", "np"}
"""Modules whose `load` opens pickles unless it is told not to."""


def offences(tree: ast.AST) -> list[str]:
    """Each import of what unpickles, and each load that may."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [f"{node.lineno}: imports {name}" for name in names if name.partition(".")[0] in FORBIDDEN]
            if isinstance(node, ast.ImportFrom) and node.module in {"torch", "numpy", "torch.serialization"}:
                found += [f"{node.lineno}: imports load" for alias in node.names if alias.name == "load"]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of, name = node.func.value, node.func.attr
            given = {each.arg: each.value.value for each in node.keywords if isinstance(each.value, ast.Constant)}
            if name == "load" and isinstance(of, ast.Name) and of.id in LOADERS:
                safe = {"weights_only": True} if of.id == "torch" else {"allow_pickle": False}
                if not safe.items() <= given.items():
                    found.append(f"{node.lineno}: {of.id}.load without {safe}")
            if name == "add_safe_globals" or given.get("allow_pickle") or given.get("weights_only") is False:
                found.append(f"{node.lineno}: {name} that unpickles")
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_file_opens_a_pickle(path):
    assert offences(ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from pickle import load", "import joblib.numpy_pickle", "from torch import load",
        "torch.load(path)", "torch.load(path, weights_only=False)", "torch.load(path, weights_only=safe)",
        "np.load(path)", "numpy.load(path, allow_pickle=True)", "torch.jit.read(path, weights_only=False)",
        "torch.serialization.add_safe_globals([Net])", "import pandas",
    ],
)  # fmt: skip
def test_each_way_to_open_one_is_seen(code):
    assert offences(ast.parse(code))


def test_the_one_place_that_may_is_not_seen_as_such():
    assert offences(ast.parse("torch.load(f, weights_only=True); np.load(f, allow_pickle=False)")) == []
