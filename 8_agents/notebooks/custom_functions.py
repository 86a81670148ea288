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
# # Custom functions: a small model that calls tools
#
# You give a function a contract, check every call before it does anything, offer the same function over MCP, and teach a model
# of 135 million parameters to call it. You measure what it does before, and what training changes.
#
# What this notebook cost in time and memory when it was last run stands in the table of the module's README. The lesson to read
# first: [custom_functions.md](../custom_functions.md).
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/smol-ai/course/blob/main/8_agents/notebooks/custom_functions.ipynb)
# In Colab, read the lesson [on GitHub](https://github.com/smol-ai/course/blob/main/8_agents/custom_functions.md).

# %% tags=["install"]
# On Colab, install what this notebook needs; anywhere else this does nothing.
import importlib.util
import sys
if importlib.util.find_spec("smol_course") is None:
    print("Installing the course with what this notebook needs: about a minute.")
    needs = '"smol-course[agents] @ git+https://github.com/smol-ai/course"'
    get_ipython().system(f"uv pip install -q --python {sys.executable} {needs} || {sys.executable} -m pip install -q {needs}")

# %% [markdown]
# With `learning_rate = 0.0` nothing is learned, and the claim at the end fails, as it should.

# %% tags=["parameters"]
from smol_course.parameters import number, whole
model_name: str = "HuggingFaceTB/SmolLM2-135M-Instruct"
seed: whole(0, 2**32 - 1) = 0
steps: whole(1) = 24  # of training here; the adapter that ships had many more
batch_size: whole(1) = 4  # traces
learning_rate: number(0, 1) = 1e-3
every: whole(1) = 4  # of the 60 held-out tasks, take each fourth one; 1: all
masked_every: whole(1) = 10  # the same, where decoding is constrained
masked_shipped: bool = False  # True: constrain the shipped adapter, too
own_prompt: bool = False  # True: the starting model reads smolagents' long prompt and not our short one
new_tokens: whole(1, 512) = 64  # the longest call that is waited for
max_steps: whole(1) = 2  # actions in one task: the call, and the answer
margin: number(-1, 1) = 0.3  # how much larger the share of valid calls must be, for the claim to stand

# %% tags=["setup"]
import json
import os
import sqlite3
import sys
import tempfile
from pathlib import Path
import matplotlib.pyplot as plt
import pandas as pd
from datasets import Dataset
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
from trl import SFTConfig, SFTTrainer
from smol_course.data import events, in_like_batches, study_runs
from smol_course.exercises import check, hint
from smol_course.hardware import prepare

# %% tags=["setup"]
from smol_course.agents.agent import JSON_PROMPT, asker, call_mask, run_tasks, share_done
from smol_course.agents.calendar import Calendar, Refused
from smol_course.agents.tasks import tasks
from smol_course.agents.tools import Guard, Toolbox, call_schema, faults, final_answer, observed, schema_of
from smol_course.agents.traces import TEMPLATE, traces
from smol_course.metrics import record, watch, wilson
from smol_course.models import artifact, find_model

here = prepare()
set_seed(seed)
model_path = find_model(model_name)
tokenizer = AutoTokenizer.from_pretrained(model_path)

# %% [markdown]
# ## A calendar with rules
#
# One week in a SQLite file. Every event lasts 60 minutes and ends on its day, and no two overlap. The rules are in the database
# itself, so no program gets round them. There are no dates and no time zones here: one week is enough to learn on.

# %%
folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
week = Path(folder.name) / "week.db"
calendar = Calendar.of([{"title": "dentist", "day": "tuesday", "start": "09:00", "place": "Elm Clinic"},
                        {"title": "gym", "day": "friday", "start": "18:00", "people": ["Ana"]}], week)
print(*calendar.events(), sep="\n")
try:
    calendar.add("yoga", "tuesday", "09:30")
except Refused as refusal:
    print("refused:", refusal)

