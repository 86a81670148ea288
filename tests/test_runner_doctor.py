"""What ``smol doctor`` promises: every row has a value, and what is short gets advice."""

import types

import pytest

from smol_course import hardware
from smol_course.runner import doctor, kernel


def test_describe_names_everything_and_gives_advice_as_text(monkeypatch, tmp_path):
    monkeypatch.setenv("SMOL_CACHE", str(tmp_path))
    rows = doctor.describe()
    assert [name for name, _, _ in rows] == list(doctor._ROWS)
    assert all(isinstance(value, str) and value and isinstance(advice, str) for _, value, advice in rows)
    found = {name: (value, advice) for name, value, advice in rows}
    assert found["Notebook kernel"][0].startswith("starts, and ran a cell in") and not found["Notebook kernel"][1]
    assert not list(tmp_path.iterdir()), "it leaves nothing behind"


@pytest.mark.parametrize(
    ("setting", "value", "rows"),
    [
        ("SMOL_CACHE", "relative", {"Cache", "Model"}),
        ("SMOL_DATA", "my/data", {"Data"}),
        ("SMOL_HUB", "perhaps", {"Model"}),
    ],
)
def test_an_odd_setting_is_a_row_and_not_the_end(monkeypatch, setting, value, rows):
    monkeypatch.setitem(doctor._ROWS, "Notebook kernel", lambda: ("starts", ""))
    monkeypatch.setenv(setting, value)
    odd = {name: advice for name, value, advice in doctor.describe() if value == "cannot be used"}
    assert set(odd) == rows and all(setting in advice for advice in odd.values())


def test_a_kernel_that_fails_is_a_row(monkeypatch):
    monkeypatch.setattr(kernel.sys, "executable", "/no/such/python")
    monkeypatch.setattr(doctor, "_ROWS", {"Notebook kernel": doctor._kernel})
    ((name, value, advice),) = doctor.describe()
    assert value == "cannot be used" and advice

    def dies(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(doctor, "execute", dies)
    assert "Read-only" in doctor.describe()[0][2]


def test_a_folder_that_cannot_be_written_is_told(monkeypatch, tmp_path):
    def refuses(dir):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(doctor.tempfile, "TemporaryDirectory", refuses)
    value, advice = doctor._place(tmp_path / "not yet", "set SMOL_DATA")
    assert value.startswith(str(tmp_path))
    assert advice == "It cannot be written (Read-only file system): set SMOL_DATA to where you may write."


@pytest.mark.parametrize(
    ("total", "free", "advice"),
    [(2, 1, "up to 8 GB"), (16, 5, "Close other programs"), (8, 6, ""), (2, 0, "larger machine")],
)
def test_little_memory_is_told_what_to_do(monkeypatch, total, free, advice):
    monkeypatch.setattr(doctor, "memory", lambda: (total * 2**30, free * 2**30))
    value, said = doctor._memory()
    assert value == f"{total:.1f} GB, {free:.1f} GB free"
    assert advice in said if advice else said == ""


def test_the_memory_is_the_container_s(monkeypatch, tmp_path):
    (tmp_path / "memory.max").write_text(f"{2 * 2**30}\n")
    (tmp_path / "memory.current").write_text(f"{2**30}\n")
    monkeypatch.setattr(hardware, "_CGROUP", tmp_path)
    assert "8 GB" in doctor._memory()[1]


def test_one_core_is_told_what_it_costs(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(hardware, "physical_cores", lambda: 1)
    value, advice = doctor._cores()
    assert value == "1" and "twice the minutes" in advice
    monkeypatch.setattr(hardware, "physical_cores", lambda: 2)
    assert doctor._cores() == ("2", "")


def test_a_cache_that_is_not_there_yet_is_asked_about_above(monkeypatch, tmp_path):
    monkeypatch.setenv("SMOL_CACHE", str(tmp_path / "not" / "yet"))
    asked = []
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: asked.append(path) or types.SimpleNamespace(free=4e9))
    value, advice = doctor._ROWS["Cache"]()
    assert asked == [tmp_path] and str(tmp_path) in value and "SMOL_CACHE" in advice


def test_no_bf16_instructions_is_said(monkeypatch):
    monkeypatch.setattr(doctor, "instructions", lambda: "AVX2")
    assert "float32" in doctor._instructions()[1]
    monkeypatch.setattr(doctor, "instructions", lambda: "AVX-512 bf16")
    assert doctor._instructions()[1] == ""
