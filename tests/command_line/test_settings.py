"""What the flags of a training come to: its images as the model is fed, and mistakes told before they are read."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convscope.command_line.flags import DEFAULT_DATA, DataFlags, TrainFlags
from convscope.command_line.settings import anywhere, load_images, overrides, parse_numbers, weights_place
from convscope.errors import UsageError
from convscope.models.zoo import zoo_network
from convscope.training.recipes import get_recipe, override_recipe
from convscope.training.run import open_run
from convscope.types import no_progress
from tests.called import call

NET = "torchvision:shufflenet_v2_x0_5"


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Images of 40×40 in two class folders."""
    root = tmp_path_factory.mktemp("photographs")
    drawn = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 3)):
        for number, name in enumerate(("dark", "bright")):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = drawn.integers(0, 100, (40, 40, 3), dtype=np.uint8) + 120 * number
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f"{index}.png")
    return root


def loaded(photographs, model, weights=None, *, data=DEFAULT_DATA, **flags):
    said: list[str] = []
    recipe = override_recipe(get_recipe("small"), model=model)
    images, options, fed = load_images(
        f"folder:{photographs}", TrainFlags(**flags), data, recipe, weights, tell=said.append, progress=no_progress
    )
    return images, options, fed, said


def test_ours_are_fed_what_the_training_images_say(photographs):
    images, options, fed, said = loaded(photographs, "resnet8")
    assert images.image_size == (40, 40)
    assert images.mean[0] == pytest.approx(0.43, abs=0.02)
    assert (options["image_size"], fed, said) == (None, "", [])


def test_a_librarys_network_is_fed_as_it_says(photographs):
    images, options, fed, said = loaded(photographs, NET)
    assert images.image_size == (224, 224)
    assert images.mean == (0.485, 0.456, 0.406)
    assert images.std == (0.229, 0.224, 0.225)
    assert options["image_size"] == 224
    assert fed == f"{NET} is fed 224×224 pixels with mean 0.485, 0.456, 0.406 and deviation 0.229, 0.224, 0.225"
    assert said == [f"{fed}; others: --image-size, --mean, --std"]


def test_flags_come_first(photographs):
    flags = {"mean": "0.5,0.5,0.5", "std": "0.25,0.25,0.25"}
    images, options, fed, _ = loaded(photographs, NET, data=DataFlags(image_size=64), **flags)
    assert (images.image_size, images.mean, images.std) == ((64, 64), (0.5,) * 3, (0.25,) * 3)
    assert options["image_size"] == 64
    assert fed.startswith(f"{NET} is fed 64×64 pixels (it was made for 224×224) with mean 0.5, 0.5, 0.5")
    with pytest.raises(UsageError, match="a mean of 1 and a deviation of 3 numbers; allowed: 3 each"):
        loaded(photographs, NET, mean="0.5")


def test_images_of_one_size_stay_as_they_are():
    said = []
    recipe = override_recipe(get_recipe("small"), model=NET)
    images, options, _ = load_images(
        "digits", TrainFlags(), DEFAULT_DATA, recipe, None, tell=said.append, progress=no_progress
    )[:3]
    assert images.image_size == (32, 32)
    assert options["image_size"] is None
    assert "is fed 32×32 pixels (it was made for 224×224) with mean 0.485" in said[0]


@pytest.mark.parametrize("text", ["", "a,b,c", "0.5;0.5;0.5", "nan,0,0", "inf"])
def test_numbers_are_numbers(text):
    with pytest.raises(UsageError, match="allowed: a number for each channel, such as 0.485,0.456,0.406"):
        parse_numbers("--mean", text)


def test_nothing_is_divided_by_zero():
    assert parse_numbers("--mean", "0,0,0") == (0, 0, 0)
    with pytest.raises(UsageError, match='--std "0,1,1"'):
        parse_numbers("--std", "0,1,1")


def test_parts_to_train():
    assert overrides(TrainFlags(train="head"))["settings"] == ("freeze=true",)
    assert overrides(TrainFlags(train="all"))["settings"] == ("freeze=false",)
    assert overrides(TrainFlags(freeze=True))["settings"] == ("freeze=true",)
    assert overrides(TrainFlags())["settings"] == ()


