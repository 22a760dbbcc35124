"""Runs of ten steps, in two epochs: as short as a run can be that has an evaluation and two checkpoints."""

from convscope.training.recipes import get_recipe, override_recipe, suit_dataset
from convscope.training.start import start_run


def ten_steps(dataset, *, settings=(), epochs=2):
    """A recipe whose epochs are five steps of that dataset."""
    settings = [f"batch_size={len(dataset.train.labels) // 5}", "precision=fp32", *settings]
    recipe = override_recipe(get_recipe("fast"), model="resnet8", settings=settings, epochs=epochs)
    return suit_dataset(recipe, dataset)


def start(path, dataset, recipe=None, **keywords):
    """The events of a run by that recipe."""
    recipe = recipe or ten_steps(dataset)
    return list(start_run(path, dataset, recipe, dataset_options={"seed": 0}, device="cpu", **keywords))
