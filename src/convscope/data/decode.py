"""One image file to a square of RGB pixels, whatever its format, mode, size or orientation."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
MOST_BYTES = 20_000_000
MOST_PIXELS = 25_000_000

UPRIGHT = {  # what undoes each EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Unreadable(Exception):
    """Why a file is no image that can be used."""


class NoSuchFormat(Unreadable):
    """It is in none of the formats."""


def decode_image(path: str | Path | BinaryIO | io.BytesIO, size: int) -> NDArray[np.uint8]:
    """The image's central square (3, size, size) uint8 RGB, upright, the first frame of several.

    An image of that size keeps its very pixels; any other is resized with an antialiased bicubic filter.
    Raises Unreadable, from the header alone where the image is larger than MOST_BYTES or MOST_PIXELS.
    """
    with _opened(path) as image:
        image.draft(None, (2 * size, 2 * size))  # a large JPEG is decoded at a fraction of its size, much faster
        image.load()
        image = to_rgb(_upright(image))
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
        if side != size:
            image = image.resize((size, size), Image.Resampling.BICUBIC)
        return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def read_size(path: str | Path | BinaryIO | io.BytesIO) -> tuple[int, int]:
    """(H, W) as the header says, without decoding. Raises Unreadable."""
    with _opened(path) as image:
        return image.height, image.width


def to_rgb(image: Image.Image) -> Image.Image:
    """The image as 8-bit RGB, with what is transparent on white.

    Integers of more than 8 bits are taken as 16 bits and scaled down. Floating-point values are taken as 0 to
    1 if all of them lie there, else as 0 to 255. What lies outside is clipped.
    """
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        levels = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0)
        scale = 255 if levels.min() >= 0 and levels.max() <= 1 else 1
        return Image.fromarray(np.rint(levels * scale).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), colours).convert("RGB")
    return image.convert("RGB")


@contextmanager
def _opened(path: str | Path | BinaryIO | io.BytesIO) -> Generator[Image.Image]:
    """The image with its header read and found harmless; whatever a broken file brings about is Unreadable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata is no reason to speak up, let alone to fail
            length = Path(path).stat().st_size if isinstance(path, str | Path) else path.seek(0, os.SEEK_END)
            if length > MOST_BYTES:
                raise Unreadable(f"{length:,} bytes, at most {MOST_BYTES:,} are allowed")
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise Image.DecompressionBombError
                yield image
    except Unreadable:
        raise
    except Image.DecompressionBombError as error:
        raise Unreadable(f"more than {MOST_PIXELS // 1_000_000} million pixels") from error
    except UnidentifiedImageError as error:
        raise NoSuchFormat(f"not a readable {', '.join(FORMATS[:-1])} or {FORMATS[-1]}") from error
    except Exception as error:  # Pillow's readers let nearly anything escape from a broken file
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Unreadable(" ".join(reason.split()) or type(error).__name__) from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged metadata beside sound pixels
        return image
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image
