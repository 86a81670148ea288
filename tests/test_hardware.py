"""What the probe promises: settings that fit this machine, found once, and nothing claimed that is not so."""

import types

import pytest
import torch

from smol_course import hardware


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
    assert hardware.matmul_rate(torch.float32, seconds=0.02) > 0
    assert hardware.matmul_rate(torch.bfloat16, seconds=0.02) > 0


def test_a_device_that_cannot_multiply_a_dtype_has_rate_zero():
    assert hardware.matmul_rate(torch.uint16, seconds=0.01) == 0


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


@pytest.mark.parametrize(("wish", "threads"), [("3", 3), ("", None), ("many", None), ("0", None)])
def test_omp_num_threads_decides_when_it_is_a_number(monkeypatch, wish, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", wish)
    assert hardware._threads() == (threads or hardware.physical_cores())


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
