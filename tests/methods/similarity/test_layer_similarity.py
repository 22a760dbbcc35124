"""Linear CKA equals the paper's formula written out, and has the invariances that it proves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from convscope.data.memory import dataset_in_memory
from convscope.errors import NumericsError, UsageError
from convscope.hooks import frozen_eval, record_outputs
from convscope.methods.needs import spread_evenly
from convscope.methods.similarity import layer_similarity as module
from convscope.methods.similarity.layer_similarity import compared_layers, gram_matrices, layer_similarity
from convscope.types import Dataset, Network

COUNT = 30


def small(seed: int = 0, width: int = 6) -> Network:
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.Conv2d(width, 4, 3), nn.ReLU()
    )
    model.extend([nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5)])
    return Network(model, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25), (10, 10), ("a", "b", "c", "d", "e"), "small")


@pytest.fixture
def dataset() -> Dataset:
    drawn = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (COUNT, 3, 10, 10), generator=drawn, dtype=torch.uint8)
    halves = (pixels[:10], torch.arange(10) % 5), (pixels, torch.arange(COUNT) % 5)
    return dataset_in_memory("noise", *halves, tuple("abcde"), source="drawn here")


def activations(network: Network, dataset: Dataset, layer: str) -> np.ndarray:
    """All of them at once, (N, features) float64."""
    with frozen_eval(network.model), torch.no_grad():
        fed = network.normalize(dataset.test.images.pixels.float() / 255)
        return record_outputs(network.model, fed, [layer])[layer].flatten(1).double().numpy()


def slow_cka(first: np.ndarray, second: np.ndarray) -> float:
    """HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) with HSIC(K, L) = tr(KHLH) / (n - 1)²: equations 3 and 4."""
    n = len(first)
    centring = np.eye(n) - np.ones((n, n)) / n

    def hsic(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741 - the paper's letter
        return np.trace(k @ centring @ l @ centring) / (n - 1) ** 2

    k, l = first @ first.T, second @ second.T  # noqa: E741
    return hsic(k, l) / np.sqrt(hsic(k, k) * hsic(l, l))


def test_it_is_the_papers_formula_in_both_forms(dataset, monkeypatch):
    networks = small(0), small(1, width=9)
    monkeypatch.setattr(module, "PART", 7)
    monkeypatch.setattr(module, "batch_limit", lambda _: 28)  # batches of 7, the last of 2
    monkeypatch.setattr(module, "HELD", 1)  # a pass for each layer
    grams = [gram_matrices(network, dataset) for network in networks]
    assert [list(gram) for gram in grams] == [["2", "4", "7"]] * 2
    found = layer_similarity(*grams)
    for row, layer in enumerate(grams[0]):
        for column, other in enumerate(grams[1]):
            first, second = activations(networks[0], dataset, layer), activations(networks[1], dataset, other)
            assert found[row, column] == pytest.approx(slow_cka(first, second), abs=1e-6)
            x, y = first - first.mean(0), second - second.mean(0)
            by_features = np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
            assert found[row, column] == pytest.approx(by_features, abs=1e-6)


def test_batches_and_passes_change_nothing(dataset, monkeypatch):
    network = small()
    whole = gram_matrices(network, dataset)
    monkeypatch.setattr(module, "HELD", 1)
    monkeypatch.setattr(module, "batch_limit", lambda _: 12)
    for layer, gram in gram_matrices(network, dataset).items():
        np.testing.assert_allclose(gram, whole[layer], rtol=1e-5, atol=1e-6)


def test_a_network_with_itself_has_ones_on_the_diagonal(dataset):
    grams = gram_matrices(small(), dataset)
    found = layer_similarity(grams, grams)
    np.testing.assert_allclose(np.diag(found), 1)
    np.testing.assert_allclose(found, found.T)
    assert found[0, 2] < 0.99


def test_turned_mirrored_scaled_and_shifted_is_the_same_but_stretched_is_not(dataset):
    network, turned, stretched = (small() for _ in range(3))
    square, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    head = turned.model[7]
    head.weight.data = (3 * square @ head.weight.data.double()).float()
    head.bias.data += 5
    stretched.model[7].weight.data[0] *= 30
    grams = [gram_matrices(each, dataset, ["7"]) for each in (network, turned, stretched)]
    assert layer_similarity(grams[0], grams[1])[0, 0] == pytest.approx(1, abs=1e-6)
    assert layer_similarity(grams[0], grams[2])[0, 0] < 0.95


def test_a_layer_that_says_nothing_is_like_none(dataset):
    silent = small()
    silent.model[7].weight.data.zero_()
    grams = gram_matrices(silent, dataset)
    found = layer_similarity(grams, grams)
    assert found[2].tolist() == [0, 0, 0]
    assert found[0, 0] == pytest.approx(1)


def test_only_some_images_count_and_large_maps_are_averaged(dataset, monkeypatch):
    network = small()
    found = gram_matrices(network, dataset, ["4"], count=3)["4"]
    x = activations(network, dataset, "4")[[0, 14, 29]]
    np.testing.assert_allclose(found, (x - x.mean(0)) @ (x - x.mean(0)).T, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(module, "MAP_SIDE", 3)  # of maps 6 wide: the mean of each two by two
    pooled = x.reshape(3, 4, 3, 2, 3, 2).mean((3, 5)).reshape(3, -1)
    centred = pooled - pooled.mean(0)
    averaged = gram_matrices(network, dataset, ["4"], count=3)["4"]
    np.testing.assert_allclose(averaged, centred @ centred.T, rtol=1e-5, atol=1e-6)


def test_layers_compared_are_relus_and_the_head_or_convolutions():
    assert compared_layers(small()) == ["2", "4", "7"]
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.GELU(), nn.Flatten())
    assert compared_layers(Network(model, (0.5,) * 3, (0.5,) * 3, (8, 8), (), "smooth")) == ["0"]


def test_mistakes_and_what_is_not_finite_are_told(dataset):
    network = small()
    with pytest.raises(UsageError, match='no layer "9" in small'):
        gram_matrices(network, dataset, ["9"], count=3)
    network.model[0].bias.data[0] = torch.inf
    with pytest.raises(NumericsError, match='layer "2" gives values that are not finite'):
        gram_matrices(network, dataset, count=3)


def test_the_model_is_left_as_it_was(dataset):
    network = small()
    before = {key: value.clone() for key, value in network.model.state_dict().items()}
    gram_matrices(network, dataset, count=3)
    assert all(module.training for module in network.model.modules())
    assert all(torch.equal(before[key], value) for key, value in network.model.state_dict().items())


def test_images_are_spread_evenly():
    assert spread_evenly(1000, 5).tolist() == [0, 250, 500, 749, 999]
    assert spread_evenly(3, 5).tolist() == [0, 1, 2]
