"""Archives made to harm whoever opens them: as CIFAR's .tar.gz, and as tar shards of images."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import random
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

from PIL import Image

from convscope.data.cifar import CIFAR10
from convscope.data.shards import load_shards
from convscope.errors import DataError
from tests.faults.harness import complaints
from tests.faults.payloads import CallsSystem

Member = tuple[str, bytes] | tarfile.TarInfo
NAMES = (
    "../../escaped",
    "/escaped",
    "..\\..\\escaped",
    "C:\\escaped",
    "a/../../../escaped",
    "a\nb",
    "\u202egnp",
    "~",
)
KINDS = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, b"Z")
FILES = (*CIFAR10.train_files, CIFAR10.test_file)


def tar(members: Iterable[Member], *, format: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar file of names with contents, and of headers without."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=format) as archive:
        for member in members:
            about = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member[0])
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(about)
                continue
            about.size = len(member[1])
            archive.addfile(about, io.BytesIO(member[1]))
    return written.getvalue()


def header(name: str, kind: bytes, *, size: int = 0, link: str = "/etc/passwd") -> tarfile.TarInfo:
    """A member that is no plain file, or one without the content that it claims."""
    about = tarfile.TarInfo(name)
    about.type, about.linkname, about.size, about.devmajor, about.devminor = kind, link, size, 1, 3
    return about


def raw(about: tarfile.TarInfo) -> bytes:
    """A header as it stands in a file, without anything behind it."""
    return about.tobuf(tarfile.GNU_FORMAT)


def sparse(name: str) -> bytes:
    """The headers of a file with holes, of which it claims to have a billion, and the beginning of their list."""
    about = tarfile.TarInfo(name)
    about.size = 390_000_000
    about.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}
    return about.tobuf(tarfile.PAX_FORMAT) + b"1000000000\n" + b"1\n" * 250 + b"1"


RECORDS = b"".join(bytes([label]) + bytes([label]) * 3072 for label in range(10))
"""An image of CIFAR-10 of each class, as they stand in a file."""


def batches(changed: Callable[[str], Member | None] = lambda name: None, content: bytes = RECORDS) -> list[Member]:
    """CIFAR-10's files with ten images each, some of them replaced: a sound dataset where nothing is."""
    return [changed(name) or (f"{CIFAR10.folder}/{name}", content) for name in FILES]


def replaced(member: Member, name: str = FILES[2]) -> list[Member]:
    """The files, with this in the place of one of them."""
    return batches(lambda each: member if each == name else None)


