"""Trainings as the commands run them: begun or gone on with, followed, logged, and what came of them printed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from convscope.command_line.console import TrainingDisplay, print_address, print_results, say, show_work
from convscope.command_line.flags import DataFlags, Output, TrainFlags
from convscope.command_line.settings import anywhere, check_flags, command_line, load_images, overrides, start_options
from convscope.command_line.stop_signals import StopSignals
from convscope.errors import Interrupted, UsageError
from convscope.types import say_nothing

if TYPE_CHECKING:
    from convscope.ranks import Ranks
    from convscope.training.run import Run
    from convscope.types import Dataset, Event, Recipe, Say


def train_run(dataset: str, flags: TrainFlags, data: DataFlags, output: Output, *, report: bool) -> None:
    """Load the images, settle the recipe, train, and print what came of it."""
    from convscope.ranks import join_ranks
    from convscope.training.folder import new_run_path
    from convscope.training.recipes import default_recipe, get_recipe, override_recipe, suit_dataset

    named = get_recipe(flags.recipe[0]) if flags.recipe else None
    early = override_recipe(named or default_recipe(0), **overrides(flags))
    weights = check_flags(flags, [early])
    dataset = anywhere(dataset)
    with join_ranks() as ranks:
        tell = say if ranks.leads else say_nothing
        quiet = output.quiet or not ranks.leads
        with ranks.first_here(), show_work(quiet=quiet) as progress:
            images, options, fed = load_images(dataset, flags, data, early, weights, tell=tell, progress=progress)
        recipe = override_recipe(named or default_recipe(len(images.train.labels)), **overrides(flags))
        suited = suit_dataset(recipe, images)
        if named and suited.augmentation != recipe.augmentation:
            tell(f"no mirroring: a mirrored image of {dataset} is of another class")
        path = flags.out or new_run_path(dataset.rpartition("/")[2], recipe.name)
        standing = ranks.from_leader(lambda: find_standing(path, suited, images, weights).encode()).decode()
        if standing != "new":
            tell(f"{path} {'is finished already' if standing == 'finished' else 'goes on'}")
        if flags.watch and ranks.leads:
            watch_beside(flags.out or path.parent, output)
        if standing != "finished":
            start = start_options(flags, options, weights, fed, report=report)
            with StopSignals() as stop:
                events = train_events(path, images, suited, start, stop=stop, tell=tell, ranks=ranks)
                if ranks.leads:
                    events = log_to(events, path, named=flags.log)
                follow(events, stop, quiet=quiet, again=f"convscope resume {path}")
        if ranks.leads:
            print_results(run_results(path, images, output, report=report), as_json=output.json)


def find_standing(path: Path, recipe: Recipe, images: Dataset, weights: str | None) -> str:
    """Whether the folder's run is "new", "stopped" or "finished". Raises UsageError for one of other settings."""
    from convscope.training.run import open_run

    if not (path / "run.json").exists():
        return "new"
    run = open_run(str(path))
    run.check_same(recipe, images, weights)
    return "finished" if run.results() else "stopped"


def train_events(
    path: Path,
    images: Dataset,
    recipe: Recipe,
    start: Mapping[str, Any],
    *,
    stop: StopSignals,
    tell: Say,
    ranks: Ranks,
) -> Iterator[Event]:
    """Begin a run, or go on with the one that stands there; `start` is what start_run is told."""
    from convscope.training.run import open_run
    from convscope.training.start import resume_run, start_run

    if ranks.leads and (path / "run.json").exists():
        device = None if start["device"] == "auto" else start["device"]
        return resume_run(open_run(str(path)), images, device=device, say=tell, should_stop=stop, ranks=ranks)
    command = command_line()
    return start_run(path, images, recipe, command=command, say=tell, should_stop=stop, ranks=ranks, **start)


