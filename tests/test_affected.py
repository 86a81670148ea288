"""What `.ci/run --changed` runs: for each kind of file at least the tests that must be, and for every file one."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[1]


def load(root: Path) -> ModuleType:
    """`.ci/affected.py` of a checkout, with nothing remembered of another."""
    spec = importlib.util.spec_from_file_location("affected_here", root / ".ci" / "affected.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


affected = load(ROOT)


def git(root: Path, *words: str) -> str:
    """What git says in a checkout; the test is skipped where there is none."""
    name = ("-c", "user.name=a", "-c", "user.email=a@b")
    done = subprocess.run(["git", *name, *words], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this is no git checkout: {done.stderr.strip()}")
    return done.stdout


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("2_preference_alignment/dpo.md", "contracts data lessons tracked"),
        ("6_synthetic_datasets/quality.md", "contracts lessons synthetic"),
        ("3_parameter_efficient_finetuning/README.md", "contracts lessons"),
        ("1_instruction_tuning/submissions/README.md", "contracts"),
        ("README.md", "contracts environment"),
        ("docs/setup.md", "contracts environment"),
        ("docs/glossary.md", "contracts"),
        ("docs/images/result.py", "contracts"),
        ("docs/images/result.svg", "contracts"),
        ("2_preference_alignment/images/dpo.svg", "contracts"),
        ("3_parameter_efficient_finetuning/notebooks/lora.py", "contracts exercises"),
        ("5_vision_language_models/notebooks/vlm_usage.py", "contracts exercises vision"),
        ("3_parameter_efficient_finetuning/notebooks/lora.ipynb", "contracts lessons"),
        ("2_preference_alignment/notebooks/dpo.ipynb", "artifacts contracts lessons"),
        ("6_synthetic_datasets/studies/instruction_datasets.json", "contracts lessons"),
        ("2_preference_alignment/studies/grpo.py", "contracts"),
        ("4_evaluation/solutions/custom_evaluation.py", "contracts exercises"),
        ("smol_course/exercises/dpo.py", "contracts exercises"),
        ("smol_course/data/train.jsonl", "contracts data evaluation lessons synthetic"),
        ("smol_course/data/tasks.jsonl", "agents agents_calendar agents_traces artifacts data"),
        ("smol_course/data/CARD.md", "contracts data"),
        ("smol_course/artifacts/organiser_lora/adapter_model.safetensors", "artifacts contracts evaluation"),
        ("smol_course/evaluation/reports/start.json", "contracts evaluation"),
        ("recipes/organiser_sft.py", "artifacts"),
        ("recipes/vlm.py", "artifacts vision"),
        ("recipes/jottings.py", "synthetic"),
        ("docs/images/benchmarks.py", "benchmarks contracts"),
        ("benchmarks/sft_step.py", "benchmarks"),
        ("benchmarks/pairs.py", "benchmarks"),
        ("benchmarks/README.md", "benchmarks contracts"),
        ("smol_course/metrics.py", "contracts metrics lessons"),
        ("smol_course/settings.py", "contracts data exercises"),
        ("smol_course/errors.py", "contracts models runner"),
        ("smol_course/files.py", "contracts"),
        ("smol_course/cli.py", "contracts runner"),
        ("smol_course/agents/calendar.py", "agents agents_calendar agents_page agents_tools"),
        ("smol_course/agents/sandbox_child.py", "agents_sandbox contracts"),
        ("smol_course/inference/front.py", "contracts environment inference_front inference_gguf"),
        ("smol_course/inference/Dockerfile", "environment"),
        ("smol_course/runner/report.py", "contracts runner"),
        ("tests/test_orpo.py", "orpo"),
        ("tests/alternatives/lora.py", "exercises"),
        ("tests/conftest.py", "affected"),
        ("pyproject.toml", "contracts environment"),
        ("requirements.txt", "contracts environment"),
        (".python-version", "environment"),
        (".github/workflows/tests.yml", "environment"),
        (".github/pull_request_template.md", "contracts"),
        (".gitattributes", "environment"),
        (".ci/run", "affected environment"),
        (".ci/affected.py", "affected"),
        (".devcontainer/devcontainer.json", "environment"),
        ("LICENSE", "environment"),
    ],
)
def test_each_kind_of_file_runs_its_tests(path: str, wanted: str) -> None:
    assert (ROOT / path).is_file(), "take another example"
    assert {f"test_{name}.py" for name in wanted.split()} <= set(affected.tests_of(path))


def test_what_everything_imports_does_not_run_everything() -> None:
    """A change runs less than the full run, whatever it is, and a kit's far less."""
    tests = len(list((ROOT / "tests").glob("test_*.py")))
    assert len(affected.tests_of("smol_course/settings.py")) < tests / 3
    assert len(affected.tests_of("smol_course/vision/pictures.py")) < tests / 3
    assert "test_agents_sandbox.py" not in affected.tests_of("smol_course/vision/model.py")


