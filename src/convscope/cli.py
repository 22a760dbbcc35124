"""The command line: each command a function whose signature is its help; nothing imports torch until it must."""

from __future__ import annotations

import shlex
import signal
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from convscope import __version__
from convscope.errors import ConvscopeError, Interrupted, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from convscope.train.run import Run
    from convscope.types import Dataset, Event, Network, Picture

app = App(
    name="convscope",
    help="Train a convolutional network and see what it learned.",
    version=__version__,
)


@Parameter(name="*")
@dataclass(frozen=True)
class Output:
    """What is printed, and how."""

    quiet: bool = False
    """No progress; only warnings, errors and results."""
    json: bool = False
    """Results as one line of JSON."""


@Parameter(name="*")
@dataclass(frozen=True)
class DataFlags:
    """Where the images come from."""

    data_dir: Path | None = None
    """An archive or an unpacked folder that you have already, for cifar10 and cifar100."""
    source: tuple[str, ...] = ()
    """One more address to download from; it is tried first."""
    image_size: int | None = None
    """Side in pixels to which a folder's images are resized."""
    skip_bad: bool = False
    """Leave out images that cannot be read, and count them."""


@Parameter(name="*")
@dataclass(frozen=True)
class TrainFlags:
    """How to train; each flag replaces one value of the recipe."""

    recipe: str = "fast"
    """A recipe's name (see: convscope recipes) or a TOML file."""
    model: str | None = None
    """A model's name (see: convscope models)."""
    epochs: int | None = None
    """Length of the whole training; the last phase makes up the difference."""
    steps: int | None = None
    """The same in optimizer steps, for recipes of one phase."""
    seed: int | None = None
    """Decides initial weights, data order, augmentation, and how a folder is split."""
    precision: str | None = None
    """fp32, bf16 or auto."""
    eval_every: int | None = None
    """Steps between two evaluations; otherwise one an epoch."""
    set: tuple[str, ...] = ()
    """KEY=VALUE: any other value of the recipe, such as batch_size=64 or phases.0.momentum=0.8."""
    weights: str | None = None
    """Begin with the weights of a .safetensors file or of a run."""
    freeze: bool = False
    """Train the head only; everything else stays as --weights gave it."""
    device: str = "auto"
    """cpu, cuda, cuda:1 or mps; auto takes a GPU where there is one."""
    out: Path | None = None
    """The run folder to make; otherwise one under runs/."""


DEFAULT_DATA = DataFlags()
DEFAULT_TRAIN = TrainFlags()
DEFAULT_OUTPUT = Output()


@app.command
def run(
    dataset: str, flags: TrainFlags = DEFAULT_TRAIN, data: DataFlags = DEFAULT_DATA, output: Output = DEFAULT_OUTPUT
) -> None:
    """Train, draw everything, and write report.html.

    Parameters
    ----------
    dataset
        A dataset's name (see: convscope datasets), or folder:PATH for your own images.
    """
    _train(dataset, flags, data, output, report=True)


@app.command
def train(
    dataset: str, flags: TrainFlags = DEFAULT_TRAIN, data: DataFlags = DEFAULT_DATA, output: Output = DEFAULT_OUTPUT
) -> None:
    """Train only.

    Parameters
    ----------
    dataset
        A dataset's name (see: convscope datasets), or folder:PATH for your own images.
    """
    _train(dataset, flags, data, output, report=False)


@app.command
def resume(run: str, *, device: str | None = None, output: Output = DEFAULT_OUTPUT) -> None:
    """Go on with a training that was stopped; it ends as if it had not been.

    Parameters
    ----------
    run
        A run folder, or latest.
    device
        Another device than the one that it began on.
    """
    from convscope.console import say, show_work
    from convscope.train.run import open_run, resume_run

    opened = open_run(run)
    with show_work(quiet=output.quiet) as progress:
        dataset = opened.dataset(progress=progress)
    with StopSignals() as stop:
        _show(resume_run(opened, dataset, device=device, say=say, should_stop=stop), opened.path, stop, output)
    _print_run(opened.path, dataset, output, report=opened.config["report"])


