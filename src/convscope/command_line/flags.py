"""The flags that several commands share; cyclopts makes each field one, with its docstring as its help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

DatasetName = Annotated[
    str,
    Parameter(
        help="A dataset's name (see: convscope datasets), or folder:PATH or shards:FOLDER for your own images."
    ),
]
RunName = Annotated[str, Parameter(help="A run folder, or latest.")]
NetworkName = Annotated[str, Parameter(help="A run folder, latest, or a network (see: convscope models).")]
OUT = Parameter(name=("--out", "-o"))


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
class PageFlags:
    """Where a live page is served."""

    port: int | None = None
    """The port on this machine; otherwise the first free one from 8765 on."""
    host: str | None = None
    """A name or address of this machine instead of 127.0.0.1; one that other machines reach also needs --expose."""
    expose: bool = False
    """Let other machines ask; nothing that is sent is encrypted."""
    no_open: bool = False
    """Print the address only; open no browser."""


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

    recipe: tuple[str, ...] = ()
    """A recipe's name (see: convscope recipes) or a TOML file; otherwise fast, or small below 10,000 images. Several
    are trained in turn from the same initial weights on the same data order, and compared."""
    seeds: int = 1
    """Train each recipe so often, with --seed and the seeds after it, and compare what seeds and recipes change."""
    model: str | None = None
    """A model's name (see: convscope models), or any other network: torchvision:NAME, timm:NAME, huggingface:PLACE,
    or a function of yours as module:function."""
    epochs: int | None = None
    """Length of the whole training; the last phase makes up the difference."""
    steps: int | None = None
    """The same in optimizer steps, for recipes of one phase."""
    seed: int | None = None
    """Decides initial weights, data order, augmentation, and how a folder is split."""
    precision: str | None = None
    """fp32, bf16 or auto."""
    tune: str = "auto"
    """How what a recipe leaves open (precision, memory_format or compiled = auto) is settled: auto measures where the
    training is long enough, off goes by rule, and the run.json of another run is followed."""
    eval_every: int | None = None
    """Steps between two evaluations; otherwise one an epoch."""
    set: tuple[str, ...] = ()
    """KEY=VALUE: any other value of the recipe, such as batch_size=64 or phases.0.momentum=0.8."""
    weights: str | None = None
    """Begin with the weights of a .safetensors file or of a run, or with pretrained ones, which the network's library
    downloads."""
    allow_pt: bool = False
    """Open weights that torch.save pickled (.pt) as well; they may name tensors and nothing else."""
    train: Literal["all", "head"] | None = None
    """The whole network, or its head only: everything else then stays as --weights gave it, to the last bit."""
    freeze: Annotated[bool, Parameter(show=False)] = False
    """The older word for --train head."""
    mean: str | None = None
    """What is taken from an image's channels, such as 0.485,0.456,0.406; otherwise what the network was made for, or
    the mean of the training images."""
    std: str | None = None
    """What they are then divided by; otherwise as for --mean."""
    device: str = "auto"
    """cpu, cuda or cuda:1; auto takes a CUDA GPU where there is one."""
    out: Path | None = None
    """The run folder to make, or for several runs the folder of theirs; otherwise one under runs/."""
    no_film: bool = False
    """Keep no film: first filters, feature maps and some weights on the way. It takes less than 2 % of the time."""
    watch: bool = False
    """Show it live in the browser, from a process of its own; see: convscope watch."""
    log: tuple[str, ...] = ()
    """Pass numbers and film on to tensorboard, visdom, wandb or mlflow as well; may be given several times."""


@Parameter(name="*")
@dataclass(frozen=True)
class SubjectFlags:
    """How to open a network that is not a run."""

    weights: str | None = None
    """A .safetensors file for a network that is not a run, or pretrained, which its library downloads."""
    allow_pt: bool = False
    """Open weights that torch.save pickled (.pt) as well; they may name tensors and nothing else."""
    input_size: int | None = None
    """Side in pixels of the images for a network that is not a run; otherwise its own."""
    mean: str | None = None
    """What a network that is not a run takes from the channels, such as 0.485,0.456,0.406; otherwise its own."""
    std: str | None = None
    """What it then divides them by; otherwise its own."""
    classes: Path | None = None
    """A text file with the names of its classes, one a line, in their order; otherwise its own."""
    device: str = "auto"
    """cpu, cuda or cuda:1; auto takes a CUDA GPU where there is one."""


DEFAULT_PAGE = PageFlags()
DEFAULT_DATA = DataFlags()
DEFAULT_SUBJECT = SubjectFlags()
DEFAULT_TRAIN = TrainFlags()
DEFAULT_OUTPUT = Output()