def log_to(events: Iterator[Event], path: Path, *, named: Sequence[str] = ()) -> Iterator[Event]:
    """The events, passed on as well to the named loggers and those that the run was passed on to before."""
    names = list(dict.fromkeys([*_remembered_loggers(path), *named]))
    if not names:
        return events
    from convscope.film.logged_frames import frame_painter
    from convscope.loggers.follow import follow as pass_on

    return pass_on(events, names, path, frame_pixels=frame_painter(path), say=say)


def _remembered_loggers(path: Path) -> list[str]:
    """The loggers that the run was passed on to so far; one whose package is gone is said and left out."""
    from convscope.loggers import load_loggers
    from convscope.loggers.memory import used_loggers

    found: list[str] = []
    for name in used_loggers(path):
        try:
            load_loggers([name])
        except UsageError as error:
            say(f"goes on without {name}: {error}")
        else:
            found.append(name)
    return found


def watch_beside(folder: Path, output: Output) -> None:
    """Start the dashboard of a folder, and print its address."""
    from convscope.web.dashboard.watch import start_beside

    address = start_beside(folder, open_browser=sys.stderr.isatty(), say=say)
    if address and output.json:
        say(f"url: {address}")
    elif address:
        print_address(address)


def resume_training(name: str, device: str | None, output: Output) -> None:
    """Go on with a run to its end, and print what came of it."""
    from convscope.ranks import join_ranks
    from convscope.training.run import open_run
    from convscope.training.start import resume_run

    run = open_run(name)
    dataset = read_dataset(run, output)
    if run.results():
        say(f"{run.path} is finished already")
    else:
        with join_ranks() as ranks, StopSignals() as stop:
            tell = say if ranks.leads else say_nothing
            events = resume_run(run, dataset, device=device, say=tell, should_stop=stop, ranks=ranks)
            if ranks.leads:
                events = log_to(events, run.path)
            follow(events, stop, quiet=output.quiet or not ranks.leads, again=f"convscope resume {run.path}")
            if not ranks.leads:
                return
    print_results(run_results(run.path, dataset, output, report=run.config["report"]), as_json=output.json)


def read_dataset(run: Run, output: Output) -> Dataset:
    """The images that a run is trained on, with progress where they take long."""
    with show_work(quiet=output.quiet) as progress:
        return run.dataset(progress=progress)


def follow(events: Iterator[Event], stop: StopSignals, *, quiet: bool, again: str) -> None:
    """Follow a training to its end. Raises Interrupted, with the command that goes on, when a signal ended it."""
    last: Event | None = None
    with TrainingDisplay(quiet=quiet) as display:
        for event in events:
            stop.begin()
            display.show(event)
            last = event
    if last is not None and last.data.get("reason") == "interrupted":
        raise Interrupted(f"stopped after step {last.step}, saved; go on with: {again}", exit_code=stop.exit_code)


def run_results(
    path: Path,
    dataset: Dataset | None,
    output: Output,
    *,
    report: bool,
    budget: str | None = None,
    format: Literal["html", "md"] = "html",
    gone: str = "",
) -> dict[str, Any]:
    """Write the report if asked for, without images where the dataset is `gone`; what the run came to."""
    from convscope.training.run import open_run

    opened = open_run(str(path))
    events = opened.events()
    results: dict[str, Any] = {"run": str(path)}
    if report:
        from convscope.report.report import write_report

        seconds = parse_duration(budget) if budget else 0.0
        with show_work(quiet=output.quiet) as progress:
            written = write_report(
                path,
                budget=seconds,
                format=format,
                gone=gone,
                network=opened.network(say=say),
                dataset=dataset,
                events=events,
                config=opened.config,
                progress=progress,
            )
        results["report"] = str(written)
    return results | opened.results()


def parse_duration(text: str) -> float:
    """Seconds, from a number and a unit.

    >>> parse_duration("10m"), parse_duration("90"), parse_duration("1.5h")
    (600.0, 90.0, 5400.0)
    """
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], text[-1]) if text[-1:] in units else (text, "s")
    try:
        seconds = float(number) * units[unit]
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f'budget "{text}"; allowed: a number with s, m or h, such as 10m')
    return seconds
