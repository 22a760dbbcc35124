"""What the one-file pages share: pictures as PNG beside them, Jinja, and the words for numbers and settings."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from convscope.paint import nearly_square, png_bytes
from convscope.report import charts
from convscope.types import Picture

HERE = Path(__file__).parent
HIGH = 1.4  # times as high as wide: from there on a page shows a picture as two halves


class Album:
    """Hands back what the page shows of each picture, and writes it as PNG where it has a folder for that.

    The page holds the pictures themselves, high ones as two halves, which paper has room for beside each other; with
    `linked` it names the files, which then need a folder.
    """

    def __init__(self, folder: Path | None, provenance: Mapping[str, str], *, linked: bool = False) -> None:
        self.folder = folder
        self.provenance = provenance
        self.linked = linked
        self.shown: list[dict[str, Any]] = []
        if folder:
            folder.mkdir(parents=True, exist_ok=True)

    def chart(self, name: str, figure: Any, label: str) -> dict[str, Any]:
        """A chart, with words for who cannot see it."""
        if self.folder:
            data = charts.png(figure, self.provenance)
            (self.folder / f"{name}.png").write_bytes(data)
            if self.linked:
                return {"svg": Markup('<img src="{}" alt="{}">').format(self.source(f"{name}.png", data), label)}
        return {"svg": Markup(charts.svg(figure, name=name, label=label))}  # escaped by matplotlib

    def picture(self, picture: Picture, *, scale: int | None = None) -> dict[str, Any]:
        """A picture with its size in pixels."""
        picture = dataclasses.replace(picture, provenance={**picture.provenance, **self.provenance})
        data = png_bytes(picture, scale=scale)
        if self.folder:
            (self.folder / f"{picture.name}.png").write_bytes(data)
        shown: dict[str, Any] = {**self._embedded(picture, data), "picture": picture}
        if shown["height"] > HIGH * shown["width"] and not (self.linked and self.folder):
            shown["halves"] = [self._embedded(half, png_bytes(half, scale=scale)) for half in halves(picture)]
        self.shown += shown.get("halves", [shown])
        return shown

    def _embedded(self, picture: Picture, data: bytes) -> dict[str, Any]:
        """A PNG as the page names or holds it, with its size in pixels from its header."""
        width, height = (int.from_bytes(data[start : start + 4]) for start in (16, 20))
        return {"src": self.source(f"{picture.name}.png", data), "width": width, "height": height}

    def source(self, name: str, data: bytes) -> str:
        """The address of a picture: its file's, or one that holds it."""
        if self.linked and self.folder:
            return f"{self.folder.name}/{quote(name)}"
        return f"data:image/{name.rpartition('.')[2]};base64,{base64.b64encode(data).decode()}"


def halves(picture: Picture) -> list[Picture]:
    """The picture's upper and lower rows of tiles; what belongs together in pairs of rows stays together.

    >>> from convscope.paint import image_picture
    >>> import numpy as np
    >>> [len(half.values) for half in halves(image_picture("a", "A", np.zeros((14, 3, 4, 4)), columns=1))]
    [8, 6]
    """
    columns = picture.columns or nearly_square(len(picture.values))
    pairs = -(-len(picture.values) // (2 * columns))
    middle = 2 * columns * -(-pairs // 2)
    parts = [slice(middle), slice(middle, None)] if pairs > 1 else [slice(None)]
    return [
        dataclasses.replace(
            picture, values=picture.values[part], limits=picture.limits[part], captions=picture.captions[part]
        )
        for part in parts
    ]


def environment() -> Environment:
    """Jinja with everything escaped and the words that the page is written with."""
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "percent": _kept_together,
        "thousands": "{:,}".format,
        "duration": duration,
        "settings": settings,
        "phase_settings": phase_settings,
        "of_image": _of_image,
        "spoken": spoken,
        "listed": listed,
    }
    environment.filters.update(filters)
    return environment


def image_number(name: str) -> int | None:
    """Which image a picture is of, by its file name's ending.

    >>> image_number("maps-conv1-image-2"), image_number("filters-conv1")
    (2, None)
    """
    _, found, number = name.rpartition("-image-")
    return int(number) if found and number.isdecimal() else None


def spoken(name: str) -> str:
    """A dataset as people call it: a folder or shards by their own name, not by where they lie.

    >>> spoken("folder:/home/me/birds"), spoken("cifar10")
    ('birds', 'cifar10')
    """
    kind, _, place = name.partition(":")
    return Path(place).name or name if place and kind else name


def _of_image(name: str) -> str:
    """The same in words."""
    number = image_number(name)
    return f", image {number}" if number else ""


def listed(words: Sequence[str]) -> str:
    """Words as a list that is read out.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join([*([", ".join(words[:-1])] if words[1:] else []), *words[-1:]])


def percent(share: float, digits: int = 1) -> str:
    """A share in [0, 1] as a percentage."""
    return f"{100 * share:.{digits}f} %"


def _kept_together(share: float, digits: int = 1) -> str:
    """The same, which no line breaks."""
    return percent(share, digits).replace(" ", "\u00a0")


def settings(values: Mapping[str, Any]) -> str:
    """Settings in words, without those that are off.

    >>> settings({"optimizer": "sgd", "steps": None, "weight_decay": 5e-4, "nesterov": True, "flip": False})
    'optimizer sgd, weight decay 0.0005, nesterov'
    """
    words = ((key.replace("_", " "), value) for key, value in values.items() if value not in (None, "", 0))
    return ", ".join(key if value is True else f"{key} {value}" for key, value in words)


def phase_settings(phase: Mapping[str, Any]) -> str:
    """A phase's settings in words, without those that its optimizer and schedule do not use."""
    unused = {"momentum", "nesterov"} if phase.get("optimizer") == "adam" else set[str]()
    unused |= {"warmup", "resolution"} if phase.get("schedule") == "constant" else set()
    unused |= set() if phase.get("weight_decay") else {"decay_norms_and_biases"}
    unused |= {key for key in ("norm_rate", "resolution") if phase.get(key) == 1}
    return settings({key: value for key, value in phase.items() if key not in unused})


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(3725.4), duration(75), duration(8.25)
    ('1 h 2 min', '1 min 15 s', '8.2 s')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