def zeros(count: int) -> bytes:
    """So many zeros, packed, without ever being there whole."""
    block = gzip.compress(bytes(10_000_000))
    return block * (count // 10_000_000)


def packed(dice: random.Random) -> list[tuple[str, bytes]]:
    """What is given as CIFAR's archive, by name; none of them is one."""
    inside = f"{CIFAR10.folder}/{FILES[2]}"
    whole = tar(batches())
    found: list[tuple[str, bytes]] = []
    for name in NAMES:
        found.append((f"a file called {name!r}", gzip.compress(tar(replaced((name, RECORDS))))))
    for kind in KINDS:
        found.append((f"a file that is of kind {kind!r}", gzip.compress(tar(replaced(header(inside, kind))))))
    for name, content in (
        ("a file that comes twice", tar([*batches(), (inside, RECORDS)])),
        ("a file that is too large", tar(replaced((inside, bytes(40_000_000))))),
        ("a file of no whole images", tar(batches(content=RECORDS + b"x"))),
        ("labels that are none", tar(batches(content=bytes([200]) + RECORDS[1:]))),
        ("pickles instead of images", tar(batches(content=pickle.dumps(CallsSystem())))),
        ("the pickled archive", tar([("cifar-10-batches-py/data_batch_1", pickle.dumps(CallsSystem()))])),
        ("no files", tar([])),
        ("a header that claims a gigabyte", raw(header("x", tarfile.XHDTYPE, size=1 << 30)) + bytes(5120)),
        ("a name that claims a gigabyte", raw(header("x", tarfile.GNUTYPE_LONGNAME, size=1 << 30)) + bytes(5120)),
        ("ten thousand headers of headers", raw(header("x", tarfile.XHDTYPE, size=0)) * 10_000 + bytes(1024)),
        ("a size below nothing", raw(header(inside, tarfile.REGTYPE, size=-512)) + tar(batches())),
        ("noise", dice.randbytes(5120)),
    ):
        found.append((name, gzip.compress(content, 1)))
    first, extended = header("x", tarfile.REGTYPE, size=490_000_000), header("x", tarfile.XHDTYPE, size=390_000_000)
    found += [
        ("a bomb of zeros", zeros(500_000_000)),
        ("a bomb before the files", gzip.compress(raw(first)) + zeros(490_000_000) + gzip.compress(whole)),
        ("a header of 390 MB", gzip.compress(raw(extended)) + zeros(390_000_000) + gzip.compress(whole)),
        ("a map of holes without end", gzip.compress(sparse(inside)) + gzip.compress(b"1\n" * 5_000_000, 1) * 39),
        ("a bomb in a bomb", gzip.compress(zeros(500_000_000))),
        ("nothing", b""),
        ("a web page", b"<html>Please log in</html>"),
        ("a bare tar", whole),
        ("another packing", bz2.compress(whole)),
        ("a third packing", lzma.compress(whole)),
        ("a pickle", pickle.dumps(CallsSystem())),
        ("its half", gzip.compress(whole)[: len(gzip.compress(whole)) // 2]),
    ]
    return found


def image(value: int) -> bytes:
    """A sound PNG."""
    written = io.BytesIO()
    Image.new("L", (8, 8), value).save(written, "PNG")
    return written.getvalue()


def sample(key: str, label: str) -> list[Member]:
    """An image beside its label."""
    return [(f"{key}.png", image(len(key))), (f"{key}.cls", label.encode())]


SAMPLE_BYTES = 4 * tarfile.BLOCKSIZE  # a header and a block each for the image and its label
SOUND = [*sample("a", "0"), *sample("bb", "1"), *sample("ccc", "0"), *sample("dddd", "1")]


def shards(dice: random.Random) -> list[tuple[str, bytes, int | None]]:
    """What is given as a training shard, by name, and how many of its images can be used; None where none can."""
    found: list[tuple[str, bytes, int | None]] = []
    for name in NAMES:
        hidden = name.rpartition("/")[2].startswith(".")
        found.append((f"an image called {name!r}", tar([*SOUND, *sample(name, "1")]), 4 if hidden else 5))
    for kind in KINDS[:5]:
        found.append((f"a member of kind {kind!r}", tar([*SOUND, header("e.png", kind), ("e.cls", b"1")]), 4))
    sound = tar(SOUND)
    four = sound[: 4 * SAMPLE_BYTES]
    found += [
        ("a label that is a pickle", tar([*SOUND, *sample("e", "")[:1], ("e.cls", pickle.dumps(CallsSystem()))]), 4),
        ("a label of a megabyte", tar([*SOUND, *sample("e", "1" * 1_000_000)]), 4),
        ("a label below zero", tar([*SOUND, *sample("e", "-1")]), 4),
        ("a label beyond all", tar([*SOUND, *sample("e", "9" * 60)]), 4),
        ("an image that is a pickle", tar([*SOUND, ("e.png", pickle.dumps(CallsSystem())), ("e.cls", b"1")]), 4),
        ("an image without bytes", tar([*SOUND, ("e.png", b""), ("e.cls", b"1")]), 4),
        ("an image that comes twice", tar([*SOUND, ("x.txt", b""), *sample("a", "1")]), 4),
        ("an image longer than the shard", four + raw(header("e.png", b"0", size=1 << 33)) + bytes(1024), 4),
        ("a name that claims a gigabyte", four + raw(header("x", b"L", size=1 << 30)) + bytes(1024), 4),
        ("ten thousand headers of headers", four + raw(header("x", b"x")) * 10_000 + bytes(1024), 4),
        ("a map of holes without end", four + sparse("e.png") + b"1\n" * 1_000_000, 4),
        ("a size below nothing", four + raw(header("e.png", b"0", size=-2048)) + bytes(1024), 4),
        ("an end in the middle", sound[: 2 * SAMPLE_BYTES + 700], 2),
        ("packed", gzip.compress(sound), None),
        ("noise", dice.randbytes(5120), None),
        ("nothing", b"", None),
        ("no images", tar([("readme.txt", b"nothing")]), None),
    ]
    return found


def fault_of_packed(content: bytes, place: Path) -> str:
    """What went wrong with what was given as CIFAR's archive: it must be refused in one line of exit code 3."""
    from convscope.data.cifar import load_cifar10

    place.write_bytes(content)
    try:
        load_cifar10(data_dir=place)
    except DataError as error:
        return "" if "\n" not in str(error) and error.exit_code == 3 else f"says {error}"
    return "was taken"


def fault_of_shard(content: bytes, usable: int | None, folder: Path) -> str:
    """What went wrong with a shard: it must be refused; leniently, what is sound is read and the rest told."""
    folder.mkdir()
    (folder / "train-0.tar").write_bytes(content)
    (folder / "test-0.tar").write_bytes(tar(SOUND))
    try:
        load_shards(folder, image_size=8)
        refusal = ""
    except DataError as error:
        refusal = str(error)
    try:
        dataset = load_shards(folder, image_size=8, skip_bad=True)
    except DataError as error:
        refusal, read, told = str(error), None, True
    else:
        read, told = len(dataset.train.labels), bool(dataset.skipped)
    return complaints(
        ("\n" not in refusal, f"says {refusal}"),
        (read == usable, f"{read} images were read, {usable} are sound: {refusal}"),
        (bool(refusal) == told, f"refused with {refusal!r}, but told {told} when lenient"),
    )


def fault_of_sound(folder: Path) -> str:
    """Why sound archives are not taken: without that, refusing would prove nothing."""
    refused = fault_of_packed(gzip.compress(tar(batches())), folder / "sound.tar.gz")
    return complaints(
        (refused == "was taken", f"the archive of CIFAR: {refused}"),
        (not (fault := fault_of_shard(tar(SOUND), 4, folder / "sound-shards")), fault),
    )
