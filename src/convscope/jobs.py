"""What the commands do: train and follow it, print a run, read an image, save a picture."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from convscope.console import TrainingDisplay, print_results, say, show_work
from convscope.errors import DataError, Interrupted, UsageError
from convscope.flags import DEFAULT_DATA, DataFlags, Output, SubjectFlags, TrainFlags
from convscope.tables import look_up

if TYPE_CHECKING:
    from torch import Tensor

    from convscope.training.run import Run
    from convscope.types import Dataset, Event, Network, Picture


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


def train_run(dataset: str, flags: TrainFlags, data: DataFlags, output: Output, *, report: bool) -> None:
    """Load the images, settle the recipe, train, and print what came of it."""
    from convscope.data import load_dataset
    from convscope.models import MODELS
    from convscope.training.engine import select_device
    from convscope.training.folder import check_free, new_run_path
    from convscope.training.recipes import default_recipe, get_recipe, override_recipe, suit_dataset
    from convscope.training.run import start_run

    # Mistakes in flags are told before the images are read, or even downloaded.
    named = get_recipe(flags.recipe) if flags.recipe else None
    early = override_recipe(named or default_recipe(0), **_overrides(flags))
    look_up(MODELS, early.model, kind="model")
    select_device(flags.device)
    weights = _weights_place(flags.weights)
    if flags.out:
        check_free(flags.out)
    if dataset.startswith("folder:"):  # so that the run can be resumed from elsewhere
        dataset = f"folder:{Path(dataset.removeprefix('folder:')).resolve()}"
    options: dict[str, Any] = {**dataset_options(data), "seed": early.seed}
    with show_work(quiet=output.quiet) as progress:
        images = load_dataset(dataset, **options, progress=progress)
    recipe = override_recipe(named or default_recipe(len(images.train.labels)), **_overrides(flags))
    suited = suit_dataset(recipe, images)
    if named and suited.augmentation != recipe.augmentation:
        say(f"no mirroring: a mirrored image of {dataset} is of another class")
    if images.skipped:
        say(f"{len(images.skipped)} images that cannot be read are left out; run.json names them")
    path = flags.out or new_run_path(dataset.rpartition("/")[2], recipe.name)
    with StopSignals() as stop:
        events = start_run(
            path,
            images,
            suited,
            dataset_options=options,
            weights=weights,
            device=flags.device,
            command=command_line(),
            report=report,
            say=say,
            should_stop=stop,
        )
        _follow(events, path, stop, output)
    print_run(path, images, output, report=report)


def dataset_options(data: DataFlags) -> dict[str, Any]:
    """What the flags say about a dataset, as it is kept in run.json."""
    return {
        "data_dir": str(data.data_dir.resolve()) if data.data_dir else None,
        "sources": list(data.source),
        "image_size": data.image_size,
        "skip_bad": data.skip_bad,
    }


def command_line() -> str:
    """The command as it was typed."""
    return shlex.join(["convscope", *sys.argv[1:]])


def _weights_place(weights: str | None) -> str | None:
    """Where the weights are that --weights names, so that a resumption finds them from anywhere."""
    from convscope.training.folder import find_run

    if weights is None:
        return None
    return str((find_run(weights) if weights == "latest" else Path(weights)).resolve())


def _overrides(flags: TrainFlags) -> dict[str, Any]:
    """The flags that each replace one value of the recipe."""
    return {
        "model": flags.model,
        "epochs": flags.epochs,
        "steps": flags.steps,
        "seed": flags.seed,
        "precision": flags.precision,
        "eval_every": flags.eval_every,
        "settings": (*flags.set, *(("freeze=true",) if flags.freeze else ())),
    }


def resume_training(name: str, device: str | None, output: Output) -> None:
    """Go on with a run to its end, and print what came of it."""
    from convscope.training.run import open_run, resume_run

    run = open_run(name)
    dataset = read_dataset(run, output)
    if run.results():
        say(f"{run.path} is finished already")
    else:
        with StopSignals() as stop:
            _follow(resume_run(run, dataset, device=device, say=say, should_stop=stop), run.path, stop, output)
    print_run(run.path, dataset, output, report=run.config["report"])


def read_dataset(run: Run, output: Output) -> Dataset:
    """The images that a run is trained on, with progress where they take long."""
    with show_work(quiet=output.quiet) as progress:
        return run.dataset(progress=progress)


def _follow(events: Iterator[Event], path: Path, stop: StopSignals, output: Output) -> None:
    """Follow a training to its end. Raises Interrupted when a signal ended it, after its state was saved."""
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


def print_run(path: Path, dataset: Dataset, output: Output, *, report: bool, budget: str | None = None) -> None:
    """Write the report if asked for, and print what the run came to."""
    from convscope.training.run import open_run

    opened = open_run(str(path))
    events = opened.events()
    results: dict[str, Any] = {"run": str(path)}
    if report:
        from convscope.web.report import write_report

        seconds = parse_duration(budget) if budget else 0.0
        with show_work(quiet=output.quiet) as progress:
            written = write_report(
                path,
                budget=seconds,
                network=opened.network(say=say),
                dataset=dataset,
                events=events,
                config=opened.config,
                progress=progress,
            )
        results["report"] = str(written)
    results |= opened.results()
    print_results(results, as_json=output.json)


class Subject:
    """What a method looks at: a network, and the run that it comes from where there is one."""

    def __init__(self, network: Network, run: Run | None = None) -> None:
        self.network = network
        self.run = run
        self._own: Dataset | None = None

    @property
    def path(self) -> Path | None:
        """The run's folder, where results are kept and found again."""
        return self.run.path if self.run else None

    def first_layer(self) -> str:
        """The network's first convolution."""
        from convscope.hooks import convolutions

        found = convolutions(self.network.model)
        if not found:
            raise UsageError(f"{self.network.name} has no convolution; name a layer with --layer")
        return found[0]

    def dataset(self, name: str | None, data: DataFlags, output: Output) -> Dataset | None:
        """The dataset of that name, else the run's own; None where there is neither."""
        from convscope.data import load_dataset

        if name is not None:
            options = dataset_options(data)
            if name.startswith("folder:"):
                options["image_size"] = data.image_size or self.network.input_size[0]
            with show_work(quiet=output.quiet) as progress:
                return load_dataset(name, **options, progress=progress)
        if self.run and not self._own:
            self._own = read_dataset(self.run, output)
        return self._own

    def image(self, image: str, output: Output) -> Tensor:
        """The image (C, H, W) float32 in [0, 1]: a test image by its number, or a file fitted to the network."""
        import torch

        from convscope.data.decode import Unreadable, decode_image

        if image.isdecimal():
            dataset = self.dataset(None, DEFAULT_DATA, output)
            if dataset is None:
                raise UsageError("a network that is not a run has no test images; allowed: --image FILE")
            images = dataset.test.images
            if int(image) >= images.shape[0]:
                raise UsageError(f"no test image {image}; allowed: 0 to {images.shape[0] - 1}, or an image file")
            [pixels] = images.batches([torch.tensor([int(image)])])
        else:
            try:
                pixels = torch.from_numpy(decode_image(image, max(self.network.input_size)))[None]
            except Unreadable as error:
                raise DataError(f"image {image}: {error}; allowed: a test image's number or an image file") from error
        rgb = _middle(pixels[0].float() / 255, self.network.input_size)
        return rgb.mean(0, keepdim=True) if len(self.network.mean) == 1 else rgb