def uncovered(module: ModuleType, paths: list[str]) -> list[str]:
    """The files for which no test but the one for every file is run; a test file stands for itself."""
    return [
        path for path in paths if not set(module.tests_of(path)) - {Path(module.EVERY).name} and path != module.EVERY
    ]


def test_every_tracked_file_is_covered_by_a_test() -> None:
    paths = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    assert not uncovered(affected, [path for path in paths if path and (ROOT / path).exists()]), (
        "no test opens or imports these: write the smallest one that does, and its pattern into .ci/reads.toml"
    )
    unknown = ["Makefile", "docs/table.csv", "recipes/lost.py", "smol_course/data/more.parquet.gz", "9_more/x.txt"]
    assert uncovered(affected, [*unknown, "README.md"]) == [name for name in unknown if "data/" not in name]


def test_the_patterns_name_tests_and_match_files() -> None:
    table = tomllib.loads((ROOT / ".ci" / "reads.toml").read_text(encoding="utf-8"))["reads"]
    named = {test for tests in table.values() for test in tests}
    assert not [test for test in named if not (ROOT / "tests" / test).is_file()]
    paths = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    assert not [pattern for pattern in table if not any(affected.matches(pattern, path) for path in paths)]
    folders = [pattern for pattern in table if pattern.startswith("smol_course/artifacts/")]
    assert all(pattern.endswith("/*") for pattern in folders), "an artifact is one thing: its weights are opened unseen"


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("[0-9]*_*/*.md", "12_more/a.md", True),
        ("[0-9]*_*/*.md", "1_a/b/c.md", False),
        ("[0-9]*_*/*.md", "docs_1/a.md", False),
        ("**.md", "1_a/b/c.md", True),
        ("a.md", "aXmd", False),
        ("smol_course/**.py", "smol_course/a/b.py", True),
    ],
)
def test_patterns(pattern: str, path: str, fits: bool) -> None:
    assert affected.matches(pattern, path) is fits


# --- In a checkout of its own -------------------------------------------------------------------------------

NOTEBOOK = """\
# ---
# jupyter: {}
# ---

# %% [markdown]
# # A title

# %% tags=["setup"]
# %pip list
import os  # why

# %%
x = 1
"""


@pytest.fixture
def checkout(tmp_path: Path) -> SimpleNamespace:
    """A small course in git, with this one's `.ci` and the watch over its tests."""

    def add(path: str, text: str) -> str:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
        return path

    git(tmp_path, "init", "-q")
    (tmp_path / ".ci").mkdir()
    for name in ("affected.py", "run"):
        shutil.copy(ROOT / ".ci" / name, tmp_path / ".ci" / name)
    add(".ci/reads.toml", '[reads]\n"known.txt" = ["test_a.py"]\n"[0-9]*_*/notebooks/*" = ["test_b.py"]\n')
    add("tests/conftest.py", (ROOT / "tests" / "conftest.py").read_text(encoding="utf-8"))
    add("smol_course/low.py", "")
    add("smol_course/high.py", "def f():\n    from smol_course import low")
    add("tests/test_a.py", "def test_a():\n    open('known.txt').close()")
    add("tests/test_b.py", "CODE = 'import smol_course.high'\ndef test_b():\n    pass")
    add("tests/test_c.py", "def test_c():\n    pass")
    add("known.txt", "")
    add("other.txt", "")
    add("1_a/notebooks/n.py", NOTEBOOK)
    cells = [
        {"cell_type": "markdown", "source": ["# A title"], "metadata": {}},
        {"cell_type": "code", "source": ["x = 1\n", "# why"], "metadata": {}, "outputs": []},
    ]
    add("1_a/notebooks/n.ipynb", json.dumps({"cells": cells}))
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "a")
    return SimpleNamespace(root=tmp_path, add=add)


