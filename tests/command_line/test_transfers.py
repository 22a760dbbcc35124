"""What is exported is what there is, an imported run does all that a run does, and mistakes are one line."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convscope.exports import EXPORTS
from convscope.training.folder import lock_run, read_events
from convscope.training.run import open_run
from tests.docs.reader import call as succeed
from tests.faults.mistakes import call


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run with everything that a training, a report's methods and the film leave behind."""
    path = tmp_path_factory.mktemp("transfers") / "first"
    short = ["--model", "resnet8", "--steps", "20", "--precision", "fp32", "--set", "batch_size=32", "--quiet"]
    succeed("train", "digits", *short, "--out", str(path))
    succeed("maps", str(path))
    succeed("top-images", str(path), "--layer", "conv1", "--channel", "0", "--quiet")
    return path


@pytest.fixture
def run(trained, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(trained, tmp_path / "first"))


def told(command: str) -> dict:
    code, out, err = call(f"{command} --json")
    assert code == 0, err
    return json.loads(out)


@pytest.mark.parametrize("ending", ["onnx", "pt2"])
def test_a_runs_network_is_exported_and_checked(run, ending):
    if ending == "onnx":
        pytest.importorskip("onnxruntime")
    said = told(f"export first -o out/net.{ending}")
    assert said["network"] == f"out/net.{ending}"
    assert said["bytes"] == Path(f"out/net.{ending}").stat().st_size
    assert said["largest_difference"] < 1e-4
    assert said["input"] == "images: any number × 3×32×32, float32 RGB in [0, 1]; it is normalized within"
    network = open_run("first").network(say=print)
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        expected = network(images).numpy()
    if ending == "pt2":
        found = torch.export.load(said["network"]).module()(images).detach().numpy()
    else:
        import onnxruntime

        session = onnxruntime.InferenceSession(said["network"], providers=["CPUExecutionProvider"])
        [found] = session.run(None, {"images": images.numpy()})
        assert session.get_modelmeta().custom_metadata_map["weights_sha256"] == network.weights_sha256
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_another_network_is_exported_as_well(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("torchvision")
    said = told("export torchvision:squeezenet1_1 --input-size 48 -o net.pt2")
    assert said["output"] == "logits of 1000 classes, whose names are in the metadata"
    assert torch.export.load("net.pt2").module()(torch.rand(4, 3, 48, 48)).shape == (4, 1000)


def test_curves_are_a_table_of_every_number(run):
    said = told("export first -o curves.csv")
    with Path("curves.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    events = [event for event in read_events(run) if event.kind in ("train", "eval")]
    assert said == {"curves": "curves.csv", "rows": len(events)}
    assert [(row["kind"], int(row["step"]), float(row["time"])) for row in rows] == [
        (event.kind, event.step, event.time) for event in events
    ]
    for row, event in zip(rows, events, strict=True):
        for name in ("loss", "accuracy", "learning_rate", "test_accuracy", "test_loss", "epoch"):
            assert row[name] == ("" if event.data.get(name) is None else repr(event.data[name]))


def test_charts_are_drawn(run):
    assert told("export first -o curves.svg") == {"chart": "curves.svg"}
    assert "<svg" in Path("curves.svg").read_text(encoding="utf-8")
    told("export first -o new/confusion.png --chart confusion")
    with Image.open("new/confusion.png") as picture:
        assert picture.text["Weights"] == f"SHA-256 {open_run('first').results()['weights_sha256']}"


def test_an_imported_run_does_all_that_a_run_does(run):
    packed = told("export first -o away/first.tar")
    shutil.copytree("first", "kept")
    shutil.rmtree("first")
    unpacked = told("import away/first.tar")
    assert unpacked == {"run": "runs/first", "files": packed["files"]}
    for path in Path("kept").rglob("*"):
        if path.is_file() and path.name != ".lock":
            assert path.read_bytes() == Path("runs/first", path.relative_to("kept")).read_bytes()
    assert {"survey", "film", "checkpoints", "pictures"} <= {path.name for path in Path("runs/first").iterdir()}
    for command in (
        "layers latest",
        "filters runs/first",
        "maps latest --image 7 -o maps.npz",
        "film latest -o film.webp --quiet",
        "resume latest --quiet",
        "export latest -o again.csv",
        "top-images latest --layer conv1 --channel 0 --quiet",
    ):
        code, _, err = call(command)
        assert code == 0, f"{command}: {err}"


def test_a_method_writes_its_numbers(run):
    said = told("filters first -o filters.npz")
    with np.load("filters.npz", allow_pickle=False) as read:
        weights = open_run("first").network(say=print).model.get_parameter("conv1.weight").detach().numpy()
        np.testing.assert_array_equal(read["values"], weights)
        about = json.loads(str(read["about"]))
    assert said["picture"] == "filters.npz"
    assert about["provenance"]["Weights"] == f"SHA-256 {open_run('first').results()['weights_sha256']}"
    assert json.loads(Path(told("filters first -o f.json")["picture"]).read_text())["numbers"] == about["numbers"]


def test_the_places_that_an_archive_names_are_told(run):
    config = json.loads(Path("first/run.json").read_text(encoding="utf-8"))
    config["weights"] = "/home/ann/weights.safetensors"
    Path("first/run.json").write_text(json.dumps(config), encoding="utf-8")
    Path("first/notes.txt").write_text("")
    code, _, err = call("export first -o first.tar")
    assert code == 0
    assert "the archive names places of this machine, as its run.json does: /home/ann/weights.safetensors" in err
    assert "left out: notes.txt" in err


def test_missing_images_are_told_and_can_be_named(run):
    config = json.loads(Path("first/run.json").read_text(encoding="utf-8"))
    config["dataset"]["name"] = "folder:/home/ann/birds"
    Path("first/run.json").write_text(json.dumps(config), encoding="utf-8")
    assert call("export first -o first.tar")[0] == 0
    code, _, err = call("import first.tar")
    assert code == 0
    assert "its images are not here: /home/ann/birds" in err
    assert "--images" in err
    Path("birds").mkdir()
    assert call("import first.tar -o second --images birds") == (0, "run: second\nfiles: " + str(_count()) + "\n", "")
    assert json.loads(Path("second/run.json").read_text())["dataset"]["name"] == f"folder:{Path('birds').resolve()}"


def _count() -> int:
    return sum(path.is_file() and not path.name.startswith(".") for path in Path("second").rglob("*"))


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("export first", 2, "--out"),
        (
            "export first -o net.pth",
            2,
            "allowed: a name that ends in .onnx (the network), .pt2 (the network), .csv (",
        ),
        ("export first -o net", 2, "net; allowed: a name that ends in .onnx"),
        ("export resnet8 -o curves.csv", 2, ".csv is a run's curves, and resnet8 is none; allowed: a run folder or"),
        ("export first -o first.tar --input-size 32", 2, ".tar is a run; leave out what says how to open a network"),
        ("export first -o net.onnx --chart phases", 2, "--chart is for .svg and .png, not for .onnx"),
        ("export first -o x.svg --chart loss", 2, '"loss"'),
        ("export first -o net.pt2 --device cuda", 2, "--device cuda; allowed: cpu"),
        ("export nowhere -o x.csv", 2, '"nowhere" is no run folder'),
        ("export first -o text/net.pt2", 6, "cannot write text/net.pt2"),
        ("export first -o text/curves.csv", 6, "cannot write text/curves.csv"),
        ("export first -o text/curves.svg", 6, "cannot write text/curves.svg"),
        ("export first -o text/first.tar", 6, "cannot write text/first.tar"),
        ("import text", 3, "archive text cannot be read as a plain .tar"),
        ("import nowhere.tar", 2, 'no archive "nowhere.tar"; wanted: a .tar'),
        ("filters first.tar", 2, "an archive becomes a run by: convscope import first.tar"),
    ],
)
def test_mistakes_are_one_line_with_their_exit_code(run, command, code, says):
    Path("text").write_text("")
    ended, out, err = call(command)
    assert (ended, out, len(err.splitlines())) == (code, "", 1)
    assert says in err
    assert sorted(path.name for path in Path().iterdir()) == ["first", "text"]


def test_a_training_run_is_not_packed(run):
    with lock_run(run):
        code, _, err = call("export first -o first.tar")
    assert code == 7
    assert "is being trained by process" in err


def test_every_ending_is_in_the_help():
    code, out, _ = call("export --help")
    assert code == 0
    assert all(ending in out for ending in EXPORTS)
