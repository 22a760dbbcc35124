"""Every mode, orientation and size that Pillow knows, against pixels worked out here."""

import random
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from convscope.data.decode import Unreadable, decode_image, read_size, to_rgb


def saved(tmp_path, image, name="image.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def colours(size=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def one(mode, value):
    return Image.new(mode, (1, 1), value)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (one("1", 1), (255, 255, 255)),
        (one("L", 100), (100, 100, 100)),
        (one("RGB", (1, 2, 3)), (1, 2, 3)),
        (one("LA", (100, 255)), (100, 100, 100)),
        (one("LA", (100, 0)), (255, 255, 255)),
        (one("RGBA", (10, 20, 30, 255)), (10, 20, 30)),
        (one("RGBA", (10, 20, 30, 0)), (255, 255, 255)),
        (one("RGBA", (0, 100, 250, 51)), (204, 224, 254)),  # a fifth of the colour, four fifths of white
        (one("CMYK", (0, 0, 0, 0)), (255, 255, 255)),
        (one("CMYK", (255, 0, 0, 0)), (0, 255, 255)),
        (one("YCbCr", (120, 128, 128)), (120, 120, 120)),
        (one("LAB", (255, 128, 128)), (255, 255, 255)),
        (one("HSV", (0, 0, 90)), (90, 90, 90)),
        (one("HSV", (0, 255, 255)), (255, 0, 0)),
        (one("I;16", 65535), (255, 255, 255)),
        (one("I;16", 256 * 100), (100, 100, 100)),
        (one("I;16B", 257 * 100), (100, 100, 100)),
        (one("I", 257 * 50), (50, 50, 50)),
        (one("I", 1_000_000), (255, 255, 255)),
        (one("I", -5), (0, 0, 0)),
        (one("F", 0.5), (128, 128, 128)),
        (one("F", 200.4), (200, 200, 200)),
        (one("F", 1e9), (255, 255, 255)),
        (one("F", -3.0), (0, 0, 0)),
        (one("F", float("nan")), (0, 0, 0)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else None,
)
def test_every_mode_becomes_rgb(image, expected):
    rgb = to_rgb(image)
    assert rgb.mode == "RGB"
    np.testing.assert_allclose(rgb.getpixel((0, 0)), expected, atol=2 if image.mode == "LAB" else 0)


@pytest.mark.parametrize("transparency", [None, 1])
def test_a_palette_with_and_without_transparency(tmp_path, transparency):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    options = {} if transparency is None else {"transparency": transparency}
    with Image.open(saved(tmp_path, image, **options)) as read:
        assert read.mode == "P"
        rgb = to_rgb(read)
    assert rgb.getpixel((0, 0)) == (10, 20, 30)
    assert rgb.getpixel((1, 0)) == ((40, 50, 60) if transparency is None else (255, 255, 255))


def test_a_transparent_colour_without_an_alpha_channel_is_white(tmp_path):
    image = Image.fromarray(colours())
    chosen = image.getpixel((3, 3))
    pixels = decode_image(saved(tmp_path, image, transparency=chosen), 8)
    assert pixels[:, 3, 3].tolist() == [255, 255, 255]
    assert np.array_equal(pixels[:, 0], colours()[0].T)


def test_sixteen_bits_survive_a_file(tmp_path):
    values = (np.arange(64).reshape(8, 8) * 1000).astype(np.uint16)
    for name in ("image.png", "image.tif", "image.pgm"):
        pixels = decode_image(saved(tmp_path, Image.fromarray(values), name), 8)
        assert np.array_equal(pixels, np.broadcast_to(np.rint(values / 257), (3, 8, 8)))


def test_an_image_of_the_size_keeps_its_very_pixels(tmp_path):
    for name in ("a.png", "a.bmp", "a.tiff", "a.ppm", "a.webp"):
        path = saved(tmp_path, Image.fromarray(colours()), name, **({"lossless": True} if name == "a.webp" else {}))
        pixels = decode_image(path, 8)
        assert np.array_equal(pixels, colours().transpose(2, 0, 1)), name
        assert pixels.dtype == np.uint8
        assert pixels.flags["C_CONTIGUOUS"]


def test_the_shorter_side_fits_and_the_centre_stays(tmp_path):
    wide = np.zeros((8, 13, 3), np.uint8)
    wide[:, 2:10] = colours()
    path = saved(tmp_path, Image.fromarray(wide))
    assert np.array_equal(decode_image(path, 8), colours().transpose(2, 0, 1))
    tall = saved(tmp_path, Image.fromarray(wide.transpose(1, 0, 2)), "tall.png")
    assert np.array_equal(decode_image(tall, 8), colours().transpose(2, 1, 0))


def test_other_sizes_are_resized_with_antialiasing(tmp_path):
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    pixels = decode_image(saved(tmp_path, Image.fromarray(stripes)), 16)
    assert abs(pixels[:, 2:-2, 2:-2].astype(int) - 128).max() <= 2
    ramp = np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[None, :, None], 64, 0).repeat(3, 2)
    pixels = decode_image(saved(tmp_path, Image.fromarray(ramp)), 16)
    np.testing.assert_allclose(pixels[0, 0, 2:-2], ramp[0, :, 0].reshape(16, 4).mean(1)[2:-2], atol=1)


