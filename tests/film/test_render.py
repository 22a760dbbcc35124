"""The animation shows the film that was planted, whole or not at all."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convscope.errors import CheckpointError, ConvscopeError, UsageError
from convscope.film import patterns as film_patterns
from convscope.film.render import draw_film, render_film
from convscope.film.story import Story
from convscope.report import film_figure
from convscope.report.film_figure import film_of_run
from convscope.report.page import Album
from convscope.training.folder import read_events
from convscope.training.frames import frame_path, weights_path
from convscope.types import Event
from tests.planted import KEPT, STEPS, plant_film, planted_filters, small

TILE, TOP, LEFT = 66, 54, 12  # of a panel of 2 × 2 filters of 2 × 2 weights: a tile's pixels, and where the first is
PANEL = 2 * 132 + 3 * 4 + 8 + 4  # from one panel's first tile to the next one's


@pytest.fixture
def run(tmp_path) -> Path:
    return plant_film(tmp_path / "run")


def read_back(path: Path) -> tuple[list[np.ndarray], list[int]]:
    """Each frame (H, W, 3) of an animation, and for how many milliseconds it is shown."""
    with Image.open(path) as image:
        frames, durations = [], []
        for number in range(image.n_frames):
            image.seek(number)
            frames.append(np.asarray(image.convert("RGB")))
            durations.append(image.info["duration"])
        assert image.info["loop"] == 0
        return frames, durations


def test_webp_shows_the_planted_filters_and_their_change(run, tmp_path):
    film = render_film(run, tmp_path / "new" / "film.webp")
    frames, _ = read_back(film.path)
    assert (film.frames, film.skipped, len(frames)) == (5, 0, 5)
    planted = [each[0, :, 0, 0].astype(np.float32) for each in planted_filters()]
    changes = [each - planted[0] for each in planted]
    for panel, shown in enumerate(([planted[0]] * 5, planted, changes)):
        if panel < 2:
            values = np.abs(np.concatenate([each.ravel() for each in planted_filters()[-1:]]))
        else:
            values = np.abs(planted_filters()[-1].astype(np.float32) - planted_filters()[0])
        limit = np.quantile(values.astype(np.float32), 0.995)
        for frame, value in zip(frames, shown, strict=True):
            expected = np.rint((value / limit + 1).clip(0, 2) / 2 * 255)
            np.testing.assert_allclose(frame[TOP + 10, LEFT + panel * PANEL + 10], expected, atol=1)


@pytest.mark.parametrize("name", ["film.webp", "film.GIF"])
def test_frames_last_evenly_and_the_last_one_longer(run, tmp_path, name):
    film = render_film(run, tmp_path / name, frames_per_second=4)
    frames, durations = read_back(film.path)
    assert durations == [250] * 4 + [2250]
    assert all((one != other).any() for one, other in pairwise(frames))
    assert all(side % 2 == 0 for side in frames[0].shape[:2])
    again = render_film(run, tmp_path / f"again-{name}", frames_per_second=4)
    assert again.path.read_bytes() == film.path.read_bytes()
    with Image.open(film.path) as image:
        said = image.getexif()[0x010E] if name == "film.webp" else image.info["comment"].decode()
    assert said == f"run: {film.caption}"


def test_words_and_time_line_follow_the_log(run):
    story = Story([*read_events(run), Event("eval", 10, 1.0, {"test_accuracy": 0.5})])
    assert story.words(0) == "step 0  ·  epoch 0.0  ·  phase 1, Adam"
    assert story.words(10) == "step 10  ·  epoch 1.0  ·  phase 1, Adam  ·  test accuracy 50.0 %"
    assert story.words(20) == "step 20  ·  epoch 2.0  ·  phase 1, Adam  ·  test accuracy 50.0 % at step 10"
    assert story.words(21) == "step 21  ·  epoch 2.1  ·  phase 2, SGD  ·  test accuracy 50.0 % at step 10"
    images = draw_film(run, read_events(run)).images
    height, width = images[0].shape[:2]
    for step, image in zip(STEPS, images, strict=True):
        dark = image.astype(int).sum(2) < 250
        bar, border = dark[height - 23], dark[height - 28]  # the line itself, and above it the borders of phases
        assert np.flatnonzero(border).tolist() == [width // 2]
        end = np.flatnonzero(bar & ~border)[-1]  # of the time that is over
        assert end == pytest.approx(LEFT + step / 40 * (width - 2 * LEFT), abs=6)


def test_refusals_come_before_any_work(run, tmp_path, monkeypatch):
    nowhere = tmp_path / "nowhere"
    for name in ("film.avi", "film", "film.webp.txt"):
        with pytest.raises(UsageError, match=r"no animation's name; allowed: \.webp, \.gif, \.mp4 at its end"):
            render_film(nowhere, tmp_path / name)
    (tmp_path / "folder.gif").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        render_film(nowhere, tmp_path / "folder.gif")
    for speed in (0.0, -1.0, 51.0, float("nan")):
        with pytest.raises(UsageError, match="frames per second; allowed: above 0, up to 50"):
            render_film(nowhere, tmp_path / "film.gif", frames_per_second=speed)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"MP4 needs ffmpeg, which is not installed .*without it: \.webp or \.gif"):
        render_film(nowhere, tmp_path / "film.mp4")
    with pytest.raises(UsageError, match='no film of "maps"; allowed: filters, patterns, both'):
        getattr(render_film, "__wrapped__", render_film)(nowhere, tmp_path / "film.gif", show="maps")
    with pytest.raises(UsageError, match="a layer is for patterns; allowed with it: --show patterns or both"):
        render_film(nowhere, tmp_path / "film.gif", layer="4")
    with pytest.raises(UsageError, match=r"nowhere has no film: it was trained without one"):
        render_film(nowhere, tmp_path / "film.gif")
    (run / "events.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="has no frame yet"):
        render_film(run, tmp_path / "film.gif")
    assert not list(tmp_path.glob("*film*"))


def test_one_filter_is_shown_alone(run):
    alone, others = (draw_film(run, read_events(run), channel=channel) for channel in (2, [0, 1, 3]))
    whole = draw_film(run, read_events(run))
    assert len(alone.images) == len(whole.images) == len(STEPS)
    seen = [{tuple(colour) for colour in each.images[-1].reshape(-1, 3).tolist()} for each in (alone, others)]
    assert seen[0] - seen[1], "no colour of its own"
    with pytest.raises(UsageError, match="no channel 4 in 0; allowed: 0 to 3"):
        draw_film(run, read_events(run), channel=4)


def test_missing_and_damaged_frames_are_left_out_and_counted(run, tmp_path):
    frame_path(run, 0).unlink()
    frame_path(run, 5).write_bytes(frame_path(run, 5).read_bytes()[:100])
    film = render_film(run, tmp_path / "film.webp")
    assert (film.frames, film.skipped) == (3, 2)
    assert "change since step 1, the first frame that is left" in film.caption
    for step in STEPS:
        frame_path(run, step).write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="none of the film's 5 frames can be read"):
        render_film(run, tmp_path / "film.webp")
    for step in STEPS:
        frame_path(run, step).unlink(missing_ok=True)
    with pytest.raises(CheckpointError, match="has no frame of its film any more"):
        render_film(run, tmp_path / "film.webp")


def test_patterns_follow_the_kept_weights(run, tmp_path, monkeypatch):
    monkeypatch.setattr(film_patterns, "FIRST_STEPS", 4)
    monkeypatch.setattr(film_patterns, "STEPS", 2)
    network, dataset = small()
    before = {name: value.clone() for name, value in network.model.state_dict().items()}
    given = {"network": network, "dataset": dataset, "layer": "4", "channel": [1, 2]}
    film = render_film(run, tmp_path / "film.webp", show="patterns", **given)
    frames, _ = read_back(film.path)
    assert (film.frames, film.skipped, len(frames)) == (3, 0, 3)
    assert "warm-started" in film.caption
    half = frames[0].shape[1] // 2
    np.testing.assert_array_equal(frames[0][60:100, 12:half], frames[2][60:100, 12:half])  # the start stays
    assert (frames[0][60:100, half:] != frames[2][60:100, half:]).any()
    both = draw_film(run, read_events(run), show="both", **given)
    assert both.steps == STEPS
    assert (both.images[0] != both.images[1]).any()
    torch.testing.assert_close(network.model.state_dict(), before, rtol=0, atol=0)
    weights_path(run, 5).write_bytes(b"damaged")
    weights_path(run, 0).unlink()
    film = render_film(run, tmp_path / "film.webp", show="patterns", **given)
    assert (film.frames, film.skipped) == (1, 2)


def test_films_that_can_have_no_patterns_say_why(run, tmp_path):
    network, _ = small()
    with pytest.raises(UsageError, match="needs the run's network"):
        render_film(run, tmp_path / "film.gif", show="both")
    with pytest.raises(UsageError, match="no channel 99 in 4; allowed: 0 to 5"):
        render_film(run, tmp_path / "film.gif", show="patterns", network=network, layer="4", channel=99)
    for step in KEPT:
        weights_path(run, step).write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="none of the film's 3 sets of weights can be read"):
        render_film(run, tmp_path / "film.gif", show="patterns", network=network)
    for step in KEPT:
        weights_path(run, step).unlink()
    with pytest.raises(UsageError, match="kept no weights, so it has no patterns; allowed: --show filters"):
        render_film(run, tmp_path / "film.gif", show="patterns", network=network)
    assert not list(tmp_path.glob("*film*"))


def test_interruption_leaves_the_old_file_and_no_other(run, tmp_path):
    target = tmp_path / "out" / "film.webp"
    target.parent.mkdir()
    target.write_bytes(b"old")

    def interrupt(what, done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_film(run, target, progress=interrupt)
    assert {file.name: file.read_bytes() for file in target.parent.iterdir()} == {"film.webp": b"old"}


def fake_ffmpeg(folder: Path, script: str) -> None:
    """A program called ffmpeg in the folder; its last argument is what it is to write."""
    program = folder / "ffmpeg"
    program.write_text(f'#!/bin/sh\nfor last; do :; done\necho "$@" > "{folder}/arguments"\n{script}\n', "utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for ffmpeg is a shell script")
def test_mp4_hands_every_frame_to_ffmpeg(run, tmp_path, monkeypatch):
    fake_ffmpeg(tmp_path, f'wc -c > "{tmp_path}/size"; echo film > "$last"')
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    film = render_film(run, tmp_path / "out" / "film.mp4", frames_per_second=5)
    height, width = draw_film(run, read_events(run)).images[0].shape[:2]
    assert int((tmp_path / "size").read_text()) == (5 + 2 * 5) * height * width * 3  # the last stays for two seconds
    said = (tmp_path / "arguments").read_text().split()
    assert [said[said.index(flag) + 1] for flag in ("-s", "-r", "-i")] == [f"{width}x{height}", "5", "-"]
    assert film.path.read_text() == "film\n"
    assert [file.name for file in film.path.parent.iterdir()] == ["film.mp4"]


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for ffmpeg is a shell script")
@pytest.mark.parametrize(
    "script", ['echo "no such codec" >&2; echo half > "$last"; exit 3', "echo no such codec >&2"]
)
def test_ffmpeg_that_fails_is_told_in_one_line(run, tmp_path, monkeypatch, script):
    fake_ffmpeg(tmp_path, script)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(ConvscopeError, match=r"ffmpeg made no film\.mp4: no such codec; without it: \.webp or \.gif"):
        render_film(run, tmp_path / "out" / "film.mp4")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_mp4_plays(run, tmp_path):
    film = render_film(run, tmp_path / "film.mp4")
    done = subprocess.run(["ffmpeg", "-i", film.path, "-f", "null", "-"], capture_output=True, text=True, check=True)
    assert "frame=   21" in done.stderr


def test_small_film_of_a_report_keeps_its_size_and_its_last_frame(run, tmp_path, monkeypatch):
    album = Album(tmp_path / "pictures", {"Seed": "3"})
    shown = film_of_run(run, read_events(run), album, progress=lambda *_: None)
    assert (shown["count"], shown["seconds"], shown["share"]) == (5, pytest.approx(0.05), pytest.approx(0.05 / 4))
    frames, _ = read_back(tmp_path / "pictures" / "film-small.webp")
    with Image.open(tmp_path / "pictures" / "film-small-last.png") as still:
        np.testing.assert_array_equal(np.asarray(still), frames[-1])
        assert still.text["Description"].endswith("Seed: 3")
    monkeypatch.setattr(film_figure, "LARGEST", (tmp_path / "pictures" / "film-small.webp").stat().st_size - 1)
    fewer = film_of_run(run, read_events(run), album, progress=lambda *_: None)
    left, _ = read_back(tmp_path / "pictures" / "film-small.webp")
    assert fewer["count"] == len(left) < 5
    np.testing.assert_array_equal(left[0], frames[0])
    np.testing.assert_array_equal(left[-1], frames[-1])
    frame_path(run, 5).unlink()
    assert (
        "1 frames could not be read" in film_of_run(run, read_events(run), album, progress=lambda *_: None)["reading"]
    )
