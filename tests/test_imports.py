"""Imports point left: each folder imports only those of a lower rank, and none of its own rank."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "convscope"

RANKS = [
    {
        "errors",
        "types",
        "tables",
        "signatures",
        "durable",
        "paint",
        "picture_files",
        "relu_rules",
        "batched_backward",
        "thinning",
        "kept_memory",
        "ranks",
        "rank_watch",
    },
    {"data", "models", "hooks"},
    {"training", "methods"},
    {"film"},
    {"report"},
    {"web", "loggers", "exports"},
    {"command_line"},
    {"cli"},
    {"__main__"},
]


def rank_of(house: str) -> int:
    return next(rank for rank, houses in enumerate(RANKS) if house in houses)


def imported_houses(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found |= {name.split(".")[1] for name in names if name.startswith("convscope.")}
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: imports are absolute"
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_left(path: Path):
    house = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if house == "__init__":
        return  # names everything, and imports it when it is asked for
    for other in imported_houses(path):
        within_the_lowest = rank_of(house) == rank_of(other) == 0
        assert other == house or within_the_lowest or rank_of(other) < rank_of(house), f"{house} imports {other}"


def test_every_house_has_a_rank():
    houses = {path.name.removesuffix(".py") for path in SOURCE.iterdir() if path.suffix in ("", ".py")}
    assert houses - {"__init__", "__pycache__"} == set().union(*RANKS)
