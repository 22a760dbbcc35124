"""A folder as a reader has it after the first run: a run, an image, a folder of images."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.docs.reader import call

SHORT = ["--model", "resnet8", "--steps", "2", "--precision", "fp32", "--quiet"]


@pytest.fixture(scope="session")
def first_run(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("reader") / "first"
    call("train", "digits", *SHORT, "--out", str(path))
    return path


@pytest.fixture
def desk(first_run, tmp_path, monkeypatch) -> Path:
    """The folder in which the reader works; the current one, also for imports."""
    shutil.copytree(first_run, tmp_path / "runs" / "first")
    colours = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / "cat.png")
    for number, name in enumerate(
        ("train/cat/1", "train/cat/2", "train/dog/1", "train/dog/2", "test/cat/1", "test/dog/1")
    ):
        photograph = tmp_path / "photos" / f"{name}.png"
        photograph.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(colours, number, axis=2)).save(photograph)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "") or "").startswith(str(tmp_path)):
            del sys.modules[name]
