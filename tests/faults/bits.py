"""Checkpoints with a bit flipped or an end cut off: each is noticed and named, and the one before it is used."""

from __future__ import annotations

import random
from pathlib import Path

from convscope.training.checkpoint import load_checkpoint
from tests.faults.harness import Tally, checkpoints, complaints, differing, traces, train, whole_lines


def bits(folder: Path, *, count: int = 1200, resumed: int = 20, seed: int = 0) -> Tally:
    """Damage the newest checkpoint of a run in so many ways, each sixth a cut; then go on with some runs."""
    tally, dice = Tally("damaged checkpoints"), random.Random(seed)
    run = folder / "run"
    assert train("adam", run).code == 0
    before, newest = checkpoints(run)[-2:]
    files = sorted(newest.iterdir())
    for index in range(count):
        path = dice.choices(files, [each.stat().st_size for each in files])[0]
        good = path.read_bytes()
        place, flip = dice.randrange(len(good)), index % 6 < 5
        changed = bytes([good[place] ^ (1 << dice.randrange(8))])
        path.write_bytes(good[:place] + changed + good[place + 1 :] if flip else good[:place])
        said: list[str] = []
        found = load_checkpoint(run / "checkpoints", warn=said.append)
        path.write_bytes(good)
        failure = complaints(
            (len(said) == 1 and newest.name in said[0] and "damaged" in said[0], f"said {said}"),
            (found is not None and before.name.endswith(str(found.state.step)), "the one before was not used"),
        )
        what = "a bit flipped" if flip else "the end cut off"
        tally.count(f"{what}, {path.name}", failure and f"byte {place}: {failure}")
    for index in range(resumed):
        go_on_from_damage(folder / f"damaged-{index}", dice, tally)
    return tally


def go_on_from_damage(run: Path, dice: random.Random, tally: Tally) -> None:
    """Stop a training, damage its newest checkpoint, and go on with it."""
    whole = run.with_name("run")
    assert train("adam", run).code == 0
    newest = checkpoints(run)[-1]
    path = dice.choice(sorted(newest.iterdir()))
    good = path.read_bytes()
    place = dice.randrange(len(good))
    path.write_bytes(good[:place] + bytes([good[place] ^ (1 << dice.randrange(8))]) + good[place + 1 :])
    lines = (run / "events.jsonl").read_text().splitlines(keepends=True)
    (run / "events.jsonl").write_text("".join(lines[:-1]))  # no "end": it was killed just before
    ended = train("adam", run)
    steps = [event["step"] for event in whole_lines(run) if event["data"].get("resumed")]
    failure = complaints(
        (ended.code == 0, f"exit {ended.code}"),
        (any(newest.name in line and "damaged" in line for line in ended.said), f"said {ended.said}"),
        (steps == [18], f"went on from {steps}"),
    )
    tally.count("gone on with from the one before, to the same bits", failure or differing(run, traces(whole)))
