"""Archives made to harm whoever imports them as a run."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convscope.errors import DataError
from convscope.exports.run_archive import unpack_run
from tests.faults.harness import complaints
from tests.faults.hostile_archives import KINDS, NAMES, Member, header, raw, sparse, tar
from tests.web import served

CONFIG: dict[str, Any] = {**served.CONFIG, "dataset": {"name": "digits", "options": {"data_dir": None}}}
FILES = {"events.jsonl": b"", "film/film.json": b"{}", "run.json": json.dumps(CONFIG).encode()}


def archive(files: Mapping[str, bytes] = FILES, *extra: Member, manifest: Any = None, top: str = "run") -> bytes:
    """An archive of a run with these files, then whatever else, then its manifest: sound where nothing is added."""
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    said = {"format": 1, "convscope": "0", "files": sums} if manifest is None else manifest
    told = said if isinstance(said, bytes) else json.dumps(said).encode()
    return tar(
        [*((f"{top}/{name}", content) for name, content in files.items()), *extra, (f"{top}/archive.json", told)]
    )


def with_config(**changes: Any) -> bytes:
    """An archive whose run.json says something else."""
    return archive({**FILES, "run.json": json.dumps({**CONFIG, **changes}).encode()})


def runs(dice: random.Random) -> list[tuple[str, bytes]]:
    """What is given as an archive, by name; none of them is one of a run."""
    found: list[tuple[str, bytes]] = []
    for name in NAMES:
        found.append((f"a file called {name!r}", archive(FILES, (name, b"x"))))
        if name != "~":  # which is a name like any other within a folder
            listed = archive({**FILES, f"film/{name}.json": b"x"})
            found.append((f"a file called {name!r} that the manifest names", listed))
    for kind in (*KINDS[:5], *KINDS[6:]):
        found.append((f"a file that is of kind {kind!r}", archive(FILES, header("run/film/x.json", kind))))
    link = header("run/pictures", tarfile.SYMTYPE, link="../../..")
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    negative = header("run/film/x.json", tarfile.REGTYPE)
    negative.pax_headers = {"size": "-1024"}
    large = header("run/film/x.json", tarfile.REGTYPE)
    large.pax_headers = {
        "GNU.sparse.map": "0,1",
        "GNU.sparse.size": str(1 << 26),
        "GNU.sparse.realsize": str(1 << 26),
    }
    sound = archive()
    return [
        *found,
        ("a file through a link", archive(FILES, link, ("run/pictures/x.png", b"x"))),
        ("a script", archive({**FILES, "film/x.py": b"import os"})),
        ("a name that no run has", archive({**FILES, "notes.json": b"{}"})),
        ("a folder that no run has", archive({**FILES, "wandb/x.json": b"{}"})),
        ("a lock", archive({**FILES, ".lock": b""})),
        ("a second run", archive(FILES, ("other/run.json", FILES["run.json"]))),
        ("a file that comes twice", archive(FILES, ("run/film/film.json", b"[]"))),
        ("a file in a file", archive(FILES, ("run/events.jsonl/x.json", b"{}"))),
        ("a file where a folder is", archive(FILES, ("run/film", b"{}"))),
        ("another content", archive(manifest={"format": 1, "files": {**sums, "events.jsonl": "0" * 64}})),
        ("a file that is not told of", archive(FILES, ("run/film/x.json", b"{}"))),
        ("a file that is missing", archive(manifest={"format": 1, "files": {**sums, "film/x.json": "0" * 64}})),
        ("no manifest", tar([(f"run/{name}", content) for name, content in FILES.items()])),
        ("a manifest that is no JSON", archive(manifest=b"{")),
        ("a manifest that is a list", archive(manifest=[])),
        ("a manifest without end", archive(manifest=b"[" * 1_000_000)),
        ("a manifest of numbers", archive(manifest={"format": 1, "files": 3})),
        ("a newer archive", archive(manifest={"format": 2, "convscope": "9.0", "files": {}})),
        ("no run.json", archive({"events.jsonl": b""})),
        ("a run.json that is no JSON", archive({**FILES, "run.json": b"{"})),
        ("a run.json without end", archive({**FILES, "run.json": b"[" * 1_000_000})),
        ("a newer run.json", with_config(format=99)),
        ("a run.json of other things", with_config(dataset=["digits"])),
        ("a header that claims a gigabyte", raw(header("x", tarfile.XHDTYPE, size=1 << 30)) + bytes(5120)),
        ("a file that claims a gigabyte", raw(header("run/x.json", tarfile.REGTYPE, size=1 << 30)) + bytes(5120)),
        ("ten thousand headers of headers", raw(header("x", tarfile.XHDTYPE)) * 10_000 + bytes(1024)),
        ("a map of holes without end", sparse("run/film/x.json") + b"1\n" * 1_000_000),
        ("a file of holes", archive(FILES, large)),
        ("a size below nothing", raw(header("run/x.json", tarfile.REGTYPE, size=-512)) + sound),
        ("a size below nothing, in an extended header", archive(FILES, negative)),
        ("an archive of nothing", tar([])),
        ("nothing", b""),
        ("noise", dice.randbytes(5120)),
        ("its beginning", sound[: len(sound) // 3]),
        ("packed", gzip.compress(sound)),
    ]  # fmt: skip


def fault_of(content: bytes, folder: Path) -> str:
    """What went wrong with what was given as a run's archive: it is refused in one line, and nothing of it stays."""
    given, target = folder / "given.tar", folder / "runs" / "given"
    given.write_bytes(content)
    before = sorted(folder.iterdir())
    try:
        unpack_run(given, target)
    except DataError as error:
        said = str(error)
    else:
        return "was taken"
    return complaints(("\n" not in said, f"says {said}"), (sorted(folder.iterdir()) == before, "left something"))


def fault_of_sound(folder: Path) -> str:
    """Why a sound archive is not taken."""
    given, target = folder / "sound.tar", folder / "sound-run"
    given.write_bytes(archive())
    unpack_run(given, target)
    found = {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()}
    return "" if found == FILES else f"became {sorted(found)}"