# %% [markdown]
# The same in SQL, without going through the program:

# %%
with sqlite3.connect(week) as database:
    try:
        database.execute("INSERT INTO events (title, day, minute) VALUES ('yoga', 'tuesday', 570)")
    except sqlite3.IntegrityError as error:
        print("the database says:", error)

# %% [markdown]
# ## A tool is a function with a contract
#
# A person who calls a function reads its name, its types and its docstring. So does a model, in another form: a *JSON schema*.
# Look at the function first:

# %%
import inspect
toolbox = Toolbox(calendar)
print(inspect.getsource(Toolbox.add_event))

# %% [markdown]
# And at the schema that is made of it. `required` are the arguments without a default, `enum` the values of a `Literal`,
# `pattern` says what a time looks like.

# %%
print(json.dumps(schema_of(toolbox.add_event), indent=1)[:900])

# %% [markdown]
# smolagents makes a tool of a function with a decorator. It wants types and an `Args:` section for each argument, and says so
# if one is missing.

# %%
from smolagents import tool


@tool
def minutes_until(start: str, end: str) -> int:
    """Return the minutes between two times of a day.

    Args:
        start: 24-hour time such as 09:00
        end: a later one
    """
    return (int(end[:2]) - int(start[:2])) * 60 + int(end[3:]) - int(start[3:])


print(minutes_until.name, minutes_until.inputs, minutes_until("09:00", "10:15"))

# %% [markdown]
# ## Check before you call
#
# A model's call is text from outside. Treat it as you would a form on a web page: first see whether it fits, then act. `faults`
# compares arguments with the schema.

# %%
calls = [{"title": "yoga", "day": "monday", "start": "18:00"}, {"title": "yoga", "day": "Mon", "start": "18:00"},
         {"title": "yoga", "day": "monday", "start": "6 pm"}, {"title": "yoga", "start": "18:00"},
         {"title": "yoga", "day": "monday", "start": "18:00", "colour": "red"}]
for arguments in calls:
    print(arguments, "→", faults(arguments, schema_of(toolbox.add_event)) or "fits")

# %% [markdown]
# The *guard* does that before every call. What it refuses comes back to the model as a text, so that it can try again. What
# happens without it?

# %%
long_title = {"title": "spam " * 1000, "day": "monday", "start": "18:00"}
print("with:   ", observed(Guard(), toolbox.add_event, long_title)[:90])
print("without:", observed(Guard(validate=False), toolbox.add_event, long_title)[:90])
_ = calendar.cancel(calendar.events("monday")[0].id)

# %% [markdown]
# ## The same tools over MCP
#
# The *Model Context Protocol* lets any program offer tools to any agent. Here by standard input and output: the client starts
# our server as a process and they exchange lines of JSON. The schemas are the very same, because they are made of the same
# functions.

# %%
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

server = StdioServerParameters(command=sys.executable, args=["-m", "smol_course.agents.mcp_server", str(week)])


async def over_mcp(name, arguments):
    """Start the server, call one of its tools, and return all tools and the text that came back."""
    with open(os.devnull, "w") as quiet:
        async with stdio_client(server, errlog=quiet) as streams, ClientSession(*streams) as session:
            await session.initialize()
            offered = (await session.list_tools()).tools
            result = await session.call_tool(name, arguments)
            return offered, result.content[0].text

# %%
offered, text = await over_mcp("add_event", {"title": "yoga", "day": "tuesday", "start": "09:30"})
print([tool.name for tool in offered], "\n", text)
same = {tool.name: tool.inputSchema for tool in offered} == {
    function.__name__: schema_of(function) for function in toolbox.functions()}
assert same, "the server's contract is not the function's"

# %% [markdown]
# ## Traces: what a model learns from
#
# A *trace* is a whole conversation: task, call, what the tool said, next call, final answer. Ours are made by rules, and solved
# by rules on a real calendar, so that what the tool says is true. Part of the tasks are the course's own messages. They differ
# from the test tasks in wording, in names (A to M here, N to Z there) and in what comes together.

