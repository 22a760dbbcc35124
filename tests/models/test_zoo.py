"""Other people's networks come with what their sources say they are fed, and mistakes are one line."""

from __future__ import annotations

import sys
import textwrap

import pytest
import torch
from safetensors.torch import save_file

from convscope.errors import CheckpointError, UsageError
from convscope.models import build_model, factories
from convscope.models.zoo import zoo_network


@pytest.fixture
def said():
    return []


def test_torchvision_gives_its_own_numbers_and_the_seed_its_weights(said):
    models = pytest.importorskip("torchvision").models
    network = zoo_network("torchvision:squeezenet1_1", image_size=64, say=said.append)
    transforms = models.SqueezeNet1_1_Weights.DEFAULT.transforms()
    assert network.mean == tuple(transforms.mean)
    assert network.std == tuple(transforms.std)
    assert network.input_size == (64, 64)
    assert network.class_names[:2] == ("tench", "goldfish")
    assert not network.model.training
    again = zoo_network("torchvision:squeezenet1_1", image_size=64)
    assert all(torch.equal(a, b) for a, b in zip(network.model.parameters(), again.model.parameters(), strict=True))
    assert said == [
        "torchvision:squeezenet1_1 has random weights; --weights FILE reads some, --weights pretrained downloads them"
    ]
    assert zoo_network("torchvision:squeezenet1_1").input_size == (224, 224)


def test_weights_from_a_file_are_those(tmp_path, said):
    pytest.importorskip("torchvision")
    expected = zoo_network("torchvision:squeezenet1_1", seed=5).model.state_dict()
    save_file(expected, tmp_path / "weights.safetensors")
    network = zoo_network("torchvision:squeezenet1_1", weights=str(tmp_path / "weights.safetensors"), say=said.append)
    assert all(torch.equal(value, expected[key]) for key, value in network.model.state_dict().items())
    assert said == []
    with pytest.raises(CheckpointError, match="another model"):
        zoo_network("resnet8", weights=str(tmp_path / "weights.safetensors"))


def test_a_head_for_other_classes_is_that_of_the_file(tmp_path, said):
    pytest.importorskip("torchvision")
    name = "torchvision:shufflenet_v2_x0_5"
    expected = build_model(name, class_count=3, seed=5).state_dict()
    save_file(expected, tmp_path / "mine.safetensors")
    network = zoo_network(name, weights=str(tmp_path / "mine.safetensors"), image_size=32, say=said.append)
    assert all(torch.equal(value, expected[key]) for key, value in network.model.state_dict().items())
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 3)
    assert network.class_names == ("0", "1", "2")
    assert said == [
        "the weights are for 3 classes, so the head fc has as many",
        f"the 3 classes of {name} are numbers; name them with --classes FILE",
    ]
    named = zoo_network(
        name, weights=str(tmp_path / "mine.safetensors"), image_size=32, class_names=("cat", "dog", "bird")
    )
    assert named.class_names == ("cat", "dog", "bird")


def test_a_network_without_class_names_has_numbers(nets_of_mine):
    assert zoo_network("nets_of_mine:scores").class_names == ("0", "1", "2")


def test_timm_gives_its_own_numbers():
    pytest.importorskip("timm")
    network = zoo_network("timm:test_resnet")
    assert len(network.mean) == len(network.std) == 3
    assert network(torch.zeros(1, 3, *network.input_size)).shape == (1, len(network.class_names))


@pytest.fixture
def nets_of_mine(tmp_path, monkeypatch):
    (tmp_path / "nets_of_mine.py").write_text(
        textwrap.dedent(
            """
            from torch import nn
            from convscope.types import Network

            def bare():
                return nn.Conv2d(3, 4, 3)

            def whole():
                return Network(bare(), (0.1,) * 3, (0.2,) * 3, (9, 11), ("a",), "mine")

            def scores():
                return Network(
                    nn.Sequential(nn.Flatten(), nn.Linear(48, 3)), (0.1,) * 3, (0.2,) * 3, (4, 4), (), "mine"
                )

            def wrong():
                return 3

            def broken():
                raise ValueError("no weights here")
            """
        )
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(factories, "user_state_dir", lambda *_, **__: str(tmp_path / "state"))
    yield
    sys.modules.pop("nets_of_mine", None)


def test_a_function_in_the_current_folder_gives_a_network_or_a_model(nets_of_mine, said):
    path = list(sys.path)
    whole = zoo_network("nets_of_mine:whole")
    assert (whole.input_size, whole.name) == ((9, 11), "mine")
    fed = {"image_size": 20, "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}
    bare = zoo_network("nets_of_mine:bare", **fed, say=said.append)
    assert (bare.input_size, bare.mean, bare.std) == ((20, 20), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert said == []
    assert sys.path == path


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "nonsense",
            {},
            'no network "nonsense"; allowed: torchvision:NAME, timm:NAME, huggingface:PLACE or module:f',
        ),
        ("torchvision:resnet81", {}, 'no network "resnet81" in torchvision; closest: .*resnet18'),
        ("timm:resnet26e", {}, 'no network "resnet26e" in timm; closest: .*resnet26'),
        ("no_such_module:make", {}, 'no network "no_such_module:make": No module named'),
        ("nets_of_mine:whol", {}, 'no function "whol" in nets_of_mine; closest: whole'),
        ("nets_of_mine:wrong", {}, "nets_of_mine:wrong gives a int; allowed"),
        (
            "nets_of_mine:bare",
            {},
            "nets_of_mine:bare does not say what it is fed: name --input-size, --mean, --std, or let it give a conv",
        ),
        ("nets_of_mine:bare", {"image_size": 20, "std": (1.0,) * 3}, "what it is fed: name --mean, or let"),
        ("nets_of_mine:bare", {"weights": "pretrained"}, "pretrained is for networks of libraries; let nets"),
        (
            "nets_of_mine:whole",
            {"mean": (0.5,)},
            r"cannot take images of 9×11 pixels \(1 channels\): .*; name another",
        ),
        (
            "nets_of_mine:scores",
            {"class_names": ("a", "b")},
            "2 class names for nets_of_mine:scores, which gives 3 sc",
        ),
        ("nets_of_mine:broken", {}, r"nets_of_mine:broken\(\) failed: ValueError: no weights here; --debug"),
        (
            "torchvision:alexnet",
            {"image_size": 16},
            "alexnet cannot take images of 16×16 pixels .*: .*; name another",
        ),
        ("resnet8", {"weights": "pretrained"}, "resnet8 is trained by convscope run"),
    ],
)
def test_mistakes_are_told(name, options, message, nets_of_mine):
    for package in ("torchvision", "timm"):
        if name.startswith(package):
            pytest.importorskip(package)
    with pytest.raises(UsageError, match=message):
        zoo_network(name, **options)


def test_a_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError) as caught:
        zoo_network("timm:resnet26d")
    assert str(caught.value) == "timm:NAME needs timm: pip install 'convscope[zoo]'"
