"""Other people's networks are trained like ours: the head or all of them, to the same bits however often stopped."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import textwrap

import pytest
import torch
from safetensors.torch import load_file, save_file

from convscope.data.memory import dataset_in_memory
from convscope.errors import CheckpointError, UsageError
from convscope.models import build_model, factories
from convscope.models.weights import head_name
from convscope.models.zoo import zoo_network
from convscope.training.recipes import get_recipe, override_recipe
from convscope.training.run import open_run
from convscope.training.start import resume_run, start_run

SMALL = "torchvision:shufflenet_v2_x0_5"  # batch norms, ReLUs, and quick
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def images():
    """Three classes that differ in brightness, fed as torchvision says."""
    drawn = torch.Generator().manual_seed(0)
    labels = torch.arange(42) % 3
    pixels = (torch.randint(0, 80, (42, 3, 32, 32), generator=drawn) + 80 * labels[:, None, None, None]).byte()
    halves = (pixels[:30], labels[:30]), (pixels[30:], labels[30:])
    dataset = dataset_in_memory("planted", *halves, ("dark", "grey", "bright"), source="the tests")
    return dataclasses.replace(dataset, mean=MEAN, std=STD)


@pytest.fixture(autouse=True)
def loaded_again(images, monkeypatch):
    """A run finds its images again, with the mean and deviation that they have themselves."""
    own = dataclasses.replace(images, mean=(0.5,) * 3, std=(0.3,) * 3)
    monkeypatch.setattr("convscope.training.run.load_dataset", lambda *_, **__: own)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights for 1,000 classes whose batch norms have seen images."""
    model = zoo_network(SMALL, image_size=32, seed=9).model
    model.train()(torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_file(model.state_dict(), path)
    return path


def recipe(model, **settings):
    said = [f"{key}={value}" for key, value in {"batch_size": 10, "precision": "fp32", **settings}.items()]
    return override_recipe(get_recipe("sgd"), model=model, epochs=2, settings=said)


def start(path, images, recipe, **keywords):
    return list(start_run(path, images, recipe, dataset_options={"seed": 0}, device="cpu", film=False, **keywords))


def final(path):
    return open_run(str(path)).network(say=print).model.state_dict()


def test_only_the_head_changes_where_only_it_is_trained(images, weights, tmp_path):
    said = []
    start(tmp_path, images, recipe(SMALL, freeze="true"), weights=str(weights), say=said.append)
    before, after = load_file(weights), final(tmp_path)
    body = [name for name in after if not name.startswith("fc.")]
    assert len(body) == len(before) - 2
    assert all(torch.equal(after[name], before[name]) for name in body), "weights and buffers alike"
    begun = build_model(SMALL, class_count=3, seed=0).state_dict()
    assert not torch.equal(after["fc.weight"], begun["fc.weight"])
    assert not torch.equal(after["fc.bias"], begun["fc.bias"])
    assert said[0] == (
        f"weights from {weights}; not used: fc.bias, fc.weight; the head fc begins anew, for 3 classes"
    )


def test_all_of_it_changes_where_all_is_trained(images, weights, tmp_path):
    start(tmp_path, images, recipe(SMALL), weights=str(weights))
    before, after = load_file(weights), final(tmp_path)
    same = [
        name for name in before if before[name].shape == after[name].shape and torch.equal(before[name], after[name])
    ]
    assert same == [], "parameters, running statistics and their counters"


def test_a_head_for_the_same_classes_is_kept(images, tmp_path):
    start(tmp_path / "first", images, recipe(SMALL))
    said = []
    events = start(tmp_path / "second", images, recipe(SMALL), weights=str(tmp_path / "first"), say=said.append)
    assert said == [f"weights from {tmp_path / 'first'}; not used: none, all fit"]
    first = open_run(str(tmp_path / "first")).results()
    assert events[0].kind == "start"
    assert first["steps"] == 6


@pytest.fixture
def factory(tmp_path, monkeypatch):
    """A module in the current folder, with a network for two classes that brings its own weights."""
    monkeypatch.setattr(factories, "user_state_dir", lambda *_, **__: str(tmp_path / "state"))
    (tmp_path / "mine.py").write_text(
        textwrap.dedent(
            """
            import torch
            from torch import nn

            def build():
                model = nn.Sequential(
                    nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Dropout(0.2),
                    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2),
                )
                nn.init.constant_(model[0].weight, 0.125)
                return model

            def headless():
                return nn.Sequential(nn.Conv2d(3, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

            def maps():
                return nn.Linear(32, 3)
            """
        )
    )
    monkeypatch.chdir(tmp_path)
    yield "mine:build"
    sys.modules.pop("mine", None)


@pytest.fixture
def folder(tmp_path):
    """A classifier of transformers in a folder, small."""
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=5
    )
    torch.manual_seed(3)
    transformers.ResNetForImageClassification(config).save_pretrained(tmp_path / "resnet")
    return f"huggingface:{tmp_path / 'resnet'}"


