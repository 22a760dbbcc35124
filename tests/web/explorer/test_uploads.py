"""Uploads: what is taken, what is refused and with which words, and that nothing that is sent harms the server."""

from __future__ import annotations

import asyncio
import io
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import ExifTags, Image
from starlette.requests import Request

from convscope.data.decode import MOST_BYTES
from convscope.web.explorer import uploads
from convscope.web.explorer.decoding import LENGTH
from convscope.web.explorer.uploads import Refused, Uploads
from tests.faults.images import mutated, sound_files
from tests.patience import PATIENCE, soon

SIZE = 16
REFUSALS = {413, 415, 422}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "DECODE_SECONDS", PATIENCE)


@pytest.fixture(scope="module")
def taker() -> Iterator[Uploads]:
    taker = Uploads(SIZE)
    yield taker
    taker.close()


def request_of(data: bytes, *, chunk: int = 65536, after: Callable[[], Any] | None = None) -> Request:
    """A request whose body comes in chunks; what was asked for is counted on it."""
    parts = iter([data[start : start + chunk] for start in range(0, len(data), chunk)])
    state = {"read": 0}

    async def receive() -> dict[str, Any]:
        part = next(parts, b"")
        state["read"] += len(part)
        if not part and after:
            return await after()
        return {"type": "http.request", "body": part, "more_body": bool(part)}

    request = Request({"type": "http", "method": "POST", "headers": []}, receive)
    request.scope["test"] = state
    return request


def take(taker: Uploads, data: bytes, **options: Any) -> np.ndarray:
    return asyncio.run(taker.take(request_of(data, **options)))


def outcome(taker: Uploads, data: bytes, **options: Any) -> tuple[int, str]:
    """The status and the line of an answer."""
    try:
        pixels = take(taker, data, **options)
    except Refused as refused:
        assert refused.status in REFUSALS | {400, 408}
        assert 0 < len(str(refused)) <= 300
        assert str(refused).isprintable()
        return refused.status, str(refused)
    assert pixels.shape == (SIZE, SIZE, 3)
    assert pixels.dtype == np.uint8
    return 201, ""


def colours(height: int = SIZE, width: int = SIZE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image: Image.Image | np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("BMP", {}), ("PPM", {}), ("TIFF", {}), ("WEBP", {"lossless": True})],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_image_of_the_size_keeps_its_pixels(taker, kind, options):
    assert np.array_equal(take(taker, encoded(colours(), kind, **options)), colours())


def test_of_a_wide_image_the_middle_is_taken(taker):
    wide = colours(SIZE, 3 * SIZE)
    assert np.array_equal(take(taker, encoded(wide)), wide[:, SIZE : 2 * SIZE])


def test_of_an_animation_the_first_frame_is_taken(taker):
    frames = [Image.fromarray(colours(seed=seed)) for seed in (1, 2, 3)]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert np.array_equal(take(taker, data), colours(seed=1))


def test_an_image_is_turned_as_its_camera_says(taker):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # its top is at the right
    turned = take(taker, encoded(colours(), "PNG", exif=exif.tobytes()))
    assert np.array_equal(turned, np.rot90(colours(), -1))


def test_what_is_transparent_is_white(taker):
    assert (take(taker, encoded(Image.new("RGBA", (SIZE, SIZE), (9, 9, 9, 0)))) == 255).all()


