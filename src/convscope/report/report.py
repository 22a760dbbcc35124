"""The report: everything about one run in one HTML file that needs nothing else, or in Markdown with its pictures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from markupsafe import Markup
from torch import Tensor

from convscope.durable import replace_file
from convscope.errors import CheckpointError, UsageError
from convscope.hooks import Layer, frozen_eval, layer_aliases, like_model, list_layers
from convscope.methods.needs import as_rgb
from convscope.paint import image_picture
from convscope.report import charts
from convscope.report.film_figure import film_of_run
from convscope.report.fit import fit
from convscope.report.in_short import in_short
from convscope.report.markdown import to_markdown
from convscope.report.measured import measured
from convscope.report.page import HERE, Album, environment, image_number
from convscope.report.phase_charts import paces, phase_progress
from convscope.report.results import (
    Predictions,
    confusion_matrix,
    final_event,
    findings,
    findings_on_record,
    phase_rows,
    predict,
    training_speed,
)
from convscope.report.sections import Shown, sections
from convscope.report.training_words import (
    began_said,
    classes_said,
    confusion_said,
    curves_said,
    sizes_said,
    sureness_said,
)
from convscope.training.frames import read_info
from convscope.types import Dataset, Event, Network, Progress, no_progress

MISTAKES = 12
IMAGES = 4  # that are looked at from the inside
STEPS = 10  # of progress
LARGEST_PAGE = 15_000_000  # bytes, which most mailboxes take
NOTE_BYTES = 1000  # what saying that pictures were packed takes, and more

Format = Literal["html", "md"]
FORMATS: tuple[Format, ...] = ("html", "md")


def write_report(
    path: str | Path,
    *,
    network: Network,
    dataset: Dataset | None,
    events: Iterable[Event],
    config: Mapping[str, Any],
    budget: float = 0.0,
    format: Format = "html",
    gone: str = "",
    progress: Progress = no_progress,
) -> Path:
    """Write `report.html` and `pictures/` into the run folder at `path`; returns the page's path.

    With the format "md" it is `report.md`, whose pictures are those files; the page holds its own. With a `budget`
    in seconds, the patterns of every layer's channels are drawn for that long first, and shown.

    `config` is the run's run.json; what is missing in it is left out of the page. Without the `dataset`, since it is
    `gone` for that reason, the page has what the run's log tells and what can be shown of the images that its film
    kept. The model is left as it was found. Raises UsageError for another format.
    """
    if format not in FORMATS:
        raise UsageError(f'no format "{format}"; allowed: {", ".join(FORMATS)}')
    path, events = Path(path), list(events)
    progress("report", 0, STEPS)
    images = _about_images(dataset, config)
    album = Album(path / "pictures", _provenance(network, images, config), linked=format == "md")
    matrix, found, mistakes, examples = (
        _looked_at(network, dataset, album, seed=int(config.get("seed") or 0))
        if dataset
        else _on_record(network, path, events, images["test_images"] or 0, album)
    )
    shown = [Shown(example["number"], example["image"]) for example in examples]

    progress("report", 1, STEPS)
    figures: dict[str, Any] = {}
    if any(event.kind in ("train", "eval") for event in events):
        figures["curves"] = album.chart("curves", charts.curves(events), "Loss, accuracy and learning rate by step")
        figures["curves"]["measured"] = curves_said(events)
    if len(pace := paces(events)) > 1:
        figures["phases"] = album.chart("phases", phase_progress(events), "Accuracy and loss, phase by phase")
    if matrix is not None:
        figures["confusion"] = album.chart(
            "confusion", charts.confusion(matrix, network.class_names), "Test images by true and predicted class"
        )
        figures["class_accuracy"] = album.chart(
            "class-accuracy", charts.class_accuracy(matrix, network.class_names), "Test accuracy of each class"
        )
        figures["confusion"]["measured"] = confusion_said(matrix, network.class_names)
        figures["class_accuracy"]["measured"] = classes_said(matrix)
    looks: list[dict[str, Any]] = []
    for section in sections(network, dataset, shown, store=path, budget=budget, progress=progress):
        readings = _readings([picture.caption for picture in section.pictures])
        figures_of = [album.picture(picture) for picture in section.pictures]
        for figure, reading in zip(figures_of, readings, strict=True):
            number = image_number(figure["picture"].name) if section.beside_image else None
            figure.update(
                reading=reading,
                measured=measured(figure["picture"]),
                original=examples[number - 1]["original"] if number else None,
            )
        looks.append({"heading": section.heading, "about": section.about, "figures": figures_of})
        progress("report", 1 + len(looks), STEPS)

    phases, end = phase_rows(events), final_event(events)
    said = {
        "network": network,
        "images": images,
        "gone": gone or ("no dataset is given" if dataset is None else ""),
        "config": config,
        "began": began_said(config) if config.get("recipe") else "",
        "style": Markup((HERE / "assets" / "report.css").read_text(encoding="utf-8")),  # our own file
        "figures": figures,
        "mistakes": mistakes,
        "examples": examples,
        "film": film_of_run(path, events, album, progress=progress),
        "looks": looks,
        "grey": len(set(network.mean)) == 1 and len(set(network.std)) == 1,
        "weights": album.provenance.get("Weights"),
        "phases": phases,
        "paces": pace,
        "sizes": sizes_said(config.get("recipe") or {}, max(network.input_size)),
        "end": end,
        "short": in_short(
            network=network,
            images=images,
            config=config,
            events=events,
            phases=phases,
            end=end,
            matrix=matrix,
            found=found,
            pictures=[figure["picture"] for look in looks for figure in look["figures"]],
        ),
        "sureness": sureness_said(found),
        "resumptions": [event.data for event in events if event.kind == "start" and event.data.get("resumed")],
        "speed": training_speed(events),
        "stages": _layer_stages(network),
        "parameters": sum(parameter.numel() for parameter in network.model.parameters()),
        **found,
    }
    target = path / f"report.{format}"
    page = _render(said, album)
    replace_file(target, (to_markdown(page) if format == "md" else page).encode())
    progress("report", STEPS, STEPS)
    return target


def _render(said: Mapping[str, Any], album: Album) -> str:
    """The page, with its largest pictures packed tighter where it would be larger than LARGEST_PAGE."""
    template = environment().get_template("report.html.j2")
    page = template.render(said, packed=0)
    excess = len(page.encode()) - LARGEST_PAGE
    if excess <= 0:
        return page
    packed = fit(album.shown, sum(len(shown["src"]) for shown in album.shown) - excess - NOTE_BYTES)
    return template.render(said, packed=packed)


def _readings(captions: Sequence[str]) -> list[str]:
    """What is to be read below each of a section's pictures: of its caption, what was not said above.

    Where neighbours have the same caption, it stands below the last. What is in brackets makes no new sentence.

    >>> _readings(["White is zero. One.", "White is zero. One.", "White is zero (0.2). Two."])
    ['', 'White is zero. One.', 'Two.']
    """
    readings: list[str] = []
    said: set[str] = set()
    for caption, after in zip(captions, [*captions, None][1:], strict=True):
        sentences = re.split(r"(?<=\.) ", caption) if caption != after else []
        bare = [re.sub(r" \([^)]*\)", "", sentence) for sentence in sentences]
        readings.append(" ".join(each for each, key in zip(sentences, bare, strict=True) if key not in said))
        said |= set(bare)
    return readings


def _mistakes(dataset: Dataset, predictions: Predictions, album: Album) -> list[dict[str, Any]]:
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
        figure = album.picture(picture)
        figure.update(index=index, true=true, said=said, sure=sure)
        shown.append(figure)
    return shown


Found = tuple[np.ndarray | None, dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]
"""The confusion matrix, the numbers that the page's words are about, the mistakes and the examples."""


