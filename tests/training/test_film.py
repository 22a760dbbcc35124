"""The film: what its frames hold, that taking them changes nothing, and that it keeps within its budget."""

import numpy as np
import pytest
import safetensors.torch
import torch

from convscope.errors import UsageError
from convscope.training import film
from convscope.training.film import Recorder, film_steps
from convscope.training.frames import read_frame, read_info, recorded_steps, weights_path
from convscope.training.loop import train
from convscope.training.schedule import plan
from convscope.types import Network

from .conftest import ADAM, SGD, tiny_net, tiny_recipe


@pytest.fixture(autouse=True)
def unlimited(monkeypatch):
    """Trainings of milliseconds film nothing within 2 %."""
    monkeypatch.setattr(film, "BUDGET", 1e9)


def filmed(folder, dataset, recipe, model=None):
    model = model or tiny_net()
    return list(train(model, dataset, recipe, device="cpu", film=folder)), model


def recorder(folder, dataset, model, recipe=None) -> Recorder:
    network = Network(model, dataset.mean, dataset.std, dataset.image_size, dataset.class_names, name="tiny")
    return Recorder(folder, network, dataset, plan(recipe or tiny_recipe(SGD), steps_per_epoch=6))


def test_a_film_changes_no_bit_of_the_training(tmp_path, dataset):
    recipe = tiny_recipe(ADAM, SGD)
    events, model = filmed(tmp_path, dataset, recipe)
    plain, alone = filmed(None, dataset, recipe)
    assert "film" in {event.kind for event in events}
    assert "film" not in {event.kind for event in plain}
    assert all(torch.equal(alone.state_dict()[name], value) for name, value in model.state_dict().items())
    values = [[e.data["loss"] for e in log if e.kind == "train"] for log in (events, plain)]
    assert values[0] == values[1]


def test_the_frames_are_the_network_at_their_steps(tmp_path, dataset):
    recipe = tiny_recipe(SGD)
    model = tiny_net()
    start = model.conv1.weight.detach().clone()
    events, model = filmed(tmp_path, dataset, recipe, model)
    steps = [event.step for event in events if event.kind == "film"]
    assert steps == film_steps(plan(recipe, steps_per_epoch=6)) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert recorded_steps(tmp_path, steps) == steps
    np.testing.assert_array_equal(read_frame(tmp_path, 0).filters, start.half().numpy())
    last = read_frame(tmp_path, 7)
    np.testing.assert_array_equal(last.filters, model.conv1.weight.detach().half().numpy())
    info = read_info(tmp_path)
    network = Network(model.eval(), dataset.mean, dataset.std, (8, 8), dataset.class_names, name="tiny")
    pixels = next(dataset.test.images.batches([torch.tensor(info.indices)]))
    np.testing.assert_array_equal(info.images, pixels.numpy())
    assert info.labels == dataset.test.labels[info.indices].tolist()
    with torch.no_grad():
        inputs = pixels.float() / 255
        np.testing.assert_allclose(last.logits, network(inputs).numpy(), rtol=2e-3, atol=2e-3)
        maps = model.conv1(network.normalize(inputs)).numpy()
    np.testing.assert_allclose(last.maps["conv1"], maps, rtol=2e-3, atol=2e-3)


def test_the_weights_that_are_kept_are_the_models(tmp_path, dataset):
    events, model = filmed(tmp_path, dataset, tiny_recipe(SGD))
    kept = [event.step for event in events if event.kind == "film" and event.data["weights"]]
    assert {0, 7} <= set(kept)
    weights = safetensors.torch.load_file(weights_path(tmp_path, 7))
    assert weights.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(weights[name].to(value.dtype), value, rtol=1e-3, atol=1e-3)


def test_few_copies_of_a_large_networks_weights_are_kept(tmp_path, dataset, monkeypatch):
    model = tiny_net()
    copy = 2 * sum(value.numel() for value in model.state_dict().values())
    monkeypatch.setattr(film, "WEIGHTS_BYTES", 3 * copy)
    kept = recorder(tmp_path, dataset, model)._weights_due
    assert len(kept) == 3
    assert {0, 7} <= kept
    monkeypatch.setattr(film, "WEIGHTS_BYTES", copy)
    assert recorder(tmp_path, dataset, model)._weights_due == set()


def test_the_probes_are_of_different_classes(tmp_path, dataset):
    list(recorder(tmp_path, dataset, tiny_net()).take(0))
    assert read_info(tmp_path).labels == [0, 1, 2, 0]


