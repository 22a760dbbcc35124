"""The loop: resumed anywhere it ends with the same bits; its steps are those of a textbook."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from convscope.data.augment import STEP, random_bits
from convscope.data.folder import load_folder
from convscope.errors import DataError, NumericsError
from convscope.training.batches import Batches
from convscope.training.loop import train
from convscope.training.optimizers import DenseOptimizer
from convscope.training.schedule import learning_rate, plan
from convscope.training.state import TrainingState
from convscope.types import Phase

from .conftest import ADAM, SGD, tiny_net, tiny_recipe

CPU = torch.device("cpu")
PHASES = {
    "sgd": [SGD],
    "adam": [ADAM],
    "adam-then-sgd": [ADAM, SGD],
    "one-cycle": [Phase("sgd", 0.1, epochs=2, schedule="one-cycle", nesterov=True)],
}


class Saved:
    """What a save keeps: copies, laid out as a file gives them back."""

    def __init__(self):
        self.checkpoints = []

    def __call__(self, state: TrainingState) -> dict:
        weights = {name: value.contiguous().clone() for name, value in self.model.state_dict().items()}
        state = copy.deepcopy(state)
        for values in state.optimizer.values():
            values |= {k: v.contiguous() for k, v in values.items() if isinstance(v, torch.Tensor)}
        self.checkpoints.append((weights, state))
        return {}


def run_through(recipe, dataset, *, stop_after=None, checkpoint=None):
    """Train, from a checkpoint if given, up to a step if given; events, weights and checkpoints."""
    model, saved, events, state = tiny_net(), Saved(), [], None
    if checkpoint is not None:
        weights, state = copy.deepcopy(checkpoint)
        model.load_state_dict(weights)
    saved.model = model
    steps = 0

    def should_stop():
        nonlocal steps
        steps += 1
        return steps == stop_after

    for event in train(model, dataset, recipe, device=CPU, state=state, save=saved, should_stop=should_stop):
        events.append(event)
    return events, model.state_dict(), saved.checkpoints


def equal(first, second) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("name", PHASES)
def test_stopped_anywhere_and_resumed_ends_bit_identically(name, dataset):
    recipe = tiny_recipe(*PHASES[name])
    events, weights, checkpoints = run_through(recipe, dataset)
    total = events[0].data["steps"]
    for stop_after in range(1, total):
        _, half, stopped = run_through(recipe, dataset, stop_after=stop_after)
        assert not equal(half, weights)
        assert stopped[-1][1].step == stop_after
        resumed, end, last = run_through(recipe, dataset, checkpoint=stopped[-1])
        assert equal(end, weights), f"stopped after step {stop_after}"
        for index, values in checkpoints[-1][1].optimizer.items():
            assert equal(values, last[-1][1].optimizer[index])
        evals = [event.data for event in events if event.kind == "eval" and event.step > stop_after]
        again = [event.data for event in resumed if event.kind == "eval"]
        assert len(again) == len(evals)
        for one, other in zip(again, evals, strict=True):
            assert one["confusion"] == other["confusion"]
            assert {**one, "confusion": None} == pytest.approx({**other, "confusion": None})


def test_stopped_while_the_final_figures_are_counted(dataset):
    recipe, calls = tiny_recipe(SGD), 0

    def should_stop():
        nonlocal calls
        calls += 1
        return calls > 7

    events = list(train(tiny_net(), dataset, recipe, device=CPU, should_stop=should_stop))
    assert (events[-1].step, dict(events[-1].data)) == (7, {"reason": "interrupted"})


def test_the_loss_told_is_against_the_true_labels_whatever_is_trained_on(dataset):
    """The first step's loss, before any weight has moved, is the same with and without smoothing."""
    plain, smoothed = (
        next(event.data["loss"] for event in run_through(recipe, dataset)[0] if event.kind == "train")
        for recipe in (tiny_recipe(Phase("sgd", 0.05, steps=1), label_smoothing=share) for share in (0.0, 0.9))
    )
    assert smoothed == pytest.approx(plain, rel=1e-6)


