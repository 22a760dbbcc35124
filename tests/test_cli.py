"""The command line: what it prints, what it writes, and one line for each mistake."""

import contextlib
import errno
import io
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from PIL import Image

from tests.called import call

SHORT = ["--model", "resnet8", "--epochs", "1", "--set", "batch_size=360", "--precision", "fp32"]


class Finished(NamedTuple):
    """A run folder, trained for an epoch and reported on, and what was said meanwhile."""

    path: Path
    out: str
    err: str


@pytest.fixture(scope="module")
def command(tmp_path_factory) -> Finished:
    path, out, err = tmp_path_factory.mktemp("cli") / "run", io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        assert call("run", "digits", *SHORT, "--out", path) == 0
    return Finished(path, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def finished(command) -> Path:
    return command.path


def values(text: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in text.splitlines())


def test_run_prints_what_it_made(command):
    printed = values(command.out)
    assert printed["run"] == str(command.path)
    assert (command.path / "report.html").read_text().lower().startswith("<!doctype html>")
    assert printed["report"] == str(command.path / "report.html")
    assert 0 <= float(printed["train_accuracy"]) <= 1
    assert 0 <= float(printed["test_accuracy"]) <= 1
    assert len(printed["weights_sha256"]) == 64
    assert "phase 1 sgd, step 3/3, epoch 1.00" in command.err


def test_quiet_says_nothing_but_results_and_json_is_one_line(tmp_path, capsys):
    assert (
        call(
            "train",
            "digits",
            *SHORT,
            "--set",
            "augmentation.flip=false",
            "--out",
            tmp_path / "run",
            "--quiet",
            "--json",
        )
        == 0
    )
    out, err = capsys.readouterr()
    assert err == ""
    assert json.loads(out)["run"] == str(tmp_path / "run")
    assert not (tmp_path / "run" / "report.html").exists()


def test_a_finished_run_can_be_resumed_and_reported_again(finished, tmp_path, capsys, monkeypatch):
    from convscope.report import report

    monkeypatch.setattr(report, "sections", lambda *_, **__: iter(()))  # what methods draw takes long
    run = shutil.copytree(finished, tmp_path / "run")
    before = (run / "events.jsonl").read_bytes()
    (run / "report.html").unlink()
    assert call("resume", run, "--quiet") == 0
    out, err = capsys.readouterr()
    assert "is finished already" in err
    assert 0 <= float(values(out)["test_accuracy"]) <= 1
    assert (run / "events.jsonl").read_bytes() == before
    assert (run / "report.html").exists()
    (run / "report.html").unlink()
    assert call("report", run, "--quiet", "--format", "md") == 0
    assert (run / "report.md").exists()
    assert not (run / "report.html").exists()


def test_every_method_draws(finished, tmp_path, capsys):
    photo = tmp_path / "photo.png"
    Image.new("L", (50, 40), 128).save(photo)
    for arguments in (
        ["filters", finished],
        ["filters", finished, "--layer", "conv3", "--channel", "2"],
        ["maps", finished, "--image", "7"],
        ["maps", finished, "--layer", "layer2.0.conv1", "--image", photo, "--channel", "3"],
        ["maximize", finished, "--layer", "conv1", "--channel", "0-2", "--steps", "2"],
        ["maximize", finished, "--layer", "fc", "--channel", "7", "--objective", "position", "--steps", "2"],
        ["reconstruct", finished, "--layer", "conv3", "--rule", "guided", "--control"],
        ["invert", finished, "--layer", "conv2", "--steps", "2"],
        ["top-images", finished, "--layer", "conv1", "--channel", "0,1", "--count", "3", "--reconstructions"],
        ["attribute", finished, "--target", "3", "--samples", "2"],
        ["dream", finished, "--layer", "conv2", "--octaves", "2", "--steps", "1"],
        ["filters", "resnet8"],
        ["reconstruct", "torchvision:squeezenet1_1", "--input-size", "48", "--image", photo],
    ):
        assert call(*arguments, "-o", tmp_path / "picture.png") == 0
        assert values(capsys.readouterr().out)["picture"] == str(tmp_path / "picture.png")
        with Image.open(tmp_path / "picture.png") as picture:
            assert min(picture.size) > 30
            assert len(picture.convert("RGB").getcolors(1 << 20)) > 3, f"{arguments}: a picture of nothing"
        (tmp_path / "picture.png").unlink()


def test_a_picture_says_where_it_comes_from(finished, tmp_path, capsys, monkeypatch):
    out = tmp_path / "picture.png"
    arguments = ["maximize", finished, "--layer", "conv1", "--channel", "1", "--steps", "2", "--seed", "5", "-o", out]
    monkeypatch.setattr("sys.argv", ["convscope", *map(str, arguments)])
    assert call(*arguments, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["channels"] == [1]
    assert len(printed["ratio"]) == 1
    with Image.open(out) as picture:
        assert (
            picture.text["Command"]
            == f"convscope maximize {finished} --layer conv1 --channel 1 --steps 2 --seed 5 -o {out}"
        )
        assert picture.text["Seed"] == "5"
        weights = json.loads((finished / "checkpoints" / "step-000000003" / "checkpoint.json").read_text())
        assert picture.text["Weights"].removeprefix("SHA-256 ") in json.dumps(weights)


def test_a_name_that_is_no_png_is_told_before_anything_is_drawn(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "convscope.command_line.method_commands.open_subject", lambda *_: pytest.fail("opened the network first")
    )
    assert call("maximize", "latest", "-o", tmp_path / "x.jpg") == 2
    assert "x.jpg; allowed: a name that ends in .png" in capsys.readouterr().err


def test_a_budget_draws_every_channel_and_goes_on(finished, capsys, monkeypatch):
    for steps in (2, 3):
        monkeypatch.setattr("convscope.methods.ascents.pattern_store.ROUNDS", (1, steps))
        assert call("maximize", finished, "--layer", "conv1", "--budget", "10m") == 0
        printed = values(capsys.readouterr().out)
        assert printed["pictures"] == str(finished / "pictures" / "maximize-conv1.png")
        assert printed["steps of conv1"].split()[0] == str(steps)
    assert call("maximize", finished, "--budget", "1s", "--steps", "3", "--channel", "1") == 2
    assert "leave out --channel, --steps" in capsys.readouterr().err
    assert call("maximize", finished, "--budget", "soon") == 2
    assert 'budget "soon"; allowed: a number with s, m or h, such as 10m' in capsys.readouterr().err


def test_an_interrupted_picture_is_saved_and_exits_with_130(finished, tmp_path, capsys, monkeypatch):
    from convscope.methods.ascents import ascent

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(ascent, "move", stop)
    out = tmp_path / "picture.png"
    assert call("maximize", finished, "--layer", "conv1", "--channel", "1", "-o", out) == 130
    assert out.exists()
    assert f"stopped; what was drawn until then is {out}" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["datasets", "models", "recipes", "methods"])
def test_lists_name_every_entry(command, capsys):
    from convscope.data import DATASETS
    from convscope.methods import METHODS
    from convscope.models import MODELS
    from convscope.training.recipes import RECIPES

    assert call(command) == 0
    tables = {"datasets": DATASETS, "models": MODELS, "recipes": RECIPES, "methods": METHODS}
    others = ["torchvision:NAME", "timm:NAME", "huggingface:PLACE", "MODULE:FUNCTION"] if command == "models" else []
    assert list(values(capsys.readouterr().out)) == [*tables[command], *others]


def test_layers_of_a_model(capsys):
    assert call("layers", "resnet18-7x7") == 0
    printed = values(capsys.readouterr().out)
    assert printed["parameters"] == "11185866"
    assert printed["conv1"] == "Conv2d 7×7, stride 2 64×16×16 9408 parameters"
    assert call("recipes", "sgd", "--json") == 0
    assert json.loads(capsys.readouterr().out)["phases.0.momentum"] == 0.9


def test_a_recipe_that_would_mirror_digits_says_that_it_does_not(tmp_path, capsys):
    assert call("train", "digits", "--recipe", "fast", *SHORT, "--out", tmp_path / "run") == 0
    assert "no mirroring: a mirrored image of digits is of another class" in capsys.readouterr().err
    assert not json.loads((tmp_path / "run" / "run.json").read_text())["recipe"]["augmentation"]["flip"]


def test_what_nobody_foresaw_is_one_line_too(monkeypatch, capsys):
    import convscope.training.recipes

    monkeypatch.setattr(convscope.training.recipes, "RECIPES", None)
    assert call("recipes") == 1
    err = capsys.readouterr().err
    assert err.startswith("convscope: unforeseen AttributeError: ")
    assert len(err.splitlines()) == 1


def test_debug_shows_where(capsys):
    assert call("--debug", "resume", "nowhere") == 2
    assert "Traceback" in capsys.readouterr().err


def test_the_second_training_in_a_folder_exits_with_7(tmp_path, capsys):
    from convscope.training.folder import lock_run

    with lock_run(tmp_path):
        assert call("train", "digits", *SHORT, "--out", tmp_path, "--quiet") == 7
    assert "is being trained by process" in capsys.readouterr().err


def test_sigterm_is_told_and_exits_with_143(capsys, monkeypatch):
    monkeypatch.setattr("convscope.cli.resume_training", lambda *_: signal.raise_signal(signal.SIGTERM))
    assert call("resume", "latest") == 143
    assert capsys.readouterr().err == "convscope: stopped; what was saved stands\n"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_ctrl_c_after_a_training_ends_what_comes_of_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("convscope.command_line.jobs.train_events", lambda *_, **__: iter(()))
    monkeypatch.setattr(
        "convscope.command_line.jobs.run_results", lambda *_, **__: signal.raise_signal(signal.SIGINT)
    )
    assert call("train", "digits", *SHORT, "--out", tmp_path, "--quiet") == 130
    assert capsys.readouterr().err == "convscope: stopped; what was saved stands\n"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
    ids=str,
)
def test_memory_that_runs_out_anywhere_is_one_line_with_advice(error, capsys, monkeypatch):
    def burst(*_):
        raise error

    monkeypatch.setattr("convscope.cli.resume_training", burst)
    assert call("resume", "latest") == 6
    advice = "close other programs, or use smaller images or batches (--set batch_size=VALUE)"
    assert capsys.readouterr().err == f"convscope: out of memory; {advice}\n"


def test_help_and_lists_do_not_import_torch():
    for arguments in (
        ["--help"],
        ["run", "--help"],
        ["models"],
        ["datasets"],
        ["methods"],
        ["recipes"],
        ["--version"],
    ):
        code = (
            "import sys\nfrom convscope.cli import main\n"
            f"try: main({arguments!r})\nexcept SystemExit: pass\n"
            "sys.exit('torch' in sys.modules)"
        )
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
        assert ended.returncode == 0, arguments
