"""The notebooks run from top to bottom, show what their sentences say, and are stored without what they gave."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from PIL import Image

import convscope
from convscope.types import Picture
from tests.docs.blocks import commands
from tests.docs.test_doc_blocks import parse
from tests.examples.cells import NOTEBOOKS, ROOT, read, run, sources

STEPS = 12

WHOLE = [  # the last accuracy in percent that is printed; charts that are no picture's, live_curves replacing its own
    ("a-first-look", r"([\d.]+)% of the test images", 1),
    ("a-network-of-ones-own", r"([\d.]+)% of the test images", 0),
    ("from-a-channel-to-its-images", r"([\d.]+)% of the test images", 0),
    ("sgd-adam-and-both", r"([\d.]+)% test", 1),
]

NAMES = ("a-first-look", "a-network-of-ones-own", "from-a-channel-to-its-images", "sgd-adam-and-both")


def colours(png: bytes) -> int:
    with Image.open(io.BytesIO(png)) as image:
        return len(image.convert("RGB").getcolors(1 << 24))


@pytest.fixture
def hurry(tmp_path, monkeypatch):
    """Trainings take a few steps; and what a notebook wrote would be seen."""
    train = convscope.train

    def train_briefly(model, dataset, recipe):
        phases = tuple(replace(phase, epochs=None, steps=STEPS) for phase in recipe.phases)
        return train(model, dataset, replace(recipe, phases=phases, eval_every=STEPS))

    monkeypatch.setattr(convscope, "train", train_briefly, raising=False)
    monkeypatch.chdir(tmp_path)
    yield
    assert list(tmp_path.iterdir()) == []


def test_these_are_the_notebooks():
    assert tuple(path.stem for path in NOTEBOOKS) == NAMES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_as_text_alone(path):
    stored = read(path)
    assert (stored["nbformat"], stored["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in stored["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in stored["cells"]:
        assert set(cell) - {"outputs", "execution_count"} == {"cell_type", "id", "metadata", "source"}
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    assert sources(path, "markdown")[0].startswith("# ")
    assert path.stat().st_size < 20_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_commands_in_its_sentences_exist_with_their_flags(path):
    text = "\n\n".join(sources(path, "markdown"))
    found = [each for span in re.findall(r"`(convscope [^`]+)`|```\n(.*?)```", text, re.DOTALL) for each in span]
    called = [arguments for each in found for arguments in commands(each)]
    for arguments in called:
        parse(arguments)
    assert called


def test_a_first_look(hurry):
    shown, names = run(ROOT / "examples" / "a-first-look.ipynb")
    assert names["event"].kind == "end"
    pictures = [each.value for each in shown if isinstance(each.value, Picture)]
    assert [picture.name for picture in pictures] == [
        "filters-conv1",
        "maps-conv1",
        "maximize-conv3",
        f"attribute-integrated-gradients-{pictures[3].numbers['target_index']}",
    ]
    assert all(colours(picture._repr_png_()) > 50 for picture in pictures)
    assert "of the test images are right" in shown[2].printed
    assert re.findall(r"^(\w+)(?: channels)?:", shown[6].printed, re.MULTILINE) == [
        "activation",
        "dataset_maximum",
        "agreement",
        "dead",
    ]


def test_sgd_against_adam_against_both(hurry):
    shown, names = run(ROOT / "examples" / "sgd-adam-and-both.ipynb")
    first = {
        name: next(event.data["loss"] for event in events if event.kind == "train")
        for name, events in names["runs"].items()
    }
    assert list(first) == ["SGD", "Adam", "Adam, then SGD"]
    assert first["Adam"] == first["Adam, then SGD"], "they began from other weights, or saw other images"
    assert names["border"].data["optimizer"] == "sgd"
    assert names["border"].data["first_step"] == STEPS
    [chart] = [chart for each in shown for chart in each.charts]
    assert colours(chart) > 50


def test_a_network_of_ones_own(hurry):
    shown, names = run(ROOT / "examples" / "a-network-of-ones-own.ipynb")
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", shown[1].printed)]
    assert losses[-1] < 0.5
    pictures = [each.value for each in shown if isinstance(each.value, Picture)]
    assert [picture.provenance["Network"] for picture in pictures] == [
        *["mine"] * 3,
        "torchvision:squeezenet1_1",
        "timm:resnet10t",
    ]
    assert shown[-1].printed.startswith('the rule "deconvnet" is not defined for hardswish')
    assert not names["model"][0]._forward_hooks


def test_from_a_channel_to_its_images(hurry):
    shown, names = run(ROOT / "examples" / "from-a-channel-to-its-images.ipynb")
    channel, found = names["channel"], names["found"]
    assert names["ratio"][channel] == max(names["ratio"].values())
    assert found.numbers["channels"] == [channel]
    assert channel not in found.numbers["dead_channels"], "nothing excites it, so there is nothing to see"
    last = [each.value for each in shown if isinstance(each.value, Picture)][-1]
    assert last.values[0].shape[1:] == names["digits"].image_size


@pytest.mark.slow
@pytest.mark.parametrize(("name", "promised", "charts"), WHOLE)
def test_it_runs_whole_in_a_real_kernel(name, promised, charts, monkeypatch):
    pytest.importorskip("nbclient")
    monkeypatch.syspath_prepend(ROOT / "docs" / "site")
    from notebooks import run_notebook

    outputs = [
        output
        for cell in run_notebook(ROOT / "examples" / f"{name}.ipynb").cells
        for output in cell.get("outputs", [])
    ]
    assert [output for output in outputs if output.output_type == "error"] == []
    printed = "".join(output.get("text", "") for output in outputs if output.output_type == "stream")
    found = re.findall(promised, printed)
    assert float(found[-1]) > 90, f"its pictures would be of a network that learned little: {printed}"
    shown = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len([output for output in shown if output.output_type == "display_data"]) == charts
    assert len(shown) > charts or name == "sgd-adam-and-both"
