"""Picture to pixels: colour scales, the grid of tiles, PNG with its provenance inside."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from convscope.durable import make_place, replace_file
from convscope.errors import NumericsError, UsageError
from convscope.types import Picture

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

TILE_SIDE = 64  # pixels that a small tile is enlarged to, or up to twice that in a grid below FULL_WIDTH
FULL_WIDTH = 480
GRID_WIDTH = 1200  # no enlarging beyond this
GAP = 4  # around and between tiles
PAPER = (232, 233, 238)  # not white, which is a tile's zero
INK = (60, 62, 70)
LINE_HEIGHT = 14
FAINT = 1e-3  # a tile below this share of the largest is not enlarged in contrast: it would show only noise
COLORMAPS = {"diverging": "RdBu_r", "sequential": "magma"}  # both even in perceived lightness


def image_picture(
    name: str,
    title: str,
    images: Any,
    *,
    captions: Sequence[str] = (),
    caption: str = "",
    provenance: Mapping[str, str] | None = None,
    columns: int | None = None,
) -> Picture:
    """A picture that shows images (N, 3, H, W) float RGB in [0, 1], an array or a tensor in main memory.

    >>> image_picture("cats", "Two cats", np.zeros((2, 3, 4, 4))).values.shape
    (2, 3, 4, 4)
    """
    values = np.asarray(images, dtype=np.float32)
    limits = np.tile(np.array([0.0, 1.0], dtype=np.float32), (len(values), 1))
    return Picture(name, title, values, limits, "rgb", tuple(captions), caption, {}, dict(provenance or {}), columns)


def tile_bounds(peaks: np.ndarray, *, shared: bool) -> np.ndarray:
    """The value (N,) at which each tile's colours end, given the largest absolute value (N,) in each.

    It is the tile's own peak, but at least a thousandth of the largest, so that a dead tile looks dead; or,
    when shared, the largest.

    >>> tile_bounds(np.array([2.0, 0.5, 0.0]), shared=False).tolist()
    [2.0, 0.5, 0.002]
    """
    return np.full_like(peaks, peaks.max()) if shared else np.maximum(peaks, FAINT * peaks.max())


def paint(picture: Picture, *, scale: int | None = None) -> np.ndarray:
    """The picture's pixels (H, W, 3) uint8: each value a square of `scale` pixels, tiles in a grid.

    A tile whose two limits are equal holds nothing to see and is painted in one colour. Without `scale`, small
    tiles are enlarged to about 64 pixels, a few to twice that. Raises UsageError for a picture whose parts do
    not fit together and NumericsError for a value that is not finite, naming the tile.

    >>> grey = Picture("a", "A", np.zeros((1, 1, 2, 2)), np.array([[-1, 1]]), "diverging", (), "")
    >>> paint(grey, scale=1)[GAP, GAP].tolist()
    [247, 246, 246]
    """
    _check(picture)
    count, _, height, width = picture.values.shape
    columns = min(picture.columns or nearly_square(count), count)
    rows = -(-count // columns)
    scale = scale or _enlargement(height, width, columns)
    lines = max((caption.count("\n") + 1 for caption in picture.captions), default=0)
    tile_height, tile_width = height * scale, width * scale
    pitch_y, pitch_x = tile_height + GAP + lines * LINE_HEIGHT, tile_width + GAP
    canvas = np.full((GAP + rows * pitch_y, GAP + columns * pitch_x, 3), PAPER, dtype=np.uint8)
    for index, tile in enumerate(colours(picture.values, picture.limits, picture.scale)):
        y, x = GAP + index // columns * pitch_y, GAP + index % columns * pitch_x
        canvas[y : y + tile_height, x : x + tile_width] = tile.repeat(scale, axis=0).repeat(scale, axis=1)
    if lines:
        canvas = _write_captions(canvas, picture.captions, columns, (pitch_y, pitch_x), (tile_height, tile_width))
    return canvas


def png_bytes(picture: Picture, *, scale: int | None = None) -> bytes:
    """The painted picture as PNG, with its title, caption and provenance in text chunks.

    >>> png_bytes(image_picture("a", "A", np.zeros((1, 3, 2, 2))))[1:4]
    b'PNG'
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    texts = {"Title": picture.title, "Description": picture.caption, "Software": "convscope"}
    for key, text in (texts | dict(picture.provenance)).items():
        info.add_itxt(key, str(text))
    file = io.BytesIO()
    Image.fromarray(paint(picture, scale=scale)).save(file, "PNG", pnginfo=info, optimize=True)
    return file.getvalue()


def html(picture: Picture) -> str:
    """The painted picture as an HTML figure that needs no other file, with its title, caption and short numbers.

    >>> html(image_picture("a", "A < B", np.zeros((1, 3, 2, 2)))).startswith("<figure><b>A &lt; B</b>")
    True
    """
    source = base64.b64encode(png_bytes(picture)).decode()
    numbers = "; ".join(
        f"{key.replace('_', ' ')} {value:.3g}" if isinstance(value, float) else f"{key.replace('_', ' ')} {value}"
        for key, value in picture.numbers.items()
        if isinstance(value, (int, float, str))
    )
    title = escape(picture.title)
    parts = (f"<b>{title}</b>", f'<img src="data:image/png;base64,{source}" alt="{title}">')
    texts = (f"<figcaption>{escape(text)}</figcaption>" for text in (picture.caption, numbers) if text)
    return f"<figure>{'<br>'.join(parts)}{''.join(texts)}</figure>"


