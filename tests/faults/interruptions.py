"""A training that is told to stop, gets NaN, or runs out of memory: the right exit code, one line, nothing lost."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

from tests.faults.harness import (
    Command,
    Ended,
    Tally,
    checkpoints,
    complaints,
    cycle,
    differing,
    train,
    training,
    whole_lines,
)
from tests.faults.kills import Whole, left_alone
from tests.faults.poison import MEMORY_ERRORS, MEMORY_PLACES, NAN_PLACES, OutOfMemory, Poison
from tests.faults.tiny import RECIPES, STEPS

MOST_SECONDS = 10.0
"""After so long a fault must have ended the command."""

FEWEST_CALLS = {"loading": 1, "building": 1, "evaluation": 6, "saving": 8, "filming": 12}
"""How often a training comes by the places where memory can run out; the others as often as there are steps."""


ADVICE = ("go on with: convscope resume", "what was saved stands")
"""What is said of a training, and of a command that was stopped before or after it."""


def not_finite(folder: Path, *, count: int = 50, seed: int = 0) -> Tally:
    """Plant NaN or infinity at so many places: exit 5, one line with advice, and only good states saved."""
    tally, dice = Tally("NaN and infinity"), random.Random(seed)
    wholes = {recipe: left_alone(folder, recipe) for recipe in RECIPES}
    for index in range(count):
        recipe, place, step = cycle(RECIPES, index), cycle(NAN_PLACES, index), dice.randrange(1, STEPS + 1)
        run = folder / f"nan-{index}"
        ended = train(recipe, run, faults=[Poison(place, step)])
        failure = complaints(
            (ended.code == 5, f"exit {ended.code}"),
            (ended.one_line, f"said {ended.said}"),
            (any("step" in line and "--set phases." in line for line in ended.said), f"no advice: {ended.said}"),
            (ended.seconds <= MOST_SECONDS, f"{ended.seconds:.0f} s"),
        )
        failure = failure or saved_as_without(run, wholes[recipe])
        tally.count(place, failure and f"step {step}: {failure}")
    return tally


def saved_as_without(run: Path, whole: Whole) -> str:
    """What is wrong with the newest checkpoint, which must be the one that the training left alone had there."""
    sums = {event["step"]: event["data"]["weights_sha256"] for event in whole.log if event["kind"] == "checkpoint"}
    saved = [event for event in whole_lines(run) if event["kind"] == "checkpoint"]
    if not saved or not checkpoints(run):
        return "no checkpoint"
    last = saved[-1]
    held = checkpoints(run)[-1].name == last["data"]["name"] and last["data"]["weights_sha256"] == sums[last["step"]]
    return "" if held else f"the checkpoint of step {last['step']} is not as it should be"


def out_of_memory(folder: Path, *, count: int = 40, seed: int = 0) -> Tally:
    """Let memory run out at so many places: exit 6, one line with advice, and the same command goes on to the end."""
    tally, dice = Tally("out of memory"), random.Random(seed)
    wholes = {recipe: left_alone(folder, recipe) for recipe in RECIPES}
    for index in range(count):
        recipe, place, source = cycle(RECIPES, index), cycle(MEMORY_PLACES, index), dice.choice([*MEMORY_ERRORS])
        call, run = dice.randrange(1, FEWEST_CALLS.get(place, STEPS) + 1), folder / f"memory-{index}"
        ended = train(recipe, run, faults=[OutOfMemory(place, call, source)])
        failure = complaints(
            (ended.code == 6, f"exit {ended.code}"),
            (ended.one_line, f"said {ended.said}"),
            (any("out of memory" in line and "batch" in line for line in ended.said), f"no advice: {ended.said}"),
            (ended.seconds <= MOST_SECONDS, f"{ended.seconds:.0f} s"),
        )
        failure = failure or goes_on(recipe, run, wholes[recipe])
        tally.count(place, failure and f"call {call}, {source}: {failure}")
    return tally


def goes_on(recipe: str, run: Path, whole: Whole, *, without: str = "nothing") -> str:
    """What is wrong with the end of a run when the same command goes on with it."""
    again = train(recipe, run)
    return f"then exit {again.code}: {again.said}" if again.code else differing(run, whole.traces, without=without)


def signals(folder: Path, *, count: int = 100, seed: int = 0) -> Tally:
    """Send Ctrl-C and SIGTERM at so many random moments: saved, 130 or 143, and the same bits in the end."""
    tally, dice = Tally("Ctrl-C and SIGTERM"), random.Random(seed)
    wholes = {recipe: left_alone(folder, recipe) for recipe in RECIPES}
    slowest = 0.0
    for index in range(count):
        recipe, number = cycle(RECIPES, index), cycle((signal.SIGINT, signal.SIGTERM), index)
        run = folder / f"signalled-{index}"
        while True:
            ended = signalled(recipe, run, number, dice.uniform(0, wholes[recipe].seconds))
            if ended.code:
                break
            run = run.with_name(f"{run.name}-again")  # it was over before
        slowest = max(slowest, ended.seconds)
        failure = complaints(
            (ended.code == 128 + number, f"exit {ended.code}"),
            (ended.one_line, f"said {ended.said}"),
            (any(word in "".join(ended.said[-1:]) for word in ADVICE), f"no advice: {ended.said}"),
            (ended.seconds <= MOST_SECONDS, f"{ended.seconds:.0f} s"),
        )
        failure = failure or goes_on(recipe, run, wholes[recipe], without="windows")  # one was cut by the stop
        tally.count(number.name, failure)
    tally.remarks.append(f"The slowest ended {slowest:.2f} s after its signal.")
    return tally


def signalled(recipe: str, run: Path, number: int, after: float) -> Ended:
    """How a training ended that got a signal so many seconds after its start."""
    command = Command(training(recipe, run), run.with_suffix(".log"))
    time.sleep(after)
    command.send(number)
    return command.wait()
