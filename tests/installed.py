"""A package as pip leaves it in a folder: its name, and the entry points that it declares."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def install(folder: Path, project: Mapping[str, Any]) -> None:
    """Write what pip writes beside a package of that [project] table."""
    told = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    told.mkdir()
    names = {"Name": "name", "Version": "version", "Summary": "description"}
    lines = [f"{key}: {project[value]}" for key, value in names.items() if value in project]
    (told / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", *lines, ""]))
    groups = [
        "\n".join([f"[{group}]", *(f"{name} = {target}" for name, target in points.items()), ""])
        for group, points in project["entry-points"].items()
    ]
    (told / "entry_points.txt").write_text("\n".join(groups))
