"""What the terminal shows of a training's events."""

import pytest

from convscope.command_line.console import TrainingDisplay, print_results, say, show_work
from convscope.types import Event


def train_event(step: int, time: float, phase: int = 0) -> Event:
    data = {"epoch": step / 100, "phase": phase, "loss": 0.5, "accuracy": 0.25, "images_per_second": 640.0}
    return Event("train", step, time, data)


def start(step: int, time: float) -> Event:
    return Event("start", step, time, {"steps": 1000, "optimizers": ["adam", "sgd"], "resumed": step > 0})


def test_plain_lines_say_where_it_is_and_what_is_left(capsys):
    with TrainingDisplay() as display:
        display.show(start(0, 0.0))
        for step in range(10, 110, 10):
            display.show(train_event(step, step / 10))
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "phase 1 adam, step 100/1000, epoch 1.00, loss 0.500, train 25.0%, 640 images/s, 90 s left"


def test_a_resumed_run_knows_its_phase_and_is_not_held_to_the_time_before(capsys):
    with TrainingDisplay() as display:
        display.show(start(500, 9000.0))
        for step in range(510, 610, 10):
            display.show(train_event(step, 9000 + (step - 500) / 10, phase=1))
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("phase 2 sgd, step 600/1000")
    assert line.endswith(", 40 s left")


def test_quiet_is_quiet(capsys):
    with TrainingDisplay(quiet=True) as display, show_work(quiet=True) as progress:
        display.show(start(0, 0.0))
        display.show(train_event(500, 1.0))
        progress("reading", 1, None)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("value", "shown"), [(0.98611111, "0.98611"), (1.0, "1"), (5e-05, "5e-05"), (12, "12")])
def test_numbers_keep_five_digits(value, shown, capsys):
    print_results({"key": value})
    assert capsys.readouterr().out == f"key: {shown}\n"


def test_what_a_name_holds_is_spelled_out_on_the_terminal(capsys):
    say("no image a\x1b[2J\n\u202eé日本\udc80.png")
    assert capsys.readouterr().err == "no image a\\x1b[2J\\n\\u202eé日本\\udc80.png\n"