def _looked_at(network: Network, dataset: Dataset, album: Album, *, seed: int) -> Found:
    """What the network makes of the test images."""
    predictions, labels = predict(network, dataset), dataset.test.labels.numpy()
    matrix = confusion_matrix(labels, predictions.classes, len(dataset.class_names))
    examples = [
        _example(network, album, number, index, int(labels[index]), _test_image(dataset, index))
        for number, index in enumerate(_chosen_images(labels, seed=seed), start=1)
    ]
    return matrix, findings(matrix, predictions, labels), _mistakes(dataset, predictions, album), examples


def _on_record(network: Network, path: Path, events: Sequence[Event], total: int, album: Album) -> Found:
    """What the log says where the images are gone, and the test images that the film kept."""
    matrix, found = findings_on_record(events, total)
    try:
        film = read_info(path)
    except CheckpointError:  # where the page shows the film, it says so
        film = None
    kept = zip(film.indices, film.labels, torch.from_numpy(film.images), strict=True) if film else ()
    examples = [
        _example(network, album, number, index, label, image.float() / 255)
        for number, (index, label, image) in enumerate(kept, start=1)
    ]
    return matrix, found, [], examples[:IMAGES]


def _example(network: Network, album: Album, number: int, index: int, label: int, image: Tensor) -> dict[str, Any]:
    """A test image that the report looks at from the inside, and what the network says of it."""
    true = network.class_names[label]
    with frozen_eval(network.model), torch.inference_mode():
        sure, said = network(like_model(network.model, image[None])).float().softmax(1)[0].max(0)
    original = image_picture(f"image-{number}", f"Test image {index}: {true}", as_rgb(image[None]))
    return {
        "number": number,
        "index": index,
        "true": true,
        "said": network.class_names[int(said)],
        "sure": float(sure),
        "image": image,
        "original": album.picture(original),
    }