def test_places_are_known_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net").mkdir()
    assert anywhere("huggingface:net") == f"huggingface:{tmp_path / 'net'}"
    assert anywhere("huggingface:someone/net") == "huggingface:someone/net"
    assert anywhere("folder:photos") == f"folder:{tmp_path / 'photos'}"
    assert anywhere("mine:build") == "mine:build"
    assert weights_place(TrainFlags(), f"huggingface:{tmp_path / 'net'}") == "pretrained"
    assert weights_place(TrainFlags(), "huggingface:someone/net") is None
    assert weights_place(TrainFlags(weights="pretrained"), NET) == "pretrained"
    with pytest.raises(UsageError, match="pretrained is for networks of libraries; resnet8 has none"):
        weights_place(TrainFlags(weights="pretrained"), "resnet8")


def test_a_network_is_fine_tuned_looked_into_and_gone_on_with(photographs, tmp_path, capsys):
    from safetensors.torch import load_file, save_file

    donor = zoo_network(NET, image_size=32, seed=4).model
    save_file(donor.state_dict(), tmp_path / "donor.safetensors")
    short = ["--epochs", 1, "--set", "batch_size=8", "--precision", "fp32", "--quiet", "--json", "--image-size", 32]
    named = ["--model", NET, "--weights", tmp_path / "donor.safetensors", "--train", "head"]
    assert call("train", f"folder:{photographs}", *named, *short, "--out", tmp_path / "run") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["run"] == str(tmp_path / "run")
    assert "the head fc begins anew, for 2 classes" in err
    config = json.loads((tmp_path / "run" / "run.json").read_text())
    assert config["model"]["fed"].startswith(f"{NET} is fed 32×32 pixels")
    assert config["dataset"]["mean"] == [0.485, 0.456, 0.406]
    after = load_file(next((tmp_path / "run" / "checkpoints").glob("step-*2")) / "weights.safetensors")
    assert all(
        (after[name] == value).all() for name, value in donor.state_dict().items() if not name.startswith("fc.")
    )
    assert call("train", f"folder:{photographs}", *named, *short, "--out", tmp_path / "run") == 0, "it is finished"
    assert call("maps", tmp_path / "run", "--layer", "stage2", "-o", tmp_path / "maps.png") == 0
    assert call("layers", tmp_path / "run") == 0
    capsys.readouterr()
    second = ["--model", NET, "--weights", tmp_path / "run", "--out", tmp_path / "second"]
    assert call("train", f"folder:{photographs}", *second, *short[:-2]) == 0
    assert "weights from" in (said := capsys.readouterr().err)
    assert "begins anew" not in said, "a run of the same classes keeps its head"
    assert open_run(str(tmp_path / "second")).network(say=print).input_size == (32, 32), "fed as the first run was"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--model", "torchvision:resnet999"], 2, 'no network "resnet999" in torchvision; closest: resnet'),
        (["--model", NET, "--train", "head"], 2, "--train head needs features"),
        (["--model", NET, "--weights", "none.safetensors"], 4, "no weights at"),
        (["--model", NET, "--train", "body"], 2, '"body"'),
        (["--model", NET, "--std", "0,0,0"], 2, '--std "0,0,0"; allowed'),
        (["--model", "nowhere:build"], 2, 'no network "nowhere:build": No module named'),
        (["--weights", "pretrained"], 2, "--weights pretrained is for networks of libraries"),
    ],
)
def test_mistakes_are_one_line(words, code, said, photographs, tmp_path, capsys):
    place = ["--out", tmp_path / "run", "--image-size", 32, "--quiet"]
    assert call("train", f"folder:{photographs}", *words, *place) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if "is fed" not in line]
    assert len(lines) == 1
    assert said in lines[0]
    assert not (tmp_path / "run").exists()


def test_a_recipe_does_not_call_code_that_was_not_named(photographs, tmp_path, capsys):
    recipe = dataclasses.asdict(get_recipe("small"))
    assert recipe["model"]
    path = tmp_path / "theirs.toml"
    path.write_text('model = "os:abort"\n[[phases]]\noptimizer = "sgd"\nlearning_rate = 0.1\nepochs = 1\n')
    assert call("train", f"folder:{photographs}", "--recipe", path, "--out", tmp_path / "run") == 2
    assert "made by os:abort; if you trust that code, name it: --model os:abort" in capsys.readouterr().err


def test_classes_are_read_from_a_file(tmp_path, capsys):
    names = tmp_path / "classes.txt"
    names.write_text("\n".join(f"class {index}" for index in range(9)), encoding="utf-8")
    assert call("layers", "resnet8", "--classes", names) == 2
    assert "9 class names for resnet8, which gives 10 scores" in capsys.readouterr().err
    assert call("layers", "resnet8", "--classes", Path("none.txt")) == 2
    assert "--classes none.txt: No such file or directory; wanted: a text file with a name a line" in (
        capsys.readouterr().err
    )
