"""However often it is stopped, what is drawn in the end is what one long call draws."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load
from torch import nn

from convscope.data.memory import dataset_in_memory
from convscope.errors import ResourceError, UsageError
from convscope.methods.ascents import pattern_store
from convscope.methods.ascents.maximize_all import drawn_picture, maximize_within
from convscope.methods.maximize import maximize
from convscope.types import Dataset, Network


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    model.append(nn.Flatten()).append(nn.Linear(5, 2))
    return Network(model, (0.5,) * 3, (0.25,) * 3, (8, 8), ("a", "b"), "tiny")


@pytest.fixture
def dataset() -> Dataset:
    pixels = torch.randint(0, 256, (20, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(20) % 2
    return dataset_in_memory("noise", (pixels, labels), (pixels[:2], labels[:2]), ("a", "b"), source="here")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Four channels a part, in rounds of few steps: 2 + 2 + 1 parts a round."""
    monkeypatch.setattr("convscope.methods.ascents.excite.PIXELS", 4 * 2 * 64)
    monkeypatch.setattr(pattern_store, "ROUNDS", (2, 4, 8))


@pytest.fixture
def clock(monkeypatch):
    """A clock that advances by a second whenever a part is drawn, more slowly the more steps it takes."""

    class Clock:
        now, drawn = 0.0, 0

        def excite(self, *arguments, steps, **options):
            self.now, self.drawn = self.now + steps, self.drawn + 1
            return original(*arguments, steps=steps, **options)

    clock, original = Clock(), pattern_store.excite
    monkeypatch.setattr(pattern_store.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(pattern_store, "excite", clock.excite)
    return clock


def contents(store: Path) -> dict[str, dict[str, torch.Tensor]]:
    found = {str(path.relative_to(store)): load(path.read_bytes()) for path in store.rglob("*.safetensors")}
    for tensors in found.values():
        tensors.pop("seconds", None)
    return found


def test_resumed_runs_equal_one_that_was_not_stopped(network, dataset, tmp_path, clock):
    whole = maximize_within(network, tmp_path / "whole", dataset, budget=1000)
    assert whole == {"0": [8] * 6, "2": [8] * 5, "6": [8] * 2}
    assert clock.drawn == 15
    calls = 0
    while maximize_within(network, tmp_path / "parts", dataset, budget=9) != whole:
        calls += 1
        assert calls < 20
    assert calls > 5
    assert clock.drawn == 30  # nothing was drawn twice
    one, many = contents(tmp_path / "whole"), contents(tmp_path / "parts")
    assert one.keys() == many.keys()
    for name, tensors in one.items():
        for key, tensor in tensors.items():
            assert torch.equal(tensor, many[name][key]), (name, key)


def test_every_channel_is_drawn_coarsely_before_any_is_refined(network, tmp_path, clock):
    assert maximize_within(network, tmp_path, budget=9) == {"0": [2] * 6, "2": [2] * 5, "6": [2] * 2}
    assert maximize_within(network, tmp_path, budget=5) == {"0": [4] * 4 + [2] * 2, "2": [2] * 5, "6": [2] * 2}


def test_part_that_would_take_too_long_is_not_begun(network, tmp_path, clock):
    maximize_within(network, tmp_path, budget=10)
    assert clock.drawn == 5
    maximize_within(network, tmp_path, budget=3.9)  # a part of four steps takes four seconds
    assert clock.drawn == 5
    maximize_within(network, tmp_path, budget=4.1)
    assert clock.drawn == 6


@pytest.mark.parametrize("within", ["between", "drawing"])
def test_interruption_keeps_what_is_drawn(network, tmp_path, monkeypatch, within):
    original, calls = pattern_store.excite, 0

    def interrupted(*arguments, **options):
        nonlocal calls
        calls += 1
        if calls == 3 and within == "between":
            raise KeyboardInterrupt
        return replace(original(*arguments, **options), interrupted=calls == 3)

    monkeypatch.setattr(pattern_store, "excite", interrupted)
    assert maximize_within(network, tmp_path, budget=100) == {"0": [2] * 6, "2": [0] * 5, "6": [0] * 2}


def test_drawn_picture_shows_what_maximize_draws(network, dataset, tmp_path):
    maximize_within(network, tmp_path, dataset, budget=100, layers=["2"], seed=3)
    stored = drawn_picture(network, tmp_path, "2", [4, 1], dataset, seed=3)
    direct = maximize(network, "2", [4, 1], dataset, steps=8, seed=3)
    np.testing.assert_allclose(stored.values, direct.values, atol=0.51 / 255 + 2e-3)
    assert stored.captions == direct.captions
    assert stored.numbers.keys() == direct.numbers.keys()
    np.testing.assert_allclose(stored.numbers["ratio"], direct.numbers["ratio"], rtol=1e-3)
    assert stored.provenance["Steps"] == "8"
    assert len(drawn_picture(network, tmp_path, "2", None, dataset, seed=3).values) == 5


def test_drawn_picture_takes_the_finest_of_each_channel(network, tmp_path, clock):
    maximize_within(network, tmp_path, budget=9)
    maximize_within(network, tmp_path, budget=5)
    picture = drawn_picture(network, tmp_path, "0")
    assert picture.provenance["Steps"] == "2, 4"
    finer, coarser = (maximize(network, "0", [channel], steps=steps) for channel, steps in ((3, 4), (4, 2)))
    np.testing.assert_allclose(picture.values[3:5], [finer.values[0], coarser.values[0]], atol=4e-3)


def test_one_folder_serves_all_weights_seeds_and_datasets(network, dataset, tmp_path, clock):
    maximize_within(network, tmp_path, dataset, budget=100, layers=["6"])
    first = drawn_picture(network, tmp_path, "6", None, dataset)
    assert clock.drawn == 3
    maximize_within(network, tmp_path, dataset, budget=100, layers=["6"], seed=1)
    maximize_within(network, tmp_path, budget=100, layers=["6"])
    assert clock.drawn == 9
    others = drawn_picture(network, tmp_path, "6", None, dataset, seed=1), drawn_picture(network, tmp_path, "6")
    assert [each.provenance["Statistics"] for each in others] == ["noise", "assumed"]
    for other in others:
        assert np.abs(other.values - first.values).max() > 0.01
    folders = sorted((tmp_path / "maximize").iterdir())
    assert len(folders) == 3
    for folder in folders:
        record = (folder / "maximize.json").read_bytes()
        assert folder.name == hashlib.sha256(record).hexdigest()[:12]
    kept = network.model[0].bias.data
    network.model[0].bias.data = kept + 1
    with pytest.raises(UsageError, match="no pictures of 6 in .* yet; draw them with maximize_within"):
        drawn_picture(network, tmp_path, "6", None, dataset)
    network.model[0].bias.data = kept
    with pytest.raises(UsageError, match="no pictures of 6 in"):  # the same weights, fed otherwise
        drawn_picture(replace(network, mean=(0.4,) * 3), tmp_path, "6", None, dataset)
    maximize_within(network, tmp_path, dataset, budget=100, layers=["6"])
    assert clock.drawn == 9
    np.testing.assert_array_equal(drawn_picture(network, tmp_path, "6", None, dataset).values, first.values)


def test_what_is_not_drawn_yet_is_said(network, tmp_path):
    maximize_within(network, tmp_path, budget=100, layers=["6"])
    with pytest.raises(UsageError, match="no pictures of 0 in .* yet; draw them with maximize_within"):
        drawn_picture(network, tmp_path, "0")
    with pytest.raises(UsageError, match="no channel 5 in 6; allowed: 0 to 1"):
        drawn_picture(network, tmp_path, "6", 5)


def test_budgets_and_disks_that_do_not_work_are_refused(network, tmp_path):
    with pytest.raises(UsageError, match="budget 0; allowed: more than 0 seconds"):
        maximize_within(network, tmp_path, budget=0.0)
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="cannot save pictures in .*file"):
        maximize_within(network, tmp_path / "file", budget=1)


@pytest.mark.parametrize("damaged", ["2-steps-0-1", "8-steps-0-1", "dataset"])
@pytest.mark.parametrize("kept", [0, 40, -1])
def test_damaged_file_is_drawn_again(network, dataset, tmp_path, damaged, kept):
    maximize_within(network, tmp_path, dataset, budget=100, layers=["6"])
    whole = contents(tmp_path)
    picture = drawn_picture(network, tmp_path, "6", None, dataset)
    (path,) = tmp_path.rglob(f"{damaged}.safetensors")
    path.write_bytes(path.read_bytes()[:kept])
    without = drawn_picture(network, tmp_path, "6", None, dataset)
    assert without.provenance["Steps"] == ("4" if damaged.startswith("8") else "8")
    assert maximize_within(network, tmp_path, dataset, budget=100, layers=["6"]) == {"6": [8, 8]}
    for name, tensors in contents(tmp_path).items():
        for key, tensor in tensors.items():
            assert torch.equal(tensor, whole[name][key]), (name, key)
    again = drawn_picture(network, tmp_path, "6", None, dataset)
    np.testing.assert_array_equal(again.values, picture.values)
    assert again.numbers == picture.numbers