# %%
messages = [{"message": row["message"], "event": json.loads(row["event"])} for row in events("train")]
training_traces = traces(steps * batch_size, "json", JSON_PROMPT, seed, messages, single=True)
for turn in training_traces[0]["messages"]:
    print(f"{turn['role']:>9}: {turn['content']}")

# %% [markdown]
# The prompt names the tools in one line. smolagents' own prompt has several pages; a model of this size cannot make use of so much
# text, and each page would be paid for in every training step.
#
# **What is scored?** Only what the model itself writes. The chat template puts marks around the assistant's turns, and the trainer
# takes the loss there. Scored tokens are in brackets:

# %%
marked = tokenizer.apply_chat_template(training_traces[0]["messages"], chat_template=TEMPLATE, return_dict=True,
                                       return_assistant_tokens_mask=True)
shown = [f"[{tokenizer.decode(token)}]" if mark else tokenizer.decode(token)
         for token, mark in zip(marked["input_ids"], marked["assistant_masks"])]
print("".join(shown))
print(sum(marked["assistant_masks"]), "of", len(marked["input_ids"]), "tokens are graded")

# %%
kinds = pd.Series([trace["kind"] for trace in training_traces]).value_counts()
lengths = [len(tokenizer.apply_chat_template(trace["messages"])["input_ids"]) for trace in training_traces]
print(kinds.to_dict(), f"\n{len(training_traces)} traces of {min(lengths)} to {max(lengths)} tokens")

# %% [markdown]
# ## Before
#
# The test: tasks that need one call and an answer, each on a week of its own. A task is *done* if the calendar is then as it should
# be and the answer contains the words that it must contain. An agent that does nothing gets none of them done. All agents run at
# once, so that the model answers them in batches.

# %%
test = tasks("single")[::every]
functions = [*toolbox.functions(), final_answer]
one_call = call_schema(functions)
for task in test[::7]:
    print(f"{task['kind']:9} {task['message']!r} must say {task['says']}")

# %%
def is_call(text):
    """Whether a text is one call of our tools."""
    try:
        return not faults(json.loads(text), one_call)
    except ValueError:
        return False


def share_valid(outcomes):
    """The share of all actions that are calls, with its interval and their number."""
    right = [is_call(action) for outcome in outcomes for action, _ in outcome.run.steps]
    return sum(right) / len(right), *wilson(sum(right), len(right)), len(right)


def look(name, ask, on=test, prompt=""):
    """Let agents do tasks; record how many are done, and how many of the actions are calls at all."""
    outcomes = run_tasks(on, ask, max_steps=max_steps, prompt=prompt)
    record(f"{name}_done", *share_done(outcomes), seed)
    record(f"{name}_valid", *share_valid(outcomes), seed)
    return outcomes

# %% [markdown]
# The starting model, which never saw a tool. (The training below begins from the adapter of module 3, which reads messages and
# writes events. It is switched off here.)

# %%
base = AutoModelForCausalLM.from_pretrained(model_path, dtype="float32", attn_implementation=here.attention)
reader = artifact("organiser_lora", made_by="3/lora", base=model_path)
policy = PeftModel.from_pretrained(base, reader, is_trainable=True)
ask = asker(policy, tokenizer, here.bf16, new_tokens=new_tokens)
with policy.disable_adapter():
    before = look("before", ask, prompt=None if own_prompt else "")

# %%
for outcome in before[:3]:
    print(f"{outcome.kind}\n{outcome.run}")

# %% [markdown]
# ## Train
#
# Fine-tuning as in module 1, with LoRA (module 3). What can so few steps teach? Make a guess: will the model write calls, and will
# they be the right ones?

# %%
rows = Dataset.from_list([{"messages": trace["messages"], "text_in": str(trace["messages"])}
                          for trace in training_traces])
