"""Every cell of every notebook may be run twice in a row and gives the same.

The cells run with a tiny model of random weights and small numbers, in a process of its own for each notebook, forked
after the libraries were imported once. The notebooks' claims fail there, and may: how many cells may fail is counted.
The notebooks in LEFT_OUT are only read, as the lint in this file reads all of them.
"""

import ast
import contextlib
import gc
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from nbformat.v4 import new_code_cell, new_notebook

from smol_course import runner
from smol_course.runner.sources import Notebook, tags

NOTEBOOKS = runner.notebooks()
every_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.name)

# Values that make a run short. Of what a notebook does not have, nothing is set.
SMALL = {
    "steps": 2, "batch_size": 2, "new_tokens": 4, "test_messages": 8, "prompted_messages": 2, "dev_messages": 2,
    "evaluations": 2, "train_events": 4, "samples": 2, "dev_events": 3, "test_events": 4, "start_steps": 2,
    "start_batch": 2, "prompts_each_step": 2, "group_size": 2, "reward_steps": 2, "reward_batch": 2, "kto_steps": 2,
    "kto_batch": 2, "held_out_events": 2, "budget": 600, "before_events": 2, "table_messages": 2, "event_tokens": 4,
    "confirm_tokens": 4, "full_steps": 2, "before_messages": 2, "messages": 8, "questions": 8, "second_opinion": 2,
    "in_each_form": 4, "written_out": 2, "examples": 2, "asked_anew": 2, "draws": 50, "judged": 3, "rated": 3,
    "timed": 2, "train_messages": 60,
    "pages": 4, "trials": 20, "test_questions": 4, "kept_each": 1, "test_each": 2, "pairs": 2, "weeks": 1,
    "ordinary_weeks": 1, "each_resolution": 2, "written": 4, "instructed": 1, "read_back": 2, "embedded": 30,
    "refined": 2, "labelled": 12, "contaminated": 3, "generations": 1, "notes": 4, "rows": 2, "timed_messages": 1,
    "memory_mb": 1, "batches": "1,2", "batch_tokens": 2, "cache_tokens": 3, "engines": "transformers float32",
    "levels": "1", "requests": 2, "mixed": 6, "hostile_inputs": 2, "free_tokens": 8, "every": 20, "max_steps": 2,
    "before_steps": 1, "masked_every": 30, "longest_help": 1500, "asked": 2, "depth": 5,
}  # fmt: skip
# The seconds on the clock in which a notebook's cells must be done, also on a busy machine: a cell that hangs ends.
LONGEST = 180
# What the notebooks import, once for all.
LIBRARIES = (
    "peft", "transformers", "trl", "datasets", "pandas", "matplotlib.pyplot", "IPython.core.interactiveshell",
    "smolagents", "uvicorn", "gguf", "xgrammar.contrib.hf", "nbformat", "jupytext", "jsonschema", "PIL.Image",
    "transformers.models.idefics3.modeling_idefics3", "transformers.models.llama.modeling_llama", "sklearn.datasets",
    "transformers.models.idefics3.processing_idefics3", "mcp.server.stdio", "mcp.types", "openai",
    "sentence_transformers.util",
)  # fmt: skip
# The tiny model has two layers; in notebooks that name layers by their numbers, as many as the real one. And in one
# whose last answers are not the same on two layers, where each cell ran twice: why is not known yet.
DEEP = {"3/lora", "3/prompt_tuning", "6/preference_datasets"}
# Other values for one notebook: GRPO takes only messages whose event is shorter than its longest answer.
OWN = {"2/grpo": {"new_tokens": 40, "steps": 1}}
# How many cells of a notebook may fail at once on noise: claims (cells that assert), and others. If not said, (1, 0).
FAILS: dict[str, tuple[int, int]] = {}
# Not run here, for the minutes that a full proof may take: the lint below guards these. They train nothing,
# and each has passed.
LEFT_OUT = (
    "1/chat_templates", "4/automatic_benchmarks", "4/custom_evaluation", "4/performance_analysis", "5/vlm_from_parts",
    "5/vlm_usage", "7/inference_pipeline", "7/optimisation", "7/serving", "7/structured_output", "8/code_agents",
    "8/retrieval_agents",
)  # fmt: skip
# What measures time or this process differs from one run to the next.
UNLIKE = re.compile(r"second|_ms|latency|cost|_mb|_times|_of_limit|memory|copied|price|gain$|_p\d\d$")


