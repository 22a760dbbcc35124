"""The model that a training begins with: random by its seed, or with given weights but perhaps a new head."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from convscope.errors import UsageError
from convscope.hooks import frozen_eval
from convscope.models import MODELS, build_model, seeded
from convscope.models.weights import head_name, load_weights, read_weights
from convscope.models.zoo import PRETRAINED, check_size, is_factory, library_feed, library_model
from convscope.training.run import Run, open_run
from convscope.types import Dataset, Recipe, Say


def initial_model(
    recipe: Recipe, weights: str | None, dataset: Dataset, *, run: Run | None = None, say: Say
) -> nn.Module:
    """The recipe's model for the dataset's classes, with the weights of a file or a run, or "pretrained" ones.

    A `run` that begins again builds it as it once did; `say` is told of the weights. Raises UsageError for a model
    that does not take the images, and for a head that is to be trained alone on random features, and
    CheckpointError for weights that do not fit.
    """
    classes = len(dataset.class_names)
    model = run.model() if run else build_model(recipe.model, class_count=classes, seed=recipe.seed)
    if recipe.model not in MODELS:
        _check_fits(model, recipe.model, dataset)
    if weights is not None:
        tensors, same_classes = _given(recipe.model, weights, dataset.class_names, say=say)
        unused = load_weights(model, tensors, source=weights, keep_head=same_classes)
        told = f"weights from {weights}; not used: {', '.join(unused) if unused else 'none, all fit'}"
        if model.state_dict().keys() & set(unused):  # what the model has and did not take is its head
            told += f"; the head {head_name(model)} begins anew, for {classes:,} classes"
        say(told)
    elif recipe.freeze and not is_factory(recipe.model):
        raise UsageError("--train head needs features that are there already: it needs --weights FILE|RUN")
    return model


def _given(name: str, weights: str, class_names: tuple[str, ...], *, say: Say) -> tuple[dict[str, Tensor], bool]:
    """The weights by name, and whether their head may be for the same classes: a file does not tell."""
    if weights == PRETRAINED:
        known = library_feed(name, pretrained=True).class_names
        with seeded(0):  # it draws weights before it has others
            return library_model(name, None, pretrained=True).state_dict(), known == class_names
    if Path(weights).is_dir():
        donor = open_run(weights).network(say=say)
        return donor.model.state_dict(), donor.class_names == class_names
    return read_weights(Path(weights)), True


def _check_fits(model: nn.Module, name: str, dataset: Dataset) -> None:
    """Raise UsageError where somebody else's network does not give a score for each class of the images.

    Raises CheckpointError for one without a linear layer, of which nobody knows what its head is.
    """
    head_name(model)
    wanted = (1, len(dataset.class_names))
    with frozen_eval(model):
        scores = check_size(model, name, dataset.image_size, channels=len(dataset.mean), flag="--image-size")
    if scores.shape != wanted:
        raise UsageError(f"{name} gives {tuple(scores.shape)} for an image; wanted: {wanted}, a score for each class")
