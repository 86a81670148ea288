"""What the probe promises: settings that fit this machine, found once, and nothing claimed that is not so."""

import time
import types

import pytest
import torch

from smol_course import hardware
from smol_course.runner import doctor


def test_prepare_twice_changes_nothing(trl_utils, capsys):
    first, patched = hardware.prepare(), trl_utils._use_triton
    second = hardware.prepare()
    assert first is second
    assert trl_utils._use_triton is patched
    line, again = capsys.readouterr().out.splitlines()
    assert line == again
    assert first.device in line


def test_the_machine_fits_the_probe():
    here = hardware.prepare()
    assert here.cores >= 1
    assert here.float32_rate > 0
    if here.bf16:
        assert here.bf16_rate >= 1.3 * here.float32_rate
    assert here.attention == ("eager" if here.device == "cpu" else "sdpa")


def test_the_probe_returns_rates_above_zero():
    assert all(rate > 0 for rate in hardware.matmul_rates(seconds=0.02))


def test_a_device_that_cannot_multiply_has_rates_zero():
    assert hardware.matmul_rates("meta:nowhere", seconds=0.01) == [0, 0]


@pytest.fixture
def asked_anew():
    """What is known of this machine is forgotten, before and after."""
    caches = (hardware.accelerator, hardware._set_up)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


def a_gpu(monkeypatch, name, operation):
    """Pretend that a GPU of that name is there, and that the small operation on it does this."""
    apis = {"cuda": torch.cuda, "mps": torch.backends.mps}
    for other, api in apis.items():
        monkeypatch.setattr(api, "is_available", lambda there=other == name: there)
    monkeypatch.setattr(hardware, "_small_operation", operation)


def never_ends(gpu):
    time.sleep(30)


def fails(gpu):
    raise RuntimeError("CUDA error: no kernel image is available.\nCompile with TORCH_USE_CUDA_DSA")


@pytest.mark.parametrize("gpu", ["cuda", "mps"])
def test_a_gpu_that_fails_is_not_used_and_that_is_one_sentence(monkeypatch, capsys, asked_anew, gpu):
    a_gpu(monkeypatch, gpu, fails)
    assert hardware.prepare().device == "cpu"
    sentence, line = capsys.readouterr().out.splitlines()
    assert sentence == (
        f"The {gpu} device is there but fails at a small product (CUDA error: no kernel image is available), "
        "so the CPU is used."
    )
    assert line.startswith("Machine: cpu, ") and hardware.accelerator()[0] == "cpu"
    assert doctor._torch()[1] == sentence, "one answer everywhere"
    # Libraries ask for themselves.
    assert not torch.cuda.is_available() and not torch.backends.mps.is_available()


def test_this_torch_has_no_such_gpu_whatever_it_says(monkeypatch, asked_anew):
    if torch.cuda.is_available():
        pytest.skip("there is a real one")
    a_gpu(monkeypatch, "cuda", hardware._small_operation)
    where, fault = hardware.accelerator()
    assert where == "cpu" and fault.endswith("so the CPU is used.") and "\n" not in fault


def test_a_gpu_that_does_not_answer_is_not_waited_for(monkeypatch, asked_anew):
    a_gpu(monkeypatch, "cuda", never_ends)
    bounded = hardware.bounded
    limits = []
    monkeypatch.setattr(hardware, "bounded", lambda seconds, work: limits.append(seconds) or bounded(0.1, work))
    assert hardware.accelerator()[0] == "cpu" and "no answer in 10 seconds" in hardware.accelerator()[1]
    assert limits == [10]


def test_a_gpu_that_works_is_used_and_asked_once(monkeypatch, asked_anew):
    asked = []
    a_gpu(monkeypatch, "cuda", asked.append)
    assert [hardware.accelerator()[0], hardware.accelerator()[0]] == ["cuda", "cuda"] and asked == ["cuda"]
    assert hardware.accelerator()[1] == "" and torch.cuda.is_available()


def test_the_small_operation_is_one_that_can_be_wrong(monkeypatch):
    hardware._small_operation("cpu")
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda self, other: self * 0)
    with pytest.raises(ValueError, match="in the place of 1024"):
        hardware._small_operation("cpu")


