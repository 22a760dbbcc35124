"""The report is one file that is complete, safe and well formed, with its pictures beside it."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from convscope.paint import GAP
from convscope.report import report, sections
from convscope.report.report import write_report
from convscope.training.folder import read_events
from convscope.training.frames import frame_path
from convscope.types import Augmentation, Event, Network, Phase, Recipe, Split
from tests.planted import STEPS, Memory, plant_film, small
from tests.report.test_charts import run_events

HOSTILE = ("</style><script>alert(1)</script>", '" onerror="alert(2)', "{{ 7 * 7 }} & Söhne")
EVALUATED = {
    "epoch": 4.0,
    "phase": 1,
    "train_loss": 0.2,
    "train_accuracy": 0.9,
    "test_loss": 0.3,
    "test_accuracy": 0.9,
}
VOID = {"meta", "img", "br", "wbr", "link", "hr", "input"}

# filters, maps, patterns and their controls, top images, reconstructions, inversions, attributions, a dream
PICTURES = 1 + 4 + 5 + 2 + 7 + 2 + 2 + 1


class Page(HTMLParser):
    """Collects elements and text; an end tag that does not fit is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for found, attrs in self.elements if found == tag]


def config() -> dict:
    recipe = Recipe(
        "switch",
        "Adam, then SGD",
        "small",
        (Phase("adam", 0.001, epochs=2), Phase("sgd", 0.1, epochs=2, weight_decay=5e-4)),
        64,
        Augmentation(crop=4),
    )
    return {
        "command": "convscope run noise --seed 3",
        "recipe": dataclasses.asdict(recipe),
        "seed": 3,
        "device": "cpu",
        "precision": "fp32",
        "versions": {"torch": "9.8.7"},
        "machine": {"processor": "<Processor>", "cores": 2},
        "started": "2026-01-02T03:04:05+00:00",
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    network, dataset = small(class_names=HOSTILE)
    seen = []
    path = write_report(
        tmp_path_factory.mktemp("run"),
        network=network,
        dataset=dataset,
        events=run_events(),
        config=config(),
        progress=lambda what, done, total: seen.append((what, done, total)),
    )
    assert [done for what, done, _ in seen if what == "report"] == list(range(seen[-1][2] + 1))
    return path


@pytest.fixture(scope="module")
def page(written) -> Page:
    return Page(written.read_text(encoding="utf-8"))


def test_all_sections_are_there(page):
    assert [attrs["id"] for attrs in page.all("section")] == [
        "short",
        "training",
        "results",
        "learned",
        "structure",
        "provenance",
    ]
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == 1
    numbers = re.findall(r"Figure (\d+)\.", page.text)
    assert numbers == [str(1 + index) for index in range(5 + 4 + PICTURES)]  # charts and mistakes, images, methods
    assert "Not drawn" not in page.text
    assert re.findall(r"Table (\d+)\.", page.text) == ["1", "2", "3", "4"]
    for words in (
        "convscope run noise --seed 3",
        "drawn at random",
        "f00d",
        "torch 9.8.7",
        "<Processor>",
        "2026-01-02",
    ):
        assert words in page.text
    assert (
        "optimizer sgd, learning rate 0.1, epochs 2, schedule constant, momentum 0.9, weight decay 0.0005"
        in page.text
    )
    assert "optimizer adam, learning rate 0.001, epochs 2, schedule constant" in page.text
    assert "122 images a second" in page.text


def test_headline_is_the_accuracy_of_a_naive_loop(page):
    network, dataset = small(class_names=HOSTILE)
    network.model.eval()
    images, labels = dataset.test.images.images, dataset.test.labels
    right = sum(int(network(images[index : index + 1] / 255).argmax()) == labels[index] for index in range(300))
    assert f"{100 * right / 300:.1f} % of 300 test images" in re.sub(r"\s+", " ", page.text)
    assert f"Of 300 test images {300 - right} are wrong" in page.text


def test_page_asks_for_nothing_and_runs_nothing(written, page):
    policy = next(attrs for attrs in page.all("meta") if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert not page.all("script")
    assert not page.all("link")
    for _, attrs in page.elements:
        assert not [name for name in attrs if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "srcset", "action", "data"):
            assert (attrs.get(name) or "#").startswith(("#", "data:image/png;base64,"))
    text = written.read_text(encoding="utf-8")
    assert "@import" not in text
    assert not re.findall(r"url\((?!#)", text)


def test_hostile_class_names_are_shown_as_text(page):
    for name in HOSTILE[1:]:
        assert name in page.text
    assert "<script>alert(1)</script>" in page.text
    assert any(name in (attrs["alt"] or "") for attrs in page.all("img") for name in HOSTILE[:1])


def test_ids_are_unique_and_images_have_texts(page):
    ids = [attrs["id"] for _, attrs in page.elements if attrs.get("id")]
    assert len(ids) == len(set(ids))
    assert all(attrs["alt"] for attrs in page.all("img"))
    assert all(attrs["aria-label"] for attrs in page.all("svg"))


def test_every_picture_is_a_file_with_its_provenance(written, page):
    files = {file.name: file.read_bytes() for file in (written.parent / "pictures").iterdir()}
    assert {"curves.png", "confusion.png", "class-accuracy.png", "filters-0.png", "mistake-01.png"} <= set(files)
    assert {"image-1.png", "maps-0-image-1.png", "maps-4-image-1.png", "maps-4-image-2.png"} <= set(files)
    shown = [base64.b64decode(attrs["src"].partition(",")[2]) for attrs in page.all("img")]
    lower = [place for place, attrs in enumerate(page.all("img")) if attrs["alt"].endswith(", continued")]
    assert len(shown) - len(lower) == 12 + 4 + PICTURES + 4  # maps stand beside their images
    assert {data for place, data in enumerate(shown) if not {place, place + 1} & set(lower)} <= set(files.values())
    pixels = {name: np.asarray(Image.open(io.BytesIO(data))) for name, data in files.items()}
    for place in lower:  # a high picture stands in two halves
        upper, below = (np.asarray(Image.open(io.BytesIO(data))) for data in shown[place - 1 : place + 1])
        whole = np.concatenate([upper, below[GAP:]])
        assert any(np.array_equal(whole, found) for found in pixels.values())
    assert lower
    for attrs, data in zip(page.all("img"), shown, strict=True):
        with Image.open(io.BytesIO(data)) as image:
            assert image.size == (int(attrs["width"]), int(attrs["height"]))
            assert np.asarray(image).std() > 0
            assert image.text["Command"] == "convscope run noise --seed 3"
            assert image.text["Weights"] == "SHA-256 c0ffee"
            assert image.text["Seed"] == "3"
    for name in ("curves.png", "confusion.png", "class-accuracy.png"):
        with Image.open(written.parent / "pictures" / name) as image:
            assert image.text["Command"] == "convscope run noise --seed 3"


def test_mistakes_are_those_with_the_highest_confidence(page):
    network, dataset = small(class_names=HOSTILE)
    network.model.eval()
    with torch.no_grad():
        sure, said = network(dataset.test.images.images / 255).softmax(1).max(1)
    wrong = sorted(
        (-float(s), i) for i, (s, p) in enumerate(zip(sure, said, strict=True)) if p != dataset.test.labels[i]
    )
    alts = [attrs["alt"] for attrs in page.all("img") if "taken for" in attrs["alt"]]
    assert [int(re.search(r"Test image (\d+)", alt)[1]) for alt in alts] == [index for _, index in wrong[:12]]


def test_same_run_gives_the_same_page(written, tmp_path):
    network, dataset = small(class_names=HOSTILE)
    again = write_report(tmp_path, network=network, dataset=dataset, events=run_events(), config=config())
    assert again.read_bytes() == written.read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["pictures", "report.html", "survey"]


def test_model_is_left_as_found(tmp_path):
    network, dataset = small()
    network.model[1].eval()
    network.model[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in network.model.state_dict().items()}
    write_report(tmp_path, network=network, dataset=dataset, events=[], config={})
    assert [module.training for module in network.model] == [True, False] + [True] * 7
    assert not network.model[0].weight.requires_grad
    assert network.model[4].weight.requires_grad
    assert all(not module._forward_hooks for module in network.model.modules())
    torch.testing.assert_close(network.model.state_dict(), before, rtol=0, atol=0)


def test_run_without_events_or_config_is_reported_without_them(tmp_path, no_sections):
    network, dataset = small()
    page = Page(write_report(tmp_path, network=network, dataset=dataset, events=[], config={}).read_text("utf-8"))
    assert "No training is on record." in page.text
    assert "Command" not in page.text
    assert "None" not in page.text


def test_interrupted_run_says_so(tmp_path, no_sections):
    network, dataset = small()
    events = [event for event in run_events() if event.step <= 20 and event.kind != "end"]
    page = Page(write_report(tmp_path, network=network, dataset=dataset, events=events, config={}).read_text("utf-8"))
    assert "This training has not finished" in page.text
    assert "Train accuracy" not in page.text


def test_phases_that_differ_in_the_size_of_their_images_say_so(tmp_path, no_sections):
    network, dataset = small()
    events = [
        dataclasses.replace(each, data={**each.data, "optimizer": "sgd"}) if each.kind == "phase" else each
        for each in run_events()
    ]
    given = config()
    rise, fall = (dict(phase, optimizer="sgd") for phase in given["recipe"]["phases"])
    given["recipe"] = {**given["recipe"], "phases": [{**rise, "warmup": 1.0, "resolution": 0.5}, fall]}
    text = write_report(tmp_path, network=network, dataset=dataset, events=events, config=given).read_text()
    text = re.sub(r"\s+", " ", text)
    side = max(network.input_size)
    assert f"phase 1 saw images of {side // 2} pixels instead of {side}" in text
    assert "often the doing of the new size of the images." in text
    assert "new optimizer" not in text
    assert "To compare optimizers" not in text


def test_perfect_network_and_stages_by_name(tmp_path):
    _, dataset = small(40, class_names=("dark", "bright"))
    images = dataset.test.images.images
    labels = (images.float().mean((1, 2, 3)) > images.float().mean()).long()
    split = dataclasses.replace(dataset.test, labels=labels)
    dataset = dataclasses.replace(dataset, test=split, mean=(0.5,) * 3, std=(0.2,) * 3)
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 2, 1)), nn.Sequential(nn.Conv2d(2, 2, 1)), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    model.layer_aliases = {"conv2": "1"}
    threshold = (images.float().mean() / 255 - 0.5) / 0.2
    model[0][0].weight.data[:] = torch.tensor([0.0, 100.0]).view(2, 1, 1, 1)
    model[0][0].bias.data[:] = torch.tensor([0.0, -300 * threshold])
    model[1][0].weight.data[:] = torch.eye(2).view(2, 2, 1, 1)
    model[1][0].bias.data.zero_()
    network = Network(model, dataset.mean, dataset.std, (12, 12), dataset.class_names, "by hand")
    page = Page(write_report(tmp_path, network=network, dataset=dataset, events=[], config={}).read_text("utf-8"))
    assert "Every test image is classified correctly" in page.text
    assert not list((tmp_path / "pictures").glob("mistake-*"))
    assert "conv2 = 1" in page.text
    assert "Feature maps of conv2, 2 channels of 12×12" in page.text
    assert "1 filter is so faint that next to nothing passes: 0." in page.text
    assert "These images are grey" in page.text


