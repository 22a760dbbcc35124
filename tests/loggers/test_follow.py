"""No logger stops or slows the events, whatever it does; each failure is said once, in one line."""

import subprocess
import sys
import threading

import pytest

from convscope.errors import NumericsError, UsageError
from convscope.loggers import LOGGERS, load_loggers
from convscope.loggers import follow as following
from convscope.tables import Entry
from convscope.types import Event
from tests.loggers.conftest import CUT, LAST, events_between, final_event
from tests.patience import PATIENCE, soon

HERE = __name__
EVENTS = [*events_between(0, LAST, resumed=False), final_event()]


class Fake:
    """A logger that keeps what it is told."""

    made: "list[Fake]" = []  # noqa: RUF012
    delay = 0.0

    def __init__(self, run, config, memory, step, frame_pixels):
        self.where, self.told = "in memory", memory.get("told", {})
        self.config, self.step, self.events, self.reasons = config, step, [], []
        Fake.made.append(self)

    def log(self, events):
        self.events += events

    def close(self, reason):
        self.reasons.append(reason)


class FailsToOpen(Fake):
    def __init__(self, *needs):
        raise OSError(28, "No space left\non device")


class FailsToLog(Fake):
    def log(self, events):
        raise ConnectionError("the server is away")


class FailsToClose(Fake):
    def close(self, reason):
        raise ValueError


class Hangs(Fake):
    release = threading.Event()

    def log(self, events):
        Hangs.release.wait(2 * PATIENCE)


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    Fake.made.clear()
    Hangs.release.clear()
    table = {
        kind.__name__: Entry(f"{HERE}:{kind.__name__}", "")
        for kind in (Fake, FailsToOpen, FailsToLog, FailsToClose, Hangs)
    }
    monkeypatch.setattr("convscope.loggers.LOGGERS", table)
    yield
    Hangs.release.set()


def test_every_event_comes_through_and_reaches_the_logger_in_order(run):
    assert list(run.follow(iter(EVENTS), "Fake")) == EVENTS
    (logger,) = Fake.made
    assert logger.events == EVENTS
    assert logger.reasons == ["finished"]
    assert logger.config["seed"] == 3
    assert run.said == ["Fake: in memory"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("FailsToOpen", "OSError: [Errno 28] No space left on device"),
        ("FailsToLog", "ConnectionError: the server is away"),
        ("FailsToClose", "ValueError"),
    ],
)
def test_a_logger_that_fails_is_said_in_one_line_and_dropped(run, name, reason):
    assert list(run.follow(iter(EVENTS), name, "Fake")) == EVENTS
    assert [said for said in run.said if "failed" in said] == [
        f"{name} failed and is left out from here on: {reason}"
    ]
    beside = next(logger for logger in Fake.made if type(logger) is Fake)
    assert beside.events == EVENTS


def test_a_logger_that_hangs_holds_up_nothing_but_the_end_and_that_not_for_long(run, monkeypatch):
    monkeypatch.setattr(following, "PATIENCE", 0.2)
    monkeypatch.setattr(following, "MOST_WAITING", 50)
    events = run.follow((Event("train", step, 0.0, {}) for step in range(1000)), "Hangs")
    first = next(events)
    soon(lambda: run.said)
    assert [first, *events] == [Event("train", step, 0.0, {}) for step in range(1000)]
    assert run.said[0] == "Hangs: in memory"
    assert run.said[1].startswith("Hangs is too slow: from step ")
    assert run.said[2:] == ["Hangs did not finish within 0.2 s and is left behind; events.jsonl has it all"]


def test_events_are_passed_on_while_the_training_runs(run):
    events = run.follow(iter(EVENTS), "Fake")
    seen = [next(events) for _ in range(5)]
    soon(lambda: Fake.made and Fake.made[0].events == seen)
    events.close()


def test_a_training_that_is_left_early_was_interrupted(run):
    events = run.follow(iter(EVENTS), "Fake")
    next(events)
    events.close()
    assert Fake.made[0].reasons == ["interrupted"]


def test_one_that_is_left_after_its_end_was_not(run):
    events = run.follow(iter(EVENTS), "Fake")
    for event in events:
        if event.kind == "end":
            events.close()
    assert Fake.made[0].reasons == ["finished"]


def test_a_loss_that_is_not_finite_reaches_the_logger_as_an_alarm(run):
    def fails():
        yield from EVENTS[:5]
        raise NumericsError("the loss is nan after step 20")

    with pytest.raises(NumericsError, match="after step 20"):
        list(run.follow(fails(), "Fake"))
    alarm = Fake.made[0].events[-1]
    assert (alarm.kind, alarm.step, alarm.data["message"]) == ("alarm", 20, "the loss is nan after step 20")
    assert Fake.made[0].reasons == ["failed"]


def test_an_error_of_the_training_is_its_own(run):
    def fails():
        yield EVENTS[0]
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        list(run.follow(fails(), "Fake"))
    assert Fake.made[0].reasons == ["failed"]


def test_after_a_resumption_only_what_is_new_is_told(run):
    run.first_session("Fake")
    run.second_session("Fake")
    first, second = Fake.made
    assert second.step == CUT
    assert [event.step for event in first.events if event.kind == "train"] == list(range(10, 81, 10))
    assert [event.step for event in second.events if event.kind == "train"] == [90, 100]
    assert [event.kind for event in second.events if event.kind in ("phase", "alarm")] == []
    assert (second.events[0].kind, second.events[-1].kind) == ("start", "end")


def test_a_training_without_a_run_folder_is_followed_too(tmp_path):
    assert list(following.follow(iter(EVENTS), ["Fake"], tmp_path / "none-yet")) == EVENTS
    assert Fake.made[0].events == EVENTS
    assert Fake.made[0].config == {}


def test_a_damaged_memory_is_said(run):
    (run.path / "loggers").mkdir()
    (run.path / "loggers" / "Fake.json").write_text("{")
    assert list(run.follow(iter(EVENTS), "Fake")) == EVENTS
    assert len(run.said) == 1
    assert "Fake.json is damaged" in run.said[0]
    assert "remove it to begin anew" in run.said[0]


def test_an_unknown_logger_is_told_before_the_first_event(run):
    with pytest.raises(UsageError, match='no logger "Fakes"; closest: Fake; list them: convscope loggers'):
        run.follow(iter(EVENTS), "Fakes")


@pytest.mark.parametrize(
    ("name", "package"), [("tensorboard", "tensorboard"), ("wandb", "wandb"), ("mlflow", "mlflow")]
)
def test_a_missing_package_is_told_with_its_install_line(name, package, monkeypatch):
    monkeypatch.setattr("convscope.loggers.LOGGERS", LOGGERS)
    for module in [found for found in sys.modules if found.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, f"convscope.loggers.{name}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError) as caught:
        load_loggers([name])
    assert f"pip install 'convscope[{name}]'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_tool_is_imported_unless_it_is_asked_for():
    code = """
import sys
from convscope.loggers.follow import follow
list(follow(iter(()), [], __import__("pathlib").Path(".")))
sys.exit(", ".join({"torch", "tensorboard", "wandb", "mlflow", "visdom"} & set(sys.modules)) or None)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
