"""A channel's film in the explorer is what `convscope film` draws, and is drawn once."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from convscope.film import patterns as film_patterns
from convscope.film.patterns import follow_patterns
from convscope.film.render import draw_film
from convscope.training.folder import read_events
from convscope.types import no_progress
from convscope.web.explorer import films
from convscope.web.explorer.explored import Explored
from convscope.web.explorer.routes import Explorer
from tests.planted import KEPT, STEPS, plant_film, planted_filters, small
from tests.web.explorer.test_explorer import wait_for
from tests.web.tiny_explorer import exploring

# The explorer's lanes are stopped wherever they are, also while a file is being opened.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True, scope="module")
def quick_films(quick: None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(film_patterns, "FIRST_STEPS", 4)
        patch.setattr(film_patterns, "STEPS", 2)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant_film(tmp_path_factory.mktemp("runs") / "run")


def filmed(run: Path) -> Explorer:
    network, dataset = small()
    explored = Explored(network, run, dataset, images=None, store=run, arguments=["runs/tiny"])
    return Explorer(explored, network, warn=print)


@pytest.fixture(scope="module")
def client(run: Path, quick_films: None) -> Iterator[httpx.Client]:
    with exploring(filmed(run)) as client:
        yield client


def strip(client: httpx.Client, path: str, frames: int) -> np.ndarray:
    """The frames (N, H, W, 3) of a strip."""
    answer = wait_for(client, path, lambda _: True)
    whole = np.asarray(Image.open(io.BytesIO(answer.content)))
    return np.stack(np.split(whole, frames, axis=1))


def test_a_filter_is_shown_at_every_step(client: httpx.Client):
    assert client.get("/api/network").json()["film"]
    told = client.get("/api/layers/0/channels/2/film").json()
    assert (told["steps"], told["waiting"], told["drawn"]) == (STEPS, False, len(STEPS))
    assert told["epochs"] == [step / 10 for step in STEPS]
    assert told["phases"] == ["phase 1, Adam"] * 4 + ["phase 2, SGD"]
    assert told["command"] == "convscope film runs/tiny --show filters --channel 2"
    planted = [each[2].astype(np.float32) for each in planted_filters()]  # (3, 2, 2) each
    limit = np.quantile(np.abs(planted[-1]), 0.995)
    expected = [(np.clip(each / limit, -1, 1).transpose(1, 2, 0) + 1) * 127.5 for each in planted]
    assert np.abs(strip(client, "/api/layers/0/channels/2/film.png", 5) - np.stack(expected)).max() <= 1.5


def test_a_pattern_follows_the_weights_as_the_command_draws_it(client: httpx.Client, run: Path):
    network, dataset = small()
    before = {name: value.clone() for name, value in network.model.state_dict().items()}
    expected = follow_patterns(run, network, KEPT, dataset, layer="4", channel=3, seed=0, progress=no_progress)
    told = client.get("/api/layers/4/channels/3/film").json()
    assert (told["steps"], told["waiting"], told["total"]) == (KEPT, True, len(KEPT))
    assert told["command"] == client.get("/api/layers/4/channels/3").json()["commands"]["film"]
    assert told["command"] == "convscope film runs/tiny --show patterns --layer 4 --channel 3"
    assert client.get("/api/layers/4/channels/3/film.png").status_code == 202
    shown = strip(client, "/api/layers/4/channels/3/film.png", len(KEPT))
    values = np.concatenate([each.values for each in expected.values()]).transpose(0, 2, 3, 1)
    assert np.abs(shown - 255 * values).max() <= 1
    assert not client.get("/api/layers/4/channels/3/film").json()["waiting"]
    clicked = client.get("/api/images/test-1/units/4/3/2,2").json()["value"]  # its weights are as they were
    from convscope.methods.projection import record_pass

    image = next(iter(dataset.test.images.batches([[1]])))[0].float() / 255
    assert clicked == pytest.approx(record_pass(network, "4", image[None], rule="deconvnet").maps[3, 2, 2].item())
    assert all((network.model.state_dict()[name] == value).all() for name, value in before.items())


@pytest.mark.parametrize(("layer", "channel", "knobs"), [("0", 1, {}), ("4", 3, {"show": "patterns", "layer": "4"})])
def test_the_animation_to_keep_is_the_command_s(
    client: httpx.Client, run: Path, layer: str, channel: int, knobs: Any
):
    wait_for(client, f"/api/layers/{layer}/channels/{channel}/film.png", lambda _: True)
    answer = wait_for(client, f"/api/layers/{layer}/channels/{channel}/film.webp?download=1", lambda _: True)
    network, dataset = small()
    expected = draw_film(run, read_events(run), channel=channel, network=network, dataset=dataset, **knobs)
    with Image.open(io.BytesIO(answer.content)) as film:
        assert film.n_frames == len(expected.images)
        film.seek(film.n_frames - 1)
        assert np.abs(np.asarray(film.convert("RGB")).astype(int) - expected.images[-1]).max() <= 2
    assert answer.headers["content-disposition"] == f'attachment; filename="film-{layer}-{channel}.webp"'


def test_a_film_is_drawn_once(client: httpx.Client, run: Path, monkeypatch: pytest.MonkeyPatch):
    path = "/api/layers/4/channels/3/film.png"
    first = wait_for(client, path, lambda _: True).content
    monkeypatch.setattr(films, "follow_patterns", lambda *_, **__: pytest.fail("drawn before"))
    with exploring(filmed(run)) as other:
        assert wait_for(other, path, lambda _: True).content == first


def test_weights_that_cannot_be_read_are_told(run: Path, tmp_path: Path):
    damaged = plant_film(tmp_path / "run")
    for path in (damaged / "film").glob("weights-*"):
        path.write_bytes(b"nothing")
    with exploring(filmed(damaged)) as client:
        path = "/api/layers/4/channels/0/film"
        assert client.get(path + ".png").status_code == 202
        while (answer := client.get(path)).status_code == 200:
            pass
        assert answer.status_code == 404
        assert "none of the film's 3 sets of weights can be read" in answer.json()["error"]


def test_a_run_without_a_film_says_so(tmp_path: Path):
    with exploring(filmed(tmp_path)) as client:
        answer = client.get("/api/layers/4/channels/0/film")
        assert (answer.status_code, client.get("/api/network").json()["film"]) == (404, False)
        assert "no film of its training" in answer.json()["error"]
        assert client.get("/api/layers/4/channels/0").json()["commands"]["film"] is None
