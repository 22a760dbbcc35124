"""The command line: each command a function whose signature is its help; nothing imports torch until it must."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from convscope import __version__
from convscope.command_line.comparison import compare_runs, train_recipes
from convscope.command_line.completion import completion_command
from convscope.command_line.console import print_results, say
from convscope.command_line.endings import explain
from convscope.command_line.examples import examples_of
from convscope.command_line.flags import (
    DEFAULT_DATA,
    DEFAULT_OUTPUT,
    DEFAULT_PAGE,
    DEFAULT_SUBJECT,
    DEFAULT_TRAIN,
    OUT,
    DataFlags,
    DatasetName,
    NetworkName,
    Output,
    PageFlags,
    RunName,
    SubjectFlags,
    TrainFlags,
)
from convscope.command_line.jobs import read_dataset, resume_training, run_results
from convscope.command_line.listings import LISTINGS
from convscope.command_line.stop_signals import told_as_interrupts
from convscope.command_line.transfers import TRANSFERS
from convscope.command_line.viewing import draw_film, explore_network, watch_runs
from convscope.errors import DataError, UsageError
from convscope.methods import METHODS

app = App(
    name="convscope",
    help="Train a convolutional network and see what it learned. With --debug, an error shows where it arose.",
    help_epilogue=examples_of(""),
    version=__version__,
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,  # it is told, as all that ends a command
)


@app.command
def run(
    dataset: DatasetName,
    /,
    *,
    flags: TrainFlags = DEFAULT_TRAIN,
    data: DataFlags = DEFAULT_DATA,
    output: Output = DEFAULT_OUTPUT,
) -> None:
    """Train, draw everything, and write report.html."""
    train_recipes(dataset, flags, data, output, report=True)


@app.command
def train(
    dataset: DatasetName,
    /,
    *,
    flags: TrainFlags = DEFAULT_TRAIN,
    data: DataFlags = DEFAULT_DATA,
    output: Output = DEFAULT_OUTPUT,
) -> None:
    """Train only."""
    train_recipes(dataset, flags, data, output, report=False)


@app.command
def resume(run: RunName, /, *, device: str | None = None, output: Output = DEFAULT_OUTPUT) -> None:
    """Go on with a training that was stopped; it ends as if it had not been.

    Parameters
    ----------
    device
        Another device than the one that it began on.
    """
    resume_training(run, device, output)


@app.command
def report(
    run: RunName,
    /,
    *,
    budget: str | None = None,
    format: Literal["html", "md"] = "html",
    output: Output = DEFAULT_OUTPUT,
) -> None:
    """Write a run's report again, and its pictures.

    Parameters
    ----------
    budget
        Draw the patterns of every layer's channels for about this long first, such as 10m; called again, it goes on.
    format
        html: one file; md: report.md with its pictures as files, for a document.
    """
    from convscope.training.run import open_run

    opened = open_run(run)
    try:
        dataset, gone = read_dataset(opened, output), ""
    except (DataError, UsageError) as error:  # the run itself still tells much
        dataset, gone = None, str(error)
        say(f"the report comes without the images: {error}")
    results = run_results(opened.path, dataset, output, report=True, budget=budget, format=format, gone=gone)
    print_results(results, as_json=output.json)


@app.command
def compare(
    *runs: str,
    out: Annotated[Path | None, OUT] = None,
    output: Output = DEFAULT_OUTPUT,
) -> None:
    """Hold runs against each other on one page: curves, settings, classes, layers, channels.

    Parameters
    ----------
    runs
        Run folders, or one folder that holds them.
    out
        The page; otherwise beside the runs where they lie together, else here.
    """
    compare_runs(runs, out, output)


@app.command
def watch(
    folder: Path = Path("runs"),
    /,
    *,
    page: PageFlags = DEFAULT_PAGE,
    follow: Annotated[int | None, Parameter(show=False)] = None,
) -> None:
    """Show the runs of a folder live in the browser: curves, filters as they form, feature maps.

    Parameters
    ----------
    folder
        A folder of runs, or one run folder.
    follow
        End with the process of that number, and the last page.
    """
    watch_runs(folder, page, follow)


@app.command
def explore(
    network: NetworkName,
    /,
    *,
    images: Path | None = None,
    page: PageFlags = DEFAULT_PAGE,
    subject: SubjectFlags = DEFAULT_SUBJECT,
    output: Output = DEFAULT_OUTPUT,
) -> None:
    """Open a network in the browser: click a layer, a channel, an image, a cell, and see what it sees.

    Parameters
    ----------
    images
        A folder of images to look at; a run has those that it is tested on.
    """
    explore_network(network, images, subject, page, output)


@app.command
def film(
    run: RunName,
    /,
    *,
    out: Annotated[Path | None, OUT] = None,
    show: Literal["filters", "patterns", "both"] = "filters",
    layer: str | None = None,
    channel: str | None = None,
    frames_per_second: float = 8.0,
    seed: int = 0,
    output: Output = DEFAULT_OUTPUT,
) -> None:
    """Draw a training as an animation: filters as they form, or the patterns that channels answer to.

    Parameters
    ----------
    out
        The file: .webp, .gif, or .mp4 where ffmpeg is installed; otherwise pictures/film.webp in the run.
    show
        filters, patterns or both.
    layer
        The layer whose channels' patterns are drawn; otherwise the middle stage.
    channel
        Which of its channels, or which filters, such as 3,7 or 0-15; otherwise the first 16, or all filters.
    frames_per_second
        How fast it plays.
    seed
        Decides the start of the first patterns.
    """
    from convscope.command_line.method_commands import parse_channels

    channels = parse_channels(channel)
    draw_film(
        run, out, output, show=show, layer=layer, channel=channels, frames_per_second=frames_per_second, seed=seed
    )


for name, entry in METHODS.items():
    told = {"help": f"Draw {entry.summary}.", "help_epilogue": examples_of(name)}
    app.command(f"convscope.command_line.method_commands:{name}", name=name, **told)

for name, transfer in TRANSFERS.items():
    app.command(transfer, name=name)

for command in (*LISTINGS, completion_command(app)):
    app.command(command)

for name in app:
    if name not in METHODS and not name.startswith("-"):
        app[name].help_epilogue = examples_of(name)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; the entry point. Exits with the code of the error that ended it, if one did."""
    tokens = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in tokens
    with told_as_interrupts():
        try:
            app([token for token in tokens if token != "--debug"], exit_on_error=False, print_error=False)
        except (Exception, KeyboardInterrupt) as error:
            if debug:
                traceback.print_exc()
            sys.exit(explain(error))
