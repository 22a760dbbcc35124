"""--tune: the faster engine is taken, a wrong one refused, a decision kept, and nothing believed that a file says."""

import copy
import dataclasses
import json

import pytest
import torch

from convscope.errors import UsageError
from convscope.training import probe, tune
from convscope.training.engine import Engine, training_forward
from convscope.training.tune import check_tune, choose_engine, engine_from_mapping
from convscope.types import Phase

from .conftest import tiny_net, tiny_recipe

CPU = torch.device("cpu")
BF16, FP32 = Engine("bf16"), Engine("fp32")
ROW_BY_ROW = Engine("fp32", "contiguous")
LONG = Phase("sgd", 0.05, steps=3000)
OPEN = {"precision": "auto", "memory_format": "auto"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(tune, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr("convscope.training.engine.torch.cpu._is_avx512_bf16_supported", lambda: False)
    return tmp_path / "cache" / "engines"


@pytest.fixture
def seconds(monkeypatch):
    """The seconds of a step with each engine, in place of measured ones."""
    told = {FP32: 1.0, ROW_BY_ROW: 1.2, BF16: 2.0, Engine("bf16", "contiguous"): 2.0}
    monkeypatch.setattr(probe.Probe, "_duel", lambda self, first, second: (told[first], told[second]))
    return told


def choose(dataset, how="auto", **values):
    return choose_engine(tiny_net(), dataset, tiny_recipe(LONG, **(OPEN | values)), device=CPU, tune=how)


def test_the_fastest_is_taken_and_all_are_told(dataset, seconds):
    assert choose(dataset).engine == FP32
    seconds[Engine("bf16", "contiguous")] = 0.5
    decision = choose(dataset, batch_size=10)
    assert decision.engine == Engine("bf16", "contiguous")
    assert decision.how == "measured"
    assert decision.images_per_second["bf16, contiguous, eager"] == 20
    assert str(decision).startswith(
        "engine: bf16, contiguous, eager (measured, images/s: fp32, channels-last, eager: 10;"
    )


def test_what_is_hardly_faster_is_not_taken_so_that_noise_decides_nothing(dataset, seconds):
    seconds[ROW_BY_ROW] = 0.96
    assert choose(dataset).engine == FP32


def test_a_wrong_engine_is_refused_however_fast(dataset, seconds, monkeypatch):
    seconds[ROW_BY_ROW] = 0.01

    def broken(model, engine, device):
        if engine == ROW_BY_ROW:
            model.conv2.weight.register_hook(lambda gradient: gradient.flip(0))
        return training_forward(model, engine, device)

    monkeypatch.setattr(probe, "training_forward", broken)
    decision = choose(dataset)
    assert decision.engine == FP32
    assert "cosine with fp32's" in decision.refused[str(ROW_BY_ROW)]


def test_one_that_fails_is_refused_and_the_rule_itself_can_be(dataset, seconds, monkeypatch):
    monkeypatch.setattr("convscope.training.engine.torch.cpu._is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr("convscope.training.engine.torch.__version__", "2.15.0")

    def broken(model, engine, device):
        if engine.precision == "bf16":
            raise RuntimeError("could not create a primitive")
        return training_forward(model, engine, device)

    monkeypatch.setattr(probe, "training_forward", broken)
    decision = choose(dataset)
    assert decision.engine == FP32
    assert decision.refused == dict.fromkeys(
        ("bf16, channels-last, eager", "bf16, contiguous, eager"), "RuntimeError: could not create a primitive"
    )


@pytest.mark.parametrize(
    ("values", "how"),
    [
        ({}, "off"),
        ({"precision": "fp32", "memory_format": "channels-last"}, "auto"),
        ({"phases": (dataclasses.replace(LONG, steps=100),)}, "auto"),
    ],
)
def test_nothing_is_measured_where_that_is_not_wanted_or_does_not_pay(dataset, monkeypatch, values, how):
    monkeypatch.setattr(tune, "Probe", None)
    recipe = dataclasses.replace(tiny_recipe(LONG, **OPEN), **values)
    decision = choose_engine(tiny_net(), dataset, recipe, device=CPU, tune=how)
    assert (decision.engine, decision.how) == (FP32, "by rule")


def test_what_a_recipe_names_stays(dataset, seconds):
    seconds |= {Engine("bf16", "contiguous"): 0.1, ROW_BY_ROW: 0.1}
    assert choose(dataset, precision="fp32").engine == ROW_BY_ROW
    assert choose(dataset, memory_format="channels-last").engine == FP32


def test_a_decision_is_kept_for_the_same_training_only(dataset, seconds, monkeypatch):
    first = choose(dataset)
    seconds.clear()
    again = choose(dataset)
    assert (again.engine, again.images_per_second) == (first.engine, first.images_per_second)
    assert again.how == "measured before"
    for change in ({"batch_size": 4}, {"memory_format": "contiguous"}, {"phases": None}):
        if "phases" in change:
            monkeypatch.setattr(tune, "describe_versions", lambda: {"torch": "9"})
            change = {}
        with pytest.raises(KeyError):  # measured anew
            choose(dataset, **change)


@pytest.mark.parametrize(
    "change",
    [
        lambda kept: b"",
        lambda kept: b"[" * 100_000,
        lambda kept: b"x" * 200_000,
        lambda kept: b"null",
        lambda kept: json.dumps(kept | {"key": {}}).encode(),
        lambda kept: json.dumps(kept | {"decision": []}).encode(),
        lambda kept: json.dumps(plant(kept, precision="fp8")).encode(),
        lambda kept: json.dumps(plant(kept, precision=["bf16"])).encode(),
        lambda kept: json.dumps(plant(kept, compiled=1)).encode(),
        lambda kept: json.dumps(plant(kept, compiled=True)).encode(),  # the recipe says no
        lambda kept: json.dumps(plant(kept, extra="__import__('os')")).encode(),
        lambda kept: json.dumps(kept).replace('"images_per_second": {', '"images_per_second": {"a": NaN, ').encode(),
    ],
)
def test_a_kept_decision_that_is_not_ours_is_not_believed(dataset, seconds, cache, change):
    choose(dataset)
    (path,) = cache.iterdir()
    path.write_bytes(change(json.loads(path.read_bytes())))
    assert choose(dataset).how == "measured"
    assert choose(dataset).how == "measured before"


def plant(kept, **values):
    kept = copy.deepcopy(kept)
    kept["decision"]["engine"] |= values
    return kept


def test_a_file_is_followed_where_the_recipe_allows(dataset, tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"format": 1, "engine": dataclasses.asdict(ROW_BY_ROW)}))
    assert choose(dataset, how=str(path)).engine == ROW_BY_ROW
    assert choose(dataset, how=str(path)).how == "from run.json"
    with pytest.raises(UsageError, match="has precision fp32, the recipe bf16; allow it with --set precision=auto"):
        check_tune(str(path), tiny_recipe(LONG, precision="bf16", memory_format="auto"))
    path.write_text("{}")
    with pytest.raises(UsageError, match="an engine has the keys precision, memory_format, compiled"):
        check_tune(str(path), tiny_recipe(LONG))
    with pytest.raises(UsageError, match="fast cannot be read as JSON; allowed: auto, off, or the run.json of a run"):
        check_tune("fast", tiny_recipe(LONG))


def test_values_are_checked_by_name():
    assert engine_from_mapping(dataclasses.asdict(BF16)) == BF16
    with pytest.raises(UsageError, match='engine key "memory_format" is .rows.; allowed: channels-last, contiguous'):
        engine_from_mapping(dataclasses.asdict(BF16) | {"memory_format": "rows"})


def test_the_model_is_left_as_found_by_a_real_probe(dataset, monkeypatch):
    monkeypatch.setattr(probe, "STEPS", 2)
    model = tiny_net()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    decision = choose_engine(model, dataset, tiny_recipe(LONG, **OPEN), device=CPU, tune="auto")
    assert decision.how == "measured"
    assert len(decision.images_per_second) + len(decision.refused) == 4
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_compiling_is_tried_only_where_it_can_pay(dataset, seconds, monkeypatch):
    tried = []
    monkeypatch.setattr(probe.Probe, "_try_compiled", lambda self, best, *_: tried.append(best) or best)
    choose(dataset, compiled="auto")  # 3,000 steps of a second
    assert tried == [FP32]
    seconds[FP32] = 0.1
    choose(dataset, compiled="auto", batch_size=4)
    assert tried == [FP32]


def test_compiling_is_tried_where_nothing_else_is_left_open(dataset, seconds, monkeypatch):
    tried = []
    monkeypatch.setattr(probe.Probe, "_try_compiled", lambda self, best, *_: tried.append(best) or best)
    choose(dataset, precision="fp32", memory_format="channels-last", compiled="auto")
    assert tried == [FP32]


def test_a_compiled_engine_must_win_back_its_compiling(dataset, seconds, monkeypatch):
    compiled = dataclasses.replace(FP32, compiled=True)
    seconds[compiled] = 0.5
    monkeypatch.setattr(probe.Probe, "_wrong", lambda *_: "")
    clock = iter([0.0, 100.0, 0.0, 5000.0])
    monkeypatch.setattr(probe.time, "perf_counter", lambda: next(clock))
    assert choose(dataset, compiled="auto").engine == compiled
    assert choose(dataset, compiled="auto", batch_size=4).engine == FP32
