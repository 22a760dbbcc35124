"""EXPORTS: what a network or a run can be written as for others, by the ending of the file's name."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from convscope.errors import UsageError

NETWORK, CURVES, CHART, ARCHIVE = "the network", "a run's curves", "a run's chart", "a run"

EXPORTS = {
    ".onnx": NETWORK,
    ".pt2": NETWORK,
    ".csv": CURVES,
    ".svg": CHART,
    ".png": CHART,
    ".tar": ARCHIVE,
}

Chart = Literal["curves", "phases", "confusion", "class-accuracy"]
"""What a chart of a run may show."""


def what_to_export(path: Path) -> str:
    """What is written into a file of that name. Raises UsageError, with the endings that there are.

    >>> what_to_export(Path("net.onnx"))
    'the network'
    """
    if path.suffix.lower() not in EXPORTS:
        known = ", ".join(f"{ending} ({what})" for ending, what in EXPORTS.items())
        raise UsageError(f"--out {path}; allowed: a name that ends in {known}")
    return EXPORTS[path.suffix.lower()]
