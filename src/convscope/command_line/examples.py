"""Examples for the help of each command: what one types, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping

EXAMPLES: Mapping[str, Mapping[str, str]] = {
    "": {
        "convscope run digits": "from images to a trained network and its report, in about a minute",
        "convscope explore latest": "click through what it learned",
        "convscope maximize --help": "each command tells what it takes",
    },
    "run": {
        "convscope run digits": "trains for a minute, draws, and writes report.html; nothing is downloaded",
        "convscope run cifar10 --watch": "shows it live in the browser",
        "convscope run folder:photos --image-size 64": "your images: photos/train/CLASS/… and photos/test/CLASS/…",
        "convscope run cifar10 --recipe adam-then-sgd --epochs 12": "Adam for 6 epochs, then SGD",
    },
    "train": {
        "convscope train digits --out runs/first": "trains into that folder; called again, it goes on",
        "convscope train cifar10 --recipe sgd --recipe adam --seeds 3": "from the same start, then compared",
        "convscope train cifar10 --set batch_size=64 --set phases.0.momentum=0.8": "changes values of the recipe",
        "torchrun --nproc-per-node 8 -m convscope train folder:photos --out runs/photos": "in eight processes",
    },
    "resume": {
        "convscope resume latest": "after Ctrl-C, a crash, kill -9 or a full disk",
        "convscope resume runs/first --device cuda": "on another device; the last bits may then differ",
    },
    "report": {
        "convscope report latest": "draws everything again",
        "convscope report latest --budget 10m": "with the patterns of every channel, for ten minutes",
        "convscope report latest --format md": "as Markdown, with its pictures as files",
    },
    "compare": {
        "convscope compare runs/first runs/second": "two runs on one page",
        "convscope compare runs -o comparison.html": "all runs of a folder",
    },
    "watch": {
        "convscope watch": "every run under runs/, running or finished",
        "convscope watch experiments --port 8900 --no-open": "another folder; prints the address only",
    },
    "explore": {
        "convscope explore latest": "the newest run, with the images that it was tested on",
        "convscope explore torchvision:vgg11 --weights vgg11.safetensors --images photos": "another network",
        "convscope explore my_networks:build_model --input-size 64": "a function of yours that gives the model",
    },
    "film": {
        "convscope film latest -o film.webp": "the first filters as they formed",
        "convscope film latest --show patterns --layer conv3 --channel 0-7": "what channels answered to",
    },
    "filters": {
        "convscope filters latest": "the first layer's, in colour",
        "convscope filters latest --layer conv3 --sort norm": "a deeper one, slice by slice, the strongest first",
    },
    "maps": {
        "convscope maps latest --layer conv5 --image 7": "every channel, for test image 7",
        "convscope maps torchvision:vgg11 --layer features.3 --image cat.jpg --overlay": "over an image of yours",
    },
    "maximize": {
        "convscope maximize latest --layer conv5": "the first 16 channels",
        "convscope maximize latest --layer fc --channel all": "the classes",
        "convscope maximize latest --budget 10m": "every channel of every layer; called again, it goes on",
        "convscope maximize latest --layer conv3 --channel 3,7 --parameterization pixel": "by pixels, as once",
    },
    "reconstruct": {
        "convscope reconstruct latest --layer conv1 --image 7 --channel all": "deconvnet, every channel",
        "convscope reconstruct latest --layer conv5 --rule guided --control": "guided, beside random weights",
        "convscope reconstruct latest --layer conv3 --position 2,5": "the one unit at that place of each map",
    },
    "invert": {
        "convscope invert latest --layer conv4 --image 7": "an image with the same features",
        "convscope invert latest --layer conv4 --image 7 --control": "and from random weights",
    },
    "top-images": {
        "convscope top-images latest --layer conv3": "nine patches for each of 16 channels",
        "convscope top-images latest --layer conv3 --channel 3 --reconstructions": "and what it saw of each",
        "convscope top-images timm:resnet26d --layer layer2 --dataset folder:photos --image-size 224": "yours",
    },
    "attribute": {
        "convscope attribute latest --image 7": "nine methods, for the class that the network names",
        "convscope attribute latest --image cat.jpg --target cat --how grad-cam --overlay": "one, over the image",
        "convscope attribute latest --image 7 --control": "beside random weights",
    },
    "dream": {
        "convscope dream latest --layer conv3 --image cat.jpg -o dream.png": "the image with more of what conv3 sees",
    },
    "export": {
        "convscope export latest -o net.onnx": "the network, checked by running it",
        "convscope export torchvision:resnet18 --weights resnet18.safetensors -o net.pt2": "for torch.export.load",
        "convscope export latest -o curves.csv": "every number of the curves",
        "convscope export latest -o confusion.svg --chart confusion": "a chart for a document",
        "convscope export runs/first -o first.tar": "a whole run, for another machine",
    },
    "import": {
        "convscope import first.tar": "makes runs/first of it, which every command takes",
        "convscope import first.tar --images photos": "and says where its images are on this machine",
    },
    "layers": {
        "convscope layers latest": "names for --layer, with shapes and parameters",
        "convscope layers torchvision:vgg11": "of another network",
    },
    "datasets": {"convscope datasets": "names for run and train"},
    "models": {"convscope models": "names for --model, and for commands that look into a network"},
    "methods": {"convscope methods": "each is a command"},
    "loggers": {"convscope loggers": "names for --log"},
    "recipes": {
        "convscope recipes": "names for --recipe",
        "convscope recipes adam-then-sgd": "every value of one, as --set takes it",
    },
    "completion": {
        "convscope completion bash > ~/.local/share/bash-completion/completions/convscope": "for bash, once",
        "convscope completion zsh > ~/.zfunc/_convscope": "for zsh; ~/.zfunc must be in its fpath",
        "convscope completion fish > ~/.config/fish/completions/convscope.fish": "for fish",
    },
}


def examples_of(command: str) -> str:
    """The examples of a command, or of the whole, as Markdown for the end of its help; empty where there are none.

    >>> examples_of("datasets").splitlines()[2:]
    ['* `convscope datasets`: names for run and train']
    """
    lines = [f"* `{typed}`: {what}" for typed, what in EXAMPLES.get(command, {}).items()]
    return "\n".join(["Examples:", "", *lines]) if lines else ""
