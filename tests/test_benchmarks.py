"""The benchmark of one training step: its command line, and what its README says it measures. It is not run."""

import re
import sys
from pathlib import Path

import pytest

from benchmarks import sft_step

README = (Path(sft_step.__file__).with_name("README.md")).read_text(encoding="utf-8")


def test_it_says_how_it_is_called(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["sft_step", "--help"])
    with pytest.raises(SystemExit) as ended:
        sft_step.main()
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "--pairs" in said and "--steps" in said and "--side" not in said, "a side is for its own processes"


def test_the_readme_describes_its_sides_and_its_result() -> None:
    assert tuple(re.findall(r"^\| (\w+) \| (?!side)", README, re.MULTILINE))[1:] == sft_step.SIDES
    assert f"`uv run python -m {sft_step.__name__}`" in README and f"`{sft_step.RESULT.name}`" in README
    assert f"of {sft_step.BATCH})" in README.replace("\n", " ")
