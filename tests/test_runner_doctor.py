"""What ``smol doctor`` promises: every row has a value, and what is short gets advice."""

import types

import pytest

from smol_course import hardware
from smol_course.runner import doctor


def test_describe_names_everything_and_gives_advice_as_text():
    rows = doctor.describe()
    names = [name for name, _, _ in rows]
    assert names == ["Python", "Cores", "Memory", "Disk", "PyTorch", "Accelerator", "Instruction set"]
    assert all(isinstance(value, str) and value and isinstance(advice, str) for _, value, advice in rows)


def test_an_old_python_is_told_what_to_do(monkeypatch):
    monkeypatch.setattr(doctor.sys, "version_info", (3, 10, 4))
    assert "3.11" in doctor._python_row()[2]


@pytest.mark.parametrize(
    ("total", "free", "advice"),
    [(2, 1, "up to 8 GB"), (16, 5, "Close other programs"), (8, 6, ""), (2, 0, "larger machine")],
)
def test_little_memory_is_told_what_to_do(monkeypatch, total, free, advice):
    monkeypatch.setattr(doctor, "memory", lambda: (total * 2**30, free * 2**30))
    name, value, said = doctor._memory_row()
    assert (name, value) == ("Memory", f"{total:.1f} GB, {free:.1f} GB free")
    assert advice in said if advice else said == ""


def test_the_memory_is_the_container_s(monkeypatch, tmp_path):
    (tmp_path / "memory.max").write_text(f"{2 * 2**30}\n")
    (tmp_path / "memory.current").write_text(f"{2**30}\n")
    monkeypatch.setattr(hardware, "_CGROUP", tmp_path)
    assert "8 GB" in doctor._memory_row()[2]


def test_one_core_is_told_what_it_costs(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(doctor, "physical_cores", lambda: 1)
    name, value, advice = doctor._cores_row()
    assert (name, value) == ("Cores", "1") and "twice the minutes" in advice
    monkeypatch.setattr(doctor, "physical_cores", lambda: 2)
    assert doctor._cores_row() == ("Cores", "2", "")


def test_a_cache_that_is_not_there_yet_is_asked_about_above(monkeypatch, tmp_path):
    monkeypatch.setenv("SMOL_CACHE", str(tmp_path / "not" / "yet"))
    asked = []
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: asked.append(path) or types.SimpleNamespace(free=4e9))
    _, value, advice = doctor._disk_row()
    assert asked == [tmp_path] and str(tmp_path) in value and "SMOL_CACHE" in advice


def test_no_bf16_instructions_is_said(monkeypatch):
    monkeypatch.setattr(doctor, "instructions", lambda: "AVX2")
    assert "float32" in doctor._instructions_row()[2]
    monkeypatch.setattr(doctor, "instructions", lambda: "AVX-512 bf16")
    assert doctor._instructions_row()[2] == ""