def chosen(checkout: SimpleNamespace, *paths: str) -> dict[str, str]:
    """What a call by the command line prints, by the name of each test or notebook."""
    command = [sys.executable, checkout.root / ".ci" / "affected.py", "HEAD"]
    done = subprocess.run(command, input="\n".join(paths), capture_output=True, text=True, check=True)
    return dict(line.split("\t") for line in done.stdout.splitlines())


def test_imports_are_followed_wherever_they_stand(checkout: SimpleNamespace) -> None:
    reasons = chosen(checkout, "smol_course/low.py", "known.txt", "tests/test_c.py", "gone.txt")
    assert reasons == {
        "tests/test_a.py": "known.txt (opens known.txt)",
        "tests/test_b.py": "smol_course/low.py (imports it)",
        "tests/test_c.py": "tests/test_c.py (changed itself)",
    }
    (checkout.root / "smol_course" / "low.py").unlink()
    assert list(chosen(checkout, "smol_course/low.py")) == ["tests/test_b.py"], "deleted, and still imported"


@pytest.mark.parametrize(
    ("old", "new", "runs"),
    [
        ("# # A title", "# # Another\n# title", False),
        ("x = 1", "x  =  1  # one", False),
        ("  # why", "", False),
        ("x = 1\n", "x = 1\n\n# %% [markdown]\n# More words\n", False),
        ("x = 1", "x = 2", True),
        ("x = 1", "x = ", True),
        ('["setup"]', '["setup", "study"]', True),
        ("%pip list", "%pip freeze", True),
        ("{}", "{smol: 1}", True),
        ("x = 1\n", "x = 1\n\n# %%\nx\n", True),
    ],
)
def test_a_notebook_runs_where_its_code_changed(checkout: SimpleNamespace, old: str, new: str, runs: bool) -> None:
    path = checkout.add("1_a/notebooks/n.py", NOTEBOOK.replace(old, new))
    assert ("1/n" in chosen(checkout, path)) is runs
    assert "tests/test_b.py" in chosen(checkout, path)


def test_a_built_notebook_runs_where_its_code_changed(checkout: SimpleNamespace) -> None:
    path = checkout.root / "1_a" / "notebooks" / "n.ipynb"
    node = json.loads(path.read_text())
    for cell, key, value, runs in (
        (0, "source", ["# Another"], False),
        (1, "source", ["x = 1"], False),
        (1, "outputs", [{"text": "1"}], False),
        (1, "source", ["x = 2"], True),
    ):
        node["cells"][cell][key] = value
        name = checkout.add("1_a/notebooks/n.ipynb", json.dumps(node))
        assert ("1/n" in chosen(checkout, name)) is runs, (key, value)
    for spoilt in ("no JSON", "[]", '{"cells": null}'):
        assert "1/n" in chosen(checkout, checkout.add("1_a/notebooks/n.ipynb", spoilt)), "when in doubt, it runs"
    assert "1/new" in chosen(checkout, checkout.add("1_a/notebooks/new.py", NOTEBOOK)), "it is not at HEAD"
    path.unlink()
    assert "1/n" not in chosen(checkout, "1_a/notebooks/n.ipynb")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("def test_c():\n    open('other.txt').close()", "other.txt was opened by test_c.py"),
        ("open('other.txt').close()\ndef test_c():\n    pass", "other.txt was opened by test_c.py"),
        (
            "import pathlib\ndef test_c():\n    pathlib.Path('known.txt').read_bytes()",
            "known.txt was opened by test_c.py",
        ),
        ("def test_c():\n    open('untracked.txt', 'w').close()", ""),
        ("def test_c():\n    open('smol_course/low.py').close()", ""),
    ],
)
def test_a_run_fails_where_a_test_opens_what_no_pattern_gives_it(
    checkout: SimpleNamespace, body: str, said: str
) -> None:
    checkout.add("tests/test_c.py", body)
    done = tested(checkout)
    assert "3 passed" in done.stdout and done.returncode == bool(said), done.stdout + done.stderr
    assert said in done.stdout and ("a pattern is missing" in done.stdout) is bool(said)