def save_png(picture: Picture, path: str | Path, *, scale: int | None = None) -> Path:
    """The path to which the picture was written as PNG; its folder is made when it is missing.

    Raises ResourceError where that cannot be, and OSError where the disk refuses.
    """
    path = Path(path)
    make_place(path)
    replace_file(path, png_bytes(picture, scale=scale))
    return path


def _check(picture: Picture) -> None:
    """Raises where the picture's parts do not fit together or hold a value that is not finite."""
    values, name = picture.values, f'picture "{picture.name}"'
    channels = 3 if picture.scale == "rgb" else 1
    if values.ndim != 4 or values.shape[1] != channels or not values.size:
        allowed = f"(N, {channels}, H, W) in a {picture.scale} picture"
        raise UsageError(f"{name}: values of shape {values.shape}; allowed: {allowed}")
    if picture.limits.shape != (len(values), 2):
        raise UsageError(f"{name}: limits of shape {picture.limits.shape}; allowed: ({len(values)}, 2)")
    if len(picture.captions) not in (0, len(values)):
        raise UsageError(
            f"{name}: {len(picture.captions)} captions for {len(values)} tiles; allowed: one each, or none"
        )
    finite = np.isfinite(values).all(axis=(1, 2, 3)) & np.isfinite(picture.limits).all(axis=1)
    if not finite.all():
        tile = int(np.flatnonzero(~finite)[0])
        called = f' ("{picture.captions[tile]}")' if picture.captions else ""
        raise NumericsError(f"{name}: tile {tile}{called} holds values or limits that are not finite")


def colours(values: np.ndarray, limits: np.ndarray, scale: Literal["rgb", "diverging", "sequential"]) -> np.ndarray:
    """The colours (N, H, W, 3) uint8 of values (N, C, H, W) between their limits (N, 2), as in a Picture.

    >>> colours(np.array([[[[0.0, 1.0]]]]), np.array([[0, 1]]), "sequential").tolist()
    [[[[0, 0, 4], [252, 253, 191]]]]
    """
    low, high = (limits[:, side, None, None, None].astype(np.float64) for side in (0, 1))
    span = high - low
    flat = 0.0 if scale == "sequential" else 0.5
    share = np.where(span > 0, (values - low) / np.where(span > 0, span, 1), flat).clip(0, 1)
    if scale == "rgb":
        return np.rint(share * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    table = _colormap(COLORMAPS[scale])
    return table[np.rint(share[:, 0] * (len(table) - 1)).astype(np.intp)]


@lru_cache
def _colormap(name: str) -> np.ndarray:
    """A colour scale (255, 3) uint8; an odd number, so that zero has a colour of its own in the middle."""
    from matplotlib import colormaps

    return np.rint(colormaps[name](np.linspace(0, 1, 255))[:, :3] * 255).astype(np.uint8)


def nearly_square(count: int) -> int:
    """How many columns fill a nearly square grid: where one fits, a number that leaves no gap at the end.

    >>> nearly_square(64), nearly_square(6), nearly_square(7)
    (8, 3, 3)
    """
    root = math.isqrt(count - 1) + 1
    return next((columns for columns in range(root, 2 * root + 1) if count % columns == 0), root)


def _enlargement(height: int, width: int, columns: int) -> int:
    """The whole number that makes a tile about TILE_SIDE pixels, more in a small grid, less in a wide one."""
    side = max(TILE_SIDE, min(2 * TILE_SIDE, FULL_WIDTH // columns))
    wanted = round(side / max(height, width))
    room = ((GRID_WIDTH - GAP) // columns - GAP) // width
    return max(1, min(wanted, room))


def _write_captions(
    canvas: np.ndarray,
    captions: Sequence[str],
    columns: int,
    pitch: tuple[int, int],
    tile: tuple[int, int],
) -> np.ndarray:
    """The canvas with each tile's caption below it, cut to the tile's width."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(canvas)
    draw, font = ImageDraw.Draw(image), ImageFont.truetype(font_path(), 11)
    for index, caption in enumerate(captions):
        y, x = GAP + index // columns * pitch[0] + tile[0], GAP + index % columns * pitch[1]
        for number, line in enumerate(caption.split("\n")):
            draw.text(
                (x + tile[1] / 2, y + (number + 0.5) * LINE_HEIGHT),
                _fit(line, font, tile[1]),
                INK,
                font,
                "mm",
            )
    return np.asarray(image)


def font_path() -> str:
    """The font file that matplotlib brings, so that captions look the same everywhere."""
    import matplotlib

    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))


def _fit(text: str, font: FreeTypeFont, width: int) -> str:
    """The text, ending in an ellipsis where it is wider than `width` pixels; empty where nothing fits."""
    if font.getlength(text) <= width:
        return text
    return next((cut for end in range(len(text) - 1, 0, -1) if font.getlength(cut := text[:end] + "…") <= width), "")