def plausible(answer: Any) -> Any:
    """The course's `answer`, but with sentences and events for a tiny model's noise, chosen by that noise."""
    said = [
        "Noted: dinner on Friday at 19:30.",
        "I have put the dinner with Ana into your calendar, and I am so glad that you told me about it in good time.",
        '{"title": "dinner", "day": "friday", "start": "19:30", "place": null, "people": ["Ana"]}',
        "null",
    ]

    def plausibly(*given: Any, **named: Any) -> list[str]:
        noise = answer(*given[:3], **(named | {"max_new_tokens": 4}))
        return [said[(place + zlib.crc32(text.encode())) % len(said)] for place, text in enumerate(noise)]

    return plausibly


class Encoder:
    """Stands for an embedding model: a text's vector is the sum of its words' random ones, of length 1."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.words: dict[str, Any] = {}

    def encode(self, texts: list[str], **_: Any) -> Any:
        import numpy as np

        for word in {word for text in texts for word in text.split()} - self.words.keys():
            self.words[word] = np.random.default_rng(zlib.crc32(word.encode())).standard_normal(384)
        rows = np.stack([sum((self.words[word] for word in text.split()), np.full(384, 1e-3)) for text in texts])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("float32")


def run_cells(notebook: Notebook, model: Path, times: int, report: Path) -> None:
    """Run each code cell so many times in a row; write how each run failed and what it recorded."""
    warnings.simplefilter("ignore")
    for name in [name for name in sys.modules if name.partition(".")[0] == "smol_course"]:
        del sys.modules[name]  # as in a kernel, where a cell is the first to import it
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    from smol_course import metrics, models

    recorded: list[tuple[str, float]] = []
    models.find_model = lambda name: str(model)
    models.answer = plausible(models.answer)
    from smol_course.evaluation import suite

    # The reports that ship count for the tiny model too: asking a whole test set anew takes long.
    suite.weights_of = lambda name: suite.read(name).weights if (suite.REPORTS / f"{name}.json").is_file() else ""
    stub = ModuleType("sentence_transformers")
    stub.SentenceTransformer, stub.__spec__ = Encoder, importlib.util.find_spec(stub.__name__)
    sys.modules[stub.__name__] = stub
    metrics.record = lambda name, value, *_, **__: recorded.append((name, float(value)))
    shell, found = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}})), []
    small = SMALL | OWN.get(notebook.name, {})
    for cell in notebook.read().cells:
        if cell.cell_type != "code" or "study" in tags(cell):
            continue
        runs: list[tuple[str | None, list[tuple[str, float]]]] = []
        for _ in range(times):
            recorded.clear()
            with contextlib.suppress(SystemExit):
                outcome = shell.run_cell(cell.source)
            error = outcome.error_before_exec or outcome.error_in_exec
            runs.append((f"{type(error).__name__}: {error}" if error else None, list(recorded)))
            if "parameters" in tags(cell):
                shell.user_ns.update({name: value for name, value in small.items() if name in shell.user_ns})
                shell.user_ns |= {"model_name": str(model)} if "5_" not in notebook.module.name else {}
        found.append((cell.source, runs))
    report.write_text(json.dumps(found))


def tiny_model(folder: Path) -> None:
    """Make models of the same architecture and tokenizer and untrained, and adapters under the shipped names."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from smol_course.models import MODEL, find_model, save_artifact

    real, tiny = find_model(MODEL), folder / "tiny"
    tokenizer, config = AutoTokenizer.from_pretrained(real), AutoConfig.from_pretrained(real)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2, "num_key_value_heads": 1}
    for name, size in (sizes | {"head_dim": 32}).items():
        setattr(config, name, size)
    for name, layers in (("deep", config.num_hidden_layers), ("tiny", 2)):
        config.num_hidden_layers = layers
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        model.generation_config.update(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    for name in ("sft", "lora", "aligned", "tools", "code", "writer"):
        lora = LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
        adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny), lora)
        kept = "jotting_writer" if name == "writer" else f"organiser_{name}"
        save_artifact(kept, adapted, tokenizer, base=str(tiny))
    from smol_course.vision import model as vision

    shutil.copytree(Path(vision.__file__).parents[1] / "artifacts" / vision.NAME, folder / "shipped")
    vision.save_vlm(vision.assemble(str(tiny)), folder / "artifacts" / vision.NAME)
    shutil.copy(folder / "shipped" / "provenance.json", folder / "artifacts" / vision.NAME)


