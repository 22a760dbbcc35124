"""A run as one archive, and an archive as a run again: a plain .tar in which every file has its SHA-256.

It is not packed: weights and pictures do not get smaller by that, and it cannot unpack to more than it is long.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, NamedTuple

from convscope import __version__
from convscope.data.archive import is_plain_name, unpack_files
from convscope.durable import as_file_name, make_place, refusal_told, replace_file, sync_folder, to_json, whole_file
from convscope.errors import CheckpointError, DataError, UsageError, in_one_line
from convscope.exports.places import missing_images, with_images_at
from convscope.training.folder import lock_run, read_config
from convscope.types import Progress, no_progress

FORMAT = 1
"""The version of the archive; another one is refused by name."""

MANIFEST = "archive.json"
LARGEST = 50_000_000
"""Bytes of a manifest or a run.json; read as JSON they take many times the memory."""

ENDINGS = (".json", ".jsonl", ".safetensors", ".png", ".webp", ".gif", ".mp4", ".html", ".md")
"""What the files of a run are; nothing else is taken in or out, and none of these is ever run."""

PARTS = ("checkpoints", "film", "pictures", "survey", "maximize", "explorer")
FILES = ("events.jsonl", "report.html", "report.md", "run.json")
"""What convscope keeps in a run's folder; what loggers and people put there stays where it is.

`run.json` comes last: what is unpacked is no run until all of it is there.
"""


class Packed(NamedTuple):
    """A run's archive as it was written."""

    files: int
    bytes: int
    left_out: list[str]  # names in the run's folder that are not in the archive; hidden files are not told


class Unpacked(NamedTuple):
    """A run as it was unpacked."""

    files: int
    missing_images: str  # where run.json says that its images are, if there is nothing on this machine


def pack_run(run: Path, archive: Path, *, progress: Progress = no_progress) -> Packed:
    """Write a run's folder into a new archive, which is there whole or not at all.

    Raises UsageError where the archive is there already, BusyError while the run is being trained, CheckpointError
    where its run.json is damaged, and ResourceError where the disk refuses.
    """
    if archive.exists():
        raise UsageError(f"{archive} is there already, and may be a run's only copy; name another --out")
    read_config(run)
    make_place(archive)
    held = lock_run(run) if os.access(run, os.W_OK) else nullcontext()  # nobody trains where nobody may write
    with held, refusal_told(f"write {archive}", "name another place with --out"), whole_file(archive) as unfinished:
        names, left_out = _names(run)
        top = as_file_name(run.resolve().name)[:60] or "run"
        sums: dict[str, str] = {}
        with tarfile.open(unfinished, "w", format=tarfile.PAX_FORMAT) as tar:
            for done, name in enumerate(names):
                progress("packing", done, len(names))
                sums[name] = _add(tar, f"{top}/{name}", run / name)
            manifest = to_json({"format": FORMAT, "convscope": __version__, "files": sums})
            tar.addfile(_header(f"{top}/{MANIFEST}", len(manifest)), io.BytesIO(manifest))
    return Packed(len(names), archive.stat().st_size, left_out)


def _names(run: Path) -> tuple[list[str], list[str]]:
    """The names of a run's files that are packed, and of those that are not; run.json last."""
    found = sorted(path for path in run.rglob("*") if not path.is_dir() and not _is_hidden(path.relative_to(run)))
    names = [path.relative_to(run).as_posix() for path in found]
    known = {
        name
        for name, path in zip(names, found, strict=True)
        if not path.is_symlink() and is_plain_name(name) and _belongs(name)
    }
    ordered = [name for name in names if name in known and name != "run.json"]
    return [*ordered, "run.json"], [name for name in names if name not in known]


def _is_hidden(name: Path) -> bool:
    """Whether it is a lock, or what a save that was cut off left behind."""
    return any(part.startswith(".") for part in name.parts)


def _belongs(name: str) -> bool:
    """Whether a name below a run's folder is one that convscope gives.

    >>> [_belongs(name) for name in ("run.json", "film/film.json", "film/x.py", "notes.md", "wandb/x.json")]
    [True, True, False, False, False]
    """
    first, below, _ = name.partition("/")
    return name.endswith(ENDINGS) and first in (PARTS if below else FILES)


