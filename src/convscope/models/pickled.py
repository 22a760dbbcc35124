"""Weights that torch.save pickled: screened, read as tensors alone, and kept as safetensors from then on."""

from __future__ import annotations

import hashlib
import io
import pickletools
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from convscope.durable import make_place, replace_file
from convscope.errors import CheckpointError

MOST_BYTES = 2_000_000_000
PICKLE_BYTES = 10_000_000  # names and shapes; the numbers lie beside it
COPIES = 2  # tied weights stand twice in a model, and once in its file
WRAPPERS = ("state_dict", "model")  # under which training scripts keep the weights among other things

KINDS = ("BFloat16", "Bool", "Byte", "Char", "Double", "Float", "Half", "Int", "Long", "Short")
ALLOWED = {
    "collections OrderedDict",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_tensor_v2",
    *(f"torch {kind}Storage" for kind in KINDS),
}
"""All that a pickle of tensors needs to name; one that names anything else is not opened."""

OTHER_NAMES = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}
"""The other ways in which a pickle can name or make things; torch.save uses none of them."""


def keep_as_safetensors(path: Path, folder: Path) -> Path:
    """The weights of a .pt file in a safetensors file in that folder, named by what the .pt holds.

    Its pickle may name tensors and nothing else, and is read by torch.load(weights_only=True). Raises
    CheckpointError for a file that is larger than MOST_BYTES, names more, unpacks to more than it is long, or holds
    anything but tensors by name.
    """
    content = _read(path)
    target = folder / f"{hashlib.sha256(content).hexdigest()}.safetensors"
    tensors = _tensors(path, content)
    make_place(target)
    replace_file(target, safetensors.torch.save(tensors))
    return target


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise CheckpointError(f"{path} has {path.stat().st_size:,} bytes, at most {MOST_BYTES:,} are allowed")
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; allowed: a .pt or .safetensors file") from error


def _tensors(path: Path, content: bytes) -> dict[str, Tensor]:
    """Every tensor by name, each with memory of its own."""
    try:
        loaded: Any = torch.load(io.BytesIO(_screened(content)), map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile file can bring about nearly anything
        reason = " ".join(str(error).partition(". This file can still be loaded")[0].split())[:300]
        raise CheckpointError(
            f"{path} is not opened ({reason or type(error).__name__}); save the state_dict alone, best as safetensors"
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not loaded:
        raise CheckpointError(f"{path} holds no tensors by name; save model.state_dict()")
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path} holds a {type(value).__name__} under {name!r:.100}; only tensors by name are taken: "
                "save model.state_dict()"
            )
    total = sum(value.numel() * value.element_size() for value in loaded.values())
    if total > COPIES * len(content):
        raise CheckpointError(f"{path} unpacks to {total:,} bytes from {len(content):,}; it is not opened")
    return {name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in loaded.items()}


def _screened(content: bytes) -> bytes:
    """The archive written anew from what was looked at, so that torch reads nothing else. Raises ValueError."""
    anew = io.BytesIO()
    pickles = 0
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(anew, "w") as written:
            members = archive.infolist()
            if sum(member.file_size for member in members) > len(content):
                raise ValueError("it unpacks to more than it is long")
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise ValueError("it is compressed, as torch.save never does")
            if len({member.filename.lower() for member in members}) < len(members):
                raise ValueError("a member comes twice")
            for member in members:
                data = archive.read(member)
                if member.filename.lower().endswith(".pkl"):
                    pickles += 1
                    _check_pickle(data)
                written.writestr(member.filename, data)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ValueError(f"it is no file of torch.save from torch 1.6 on: {error}") from error
    if pickles != 1:
        raise ValueError(f"{pickles} pickles, wanted is one")
    return anew.getvalue()


def _check_pickle(data: bytes) -> None:
    """Raise ValueError where the pickle names anything but tensors; it is read, not run."""
    if len(data) > PICKLE_BYTES:
        raise ValueError(f"a pickle of {len(data):,} bytes")
    for operation, argument, _ in pickletools.genops(data):
        if operation.name in OTHER_NAMES or (operation.name == "GLOBAL" and argument not in ALLOWED):
            named = str(argument).replace(" ", ".") if operation.name == "GLOBAL" else operation.name
            raise ValueError(f"it names {named:.100}, which weights do not need")
