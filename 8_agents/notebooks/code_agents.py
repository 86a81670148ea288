# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Code agents: actions that are programs
#
# You build an agent's loop by hand, first with calls as JSON, then with Python. You compare both on the same tasks, and see
# what it takes to run code that a model wrote.
#
# What this notebook cost in time and memory when it was last run stands in the table of the module's README. The lesson to read
# first: [code_agents.md](../code_agents.md).
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/smol-ai/course/blob/main/8_agents/notebooks/code_agents.ipynb)
# In Colab, read the lesson [on GitHub](https://github.com/smol-ai/course/blob/main/8_agents/code_agents.md).

# %% tags=["install"]
# On Colab, install what this notebook needs; anywhere else this does nothing.
import importlib.util
import sys
if importlib.util.find_spec("smol_course") is None:
    print("Installing the course with what this notebook needs: about a minute.")
    needs = '"smol-course[agents] @ git+https://github.com/smol-ai/course"'
    get_ipython().system(f"uv pip install -q --python {sys.executable} {needs} || {sys.executable} -m pip install -q {needs}")

# %% [markdown]
# With `trained = False` the starting model writes the code, and the claim at the end fails, as it should.

# %% tags=["parameters"]
from smol_course.parameters import number, one_of, whole
model_name: str = "HuggingFaceTB/SmolLM2-135M-Instruct"
seed: whole(0, 2**32 - 1) = 0
task_set: one_of("organiser", "single") = "organiser"  # or "single": tasks that need one call
every: whole(1) = 6  # take each sixth task; 1: all
trained: bool = True  # False: the starting model, without an adapter
max_steps: whole(1) = 6  # actions in one task
new_tokens: whole(1, 512) = 96  # the longest action that is waited for
least_done: number(0, 1) = 0.25  # of the tasks, by code, for the claim to stand
fewer: number(-99) = 0.5  # so many fewer actions a task must code take than JSON, for the claim to stand

# %% tags=["setup"]
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
import matplotlib.pyplot as plt
import pandas as pd
from peft import PeftModel
from smolagents.local_python_executor import LocalPythonExecutor
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

# %% tags=["setup"]
from smol_course.agents.agent import CODE_PROMPT, JSON_PROMPT, SmallModel, agent_for, asker, run_agent, run_tasks, share_done
from smol_course.agents.calendar import Calendar
from smol_course.agents.sandbox import Limits, ProcessExecutor, SandboxError, docker_command, run_once
from smol_course.agents.tasks import tasks
from smol_course.agents.tools import Guard, Toolbox, as_text, final_answer, observed
from smol_course.data import study_runs
from smol_course.evaluation.comparisons import compare
from smol_course.exercises import check, hint
from smol_course.hardware import prepare
from smol_course.metrics import record
from smol_course.models import artifact, find_model

here = prepare()
set_seed(seed)
model_path = find_model(model_name)
tokenizer = AutoTokenizer.from_pretrained(model_path)

# %% [markdown]
# ## One base, two ways to act
#
# Two adapters, trained on the same tasks. One answers with a call as JSON, the other with a few lines of Python.

# %%
base = AutoModelForCausalLM.from_pretrained(model_path, dtype="float32", attn_implementation=here.attention)
model = PeftModel.from_pretrained(base, artifact("organiser_tools", made_by="recipes/ship.py", base=model_path), "json")
model.load_adapter(artifact("organiser_code", made_by="recipes/ship.py", base=model_path), "code")
whole = asker(model, tokenizer, here.bf16, new_tokens=new_tokens)


def ask_as(form):
    """A function that asks the model with the adapter of a form."""
    def ask(conversations):
        model.set_adapter(form)
        if trained:
            return whole(conversations)
        with model.disable_adapter():
            return whole(conversations)
    return ask

# %% [markdown]
# ## The loop, by hand
#
# An agent is a loop around a model: ask, act, look, ask again. Here it is, without any library.

