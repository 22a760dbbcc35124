import json
import subprocess

import pytest

from bench import BENCHMARKS, everything
from bench.everything import JOBS, markdown, run
from bench.figures import Figure
from bench.timing import Comparison, compare, report
from tests.patience import PATIENCE


def test_a_figure_is_the_median_against_what_is_wanted():
    figure = Figure("start", (3.0, 1.0, 1.5), "s", wanted=1.5)
    assert figure.value == 1.5
    assert figure.met is True
    assert Figure("start", (3.0, 1.0, 1.6), "s", wanted=1.5).met is False
    assert Figure("speed", (3.0, 1.0, 1.6), "s", wanted=1.5, least=True).met is True
    assert Figure("speed", (2.0,)).met is None


def test_what_was_not_measured_is_not_met_nor_missed():
    figure = Figure("keras", (), wanted=2, note="pip install keras")
    assert figure.met is None
    assert figure.markdown() == "| keras | not measured | at most 2 |  | pip install keras |"


def test_a_speedup_is_the_median_of_the_pairs():
    comparison = Comparison("a", ours=(1.0, 2.0, 4.0), peer=(2.0, 6.0, 4.0), wanted=2)
    assert comparison.speedup == 2
    assert comparison.met is True
    assert Comparison("a", ours=(1.0,), peer=(1.9,), wanted=2).met is False
    assert Comparison("a", ours=(1.0,), peer=(1.9,)).met is None


def test_pairs_begin_with_the_other_one_in_turn():
    turns: list[str] = []
    timed = compare(lambda: turns.append("ours"), lambda: turns.append("peer"), what="a", pairs=3, warm=False)
    assert turns == ["ours", "peer", "peer", "ours", "ours", "peer"]
    assert len(timed.ours) == len(timed.peer) == 3


def test_a_report_is_a_table_and_a_file(tmp_path, capsys):
    rows = [Comparison("a", ours=(1.0,), peer=(3.0,), wanted=2)]
    report(rows, [Figure("b", (2.0,), "s")], facts={"model": "m"}, json=tmp_path / "told.json")
    told = json.loads((tmp_path / "told.json").read_bytes())
    assert told["comparisons"][0]["speedup"] == 3
    assert told["comparisons"][0]["met"] is True
    assert told["figures"][0]["value"] == 2
    assert told["facts"] == {"model": "m"}
    shown = capsys.readouterr().out
    assert "| a | 1 s | 3 s | 0.333 (0.333 to 0.333) | 3× | 1 |" in shown
    assert "| b | 2 s |  |  |  |" in shown


def record(**changes):
    row = {
        "what": "a",
        "ours": [1.0, 1.0],
        "peer": [2.0, 4.0],
        "wanted": 2,
        "ratio": 0.4,
        "speedup": 3.0,
        "met": True,
    }
    figure = vars(Figure("b", (2.0,), "s", wanted=1)) | {"value": 2.0, "met": False}
    told = {"command": "python -m bench x", "seconds": 4.2, "facts": {"model": "m"}}
    return told | {"comparisons": [row], "figures": [figure]} | changes


def test_one_table_holds_all_that_was_measured_and_all_that_failed():
    failed = record(comparisons=[], figures=[], failure="No module named 'a|b'")
    table = markdown([record(), failed], {"cores": 2}).splitlines()
    assert table[2:5] == [
        "| a | 3× as fast (2 to 4) | at least 2× | yes | 2 pairs |",
        "| b | 2 s | at most 1 s | no |  |",
        "| `python -m bench x` | failed |  |  | No module named 'a/b' |",
    ]
    assert "cores 2" in table
    assert table[-1] == "- `python -m bench x` (4 s): model m"


def test_a_comparison_that_fails_says_why():
    told = run(["nonsense"], timeout=PATIENCE)
    assert told["failure"] == 'no comparison "nonsense"; list them: python -m bench'
    assert told["comparisons"] == told["figures"] == []


def test_a_comparison_that_hangs_is_given_up(monkeypatch):
    def hang(*_, timeout, **__):
        raise subprocess.TimeoutExpired("bench", timeout)

    monkeypatch.setattr(everything.subprocess, "run", hang)
    assert run(["train"], timeout=3)["failure"] == "given up after 3 s"


def test_nothing_is_held_against_quick_figures(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(everything, "run", lambda command, timeout: record(command=" ".join(command)))
    everything.main(["--quick", "--only", "memory", "--markdown", str(tmp_path / "told.md")])
    table = (tmp_path / "told.md").read_text(encoding="utf-8")
    assert "| b | 2 s |  |  |  |" in table
    assert "yes" not in table
    assert capsys.readouterr().out == table


@pytest.mark.parametrize("job", JOBS, ids=lambda job: f"{job.name} {job.whole}".strip())
def test_each_job_is_a_comparison_whose_arguments_differ_when_quick(job):
    assert job.name in BENCHMARKS
    assert job.arguments(quick=True, data_dir=None) != job.arguments(quick=False, data_dir=None)
    given = job.arguments(quick=False, data_dir="photographs")
    assert ("--data-dir" in given) is job.photographs


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_comparison_is_there(name):
    assert callable(BENCHMARKS[name].load())
