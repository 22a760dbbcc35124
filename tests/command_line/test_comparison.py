"""Several recipes and seeds: the same start, one page, kept when cut off, and one line for each mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from convscope.command_line import comparison
from convscope.data.memory import dataset_in_memory
from convscope.errors import NumericsError
from convscope.report import comparison_pictures
from convscope.training import run as runs
from convscope.training import start as starts
from convscope.training.run import open_run
from tests.called import call

BASE = ["--model", "resnet8", "--set", "batch_size=10", "--set", "phases.0.epochs=1", "--epochs", "2", "--quiet"]
BASE += ["--precision", "fp32"]
BOTH = ["--recipe", "sgd", "--recipe", "adam-then-sgd"]


def planted(name: str = "planted", **_):
    """Bright and dark images, and another fingerprint for another name."""
    drawn = torch.Generator().manual_seed(len(name))
    labels = torch.arange(40) % 2
    pixels = (torch.randint(0, 90, (40, 3, 12, 12), generator=drawn) + 100 * labels[:, None, None, None]).byte()
    halves = (pixels[:30], labels[:30]), (pixels[30:], labels[30:])
    return dataset_in_memory(name, *halves, ("dark", "bright"), source="the tests")


@pytest.fixture(autouse=True, scope="module")
def quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convscope.data.load_dataset", planted)
        patch.setattr(runs, "load_dataset", planted)
        patch.setattr(comparison_pictures, "ASCENT_STEPS", 1)
        yield


@pytest.fixture
def page(monkeypatch) -> list[list[str]]:
    """The page is not drawn; the names of the runs that it would have held against each other."""
    shown: list[list[str]] = []

    def write(target, found, *_, **__):
        shown.append([run.path.name for run in found])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("a page")
        return "An answer."

    monkeypatch.setattr("convscope.report.comparison.write_comparison", write)
    return shown


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> Path:
    """Two recipes with two seeds each."""
    folder = tmp_path_factory.mktemp("compared") / "all"
    assert call("train", "planted", *BASE, *BOTH, "--seeds", "2", "--out", folder) == 0
    return folder


def configs(folder: Path) -> dict[str, dict]:
    return {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/run.json")}


def test_all_begin_from_the_same_weights_seed_by_seed_and_end_in_a_page(compared):
    found = configs(compared)
    assert set(found) == {"sgd-seed0", "sgd-seed1", "adam-then-sgd-seed0", "adam-then-sgd-seed1"}
    sums = [{config["initial_sha256"] for name, config in found.items() if name.endswith(seed)} for seed in "01"]
    assert [len(each) for each in sums] == [1, 1]
    assert sums[0] != sums[1]
    assert [found[f"sgd-seed{seed}"]["recipe"]["seed"] for seed in (0, 1)] == [0, 1]
    assert {config["dataset"]["options"]["seed"] for config in found.values()} == {0}, "a folder would be split anew"
    assert all(open_run(str(compared / name)).results() for name in found)
    page = (compared / "comparison.html").read_text()
    assert "same initial weights" in page
    assert "same images in the same order" in page


def test_what_is_printed(compared, page, capsys):
    assert call("train", "planted", *BASE, *BOTH, "--seeds", "2", "--out", compared) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line for line in out if line.startswith("run: ")] == [
        f"run: {compared / name}-seed{seed}" for seed in (0, 1) for name in ("sgd", "adam-then-sgd")
    ]
    assert f"comparison: {compared / 'comparison.html'}" in out
    assert out[-1] == "answer: An answer."
    assert call("train", "planted", *BASE, *BOTH, "--seeds", "2", "--out", compared, "--json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert len(json.loads(line)["runs"]) == 4
    assert json.loads(line)["comparison"] == str(compared / "comparison.html")


def test_finished_runs_are_kept_and_an_interrupted_one_goes_on(compared, page, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "cut"
    real, stops = starts.start_run, []

    def stopping(path, *arguments, should_stop, **keywords):
        def stop() -> bool:
            stops.append(path.name)
            return path.name == "adam-then-sgd-seed0" and stops.count(path.name) == 4

        return real(path, *arguments, should_stop=stop, **keywords)

    command = ["train", "planted", *BASE, *BOTH, "--seeds", "2"]
    monkeypatch.setattr(starts, "start_run", stopping)
    monkeypatch.setattr("sys.argv", ["convscope", *command])
    monkeypatch.setattr("convscope.training.folder.new_run_path", lambda *_: folder)
    assert call(*command) == 130
    err = capsys.readouterr().err
    assert f"stopped after step 4, saved; go on with: convscope {' '.join(command)} --out {folder}" in err
    assert set(configs(folder)) == {"sgd-seed0", "adam-then-sgd-seed0"}
    assert not (folder / "comparison.html").exists()

    monkeypatch.setattr(starts, "start_run", real)
    before = (folder / "sgd-seed0" / "events.jsonl").read_bytes()
    assert call(*command, "--out", folder) == 0
    assert (folder / "sgd-seed0" / "events.jsonl").read_bytes() == before
    sums = {
        name: [open_run(str(each / name)).results()["weights_sha256"] for each in (folder, compared)]
        for name in configs(compared)
    }
    assert all(first == second for first, second in sums.values()), "not the bits of a comparison that was not cut"
    assert (folder / "comparison.html").exists()


def test_ctrl_c_while_the_page_is_drawn_says_how_to_go_on(compared, capsys, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("convscope.report.comparison.write_comparison", stop)
    assert call("train", "planted", *BASE, *BOTH, "--seeds", "2", "--out", compared) == 130
    assert "stopped; what was saved stands; go on with: convscope" in capsys.readouterr().err


def test_other_settings_in_the_same_folder_are_refused_by_name(compared, page, capsys):
    other = [*BASE, *BOTH, "--seeds", "2", "--set", "phases.0.learning_rate=0.5", "--out", compared]
    assert call("train", "planted", *other) == 2
    err = capsys.readouterr().err
    assert "sgd-seed0 holds a run of other settings: phases.0.learning_rate was 0.01, is 0.5; " in err
    assert len(err.splitlines()) == 1
    assert call("train", "other images", *BASE, *BOTH, "--seeds", "2", "--out", compared) == 2
    assert "other settings: dataset was" in capsys.readouterr().err
    assert page == []


def test_a_training_that_fails_does_not_stop_the_others(page, tmp_path, capsys, monkeypatch):
    real = starts.start_run

    def failing(path, *arguments, **keywords):
        for event in real(path, *arguments, **keywords):
            if path.name == "sgd-seed0" and event.step > 2:
                raise NumericsError("the loss is nan after step 3")
            yield event

    monkeypatch.setattr(starts, "start_run", failing)
    assert call("train", "planted", *BASE, *BOTH, "--out", tmp_path) == 5
    out, err = capsys.readouterr()
    assert f"comparison: {tmp_path / 'comparison.html'}" in out
    assert "1 of 2 trainings failed; sgd-seed0: the loss is nan after step 3" in err
    assert open_run(str(tmp_path / "adam-then-sgd-seed0")).results()


def test_run_writes_each_report_once(page, tmp_path, capsys, monkeypatch):
    written = []

    def report(path, **_):
        written.append(path.name)
        (path / "report.html").touch()
        return path / "report.html"

    monkeypatch.setattr("convscope.report.report.write_report", report)
    for _ in range(2):
        assert call("run", "planted", *BASE, *BOTH, "--out", tmp_path) == 0
    assert written == ["sgd-seed0", "adam-then-sgd-seed0"]


def test_one_recipe_and_one_seed_is_an_ordinary_run(tmp_path, capsys):
    assert call("train", "planted", *BASE, "--recipe", "sgd", "--out", tmp_path / "run") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"run: {tmp_path / 'run'}\n")
    assert "comparison" not in out
    assert (tmp_path / "run" / "run.json").exists()


MISTAKES = [
    (["--recipe", "sgd", "--recipe", "fast"], "the recipes differ in model (sgd resnet18-7x7, fast vgg7)"),
    (["--recipe", "sgd", "--recipe", "sgd"], 'two recipes are called "sgd"'),
    (
        ["--recipe", "adam", "--recipe", "adam-then-sgd", "--epochs", "3"],
        "adam and adam-then-sgd are the same training",
    ),
    (["--recipe", "sgd", "--recipe", "amad"], 'no recipe "amad"; closest: adam'),
    (["--seeds", "0"], "--seeds 0; allowed: 1 or more"),
    (["--seeds", "2", "--model", "resnet-8"], 'no model "resnet-8"; closest: resnet8'),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=[" ".join(each) for each, _ in MISTAKES])
def test_mistakes_are_told_before_anything_is_read(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("convscope.data.load_dataset", lambda *_, **__: pytest.fail("read the images first"))
    assert call("train", "planted", *arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_batch_size_and_precision_are_those_of_the_first_recipe(tmp_path, capsys, monkeypatch):
    seen = []
    monkeypatch.setattr(comparison, "_train_all", lambda planned, *_, **__: seen.extend(planned.values()) or [])
    monkeypatch.setattr(comparison, "_write", lambda *_: None)
    monkeypatch.setattr(comparison, "_open", lambda _: None)
    monkeypatch.setattr(planted, "__defaults__", ("planted",))
    names = ["--recipe", "sgd", "--recipe", "adam", "--model", "resnet8"]
    assert call("train", "planted", *names, "--out", tmp_path) == 0
    assert {recipe.batch_size for recipe in seen} == {30}  # 256, and all the images that there are
    assert {recipe.precision for recipe in seen} == {"auto"}
    assert (
        "batch_size=256, precision=auto for all, as sgd has it; another: --set KEY=VALUE" in capsys.readouterr().err
    )


def test_compare_finds_runs_in_a_folder_and_writes_beside_them(compared, page, tmp_path, capsys):
    assert call("compare", compared, "--quiet") == 0
    assert f"comparison: {compared / 'comparison.html'}" in capsys.readouterr().out
    assert call("compare", compared / "sgd-seed0", compared / "adam-then-sgd-seed0", "--quiet") == 0
    path = compared / "comparison-of-sgd-seed0-and-adam-then-sgd-seed0.html"
    assert f"comparison: {path}" in capsys.readouterr().out
    path.unlink()
    assert call("compare", compared / "sgd-seed0", compared / "sgd-seed1", "-o", tmp_path / "a" / "b.html") == 0
    assert (tmp_path / "a" / "b.html").exists()
    assert page[0] == ["sgd-seed0", "adam-then-sgd-seed0", "sgd-seed1", "adam-then-sgd-seed1"]  # as they were started
    assert page[1:] == [["sgd-seed0", "adam-then-sgd-seed0"], ["sgd-seed0", "sgd-seed1"]]


def test_compare_goes_on_without_images_that_have_changed(compared, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runs, "load_dataset", lambda *_, **__: planted("changed since"))
    names = [compared / "sgd-seed0", compared / "sgd-seed1"]
    assert call("compare", *names, "-o", tmp_path / "page.html", "--quiet") == 0
    assert "the networks are not looked into: the images of planted are not those" in capsys.readouterr().err
    assert 'id="curves"' in (tmp_path / "page.html").read_text()
    assert 'id="insides"' not in (tmp_path / "page.html").read_text()


def test_mistakes_of_compare(compared, tmp_path, capsys):
    one = compared / "sgd-seed0"
    for names, message in (
        ([], "0 run to compare; allowed: two or more"),
        ([one], "1 run to compare; allowed: two or more, or a folder that holds them"),
        ([one, tmp_path], f'"{tmp_path}" is no run folder'),
        ([one, compared / "." / "sgd-seed1" / ".." / "sgd-seed0"], "is named twice"),
        ([one, compared], "is named twice"),
    ):
        assert call("compare", *names, "-o", tmp_path / "page.html") == 2
        err = capsys.readouterr().err
        assert message in err
        assert len(err.splitlines()) == 1
    assert not (tmp_path / "page.html").exists()


def test_the_command_to_go_on_is_a_single_runs_own_where_it_is_one(tmp_path, capsys, monkeypatch):
    real = starts.start_run

    def stopping(path, *arguments, should_stop, **keywords):
        return real(path, *arguments, should_stop=lambda: True, **keywords)

    monkeypatch.setattr(starts, "start_run", stopping)
    assert call("train", "planted", *BASE, "--recipe", "sgd", "--out", tmp_path) == 130
    assert f"stopped after step 1, saved; go on with: convscope resume {tmp_path}" in capsys.readouterr().err
