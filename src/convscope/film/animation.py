"""Images one after the other as a file that plays: GIF, WebP, or MP4 where ffmpeg is found."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convscope.durable import make_place, replace_file, whole_file
from convscope.errors import ConvscopeError, UsageError

ENDINGS = (".webp", ".gif", ".mp4")
FASTEST = 50.0
"""Frames per second; what is faster, browsers slow down."""


def check_animation(path: Path, frames_per_second: float) -> None:
    """Raise UsageError for what `save_animation` would refuse, before there are images."""
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f'"{path.name}" is no animation\'s name; allowed: {", ".join(ENDINGS)} at its end')
    if path.is_dir():
        raise UsageError(f'"{path}" is a folder; name a file in it')
    if not 0 < frames_per_second <= FASTEST:
        raise UsageError(f"{frames_per_second:g} frames per second; allowed: above 0, up to {FASTEST:g}")
    if path.suffix.lower() == ".mp4" and shutil.which("ffmpeg") is None:
        raise UsageError("MP4 needs ffmpeg, which is not installed (https://ffmpeg.org); without it: .webp or .gif")


def save_animation(
    path: Path, images: Sequence[np.ndarray], *, frames_per_second: float, hold: float, about: str = ""
) -> Path:
    """Write images (H, W, 3) uint8 of one size and even sides; the last is shown for `hold` seconds more.

    The ending names the kind. The file is there whole or not at all; `about` stands inside it. Raises UsageError for
    another ending or an MP4 without ffmpeg, and ConvscopeError where ffmpeg fails.
    """
    check_animation(path, frames_per_second)
    make_place(path)
    kind = path.suffix.lower()
    if kind == ".mp4":
        _save_mp4(path, images, frames_per_second=frames_per_second, hold=hold, about=about)
    else:
        make = gif_bytes if kind == ".gif" else webp_bytes
        replace_file(path, make(images, frames_per_second=frames_per_second, hold=hold, about=about))
    return path


def webp_bytes(images: Sequence[np.ndarray], *, frames_per_second: float, hold: float, about: str = "") -> bytes:
    """The images as a WebP that repeats, without loss; `about` is its EXIF description.

    >>> webp_bytes([np.zeros((4, 4, 3), np.uint8)] * 2, frames_per_second=8, hold=2)[8:12]
    b'WEBP'
    """
    exif = Image.Exif()
    exif[0x010E] = about
    pages = [Image.fromarray(image) for image in images]
    durations = _durations(len(pages), frames_per_second, hold)
    return _encode(pages, "WEBP", durations, lossless=True, method=4, exif=exif)


def gif_bytes(images: Sequence[np.ndarray], *, frames_per_second: float, hold: float, about: str = "") -> bytes:
    """The images as a GIF that repeats, each with 256 colours of its own; `about` is its comment.

    >>> gif_bytes([np.zeros((4, 4, 3), np.uint8)] * 2, frames_per_second=8, hold=2)[:6]
    b'GIF89a'
    """
    pages = [Image.fromarray(image).quantize(256, dither=Image.Dither.NONE) for image in images]
    return _encode(pages, "GIF", _durations(len(pages), frames_per_second, hold), comment=about.encode())


def _encode(pages: Sequence[Image.Image], kind: str, durations: list[int], **options: Any) -> bytes:
    """The pages as a file of that kind that repeats."""
    file = io.BytesIO()
    pages[0].save(file, kind, save_all=True, append_images=pages[1:], duration=durations, loop=0, **options)
    return file.getvalue()


def _durations(count: int, frames_per_second: float, hold: float) -> list[int]:
    """How long each frame is shown, in milliseconds, in whole hundredths of a second, as GIF has them.

    >>> _durations(3, 8, 2)
    [120, 120, 2120]
    """
    each = max(20, 10 * round(100 / frames_per_second))
    return [each] * (count - 1) + [each + 10 * round(100 * hold)]


def _save_mp4(path: Path, images: Sequence[np.ndarray], *, frames_per_second: float, hold: float, about: str) -> None:
    """Hand the pixels to ffmpeg, which writes beside the target; the file is renamed when it is whole."""
    height, width = images[0].shape[:2]
    still = [images[-1]] * round(hold * frames_per_second)
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{frames_per_second:g}"]
    target = ["-pix_fmt", "yuv420p", "-q:v", "2", "-movflags", "+faststart", "-metadata", f"comment={about}"]
    command = ["ffmpeg", "-y", "-loglevel", "error", *source, "-i", "-", "-an", *target, "-f", "mp4"]
    with whole_file(path) as unfinished:
        done = subprocess.run(
            [*command, str(unfinished)],
            input=b"".join(image.tobytes() for image in [*images, *still]),
            capture_output=True,
            check=False,
        )
        if done.returncode != 0 or not unfinished.is_file():
            said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
            raise ConvscopeError(f"ffmpeg made no {path.name}: {said[-1]}; without it: .webp or .gif")