def test_a_layers_summary_is_what_counting_gives(tmp_path, dataset):
    model = tiny_net()
    take = recorder(tmp_path, dataset, model)
    events = list(take.take(0))
    [relu] = [layer for layer in read_frame(tmp_path, 0).layers if layer["name"] == "relu"]
    outputs = []
    handle = model.relu.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    chosen = film._spread_over_classes(dataset.test.labels, film.JUDGES)
    model.eval()
    with torch.no_grad():
        model(take._network.normalize(dataset.test.images.images[chosen].float() / 255))
    handle.remove()
    assert relu["active"] == pytest.approx((outputs[0] > 0).float().mean().item(), abs=1e-4)
    assert relu["silent"] == 0
    assert [kind for kind, _ in events] == ["film"]


def test_silent_channels_are_an_alarm_once(tmp_path, dataset):
    model = tiny_net()
    with torch.no_grad():
        model.bn1.bias[:2] = -1000
    take = recorder(tmp_path, dataset, model)
    assert [kind for kind, _ in take.take(film.SETTLED - 1)] == ["film"]
    [_, (kind, data)] = list(take.take(film.SETTLED))
    assert (kind, data["what"], data["layer"]) == ("alarm", "silent channels", "relu")
    assert data["message"] == "2 of the 4 channels of relu answer to none of 16 test images"
    assert [kind for kind, _ in take.take(film.SETTLED + 1)] == ["film"]


def test_frames_that_the_budget_has_no_room_for_are_left_out(tmp_path, dataset, monkeypatch):
    monkeypatch.setattr(film, "BUDGET", 0.02)
    take = recorder(tmp_path, dataset, tiny_net(), tiny_recipe(SGD, ADAM))  # 14 steps, borders 0, 7, 14
    assert take.due(0, seconds=0.5)
    take._spent, take._last = 1.0, 0.1
    assert not take.due(3, seconds=4.5)  # the whole will take 14 s, of which 0.02 is less than 1.1 s
    assert take.due(3, seconds=1e4)
    assert take.due(7, seconds=4.0)
    assert take.due(14, seconds=4.0)
    assert not take.due(15, seconds=1e9)


def test_copies_of_the_weights_go_before_frames_do(tmp_path, dataset, monkeypatch):
    monkeypatch.setattr(film, "BUDGET", 0.02)
    take = recorder(tmp_path, dataset, tiny_net(), tiny_recipe(SGD))  # 7 steps
    kept = []
    for step, seconds in ((0, 0.0), (3, 300.0), (7, 700.0)):
        assert take.due(step, seconds=seconds)
        take._last, take._copied = 0.1, 1e9  # a frame takes little, a copy for ever
        [(_, data), *_] = take.take(step)
        kept.append(data["weights"])
    assert kept == [True, False, True]  # the first and the last are always kept
    take._copied = 0.1
    assert take.due(3, seconds=1300.0)
    [(_, data), *_] = take.take(3)
    assert data["weights"]


def test_a_resumption_is_granted_what_its_own_steps_take(tmp_path, dataset, monkeypatch):
    monkeypatch.setattr(film, "BUDGET", 0.02)
    take = recorder(tmp_path, dataset, tiny_net(), tiny_recipe(SGD))  # frames after each of 7 steps
    assert take.due(3, seconds=300.0)  # its first
    take._spent, take._last = 0.0, 1.0
    assert not take.due(4, seconds=301.0)  # a step takes a second: 0.02 of 4 s is less than a frame's 1 s
    assert take.due(4, seconds=3000.0)


def test_a_film_that_cannot_be_written_ends_and_the_training_goes_on(tmp_path, dataset):
    (tmp_path / "film").write_text("a file where a folder should be")
    events, _ = filmed(tmp_path, dataset, tiny_recipe(SGD))
    [alarm] = [event for event in events if event.kind == "alarm"]
    assert (alarm.step, alarm.data["what"]) == (0, "film")
    assert "the film ends here, it cannot be written: " in alarm.data["message"]
    assert (events[-1].kind, events[-1].step) == ("end", 7)


def test_a_network_without_a_convolution_is_refused_by_name(tmp_path, dataset):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3))
    with pytest.raises(UsageError, match="tiny has no convolution to film"):
        recorder(tmp_path, dataset, model)


def test_modules_that_do_not_run_are_not_looked_at(tmp_path, dataset):
    model = tiny_net()
    model.unused = torch.nn.ReLU()
    list(recorder(tmp_path, dataset, model).take(0))
    assert "unused" not in {layer["name"] for layer in read_frame(tmp_path, 0).layers}


def test_images_are_chosen_class_by_class():
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 0])
    assert film._spread_over_classes(labels, 5).tolist() == [0, 3, 5, 1, 4]
    assert sorted(film._spread_over_classes(labels, 99).tolist()) == list(range(7))


def test_numbers_too_large_for_half_precision_are_cut():
    values = film._small(torch.tensor([1e9, float("nan"), -1e9]))
    assert values.tolist() == [65504, 0, -65504]