rows = in_like_batches(rows, batch_size, seed, column="text_in").remove_columns("text_in")
tokenizer.chat_template = TEMPLATE  # the same text, with marks for the loss
config = SFTConfig(
    output_dir=str(Path(folder.name) / "trainer"), max_steps=steps, learning_rate=learning_rate, lr_scheduler_type="linear",
    warmup_steps=0.1, per_device_train_batch_size=batch_size, train_sampling_strategy="sequential",
    assistant_only_loss=True, max_length=None, bf16=here.bf16, use_cpu=here.device == "cpu", optim=here.optimizer,
    activation_checkpointing=False, logging_steps=5, save_strategy="no", disable_tqdm=True, seed=seed)

# %%
trainer = SFTTrainer(model=policy, args=config, processing_class=tokenizer, train_dataset=rows)
watch(trainer, "step {step:3d}  loss {loss:.3f} nats per token")
result = trainer.train()
record("training_seconds", result.metrics["train_runtime"], n=steps, seed=seed)

# %% [markdown]
# ## After, on the same tasks

# %%
after = look("after", ask)
for outcome in after[:4]:
    print(f"{outcome.kind}, {'done' if outcome.done else 'NOT done'}\n{outcome.run}")

# %% [markdown]
# Read the four tasks above. A few steps teach the *form* of a call and little else: `valid` counts a call that fits its schema, even one
# that only repeats the error message. To do a task, it has to be the right tool with the right arguments, and that takes many more steps.
# **The claim of this notebook** is about the form, checked by the notebook itself; the tasks done are only printed:

# %%
gain = share_valid(after)[0] - share_valid(before)[0]
print(f"tasks done: {share_done(before)[0]:.0%} before, {share_done(after)[0]:.0%} after")
assert gain >= margin, f"training did not help: {gain:+.0%} valid calls, {margin:.0%} asked for"
print(f"✅ {gain:+.0%} valid calls, {margin:.0%} asked for")

# %% [markdown]
# ## The adapter that ships
#
# It had many more steps, and tasks that need several calls as well. Its recipe is `recipes/organiser_tools.py`.

# %%
policy.load_adapter(artifact("organiser_tools", made_by="recipes/ship.py", base=model_path), "shipped")
policy.set_adapter("shipped")
shipped = look("shipped", ask)
table = pd.DataFrame({"kind": [outcome.kind for outcome in shipped], "done": [outcome.done for outcome in shipped]})
table.groupby("kind")["done"].agg(["sum", "count"])

# %% [markdown]
# Read what went wrong. A wrong title and a wrong day are both "not done", and only one of them makes you miss a train.

# %%
for outcome, task in zip(shipped, test):
    if not outcome.done:
        print(f"{task['message']}\n{outcome.run}\n  wanted {task['after'][len(task['before']):] or task['says']}")

# %% [markdown]
# ## Constrained decoding
#
# Module 7 makes broken JSON impossible: at each step only tokens that lead to an allowed text can come. Here the schema is "one
# call of our tools". So even the starting model can only write calls. Are they the right ones?

# %%
mask = call_mask(tokenizer, functions, base.config.vocab_size)
masked = asker(policy, tokenizer, here.bf16, mask, new_tokens)
sample = tasks("single")[::masked_every]
with policy.disable_adapter():
    forced = look("masked_before", masked, sample)
print(forced[0].run)

# %%
if masked_shipped:
    look("masked_shipped", masked)

# %% [markdown]
# Two measures, side by side: the share of actions that are calls at all, and the share of tasks done. A mask gives the first, and so do a
# few steps. The second has to be learned. (Not every masked action is a call: one that is cut off at `new_tokens` is none.)

