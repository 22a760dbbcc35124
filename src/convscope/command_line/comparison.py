"""Several recipes and seeds trained in turn from the same start, and runs compared on one page."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convscope.command_line.console import print_results, say, show_work
from convscope.command_line.flags import DataFlags, Output, TrainFlags
from convscope.command_line.jobs import (
    find_standing,
    follow,
    log_to,
    run_results,
    train_events,
    train_run,
    watch_beside,
)
from convscope.command_line.settings import anywhere, check_flags, command_line, load_images, overrides, start_options
from convscope.command_line.stop_signals import StopSignals, exit_code
from convscope.durable import as_file_name, make_place
from convscope.errors import DataError, Interrupted, NumericsError, UsageError

if TYPE_CHECKING:
    from convscope.training.run import Run
    from convscope.types import Dataset, Recipe


def train_recipes(dataset: str, flags: TrainFlags, data: DataFlags, output: Output, *, report: bool) -> None:
    """Train each recipe with each seed and write comparison.html; a single recipe with a single seed is `train_run`.

    All begin from the same weights and see the same images in the same order, seed by seed. With a folder that holds
    some of them already, finished ones are kept and an unfinished one goes on.
    """
    if flags.seeds < 1:
        raise UsageError(f"--seeds {flags.seeds}; allowed: 1 or more")
    if len(flags.recipe) < 2 and flags.seeds == 1:
        train_run(dataset, flags, data, output, report=report)
        return
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UsageError(
            "several recipes or seeds under torchrun; allowed: one at a time, then: convscope compare RUN RUN"
        )
    from convscope.training.folder import check_free, new_run_path
    from convscope.training.recipes import default_recipe, get_recipe, override_recipe, suit_dataset

    named = [get_recipe(name) for name in flags.recipe]
    early = [override_recipe(recipe, **overrides(flags)) for recipe in named or [default_recipe(0)]]
    first = early[0]
    differing = [key for key in ("batch_size", "precision") if len({getattr(recipe, key) for recipe in early}) > 1]
    settled = [f"{key}={getattr(first, key)}" for key in differing]
    if settled:
        flags = dataclasses.replace(flags, set=(*flags.set, *settled))
        early = [override_recipe(recipe, **overrides(flags)) for recipe in named]
    _check_comparable(early)
    if settled:
        say(f"{', '.join(settled)} for all, as {first.name} has it; another: --set KEY=VALUE")
    weights = check_flags(flags, early)
    if flags.out:
        check_free(flags.out)
    dataset = anywhere(dataset)
    with show_work(quiet=output.quiet) as progress:  # by the first seed, so that all split a folder alike
        images, options, fed = load_images(dataset, flags, data, early[0], weights, tell=say, progress=progress)
    chosen = named or [default_recipe(len(images.train.labels))]
    recipes = [suit_dataset(override_recipe(recipe, **overrides(flags)), images) for recipe in chosen]
    folder = flags.out or new_run_path(dataset.rpartition("/")[2], "comparison")
    seeds = range(recipes[0].seed, recipes[0].seed + flags.seeds)
    planned = {
        folder / f"{as_file_name(recipe.name)}-seed{seed}": dataclasses.replace(recipe, seed=seed)
        for seed in seeds
        for recipe in recipes
    }
    for path, recipe in planned.items():
        find_standing(path, recipe, images, weights)
    if flags.watch:
        watch_beside(folder, output)
    again = command_line() if flags.out else f"{command_line()} --out {folder}"
    start = start_options(flags, options, weights, fed, report=report)
    try:
        failed = _train_all(planned, images, start, output, loggers=flags.log, again=again)
        _write(folder / "comparison.html", [_open(path) for path in planned], images, output)
    except KeyboardInterrupt as error:
        text = f"stopped; what was saved stands; go on with: {again}"
        raise Interrupted(text, exit_code=exit_code(error)) from error
    if failed:
        raise NumericsError(f"{len(failed)} of {len(planned)} trainings failed; {'; '.join(failed)}")


def _check_comparable(recipes: Sequence[Recipe]) -> None:
    """Raise UsageError unless the recipes differ, and can begin from the same weights on the same data order."""
    settled_by = {"model": "--model NAME", "seed": "--seed VALUE"}
    for key, flag in settled_by.items():
        values = {recipe.name: getattr(recipe, key) for recipe in recipes}
        if len(set(values.values())) > 1:
            said = ", ".join(f"{name} {value}" for name, value in values.items())
            raise UsageError(
                f"the recipes differ in {key} ({said}), so they cannot begin from the same weights and see the same "
                f"batches; one for all: {flag}; or train each for itself, then: convscope compare RUN RUN"
            )
    for first, second in combinations(recipes, 2):
        if as_file_name(first.name) == as_file_name(second.name):
            raise UsageError(f'two recipes are called "{second.name}"; allowed: each once, by a name of its own')
        if dataclasses.replace(first, name="", summary="") == dataclasses.replace(second, name="", summary=""):
            raise UsageError(
                f"{first.name} and {second.name} are the same training with these flags: what tells them apart "
                "begins after its end; allowed: more --epochs, or a shorter first phase: --set phases.0.epochs=1"
            )


def _train_all(
    planned: Mapping[Path, Recipe],
    images: Dataset,
    start: Mapping[str, Any],
    output: Output,
    *,
    loggers: Sequence[str],
    again: str,
) -> list[str]:
    """Train what is not finished, and print what each came to. Says and returns which failed, and why.

    Raises Interrupted, with the command that goes on, when a signal ended it.
    """
    from convscope.ranks import ALONE

    failed: list[str] = []
    doing = {"new": "begins", "stopped": "goes on", "finished": "is finished already"}
    for number, (path, recipe) in enumerate(planned.items(), start=1):
        standing = find_standing(path, recipe, images, start["weights"])
        finished = standing == "finished"
        if not output.quiet:
            say(f"{number} of {len(planned)}: {path.name} {doing[standing]}")
        if not finished:
            try:
                with StopSignals() as stop:
                    events = train_events(path, images, recipe, start, stop=stop, tell=say, ranks=ALONE)
                    follow(log_to(events, path, named=loggers), stop, quiet=output.quiet, again=again)
            except NumericsError as error:
                failed.append(f"{path.name}: {error}")
                say(failed[-1])
                continue
            if stop():
                raise Interrupted(f"stopped after {path.name}; go on with: {again}", exit_code=stop.exit_code)
        draw = start["report"] and not (finished and (path / "report.html").exists())
        results = run_results(path, images, output, report=draw)
        if not output.json:
            print_results(results)
    return failed


def compare_runs(names: Sequence[str], out: Path | None, output: Output) -> None:
    """Write the page that holds the runs against each other; a folder of runs stands for those in it.

    Raises UsageError for fewer than two runs, a folder that is none, and the same one twice.
    """
    if out:
        if out.is_dir():
            raise UsageError(f'"{out}" is a folder; name a file in it, such as {out / "comparison.html"}')
        make_place(out)
    paths = [path for name in names for path in _runs_of(name)]
    for first, second in combinations(paths, 2):
        if first.resolve() == second.resolve():
            raise UsageError(f"{second} is named twice; a run differs from itself in nothing")
    if len(paths) < 2:
        raise UsageError(f"{len(paths)} run to compare; allowed: two or more, or a folder that holds them")
    runs = [_open(path) for path in paths]
    if {run.config["dataset"]["fingerprint"] for run in runs} == {runs[0].config["dataset"]["fingerprint"]}:
        try:
            with show_work(quiet=output.quiet) as progress:
                images = runs[0].dataset(progress=progress)
        except (DataError, UsageError) as error:
            say(f"the networks are not looked into: {error}")
            images = None
    else:
        images = None
    together = paths[0].parent if len({path.parent.resolve() for path in paths}) == 1 else Path()
    only = len(names) == 1
    called = "comparison" if only else f"comparison-of-{'-and-'.join(path.name for path in paths)}"
    _write(out or together / f"{as_file_name(called)[:100]}.html", runs, images, output)


def _runs_of(name: str) -> list[Path]:
    """The run of that name, or those in a folder of runs. Raises UsageError where there is none."""
    from convscope.training.folder import find_run, read_config

    written = {path.parent: path.stat().st_mtime_ns for path in Path(name).glob("*/run.json")}
    inside = sorted(written, key=lambda path: (str(read_config(path)["started"]), written[path]))
    return inside if inside and not (Path(name) / "run.json").exists() else [find_run(name)]


def _open(path: Path) -> Run:
    from convscope.training.run import open_run

    return open_run(str(path))


def _write(target: Path, runs: Sequence[Run], images: Dataset | None, output: Output) -> None:
    """Write the page and print where it is, what it says, and, as JSON, what each run came to."""
    from convscope.report.comparison import write_comparison

    with show_work(quiet=output.quiet) as progress:
        answer = write_comparison(target, runs, images, command=command_line(), say=say, progress=progress)
    results: dict[str, Any] = {"comparison": str(target), "answer": answer}
    if output.json:
        results["runs"] = [{"run": str(run.path), **run.results()} for run in runs]
    print_results(results, as_json=output.json)
