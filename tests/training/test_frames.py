"""The film on the disk: what is written is what is read, and what is damaged is said."""

import numpy as np
import pytest

from convscope.errors import CheckpointError
from convscope.training import frames
from convscope.training.frames import FilmInfo, Frame

RANDOM = np.random.default_rng(0)


def planted_frame(step: int = 3) -> Frame:
    return Frame(
        step=step,
        filters=RANDOM.normal(size=(4, 3, 5, 5)).astype(np.float16),
        maps={"conv1": RANDOM.normal(size=(2, 4, 6, 6)).astype(np.float16), "layer1.0": np.zeros((2, 1, 1, 1))},
        logits=RANDOM.normal(size=(2, 3)).astype(np.float16),
        layers=[{"name": "relu", "kind": "ReLU", "channels": 4, "active": 0.25, "silent": 1}],
    )


def planted_info() -> FilmInfo:
    return FilmInfo("conv1", ["conv1"], RANDOM.integers(0, 255, (2, 3, 6, 6), dtype=np.uint8), [4, 9], [0, 1])


def test_a_frame_comes_back_as_it_was(tmp_path):
    frames.write_info(tmp_path, planted_info())
    frame = planted_frame()
    size = frames.write_frame(tmp_path, frame)
    assert frames.frame_path(tmp_path, 3).stat().st_size == size
    again = frames.read_frame(tmp_path, 3)
    assert again.step == 3
    assert again.layers == frame.layers
    np.testing.assert_array_equal(again.filters, frame.filters)
    np.testing.assert_array_equal(again.logits, frame.logits)
    assert again.maps.keys() == frame.maps.keys()
    np.testing.assert_array_equal(again.maps["conv1"], frame.maps["conv1"])


def test_an_array_that_is_a_view_is_written_in_its_own_order(tmp_path):
    frames.write_info(tmp_path, planted_info())
    turned = planted_frame().filters.transpose(3, 2, 1, 0)
    frames.write_frame(tmp_path, planted_frame()._replace(filters=turned))
    np.testing.assert_array_equal(frames.read_frame(tmp_path, 3).filters, turned)


def test_info_comes_back_and_a_run_without_film_has_none(tmp_path):
    assert frames.read_info(tmp_path) is None
    info = planted_info()
    frames.write_info(tmp_path, info)
    again = frames.read_info(tmp_path)
    assert again is not None
    np.testing.assert_array_equal(again.images, info.images)
    assert again._replace(images=None) == info._replace(images=None)


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"\xff" * 40])
def test_a_damaged_frame_is_said(tmp_path, damage):
    frames.write_info(tmp_path, planted_info())
    frames.write_frame(tmp_path, planted_frame())
    path = frames.frame_path(tmp_path, 3)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"the film's frame .*step-000000003.safetensors cannot be read"):
        frames.read_frame(tmp_path, 3)


def test_a_missing_frame_and_a_damaged_info_are_said(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read"):
        frames.read_frame(tmp_path, 1)
    frames.write_info(tmp_path, planted_info())
    (tmp_path / "film" / "film.json").write_text("[1, 2")
    with pytest.raises(CheckpointError, match=r"film.json is damaged"):
        frames.read_info(tmp_path)


def test_only_steps_that_the_log_tells_of_and_the_disk_has_are_recorded(tmp_path):
    frames.write_info(tmp_path, planted_info())
    for step in (1, 4, 9):
        frames.write_frame(tmp_path, planted_frame(step))
    frames.weights_path(tmp_path, 4).write_bytes(b"weights")
    assert frames.recorded_steps(tmp_path, [9, 2, 1, 1]) == [1, 9]
    assert frames.weights_steps(tmp_path, [1, 4]) == [4]