# %%
bars = {"starting model": before, "the same, constrained": forced, f"{steps} steps": after, "shipped": shipped}
fig, axes = plt.subplots(1, 2, figsize=(8, 2.8), sharey=True)
for ax, measure, title in zip(axes, (share_valid, share_done), ("actions that are calls", "tasks that are done")):
    for height, outcomes in enumerate(bars.values()):
        value, low, high, _ = measure(outcomes)
        ax.barh(height, value, color="#0072B2", alpha=0.6)
        ax.plot([low, high], [height, height], color="#888888", linewidth=2)
    ax.set(xlim=(0, 1), xlabel="share, 95 % interval", title=title)
axes[0].set_yticks(range(len(bars)), list(bars))
axes[0].invert_yaxis()
fig.tight_layout()

# %% [markdown]
# ## What to believe
#
# The tasks were written one by one, by the same language model that wrote the rules of the traces, after them, with other words
# and names. A test checks that no test task is near a training task. People ask in more ways than either. And each task was
# tried once.
#
# The study (`smol study 8/custom_functions`) takes two more seeds, all 60 tasks for the starting model and the shipped adapter,
# constrained and free, and smolagents' own prompt. With learning rate 0 the claim fails.

# %% tags=["study"]
study = study_runs("custom_functions")
numbers = {run: entry["results"] for run, entry in study.items()}
names = [f"{stage}_{measure}" for measure in ("valid", "done")
         for stage in ("before", "masked_before", "after", "shipped", "masked_shipped")]
print("learning_rate_0:", study["learning_rate_0"]["failed"])
pd.DataFrame({run: {name: results[name]["value"] for name in names if name in results}
              for run, results in numbers.items()}).T.reindex(columns=names).round(2)

# %% [markdown]
# ## Exercises
#
# ### 🐢 Do they clash? (5 minutes)
#
# **Goal:** the calendar's central rule. **Input:** `one` and `other`, two events as dictionaries with `day` and `start`
# (24-hour `HH:MM`). **Output:** `True` if they overlap, else `False`. Both last 60 minutes; events that only touch do not
# clash. **Judged by:** nine pairs. Stuck? `hint("custom_functions/turtle")`.

# %% tags=["exercise"]
def clash(one, other):
    """Say whether two events of 60 minutes overlap."""
    ...

# %% tags=["check"]
check("custom_functions/turtle", clash)

# %% [markdown]
# ### 🐕 A schema from a function (20 minutes)
#
# **Goal:** make the contract yourself. **Input:** a Python function. Its arguments have the types `str`, `int`, `float`,
# `bool`, `list[str]`, a `Literal` of texts, or one of these `| None`. **Output:** a dictionary with `name`, `description` (the
# first line of the docstring) and `parameters`, a JSON schema: `type` "object", `properties`, `required` (the names without a
# default, in order) and `additionalProperties` `False`. The types are "string", "integer", "number", "boolean"; a list is
# `{"type": "array", "items": {"type": "string"}}`, a `Literal` `{"enum": [...]}`, and with `| None` it is `{"anyOf": [...,
# {"type": "null"}]}`. An argument without a type raises `TypeError`. **Judged by:** eight functions. Hints:
# `hint("custom_functions/dog")`.

# %% tags=["exercise"]
def contract(function):
    """Return the function's name, description and parameters as a model's tool."""
    ...

# %% tags=["check"]
check("custom_functions/dog", contract)

# %% [markdown]
# ## Go further
#
# A larger model reads tools from its chat template and needs no training for this. Start with `SMOL_HUB=1` (or `smol run
# --hub`):
#
# ```python
# from smolagents import ToolCallingAgent, TransformersModel
# agent = ToolCallingAgent([minutes_until], TransformersModel("HuggingFaceTB/SmolLM2-1.7B-Instruct"))
# agent.run("How long is it from 9 o'clock to a quarter past ten?")
# ```
#
# smolagents connects to MCP servers itself: `pip install mcpadapt`, then `with MCPClient(server, structured_output=False) as
# tools: ...`. Next in the course: [code agents](../code_agents.md).