# %%
def week():
    """A fresh week with three events."""
    return Calendar.of([{"title": "pottery", "day": "tuesday", "start": "18:00", "place": "Studio Nine"},
                        {"title": "rent talk", "day": "wednesday", "start": "11:00", "people": ["Mr Osei"]},
                        {"title": "supper", "day": "friday", "start": "19:00", "people": ["Rosa"]}])

# %%
def call_in(text):
    """The call that a text is, as (name, arguments); a text that is none has no name."""
    try:
        call = json.loads(text)
        return call["name"], call["arguments"]
    except (ValueError, KeyError, TypeError):
        return None, {}

# %%
calendar = week()
functions = {function.__name__: function for function in Toolbox(calendar).functions()}
turns = [{"role": "system", "content": JSON_PROMPT}, {"role": "user", "content": "Move pottery to Thursday at 18:30"}]
guard = Guard()
for _ in range(max_steps):
    (text,) = ask_as("json")([turns])
    print("→", text)
    name, arguments = call_in(text)
    if name not in functions:  # final_answer ends it, and so does a text that is no call
        break
    seen = observed(guard, functions[name], arguments)
    print("←", seen)
    turns += [{"role": "assistant", "content": text}, {"role": "tool", "content": seen}]
print(*calendar.events(), sep="\n")

# %% [markdown]
# Each round reads the whole conversation again, and each call waits for the model. Now the same task as code:

# %%
turns = [{"role": "system", "content": CODE_PROMPT}, {"role": "user", "content": "Move pottery to Thursday at 18:30"}]
(code,) = ask_as("code")([turns])
print(code)

# %% [markdown]
# One action: what the first call returns goes straight into the second, inside the code. Somebody has to *run* it. With `exec`,
# say?

# %%
def by_exec(code, tools):
    """Run code in this very process. Do not do this."""
    answers = []
    exec(code, dict(tools) | {"final_answer": answers.append})
    return answers


print(by_exec("final_answer(len(__import__('os').environ))", {}), "names of your environment can be read")

# %% [markdown]
# The code can read your keys, delete your files and send both away. So nobody uses `exec` for this. First, what the library
# does.
#
# ## smolagents
#
# `CodeAgent` is the same loop, with a prompt, a memory, limits, and an executor for the code. Ours gets the course's small
# model, and tools that go through the guard.

# %%
calendar, guard = week(), Guard()
agent = agent_for(Toolbox(calendar).functions(), SmallModel(ask_as("code"), "code"), guard, "code", max_steps)
print(type(agent).__name__)
print(run_agent(agent, guard, "Move pottery to Thursday at 18:30"))

# %% [markdown]
# ## JSON against code, on the same tasks
#
# Tasks of the organiser that neither adapter was trained on: note, move, cancel, find a gap, answer, ask back. All agents of a
# kind run at once. The code runs in a process of its own, which comes below.

# %%
test = tasks(task_set)[::every]
outcomes, seconds = {}, {}
for form in ("json", "code"):
    begun = time.perf_counter()
    outcomes[form] = run_tasks(test, ask_as(form), form, max_steps, executor=ProcessExecutor if form == "code" else None)
    seconds[form] = (time.perf_counter() - begun) / len(test)
    record(f"{form}_done", *share_done(outcomes[form]), seed)
    record(f"{form}_seconds_each", seconds[form], n=len(test), seed=seed)

# %%
def actions(form):
    """How many times the model was asked in each task."""
    return [len(outcome.run.steps) for outcome in outcomes[form]]


for form in outcomes:
    record(f"{form}_actions_each", sum(actions(form)) / len(test), n=len(test), seed=seed)
compare([outcome.done for outcome in outcomes["json"]], [outcome.done for outcome in outcomes["code"]])

# %%
table = pd.DataFrame({"kind": [task["kind"] for task in test]} |
                     {form: [outcome.done for outcome in attempts] for form, attempts in outcomes.items()})
table.groupby("kind").agg(n=("json", "size"), json=("json", "sum"), code=("code", "sum"))

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(7.5, 2.4))
for height, form in enumerate(outcomes):
    done, low, high, _ = share_done(outcomes[form])
    left.barh(height, done, color="#0072B2", alpha=0.6)
    left.plot([low, high], [height, height], color="#888888", linewidth=2)
    right.barh(height, sum(actions(form)) / len(test), color="#D55E00", alpha=0.6)
