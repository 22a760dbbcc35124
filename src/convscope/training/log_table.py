"""A run's curves as a table: every training and evaluation event of its log as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import BinaryIO

from convscope.training.log_parts import MEASURED, read_events_of, whole_lines

NUMBERS = ("epoch", "phase", *MEASURED["train"], *MEASURED["eval"])


def write_csv(log: BinaryIO) -> Iterator[str]:
    """All "train" and "eval" events of a log as CSV, a part at a time; closes the log."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("kind", "step", "time", *NUMBERS))
    place = 0
    with log:
        while lines := whole_lines(log.fileno(), place):
            place += len(lines)
            for _, event in read_events_of(lines):
                if event["kind"] in MEASURED:
                    values = (event["data"].get(name) for name in NUMBERS)
                    numbers = (value if isinstance(value, int | float) else None for value in values)
                    writer.writerow((event["kind"], event["step"], event["time"], *numbers))
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()
