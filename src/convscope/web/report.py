"""The report: everything about one run in one HTML file that needs nothing else, and its pictures as PNG."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from torch import Tensor

from convscope.durable import replace_file
from convscope.hooks import Layer, layer_aliases, list_layers
from convscope.paint import image_picture, png_bytes
from convscope.types import Dataset, Event, Network, Picture, Progress, no_progress
from convscope.web import charts
from convscope.web.results import (
    Predictions,
    confusion_matrix,
    final_event,
    findings,
    phase_rows,
    predict,
    training_speed,
)
from convscope.web.sections import Shown, sections

HERE = Path(__file__).parent
MISTAKES = 12
IMAGES = 2  # that are looked at from the inside
STEPS = 10  # of progress
AVERAGED = ("ratio", "agreement", "control_similarity", "distance", "selectivity")  # numbers told by their mean


def write_report(
    path: str | Path,
    *,
    network: Network,
    dataset: Dataset,
    events: Iterable[Event],
    config: Mapping[str, Any],
    budget: float = 0.0,
    progress: Progress = no_progress,
) -> Path:
    """Write `report.html` and `pictures/*.png` into the run folder at `path`; returns the page's path.

    With a `budget` in seconds, the patterns of every layer's channels are drawn for that long first, and shown.

    `config` is the run's run.json; what is missing in it is left out of the page. The model is left as it was found.
    """
    path, events = Path(path), list(events)
    progress("report", 0, STEPS)
    predictions = predict(network, dataset)
    labels = dataset.test.labels.numpy()
    matrix = confusion_matrix(labels, predictions.classes, len(dataset.class_names))
    album = _Album(path / "pictures", _provenance(network, dataset, config))

    progress("report", 1, STEPS)
    figures: dict[str, Any] = {}
    if any(event.kind in ("train", "eval") for event in events):
        figures["curves"] = album.chart("curves", charts.curves(events), "Loss, accuracy and learning rate by step")
    figures["confusion"] = album.chart(
        "confusion", charts.confusion(matrix, dataset.class_names), "Test images by true and predicted class"
    )
    figures["class_accuracy"] = album.chart(
        "class-accuracy", charts.class_accuracy(matrix, dataset.class_names), "Test accuracy of each class"
    )
    mistakes = _mistakes(dataset, predictions, album)
    chosen = _chosen_images(labels, seed=int(config.get("seed") or 0))
    examples = [_example(dataset, predictions, index, album, number + 1) for number, index in enumerate(chosen)]
    shown = [Shown(number + 1, _test_image(dataset, index)) for number, index in enumerate(chosen)]
    looks: list[dict[str, Any]] = []
    for section in sections(network, dataset, shown, store=path, budget=budget, progress=progress):
        figures_of = [album.picture(picture) for picture in section.pictures]
        looks.append({"heading": section.heading, "about": section.about, "figures": figures_of})
        progress("report", 1 + len(looks), STEPS)

    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            network=network,
            dataset=dataset,
            config=config,
            style=Markup((HERE / "assets" / "report.css").read_text(encoding="utf-8")),  # our own file
            figures=figures,
            mistakes=mistakes,
            examples=examples,
            looks=looks,
            grey=len(set(dataset.mean)) == 1 and len(set(dataset.std)) == 1,
            weights=album.provenance.get("Weights"),
            phases=phase_rows(events),
            end=final_event(events),
            resumptions=[event.data for event in events if event.kind == "start" and event.data.get("resumed")],
            speed=training_speed(events),
            stages=_layer_stages(network),
            parameters=sum(parameter.numel() for parameter in network.model.parameters()),
            **findings(matrix, predictions, labels),
        )
    )
    target = path / "report.html"
    replace_file(target, page.encode())
    progress("report", STEPS, STEPS)
    return target


class _Album:
    """Writes each picture as PNG and hands back what the page shows of it."""

    def __init__(self, folder: Path, provenance: Mapping[str, str]) -> None:
        self.folder = folder
        self.provenance = provenance
        folder.mkdir(parents=True, exist_ok=True)

    def chart(self, name: str, figure: Any, label: str) -> dict[str, Any]:
        (self.folder / f"{name}.png").write_bytes(charts.png(figure, self.provenance))
        return {"svg": Markup(charts.svg(figure, name=name, label=label))}  # escaped by matplotlib

    def picture(self, picture: Picture, *, scale: int | None = None) -> dict[str, Any]:
        picture = dataclasses.replace(picture, provenance={**picture.provenance, **self.provenance})
        data = png_bytes(picture, scale=scale)
        (self.folder / f"{picture.name}.png").write_bytes(data)
        width, height = (int.from_bytes(data[start : start + 4]) for start in (16, 20))  # from the PNG's header
        source = "data:image/png;base64," + base64.b64encode(data).decode()
        return {"src": source, "width": width, "height": height, "picture": picture}


def _mistakes(dataset: Dataset, predictions: Predictions, album: _Album) -> list[dict[str, Any]]:
    """The mistakes that the network was surest of."""
    wrong = np.flatnonzero(predictions.classes != dataset.test.labels.numpy())
    wrong = wrong[np.argsort(-predictions.confidences[wrong], kind="stable")][:MISTAKES]
    shown: list[dict[str, Any]] = []
    for place, index in enumerate(wrong.tolist()):
        said = dataset.class_names[predictions.classes[index]]
        true = dataset.class_names[int(dataset.test.labels[index])]
        sure = float(predictions.confidences[index])
        picture = image_picture(
            f"mistake-{place + 1:02}",
            f"Test image {index}: {true}, taken for {said}",
            _test_image(dataset, index)[None],
            caption=f"True class {true}; the network says {said} with a probability of {sure:.1%}.",
        )
        shown.append({**album.picture(picture), "index": index, "true": true, "said": said, "sure": sure})
    return shown


def _example(dataset: Dataset, predictions: Predictions, index: int, album: _Album, number: int) -> dict[str, Any]:
    """A test image that the report looks at from the inside, and what the network says of it."""
    true = dataset.class_names[int(dataset.test.labels[index])]
    original = image_picture(f"image-{number}", f"Test image {index}: {true}", _test_image(dataset, index)[None])
    return {
        "number": number,
        "index": index,
        "true": true,
        "said": dataset.class_names[predictions.classes[index]],
        "sure": float(predictions.confidences[index]),
        "original": album.picture(original),
    }


def _test_image(dataset: Dataset, index: int) -> Tensor:
    """A test image (3, H, W) float32 in [0, 1]."""
    return next(iter(dataset.test.images.batches([torch.tensor([index])])))[0].float() / 255


def _chosen_images(labels: np.ndarray, *, seed: int) -> list[int]:
    """Test images drawn by the seed, of different classes as far as there are."""
    order = np.random.default_rng(seed).permutation(len(labels)).tolist()
    firsts = list({int(labels[index]): index for index in reversed(order)}.values())
    return sorted(firsts, key=order.index)[:IMAGES]


def _layer_stages(network: Network) -> list[tuple[str, list[Layer]]]:
    """The model's layers in order, in runs of the same stage; "" where the model does not name one."""
    stages = {f"{inner}.": f"{alias} = {inner}" for alias, inner in layer_aliases(network.model).items()}

    def stage(layer: Layer) -> str:
        return next((stages[start] for start in stages if layer.name.startswith(start)), "")

    return [(name, list(run)) for name, run in groupby(list_layers(network.model, network.input_size), stage)]


