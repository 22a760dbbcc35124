"""Weights from files: what fits, what does not, and what is refused."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from convscope.errors import CheckpointError
from convscope.models import build_model
from convscope.models.weights import freeze_all_but_head, head_name, load_weights, read_weights


def test_all_entries_fit(tmp_path):
    source = build_model("resnet8", class_count=10, seed=1)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    model = build_model("resnet8", class_count=10, seed=2)
    assert load_weights(model, read_weights(tmp_path / "w.safetensors"), source="w") == []
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), source.state_dict().values(), strict=True)
    )


def test_other_classes_keep_the_new_head():
    source = build_model("resnet8", class_count=100, seed=1).state_dict()
    model = build_model("resnet8", class_count=10, seed=2)
    head = model.fc.weight.clone()
    assert load_weights(model, source, source="w") == ["fc.bias", "fc.weight"]
    assert torch.equal(model.fc.weight, head)
    assert torch.equal(model.conv1.weight, source["conv1.weight"])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda w: w.pop("layer2.0.conv1.weight"), r"w lacks 1 of the \d+ entries.*layer2.0.conv1.weight.*--model"),
        (lambda w: w.update({"conv1.weight": torch.zeros(16, 3, 5, 5)}), r"conv1.weight is \(16, 3, 5, 5\) in w and"),
    ],
)
def test_weights_of_another_model_change_nothing(spoil, message):
    weights = build_model("resnet8", class_count=10, seed=1).state_dict()
    spoil(weights)
    model = build_model("resnet8", class_count=10, seed=2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        load_weights(model, weights, source="w")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_pickle_is_refused(tmp_path):
    (tmp_path / "w.pt").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(CheckpointError, match=r"w.pt is a pickle by its name; .* with --allow-pt"):
        read_weights(tmp_path / "w.pt")
    (tmp_path / "w.pt").rename(tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"w.safetensors is not a readable safetensors file"):
        read_weights(tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="no weights at"):
        read_weights(tmp_path / "none.safetensors")


def test_a_header_without_end_is_not_read(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes((20_000_000).to_bytes(8, "little") + b"{}")
    with pytest.raises(CheckpointError, match="a header of 20,000,000 bytes, at most 10,000,000 are allowed"):
        read_weights(path)


@pytest.mark.parametrize("kind", [torch.int32, torch.bool, torch.complex64])
def test_another_kind_of_numbers_is_no_weight(kind):
    weights = build_model("resnet8", class_count=10, seed=1).state_dict()
    weights["conv1.weight"] = weights["conv1.weight"].to(kind)
    with pytest.raises(CheckpointError, match=r"conv1.weight is torch\.\w+ in w and torch.float32 in the model"):
        load_weights(build_model("resnet8", class_count=10, seed=2), weights, source="w")


def test_freeze_leaves_the_head():
    model = build_model("resnet8", class_count=10, seed=1)
    freeze_all_but_head(model)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {"fc.weight", "fc.bias"}
    assert head_name(model) == "fc"
    with pytest.raises(CheckpointError, match="no linear layer in Conv2d"):
        head_name(torch.nn.Conv2d(3, 4, 3))
