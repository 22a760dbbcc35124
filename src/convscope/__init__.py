"""Train a convolutional network and see what it learned.

    Dataset ──train(model, dataset, recipe)──► Event, Event, … ──► run folder
    run folder | any nn.Module ──────────────► Network (model + mean/std + input size + class names)
    method(network, layer, channel, image, dataset) ──► Picture
    Picture ──► PNG · report.html

The names below, in the order of that flow, are what convscope promises; each is imported when it is asked for, so
that importing convscope does not import torch. `train` is the generator of events itself;
`start_run` is the same in a run folder, with log, checkpoints and film.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convscope.data import load_dataset as load_dataset
    from convscope.errors import ConvscopeError as ConvscopeError
    from convscope.exports.network_file import export_network as export_network
    from convscope.methods.ascents.maximize_all import drawn_picture as drawn_picture
    from convscope.methods.ascents.maximize_all import maximize_within as maximize_within
    from convscope.methods.attribute import attribute as attribute
    from convscope.methods.dream import dream as dream
    from convscope.methods.feature_maps import feature_maps as feature_maps
    from convscope.methods.filters import filters as filters
    from convscope.methods.invert import invert as invert
    from convscope.methods.maximize import maximize as maximize
    from convscope.methods.reconstruct import reconstruct as reconstruct
    from convscope.methods.top_images import top_images as top_images
    from convscope.models import build_model as build_model
    from convscope.models.zoo import zoo_network as zoo_network
    from convscope.paint import save_png as save_png
    from convscope.picture_files import save_picture as save_picture
    from convscope.report.live_curves import live_curves as live_curves
    from convscope.report.report import write_report as write_report
    from convscope.training.loop import train as train
    from convscope.training.recipes import get_recipe as get_recipe
    from convscope.training.run import open_run as open_run
    from convscope.training.start import start_run as start_run
    from convscope.types import Augmentation as Augmentation
    from convscope.types import Dataset as Dataset
    from convscope.types import Event as Event
    from convscope.types import Network as Network
    from convscope.types import Phase as Phase
    from convscope.types import Picture as Picture
    from convscope.types import Recipe as Recipe

__version__ = "0.5.0"

_PLACES = {
    "load_dataset": "convscope.data",
    "Dataset": "convscope.types",
    "get_recipe": "convscope.training.recipes",
    "Recipe": "convscope.types",
    "Phase": "convscope.types",
    "Augmentation": "convscope.types",
    "build_model": "convscope.models",
    "Event": "convscope.types",
    "train": "convscope.training.loop",
    "start_run": "convscope.training.start",
    "live_curves": "convscope.report.live_curves",
    "open_run": "convscope.training.run",
    "Network": "convscope.types",
    "zoo_network": "convscope.models.zoo",
    "filters": "convscope.methods.filters",
    "feature_maps": "convscope.methods.feature_maps",
    "maximize": "convscope.methods.maximize",
    "maximize_within": "convscope.methods.ascents.maximize_all",
    "drawn_picture": "convscope.methods.ascents.maximize_all",
    "reconstruct": "convscope.methods.reconstruct",
    "invert": "convscope.methods.invert",
    "top_images": "convscope.methods.top_images",
    "attribute": "convscope.methods.attribute",
    "dream": "convscope.methods.dream",
    "Picture": "convscope.types",
    "save_png": "convscope.paint",
    "save_picture": "convscope.picture_files",
    "write_report": "convscope.report.report",
    "export_network": "convscope.exports.network_file",
    "ConvscopeError": "convscope.errors",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'convscope' has no attribute {name!r}")


__all__ = list(_PLACES)  # pyright: ignore[reportUnsupportedDunderAll] - the names above, in the order of the flow
