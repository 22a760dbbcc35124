"""Keeps a one-file page small enough to be sent: its largest pictures are packed tighter, in the page alone."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

from PIL import Image

QUALITY = 85
CLEARLY = 0.9
NARROWEST = 480  # pixels; a picture is not made smaller than this


def fit(shown: Sequence[dict[str, Any]], room: int) -> int:
    """Change what stands in the page for the largest pictures until all take at most `room` bytes; how many changed.

    Each in `shown` has "src", an address that holds a PNG, and its "width" and "height" in pixels. Where nothing can
    be made smaller any more, more than `room` is left.
    """
    changed: set[int] = set()
    left = [place for place, each in enumerate(shown) if each["src"].startswith("data:image/png")]
    while left and sum(len(each["src"]) for each in shown) > room:
        largest = max(left, key=lambda place: len(shown[place]["src"]))
        if _pack(shown[largest]):
            changed.add(largest)
        else:
            left.remove(largest)
    return len(changed)


def _pack(shown: dict[str, Any]) -> bool:
    """Put a lossy file, of its size or a part of it, in the picture's place; whether one is clearly smaller."""
    with Image.open(io.BytesIO(base64.b64decode(shown["src"].partition(",")[2]))) as image:
        whole = image.convert("RGB")
    for factor in (1, 2, 4, 8):
        if factor > 1 and whole.width // factor < NARROWEST:
            return False
        file = io.BytesIO()
        packed = whole.reduce(factor)
        packed.save(file, "WEBP", quality=QUALITY)
        source = "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
        if len(source) < CLEARLY * len(shown["src"]):
            shown.update(src=source, width=packed.width, height=packed.height)
            return True
    return False
