import inspect

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from bench import gpu, overheads
from bench.accuracy import mirrored, on_the_way, once
from bench.figures import attempt
from bench.given import given
from bench.memory import computed_bytes, peak_bytes, training_figures
from bench.overheads import Failed, first_step, shares, told_by
from bench.packed import pack, unpack
from bench.parity import KNOBS, compared
from bench.served import page, serving
from bench.stand_ins import noise
from convscope.data import load_dataset
from convscope.data.memory import dataset_in_memory
from convscope.methods import METHODS
from convscope.models import build_model
from convscope.training.evaluate import evaluate
from convscope.types import Event, Network, Picture
from tests.patience import PATIENCE
from tests.web.served import CONFIG, START, end_event, train_event, write_run


def test_shares_are_seconds_of_the_log():
    events = [
        Event("film", 0, 0.5, {"seconds": 0.5}),
        Event("checkpoint", 0, 1.0, {"seconds": 0.25}),
        Event("film", 10, 5.0, {"seconds": 0.5}),
        Event("train", 20, 10.0, {}),
        Event("end", 20, 99.0, {"reason": "finished"}),
    ]
    film, checkpoints = shares(events)
    assert (film.value, checkpoints.value) == (0.1, 0.025)
    assert (film.met, checkpoints.met) == (False, False)
    assert film.note.startswith("2 frames, 1.00 s of 10.0 s")


def test_what_fails_is_told_in_its_last_words():
    [failed] = attempt("the start", lambda: [told_by("-c", "raise SystemExit('no such\\nluck')")])
    assert (failed.what, failed.value, failed.note) == ("the start", None, "Failed: luck")
    with pytest.raises(Failed, match="it said nothing"):
        told_by("-c", "raise SystemExit(3)")


def test_the_first_step_ends_the_command(tmp_path):
    run = tmp_path / "run"
    imported, stepped = first_step("train", "digits", "--model", "resnet8", "--no-film", "--quiet", "--out", str(run))
    assert 0 < imported < stepped
    assert (run / "run.json").exists()
    assert not [line for line in (run / "events.jsonl").read_text().splitlines() if '"train"' in line]


def test_a_server_is_asked_as_a_browser_asks_it(tmp_path):
    write_run(tmp_path / "run", [START, train_event(10)])
    with serving("watch", str(tmp_path)) as (process, address), page(address) as fetch:
        assert b'"name":"run"' in fetch("/api/runs").replace(b": ", b":")
        with pytest.raises(SystemExit, match="answers 404"):
            fetch("/api/runs/none/series")
    assert process.wait(timeout=PATIENCE) is not None


def accuracy_config():
    phases = [{"epochs": 2, "steps": None}, {"epochs": None, "steps": 60}]
    recipe = {"name": "fast", "model": "resnet8", "batch_size": 64, "seed": 3, "phases": phases}
    return {**CONFIG, "recipe": recipe}


def look(step, accuracy):
    return Event("eval", step, step * 1.0, {"epoch": step / 10, "test_accuracy": accuracy})


def test_the_time_to_an_accuracy_is_that_of_the_last_step():
    events = [START, look(10, 0.5), train_event(20, seconds=2.0), end_event(20)]
    [figure] = once(accuracy_config(), events, (70.0, 80.0, 90.0))
    assert figure.what == "80 %: fast (resnet8, batch 64, 2 epochs + 60 steps, seed 3), whole"
    assert figure.value == 40
    assert figure.note == "80.00 % at the end, test images also looked at at the last step"
    [below] = once(accuracy_config(), events, (90.0,))
    assert below.note.endswith("below all thresholds")
    assert once(accuracy_config(), events[:-1], (70.0,))[0].note == "not finished"


def test_the_first_of_many_looks_counts_and_no_more_are_told_after_one_that_none_reached():
    events = [look(10, 0.5), look(20, 0.75), look(30, 0.72)]
    figures = on_the_way(accuracy_config(), events, (40.0, 70.0, 80.0, 90.0))
    assert [figure.value for figure in figures] == [10, 20, None]
    assert figures[2].note == "never, nor more: 75.00 % at best"
    assert on_the_way(accuracy_config(), events[:1], (40.0,)) == []


def test_mirrored_answers_are_the_mean_of_both():
    """A network that looks for brightness on the left alone, and images that are bright on the right, or dark."""
    images = torch.zeros(5, 3, 2, 2, dtype=torch.uint8)
    images[:4, :, :, 1] = 255
    labels = torch.tensor([1, 1, 1, 1, 0])

    class Left(nn.Module):
        def forward(self, inputs):
            bright = inputs[:, 0, 0, 0]
            return torch.stack([0.5 - bright, bright - 0.25], 1)  # for a bright half: (0, 0.25) on average

    dataset = dataset_in_memory("halves", (images, labels), (images, labels), ("dark", "bright"), source="drawn")
    network = Network(Left(), (0.0,) * 3, (1.0,) * 3, (2, 2), ("dark", "bright"), "left")
    assert evaluate(network, dataset.test, device=torch.device("cpu")).accuracy == 0.2
    assert mirrored(network, dataset) == 100


