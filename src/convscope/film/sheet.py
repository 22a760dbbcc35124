"""One image of an animation: pictures beside each other, a line of words above them, the training's time below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from convscope.paint import GAP, INK, PAPER, font_path, nearly_square, paint
from convscope.types import Picture

PANEL = 276  # pixels of a panel's width, or as near as whole pixels come
MARGIN = 8
WORDS, HEADING, TIME = 30, 20, 34  # heights
TEXT, SMALL = 15, 11  # sizes of the letters
QUIET = (150, 153, 163)


class Panel(NamedTuple):
    """A picture with the words above it."""

    heading: str
    picture: Picture


class Span(NamedTuple):
    """A phase on the time line, from and to shares of the training."""

    first: float
    last: float
    name: str


def draw_sheet(
    panels: Sequence[Panel], words: str, *, now: float, spans: Sequence[Span], taken: Sequence[float]
) -> np.ndarray:
    """The pixels (H, W, 3) uint8 of the panels, with even sides, as films need them.

    `now` and `taken`, when this and all frames were taken, are shares of the training in [0, 1]. The time line is in
    steps, each span named below it where there is room.

    >>> grey = Picture("a", "A", np.zeros((4, 1, 5, 5)), np.tile([-1, 1], (4, 1)), "diverging", (), "")
    >>> draw_sheet([Panel("a", grey)] * 2, "step 3", now=0.5, spans=[Span(0, 1, "SGD")], taken=[0, 1]).shape
    (356, 568, 3)
    """
    painted = [paint(each.picture, scale=_enlargement(each.picture)) for each in panels]
    places, width, height = _places([(pixels.shape[0], pixels.shape[1]) for pixels in painted])
    image = Image.new("RGB", (width + width % 2, height + height % 2), PAPER)
    draw = ImageDraw.Draw(image)
    text, small = (ImageFont.truetype(font_path(), size) for size in (TEXT, SMALL))
    draw.text((MARGIN + GAP, WORDS / 2 + 2), words, INK, text, "lm")
    for panel, pixels, (top, left) in zip(panels, painted, places, strict=True):
        draw.text((left + GAP, top + HEADING / 2), panel.heading, INK, small, "lm")
        image.paste(Image.fromarray(pixels), (left, top + HEADING))
    start, length, y = MARGIN + GAP, width - 2 * (MARGIN + GAP), height - TIME + 12

    def place(share: float) -> float:
        return start + share * length

    draw.line((start, y, start + length, y), QUIET, 1)
    for share in taken:
        draw.line((place(share), y - 2, place(share), y + 2), QUIET, 1)
    draw.line((start, y, place(now), y), INK, 3)
    draw.ellipse((place(now) - 4, y - 4, place(now) + 4, y + 4), INK)
    for span in spans:
        if span.first > 0:
            draw.line((place(span.first), y - 7, place(span.first), y + 16), INK, 1)
        if small.getlength(span.name) < (span.last - span.first) * length:
            draw.text(((place(span.first) + place(span.last)) / 2, y + 13), span.name, INK, small, "mm")
    return np.asarray(image)


def _places(sizes: Sequence[tuple[int, int]]) -> tuple[list[tuple[int, int]], int, int]:
    """Where panels of these heights and widths stand, (top, left) each, and the sheet's width and height.

    One stands below another where the tallest leaves room for both, else to its right.

    >>> _places([(100, 50), (100, 50), (220, 60)])
    ([(30, 8), (150, 8), (30, 66)], 134, 304)
    """
    tallest = HEADING + max(height for height, _ in sizes)
    places: list[tuple[int, int]] = []
    top, left, widest = 0, MARGIN, 0
    for height, width in sizes:
        if top + HEADING + height > tallest:
            top, left, widest = 0, left + widest + MARGIN, 0
        places.append((WORDS + top, left))
        top += HEADING + height
        widest = max(widest, width)
    return places, left + widest + MARGIN, WORDS + tallest + TIME


def _enlargement(picture: Picture) -> int:
    """The whole number that makes a picture about as wide as a panel."""
    count, width = len(picture.values), picture.values.shape[3]
    columns = min(picture.columns or nearly_square(count), count)
    return max(1, round(((PANEL - GAP) / columns - GAP) / width))
