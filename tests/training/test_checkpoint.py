"""Checkpoints: all comes back, damage is noticed, a failing disk loses nothing."""

import errno
import hashlib
import os
import random

import pytest
import safetensors.torch
import torch

from convscope.errors import CheckpointError, ResourceError
from convscope.training import checkpoint as checkpoints
from convscope.training import state
from convscope.training.checkpoint import load_checkpoint, remove_unfinished, save_checkpoint, weights_sum
from convscope.training.state import TrainingState

from .conftest import tiny_net


def state_at(step: int) -> TrainingState:
    return TrainingState(
        step=step,
        seconds=1.5,
        epoch_loss=0.1 + 0.2,
        epoch_correct=7,
        epoch_images=9,
        phase=1,
        optimizer={0: {"momentum_buffer": torch.full((4, 3, 3, 3), float(step))}, 3: {"step": torch.tensor(5.0)}},
    )


def load(folder):
    said: list[str] = []
    return load_checkpoint(folder, warn=said.append), said


def test_all_comes_back(tmp_path):
    model = tiny_net()
    event = save_checkpoint(tmp_path, model, state_at(3), log_bytes=77)
    (weights, state, log_bytes, weights_sha256), said = load(tmp_path)
    assert weights.keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in weights.items())
    expected = state_at(3)
    assert torch.equal(state.optimizer[0]["momentum_buffer"], expected.optimizer[0]["momentum_buffer"])
    assert state.optimizer[3]["step"] == 5
    state.optimizer = expected.optimizer = {}
    assert state == expected
    assert (log_bytes, said) == (77, [])
    assert event["name"] == "step-000000003"
    file = (tmp_path / "step-000000003" / "weights.safetensors").read_bytes()
    assert hashlib.sha256(file).hexdigest() == weights_sha256 == event["weights_sha256"] == weights_sum(tmp_path)


def test_a_file_in_parts_is_the_librarys_to_the_byte(monkeypatch):
    monkeypatch.setattr(state, "PART", 100)  # so that some are put together and others are not
    shared = torch.randn(3)
    tensors = {
        "channels last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "a number": torch.tensor(3),
        "nothing": torch.empty(0, 3),
        "tied": shared,
        "tied to it": shared,
        'quoted "ü"': torch.randn(3, 4).bfloat16(),
        **{str(kind): torch.ones(5, dtype=kind) for kind in (torch.float16, torch.float64, torch.bool, torch.uint8)},
    }
    dense = {name: value.clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    parts = list(state.serialize(tensors))
    assert len(parts) > 1
    assert b"".join(parts) == safetensors.torch.save(dense)
    assert b"".join(state.serialize({})) == safetensors.torch.save({})


def test_no_checkpoint_is_none(tmp_path):
    assert load(tmp_path / "none")[0] is None


def test_the_newest_and_the_one_before_are_kept(tmp_path):
    for step in (1, 2, 3, 10):
        save_checkpoint(tmp_path, tiny_net(), state_at(step), log_bytes=0)
    assert sorted(os.listdir(tmp_path)) == ["step-000000003", "step-000000010"]
    assert load(tmp_path)[0].state.step == 10


@pytest.mark.parametrize("name", ["weights.safetensors", "state.safetensors", "checkpoint.json"])
def test_damage_is_noticed_named_and_the_one_before_taken(name, tmp_path):
    for step in (1, 2):
        save_checkpoint(tmp_path, tiny_net(), state_at(step), log_bytes=0)
    path = tmp_path / "step-000000002" / name
    good = path.read_bytes()
    dice = random.Random(0)
    for trial in range(60):
        position = dice.randrange(len(good))
        flipped = bytes([good[position] ^ (1 << dice.randrange(8))])
        path.write_bytes(good[:position] if trial % 6 == 0 else good[:position] + flipped + good[position + 1 :])
        (_, state, *_), said = load(tmp_path)
        assert state.step == 1, f"{name}, byte {position}, trial {trial}"
        assert "step-000000002" in said[0]
        assert "damaged" in said[0]


def test_a_damaged_one_does_not_cost_the_spare(tmp_path):
    for step in (50, 100):
        save_checkpoint(tmp_path, tiny_net(), state_at(step), log_bytes=0)
    (tmp_path / "step-000000100" / "weights.safetensors").write_bytes(b"")
    assert load(tmp_path)[0].state.step == 50
    save_checkpoint(tmp_path, tiny_net(), state_at(60), log_bytes=0)
    assert sorted(os.listdir(tmp_path)) == ["step-000000050", "step-000000060"]


def test_all_damaged_is_an_error(tmp_path):
    save_checkpoint(tmp_path, tiny_net(), state_at(1), log_bytes=0)
    (tmp_path / "step-000000001" / "weights.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="all 1 checkpoints in .* are damaged"):
        load(tmp_path)


CALLS = ["open", "write", "fsync", "rename"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_every_operation_of_a_save_failing_in_turn(code, tmp_path, monkeypatch):
    """Whichever it is, the failure is told and the checkpoint before it can be read."""
    save_checkpoint(tmp_path, tiny_net(), state_at(1), log_bytes=0)
    failed = 0
    for failing in range(100):
        count = 0

        def counted(original, failing=failing):
            def call(*arguments, **keywords):
                nonlocal count
                count += 1
                if count == failing + 1:
                    raise OSError(code, os.strerror(code))
                return original(*arguments, **keywords)

            return call

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", counted(os.fsync))
            patch.setattr(os, "rename", counted(os.rename))
            patch.setattr(checkpoints, "write_synced", counted(checkpoints.write_synced))
            patch.setattr(checkpoints, "sync_folder", counted(checkpoints.sync_folder))
            try:
                save_checkpoint(tmp_path, tiny_net(), state_at(2), log_bytes=0)
            except ResourceError as error:
                assert error.exit_code == 6
                assert os.strerror(code) in str(error)
                assert load(tmp_path)[0].state.step in (1, 2)
                assert not list(tmp_path.glob(".step-*"))
                failed += 1
                continue
        break
    assert failed == count >= 9
    assert load(tmp_path)[0].state.step == 2


def test_an_unfinished_save_is_cleared_away(tmp_path):
    save_checkpoint(tmp_path, tiny_net(), state_at(1), log_bytes=0)
    (tmp_path / ".step-000000002.tmp").mkdir()
    assert load(tmp_path)[0].state.step == 1
    remove_unfinished(tmp_path)
    assert os.listdir(tmp_path) == ["step-000000001"]