def test_film_plays_in_the_page_and_stands_still_where_it_must(tmp_path, no_sections):
    network, dataset = small()
    run = plant_film(tmp_path)
    events = read_events(run)
    written = write_report(run, network=network, dataset=dataset, events=events, config={})
    page = Page(written.read_text("utf-8"))
    moving, still = [attrs for attrs in page.all("img") if "film" in attrs["alt"]]
    for attrs, kind, count in ((moving, "webp", len(STEPS)), (still, "png", 1)):
        assert attrs["src"].startswith(f"data:image/{kind};base64,")
        data = base64.b64decode(attrs["src"].partition(",")[2])
        assert data == (run / "pictures" / f"film-small{'' if kind == 'webp' else '-last'}.{kind}").read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            assert (getattr(image, "n_frames", 1), image.size) == (count, (int(attrs["width"]), int(attrs["height"])))
    words = re.sub(r"\s+", " ", page.text)
    assert "a film of 5 frames. Recording it took 0.1 s, 1.2 % of the training's time" in words
    assert "a colour means the same value in every frame" in words
    style = written.read_text("utf-8")
    assert "@media (prefers-reduced-motion: reduce), print {\n  .film img { display: none; }" in style
    for step in STEPS:
        frame_path(run, step).write_bytes(b"damaged")
    page = Page(write_report(run, network=network, dataset=dataset, events=events, config={}).read_text("utf-8"))
    assert "Not drawn: none of the film's 5 frames can be read" in page.text


