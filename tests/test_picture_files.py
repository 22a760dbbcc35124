"""A picture's numbers go into files of other programs and come back equal; one place decides which there are."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from convscope.errors import ResourceError, UsageError
from convscope.picture_files import save_picture
from convscope.types import Picture

VALUES = np.random.default_rng(0).normal(size=(3, 1, 4, 5)).astype(np.float32)
PICTURE = Picture(
    "maps-conv1",
    "Maps of conv1",
    VALUES,
    np.array([[-1, 1], [-2, 2], [0, 3]], dtype=np.float32),
    "diverging",
    ("0", "1: größer", ""),
    "How to read it.",
    {"ratio": [0.5, float("nan")], "dead": [2], "layer": "conv1"},
    {"Seed": "3"},
)


def check_about(about: dict) -> None:
    assert about["title"] == "Maps of conv1"
    assert about["captions"] == ["0", "1: größer", ""]
    assert about["numbers"] == {"ratio": [0.5, None], "dead": [2], "layer": "conv1"}
    assert about["provenance"] == {"Software": "convscope", "Seed": "3"}
    assert (about["shape"], about["scale"], about["caption"]) == ([3, 1, 4, 5], "diverging", "How to read it.")


def test_numpys_archive_holds_everything_and_no_pickle(tmp_path):
    with np.load(save_picture(PICTURE, tmp_path / "new" / "p.npz"), allow_pickle=False) as read:
        np.testing.assert_array_equal(read["values"], VALUES)
        assert read["values"].dtype == np.float32
        np.testing.assert_array_equal(read["limits"], PICTURE.limits)
        assert read["captions"].tolist() == list(PICTURE.captions)
        check_about(json.loads(str(read["about"])))


def test_an_array_is_the_values(tmp_path):
    np.testing.assert_array_equal(np.load(save_picture(PICTURE, tmp_path / "p.NPY"), allow_pickle=False), VALUES)


def test_safetensors_holds_the_same(tmp_path):
    path = save_picture(PICTURE, tmp_path / "p.safetensors")
    read = safetensors.numpy.load_file(path)
    assert read.keys() == {"values", "limits"}
    np.testing.assert_array_equal(read["values"], VALUES)
    with safetensors.safe_open(path, "np") as file:
        check_about(json.loads(file.metadata()["about"]))


def test_values_that_lie_otherwise_in_memory_are_the_same(tmp_path):
    turned = Picture(**{**vars(PICTURE), "values": VALUES.transpose(0, 1, 3, 2).astype(np.float64)})
    for name in ("p.npy", "p.safetensors"):
        path = save_picture(turned, tmp_path / name)
        read = np.load(path, allow_pickle=False) if name == "p.npy" else safetensors.numpy.load_file(path)["values"]
        np.testing.assert_array_equal(read, VALUES.transpose(0, 1, 3, 2))


def test_json_tells_the_numbers(tmp_path):
    check_about(json.loads(save_picture(PICTURE, tmp_path / "p.json").read_text(encoding="utf-8")))


def test_png_is_painted(tmp_path):
    with Image.open(save_picture(PICTURE, str(tmp_path / "p.png"))) as read:
        assert read.text["Title"] == "Maps of conv1"


@pytest.mark.parametrize("name", ["p.jpg", "p", "p.svg", ".png", "p.pt"])
def test_any_other_name_is_told_what_is_allowed(tmp_path, name):
    with pytest.raises(
        UsageError, match=r"allowed: a name that ends in \.png, \.npz, \.npy, \.safetensors or \.json"
    ):
        save_picture(PICTURE, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_charts_are_pointed_to():
    with pytest.raises(UsageError, match=r"charts, as \.svg, are from: convscope export RUN$"):
        save_picture(PICTURE, "p.svg")


def test_a_place_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "text").write_text("")
    with pytest.raises(ResourceError, match="name another place with --out"):
        save_picture(PICTURE, tmp_path / "text" / "p.npz")