@pytest.mark.parametrize("source", ["torchvision", "timm", "huggingface", "factory"])
def test_stopped_and_resumed_is_the_same_to_the_last_bit(source, images, tmp_path, request):
    named = {"torchvision": SMALL, "timm": "timm:test_resnet"}
    if source == "timm":
        pytest.importorskip("timm")
    name = named.get(source) or request.getfixturevalue({"huggingface": "folder", "factory": "factory"}[source])
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    start(whole, images, recipe(name))
    asked = iter(range(100))
    events = start(parts, images, recipe(name), should_stop=lambda: next(asked) == 3)
    assert events[-1].data["reason"] == "interrupted"
    run = open_run(str(parts))
    said = []
    assert list(resume_run(run, run.dataset(), say=said.append))[-1].data["reason"] == "finished"
    assert said == []
    assert open_run(str(parts)).results()["weights_sha256"] == open_run(str(whole)).results()["weights_sha256"]
    assert open_run(str(parts)).network(say=print)(torch.rand(2, 3, 32, 32)).shape == (2, 3)


def test_a_run_is_fed_as_it_was_trained(images, tmp_path):
    start(tmp_path, images, recipe(SMALL), fed="as the tests say")
    run = open_run(str(tmp_path))
    network = run.network(say=print)
    assert (network.mean, network.std, network.input_size) == (MEAN, STD, (32, 32))
    assert (run.dataset().mean, run.dataset().std) == (MEAN, STD)
    assert run.config["model"] == {"name": SMALL, "parameters": 344867, "fed": "as the tests say"}
    other = dataclasses.replace(images, mean=(0.5,) * 3)
    with pytest.raises(UsageError, match=r"other settings: mean was \[0.485, 0.456, 0.406\], is \[0.5, 0.5, 0.5\]"):
        run.check_same(recipe(SMALL), other, None)


def test_a_run_of_hugging_face_needs_its_folder_no_more(folder, images, tmp_path):
    start(tmp_path / "run", images, recipe(folder), weights="pretrained")
    expected = open_run(str(tmp_path / "run")).network(say=print)
    shutil.rmtree(tmp_path / "resnet")
    again = open_run(str(tmp_path / "run")).network(say=print)
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(again(images), expected(images))
    assert again(images).shape == (2, 3)
    config = json.loads((tmp_path / "run" / "run.json").read_text())
    config["model"]["config"]["hidden_sizes"] = "many"
    (tmp_path / "run" / "run.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="cannot build the network that run.json describes: "):
        open_run(str(tmp_path / "run")).network(say=print)


def test_pretrained_is_what_the_folder_holds(folder, images, tmp_path):
    said = []
    start(tmp_path / "run", images, recipe(folder, freeze="true"), weights="pretrained", say=said.append)
    before, after = load_file(tmp_path / "resnet" / "model.safetensors"), final(tmp_path / "run")
    body = [name for name in before if not name.startswith("classifier.")]
    assert len(body) > 20
    assert all(torch.equal(before[name], after[name]) for name in body)
    assert said[0].endswith("the head classifier.1 begins anew, for 3 classes")


def test_a_factory_brings_its_weights_and_is_only_called_where_it_was_named(factory, images, tmp_path):
    start(tmp_path / "run", images, recipe(factory, freeze="true"))
    run = open_run(str(tmp_path / "run"))
    assert run.config["model"]["folder"] == str(tmp_path)
    assert (final(tmp_path / "run")["0.weight"] == 0.125).all()
    sys.modules.pop("mine")
    (tmp_path / "state" / factories.NAMED).write_text("[]")
    with pytest.raises(UsageError, match="code that was never named on this machine.*convscope layers mine:build"):
        run.network(say=print)
    assert "mine" not in sys.modules, "it was not even imported"
    with pytest.raises(UsageError, match="code that was never named on this machine"):
        list(resume_run(run, images))
    zoo_network(factory, image_size=32, mean=MEAN, std=STD)
    (tmp_path / "elsewhere").mkdir()
    sys.modules.pop("mine")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "elsewhere")
        assert run.network(say=print)(torch.rand(1, 3, 32, 32)).shape == (1, 3)
        sys.modules.pop("mine")
        (tmp_path / "mine.py").unlink()
        with pytest.raises(UsageError, match='no network "mine:build": No module named'):
            run.network(say=print)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("mine:headless", CheckpointError, "no linear layer in Sequential: its head cannot be found"),
        ("mine:maps", UsageError, r"mine:maps gives \(1, 3, 32, 3\) for an image; wanted: \(1, 3\)"),
        (
            "torchvision:vit_b_16",
            UsageError,
            "vit_b_16 cannot take images of 32×32 pixels .*; name another --image-size",
        ),
        ("torchvision:squeezenet1_1", CheckpointError, "SqueezeNet: its head cannot be found; wanted: a network"),
    ],
)
def test_what_cannot_be_trained_is_told_before_it_is(name, error, message, factory, images, tmp_path):
    with pytest.raises(error, match=message):
        start(tmp_path / "run", images, recipe(name))
    assert not (tmp_path / "run").exists()


def test_the_head_alone_needs_features(images, tmp_path):
    with pytest.raises(UsageError, match="--train head needs features .* --weights FILE"):
        start(tmp_path, images, recipe(SMALL, freeze="true"))


def test_weights_of_another_network_are_refused(images, weights, tmp_path):
    with pytest.raises(CheckpointError, match="it is of another model: name that one with --model"):
        start(tmp_path, images, recipe("torchvision:resnet18"), weights=str(weights))
    assert head_name(build_model("torchvision:resnet18", class_count=3, seed=0)) == "fc"
