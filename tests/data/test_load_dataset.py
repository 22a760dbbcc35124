"""Datasets by name and the options that each takes."""

import subprocess
import sys

import pytest

from convscope.data import DATASETS, load_dataset
from convscope.errors import UsageError


def refuses(name, message, **options):
    with pytest.raises(UsageError) as error:
        load_dataset(name, **options)
    assert str(error.value) == message
    assert error.value.exit_code == 2


def test_every_entry_loads_a_function_and_has_a_summary():
    for name, entry in DATASETS.items():
        assert callable(entry.load()), name
        assert entry.summary


def test_options_reach_the_loader(photos, cifar10):
    assert load_dataset(f"folder:{photos}", image_size=4).image_size == (4, 4)
    assert load_dataset("cifar10", data_dir=cifar10, seed=3).train.images.shape == (50, 3, 32, 32)
    told = []
    load_dataset(f"folder:{photos}", skip_bad=True, progress=lambda *what: told.append(what))
    assert told


def test_the_seed_reaches_a_dataset_that_is_split_by_it(photos):
    one, other = (load_dataset(f"folder:{photos / 'train'}", seed=seed) for seed in (1, 2))
    assert one.fingerprint != other.fingerprint
    assert load_dataset("digits", seed=7).train.images.shape[0] == 1437


def test_an_unknown_dataset_is_answered_with_the_nearest():
    refuses("cifar", 'no dataset "cifar"; closest: cifar10, cifar100; list them: convscope datasets')
    refuses("digits:x", 'no dataset "digits:x"; closest: digits; list them: convscope datasets')


@pytest.mark.parametrize("name", ["folder", "folder:"])
def test_a_folder_needs_its_path(name):
    refuses(name, 'the dataset "folder" needs a path: folder:PATH')


def test_options_that_a_dataset_does_not_take_are_answered_with_those_it_takes():
    refuses(
        "digits",
        "the dataset digits takes no --data-dir; --data-dir is for cifar10, cifar100; "
        "digits takes none of these options",
        data_dir="somewhere",
    )
    refuses(
        "cifar10",
        "the dataset cifar10 takes no --skip-bad; --skip-bad is for folder, shards; "
        "cifar10 takes --data-dir, --source",
        skip_bad=True,
    )
    refuses(
        "folder:x",
        "the dataset folder takes no --source; --source is for cifar10, cifar100; "
        "folder takes --image-size, --skip-bad",
        sources=["https://example.com/a"],
    )


def test_the_table_is_read_without_importing_what_is_slow():
    script = (
        "import sys, convscope.data; print([m for m in ('torch', 'numpy', 'PIL', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