@pytest.mark.parametrize("data", [b"hello" * 100, b"<svg xmlns='x'/>", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\0" * 9])
def test_other_formats_are_refused_by_name(taker, data):
    assert outcome(taker, data) == (415, "not a readable BMP, GIF, JPEG, PNG, PPM, TIFF or WEBP")


@pytest.mark.parametrize("kind", ["ICO", "JPEG2000", "SGI", "TGA", "PCX", "EPS"])
def test_formats_that_pillow_knows_and_we_do_not_take_are_refused(taker, kind):
    assert outcome(taker, encoded(colours(32, 32), kind))[0] == 415


def test_an_empty_body_is_refused(taker):
    assert outcome(taker, b"") == (422, "the file is empty")


def test_a_broken_image_is_refused(taker):
    status, said = outcome(taker, encoded(colours(64, 64), "JPEG")[:-400])
    assert status == 422
    assert "truncated" in said


def test_what_has_too_many_bytes_is_refused_and_not_kept(taker):
    request = request_of(bytes(MOST_BYTES + 1), chunk=1 << 20)
    with pytest.raises(Refused, match="more than 20 MB; send a smaller file") as refused:
        asyncio.run(taker.take(request))
    assert refused.value.status == 413
    assert request.scope["test"]["read"] == MOST_BYTES + 1  # so that the browser, which was sending, reads the answer


def test_what_never_ends_is_not_read_for_ever(taker, monkeypatch):
    monkeypatch.setattr(uploads, "THROWN_AWAY_BYTES", MOST_BYTES + 100)
    request = request_of(bytes(2 * MOST_BYTES), chunk=1 << 20)
    with pytest.raises(Refused, match="more than 20 MB"):
        asyncio.run(taker.take(request))
    assert request.scope["test"]["read"] < MOST_BYTES + 100 + (1 << 20)


def test_what_does_not_arrive_in_time_is_refused(taker, monkeypatch):
    monkeypatch.setattr(uploads, "BODY_SECONDS", 0.05)
    answer = outcome(taker, b"x", after=lambda: asyncio.sleep(2 * PATIENCE))
    assert answer == (408, "the image did not arrive within 0 seconds")


def test_what_breaks_off_is_refused(taker):
    async def leave() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    assert outcome(taker, b"x", after=leave) == (400, "the image did not arrive whole")


def png_header(width: int, height: int) -> bytes:
    """A PNG that only says how large it is."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"")


def test_too_many_pixels_are_refused_from_the_header(taker):
    assert outcome(taker, png_header(5001, 5000)) == (422, "more than 25 million pixels")


def test_the_largest_image_in_the_hungriest_format_is_taken(taker):
    assert outcome(taker, encoded(Image.new("F", (5000, 5000)), "TIFF", compression="tiff_deflate"))[0] == 201


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to the memory that it may have")
def test_an_image_that_takes_too_much_memory_is_refused_and_the_next_taken(monkeypatch):
    monkeypatch.setattr(
        uploads, "start_decoding", lambda size: start_with(f"decoding.MEMORY_BYTES = 200 << 20; {RUN}")
    )
    taker = Uploads(SIZE)
    assert outcome(taker, encoded(colours()))[0] == 201
    hungry = encoded(Image.new("F", (5000, 5000)), "TIFF", compression="tiff_deflate")
    assert outcome(taker, hungry) == (422, "decoding it takes too much memory")
    assert outcome(taker, encoded(colours()))[0] == 201
    taker.close()


RUN = f"decoding.limit(); decoding.serve(sys.stdin.buffer, sys.stdout.buffer, {SIZE})"


def start_with(code: str) -> subprocess.Popen[bytes]:
    """A process that decodes, changed."""
    command = [sys.executable, "-c", f"import sys, time; from convscope.web.explorer import decoding; {code}"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@pytest.mark.parametrize(
    "fault",
    [
        f"time.sleep({2 * PATIENCE})",
        "sys.exit(3)",
        "import os; os.abort()",
        "sys.stdout.buffer.write(b'P' + bytes(7) + b'x' + bytes(9))",  # pixels that are too few
        # an endless line
        f"sys.stdout.buffer.write(b'U' + b'x' * 8 + bytes(9)); sys.stdout.flush(); time.sleep({2 * PATIENCE})",
        "sys.stdout.buffer.write(b'P')",
    ],
)
def test_a_decoder_that_fails_is_replaced(monkeypatch, fault):
    taker = Uploads(SIZE)
    with monkeypatch.context() as broken:
        broken.setattr(uploads, "DECODE_SECONDS", 1.0)
        broken.setattr(
            uploads, "start_decoding", lambda size: start_with(f"sys.stdin.buffer.read({LENGTH.size}); {fault}")
        )
        assert outcome(taker, encoded(colours())) == (422, "decoding it takes too long, or ends the decoder")
    assert outcome(taker, encoded(colours()))[0] == 201
    taker.close()


def test_a_decoder_that_was_killed_between_two_images_is_replaced(taker):
    assert outcome(taker, encoded(colours()))[0] == 201
    taker._decoder.process.kill()
    taker._decoder.process.wait()
    assert outcome(taker, encoded(colours()))[0] == 201


def test_the_decoder_starts_late_imports_no_torch_and_ends(tmp_path):
    taker = Uploads(SIZE)
    assert taker._decoder.process is None
    outcome(taker, encoded(colours()))
    process = psutil.Process(taker._decoder.process.pid)
    if sys.platform == "linux":
        assert not [one.path for one in process.memory_maps() if "torch" in one.path]
    taker.close()
    assert not process.is_running()


def test_the_decoder_ends_with_the_process_that_started_it():
    code = (
        "from convscope.web.explorer.uploads import *; "
        "d = Decoder(8); d.process = start_decoding(8); print(d.process.pid)"
    )
    started = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    soon(lambda: not psutil.pid_exists(int(started.stdout)))


def test_150_mutated_uploads_are_taken_or_refused(taker):
    dice, files = random.Random(5), sound_files()
    statuses = {outcome(taker, mutated(dice.choice(files), dice, files))[0] for _ in range(150)}
    assert {201, 415, 422} <= statuses <= {201} | REFUSALS
    assert np.array_equal(take(taker, encoded(colours())), colours())  # and it goes on