def test_computed_bytes_are_those_of_every_part():
    dataset = noise(50)
    found = {batch: computed_bytes(dataset, "resnet8", batch, "fp32") for batch in (8, 12, 16)}
    assert found[8]["data"] == (50 + 50) * (3 * 32 * 32 + 8)
    parameters = sum(each.numel() for each in build_model("resnet8", class_count=10, seed=0).parameters())
    assert found[8]["optimizer"] == 4 * parameters
    assert found[8]["weights"] > found[8]["optimizer"]
    growth = found[12]["activations"] - found[8]["activations"]
    assert growth == found[16]["activations"] - found[12]["activations"] > 4 * 16 * 32 * 32 * 4


def test_peaks_are_held_against_what_is_computed_with_the_libraries_in_both_or_neither():
    told = {
        "peak": 700.0,
        "reading": 600.0,
        "libraries": 400.0,
        "data": 100,
        "weights": 50,
        "optimizer": 25,
        "activations": 25,
    }
    whole, beyond = training_figures([told])[1:]
    assert whole.value == 700 / 600
    assert beyond.value == 300 / 200


def test_the_peak_remembers_what_is_gone():
    before = peak_bytes()
    block = np.ones(200_000_000, np.uint8)
    del block
    assert peak_bytes() >= max(before, 200e6)


def test_a_packed_folder_is_the_folder(tmp_path):
    draw = np.random.default_rng(0)
    for half, count in (("train", 3), ("test", 2)):
        for name in ("cat", "dog"):
            folder = tmp_path / "images" / half / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / f"{number}.jpg")
    pack(tmp_path / "images", tmp_path / "packed.npz")
    expected, found = load_dataset(f"folder:{tmp_path / 'images'}", image_size=8), unpack(tmp_path / "packed.npz")
    assert found.fingerprint == expected.fingerprint
    assert found.class_names == ("cat", "dog")
    assert found.train.images.shape == (6, 3, 8, 8)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_given_what_it_needs(name):
    method = METHODS[name].load()
    knobs = KNOBS.get(name, {})
    inspect.signature(method).bind("a network", **given(method, noise(10)), **knobs)
    assert ("dataset" in given(method, noise(10))) == ("dataset" in inspect.signature(method).parameters)


def tiny(weight):
    model = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.constant_(model.weight, weight)
    return Network(model, (0.0,), (1.0,), (2, 2), (), "tiny")


def drawn(network):
    values = network.model(torch.ones(1, 1, 2, 2)).detach().numpy()
    return Picture("a", "A", values, np.zeros((1, 2), np.float32), "sequential", (), "")


def test_parity_is_the_largest_difference_over_the_largest_value():
    figure = compared("maps", drawn, tiny(2.0), tiny(2.5), 0.1)
    assert figure.value == 0.25
    assert figure.met is False
    assert compared("maps", drawn, tiny(2.0), tiny(2.0), 0.1).met is True


def test_parity_tells_of_pictures_that_fail_or_are_not_alike():
    def fail(network):
        raise RuntimeError("no kernel | here")

    assert compared("maps", fail, tiny(1.0), tiny(1.0), 0.1).note == "RuntimeError: no kernel / here"

    def of_its_size(network):
        size = int(network.model.weight.item())
        return Picture("a", "A", np.zeros((1, 1, size, size)), np.zeros((1, 2)), "sequential", (), "")

    assert compared("maps", of_its_size, tiny(1.0), tiny(2.0), 0.1).met is False


def test_the_gpu_script_goes_on_after_a_part_that_fails(monkeypatch, tmp_path, capsys):
    def fail(asked):
        raise RuntimeError("out of | memory")

    monkeypatch.setitem(gpu.MEASURES, "patterns", fail)
    given = ["--device", "cpu", "--quick", "--model", "resnet8", "--parts", "rate", "patterns", "top-images"]
    gpu.main([*given, "--json", str(tmp_path / "told.json")])
    shown = capsys.readouterr().out
    assert "| patterns | not measured |  |  | RuntimeError: out of / memory |" in shown
    assert "| top images | " in shown
    assert "yes" not in shown  # nothing is held against quick figures


def test_the_gpu_script_reads_a_training_from_its_events():
    speeds = [Event("train", step, step / 10, {"images_per_second": step * 1.0}) for step in (10, 20, 30, 40)]
    told = iter([*speeds, Event("end", 40, 9.0, {"reason": "finished", "test_accuracy": 0.875})])
    assert gpu.learned(told) == (87.5, 4.0, 35.0)


def test_a_click_asks_for_all_it_shows(monkeypatch):
    asked = []
    monkeypatch.setattr(overheads.time, "perf_counter", lambda: float(len(asked)))
    assert overheads.clicked(lambda path: asked.append(path) or b"", "/a", "/b") == 2
    assert asked == ["/a", "/b"]
