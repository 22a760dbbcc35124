"""A network's file gives the network's own logits elsewhere, says what it takes, and leaves the model alone."""

from __future__ import annotations

import copy
import json
import sys

import numpy as np
import pytest
import torch
from torch import nn

from convscope.errors import ConvscopeError, NumericsError, UsageError
from convscope.exports import network_file
from convscope.exports.network_file import export_network
from convscope.models import build_model
from convscope.types import Network

NAMES = ("chat", "chien", "été")


def network(model: nn.Module | None = None, *, channels: int = 3, size: tuple[int, int] = (12, 10)) -> Network:
    """A network with batch statistics and a dropout, which a training mode would show."""
    torch.manual_seed(0)
    made = model or nn.Sequential(
        nn.Conv2d(channels, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Dropout(0.5), nn.Linear(32, len(NAMES)),
    )  # fmt: skip
    made.train()
    with torch.no_grad():
        for module in made.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-1, 1)
                module.running_var.uniform_(0.5, 2)
    mean, std = (0.4, 0.5, 0.6)[:channels], (0.2, 0.3, 0.1)[:channels]
    return Network(made, mean, std, size, NAMES, "small", "c0ffee")


def by_hand(shown: Network, images: torch.Tensor) -> np.ndarray:
    """The logits of a copy in evaluation mode for images that are normalized here."""
    model = copy.deepcopy(shown.model).eval()
    mean, std = (torch.tensor(values)[None, :, None, None] for values in (shown.mean, shown.std))
    with torch.no_grad():
        return model((images - mean) / std).numpy()