def _provenance(network: Network, dataset: Dataset, config: Mapping[str, Any]) -> dict[str, str]:
    """What every picture's file says of where it comes from."""
    said = {
        "Command": config.get("command"),
        "Network": network.name,
        "Dataset": f"{dataset.name}, fingerprint {dataset.fingerprint}",
        "Seed": config.get("seed"),
        "Weights": f"SHA-256 {network.weights_sha256}" if network.weights_sha256 else None,
    }
    return {key: str(value) for key, value in said.items() if value not in (None, "")}


def _environment() -> Environment:
    """Jinja with everything escaped and the words that the page is written with."""
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "percent": _percent,
        "thousands": "{:,}".format,
        "duration": _duration,
        "settings": _settings,
        "phase_settings": _phase_settings,
        "evidence": _evidence,
        "image_number": _image_number,
    }
    environment.filters.update(filters)
    return environment


def _evidence(numbers: Mapping[str, Any]) -> list[str]:
    """A picture's numbers in words: single ones, the mean of a list of ratios, the length of a list of channels.

    >>> _evidence({"relus": 3, "dead_channels": [1, 4], "ratio": [1.0, None, 2.0], "channels": [0, 1, 2]})
    ['relus 3', 'dead channels: 2', 'ratio 1.5 on average']
    """
    words: list[str] = []
    for key, value in numbers.items():
        called = key.replace("_", " ")
        if isinstance(value, list):
            known = [each for each in value if isinstance(each, (int, float))]
            if key.endswith("_channels") and value:
                words.append(f"{called}: {len(value)}")
            elif key in AVERAGED and known:
                words.append(f"{called} {sum(known) / len(known):.2g} on average")
        elif isinstance(value, (int, float, str)):
            words.append(f"{called} {value:.3g}" if isinstance(value, float) else f"{called} {value}")
    return words


def _image_number(name: str) -> str:
    """Which image a picture is of, by its file name's ending."""
    _, found, number = name.rpartition("-image-")
    return f", image {number}" if found else ""


def _percent(share: float, digits: int = 1) -> str:
    """A share in [0, 1] as a percentage."""
    return f"{100 * share:.{digits}f} %"


def _settings(values: Mapping[str, Any]) -> str:
    """Settings in words, without those that are off.

    >>> _settings({"optimizer": "sgd", "steps": None, "weight_decay": 5e-4, "nesterov": True, "flip": False})
    'optimizer sgd, weight decay 0.0005, nesterov'
    """
    words = ((key.replace("_", " "), value) for key, value in values.items() if value not in (None, "", 0))
    return ", ".join(key if value is True else f"{key} {value}" for key, value in words)


def _phase_settings(phase: Mapping[str, Any]) -> str:
    """A phase's settings in words, without those that its optimizer and schedule do not use."""
    unused = {"momentum", "nesterov"} if phase.get("optimizer") == "adam" else set[str]()
    unused |= {"warmup"} if phase.get("schedule") == "constant" else set()
    unused |= set() if phase.get("weight_decay") else {"decay_norms_and_biases"}
    return _settings({key: value for key, value in phase.items() if key not in unused})


def _duration(seconds: float) -> str:
    """Seconds in words.

    >>> _duration(3725.4), _duration(75), _duration(8.25)
    ('1 h 2 min', '1 min 15 s', '8.2 s')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