left.set(xlim=(0, 1), xlabel="share of tasks done, 95 % interval", title="Done")
right.set(xlabel="actions for each task", title="Asked")
for ax in (left, right):
    ax.set_yticks(range(len(outcomes)), list(outcomes))
fig.tight_layout()

# %% [markdown]
# **The claim of this notebook**, checked by the notebook itself: code does a fair share of the tasks, and asks the model less
# often.

# %%
code_done, saved = share_done(outcomes["code"])[0], (sum(actions("json")) - sum(actions("code"))) / len(test)
assert code_done >= least_done and saved >= fewer, f"code actions were no better: {code_done:.0%} done, {saved:.1f} actions saved"
print(f"✅ {code_done:.0%} done by code, {saved:.1f} actions saved for each task")

# %% [markdown]
# Look at what failed. Is it the reading of the message, the choice of tools, or the code?

# %%
for outcome, task in zip(outcomes["code"], test):
    if not outcome.done:
        print(f"{task['kind']}: {task['message']}\n{outcome.run}")

# %% [markdown]
# ## What the local executor stops, and what not
#
# smolagents' own executor goes through the code's syntax tree and evaluates it piece by piece, in this process. It calls itself
# "not a security sandbox". Let us see.

# %%
snippets = {
    "import os": "import os",
    "open a file": "open('notes.txt', 'w')",
    "a hidden attribute": "().__class__.__base__.__subclasses__()",
    "300 MB of memory": "len([0] * 40_000_000)",
    "a long product": "7 ** 8_000_000 % 10",
    "turn the guard off": "add_event._guard.validate = False\nadd_event('x' * 500, 'sunday', '10:00')",
}


def tools_of(calendar):
    """The calendar's tools as the agent has them."""
    return agent_for(Toolbox(calendar).functions(), SmallModel(ask_as("code"), "code"), Guard(), "code").tools

# %%
def tried(executor, code, limit=60):
    """Run code in an executor; say what came of it, in a few letters, and how long it took."""
    executor.send_tools(tools_of(week()))
    begun = time.perf_counter()
    try:
        report = f"ran: {as_text(executor(code).output)}"
    except Exception as error:
        report = f"stopped: {str(error).splitlines()[-1]}"
    return report[:limit], round(time.perf_counter() - begun, 2)


local = {name: tried(LocalPythonExecutor([], timeout_seconds=1), code) for name, code in snippets.items()}
pd.DataFrame(local, index=["local executor", "seconds"]).T

# %% [markdown]
# Read the last three rows. Nothing limits memory. The time limit was one second: compare what the long product took, as Python
# cannot end a computation inside C and waits for it. And the last one is the worst: the code has access to the *tool itself*, with
# the guard in it, and simply turns it off. What shares a process shares everything.
#
# ## A process of its own
#
# `ProcessExecutor` starts a second Python with nothing in its environment. It gets the code; a tool call is a message to us,
# which we check; memory, time and files are limited by the system, and its Python refuses files elsewhere, programs and the
# network.

# %%
apart = {}
for name, code in snippets.items():
    executor = ProcessExecutor(limits=Limits(seconds=1, memory_mb=256))
    apart[name] = tried(executor, code)
    executor.cleanup()
pd.DataFrame(apart, index=["a process", "seconds"]).T

# %% [markdown]
# It may import `os` and look at hidden attributes. They lead to nothing worth taking, and what `os` would do is refused. A file may
# be written, in the code's own folder. Outside of it, not:

# %%
with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
    secret, own = Path(place) / "secret.txt", Path(place) / "work"
    secret.write_text("s3cret")
    own.mkdir()
    for guarded in (True, False):
        try:
            print("read:", run_once("open('../secret.txt').read()", folder=own, guarded=guarded).output)
        except SandboxError as error:
            print("refused:", str(error).replace(str(Path(place).resolve()), "…"))