def _add(tar: tarfile.TarFile, name: str, path: Path) -> str:
    """Add a file as it is now; its SHA-256."""
    with path.open("rb") as file:
        summed = _Summed(file)
        tar.addfile(_header(name, os.fstat(file.fileno()).st_size), summed)  # pyright: ignore[reportArgumentType]
        return summed.digest.hexdigest()


def _header(name: str, size: int) -> tarfile.TarInfo:
    """A member without owner and date: an archive does not tell who made it when, and the same run gives the same."""
    header = tarfile.TarInfo(name)
    header.size = size
    return header


class _Summed:
    """A file whose bytes are added up as they are read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, count: int) -> bytes:
        data = self._file.read(count)
        self.digest.update(data)
        return data


def unpack_run(archive: Path, target: Path, *, images: Path | None = None) -> Unpacked:
    """Make an archive a run's folder again, every file checked against its SHA-256.

    With `images`, run.json says that this is where its images are. The folder is there whole or not at all.
    Raises UsageError where the target is there already or `images` are not, DataError for an archive that is broken,
    hostile, or not of a run, and ResourceError where the disk refuses.
    """
    if not archive.is_file():
        raise UsageError(f'no archive "{archive}"; wanted: a .tar that convscope export RUN --out FILE.tar made')
    if target.exists():
        raise UsageError(f"{target} is there already; name another --out")
    if images is not None and not images.exists():
        raise UsageError(f'no images at "{images}"; wanted: the place where those of the run are on this machine')
    there = next(folder for folder in target.absolute().parents if folder.is_dir())
    with (
        refusal_told(f"write to {target}", "name another place with --out"),
        TemporaryDirectory(prefix=f".{target.name}.", dir=there, ignore_cleanup_errors=True) as unfinished,
    ):
        sums = unpack_files(archive, Path(unfinished), endings=ENDINGS)
        top = _check(archive, Path(unfinished), sums)
        config, missing = _read_config(archive, top)
        if images is not None:
            replace_file(top / "run.json", to_json(with_images_at(images, config)))
        make_place(target)
        os.rename(top, target)
        sync_folder(target.parent)
    return Unpacked(len(sums), "" if images is not None else missing)


def _check(archive: Path, folder: Path, sums: dict[str, str]) -> Path:
    """The folder in the archive, after what it holds was held against what it says it holds. Raises DataError."""
    top = folder / next(iter(sums), "").partition("/")[0]
    manifest = top / MANIFEST
    try:
        if any((top / name).stat().st_size > LARGEST for name in (MANIFEST, "run.json")):
            raise ValueError(f"more than {LARGEST:,} bytes")
        said: Any = json.loads(manifest.read_bytes())
        if said["format"] != FORMAT:
            newer = f"format {said['format']!r}, written by convscope {said['convscope']}; this one reads {FORMAT}"
            raise DataError(f"archive {archive} has {newer}")
        listed = {f"{top.name}/{name}": str(recorded) for name, recorded in said["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"archive {archive} is not of a run, or cut off: it lacks a sound {MANIFEST} or run.json "
            f"({in_one_line(error)})"
        ) from error
    manifest.unlink()
    del sums[f"{top.name}/{MANIFEST}"]
    for name in sorted(sums.keys() | listed.keys()):
        if sums.get(name) != listed.get(name):
            how = "it lacks" if name not in sums else "it does not tell of" if name not in listed else "damaged is"
            raise DataError(f"archive {archive} is not what it was: {how} {name}; get it again")
        if not _belongs(name.removeprefix(f"{top.name}/")):
            raise DataError(f"archive {archive} holds {name}, which no run has")
    return top


def _read_config(archive: Path, run: Path) -> tuple[dict[str, Any], str]:
    """The run.json of what was unpacked, and where its images are missing. Raises DataError where it is none."""
    try:
        config = read_config(run)
        return config, missing_images(config)
    except (CheckpointError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = in_one_line(error).replace(f"{run}{os.sep}", "")
        raise DataError(f"archive {archive}: its run.json cannot be used ({reason})") from error
