"""Recipes: the built-in ones, from TOML, with single values replaced, and every mistake in them."""

import dataclasses

import pytest

from convscope.errors import UsageError
from convscope.models import MODELS
from convscope.training.recipe_values import flat_values, recipe_from_mapping
from convscope.training.recipes import RECIPES, get_recipe, override_recipe, suit_dataset

from .conftest import planted_dataset


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_being_written_down(name):
    recipe = get_recipe(name)
    assert recipe_from_mapping(dataclasses.asdict(recipe)) == recipe
    assert recipe.model in MODELS


def test_the_reports_recipes():
    adam, sgd = get_recipe("adam-then-sgd").phases
    assert (adam.optimizer, adam.epochs) == ("adam", 6)
    assert (sgd.optimizer, sgd.momentum, sgd.learning_rate) == ("sgd", 0.9, 0.01)


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        ({"epochs": 12}, [("adam", 6, None), ("sgd", 6, None)]),
        ({"epochs": 20}, [("adam", 6, None), ("sgd", 14, None)]),
        ({"epochs": 4}, [("adam", 4, None)]),
        ({"epochs": 6}, [("adam", 6, None)]),
    ],
)
def test_length_cuts_or_lengthens_the_phases(length, expected):
    recipe = override_recipe(get_recipe("adam-then-sgd"), **length)
    assert [(phase.optimizer, phase.epochs, phase.steps) for phase in recipe.phases] == expected


def test_steps_replace_the_epochs_of_one_phase():
    (phase,) = override_recipe(get_recipe("sgd"), steps=10_000).phases
    assert (phase.steps, phase.epochs) == (10_000, None)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"epochs": 0}, r"--epochs 0; allowed: 1 or more"),
        ({"epochs": -3}, r"--epochs -3; allowed: 1 or more"),
        ({"epochs": 3, "steps": 3}, "--epochs and --steps both given; allowed: one of them"),
        ({"steps": 100}, r"--steps does not fit .* in epochs; set each: --set phases.0.epochs=N"),
        ({"precision": "fp8"}, r'"precision" is .fp8.; allowed: fp32 or bf16 or auto'),
        ({"seed": -1}, r'"seed" is -1; allowed: 0 to'),
        ({"settings": ["batch_sise=3"]}, r'no recipe key "batch_sise"; closest: batch_size'),
        ({"settings": ["batch_size=0"]}, r'"batch_size" is 0; allowed: 2 to'),
        ({"settings": ["batch_size=many"]}, r'"batch_size" is .many.; allowed: a whole number'),
        ({"settings": ["freeze=1"]}, r'"freeze" is 1; allowed: true or false'),
        ({"settings": ["batch_size"]}, r"--set batch_size; allowed: KEY=VALUE"),
        ({"settings": ["phases=3"]}, r"--set phases names a group"),
        ({"settings": ["phases.2.momentum=0.5"]}, r'no recipe key "phases.2.momentum"; closest: phases.1.momentum'),
        ({"settings": ["phases.0.optimizer=lion"]}, r'"phases.0.optimizer" is .lion.; allowed: sgd or adam'),
        ({"settings": ["phases.0.learning_rate=nan"]}, r'"phases.0.learning_rate" is nan; allowed: 0 to 1000'),
        ({"settings": ["phases.0.nesterov=true"]}, r"phases.0.nesterov needs sgd"),
    ],
)
def test_bad_values_are_told(overrides, message):
    with pytest.raises(UsageError, match=message):
        override_recipe(get_recipe("adam-then-sgd"), **overrides)


def test_settings_reach_every_value():
    recipe = get_recipe("adam-then-sgd")
    for key, value in flat_values(recipe).items():
        if isinstance(value, bool) or value is None or isinstance(value, str):
            continue
        changed = override_recipe(
            recipe, settings=[f"{key}={value * 0.5 if isinstance(value, float) else value + 1}"]
        )
        assert flat_values(changed)[key] != value or value == 0


def test_toml(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'model = "resnet8"\n[augmentation]\ncrop = 2\n[[phases]]\noptimizer = "adam"\nlearning_rate = 1\nepochs = 3'
    )
    recipe = get_recipe(str(path))
    assert (recipe.name, recipe.model, recipe.augmentation.crop) == ("mine", "resnet8", 2)
    assert (recipe.phases[0].learning_rate, recipe.phases[0].epochs) == (1.0, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model = [", "cannot read the recipe"),
        ('model = "resnet8"', 'the recipe lacks "phases"'),
        ("phases = []", "the recipe has no phases"),
        (
            "[[phases]]\noptimizer = 'sgd'\nlearning_rate = 1",
            "phases.0.epochs or phases.0.steps: allowed is exactly one",
        ),
        ("[[phases]]\noptimiser = 'sgd'", r'no recipe key "phases.0.optimiser"; closest: optimizer'),
        ("phases = 3", r'"phases" is 3; allowed: a list'),
        ("[phases]\noptimizer = 'sgd'", r'"phases" is .*; allowed: a list'),
        ("phases = []\naugmentation = 3", r'"augmentation" is 3; allowed: a table'),
    ],
)
def test_bad_toml(text, message, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        get_recipe(str(path))


def test_unknown_recipes():
    with pytest.raises(UsageError, match=r'no recipe "fats"; closest: fast.*convscope recipes'):
        get_recipe("fats")
    with pytest.raises(UsageError, match="no recipe file none.toml"):
        get_recipe("none.toml")


def test_no_mirroring_where_it_changes_the_class():
    dataset = planted_dataset()
    assert suit_dataset(get_recipe("fast"), dataset).augmentation.flip
    assert suit_dataset(get_recipe("fast"), dataset).batch_size == len(dataset.train.labels)
    suited = suit_dataset(get_recipe("fast"), dataclasses.replace(dataset, mirror=False))
    assert not suited.augmentation.flip
    assert suited.augmentation.crop == get_recipe("fast").augmentation.crop
