"""What is stored is used again for the same images and weights, and for nothing else."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from convscope.data.memory import dataset_in_memory
from convscope.errors import ResourceError
from convscope.methods.surveys import survey_store
from convscope.methods.surveys.survey_store import load_survey, stored_survey, weights_identity
from convscope.methods.surveys.tally import LayerSurvey
from convscope.types import Dataset, Network


def network() -> Network:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3))
    return Network(model, (0.5,) * 3, (0.25,) * 3, (8, 8), ("a", "b"), "tiny")


def dataset(seed: int = 0) -> Dataset:
    drawn = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (30, 3, 8, 8), generator=drawn, dtype=torch.uint8)
    half = pixels, torch.arange(30) % 2
    return dataset_in_memory("noise", half, half, ("a", "b"), source="drawn here")


@pytest.fixture
def passes(monkeypatch) -> list[list[str]]:
    """The layers of each pass over the images that was made."""
    made: list[list[str]] = []
    survey = survey_store.survey

    def counted(network: Network, dataset: Dataset, layers: list[str], **options: Any) -> dict[str, LayerSurvey]:
        made.append(layers)
        return survey(network, dataset, layers, **options)

    monkeypatch.setattr(survey_store, "survey", counted)
    return made


def same(first: LayerSurvey, second: LayerSurvey) -> bool:
    names = [each.name for each in dataclasses.fields(LayerSurvey)]
    return all(
        np.array_equal(getattr(first, name), getattr(second, name))
        and getattr(first, name).dtype == getattr(second, name).dtype
        for name in names
    )


def test_second_time_no_image_is_looked_at(tmp_path: Path, passes):
    first = stored_survey(network(), dataset(), store=tmp_path)
    second = stored_survey(network(), dataset(), store=tmp_path)
    assert passes == [["0", "2"]]
    assert list(first) == list(second)
    assert all(same(first[name], second[name]) for name in first)


def test_only_missing_layers_are_added(tmp_path: Path, passes):
    stored_survey(network(), dataset(), ["0"], store=tmp_path)
    stored_survey(network(), dataset(), ["2", "0"], store=tmp_path)
    found = stored_survey(network(), dataset(), ["1", "2", "0"], store=tmp_path)
    assert passes == [["0"], ["2"], ["1"]]
    fresh = stored_survey(network(), dataset(), ["1", "2", "0"], store=None)
    assert all(same(found[name], fresh[name]) for name in fresh)


def test_fewer_images_are_taken_from_more_and_more_are_searched_anew(tmp_path: Path, passes):
    few = stored_survey(network(), dataset(), ["0"], store=tmp_path, count=3)["0"]
    nine = stored_survey(network(), dataset(), ["0"], store=tmp_path)["0"]
    assert few.values.shape == (4, 3)
    np.testing.assert_array_equal(few.images, nine.images[:, :3])
    assert len(passes) == 1
    assert stored_survey(network(), dataset(), ["0"], store=tmp_path, count=12)["0"].values.shape == (4, 12)
    assert len(passes) == 2


def test_both_halves_are_stored(tmp_path: Path, passes):
    for split in ("train", "test", "train", "test"):
        stored_survey(network(), dataset(), ["0"], store=tmp_path, split=split)
    assert len(passes) == 2


@pytest.mark.parametrize("change", ["images", "weights", "weights of a file", "statistics"])
def test_other_images_and_weights_are_not_taken_for_these(tmp_path: Path, passes, change):
    net = network()
    if change == "weights of a file":
        net = dataclasses.replace(net, weights_sha256="f" * 64)
    stored_survey(net, dataset(), ["0"], store=tmp_path)
    data = dataset(seed=1 if change == "images" else 0)
    if change.startswith("weights"):
        net.model[0].weight.data[0, 0, 0, 0] += 1
    if change == "statistics":
        net = dataclasses.replace(net, mean=(0.4,) * 3)
    found = stored_survey(net, data, ["0"], store=tmp_path)["0"]
    assert len(passes) == 2
    assert same(found, stored_survey(net, data, ["0"], store=None)["0"])


@pytest.mark.parametrize("file", ["train.safetensors", "train.json"])
@pytest.mark.parametrize("damage", ["a bit", "cut off", "missing", "foreign"])
def test_what_is_damaged_is_made_anew(tmp_path: Path, passes, file, damage):
    expected = stored_survey(network(), dataset(), ["0"], store=tmp_path)["0"]
    path = tmp_path / "survey" / file
    data = bytearray(path.read_bytes())
    if damage == "a bit":
        data[len(data) // 2] ^= 1
    if damage == "cut off":
        del data[len(data) // 2 :]
    if damage == "foreign":
        data = bytearray(b"[1, 2]")
    path.unlink() if damage == "missing" else path.write_bytes(data)
    assert load_survey(tmp_path / "survey", "train") == ({}, {})
    assert same(stored_survey(network(), dataset(), ["0"], store=tmp_path)["0"], expected)
    assert len(passes) == 2
    assert list(load_survey(tmp_path / "survey", "train")[1]) == ["0"]


def test_hash_of_weights_tells_names_shapes_and_values_apart():
    def hashed(model: nn.Module) -> str:
        return weights_identity(dataclasses.replace(network(), model=model))

    assert hashed(network().model) == hashed(network().model)
    models = [nn.Linear(2, 3), nn.Linear(3, 2), nn.Sequential(nn.Linear(2, 3)), nn.BatchNorm2d(1).bfloat16()]
    assert len({hashed(model) for model in models}) == len(models)


def test_folder_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "survey").write_text("in the way")
    with pytest.raises(ResourceError, match="cannot save the survey in .*survey: .*; make room there"):
        stored_survey(network(), dataset(), ["0"], store=tmp_path)