def test_a_large_jpeg_decoded_small_is_nearly_the_same(tmp_path):
    smooth = Image.fromarray(colours(6)).resize((600, 600), Image.Resampling.BICUBIC)
    whole = np.asarray(smooth.resize((32, 32), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    pixels = decode_image(saved(tmp_path, smooth, "image.jpg", quality=95), 32)
    np.testing.assert_allclose(pixels, whole, atol=6)


def test_extreme_sizes(tmp_path):
    assert (decode_image(saved(tmp_path, one("RGB", (1, 2, 3))), 16)[2] == 3).all()
    pixels = decode_image(saved(tmp_path, Image.new("RGB", (1, 20_000), (9, 9, 9))), 64)
    assert pixels.shape == (3, 64, 64)
    assert (pixels == 9).all()


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_orientations_come_out_upright(tmp_path, orientation, name):
    """A picture whose four corners differ, stored as the camera would hold it for each EXIF orientation."""
    upright = np.zeros((32, 32, 3), np.uint8)
    upright[:16, :16], upright[:16, 16:], upright[16:, :16] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    # what EXIF says of the stored rows and columns: 2 mirrored, 3 turned by 180°, 4 upside down, 5 transposed,
    # 6 needs a quarter turn clockwise, 7 transversed, 8 needs one anticlockwise
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if name == "a.webp" else {"subsampling": 0} if name == "a.jpg" else {}
    path = saved(tmp_path, Image.fromarray(np.ascontiguousarray(stored)), name, exif=exif, **options)
    np.testing.assert_allclose(decode_image(path, 32).astype(int), upright.transpose(2, 0, 1), atol=8)


def test_damaged_metadata_does_not_spoil_the_pixels(tmp_path):
    path = saved(tmp_path, Image.fromarray(colours()), exif=b"Exif\0\0MM\0*\0\0\xff\xff\xff\xff")
    assert np.array_equal(decode_image(path, 8), colours().transpose(2, 0, 1))


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.tif", "a.webp"])
def test_an_animation_gives_its_first_frame(tmp_path, name):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    options = {"lossless": True} if name == "a.webp" else {}
    path = saved(tmp_path, frames[0], name, save_all=True, append_images=frames[1:], **options)
    assert decode_image(path, 8)[:, 4, 4].tolist() == [255, 0, 0]


def refuses(path, message):
    for read in (read_size, lambda path: decode_image(path, 8)):
        with pytest.raises(Unreadable, match=message) as error:
            read(path)
        assert "\n" not in str(error.value)


def header_only(path, width, height):
    """A PNG that claims a size and has no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 1000) + b"IDAT")
    return path


@pytest.mark.parametrize("size", [(5000, 5001), (13_300, 13_300), (60_000, 60_000), (25_000_001, 1)])
def test_bombs_are_refused_from_the_header(tmp_path, size, monkeypatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("it was decoded"))
    refuses(header_only(tmp_path / "bomb.png", *size), "^more than 25 million pixels$")


def test_the_largest_that_is_allowed(tmp_path):
    assert read_size(header_only(tmp_path / "large.png", 5000, 4000)) == (4000, 5000)


def test_large_files_are_refused_unopened(tmp_path):
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(20_000_001)
    refuses(path, "^20,000,001 bytes, at most 20,000,000 are allowed$")


def test_what_is_no_image_is_refused(tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "drawing.png").write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n"
    )  # never to Ghostscript
    for name in ("empty.png", "text.png", "drawing.png"):
        refuses(tmp_path / name, "^not a readable BMP, GIF, JPEG, PNG, PPM, TIFF or WEBP$")
    refuses(tmp_path / "missing.png", "^No such file or directory$")


def test_a_truncated_image_is_refused(tmp_path):
    for name in ("a.png", "a.jpg", "a.gif", "a.bmp"):
        path = saved(tmp_path, Image.fromarray(colours(64)), name)
        path.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(Unreadable, match=r"truncated|broken|cannot|end"):
            decode_image(path, 64)


def test_mutated_files_give_an_image_or_unreadable_and_nothing_else(tmp_path):
    draw = random.Random(0)
    for name in ("a.png", "a.jpg", "a.gif", "a.bmp", "a.ppm", "a.webp", "a.tif"):
        sound = saved(tmp_path, Image.fromarray(colours(32)), name).read_bytes()
        for _ in range(60):
            content = bytearray(sound)
            for _ in range(draw.choice((1, 3, 30))):
                content[draw.randrange(len(content) if draw.random() < 0.5 else 64)] = draw.randrange(256)
            (tmp_path / name).write_bytes(content[: draw.choice((None, draw.randrange(len(content))))])
            try:
                outcome = decode_image(tmp_path / name, 16).shape
            except Unreadable as reason:
                outcome = str(reason)
            assert outcome == (3, 16, 16) or re.fullmatch(r"[^\n]+", str(outcome))