def in_a_fork(place: Path, work: Callable[..., None], *given: Any) -> str:
    """Do some work in a copy of this process, and end what it started; return what went wrong, "" if nothing did.

    The copy works in the folder ``place``, where its artifacts and what it prints stay.
    """
    place.mkdir(exist_ok=True)
    if child := os.fork():
        ends, ended = time.monotonic() + LONGEST, (0, 0)
        while not ended[0] and time.monotonic() < ends:
            time.sleep(0.02)
            ended = os.waitpid(child, os.WNOHANG)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        if not ended[0]:
            os.waitpid(child, 0)
        trouble = "" if ended[0] and not ended[1] else f"status {ended[1]}" if ended[0] else f"over {LONGEST} seconds"
        return trouble and f"{trouble}: {(place / 'said.txt').read_text(errors='replace')[-2000:]}"
    try:
        os.setpgid(0, 0)
        sys.stdout = sys.stderr = open(place / "said.txt", "w", buffering=1)  # noqa: SIM115
        os.dup2(sys.stdout.fileno(), 1), os.dup2(sys.stdout.fileno(), 2)
        here = {"SMOL_RUN": str(place), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "MPLBACKEND": "template"}
        os.environ.update(here | {"WANDB_MODE": "disabled", "SMOL_DATA": str(place)})
        os.environ.pop("SMOL_HUB", None)
        tempfile.tempdir = str(place)
        gc.freeze()  # what was imported is not searched for garbage again and again
        os.chdir(place)
        work(*given)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main(names: list[str], folder: Path) -> None:
    """Make the tiny model, run these notebooks, and write what is wrong with each into ``folder``.

    In a process of its own, which has computed nothing when it forks: a copy of one whose torch has used its threads
    waits for them for ever.
    """
    for library in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    import torch

    torch.set_num_threads(1)
    torch.set_grad_enabled(True)  # lighteval turns it off
    assert not (trouble := in_a_fork(folder, tiny_model, folder)), trouble
    for notebook in runner.notebooks(names):
        try:
            found = faults(notebook.name, *both(notebook, folder))
        except AssertionError as error:
            found = [str(error)]
        (folder / f"{notebook.topic}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what is wrong with each notebook that is asked for."""
    items = [item for item in request.session.items if item.name.startswith(f"{EVERY}[")]
    names, place = [item.callspec.params["notebook"].name for item in items], tmp_path_factory.mktemp("twice")
    root = str(Path(__file__).resolve().parents[1])
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    command = [sys.executable, __file__, str(place), *names]
    with contextlib.suppress(subprocess.TimeoutExpired):  # what is missing then fails
        subprocess.run(command, cwd=root, env=env, timeout=300 + 60 * len(names), check=True)
    return place


def alike(one: float, other: float) -> bool:
    return abs(one - other) <= 1e-4 * max(1.0, abs(one), abs(other))


def both(notebook: Notebook, folder: Path) -> list[list[Any]]:
    """What each cell did, in a process in which it ran once and in one in which it ran twice in a row."""
    done = []
    for times in (1, 2):
        place = folder / f"{notebook.topic}-{times}"
        shutil.copytree(folder / "artifacts", place / "artifacts")
        model = folder / ("deep" if notebook.name in DEEP else "tiny")
        trouble = in_a_fork(place, run_cells, notebook, model, times, place / "report.json")
        assert not trouble, f"{notebook.name}, its cells run {times} times in a row: {trouble}"
        done.append(json.loads((place / "report.json").read_text()))
        shutil.rmtree(place)
    return done


def faults(name: str, once: list[Any], twice: list[Any]) -> list[str]:
    """What is wrong with a notebook, by what each cell did when run once and when run twice in a row."""
    broken = [f"{source}\n{runs[0][0]}" for source, runs in once if runs[0][0]]
    claims = sum(bool(runs[0][0]) and runs[0][0].startswith("AssertionError") for _, runs in once)
    most, others = FAILS.get(name, (1, 0))
    found = broken if claims > most or len(broken) - claims > others else []
    found += [
        f"{source}\nThe second time: {again}" for source, ((first, _), (again, _)) in twice if again and not first
    ]
    last = [{name: value for _, runs in cells for _, said in runs for name, value in said} for cells in (once, twice)]
    found += [f"{name} is recorded in one of both only" for name in last[0].keys() ^ last[1].keys()]
    for name in last[0].keys() & last[1].keys():
        if not alike(last[0][name], last[1][name]) and not UNLIKE.search(name):
            found.append(f"{name}: {last[0][name]}, and {last[1][name]} where each cell ran twice")
    return found


EVERY = "test_every_cell_may_be_run_twice_in_a_row"
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks a process that has torch")


@pytest.mark.slow
@linux
@pytest.mark.parametrize(
    "notebook", [n for n in NOTEBOOKS if n.name not in LEFT_OUT], ids=lambda notebook: notebook.name
)
def test_every_cell_may_be_run_twice_in_a_row(notebook: Notebook, results: Path) -> None:
    """No second run fails where the first did not, and what is recorded in the end is what one run each records."""
    told = results / f"{notebook.topic}.json"
    assert told.is_file(), "its process ended early"
    assert not (found := json.loads(told.read_text())), "\n\n".join(found)


@linux
@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (
            ["from smol_course.metrics import record", "n = [1]", "n.append(1)", "record('n', len(n))"],
            "n: 2.0, and 3.0",
        ),
        (["n = [1]", "n.pop()"], "The second time: IndexError"),
        (["n = 1", "m = nn", "record('m', m)"], "NameError"),
        (["n = 1", "assert n == 2"], ""),
        (["n = 1", "assert n == 2", "assert n == 3"], "AssertionError"),
        (["from smol_course.metrics import record", "n = [1]", "record('n', len(n))"], ""),
    ],
)
def test_the_run_sees_a_cell_that_fails_or_gives_another_result(cells: list[str], said: str, tmp_path: Path) -> None:
    notebook = SimpleNamespace(name="9/none", topic="none", module=Path("9_none"))
    notebook.read = lambda: new_notebook(cells=[new_code_cell(source) for source in cells])
    (tmp_path / "artifacts").mkdir()
    found = faults(notebook.name, *both(notebook, tmp_path))
    assert said in "".join(found) and bool(said) == bool(found)


