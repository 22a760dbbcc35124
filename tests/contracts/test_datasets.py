"""What every dataset must satisfy, over the whole table: a new entry is planted here and then held to it."""

import io
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from convscope.data import DATASETS, load_dataset


def plant_digits(root):
    return "digits", {}


def plant_cifar(root, *, name, folder, files, labels, extra):
    (root / folder).mkdir()
    draw = np.random.default_rng(0)
    for file in files:
        classes = np.arange(labels)
        pixels = draw.integers(0, 256, (labels, 3072))
        records = np.concatenate([*([classes[:, None]] * extra), pixels], axis=1).astype(np.uint8)
        (root / folder / file).write_bytes(records.tobytes())
    return name, {"data_dir": root}


def plant_cifar10(root):
    files = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    return plant_cifar(root, name="cifar10", folder="cifar-10-batches-bin", files=files, labels=10, extra=1)


def plant_cifar100(root):
    named = plant_cifar(
        root, name="cifar100", folder="cifar-100-binary", files=["train.bin", "test.bin"], labels=100, extra=2
    )
    (root / "cifar-100-binary" / "fine_label_names.txt").write_text("\n".join(f"class{n}" for n in range(100)))
    return named


def plant_folder(root):
    for number in range(12):
        for name in ("cat", "dog"):
            (root / name).mkdir(exist_ok=True)
            Image.effect_noise((40, 30), 80).save(root / name / f"{number}.png")
    return f"folder:{root}", {"image_size": 16}


def plant_shards(root):
    for half in ("train", "test"):
        with tarfile.open(root / f"{half}-000000.tar", "w") as tar:
            for number in range(12):
                image, label = io.BytesIO(), str(number % 2).encode()
                Image.effect_noise((40, 30), 80).save(image, "PNG")
                for ending, content in (("png", image.getvalue()), ("cls", label)):
                    about = tarfile.TarInfo(f"{number:06}.{ending}")
                    about.size = len(content)
                    tar.addfile(about, io.BytesIO(content))
    return f"shards:{root}", {"image_size": 16}


PLANTS = {
    "digits": plant_digits,
    "cifar10": plant_cifar10,
    "cifar100": plant_cifar100,
    "folder": plant_folder,
    "shards": plant_shards,
}


def test_every_dataset_is_planted():
    assert PLANTS.keys() == DATASETS.keys()


@pytest.fixture(params=PLANTS)
def planted(request, tmp_path, monkeypatch):
    monkeypatch.setattr("convscope.data.download.user_cache_path", lambda _: tmp_path / "cache")
    (tmp_path / "data").mkdir()
    name, options = PLANTS[request.param](tmp_path / "data")
    return lambda: load_dataset(name, **options)


def test_images_labels_and_classes_fit(planted):
    dataset = planted()
    for split in (dataset.train, dataset.test):
        count, channels, height, width = split.images.shape
        assert (count, channels, (height, width)) == (len(split.labels), 3, dataset.image_size)
        assert split.labels.dtype == torch.int64
        assert sorted(set(split.labels.tolist())) == list(range(len(dataset.class_names)))
    assert len(set(dataset.class_names)) == len(dataset.class_names)
    assert dataset.source
    assert not dataset.skipped


def test_batches_are_those_asked_for(planted):
    images = planted().train.images
    count = images.shape[0]
    (whole,) = images.batches([torch.arange(count)])
    assert whole.dtype == torch.uint8
    assert whole.shape == images.shape
    asked = [torch.tensor([count - 1, 0, 0]), torch.tensor([3])]
    for index, batch in zip(asked, images.batches(asked), strict=True):
        assert torch.equal(batch, whole[index])


def test_statistics_are_those_of_a_naive_count(planted):
    dataset = planted()
    (pixels,) = dataset.train.images.batches([torch.arange(dataset.train.images.shape[0])])
    values = pixels.numpy().astype(np.float64) / 255
    assert dataset.mean == pytest.approx(values.mean((0, 2, 3)))
    assert dataset.std == pytest.approx(values.std((0, 2, 3)))


def test_loading_again_gives_the_same_fingerprint_and_nothing_global_changes(planted):
    before = torch.get_rng_state()
    assert planted().fingerprint == planted().fingerprint
    assert torch.equal(before, torch.get_rng_state())
