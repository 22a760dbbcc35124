"""Mutated, cut and odd images through every reader: class folders, shards, --image and uploads agree on each."""

from __future__ import annotations

import io
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
import psutil
from PIL import Image

from convscope.command_line.flags import Output
from convscope.command_line.subject import Subject
from convscope.data.decode import Unreadable, decode_image
from convscope.data.folder import load_folder
from convscope.data.shards import load_shards
from convscope.errors import DataError
from convscope.types import Dataset, Network
from convscope.web.explorer.uploads import Decoder, Refused
from tests.faults.harness import Tally
from tests.faults.hostile_archives import tar

SIZE = 16
SECONDS = 5
"""No image may take longer."""

MODES = (
    "1",
    "L",
    "LA",
    "La",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBa",
    "RGBX",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "I",
    "F",
    "I;16",
)
KINDS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
SHAPES = ((1, 1), (1, 20_000), (20_000, 1), (3, 2), (30, 40))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """The image as a file."""
    written = io.BytesIO()
    image.save(written, kind, **options)
    return written.getvalue()


def noise(width: int = 40, height: int = 30) -> Image.Image:
    """Colours by chance, always the same."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def sound_files() -> list[bytes]:
    """An image in each format and several modes."""
    rgb, grey = noise(), noise().convert("L")
    files = [encoded(rgb, kind) for kind in KINDS]
    files += [encoded(rgb, "JPEG", progressive=True), encoded(rgb, "WEBP", lossless=True), encoded(grey, "PNG")]
    files += [encoded(rgb, "TIFF", compression=how) for how in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")]
    files += [encoded(rgb, kind, save_all=True, append_images=[rgb.rotate(90)]) for kind in ("GIF", "WEBP", "PNG")]
    files += [encoded(Image.new("I;16", (30, 40), 9), "PNG"), encoded(Image.new("F", (30, 40), 0.5), "TIFF")]
    return files


def odd_files() -> list[bytes]:
    """Every mode that a format takes, every orientation, tiny and long ones, and animations: all of them sound."""
    files = sound_files()
    for mode in MODES:
        image = Image.new(mode, (30, 40)) if mode.startswith("I;") else _converted(mode)
        for kind in KINDS:
            try:
                files.append(encoded(image, kind))
            except (OSError, KeyError, ValueError, DeprecationWarning):  # a format that does not know the mode
                continue
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        files += [encoded(noise(), kind, exif=exif) for kind in ("JPEG", "PNG", "WEBP", "TIFF")]
    for shape in SHAPES:
        for kind in KINDS:
            if kind != "WEBP" or max(shape) < 16_384:  # it knows no longer ones
                files.append(encoded(Image.new("RGB", shape, (10, 20, 30)), kind))
    wide = np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50
    files += [encoded(Image.fromarray(wide), kind) for kind in ("PNG", "TIFF", "PPM")]
    return files


def _converted(mode: str) -> Image.Image:
    """An image in a mode, by the way that Pillow offers."""
    for through in ("RGB", "RGBA", "LA", "P"):
        try:
            return noise().convert(through).convert(mode)
        except ValueError:
            continue
    return Image.new(mode, (40, 30))


def mutated(data: bytes, dice: random.Random, others: list[bytes]) -> bytes:
    """The file with some of its bytes changed, cut, moved, repeated, or another's put in."""
    found = bytearray(data)
    for _ in range(dice.randint(1, 6)):
        place, length = dice.randrange(len(found) + 1), dice.randint(1, 64)
        match dice.randrange(7):
            case 0:
                for _ in range(dice.randint(1, 8)):
                    if found:
                        found[dice.randrange(len(found))] ^= 1 << dice.randrange(8)
            case 1:
                del found[place:]
            case 2:
                del found[place : place + length]
            case 3:
                found[place:place] = dice.randbytes(length)
            case 4:
                found[place : place + 4] = dice.choice([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\0\0\xff\xff"])
            case 5:
                found[place:place] = found[place : place + length] * dice.randint(1, 50)
            case _:
                other = dice.choice(others)
                found[place:] = other[dice.randrange(len(other)) :]
    return bytes(found)


class Given(NamedTuple):
    """A file, and whether it is sound where that is known without opening it."""

    data: bytes
    sound: bool | None


def files(count: int, seed: int) -> Iterator[Given]:
    """So many: the odd ones as they are, as many that are certainly broken, and mutated ones."""
    dice, odd, plain = random.Random(seed), odd_files(), sound_files()
    for number in range(count):
        if number < len(odd):
            yield Given(odd[number], True)
        elif number < 2 * len(odd):
            cut = odd[number - len(odd)]
            yield Given(dice.choice([b"", cut[:5], b"\0" + cut, b"<html>" + cut, cut[:2] + bytes(40)]), False)
        else:
            yield Given(mutated(dice.choice(plain), dice, plain), None)


def read_alone(data: bytes) -> np.ndarray | None:
    """The pixels (3, SIZE, SIZE) of a file by itself; None where it cannot be read."""
    try:
        return decode_image(io.BytesIO(data), SIZE)
    except Unreadable as reason:
        assert "\n" not in str(reason)
        return None


def numbers_in(lines: tuple[str, ...]) -> set[int]:
    """The files that lines name, by the six digits in their names."""
    return {int(found[1]) for line in lines if (found := re.search(r"(\d{6})", line.partition(" (")[0]))}


def write_folder(root: Path, given: list[bytes]) -> Path:
    """The files as images of two classes by turns, for training; a few sound ones besides, and for testing."""
    sound = encoded(noise(), "PNG")
    for half, name in (("train", "even"), ("train", "odd"), ("test", "even"), ("test", "odd")):
        (root / half / name).mkdir(parents=True)
        (root / half / name / "sound.png").write_bytes(sound)
    for number, data in enumerate(given):
        (root / "train" / ("odd" if number % 2 else "even") / f"{number:06}.png").write_bytes(data)
    return root


def write_shards(root: Path, given: list[bytes]) -> Path:
    """The same as tar shards of a thousand images."""
    root.mkdir()
    sound = encoded(noise(), "PNG")
    whole = [("x.png", sound), ("x.cls", b"0"), ("y.png", sound), ("y.cls", b"1")]
    (root / "test-0.tar").write_bytes(tar(whole))
    for start in range(0, len(given), 1000):
        members = list(whole) if start == 0 else []
        for number, data in enumerate(given[start : start + 1000], start):
            members += [(f"{number:06}.png", data), (f"{number:06}.cls", b"%d" % (number % 2))]
        (root / f"train-{start // 1000:03}.tar").write_bytes(tar(members))
    return root


def fault_of_dataset(load: object, place: Path, given: list[bytes], bad: set[int]) -> str:
    """What is wrong with how a dataset's reader names and counts the bad files."""
    total = len(given) + 4
    try:
        load(place, image_size=SIZE)  # pyright: ignore
    except DataError as error:
        said = str(error)
        counted = re.search(r": ([\d,]+) (?:of ([\d,]+) images cannot be read|samples cannot be used)", said)
        if "\n" in said or not counted:
            return f"says {said}"
        strict = int(counted[1].replace(",", ""))
    else:
        strict = 0
    dataset: Dataset = load(place, image_size=SIZE, skip_bad=True)  # pyright: ignore
    named = numbers_in(dataset.skipped)
    if named != bad or len(dataset.skipped) != len(bad):
        return f"{len(dataset.skipped)} are named, {len(bad)} are bad; wrong are {sorted(named ^ bad)[:9]}"
    if len(dataset.train.labels) + len(dataset.test.labels) != total - len(bad):
        return f"{len(dataset.train.labels)} are left of {total}, though {len(bad)} are bad"
    # Shards refuse empty samples before they look at images, and count those alone at first.
    empty = sum(not data for data in given)
    return "" if strict in (len(bad), empty if "shards" in place.name else -1) else f"counts {strict} of {len(bad)}"


def soak(folder: Path, *, count: int = 10_000, seed: int = 0) -> Tally:
    """Send so many files through every reader."""
    tally = Tally("images, each through four readers")
    process = psutil.Process()
    memory, slowest, most = process.memory_info().rss, 0.0, 0
    given: list[bytes] = []
    pixels: list[np.ndarray | None] = []
    network = Network(None, (0.5,) * 3, (0.25,) * 3, (SIZE, SIZE), (), "none")  # pyright: ignore
    subject, decoder, limited = Subject(network), Decoder(SIZE), 0
    place = folder / "one"
    for number, (data, sound) in enumerate(files(count, seed)):
        began = time.monotonic()
        alone = read_alone(data)
        given.append(data)
        pixels.append(alone)
        known = sound is None or sound == (alone is not None)
        tally.count("told as they are, where that is known", "" if known else f"{number}: sound is {sound}")
        place.write_bytes(data)
        tally.count("--image agrees", _agrees(alone, _as_image(subject, place), number))
        uploaded = _as_upload(decoder, data)
        if isinstance(uploaded, str) and "memory" in uploaded:  # the uploads' process may take less of it
            limited, uploaded = limited + 1, alone
        tally.count("uploads agree", _agrees(alone, uploaded, number))
        slowest = max(slowest, time.monotonic() - began)
        most = max(most, process.memory_info().rss - memory)
    decoder.close()
    bad = {number for number, found in enumerate(pixels) if found is None}
    with mock.patch("convscope.data.download.user_cache_path", return_value=folder / "cache"):
        for name, load, write in (("folder", load_folder, write_folder), ("shards", load_shards, write_shards)):
            where = write(folder / name, given)
            fault = fault_of_dataset(load, where, given, bad)
            tally.count(f"{name}: the bad are named and counted exactly", fault)
            lenient = load(where, image_size=SIZE, skip_bad=True)
            tally.count(f"{name}: the others have the same pixels", _same(lenient, pixels))
    tally.count("none hangs", "" if slowest < SECONDS else f"one took {slowest:.1f} s")
    tally.remarks.append(
        f"{count:,} files, {len(bad):,} of them bad; the slowest took {slowest:.2f} s for three readings; memory "
        f"grew by {most / 1e6:.0f} MB at most; the uploads' limit of memory refused {limited}"
    )
    return tally


def _as_image(subject: Subject, path: Path) -> np.ndarray | str:
    try:
        return np.rint(subject.image(str(path), Output()).numpy() * 255).astype(np.uint8)
    except DataError as error:
        assert "\n" not in str(error)
        return str(error)


def _as_upload(decoder: Decoder, data: bytes) -> np.ndarray | str:
    try:
        return decoder.decode(data).transpose(2, 0, 1)
    except Refused as refused:
        return str(refused)


def _agrees(alone: np.ndarray | None, found: np.ndarray | str, number: int) -> str:
    if alone is None or isinstance(found, str):
        right = alone is None and isinstance(found, str)
    else:
        right = np.array_equal(alone, found)
    return "" if right else f"{number}: {found if isinstance(found, str) else 'other pixels'}"


def _same(dataset: Dataset, pixels: list[np.ndarray | None]) -> str:
    """Whether a training half has exactly the pixels that the sound files have, whatever their order."""
    import torch

    (found,) = dataset.train.images.batches([torch.arange(len(dataset.train.labels))])
    sound = decode_image(io.BytesIO(encoded(noise(), "PNG")), SIZE)
    wanted = [each.tobytes() for each in (*pixels, sound, sound) if each is not None]
    return "" if sorted(each.numpy().tobytes() for each in found) == sorted(wanted) else "other pixels"