@pytest.mark.parametrize(
    ("rates", "bf16"), [((0.0, 0.0), False), ((0.0, 5.0), False), ((1.0, 1.2), False), ((1, 2), True)]
)
def test_a_probe_that_measured_nothing_is_no_yes(monkeypatch, asked_anew, rates, bf16):
    monkeypatch.setattr(hardware, "matmul_rates", lambda device: rates)
    assert hardware.prepare().bf16 is bf16


def test_the_two_kinds_take_turns(monkeypatch):
    kinds = []
    linear = torch.nn.functional.linear
    noting = lambda x, weight: kinds.append(x.dtype) or linear(x, weight)  # noqa: E731
    monkeypatch.setattr(torch.nn.functional, "linear", noting)
    hardware.matmul_rates(seconds=0.3)
    assert kinds[2:6] == [torch.float32, torch.bfloat16] * 2, "after one unmeasured product of each"


@pytest.mark.parametrize(("system", "libc"), [("Windows", ""), ("Darwin", ""), ("Linux", "")])
def test_the_allocator_is_left_alone_without_glibc(monkeypatch, system, libc):
    def no_library(name):
        pytest.fail(f"{name} must not be opened")

    monkeypatch.setattr(hardware.platform, "system", lambda: system)
    monkeypatch.setattr(hardware.platform, "libc_ver", lambda: (libc, ""))
    monkeypatch.setattr(hardware.ctypes, "CDLL", no_library)
    assert hardware._keep_memory() is False


def test_an_allocator_that_refuses_is_not_claimed(monkeypatch):
    monkeypatch.setattr(hardware.platform, "system", lambda: "Linux")
    monkeypatch.setattr(hardware.platform, "libc_ver", lambda: ("glibc", "2.39"))
    refuses = types.SimpleNamespace(mallopt=lambda name, value: 0)
    monkeypatch.setattr(hardware.ctypes, "CDLL", lambda name: refuses)
    assert hardware._keep_memory() is False


@pytest.mark.parametrize(
    ("wish", "number"),
    [("3", 3), (" 2 ", 2), ("02", 2), ("", None), ("many", None), ("0", None), ("-1", None), ("²", None)]
    + [("1e3", None), ("9" * 30, None), ("100000", None)],
)
def test_omp_num_threads_decides_when_it_is_a_number(monkeypatch, wish, number):
    monkeypatch.setenv("OMP_NUM_THREADS", wish)
    used, remark = hardware.threads()
    assert used == (number or hardware.physical_cores())
    assert bool(remark) is (number is None and wish != "")
    assert doctor._cores()[0] == str(used)


def test_an_odd_omp_num_threads_is_said(monkeypatch, capsys, asked_anew):
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert hardware.prepare().cores == hardware.physical_cores()
    assert "OMP_NUM_THREADS=many is no number of threads" in capsys.readouterr().out
    assert doctor._cores()[1].startswith("OMP_NUM_THREADS=many is no number")


def test_a_mac_s_processor_is_read_from_sysctl(monkeypatch):
    told = (
        "machdep.cpu.brand_string: Apple M2\nhw.optional.neon: 1\nhw.optional.arm.FEAT_BF16: 1\nhw.optional.avx2_0: 0\n"
    )
    monkeypatch.setattr(hardware.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(hardware.subprocess, "run", lambda *_, **__: types.SimpleNamespace(stdout=told))
    hardware._cpu_fields.cache_clear()
    try:
        assert (hardware.cpu_name(), hardware.instructions()) == ("Apple M2", "Arm bf16")
    finally:
        hardware._cpu_fields.cache_clear()


def test_a_container_s_limit_counts_as_the_memory(monkeypatch, tmp_path):
    (tmp_path / "memory.max").write_text(f"{2 * 2**30}\n")
    (tmp_path / "memory.current").write_text(f"{2**30}\n")
    monkeypatch.setattr(hardware, "_CGROUP", tmp_path)
    total, free = hardware.memory()
    assert total == 2 * 2**30
    assert free <= 2**30


def test_no_limit_is_the_whole_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(hardware, "_CGROUP", tmp_path)
    whole = hardware.memory()[0]
    (tmp_path / "memory.max").write_text("max\n")
    assert hardware.memory()[0] == whole


def test_the_short_description_has_cores_and_memory():
    assert "core" in hardware.describe_short()
    assert "GB" in hardware.describe_short()
