"""A run folder is all that is needed to look at a run; what is damaged or other than it was is named."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from convscope.data import load_dataset
from convscope.errors import CheckpointError, DataError, UsageError
from convscope.training.run import open_run
from tests.training.runs import start, ten_steps


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="module")
def trained(digits, tmp_path_factory):
    """A run folder, and the events of its training."""
    path = tmp_path_factory.mktemp("trained") / "run"
    return path, start(path, digits, command="convscope train digits")


@pytest.fixture
def copy(trained, tmp_path):
    """A copy of it, to be changed."""
    return Path(shutil.copytree(trained[0], tmp_path / "run"))


def test_a_run_folder_is_all_that_is_needed_afterwards(digits, trained):
    path, events = trained
    run = open_run(str(path))
    assert run.events() == [dataclasses.replace(event, data=dict(event.data)) for event in events]
    assert run.config["recipe"] == json.loads(json.dumps(dataclasses.asdict(ten_steps(digits))))
    assert run.config["dataset"]["fingerprint"] == digits.fingerprint
    assert run.dataset().fingerprint == digits.fingerprint
    network = run.network(say=print)
    images = next(digits.test.images.batches([torch.arange(360)])).float() / 255
    with torch.inference_mode():
        accuracy = (network(images).argmax(1) == digits.test.labels).float().mean().item()
    assert accuracy == pytest.approx(run.results()["test_accuracy"])
    with pytest.raises(UsageError, match="holds a run already"):
        start(path, digits)


def test_a_damaged_newest_checkpoint_is_named(copy):
    (copy / "checkpoints" / "step-000000010" / "weights.safetensors").write_bytes(b"")
    said: list[str] = []
    network = open_run(str(copy)).network(say=said.append)
    assert "step-000000010/weights.safetensors is damaged" in said[0]
    file = copy / "checkpoints" / "step-000000005" / "weights.safetensors"
    assert network.weights_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("wrong", [None, [], {}, "x", 3])
@pytest.mark.parametrize("place", ["recipe", "dataset", "model", "recipe.phases", "dataset.name", "dataset.mean"])
def test_a_run_json_of_other_things_is_damaged(copy, place, wrong):
    config = json.loads((copy / "run.json").read_bytes())
    *above, key = place.split(".")
    (config[above[0]] if above else config)[key] = wrong
    (copy / "run.json").write_text(json.dumps(config))
    if (place, wrong) in [("model", {}), ("dataset.name", "x")]:
        return  # of the right kind
    with pytest.raises(CheckpointError, match=r"run\.json"):
        open_run(str(copy)).network(say=print)


def test_other_images_are_noticed(digits, copy):
    path = copy / "run.json"
    path.write_text(path.read_text().replace(digits.fingerprint, "0" * 64))
    with pytest.raises(DataError, match=r"not those that .* was trained on: fingerprint"):
        open_run(str(copy)).dataset()