@linux
def test_what_hangs_or_dies_in_a_fork_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "LONGEST", 0.5)
    assert in_a_fork(tmp_path, time.sleep, 60).startswith("over 0.5 seconds")
    assert "ZeroDivisionError" in in_a_fork(tmp_path, divmod, 1, 0)
    assert in_a_fork(tmp_path, divmod, 1, 1) == ""


# --- Read, not run ------------------------------------------------------------------------------------------

IN_PLACE = {"append", "extend", "insert", "update", "pop", "remove", "add", "clear", "sort", "shuffle"}
# Cells that read a name of an earlier cell and replace it, by notebook; why they give the same when run twice.
SAME_AGAIN = {
    ("supervised_fine_tuning", "dev"): "chosen by style, then the first so many: of what is left, the same",
    ("supervised_fine_tuning", "test"): "the first so many of the first so many",
    ("human_feedback", "policy"): "trained() gives back the trainer's own model, which `watch` puts back to the start",
    ("adapters", "base"): "taken out of the adapter that an earlier run of the cell put around it",
    ("grpo", "start"): "taken out of the adapter that an earlier run of the cell put around it",
    ("grpo", "tutor"): "None after the first run, and then nothing is done",
    ("grpo", "trainer"): "its model gives back what the adapter was put around",
    ("adapters", "trainer"): "its model gives back what the adapter was put around",
    ("vlm_finetuning", "trainer"): "its model gives back what the adapter was put around",
    ("serving", "gate"): "a front of its own is opened each time, and the one before stopped",
    ("serving", "server"): "None after the first run, and then nothing is done",
    ("structured_output", "servers"): "what is empty stays empty",
    ("vlm_finetuning", "model"): "taken out of the adapter that an earlier run of the cell put around it",
    ("quality", "lines"): "a generation's line is written over",
}


