"""What flows through convscope: Dataset, Recipe, Phase, Event, Network, Picture. All frozen; none imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

Progress = Callable[[str, int, int | None], None]
"""progress(what, done, total): called now and then by long work; total is None where it is unknown."""


def no_progress(what: str, done: int, total: int | None) -> None:
    """The Progress that shows nothing."""


Say = Callable[[str], None]
"""Says one line to the user."""


def say_nothing(text: str) -> None:
    """The Say of a caller that wants silence."""


class Images(Protocol):
    """Images of one size, read by index, whether they live in memory or in files."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, 3, H, W)."""
        ...

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        """For each index tensor (B,) int64 the images (B, 3, H, W) uint8, in the order asked for."""
        ...


@dataclass(frozen=True)
class Split:
    """The training or the test half of a dataset."""

    images: Images
    labels: Tensor  # (N,) int64


@dataclass(frozen=True)
class Dataset:
    """Train and test images with what is needed to train on them and to say which they were."""

    name: str
    train: Split
    test: Split
    class_names: tuple[str, ...]
    mean: tuple[float, float, float]  # of the training images, in [0, 1]
    std: tuple[float, float, float]
    fingerprint: str  # SHA-256 over every pixel and label; of a very large set: names, lengths, labels and a sample
    source: str  # where the images came from, in words
    mirror: bool = True  # a mirrored image is still of its class (not so for digits)
    skipped: tuple[str, ...] = ()  # unreadable images left out on request

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.train.images.shape[2:]


@dataclass(frozen=True)
class Phase:
    """One optimizer for a stretch of epochs or of steps, exactly one of which is given."""

    optimizer: Literal["sgd", "adam"]
    learning_rate: float  # constant, or the peak of the one-cycle schedule
    epochs: int | None = None
    steps: int | None = None
    schedule: Literal["constant", "one-cycle"] = "constant"
    warmup: float = 0.2  # share of a one-cycle phase in which the learning rate rises
    momentum: float = 0.9  # SGD only
    nesterov: bool = False  # SGD only
    weight_decay: float = 0.0
    decay_norms_and_biases: bool = True
    norm_rate: float = 1.0  # what the learning rate is multiplied by for the weights and biases of norms
    whitened: bool = False  # SGD only: the first convolution steps as if the pixels it sees were uncorrelated
    resolution: float = 1.0  # in a one-cycle phase the sides of the images while the rate rises, as a share


@dataclass(frozen=True)
class Augmentation:
    """Random changes of each training image, each drawn for itself; zero and False are off."""

    crop: int = 0  # shift by up to this many pixels; the border is reflected
    flip: bool = False  # mirror half of the images
    cutout: int = 0  # side of a square replaced by the mean colour


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training; saved whole in the run's run.json."""

    name: str
    summary: str
    model: str
    phases: tuple[Phase, ...]
    batch_size: int = 128
    augmentation: Augmentation = field(default_factory=Augmentation)
    label_smoothing: float = 0.0
    freeze: bool = False  # train the head only
    seed: int = 0
    precision: Literal["fp32", "bf16", "auto"] = "fp32"  # what says "auto" here and below is the machine's to decide
    memory_format: Literal["channels-last", "contiguous", "auto"] = "channels-last"
    compiled: Literal["no", "yes", "auto"] = "no"
    eval_every: int | None = None  # steps between evaluations; None: at the end of each epoch


EventKind = Literal["start", "train", "eval", "phase", "checkpoint", "film", "alarm", "end"]


@dataclass(frozen=True)
class Event:
    """One line of a run's log."""

    kind: EventKind
    step: int  # optimizer steps taken since the beginning of the run
    time: float  # seconds of training since the beginning of the run, over all resumptions
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Network:
    """A model together with what it takes to feed it."""

    model: nn.Module
    mean: tuple[float, ...]  # one for each channel of an image: three for RGB
    std: tuple[float, ...]
    input_size: tuple[int, int]  # (H, W)
    class_names: tuple[str, ...]
    name: str
    weights_sha256: str = ""  # of the file that they were read from, where it is known

    def normalize(self, images: Tensor) -> Tensor:
        """What the model is fed for images (N, C, H, W) float32 in [0, 1], with a channel for each mean."""
        mean = images.new_tensor(self.mean).view(1, -1, 1, 1)
        std = images.new_tensor(self.std).view(1, -1, 1, 1)
        return (images - mean) / std

    def __call__(self, images: Tensor) -> Tensor:
        """The logits (N, classes) for images (N, C, H, W) float32 in [0, 1], RGB where C is 3."""
        return self.model(self.normalize(images))


@dataclass(frozen=True)
class Picture:
    """A grid of equally large tiles of numbers, with how to colour them and what they are evidence for."""

    name: str  # a file name without ending, such as "maps-conv1"
    title: str
    values: np.ndarray  # (N, C, H, W) float32; C is 3 for the scale "rgb", else 1
    limits: np.ndarray  # (N, 2) float32: the values that take each tile's first and last colour
    scale: Literal["rgb", "diverging", "sequential"]
    captions: tuple[str, ...]  # one a tile; empty for none
    caption: str  # how to read it, in plain words
    numbers: Mapping[str, Any] = field(default_factory=dict[str, Any])  # the evidence
    provenance: Mapping[str, str] = field(default_factory=dict[str, str])
    columns: int | None = None  # None: nearly square

    def _repr_png_(self) -> bytes:
        """The picture in a notebook."""
        from convscope.paint import png_bytes

        return png_bytes(self)

    def _repr_html_(self) -> str:
        """The picture in a notebook, with its title, its numbers and how to read it."""
        from convscope.paint import html

        return html(self)