def test_a_run_in_two_processes_fails_where_a_test_in_one_of_them_does_so(checkout: SimpleNamespace) -> None:
    assert "3 passed" in (done := tested(checkout, "-n2")).stdout and not done.returncode, done.stdout + done.stderr
    for test in "bc":
        checkout.add(f"tests/test_{test}.py", f"def test_{test}():\n    open('other.txt').close()")
    done = tested(checkout, "-n2")
    assert "3 passed" in done.stdout and done.returncode == 1, done.stdout + done.stderr
    assert all(f"other.txt was opened by test_{test}.py" in done.stdout for test in "bc")


def tested(checkout: SimpleNamespace, *more: str) -> subprocess.CompletedProcess:
    """A run of the checkout's own tests."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *more, "tests"]
    path = os.pathsep.join([str(checkout.root), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {"PYTHONPATH": path, "PYTEST_ADDOPTS": ""}
    return subprocess.run(command, cwd=checkout.root, env=env, capture_output=True, text=True, check=False)


@pytest.mark.skipif(sys.platform == "win32", reason="CI's script is for bash")
def test_the_script_runs_what_is_chosen_and_says_why(checkout: SimpleNamespace) -> None:
    """With a stand-in for uv that notes how it is called."""
    calls = checkout.root.parent / f"{checkout.root.name}.calls"
    tools = checkout.root.parent / f"{checkout.root.name}.tools"
    tools.mkdir()
    (tools / "uv").write_text(
        f'#!/bin/sh\necho "$@" >> "{calls}"\n[ "$2" != python ] || {{ shift 2; exec "{sys.executable}" "$@"; }}\n'
    )
    (tools / "uv").chmod(0o755)
    env = os.environ | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}

    def call(*words: str) -> SimpleNamespace:
        calls.write_text("")
        command = ["bash", ".ci/run", "--changed", *words]
        done = subprocess.run(command, cwd=checkout.root, env=env, capture_output=True, text=True, check=False)
        return SimpleNamespace(status=done.returncode, out=done.stdout, err=done.stderr, did=calls.read_text())

    assert call().out == "Nothing changed since HEAD.\n" and call("no-such").status == 2
    checkout.add("1_a/notebooks/n.py", NOTEBOOK.replace("x = 1", "x = 2"))
    done = call()
    assert done.status == 0, done.err
    assert "1/n: 1_a/notebooks/n.py (its code changed)\n" in done.out
    assert "tests/test_b.py: 1_a/notebooks/n.py (opens [0-9]*_*/notebooks/*)\n" in done.out
    looks = "run ruff check .\nrun ruff format --check .\n"
    assert done.did.endswith(f"{looks}run pytest tests/test_b.py\nrun smol run --fresh 1/n\n")
    checkout.add("1_a/notebooks/n.py", NOTEBOOK.replace("A title", "B title"))
    assert call().did.endswith(f"{looks}run pytest tests/test_b.py\n"), "prose runs no notebook"
    git(checkout.root, "checkout", "-q", ".")
    checkout.add("unknown.kind", "")
    done = call()
    assert done.status == 0 and done.did.endswith(f"{looks}run pytest tests/test_affected.py\n")
    assert "tests/test_affected.py: unknown.kind (no test is known to cover it)\n" in done.out
