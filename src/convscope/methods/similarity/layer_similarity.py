"""How alike two networks represent the same images, layer by layer: linear centred kernel alignment (CKA)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float64
from torch import Tensor, nn

from convscope.errors import NumericsError
from convscope.hooks import convolutions, frozen_eval, like_model, list_layers, observe_outputs, resolve_layer
from convscope.methods.depths import head_layer
from convscope.methods.needs import batch_limit, spread_evenly
from convscope.types import Dataset, Network, Progress, no_progress

IMAGES = 1000  # of fewer, layers of many more features than images look more alike than they are
MAP_SIDE = 32  # finer maps are averaged to so many positions a side: those of images up to 32×32 are not
HELD = 2**29  # bytes of activations held at a time
PART = 4096  # features multiplied at a time


def layer_similarity(
    first: Mapping[str, Float64[np.ndarray, "N N"]], other: Mapping[str, Float64[np.ndarray, "N N"]]
) -> Float64[np.ndarray, "L M"]:
    """The linear CKA in [0, 1] of each layer of one network (rows) with each of the other, from `gram_matrices`.

    It is ⟨K, L⟩ / (‖K‖ ‖L‖) with Frobenius products of the centred Gram matrices K = XXᵀ and L = YYᵀ, which for
    centred activations X and Y equals ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖): Kornblith et al. 2019 (arXiv:1905.00414), section 3,
    with linear kernels. 1 says that one is the other turned, mirrored and scaled as a whole; 0 stands where a layer
    gives the same for every image. Both must be of the same images in the same order.

    >>> gram = {"a": np.array([[1.0, -1.0], [-1.0, 1.0]])}
    >>> layer_similarity(gram, gram).tolist()
    [[1.0]]
    """
    rows, columns = (np.stack([gram.ravel() for gram in grams.values()]) for grams in (first, other))
    norms = np.outer(np.linalg.norm(rows, axis=1), np.linalg.norm(columns, axis=1))
    products = rows @ columns.T
    return np.divide(products, norms, out=np.zeros_like(norms), where=norms > 0).clip(0, 1)


def gram_matrices(
    network: Network,
    dataset: Dataset,
    layers: Iterable[str] | None = None,
    *,
    count: int = IMAGES,
    progress: Progress = no_progress,
) -> dict[str, Float64[np.ndarray, "N N"]]:
    """Of each layer, by dotted name, how alike it finds each test image to each: XXᵀ, X centred.

    X is (N, features): the layer's outputs in evaluation mode, all channels and positions in a row as in Kornblith et
    al. 2019, since means over positions would say of an early layer little more than how bright an image is; each
    feature less its mean. Maps larger than 32×32 are averaged to that. The N are `count` images, evenly spaced, or
    all. Centred and summed in float64. Images go through in small batches, layers in as many passes as keep what is
    held under half a gigabyte; the result depends on neither. `layers` defaults to `compared_layers`.

    Raises UsageError for a layer that is unknown or does not run, NumericsError for values that are not finite.

    >>> from convscope.data import load_dataset
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3600, 10))
    >>> network = Network(model, (0.5,) * 3, (0.5,) * 3, (32, 32), (), "tiny")
    >>> grams = gram_matrices(network, load_dataset("digits"), count=20)
    >>> {layer: gram.shape for layer, gram in grams.items()}
    {'1': (20, 20), '3': (20, 20)}
    """
    wanted = compared_layers(network) if layers is None else layers
    names = [resolve_layer(network.model, name, model_name=network.name) for name in wanted]
    images, chosen = dataset.test.images, spread_evenly(len(dataset.test.labels), count)
    grams: dict[str, Float64[np.ndarray, "N N"]] = {}
    batches = chosen.split(max(1, batch_limit(images.shape[2:]) // 4))
    passes = list(_passes(network, names, images.shape, len(chosen)))
    for number, together in enumerate(passes):
        held: dict[str, list[Tensor]] = {name: [] for name in together}

        def keep(name: str, output: Tensor, held: dict[str, list[Tensor]] = held) -> None:
            held[name].append(_features(output))

        with frozen_eval(network.model), torch.inference_mode():
            for place, pixels in enumerate(images.batches(batches)):
                progress("layers", number * len(batches) + place, len(passes) * len(batches))
                inputs = like_model(network.model, pixels) / 255
                observe_outputs(network.model, network.normalize(inputs), together, keep)
            for name in together:
                grams[name] = _gram(held.pop(name), layer=name)
    progress("layers", len(passes) * len(batches), len(passes) * len(batches))
    return grams


def compared_layers(network: Network) -> list[str]:
    """The dotted names of the layers that are compared, in order: each ReLU, which is what the next layer is fed.

    Convolutions where there are no ReLUs; and the head, which gives the classes' scores.
    """
    listed = list_layers(network.model, network.input_size, channels=len(network.mean))
    running = [layer.name for layer in listed]
    found = [name for name in running if isinstance(network.model.get_submodule(name), nn.ReLU)]
    found = found or [name for name in convolutions(network.model) if name in running]
    head = head_layer(network)
    return [*found, head] if head in running else found


def _passes(network: Network, names: list[str], shape: tuple[int, int, int, int], count: int) -> Iterator[list[str]]:
    """The layers in their order, in groups whose activations for all images fit into HELD; at least one a group."""
    listed = list_layers(network.model, shape[2:4], channels=shape[1], blocks=True)
    sizes = {
        layer.name: 4
        * count
        * layer.output_shape[0]
        * math.prod(min(side, MAP_SIDE) for side in layer.output_shape[1:])
        for layer in listed
    }
    together: list[str] = []
    for name in names:
        if together and sum(sizes.get(each, 0) for each in [*together, name]) > HELD:
            yield together
            together = []
        together.append(name)
    if together:
        yield together


def _features(output: Tensor) -> Tensor:
    """All numbers of each image in a row, (N, features); large maps averaged first."""
    if output.ndim == 4 and max(output.shape[2:]) > MAP_SIDE:
        height, width = output.shape[2:]
        output = F.adaptive_avg_pool2d(output, (min(height, MAP_SIDE), min(width, MAP_SIDE)))
    return output.float().flatten(1).clone()


def _gram(batches: list[Tensor], *, layer: str) -> Float64[np.ndarray, "N N"]:
    """XXᵀ for features (N, features) in batches, each less its mean over the images."""
    count, features = sum(len(batch) for batch in batches), batches[0].shape[1]
    gram = batches[0].new_zeros(count, count, dtype=torch.float64)
    for begin in range(0, features, PART):
        centred = torch.cat([batch[:, begin : begin + PART].double() for batch in batches])
        centred -= centred.mean(0)
        gram.addmm_(centred, centred.T)
    if not bool(gram.isfinite().all()):
        raise NumericsError(f'layer "{layer}" gives values that are not finite')
    return gram.cpu().numpy()