class Consumed(ast.NodeVisitor):
    """Collects the names that a cell takes from an earlier one and replaces, deletes or changes in place."""

    def __init__(self) -> None:
        self.own: set[str] = set()  # bound in this cell so far
        self.read: set[str] = set()  # read before that
        self.found: set[str] = set()

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.read |= {node.id} - self.own
            return
        if node.id not in self.own and (isinstance(node.ctx, ast.Del) or node.id in self.read):
            self.found.add(node.id)
        self.own.add(node.id)

    def _value_first(self, node: Any) -> None:
        for part in (
            getattr(node, "value", None) or node.iter,
            *getattr(node, "targets", [getattr(node, "target", None)]),
        ):
            self.visit(part)
        for statement in [*getattr(node, "body", []), *getattr(node, "orelse", [])]:
            self.visit(statement)

    visit_Assign = visit_For = _value_first

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._value_first(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.visit(node.value)
        if isinstance(node.target, ast.Name):
            self.found |= {node.target.id} - self.own

    def visit_Call(self, node: ast.Call) -> None:
        method = node.func
        if isinstance(method, ast.Attribute) and method.attr in IN_PLACE:
            changed = [method.value, *(node.args if method.attr == "shuffle" else [])]
            names = {name.id for name in changed if isinstance(name, ast.Name)} - self.own - {"np"}
            self.found |= names if method.attr != "shuffle" else names - {"rng", "dice", "coin", "random", "chance"}
        self.generic_visit(node)

    def _scope(self, node: Any) -> None:
        if name := getattr(node, "name", None):
            self.own.add(name)
            return
        inner = Consumed()  # a comprehension or lambda: its own names are not the cell's
        inner.own = (
            self.own
            | {name.id for name in ast.walk(node) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)}
            | {argument.arg for argument in ast.walk(node) if isinstance(argument, ast.arg)}
        )
        inner.generic_visit(node)
        self.read |= set() if isinstance(node, ast.Lambda) else inner.read
        self.found |= inner.found

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = visit_Lambda = _scope
    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _scope

    def visit_Import(self, node: Any) -> None:
        self.own |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}

    visit_ImportFrom = visit_Import


def consumed(source: str) -> set[str]:
    """The names that a cell takes from an earlier one and replaces, deletes or changes in place."""
    cell = Consumed()
    cell.visit(ast.parse(source, mode="exec"))
    return cell.found


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("rater = trained(RewardTrainer(model=rater))", {"rater"}),
        ("noisy = PeftModel.from_pretrained(noisy, folder).eval()", {"noisy"}),
        ("start = tutor.model.merge_and_unload()\ndel tutor, base", {"tutor", "base"}),
        ("turns += [1]", {"turns"}),
        ("table.append(1)", {"table"}),
        ("random.Random(0).shuffle(rows)", {"rows"}),
        ("for n in range(3):\n    written = write(written)", {"written"}),
        ("model = load()\nmodel = model.half()\ndel model", set()),
        ("rows = []\nrows.append(1)\nrows += [row for row in other]", set()),
        ("def f(rows):\n    rows.append(1)\n    return rows", set()),
    ],
)
def test_the_lint_sees_what_a_cell_consumes(source: str, names: set[str]) -> None:
    assert consumed(source) == names


@every_notebook
def test_no_cell_consumes_what_an_earlier_one_made(notebook: Notebook) -> None:
    cells = [cell for cell in notebook.read().cells if cell.cell_type == "code"]
    found = {name for cell in cells for name in consumed(cell.source)}
    assert not {name for name in found if (notebook.topic, name) not in SAME_AGAIN}


if __name__ == "__main__":
    main(sys.argv[2:], Path(sys.argv[1]))