# %% [markdown]
# The second line is without the guard: the test of a guard is that things go wrong without it. The refusals are a hook inside
# Python, so they stop mistakes and simple attempts, but not an attack on Python itself. For code that somebody wrote to break out,
# the same child goes into a container:

# %%
command = docker_command("work", Limits()) if shutil.which("docker") else ["(no Docker here)"]
print(" ".join([Path(command[0]).name, *command[1:12]]).replace(str(Path.cwd()), "…"))
inspect = ["docker", "image", "inspect", "python:3.11-slim"]
ready = len(command) > 1 and subprocess.run(inspect, capture_output=True).returncode == 0
print("Docker runs, and has the image" if ready else "not tried: no Docker that runs, or no image python:3.11-slim")

# %%
if ready:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        print(run_once("sum(range(10))", folder=place, command=docker_command(place, Limits()), limits=Limits(seconds=30)).output)

# %% [markdown]
# ## What to believe
#
# A few tasks, one training of each adapter, and the tasks are written by the author of the rules. The study (`smol study
# 8/code_agents`) has all 50 tasks of the organiser and all 60 that need one call, and the starting model, which must fail.

# %% tags=["study"]
study = study_runs("code_agents")
numbers = {run: entry["results"] for run, entry in study.items()}
names = ["json_done", "code_done", "json_actions_each", "code_actions_each", "json_seconds_each", "code_seconds_each"]
print("not trained:", study["not_trained"]["failed"])
pd.DataFrame({run: {name: results[name]["value"] for name in names if name in results}
              for run, results in numbers.items()}).T.reindex(columns=names).round(2)

# %% [markdown]
# ## Exercises
#
# ### 🐢 Read code before it runs (5 minutes)
#
# **Goal:** say which tools a code action would call. **Input:** `code`, Python as text. **Output:** a list of the names that
# are called as plain functions (`name(...)`, not `x.name(...)`), in the order in which they stand in the text, each once. What
# stands in strings and comments is no call. `ast.walk` goes through a syntax tree, but not in the order of the text: sort by
# line and column. **Judged by:** eight pieces of code. Hints: `hint("code_agents/turtle")`.

# %% tags=["exercise"]
def calls_of(code):
    """Return the names of the functions that code calls, in order, each once."""
    ...

# %% tags=["check"]
check("code_agents/turtle", calls_of)

# %% [markdown]
# ### 🐕 A tiny executor (20 minutes)
#
# **Goal:** run code actions that can do nothing but call tools. **Input:** `code`, lines of Python; `tools`, a dictionary of
# functions. Allowed are: calls of a tool by its name, with positional and named arguments; arguments that are constants, lists
# of such, earlier names, or again such calls; and `name = ...` of any of these. **Output:** the value of the last line (of an
# assignment, what was assigned). Anything else raises `ValueError` **before** anything is called: look at the whole code first.
# Do not use `eval` or `exec`. **Judged by:** 24 pieces of code, with tools that keep count. Hints: `hint("code_agents/dog")`.

# %% tags=["exercise"]
def run_calls(code, tools):
    """Run code that only calls tools, and return the value of its last line."""
    ...

# %% tags=["check"]
check("code_agents/dog", run_calls)

# %% [markdown]
# ## Go further
#
# Where the small model is too weak, a larger one may not be. Start with `SMOL_HUB=1` (or `smol run --hub`). It needs no
# adapter, and smolagents' own prompt:
#
# ```python
# from smolagents import CodeAgent, TransformersModel
# from smol_course.agents.agent import agent_for
# big = TransformersModel("Qwen/Qwen2.5-Coder-3B-Instruct", max_new_tokens=512)
# calendar, guard = week(), Guard()
# agent = agent_for(Toolbox(calendar).functions(), big, guard, "code", prompt=None)
# print(run_agent(agent, guard, "Clear my Tuesday, and put supper an hour later."))
# ```
#
# smolagents' executors for containers and remote sandboxes: `CodeAgent(..., executor_type="docker")`. Next in the course:
# [retrieval agents](../retrieval_agents.md).