def _middle(image: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle (C, H, W) of an image that is at least as large."""
    top, left = ((have - want) // 2 for have, want in zip(image.shape[1:], size, strict=True))
    return image[:, top : top + size[0], left : left + size[1]]


def open_subject(name: str, flags: SubjectFlags) -> Subject:
    """The run of that folder, or "latest", or one of our models, or another network by its source and name."""
    from convscope.models import MODELS
    from convscope.models.zoo import zoo_network
    from convscope.training.engine import place, select_device
    from convscope.training.run import open_run

    device = select_device(flags.device)
    if flags.input_size is not None and flags.input_size < 1:
        raise UsageError(f"--input-size {flags.input_size}; allowed: 1 or more")
    if name not in MODELS and (":" not in name or Path(name).exists()):
        if flags.weights or flags.input_size:
            raise UsageError("--weights and --input-size are for networks that are not runs; a run has its own")
        run = open_run(name)
        network = run.network(say=say)
    else:
        run = None
        network = zoo_network(name, weights=flags.weights, image_size=flags.input_size, say=say)
    place(network.model, device)
    return Subject(network, run)


def maximize_all(
    subject: Subject, dataset: Dataset | None, budget: str, *, layer: str | None, seed: int, output: Output
) -> None:
    """Draw every channel for as long as the budget says, and a picture of each layer that any is drawn of."""
    from convscope.methods.maximize_all import drawn_picture, maximize_within

    store, seconds = subject.path or Path(), parse_duration(budget)
    with show_work(quiet=output.quiet) as progress:
        drawn = maximize_within(
            subject.network,
            store,
            dataset,
            budget=seconds,
            layers=[layer] if layer else None,
            seed=seed,
            progress=progress,
        )
    pictures = [
        drawn_picture(subject.network, store, name, None, dataset, seed=seed)
        for name, steps in drawn.items()
        if any(steps)
    ]
    results: dict[str, Any] = {"pictures": [str(save_picture(subject, picture, None)) for picture in pictures]}
    print_results(
        results | {f"steps of {name}": _spread(steps) for name, steps in drawn.items()}, as_json=output.json
    )


def _spread(steps: list[int]) -> str:
    """How many channels are drawn in how many steps, the finest first.

    >>> _spread([64, 16, 16, 0])
    '64 for 1, 16 for 2, 0 for 1'
    """
    return ", ".join(f"{count} for {steps.count(count)}" for count in sorted(set(steps), reverse=True))


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


def save_picture(subject: Subject, picture: Picture, out: Path | None) -> Path:
    """The PNG that the picture is written to, in which it says where it comes from."""
    from convscope.methods.survey_store import weights_identity
    from convscope.paint import save_png

    weights = subject.network.weights_sha256 or weights_identity(subject.network)
    provenance = {"Command": command_line(), "Weights": f"SHA-256 {weights}"}
    provenance |= {"Run": str(subject.path)} if subject.path else {}
    path = out or (subject.path or Path()) / "pictures" / f"{picture.name}.png"
    return save_png(replace(picture, provenance={**picture.provenance, **provenance}), path)
