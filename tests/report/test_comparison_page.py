"""The comparison is one file that is complete and safe, and says no more than the runs do."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from convscope.errors import CheckpointError
from convscope.methods.evidence import randomized
from convscope.report import comparison_pictures
from convscope.report.comparison import write_comparison
from convscope.report.results import wilson_interval
from convscope.training.run import Run
from convscope.types import Augmentation, Event, Network, Phase, Recipe
from tests.planted import small
from tests.report.test_report import HOSTILE, Page

ADAM, SGD = Phase("adam", 0.001, epochs=2), Phase("sgd", 0.1, epochs=2)


class Planted(Run):
    """A run whose log and network are given."""

    def events(self) -> list[Event]:
        return self.config["events"]

    def network(self, *, say) -> Network:
        if self.config["network"] is None:
            raise CheckpointError(f"no checkpoint in {self.path}")
        return self.config["network"]


def log(accuracies: Sequence[float], *, finished: bool = True, final: float | None = None) -> list[Event]:
    """An evaluation every ten steps; the second half is another phase."""
    events = [Event("start", 0, 0.0, {"resumed": False, "steps": 40, "steps_per_epoch": 10})]
    for epoch, accuracy in enumerate(accuracies, start=1):
        step = 10 * epoch
        if epoch in (1, 3):
            phase = {"index": epoch // 2, "optimizer": "sgd", "first_step": step - 10, "epoch": epoch - 1}
            events.append(Event("phase", step - 10, step - 10.0, phase))
        figures = {"train_loss": 2 / epoch, "train_accuracy": accuracy, "test_loss": 1 / epoch}
        batch = {"epoch": epoch, "loss": 2 / epoch, "accuracy": accuracy, "learning_rate": 0.1}
        events.append(Event("train", step, float(step), batch))
        events.append(Event("eval", step, float(step), {"epoch": epoch, "test_accuracy": accuracy, **figures}))
    if finished:
        end = {"test_accuracy": final or accuracies[-1], "train_accuracy": 1.0, "test_loss": 0.5, "train_loss": 0.25}
        events.append(Event("end", 40, 41.0, {"reason": "finished", **end}))
    return events


def planted(
    name: str,
    *phases: Phase,
    network: Network | None,
    seed: int = 0,
    events: list[Event] | None = None,
    fingerprint: str = "f00d",
    initial: str | None = "a" * 64,
    batch_size: int = 32,
    folder: str | None = None,
    images: int = 300,
) -> Run:
    recipe = Recipe(name, "", "small", phases, batch_size, Augmentation(), seed=seed)
    config = {
        "recipe": dataclasses.asdict(recipe),
        "dataset": {
            "name": "noise",
            "fingerprint": fingerprint,
            "class_names": list(HOSTILE),
            "train_images": 300,
            "test_images": images,
        },
        "weights": None,
        "initial_sha256": initial and f"{seed}{initial}"[:64],
        "precision": "fp32",
        "device": "cpu",
        "machine": {"processor": "<Processor>", "threads": 1},
        "versions": {"torch": "9.8.7"},
        "started": "2026-01-02T03:04:05+00:00",
        "events": events if events is not None else log([0.2, 0.3, 0.4, 0.5]),
        "network": network,
    }
    return Planted(Path("runs") / (folder or f"{name}-{seed}"), config)


@pytest.fixture(autouse=True, scope="module")
def quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison_pictures, "ASCENT_STEPS", 1)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[str, Page, str]:
    """Three contenders with two seeds each: the answer, the page, and its text without wide spaces."""
    network, dataset = small(class_names=HOSTILE)
    runs = [
        planted(
            name, *phases, network=randomized(network, seed=10 * seed + place), seed=seed, events=log([low, high])
        )
        for seed in (0, 1)
        for place, (name, phases, low, high) in enumerate(
            [("<b>sgd", [SGD], 0.2, 0.5), ("adam", [ADAM], 0.4, 0.8), ("both", [ADAM, SGD], 0.4, 0.55)]
        )
    ]
    target = tmp_path_factory.mktemp("page") / "folder" / "comparison.html"
    seen = []
    said = write_comparison(
        target, runs, dataset, command="convscope compare <runs>", progress=lambda *told: seen.append(told)
    )
    assert seen[-1] == ("comparison", 5, 5)
    assert [path.name for path in target.parent.iterdir()] == ["comparison.html"]
    page = Page(target.read_text(encoding="utf-8"))
    return said, page, re.sub(r"\s+", " ", page.text)


def test_all_sections_are_there(whole):
    _, page, text = whole
    sections = ["settings", "results", "curves", "classes", "insides", "provenance"]
    assert [attrs["id"] for attrs in page.all("section")] == sections
    figures = re.findall(r"Figure (\d+)\.", text)
    assert figures == [str(number + 1) for number in range(len(figures))]
    assert len(figures) == 7 + 2 * 2  # charts, then two others with pictures of two layers each
    assert re.findall(r"Table (\d+)\.", text) == ["1", "2", "3", "4", "5"]


def test_the_answer_stands_first_and_is_returned(whole):
    said, _, text = whole
    assert said.startswith("adam ends best, with 80.0 % of 300 test images on average over 2 seeds.")
    assert "more than between seeds: each of its seeds beats each of both's (by luck this happens once in 3" in said
    assert said in text


def test_what_differs_is_in_the_table_and_what_does_not_is_below_it(whole):
    _, _, text = whole
    differing, shared = text.partition("Table 1.")[2].partition("Table 2.")[::2]
    assert "optimizer sgd, learning rate 0.1, epochs 2" in differing
    assert "optimizer adam, learning rate 0.001, epochs 2" in differing
    assert "Batch size" not in differing
    for words in ("Batch size", "small", "<Processor>, 1 thread", "9.8.7", "Seeds0, 1"):
        assert words in shared
    assert "same initial weights, seed by seed, and saw the same images in the same order" in text


def test_it_asks_for_nothing_and_runs_nothing(whole):
    _, page, _ = whole
    policy = next(attrs for attrs in page.all("meta") if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert not page.all("script") + page.all("link")
    for _, attrs in page.elements:
        assert not [name for name in attrs if name.startswith("on")]
        for name in ("src", "href", "xlink:href"):
            assert (attrs.get(name) or "#").startswith(("#", "data:image/png;base64,"))
    ids = [attrs["id"] for _, attrs in page.elements if attrs.get("id")]
    assert len(ids) == len(set(ids))
    assert all(attrs["alt"] for attrs in page.all("img"))


def test_hostile_names_are_shown_as_text(whole):
    _, page, text = whole
    assert "<b>sgd" in text
    assert "convscope compare <runs>" in text
    assert HOSTILE[0][:17] in page.text


def test_runs_on_different_images_are_not_compared_in_what_needs_the_same(tmp_path):
    network, _ = small(class_names=HOSTILE)
    runs = [
        planted("sgd", SGD, network=network),
        planted("adam", ADAM, network=network, fingerprint="beef", batch_size=64, initial="b" * 64, images=3000),
    ]
    said = write_comparison(tmp_path / "page.html", runs, None)
    assert said.startswith("These runs were tested on different images")
    page = Page((tmp_path / "page.html").read_text())
    assert [attrs["id"] for attrs in page.all("section")] == ["settings", "results", "curves", "provenance"]
    assert "f00d" in page.text
    assert "beef" in page.text
    assert "At equal accuracy" not in page.text
    intervals = [wilson_interval(share, count) for share, count in ((150, 300), (1500, 3000))]
    for low, high in intervals:
        assert f"{100 * low:.1f} % to {100 * high:.1f} %" in page.text.replace("\u00a0", " ")


def test_a_run_that_has_not_finished_and_one_without_a_network(tmp_path):
    network, dataset = small(class_names=HOSTILE)
    told = []
    runs = [
        planted("sgd", SGD, network=network),
        planted("adam", ADAM, network=randomized(network), events=log([0.4, 0.45], finished=False), initial=None),
        planted("both", ADAM, SGD, network=None, events=[]),
    ]
    said = write_comparison(tmp_path / "page.html", runs, dataset, say=told.append)
    assert told == ["no checkpoint in runs/both-0"]
    assert "adam has not finished: its figures are those so far." in said
    text = re.sub(r"\s+", " ", Page((tmp_path / "page.html").read_text()).text)
    assert "45.0 % at step 20, not finished" in text
    assert "Left out, since its network or its images are not there: both." in text
    assert "Whether they began from the same weights is not known" in text
    assert "How much another seed would change is not known of sgd and adam" in said


def test_nothing_trained_yet(tmp_path):
    runs = [planted(name, phase, network=None, events=[]) for name, phase in (("sgd", SGD), ("adam", ADAM))]
    _, dataset = small(class_names=HOSTILE)
    assert write_comparison(tmp_path / "page.html", runs, dataset) == "Nothing has been evaluated yet."
    assert [attrs["id"] for attrs in Page((tmp_path / "page.html").read_text()).all("section")] == [
        "settings",
        "results",
        "classes",
        "provenance",
    ]


def test_seeds_alone_tell_what_the_seed_changes(tmp_path):
    network, dataset = small(class_names=HOSTILE)
    runs = [
        planted("sgd", SGD, network=randomized(network, seed=seed), seed=seed, events=log([0.3, 0.5 + seed / 10]))
        for seed in (0, 1, 2)
    ]
    said = write_comparison(tmp_path / "page.html", runs, dataset)
    assert said == (
        "sgd: 60.0 % of 300 test images on average over 3 seeds, from 50.0 % to 70.0 %: what differs by less than "
        "20.0 points may be the seed."
    )
    page = Page((tmp_path / "page.html").read_text())
    assert [attrs["id"] for attrs in page.all("section")][-2:] == ["insides", "provenance"]
    assert "sgd, seed 1" in page.text


def test_networks_of_other_depth_and_width_are_compared_too(tmp_path):
    network, dataset = small(class_names=HOSTILE)
    torch.manual_seed(1)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 5, 5), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(320, 3)
    )
    other = dataclasses.replace(network, model=model, name="other")
    runs = [planted("sgd", SGD, network=network), planted("adam", ADAM, network=other)]
    write_comparison(tmp_path / "page.html", runs, dataset)
    text = re.sub(r"\s+", " ", Page((tmp_path / "page.html").read_text()).text)
    assert "of 8 and 5 channels have a partner" in text
    assert "The same by epoch" not in text
