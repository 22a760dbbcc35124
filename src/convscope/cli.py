"""The command line: each command a function whose signature is its help; nothing imports torch until it must."""

from __future__ import annotations

import errno
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from convscope import __version__
from convscope.console import print_results, say
from convscope.errors import ConvscopeError, ResourceError
from convscope.flags import DEFAULT_DATA, DEFAULT_OUTPUT, DEFAULT_TRAIN, DataFlags, Output, TrainFlags
from convscope.jobs import print_run, read_dataset, read_image, resume_training, save_picture, train_run

app = App(
    name="convscope",
    help="Train a convolutional network and see what it learned. With --debug, an error shows where it arose.",
    version=__version__,
    default_parameter=Parameter(negative=()),
)


@app.command
def run(
    dataset: str,
    /,
    *,
    flags: TrainFlags = DEFAULT_TRAIN,
    data: DataFlags = DEFAULT_DATA,
    output: Output = DEFAULT_OUTPUT,
) -> None:
    """Train, draw everything, and write report.html.

    Parameters
    ----------
    dataset
        A dataset's name (see: convscope datasets), or folder:PATH for your own images.
    """
    train_run(dataset, flags, data, output, report=True)


@app.command
def train(
    dataset: str,
    /,
    *,
    flags: TrainFlags = DEFAULT_TRAIN,
    data: DataFlags = DEFAULT_DATA,
    output: Output = DEFAULT_OUTPUT,
) -> None:
    """Train only.

    Parameters
    ----------
    dataset
        A dataset's name (see: convscope datasets), or folder:PATH for your own images.
    """
    train_run(dataset, flags, data, output, report=False)


@app.command
def resume(run: str, /, *, device: str | None = None, output: Output = DEFAULT_OUTPUT) -> None:
    """Go on with a training that was stopped; it ends as if it had not been.

    Parameters
    ----------
    run
        A run folder, or latest.
    device
        Another device than the one that it began on.
    """
    resume_training(run, device, output)


@app.command
def report(run: str, /, *, output: Output = DEFAULT_OUTPUT) -> None:
    """Write a run's report.html again, and its pictures.

    Parameters
    ----------
    run
        A run folder, or latest.
    """
    from convscope.train.run import open_run

    opened = open_run(run)
    print_run(opened.path, read_dataset(opened, output), output, report=True)


@app.command
def filters(
    run: str,
    /,
    *,
    layer: str | None = None,
    channel: int | None = None,
    shared_scale: bool = False,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    output: Output = DEFAULT_OUTPUT,
) -> None:
    """Draw a convolution's filters: the first in colour, deeper ones as slices for each input channel.

    Parameters
    ----------
    run
        A run folder, or latest.
    layer
        The convolution (see: convscope layers RUN); otherwise the first.
    channel
        One output channel; otherwise all of the first convolution, or the strongest of a deeper one.
    shared_scale
        Colour all filters on one scale instead of each on its own.
    out
        The PNG to write; otherwise one in the run's pictures/.
    """
    from convscope.methods.filters import filters as draw
    from convscope.train.run import open_run

    opened = open_run(run)
    network = opened.network(say=say)
    save_picture(opened, network, draw(network, layer, channel, shared_scale=shared_scale), out, output)


@app.command
def maps(
    run: str,
    /,
    *,
    layer: str | None = None,
    channel: int | None = None,
    image: str = "0",
    shared_scale: bool = False,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    output: Output = DEFAULT_OUTPUT,
) -> None:
    """Draw what every channel of a layer gives for an image.

    Parameters
    ----------
    run
        A run folder, or latest.
    layer
        The layer (see: convscope layers RUN), or conv1 ... conv5; otherwise conv1.
    channel
        One channel; otherwise all.
    image
        A test image by its number, or an image file.
    shared_scale
        Colour all maps on one scale instead of each on its own.
    out
        The PNG to write; otherwise one in the run's pictures/.
    """
    from convscope.methods.feature_maps import feature_maps
    from convscope.train.run import open_run

    opened = open_run(run)
    network = opened.network(say=say)
    picture = feature_maps(
        network, layer or "conv1", read_image(opened, network, image), channel, shared_scale=shared_scale
    )
    picture = replace(picture, name=f"{picture.name}-image-{Path(image).stem}")
    save_picture(opened, network, picture, out, output)


@app.command
def layers(run_or_model: str, /, *, output: Output = DEFAULT_OUTPUT) -> None:
    """List a network's layers with output shapes and parameters.

    Parameters
    ----------
    run_or_model
        A run folder, latest, or a model's name (see: convscope models).
    """
    from convscope.hooks import list_layers
    from convscope.models import MODELS, build_model
    from convscope.train.run import open_run

    if run_or_model in MODELS:
        model, size = build_model(run_or_model, class_count=10, seed=0), (32, 32)
    else:
        network = open_run(run_or_model).network(say=say)
        model, size = network.model, network.input_size
    found = list_layers(model, size)
    rows = {
        layer.name: " ".join(
            filter(
                None,
                (layer.kind, layer.detail, "×".join(map(str, layer.output_shape)), f"{layer.parameters} parameters"),
            )
        )
        for layer in found
    }
    rows["parameters"] = str(sum(parameter.numel() for parameter in model.parameters()))
    print_results(rows, as_json=output.json)


@app.command
def datasets(*, output: Output = DEFAULT_OUTPUT) -> None:
    """List the datasets."""
    from convscope.data import DATASETS

    print_results({name: entry.summary for name, entry in DATASETS.items()}, as_json=output.json)


@app.command
def models(*, output: Output = DEFAULT_OUTPUT) -> None:
    """List the models."""
    from convscope.models import MODELS

    print_results({name: entry.summary for name, entry in MODELS.items()}, as_json=output.json)


@app.command
def methods(*, output: Output = DEFAULT_OUTPUT) -> None:
    """List the methods that draw pictures."""
    from convscope.methods import METHODS

    print_results({name: entry.summary for name, entry in METHODS.items()}, as_json=output.json)


@app.command
def recipes(name: str | None = None, /, *, output: Output = DEFAULT_OUTPUT) -> None:
    """List the recipes, or every value of one.

    Parameters
    ----------
    name
        A recipe's name or TOML file.
    """
    from convscope.train.recipe_values import flat_values
    from convscope.train.recipes import RECIPES, get_recipe

    if name is None:
        print_results({recipe.name: recipe.summary for recipe in RECIPES.values()}, as_json=output.json)
    else:
        print_results(flat_values(get_recipe(name)), as_json=output.json)


DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EISDIR}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; the entry point. Exits with the code of the error that ended it, if one did."""
    tokens = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in tokens
    try:
        app([token for token in tokens if token != "--debug"], exit_on_error=False, print_error=False)
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        sys.exit(_explain(error))


def _explain(error: BaseException) -> int:
    """Say on standard error what went wrong, in one line; the exit code."""
    if isinstance(error, KeyboardInterrupt):
        message, code = "stopped", 130
    elif isinstance(error, OSError) and error.errno in DISK_ERRORS:
        place = f" {error.filename}" if error.filename else ""
        message, code = (
            f"cannot write{place}: {error.strerror}; what was saved before stands",
            ResourceError.exit_code,
        )
    elif isinstance(error, MemoryError):
        message, code = "out of memory; close other programs, or use smaller images", ResourceError.exit_code
    elif isinstance(error, ConvscopeError):
        message, code = str(error), error.exit_code
    elif isinstance(error, CycloptsError):
        message, code = " ".join(str(error).split()), 2
    else:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        message, code = f"unforeseen {reason}; please report it, with what --debug shows", 1
    say(f"convscope: {message}")
    return code