@app.command
def report(run: str, output: Output = DEFAULT_OUTPUT) -> None:
    """Write a run's report.html again, and its pictures.

    Parameters
    ----------
    run
        A run folder, or latest.
    """
    from convscope.console import show_work
    from convscope.train.run import open_run

    opened = open_run(run)
    with show_work(quiet=output.quiet) as progress:
        dataset = opened.dataset(progress=progress)
    _print_run(opened.path, dataset, output, report=True)


@app.command
def filters(
    run: str,
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
    _save(opened, draw(opened.network(), layer, channel, shared_scale=shared_scale), out, output)


@app.command
def maps(
    run: str,
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
    network = opened.network()
    picture = feature_maps(
        network, layer or "conv1", _read_image(opened, network, image), channel, shared_scale=shared_scale
    )
    _save(opened, picture, out, output)


@app.command
def layers(run_or_model: str, output: Output = DEFAULT_OUTPUT) -> None:
    """List a network's layers with output shapes and parameters.

    Parameters
    ----------
    run_or_model
        A run folder, latest, or a model's name (see: convscope models).
    """
    from convscope.console import print_results
    from convscope.hooks import list_layers
    from convscope.models import MODELS, build_model
    from convscope.train.run import open_run

    if run_or_model in MODELS:
        model, size = build_model(run_or_model, class_count=10, seed=0), (32, 32)
    else:
        network = open_run(run_or_model).network()
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
def datasets(output: Output = DEFAULT_OUTPUT) -> None:
    """List the datasets."""
    from convscope.data import DATASETS

    _print_table({name: entry.summary for name, entry in DATASETS.items()}, output)


@app.command
def models(output: Output = DEFAULT_OUTPUT) -> None:
    """List the models."""
    from convscope.models import MODELS

    _print_table({name: entry.summary for name, entry in MODELS.items()}, output)


@app.command
def methods(output: Output = DEFAULT_OUTPUT) -> None:
    """List the methods that draw pictures."""
    from convscope.methods import METHODS

    _print_table({name: entry.summary for name, entry in METHODS.items()}, output)


@app.command
def recipes(name: str | None = None, output: Output = DEFAULT_OUTPUT) -> None:
    """List the recipes, or every value of one.

    Parameters
    ----------
    name
        A recipe's name or TOML file.
    """
    from convscope.train.recipe_values import flat_values
    from convscope.train.recipes import RECIPES, get_recipe

    if name is None:
        _print_table({recipe.name: recipe.summary for recipe in RECIPES.values()}, output)
    else:
        _print_table(flat_values(get_recipe(name)), output)


class StopSignals:
    """Within it, the first Ctrl-C or SIGTERM asks the training to stop and the second stops it at once."""

    def __init__(self) -> None:
        self.received: int | None = None

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.received is not None

    def __enter__(self) -> StopSignals:
        self._before = {number: signal.signal(number, self._take) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number


def _train(dataset: str, flags: TrainFlags, data: DataFlags, output: Output, *, report: bool) -> None:
    """Load the images, settle the recipe, train, and print what came of it."""
    from convscope.train.recipes import get_recipe, override_recipe

    recipe = override_recipe(
        get_recipe(flags.recipe),
        model=flags.model,
        epochs=flags.epochs,
        steps=flags.steps,
        seed=flags.seed,
        precision=flags.precision,
        eval_every=flags.eval_every,
        settings=(*flags.set, *(("freeze=true",) if flags.freeze else ())),
    )
    from convscope.console import say, show_work
    from convscope.data import load_dataset
    from convscope.train.folder import new_run_path
    from convscope.train.recipes import suit_dataset
    from convscope.train.run import start_run

    options = {
        "data_dir": str(data.data_dir.resolve()) if data.data_dir else None,
        "sources": list(data.source),
        "image_size": data.image_size,
        "skip_bad": data.skip_bad,
        "seed": recipe.seed,
    }
    if dataset.startswith("folder:"):  # so that the run can be resumed from elsewhere
        dataset = f"folder:{Path(dataset.removeprefix('folder:')).resolve()}"
    with show_work(quiet=output.quiet) as progress:
        images = load_dataset(dataset, **options, progress=progress)
    suited = suit_dataset(recipe, images)
    if suited != recipe:
        say(f"no mirroring: a mirrored image of {dataset} is of another class")
    path = flags.out or new_run_path(dataset.rpartition("/")[2], recipe.name)
    with StopSignals() as stop:
        events = start_run(
            path,
            images,
            suited,
            dataset_options=options,
            weights=flags.weights,
            device=flags.device,
            command=shlex.join(["convscope", *sys.argv[1:]]),
            report=report,
            say=say,
            should_stop=stop,
        )
        _show(events, path, stop, output)
    _print_run(path, images, output, report=report)


def _show(events: Iterator[Event], path: Path, stop: StopSignals, output: Output) -> None:
    """Follow a training to its end. Raises Interrupted when a signal ended it, after its state was saved."""
    from convscope.console import TrainingDisplay

    last: Event | None = None
    with TrainingDisplay(quiet=output.quiet) as display:
        for event in events:
            display.show(event)
            last = event
    if last is not None and last.data.get("reason") == "interrupted":
        raise Interrupted(
            f"stopped after step {last.step}, saved; go on with: convscope resume {path}",
            exit_code=128 + (stop.received or signal.SIGINT),
        )


def _print_run(path: Path, dataset: Dataset, output: Output, *, report: bool) -> None:
    """Write the report if asked for, and print what the run came to."""
    from convscope.console import print_results, show_work
    from convscope.train.run import open_run

    opened = open_run(str(path))
    events = opened.events()
    results: dict[str, Any] = {"run": str(path)}
    if report:
        from convscope.web.report import write_report

        with show_work(quiet=output.quiet) as progress:
            written = write_report(
                path,
                network=opened.network(),
                dataset=dataset,
                events=events,
                config=opened.config,
                progress=progress,
            )
        results["report"] = str(written)
    results |= opened.results()
    print_results(results, as_json=output.json)


def _read_image(run: Run, network: Network, image: str) -> Tensor:
    """The image (3, H, W) float32 in [0, 1]: a test image by its number, or a file fitted to the network's input."""
    import torch

    if image.isdecimal():
        images = run.dataset().test.images
        if int(image) >= images.shape[0]:
            raise UsageError(f"no test image {image}; allowed: 0 to {images.shape[0] - 1}, or an image file")
        return next(images.batches([torch.tensor([int(image)])]))[0].float() / 255
    from convscope.data.pixels import read_image

    return read_image(Path(image), network.input_size)


def _save(run: Run, picture: Picture, out: Path | None, output: Output) -> None:
    """Write a picture to a PNG and print where, with its numbers."""
    from convscope.console import print_results
    from convscope.paint import save_png

    path = out or run.path / "pictures" / f"{picture.name}.png"
    save_png(picture, path)
    print_results({"picture": str(path), **picture.numbers}, as_json=output.json)


def _print_table(rows: dict[str, Any], output: Output) -> None:
    from convscope.console import print_results

    print_results(rows, as_json=output.json)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; the entry point. Exits with the code of the error that ended it, if one did."""
    tokens = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in tokens
    try:
        app([token for token in tokens if token != "--debug"], exit_on_error=False, print_error=False)
    except (CycloptsError, ConvscopeError, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        sys.exit(_explain(error))


def _explain(error: BaseException) -> int:
    """Say on standard error what went wrong, in one line; the exit code."""
    if isinstance(error, KeyboardInterrupt):
        message, code = "stopped", 130
    elif isinstance(error, ConvscopeError):
        message, code = str(error), error.exit_code
    else:
        message, code = " ".join(str(error).split()), 2
    print(f"convscope: {message}", file=sys.stderr)  # noqa: T201
    return code