def test_run_without_a_film_has_no_section_of_it(written, page):
    assert "as they formed" not in page.text
    assert not [attrs for attrs in page.all("img") if "film" in attrs["alt"]]


def test_nothing_is_said_twice_in_a_section(page):
    for section in re.split(
        r"(?=The patterns that|The images that excite|Reconstructions from|What speaks)",
        re.sub("Measured:.*", "", page.text),  # each figure's own numbers may say the same
    ):
        sentences = [each for each in re.split(r"(?<=\.)\s+", section) if len(each) > 60]
        assert len(sentences) == len(set(sentences))
    assert "relus" not in page.text
    assert "target index" not in page.text


def test_each_figure_of_a_method_tells_its_own_numbers(written):
    html = written.read_text(encoding="utf-8")
    shown = re.split('<div class="shown[ "]', html)[1:]
    assert len(shown) == PICTURES
    for figure in shown:
        words = re.search(r"<strong>Measured:</strong> (.+)</p>", figure)
        assert words, figure[-300:]
        assert re.search(r"\d", words[1])


def test_images_that_are_gone_leave_what_the_run_has_on_record(tmp_path, no_sections, monkeypatch):
    network, _ = small()
    monkeypatch.setattr(report, "film_of_run", lambda *_, **__: None)
    events = [*run_events(), Event("eval", 81, 1.0, {**EVALUATED, "confusion": [[8, 2, 0], [0, 9, 1], [0, 0, 10]]})]
    about = {"name": "noise", "source": "a disk", "fingerprint": "f00d", "train_images": 300, "test_images": 30}
    written = write_report(
        plant_film(tmp_path), network=network, dataset=None, events=events, config={"dataset": about}, gone="no disk"
    )
    page = Page(written.read_text("utf-8"))
    text = re.sub(r"\s+", " ", page.text)
    assert "The images cannot be read any more (no disk)" in text
    assert "90.0 % of 30 test images" in text
    assert "2 of 10 images of “a” are taken for “b”" in text
    assert "300 to train on, 30 to test on" in text
    assert "Image 1 (test image 4): “a”" in text  # the film kept it
    assert "None" not in text


