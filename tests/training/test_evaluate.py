"""Evaluation: counted by hand."""

import pytest
import torch
import torch.nn.functional as F

from convscope.training.evaluate import evaluate
from convscope.types import Network

from .conftest import tiny_net


def test_loss_accuracy_and_confusion_are_what_counting_gives(dataset):
    model = tiny_net()
    network = Network(model, dataset.mean, dataset.std, (8, 8), dataset.class_names, name="tiny")
    found = evaluate(network, dataset.train, device=torch.device("cpu"))
    assert model.training
    model.eval()
    with torch.no_grad():
        logits = network(dataset.train.images.images.float() / 255)
    counted = torch.zeros(3, 3, dtype=torch.int64)
    for true, said in zip(dataset.train.labels.tolist(), logits.argmax(1).tolist(), strict=True):
        counted[true, said] += 1
    assert torch.equal(found.confusion, counted)
    assert found.accuracy == counted.diagonal().sum().item() / 50
    assert found.loss == pytest.approx(F.cross_entropy(logits, dataset.train.labels).item(), rel=1e-5)
