"""A picture as a file, of the kind that the name's ending says: painted as PNG, or its numbers for other programs."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from convscope.durable import make_place, replace_file, to_json
from convscope.errors import UsageError
from convscope.paint import png_bytes
from convscope.types import Picture


def save_picture(picture: Picture, path: str | Path) -> Path:
    """The path to which the picture was written, as its ending says; its folder is made when it is missing.

    `.png` is what one sees. `.npz` and `.safetensors` hold `values` (N, C, H, W) and `limits` (N, 2) float32 as they
    came out of the network, and what `.json` says: title, captions, numbers, provenance. `.npy` is `values` alone.
    Raises UsageError for another ending, ResourceError where the folder cannot be made, and OSError where the disk
    refuses.
    """
    path = Path(path)
    check_picture_name(path)
    make_place(path)
    replace_file(path, WRITERS[path.suffix.lower()](picture))
    return path


def check_picture_name(path: Path) -> None:
    """Raise UsageError unless the name's ending is one that a picture can be written as.

    >>> check_picture_name(Path("maps.jpg"))
    Traceback (most recent call last):
    convscope.errors.UsageError: --out maps.jpg; allowed: a name that ends in .png, .npz, .npy, .safetensors or .json
    """
    if path.suffix.lower() not in WRITERS:
        *endings, last = WRITERS
        charts = "; charts, as .svg, are from: convscope export RUN" if path.suffix.lower() == ".svg" else ""
        raise UsageError(f"--out {path}; allowed: a name that ends in {', '.join(endings)} or {last}{charts}")


def _npz_bytes(picture: Picture) -> bytes:
    """The arrays as NumPy's archive; its texts are arrays of text, so that reading it opens no pickle."""
    arrays, captions = _arrays(picture), np.array(picture.captions, dtype=np.str_)
    about = np.array(json.dumps(_about(picture), ensure_ascii=False))
    file = io.BytesIO()
    np.savez(file, values=arrays["values"], limits=arrays["limits"], captions=captions, about=about)
    return file.getvalue()


def _npy_bytes(picture: Picture) -> bytes:
    file = io.BytesIO()
    np.save(file, _arrays(picture)["values"], allow_pickle=False)
    return file.getvalue()


def _safetensors_bytes(picture: Picture) -> bytes:
    about = json.dumps(_about(picture), ensure_ascii=False)
    return safetensors.numpy.save(_arrays(picture), metadata={"about": about})


def _json_bytes(picture: Picture) -> bytes:
    return to_json(_about(picture))


WRITERS: dict[str, Callable[[Picture], bytes]] = {
    ".png": png_bytes,
    ".npz": _npz_bytes,
    ".npy": _npy_bytes,
    ".safetensors": _safetensors_bytes,
    ".json": _json_bytes,
}


def _arrays(picture: Picture) -> dict[str, np.ndarray]:
    parts = {"values": picture.values, "limits": picture.limits}
    return {name: np.ascontiguousarray(values, dtype=np.float32) for name, values in parts.items()}


def _about(picture: Picture) -> dict[str, Any]:
    """Everything that the picture says, other than its values."""
    return {
        "name": picture.name,
        "title": picture.title,
        "shape": list(picture.values.shape),
        "scale": picture.scale,
        "captions": list(picture.captions),
        "caption": picture.caption,
        "numbers": _as_json(picture.numbers),
        "provenance": {"Software": "convscope", **picture.provenance},
    }


def _as_json(value: Any) -> Any:
    """The same with null for each number that is not finite, for which JSON has no word.

    >>> _as_json({"ratio": [0.5, math.nan]})
    {'ratio': [0.5, None]}
    """
    if isinstance(value, Mapping):
        return {key: _as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
