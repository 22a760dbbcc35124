"""torchvision and timm: built, fed and downloaded as their own functions and metadata say."""

from __future__ import annotations

import sys

import pytest
import torch

from convscope.errors import DataError, UsageError
from convscope.models import build_model
from convscope.models.libraries import timm_feed, timm_model, torchvision_feed, torchvision_model
from convscope.models.zoo import zoo_network

pytest.importorskip("torchvision")
pytest.importorskip("timm")


def test_torchvision_says_how_a_network_is_fed():
    feed = torchvision_feed("resnet18")
    assert feed.mean == (0.485, 0.456, 0.406)
    assert feed.std == (0.229, 0.224, 0.225)
    assert feed.input_size == (224, 224)
    assert feed.class_names[:2] == ("tench", "goldfish")
    assert torchvision_feed("inception_v3").input_size == (299, 299)


def test_timm_says_how_a_network_is_fed():
    feed = timm_feed("test_resnet")
    assert feed.input_size == (160, 160)
    assert feed.mean == (0.5, 0.5, 0.5)
    assert timm_feed("resnet26d").mean == (0.485, 0.456, 0.406)
    assert timm_feed("resnet26d").class_names[0].startswith("tench")
    assert len(timm_feed("resnet26d").class_names) == 1000


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_of_several_heads_give_one(name):
    model = torchvision_model(name, 3, pretrained=False)
    size = 299 if name == "inception_v3" else 64
    assert model.train()(torch.rand(2, 3, size, size)).shape == (2, 3)


@pytest.mark.parametrize("name", ["torchvision:shufflenet_v2_x0_5", "timm:test_resnet"])
def test_a_network_has_as_many_classes_as_are_asked_for(name):
    model = build_model(name, class_count=3, seed=0).eval()
    again = build_model(name, class_count=3, seed=0)
    assert model(torch.rand(1, 3, 64, 64)).shape == (1, 3)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_torchvision_checks_what_it_downloads(monkeypatch, capsys):
    """At the library's boundary: what would fetch the file is asked for a hash, and gives the weights."""
    from torchvision.models import _api

    expected = torchvision_model("resnet18", None, pretrained=False).state_dict()
    asked = {}

    def fetch(url, *_, **options):
        asked.update(options, url=url)
        sys.stdout.write("Downloading")
        return expected

    monkeypatch.setattr(_api, "load_state_dict_from_url", fetch)
    said = []
    network = zoo_network("torchvision:resnet18", weights="pretrained", image_size=32, say=said.append)
    assert asked["check_hash"] is True
    assert asked["url"].endswith(".pth")
    assert all(torch.equal(value, expected[key]) for key, value in network.model.state_dict().items())
    assert said == []
    assert capsys.readouterr().out == "", "what a library prints is no result"


def test_timm_checks_what_it_downloads(monkeypatch):
    from timm.models import _builder

    expected = timm_model("test_resnet", None, pretrained=False).state_dict()
    monkeypatch.setattr(_builder, "load_state_dict_from_hf", lambda *_, **__: dict(expected))
    monkeypatch.setattr(_builder, "_CHECK_HASH", False)
    model = timm_model("test_resnet", None, pretrained=True)
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())
    assert _builder._CHECK_HASH is True


def test_what_cannot_be_downloaded_is_one_line(monkeypatch):
    from torchvision.models import _api

    def fail(*_, **__):
        raise RuntimeError('invalid hash value\n(expected "f37072fd", got "0000")')

    monkeypatch.setattr(_api, "load_state_dict_from_url", fail)
    with pytest.raises(
        DataError, match="weights of torchvision:resnet18 cannot be had: RuntimeError: invalid hash"
    ) as told:
        zoo_network("torchvision:resnet18", weights="pretrained")
    assert "\n" not in str(told.value)


def test_unknown_names_are_told_with_the_nearest():
    with pytest.raises(UsageError, match='no network "resnet81" in torchvision; closest: .*resnet18'):
        build_model("torchvision:resnet81", class_count=3, seed=0)
    with pytest.raises(UsageError, match='no network "resnet26e" in timm; closest: .*resnet26'):
        build_model("timm:resnet26e", class_count=3, seed=0)