def test_the_stop_test_can_fail(dataset):
    """Without the optimizer's state the end is another one."""
    recipe = tiny_recipe(SGD)
    _, weights, _ = run_through(recipe, dataset)
    _, _, stopped = run_through(recipe, dataset, stop_after=3)
    stopped[-1][1].optimizer = {}
    _, end, _ = run_through(recipe, dataset, checkpoint=stopped[-1])
    assert not equal(end, weights)


def slow_train(recipe, dataset):
    """The loop as a textbook has it: plain optimizers, no events, no resumption."""
    model, step = tiny_net(), 0
    batches = Batches(dataset, recipe, device=CPU)
    for span in plan(recipe, steps_per_epoch=batches.steps_per_epoch):
        phase = span.phase
        if phase.optimizer == "sgd":
            optimizer = torch.optim.SGD(
                model.parameters(),
                lr=phase.learning_rate,
                momentum=phase.momentum,
                nesterov=phase.nesterov,
                weight_decay=phase.weight_decay,
            )
        else:
            optimizer = torch.optim.Adam(model.parameters(), lr=phase.learning_rate)
        for inputs, labels in batches.stream(span.first, span.last):
            torch.manual_seed(int(random_bits(1, recipe.seed, step, STEP)[0] >> 1))
            optimizer.param_groups[0]["lr"] = learning_rate(span, step)
            loss = F.cross_entropy(model(inputs), labels, label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    return model.state_dict()


@pytest.mark.parametrize("name", PHASES)
def test_equals_the_textbook_loop(name, dataset):
    recipe = tiny_recipe(*PHASES[name], label_smoothing=0.1)
    _, weights, _ = run_through(recipe, dataset)
    for key, value in slow_train(recipe, dataset).items():
        torch.testing.assert_close(weights[key], value, rtol=1e-4, atol=1e-6)


def test_it_learns_and_its_figures_are_those_of_a_naive_count(dataset):
    recipe = tiny_recipe(Phase("adam", 0.02, epochs=20), augmentation=type(tiny_recipe(SGD).augmentation)())
    model = tiny_net()
    *_, end = train(model, dataset, recipe, device=CPU)
    assert end.data["test_accuracy"] > 0.9
    model.eval()
    inputs = (dataset.test.images.images.float() / 255 - 0.45) / 0.3
    right = sum(int(model(x[None]).argmax() == y) for x, y in zip(inputs, dataset.test.labels, strict=True))
    assert end.data["test_accuracy"] == right / 20
    loss = F.cross_entropy(model(inputs), dataset.test.labels).item()
    assert end.data["test_loss"] == pytest.approx(loss, rel=1e-5)


def test_events_tell_phases_epochs_and_evaluations(dataset):
    events, _, checkpoints = run_through(tiny_recipe(ADAM, SGD), dataset)
    assert [(e.step, e.data["optimizer"]) for e in events if e.kind == "phase"] == [(0, "adam"), (7, "sgd")]
    # 50 images in batches of 8: six steps an epoch; phases of seven steps each.
    assert [event.step for event in events if event.kind == "eval"] == [6, 12, 14]
    assert [state.step for _, state in checkpoints] == [0, 6, 7, 12, 14]
    assert [event.kind for event in (events[0], events[-1])] == ["start", "end"]
    images = [e.data["accuracy"] for e in events if e.kind == "train"]
    assert all(0 <= accuracy <= 1 for accuracy in images)
    every, _, _ = run_through(tiny_recipe(SGD, eval_every=2), dataset)
    assert [event.step for event in every if event.kind == "eval"] == [2, 4, 6, 7]


def test_train_accuracy_of_an_epoch_is_the_mean_over_its_images(dataset):
    events, _, _ = run_through(tiny_recipe(Phase("sgd", 0.05, epochs=4)), dataset)
    windows: list[float] = []
    last = 0
    for event in events:
        if event.kind == "train":
            windows.append(event.data["accuracy"] * (event.step - last))
            last = event.step
        if event.kind == "eval":
            assert event.data["train_accuracy"] == pytest.approx(sum(windows) / 6)
            windows.clear()


@pytest.mark.parametrize("step", [1, 5, 9])
def test_a_loss_that_is_not_finite_stops_before_it_is_saved(step, dataset):
    model, saved = tiny_net(), Saved()
    saved.model = model
    calls = 0

    def spoil(module, inputs, output):
        nonlocal calls
        calls += module.training
        return output * float("nan") if module.training and calls == step else output

    model.register_forward_hook(spoil)
    recipe = tiny_recipe(SGD, ADAM)
    phase = "phase 1, sgd, learning rate 0.05" if step <= 7 else "phase 2, adam, learning rate 0.01"
    with pytest.raises(NumericsError, match=rf"the loss is nan at step {step} \({phase}\)") as caught:
        list(train(model, dataset, recipe, device=CPU, save=saved))
    assert caught.value.exit_code == 5
    assert saved.checkpoints[-1][1].step < step
    assert all(weight.isfinite().all() for weights, _ in saved.checkpoints for weight in weights.values())


def test_a_weight_that_is_not_finite_is_not_saved(dataset):
    model, saved = tiny_net(), Saved()
    saved.model = model
    events = train(model, dataset, tiny_recipe(SGD), device=CPU, save=saved, should_stop=lambda: True)
    for event in events:
        if event.kind == "train":
            with torch.no_grad():
                model.fc.weight[0, 0] = float("inf")
            break
    with pytest.raises(NumericsError, match="fc.weight is no longer finite after step 1"):
        list(events)
    assert [state.step for _, state in saved.checkpoints] == [0]


def test_a_memory_of_the_optimizer_that_is_not_finite_is_not_saved(dataset, monkeypatch):
    model, saved = tiny_net(), Saved()
    saved.model = model
    state = DenseOptimizer.state

    def spoiled(optimizer):
        found = state(optimizer)
        if found:
            found[0]["exp_avg_sq"][0, 0] = float("inf")  # the weight would never move again
        return found

    monkeypatch.setattr(DenseOptimizer, "state", spoiled)
    with pytest.raises(NumericsError, match="the optimizer's 0.exp_avg_sq is no longer finite after step 6"):
        list(train(model, dataset, tiny_recipe(ADAM), device=CPU, save=saved))
    assert [state.step for _, state in saved.checkpoints] == [0]


@pytest.mark.parametrize("part", ["training", "test"])
@pytest.mark.parametrize("label", [3, -1])
def test_a_label_of_no_class_is_named(part, label, dataset):
    split = dataset.train if part == "training" else dataset.test
    split.labels[7:9] = label
    with pytest.raises(DataError, match=f"2 {part} labels are of no class, the first {label} of image 7; .* 0 to 2"):
        list(train(tiny_net(), dataset, tiny_recipe(SGD), device=CPU))


def test_freeze_trains_the_head_only(dataset):
    before = tiny_net().state_dict()
    _, after, _ = run_through(tiny_recipe(SGD, freeze=True), dataset)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"fc.weight", "fc.bias"}


def test_global_generators_are_left_alone(dataset):
    before = torch.get_rng_state()
    run_through(tiny_recipe(SGD), dataset)
    assert torch.equal(before, torch.get_rng_state())


def test_a_streamed_folder_trains_to_the_same_bits_as_one_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("convscope.data.download.user_cache_path", lambda _: tmp_path / "cache")
    draw = np.random.default_rng(0)
    for half, count in (("train", 30), ("test", 4)):
        for name in ("a", "b", "c"):
            (tmp_path / "photos" / half / name).mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "photos" / half / name / f"{number}.png")
    recipe = tiny_recipe(Phase("sgd", 0.05, epochs=2))
    ends = [
        run_through(recipe, load_folder(tmp_path / "photos", in_memory=in_memory))[1] for in_memory in (True, False)
    ]
    assert equal(*ends)