def _test_image(dataset: Dataset, index: int) -> Tensor:
    """A test image (3, H, W) float32 in [0, 1]."""
    return next(iter(dataset.test.images.batches([torch.tensor([index])])))[0].float() / 255


def _chosen_images(labels: np.ndarray, *, seed: int) -> list[int]:
    """Test images drawn by the seed, of different classes as far as there are, then any."""
    order = np.random.default_rng(seed).permutation(len(labels)).tolist()
    firsts = list({int(labels[index]): index for index in reversed(order)}.values())
    return [*sorted(firsts, key=order.index), *(index for index in order if index not in firsts)][:IMAGES]


def _layer_stages(network: Network) -> list[tuple[str, list[Layer]]]:
    """The model's layers in order, in runs of the same stage; "" where the model does not name one."""
    stages = {f"{inner}.": f"{alias} = {inner}" for alias, inner in layer_aliases(network.model).items()}

    def stage(layer: Layer) -> str:
        return next((stages[start] for start in stages if layer.name.startswith(start)), "")

    return [(name, list(run)) for name, run in groupby(list_layers(network.model, network.input_size), stage)]


def _about_images(dataset: Dataset | None, config: Mapping[str, Any]) -> dict[str, Any]:
    """What the page says of the images: what they are, or what run.json has on them."""
    if dataset is None:
        unknown = {"name": "unknown images", "source": "unknown", "fingerprint": None, "skipped": ()}
        return {**unknown, "train_images": None, "test_images": None, **(config.get("dataset") or {})}
    said = {key: getattr(dataset, key) for key in ("name", "source", "fingerprint", "skipped")}
    return {**said, "train_images": len(dataset.train.labels), "test_images": len(dataset.test.labels)}


def _provenance(network: Network, images: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, str]:
    """What every picture's file says of where it comes from."""
    said = {
        "Command": config.get("command"),
        "Network": network.name,
        "Dataset": f"{images['name']}, fingerprint {images['fingerprint']}",
        "Seed": config.get("seed"),
        "Weights": f"SHA-256 {network.weights_sha256}" if network.weights_sha256 else None,
    }
    return {key: str(value) for key, value in said.items() if value not in (None, "")}
