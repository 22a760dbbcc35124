"""What a method's command looks at, and where its picture goes: a run or another network, its images, its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from convscope.command_line.console import say, show_work
from convscope.command_line.flags import DEFAULT_DATA, DataFlags, Output, SubjectFlags
from convscope.command_line.jobs import read_dataset
from convscope.command_line.settings import anywhere, command_line, dataset_options, parse_numbers, without_pickle
from convscope.errors import DataError, UsageError, printable

if TYPE_CHECKING:
    from torch import Tensor

    from convscope.training.run import Run
    from convscope.types import Dataset, Network, Picture

OF_NO_RUN = ("weights", "input_size", "mean", "std", "classes")
"""The flags that say of a network what a run knows of itself."""


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
        from convscope.data import PLACES, load_dataset

        if name is not None:
            options = dataset_options(data)
            if name.partition(":")[0] in PLACES:
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


def is_run(name: str) -> bool:
    """Whether a name is one for a run folder, and not that of a network."""
    from convscope.models import MODELS

    return name not in MODELS and (":" not in name or Path(name).exists())


def open_subject(name: str, flags: SubjectFlags) -> Subject:
    """The run of that folder, or "latest", or one of our models, or another network by its source and name."""
    from convscope.models.zoo import zoo_network
    from convscope.training.engine import place, select_device
    from convscope.training.run import open_run

    device = select_device(flags.device)
    if flags.input_size is not None and flags.input_size < 1:
        raise UsageError(f"--input-size {flags.input_size}; allowed: 1 or more")
    if is_run(name):
        if named := [f"--{key.replace('_', '-')}" for key in OF_NO_RUN if getattr(flags, key)]:
            raise UsageError(f"{', '.join(named)} for networks that are not runs; a run has its own")
        run = open_run(name)
        network = run.network(say=say)
    else:
        run = None
        network = zoo_network(
            anywhere(name),
            weights=flags.weights and str(without_pickle(Path(flags.weights), allow=flags.allow_pt)),
            image_size=flags.input_size,
            mean=parse_numbers("--mean", flags.mean),
            std=parse_numbers("--std", flags.std),
            class_names=_class_names(flags.classes),
            say=say,
        )
    place(network.model, device)
    return Subject(network, run)


def _class_names(path: Path | None) -> tuple[str, ...] | None:
    """The names in a text file, one a line."""
    if path is None:
        return None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UsageError(f"--classes {path}: {reason}; wanted: a text file with a name a line") from error
    return tuple(printable(line.strip()) for line in lines if line.strip())


def keep_picture(subject: Subject, picture: Picture, out: Path | None) -> Path:
    """The file that the picture is written to, in which it says where it comes from; otherwise a PNG of its name."""
    from convscope.methods.surveys.survey_store import weights_identity
    from convscope.picture_files import save_picture

    weights = subject.network.weights_sha256 or weights_identity(subject.network)
    provenance = {"Command": command_line(), "Weights": f"SHA-256 {weights}"}
    provenance |= {"Run": str(subject.path)} if subject.path else {}
    path = out or (subject.path or Path()) / "pictures" / f"{picture.name}.png"
    return save_picture(replace(picture, provenance={**picture.provenance, **provenance}), path)
