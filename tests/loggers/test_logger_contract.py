"""What every logger must satisfy, over the whole table: what it was told is in its tool, once, whatever happened."""

import pytest

from convscope.loggers import LOGGERS
from convscope.loggers.memory import used_loggers
from tests.loggers.conftest import FRAMES, LAST, LOSSES, TEST_LOSSES, events_between
from tests.loggers.readers import READERS

pytestmark = pytest.mark.filterwarnings("ignore:.*noload:DeprecationWarning")  # MLflow's, of SQLAlchemy


def test_every_logger_is_read_back():
    assert READERS.keys() == LOGGERS.keys()


@pytest.fixture(params=LOGGERS)
def name(request):
    return request.param


def check(name, run, tools):
    assert not [said for said in run.said if "left" in said]
    curves, pictures = READERS[name](run.path, tools)
    for name, expected in (("loss/batches", LOSSES), ("loss/test", TEST_LOSSES)):
        assert dict(curves[name]) == pytest.approx(dict(expected))
        assert len(curves[name]) == len(expected)
    assert pictures == [(step, step) for step in FRAMES]


def test_a_run_is_told_whole(name, run, tools):
    assert run.first_session(name, last=LAST) == list(events_between(0, LAST, resumed=False))
    check(name, run, tools)
    assert len(run.said) == 1, run.said
    assert run.said[0].startswith(f"{name}: ")
    assert used_loggers(run.path) == [name]


def test_a_resumption_goes_on_in_the_same_run_without_doubles(name, run, tools):
    run.first_session(name)
    assert used_loggers(run.path) == [name]
    run.second_session(name)
    check(name, run, tools)


def test_a_logger_that_joins_at_a_resumption_gets_what_was_before(name, run, tools):
    run.first_session()
    run.second_session(name)
    check(name, run, tools)


def test_what_a_kill_kept_from_the_tool_comes_at_the_resumption(name, run, tools):
    run.first_session(name, last=30)
    run.first_session()  # the log goes on, the tool hears no more of it
    run.second_session(name)
    check(name, run, tools)


def test_several_at_once(run, tools):
    run.first_session(*LOGGERS)
    run.second_session(*LOGGERS)
    for name in LOGGERS:
        check(name, run, tools)
