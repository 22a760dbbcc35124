"""A figure that was measured, against what is wanted of it."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from convscope.errors import in_one_line

FIGURES_HEADER = "| what | got | wanted | met | note |\n| --- | --- | --- | --- | --- |"


@dataclass(frozen=True)
class Figure:
    """Something that was measured once or several times; without values, why not stands in the note.

    >>> Figure("start", (0.21, 0.19, 0.2), "s", wanted=0.3, note="idle").markdown()
    '| start | 0.2 s (0.19 to 0.21) | at most 0.3 s | yes | idle |'
    """

    what: str
    values: tuple[float, ...]
    unit: str = ""
    wanted: float | None = None  # the most that it may be
    least: bool = False  # the least instead
    note: str = ""

    @property
    def value(self) -> float | None:
        """The median."""
        return statistics.median(self.values) if self.values else None

    @property
    def met(self) -> bool | None:
        """Whether it is as wanted; None where nothing is wanted or nothing was measured."""
        if self.value is None or self.wanted is None:
            return None
        return self.value >= self.wanted if self.least else self.value <= self.wanted

    def markdown(self) -> str:
        """One row of the table that `FIGURES_HEADER` begins."""
        wanted = "" if self.wanted is None else f"at {'least' if self.least else 'most'} {self._number(self.wanted)}"
        return f"| {self.what} | {self._got()} | {wanted} | {tell_met(self.met)} | {self.note} |"

    def _got(self) -> str:
        if self.value is None:
            return "not measured"
        spread = f" ({min(self.values):.3g} to {max(self.values):.3g})" if len(self.values) > 1 else ""
        return self._number(self.value) + spread

    def _number(self, value: float) -> str:
        digits = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
        return f"{digits} {self.unit}".strip()


def attempt(what: str, measure: Callable[[], list[Figure]]) -> list[Figure]:
    """What it measures, or one figure that tells why not, so that the rest is measured all the same."""
    try:
        return measure()
    except (Exception, SystemExit) as error:
        return [not_measured(what, error)]


def not_measured(what: str, error: BaseException) -> Figure:
    """The figure that an error stands in the place of.

    >>> not_measured("start", ValueError("no | here")).markdown()
    '| start | not measured |  |  | ValueError: no / here |'
    """
    return Figure(what, (), note=in_one_line(error).replace("|", "/"))


def tell_met(met: bool | None) -> str:
    """Whether what is wanted was got, in a table's cell."""
    return "" if met is None else "yes" if met else "no"
