"""The mistakes that people make at the command line, each with its exit code and what the answer must tell."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import shlex
import sys
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from safetensors.torch import save_file

from convscope.cli import main
from convscope.models import build_model
from tests.faults import tiny
from tests.faults.harness import Tally


class Mistake(NamedTuple):
    """A command line, run where `workplace` made its files."""

    command: str
    code: int
    says: tuple[str, ...]  # what came, what is allowed, how to find it


def _mistakes(text: str) -> list[Mistake]:
    rows = [[cell.strip() for cell in line.split("|")] for line in text.strip().splitlines()]
    return [Mistake(command, int(code), tuple(says)) for command, code, *says in rows]


CATALOGUE = _mistakes("""
run                                          | 2 | DATASET requires an argument | See: convscope run --help
dance                                        | 2 | Unknown command "dance" | Available commands: run, train | See: convscope --help
run digits --colour                          | 2 | Unknown option: --colour | See: convscope run --help
run digits --epochs many                     | 2 | "many" into int | See: convscope run --help
run digits --epochs -1                       | 2 | --epochs -1; allowed: 1 or more
run digits --steps 0                         | 2 | --steps 0; allowed: 1 or more
run digits --seeds 0                         | 2 | --seeds 0; allowed: 1 or more
run digits --seed -1                         | 2 | "seed" is -1; allowed: 0 to
run digits --eval-every 0                    | 2 | "eval_every" is 0; allowed: 1 to
run digits --precision fp8                   | 2 | 'fp8'; allowed: fp32 or bf16 or auto
run digits --tune maybe                      | 2 | --tune maybe | allowed: auto, off, or the run.json of a run
run digits --set batch_size=0                | 2 | "batch_size" is 0; allowed: 2 to
run digits --set batch=3                     | 2 | no recipe key "batch"; closest: batch_size | convscope recipes NAME
run digits --set batch_size                  | 2 | allowed: KEY=VALUE, as in --set batch_size=64
run digits --recipe fats                     | 2 | no recipe "fats"; closest: fast; list them: convscope recipes
run digits --recipe none.toml                | 2 | no recipe file none.toml | convscope recipes
run digits --recipe broken.toml              | 2 | cannot read the recipe broken.toml | convscope recipes small
run digits --model resnet-18                 | 2 | no model "resnet-18"; closest: resnet18 | list them: convscope models
run digits --device cuda:9                   | 2 | no device "cuda:9" on this machine; allowed: auto, cpu
run digits --freeze                          | 2 | it needs --weights FILE
run digits --log tensorbord                  | 2 | closest: tensorboard; list them: convscope loggers
run digits --log wandb                       | 2 | --log wandb needs a package more: pip install 'convscope[wandb]'
run digits --image-size 64                   | 2 | digits takes no --image-size | is for folder, shards
run digits --image-size 0                    | 2 | digits takes no --image-size
run digits --weights none.safetensors        | 4 | no weights at | allowed: a .safetensors file or a run folder
run digits --weights text                    | 4 | text is not a readable safetensors file | safetensors.torch.save_file
run digits --weights pickle.pt               | 4 | pickle.pt is a pickle by its name; allowed: .safetensors, or this one with --allow-pt
run digits --weights pickle.pt --allow-pt    | 4 | pickle.pt is not opened | save the state_dict alone
run planted --model resnet10-narrow --weights resnet8.safetensors | 4 | lacks 15 of the 74 entries | name that one with --model
run planted --model resnet8 --weights run    | 4 | it is of another model: name that one with --model
run planted --out text                       | 6 | cannot write to text | name another folder with --out
run planted --out run                        | 2 | run holds a run of other settings | others need another --out
run digit                                    | 2 | no dataset "digit"; closest: digits; list them: convscope datasets
run folder:                                  | 2 | the dataset "folder" needs a path: folder:PATH
run folder:nowhere                           | 3 | nowhere; wanted: train/CLASS/IMAGE and test/CLASS/IMAGE, or CLASS/IMAGE
run folder:no-classes                        | 3 | no class folders in | at least two classes are needed; wanted: train/CLASS/IMAGE
run folder:one-class                         | 3 | a single class folder, a, in | at least two classes are needed
run folder:empty-class                       | 3 | no images in | files: 1 .gz | read are .bmp
run folder:one-image                         | 3 | 1 classes have a single image | b; add images or take the class out
run folder:broken                            | 3 | 1 of 8 images cannot be read: a/2.png | leave them out with --skip-bad
run folder:odd-names                         | 3 | 1 of 9 images cannot be read: a/\\x1b[2J\\n.png
run folder:no-test                           | 3 | has train/ but no test/ with class folders
run folder:broken --image-size 0             | 2 | an image size of 0; it must be at least 1
run shards:nowhere                           | 3 | no tar shards | wanted: train-*.tar and test-*.tar
run shards:packed                            | 3 | train-0.tar is compressed | unpack it to a plain .tar
run cifar10 --data-dir nowhere               | 3 | no file or folder | wanted: cifar-10-binary.tar.gz
run cifar10 --data-dir pickled               | 3 | cifar-10-batches-py is the pickled version, which is never opened; wanted:
run cifar10 --source http://example.com/a.gz | 3 | only https, file: and paths, never http
resume nowhere                               | 2 | "nowhere" is no run folder | allowed: latest or a folder
resume latest                                | 2 | there is no "latest"; make one: convscope run digits
resume damaged                               | 4 | damaged/run.json cannot be read
resume newer                                 | 4 | has format 99; this convscope reads 1
report run --format pdf                      | 2 | "pdf" | "html", "md" | See: convscope report --help
report run --budget soon                     | 2 | budget "soon"; allowed: a number with s, m or h, such as 10m
layers resnet99                              | 2 | "resnet99" is no run folder | allowed: latest or a folder
layers torchvision:resnet999                 | 2 | no network "resnet999" in torchvision; closest: resnet
layers timm:resnet26                         | 2 | timm:NAME needs timm: pip install 'convscope[zoo]'
layers nopackage:network                     | 2 | No module named 'nopackage'; allowed: torchvision:NAME, timm:NAME, huggingface:PLACE or module:function
layers torch.nn:Identitty                    | 2 | no function "Identitty" in torch.nn; closest: Identity
layers torch.nn:Identity                     | 2 | name --input-size
layers resnet8 --input-size 0                | 2 | --input-size 0; allowed: 1 or more
layers run --input-size 32                   | 2 | a run has its own
layers resnet8 --weights pretrained          | 2 | --weights pretrained is for networks of libraries
filters run --layer layer9                   | 2 | no layer "layer9" in tiny | list them: convscope layers
filters run --layer fc                       | 2 | is a Linear, not a convolution; the first is conv1 | convscope layers
filters run -o text/x.png                    | 6 | cannot write text/x.png | name another place with --out
filters run -o x.jpg                         | 2 | --out x.jpg; allowed: a name that ends in .png
maps run --layer conv3                       | 2 | no layer "conv3" in tiny; closest: conv2, conv1; list them: convscope layers
maps run --channel 99                        | 2 | no channel 99 in conv1; allowed: 0 to 3
maps run --image 360                         | 2 | no test image 360; allowed: 0 to 19, or an image file
maps run --image none.png                    | 3 | image none.png: No such file | allowed: a test image's number or an image file
maps run --image text                        | 3 | not a readable BMP, GIF, JPEG, PNG, PPM, TIFF or WEBP
maximize run --layer fc --channel dog        | 2 | no class "dog"; allowed: dark, grey, bright
maximize run --channel 3-1                   | 2 | channels "3-1"; allowed: a number, or numbers and ranges such as 0-15,20
maximize run --steps 0                       | 2 | steps 0; allowed: 1 or more
reconstruct run --rule foo                   | 2 | "foo" | "deconvnet", "guided" | See: convscope reconstruct --help
attribute run --target 10                    | 2 | no class 10 in tiny; allowed: 0 to 2, or a class's name
top-images run --dataset digit               | 2 | no dataset "digit"; closest: digits; list them: convscope datasets
filters run -o x.svg                         | 2 | a name that ends in .png, .npz, .npy, .safetensors or .json; charts, as .svg, are from: convscope export RUN
export run                                   | 2 | requires an argument | See: convscope export --help
export run -o net.pth                        | 2 | --out net.pth; allowed: a name that ends in .onnx (the network), .pt2
export tiny -o curves.csv                    | 2 | .csv is a run's curves, and tiny is none; allowed: a run folder or latest
export run -o net.pt2 --chart phases         | 2 | --chart is for .svg and .png, not for .pt2
export run -o x.svg --chart loss             | 2 | "loss" | "curves", "phases" | See: convscope export --help
export run -o text/run.tar                   | 6 | cannot write text/run.tar | name another place with --out
export damaged -o damaged.tar                | 4 | damaged/run.json cannot be read
import nowhere.tar                           | 2 | no archive "nowhere.tar"; wanted: a .tar that convscope export
import text                                  | 3 | archive text cannot be read as a plain .tar
import text -o run                           | 2 | run is there already; name another --out
film run --out x.avi                         | 2 | "x.avi" is no animation's name; allowed: .webp, .gif, .mp4
compare run                                  | 2 | 1 run to compare; allowed: two or more, or a folder
watch nowhere --no-open                      | 2 | no folder "nowhere" | convscope run digits
watch run --host 0.0.0.0 --no-open           | 2 | host 0.0.0.0 stands for every address; allowed:
watch run --host 192.0.2.1 --no-open         | 2 | allowed: localhost, or this host with --expose
watch run --port 99999 --no-open             | 2 | port 99999 cannot be had | allowed: one from 1024 to 65535, or 0
explore run --images nowhere --no-open       | 2 | no folder "nowhere"; wanted: a folder with image files
""")  # noqa: E501


@contextlib.contextmanager
def workplace(folder: Path) -> Generator[None]:
    """In the folder, with a run, files of every wrong kind, a tiny dataset, and neither timm nor wandb."""
    before = Path.cwd()
    modules = {name: sys.modules.get(name) for name in ("timm", "wandb")}
    ours = sys.modules.pop("convscope.loggers.wandb", None)  # it may have found wandb before
    os.chdir(folder)
    try:
        with tiny.known():
            sys.modules |= dict.fromkeys(modules)  # None: not there to be imported
            recipe = tiny.write_recipe(folder, "sgd")
            code, _, said = call(f"train planted --recipe {recipe} --tune off --quiet --out run")
            assert code == 0, said
            recipe.unlink()
            _plant()
            yield
    finally:
        os.chdir(before)
        for name, module in {**modules, "convscope.loggers.wandb": ours}.items():
            sys.modules.pop(name, None)
            sys.modules |= {name: module} if module else {}


def _plant() -> None:
    for name, classes in (
        ("one-class", "a"), ("broken", "ab"), ("odd-names", "ab"), ("no-test/train", "ab"), ("one-image", "a"),
        ("empty-class", "a"),
    ):  # fmt: skip
        for each in classes:
            Path(name, each).mkdir(parents=True)
            for number in range(4):
                Image.new("L", (8, 8), number).save(Path(name, each, f"{number}.png"))
    for name in ("no-classes", "one-image/b", "empty-class/b", "packed", "pickled/cifar-10-batches-py"):
        Path(name).mkdir(parents=True)
    Image.new("L", (8, 8)).save("one-image/b/0.png")
    for file in ("broken/a/2.png", "odd-names/a/\x1b[2J\n.png", "text", "pickle.pt", "broken.toml"):
        Path(file).write_text("name = ")
    for file in ("packed/train-0.tar", "packed/test-0.tar", "empty-class/b/0.gz"):
        Path(file).write_bytes(gzip.compress(bytes(1000)))
    save_file(build_model("resnet8", class_count=3, seed=0).state_dict(), "resnet8.safetensors")
    for name, config in (("damaged", "{"), ("newer", json.dumps({"format": 99}))):
        Path(name).mkdir()
        Path(name, "run.json").write_text(config)


def call(command: str) -> tuple[int, str, str]:
    """The exit code of a command, its output, and its errors."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(shlex.split(command))
        except SystemExit as end:
            return int(end.code or 0), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def fault_of(mistake: Mistake) -> str:
    """What is wrong with the answer to a mistake; empty where nothing is."""
    before = snapshot()
    code, out, err = call(mistake.command)
    lines = err.splitlines()
    missing = [each for each in mistake.says if each not in err]
    if code != mistake.code:
        return f"exit code {code}, wanted is {mistake.code}: {err}"
    if missing or len(lines) != 1 or not err.startswith("convscope: ") or out:
        return f"lacks {missing}, has {len(lines)} lines: {err}{out}"
    return "" if snapshot() == before else "it left something behind"


def snapshot() -> list[tuple[str, int]]:
    """Every file here and its length; locks aside."""
    return sorted((str(path), path.stat().st_size) for path in Path().rglob("*") if path.suffix != ".lock")


def soak(folder: Path, *, count: int = len(CATALOGUE), seed: int = 0) -> Tally:
    """Make the mistakes of the catalogue; they need no dice."""
    del seed
    tally = Tally("mistakes at the command line")
    with workplace(folder):
        for mistake in CATALOGUE[:count]:
            fault = fault_of(mistake)
            tally.count(f"exit code {mistake.code}", f"convscope {mistake.command}: {fault}" if fault else "")
    return tally
