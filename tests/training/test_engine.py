"""Devices and precisions that are asked for by name."""

import pytest
import torch

from convscope.errors import UsageError
from convscope.training import engine
from convscope.training.engine import describe_machine, describe_versions, place, resolve_precision, select_device

from .conftest import tiny_net


def test_devices_of_a_machine_without_gpu(monkeypatch):
    monkeypatch.setattr(engine.torch.cuda, "device_count", lambda: 0)
    assert select_device("auto") == select_device("cpu") == torch.device("cpu")
    for name in ("cuda", "cuda:0", "tpu", "mps"):
        with pytest.raises(UsageError, match=f'no device "{name}" on this machine; allowed: auto, cpu$'):
            select_device(name)


def test_devices_of_a_machine_with_two(monkeypatch):
    monkeypatch.setattr(engine.torch.cuda, "device_count", lambda: 2)
    assert [select_device(name).type for name in ("auto", "cuda", "cuda:1", "cpu")] == ["cuda"] * 3 + ["cpu"]
    with pytest.raises(UsageError, match="allowed: auto, cpu, cuda:0, cuda:1"):
        select_device("cuda:2")


@pytest.mark.parametrize(
    ("release", "has_bf16", "expected"),
    [("2.15.0", True, "bf16"), ("2.15.0", False, "fp32"), ("2.14.1", True, "fp32"), ("3.0.0+cpu", True, "bf16")],
)
def test_auto_precision_follows_its_rule(release, has_bf16, expected, monkeypatch):
    monkeypatch.setattr(engine.torch, "__version__", release)
    monkeypatch.setattr(engine.torch.cpu, "_is_avx512_bf16_supported", lambda: has_bf16)
    assert resolve_precision("auto", torch.device("cpu")) == expected
    assert resolve_precision("fp32", torch.device("cpu")) == "fp32"
    assert resolve_precision("bf16", torch.device("cpu")) == "bf16"


def test_a_placed_model_computes_the_same():
    model, inputs = tiny_net().eval(), torch.rand(2, 3, 8, 8)
    before = model(inputs)
    torch.testing.assert_close(place(model, torch.device("cpu"))(inputs), before)


def test_provenance_names_what_bits_depend_on():
    machine, versions = describe_machine(torch.device("cpu")), describe_versions()
    assert machine["threads"] == torch.get_num_threads()
    assert machine["processor"]
    assert versions["torch"] == torch.__version__
    assert set(versions) == {"convscope", "python", "torch", "numpy"}


def test_a_processor_is_told_with_what_its_arithmetic_depends_on(monkeypatch):
    """Or two that share a name, or one with AMX switched off, would be taken for the same machine."""
    monkeypatch.setattr(engine.torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    for key in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(key, raising=False)
    told = []
    for capabilities in ({}, {"avx512_bf16": True}, {"avx512_bf16": True, "amx_bf16": True}):
        monkeypatch.setattr(engine.torch.cpu, "get_capabilities", lambda has=capabilities: has, raising=False)
        told.append(describe_machine(torch.device("cpu"))["processor"].rpartition(" (")[2])
    assert told == ["AVX512)", "AVX512, AVX512-BF16)", "AVX512, AVX512-BF16, AMX)"]
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert describe_machine(torch.device("cpu"))["processor"].endswith("AMX, ONEDNN_MAX_CPU_ISA=AVX2)")