@pytest.mark.parametrize("count", [1, 2, 7])
def test_onnx_gives_the_logits_of_the_network(tmp_path, count):
    onnxruntime = pytest.importorskip("onnxruntime")
    shown = network()
    written = export_network(shown, tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(str(written.path), providers=["CPUExecutionProvider"])
    images = torch.rand(count, 3, 12, 10)
    [logits] = session.run(["logits"], {"images": images.numpy()})
    assert logits.shape == (count, 3)
    np.testing.assert_allclose(logits, by_hand(shown, images), atol=1e-5)
    assert written.difference < 1e-5
    assert written.bytes == written.path.stat().st_size
    assert written.checked_by == f"onnxruntime {onnxruntime.__version__}"


def test_onnx_says_what_it_takes(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    export_network(network(), tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    [given], [answer] = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape, given.type) == ("images", ["batch", 3, 12, 10], "tensor(float)")
    assert (answer.name, answer.shape) == ("logits", ["batch", 3])
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["class_names"]) == list(NAMES)
    assert json.loads(said["input_size"]) == [12, 10]
    assert json.loads(said["mean"]) == [0.4, 0.5, 0.6]
    assert json.loads(said["std"]) == [0.2, 0.3, 0.1]
    assert said["input"] == "images: (N, 3, 12, 10) float32 in [0, 1]; it is normalized within"
    assert (said["name"], said["weights_sha256"]) == ("small", "c0ffee")


def test_a_program_gives_the_logits_of_the_network(tmp_path):
    shown = network()
    written = export_network(shown, tmp_path / "net.pt2")
    texts = {"convscope.json": ""}
    program = torch.export.load(tmp_path / "net.pt2", extra_files=texts)
    said = json.loads(texts["convscope.json"])
    assert json.loads(said["class_names"]) == list(NAMES)
    assert json.loads(said["input_size"]) == [12, 10]
    for count in (1, 2, 7):
        images = torch.rand(count, 3, 12, 10)
        np.testing.assert_allclose(program.module()(images).detach().numpy(), by_hand(shown, images), atol=1e-5)
    assert written.difference < 1e-5


@pytest.mark.parametrize("name", ["net.onnx", "net.pt2"])
def test_our_resnets_grey_images_and_doubles_are_taken(tmp_path, name):
    if name.endswith("onnx"):
        pytest.importorskip("onnxruntime")
    resnet = build_model("resnet8", class_count=3, seed=0).to(memory_format=torch.channels_last)
    assert export_network(network(resnet, size=(32, 32)), tmp_path / name).difference < 1e-4
    assert export_network(network(channels=1), tmp_path / name).difference < 1e-5
    double = network()
    double.model.double()
    assert export_network(double, tmp_path / name).difference < 1e-5
    assert double.model[0].weight.dtype == torch.float64


def test_the_model_is_left_as_it_was_found(tmp_path):
    shown = network()
    shown.model[0].weight.requires_grad_(False)
    shown.model[3].eval()
    shown.model[6].weight.grad = torch.ones_like(shown.model[6].weight)
    modes = [module.training for module in shown.model.modules()]
    state = copy.deepcopy(shown.model.state_dict())
    export_network(shown, tmp_path / "net.pt2")
    assert [module.training for module in shown.model.modules()] == modes
    assert [each.requires_grad for each in shown.model.parameters()] == [False, *[True] * 5]
    assert (shown.model[6].weight.grad == 1).all()
    assert all(torch.equal(value, state[key]) for key, value in shown.model.state_dict().items())
    assert not shown.model[0]._forward_hooks


class Wrong(nn.Module):
    """Another network in a copy, as the exporters get, than in the original."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(360, 3)
        self.shift, self.factor = 0.0, 1.0

    def forward(self, inputs):
        return self.linear(inputs.flatten(1)) + self.shift

    def __deepcopy__(self, memo):
        other = Wrong()
        other.load_state_dict(self.state_dict())
        other.shift = 0.01 * self.factor
        return other


def test_a_file_that_computes_something_else_is_not_written(tmp_path):
    with pytest.raises(ConvscopeError, match=r"other logits than small: they differ by 0\.01 for 1 random images"):
        export_network(network(Wrong()), tmp_path / "net.pt2")
    assert list(tmp_path.iterdir()) == []


def test_small_logits_are_held_to_their_own_size(tmp_path):
    wrong = Wrong()
    with torch.no_grad():
        for each in wrong.parameters():
            each.mul_(1e-9)
    wrong.factor = 1e-9
    with pytest.raises(ConvscopeError, match=r"they differ by 1e-11"):
        export_network(network(wrong), tmp_path / "net.pt2")


def test_a_network_of_no_numbers_is_not_exported(tmp_path):
    broken = network()
    with torch.no_grad():
        broken.model[0].weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(NumericsError, match="small gives logits that are not finite; nothing is written"):
        export_network(broken, tmp_path / "net.pt2")
    assert list(tmp_path.iterdir()) == []


class Choosy(nn.Module):
    """What an exporter cannot follow: the path depends on the numbers."""

    def forward(self, inputs):
        return inputs.flatten(1)[:, :3] if inputs.sum() > 0 else inputs.flatten(1)[:, 3:6]


@pytest.mark.parametrize("name", ["net.onnx", "net.pt2"])
def test_a_network_that_cannot_be_exported_is_told_in_one_line(tmp_path, name):
    if name.endswith("onnx"):
        pytest.importorskip("onnxruntime")
    with pytest.raises(UsageError) as caught:
        export_network(network(Choosy()), tmp_path / name)
    assert str(caught.value).startswith(f"small cannot be exported as {name[3:]}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert list(tmp_path.iterdir()) == []


def test_another_ending_and_a_missing_package_are_told(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"net\.pth; allowed: a name that ends in \.onnx or \.pt2"):
        export_network(network(), tmp_path / "net.pth")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UsageError) as caught:
        export_network(network(), tmp_path / "net.onnx")
    assert str(caught.value) == ".onnx needs onnxscript: pip install 'convscope[onnx]'"


def test_what_onnx_cannot_hold_is_told(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(network_file, "ONNX_BYTES", 1000)
    with pytest.raises(UsageError, match=r"bytes of weights; an ONNX file holds 1,000 at most: name a \.pt2"):
        export_network(network(), tmp_path / "net.onnx")