def test_without_images_log_and_film_the_weights_are_shown(tmp_path):
    network, _ = small()
    page = Page(write_report(tmp_path, network=network, dataset=None, events=[], config={}).read_text("utf-8"))
    assert "How good it is, is not on record" in page.text
    assert "The filters of 0, 3×3" in page.text
    assert "What excites channels of 4 most" in page.text
    assert page.text.count("Not drawn") >= 5  # feature maps and all else that needs an image
    assert "None" not in page.text


def test_images_need_not_be_square(tmp_path):
    network, dataset = small(60)
    narrow = Split(Memory(dataset.test.images.images[..., :8]), dataset.test.labels)
    dataset = dataclasses.replace(dataset, train=narrow, test=narrow)
    network = dataclasses.replace(network, input_size=(12, 8))
    page = Page(write_report(tmp_path, network=network, dataset=dataset, events=[], config={}).read_text("utf-8"))
    assert "Not drawn" not in page.text
    assert "Feature maps of 4, 6 channels of 8×4" in page.text
    assert "12×8 pixels" in page.text


def test_a_thousand_classes_have_room(tmp_path, no_sections):
    network, dataset = small(60, class_names=tuple(f"class number {index}" for index in range(1000)))
    written = write_report(tmp_path, network=network, dataset=dataset, events=[], config={})
    page = Page(written.read_text("utf-8"))
    assert "of the 20 best and the 20 worst classes" in re.sub(r"\s+", " ", page.text)
    assert written.stat().st_size < 3_000_000
    assert sections.classes_shown(network) == range(20)


@pytest.mark.parametrize(
    "method", ["maximize", "beside_random", "top_images", "reconstruct", "invert_layers", "attribute", "dream"]
)
def test_a_method_that_is_cut_short_ends_the_report(method, tmp_path, monkeypatch):
    network, dataset = small()
    original = getattr(sections, method)
    called = 0

    def cut_short(*given, **knobs):
        nonlocal called
        called += 1
        picture = original(*given, **knobs)
        return dataclasses.replace(picture, numbers={**picture.numbers, "interrupted": True})

    monkeypatch.setattr(sections, method, cut_short)
    with pytest.raises(KeyboardInterrupt):
        write_report(tmp_path, network=network, dataset=dataset, events=[], config={})
    assert called == 1
    assert not (tmp_path / "report.html").exists()
