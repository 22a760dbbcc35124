"""Image classifiers of Hugging Face: folders of theirs, read by transformers, and never any code beside them."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from convscope.errors import CheckpointError, DataError, UsageError
from convscope.hooks import list_layers, record_outputs
from convscope.methods.feature_maps import feature_maps
from convscope.methods.reconstruct import reconstruct
from convscope.models import build_model
from convscope.models.zoo import zoo_network

transformers = pytest.importorskip("transformers")


@pytest.fixture
def folder(tmp_path):
    """A small ResNet with its preprocessor, as save_pretrained writes them."""
    config = transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16],
        depths=[1, 1],
        layer_type="basic",
        id2label={0: "cat", 1: "dog", 2: "bird"},
        label2id={"cat": 0, "dog": 1, "bird": 2},
    )
    torch.manual_seed(3)
    model = transformers.ResNetForImageClassification(config)
    model.save_pretrained(tmp_path)
    processor = transformers.ConvNextImageProcessor(
        size={"shortest_edge": 48}, crop_pct=0.875, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.25, 0.3]
    )
    processor.save_pretrained(tmp_path)
    return tmp_path


def test_a_folder_is_opened_with_its_weights_and_all_it_says(folder):
    said = []
    network = zoo_network(f"huggingface:{folder}", say=said.append)
    assert network.mean == (0.4, 0.5, 0.6)
    assert network.std == (0.2, 0.25, 0.3)
    assert network.input_size == (48, 48)
    assert network.class_names == ("cat", "dog", "bird")
    assert said == []
    expected = load_file(folder / "model.safetensors")
    assert all(torch.equal(value, expected[name]) for name, value in network.model.state_dict().items())


def test_it_gives_what_transformers_gives(folder):
    network = zoo_network(f"huggingface:{folder}")
    theirs = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    prepare = transformers.AutoImageProcessor.from_pretrained(folder)
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    given = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        fed = prepare(images=[pixels], return_tensors="pt", size={"shortest_edge": 384})["pixel_values"]
        assert fed.shape == (1, 3, 384, 384), "at 384 and more it resizes without a crop"
        expected = theirs(pixel_values=network.normalize(given)).logits
        assert torch.equal(network(given), expected)
    assert isinstance(network(given), torch.Tensor)


def test_layers_and_methods_work_on_it(folder):
    network = zoo_network(f"huggingface:{folder}")
    names = [layer.name for layer in list_layers(network.model, network.input_size)]
    assert names[0] == "resnet.embedder.embedder.convolution"
    assert names[-1] == "classifier.1"
    layer = "resnet.encoder.stages.1.layers.0"
    image = torch.rand(3, 48, 48, generator=torch.Generator().manual_seed(0))
    recorded = record_outputs(network.model, network.normalize(image[None]), [layer])[layer]
    assert recorded.shape == (1, 16, 6, 6)
    assert np.isfinite(feature_maps(network, layer, image).values).all()
    assert reconstruct(network, layer, image).values.std() > 0, "its ReLUs are met"


def test_a_convnext_is_a_network_like_any_other(tmp_path):
    config = transformers.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, num_labels=4)
    transformers.ConvNextForImageClassification(config).save_pretrained(tmp_path)
    network = zoo_network(f"huggingface:{tmp_path}", image_size=32, mean=(0.5,) * 3, std=(0.25,) * 3)
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 4)
    assert network.class_names == ("0", "1", "2", "3"), "LABEL_0 is no name"


def test_a_network_for_other_classes_is_random_by_the_seed(folder):
    first, again = (build_model(f"huggingface:{folder}", class_count=7, seed=1).eval() for _ in range(2))
    assert first(torch.rand(1, 3, 48, 48)).shape == (1, 7)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_code_beside_the_weights_is_not_run(folder):
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "theirs",
        "auto_map": {"AutoConfig": "evil.Config", "AutoModelForImageClassification": "evil.Net"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text("import sys\nsys.modules['evil_ran'] = sys\n")
    with pytest.raises(CheckpointError, match="transformers cannot read") as told:
        zoo_network(f"huggingface:{folder}")
    assert "\n" not in str(told.value)
    assert "evil_ran" not in sys.modules


def test_pickles_and_missing_weights_are_refused(folder):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(
        CheckpointError, match="transformers cannot read .*; wanted: config.json and model.safetensors"
    ):
        zoo_network(f"huggingface:{folder}")
    weights.pop("resnet.embedder.embedder.convolution.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="lack 1 entries, first resnet.embedder.embedder.convolution.weight"):
        zoo_network(f"huggingface:{folder}")


def test_nothing_is_downloaded_but_on_request(monkeypatch):
    with pytest.raises(UsageError, match='no folder "someone/net", and nothing of that name was downloaded before'):
        zoo_network("huggingface:someone/net")
    asked = []

    def refuse(place, **options):
        asked.append(options)
        raise OSError("We couldn't connect\nto the hub")

    monkeypatch.setattr(transformers.AutoModelForImageClassification, "from_pretrained", refuse)
    with pytest.raises(
        DataError, match="huggingface:someone/net cannot be had: OSError: We couldn't connect to the hub"
    ):
        zoo_network("huggingface:someone/net", weights="pretrained")
    assert asked[0] == {
        "use_safetensors": True,
        "output_loading_info": True,
        "dtype": torch.float32,
        "attn_implementation": "eager",
        "local_files_only": False,
        "trust_remote_code": False,
    }


def test_without_the_package_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError) as told:
        zoo_network("huggingface:someone/net")
    assert str(told.value) == "huggingface:NAME needs transformers: pip install 'convscope[huggingface]'"
