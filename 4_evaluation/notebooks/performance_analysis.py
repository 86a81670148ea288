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
# # Performance analysis: would you ship it?
#
# You put latency (waiting time), memory and cost beside accuracy, measure what fine-tuning made worse, build a gate that
# stops a model which got worse, and walk into two traps on purpose: a stale cache and a leaked test.
#
# What this notebook cost in time and memory when it was last run stands in the table of the module's README.
# The lesson to read first: [performance_analysis.md](../performance_analysis.md).
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/smol-ai/course/blob/main/4_evaluation/notebooks/performance_analysis.ipynb)
# In Colab, read the lesson [on GitHub](https://github.com/smol-ai/course/blob/main/4_evaluation/performance_analysis.md).

# %% tags=["install"]
# On Colab, install what this notebook needs; anywhere else this does nothing.
import importlib.util
import sys
if importlib.util.find_spec("smol_course") is None:
    print("Installing the course with what this notebook needs: about a minute.")
    needs = '"smol-course[evaluation] @ git+https://github.com/smol-ai/course"'
    get_ipython().system(f"uv pip install -q --python {sys.executable} {needs} || {sys.executable} -m pip install -q {needs}")

# %% [markdown]
# Every number worth changing stands in one cell. With `organiser = "start"` the model that is to be shipped is the starting
# model, which was never tuned. Then the claim of this notebook fails, as it should.

# %% tags=["parameters"]
from smol_course.parameters import number, one_of, whole
model_name: str = "HuggingFaceTB/SmolLM2-135M-Instruct"
organiser: str = "organiser_lora"  # what we want to ship; "organiser" after module 1
baseline: str = "organiser_lora"  # the report that it must not fall behind
variant: one_of("merged", "apart", "bf16", "examples") = "merged"  # "examples": the start, 4 shown
strength: number(0, 10) = 1.0  # how much of the adapter is merged in: 0 is the starting model
seed: whole(0, 2**32 - 1) = 0
timed: whole(1, 300) = 6  # messages that are asked one by one, with a clock
scored: whole(0) = 0  # messages that this variant is asked for its accuracy; 0: none, else more
questions: whole(1) = 96  # everyday questions asked here
pages: whole(2) = 12  # help pages read here
trials: whole(1) = 300  # simulated retrainings, to see how often the gate errs
price: number(0) = 0.10  # of one hour of a machine like this, in your currency

# %% tags=["setup"]
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import psutil
import torch
from lighteval.metrics.metrics import Metrics
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM

# %% tags=["setup"]
from smol_course.data import SYSTEM_PROMPT, events, study_runs
from smol_course.evaluation.comparisons import bootstrap, compare, mcnemar
from smol_course.evaluation.questions import choices
from smol_course.exercises import check, hint
from smol_course.hardware import prepare
from smol_course.metrics import WEEKDAYS, event_right, record, score_events, wilson
from smol_course.models import answer, artifact, find_model
from smol_course.evaluation.suite import (
    asker, choices_right, evaluate, events_right, gate, help_pages, load, option_scores, page_losses, prompt_of, read, report_on)
from smol_course.evaluation.harness import own_tasks_only, run_lighteval, write_rows

# %% tags=["setup"]
here = prepare()
own_tasks_only()  # lighteval shall load our tasks only: some that it ships download data
model_path = find_model(model_name)
rng = np.random.default_rng(seed)
messages = list(events("test"))

# %% [markdown]
# ## The model that would be shipped
#
# The organiser is an *adapter*, a small addition to the starting model. It can stay beside the model, or be *merged*: added into
# its weights. We take the variant that the parameters name.

# %%
def adapted(strength):
    """Return the starting model with this much of the adapter beside it, not merged."""
    base = AutoModelForCausalLM.from_pretrained(model_path, dtype="float32")
    model = PeftModel.from_pretrained(base, artifact(organiser))
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.scale_layer(strength)
    return model.eval()


# %%
start, tokenizer = load("start", model_name)
if organiser == "start" or variant == "examples":
    model = start
elif (Path(artifact(organiser)) / "adapter_config.json").is_file():
    model = adapted(strength)
    model = model if variant == "apart" else model.merge_and_unload()
else:
    model = load(organiser, model_name)[0]  # a model whose own weights were trained
if variant == "bf16":
    for weight in model.parameters():  # not model.to(...): the rotary frequencies stay in float32
        weight.data = weight.data.to(torch.bfloat16)

# %% [markdown]
# ## Three numbers beside accuracy
#
# **Latency**: how long one user waits. We ask some messages one by one and look at the median (half are quicker) and at the
# slowest. The first message is a warm-up, and not counted.

# %%
shown = [message for row in list(events("train"))[:4] for message in (
    {"role": "user", "content": row["message"]}, {"role": "assistant", "content": row["event"]})]


def conversation(message):
    """Return what the model is asked; the variant "examples" shows solved messages first."""
    examples = shown if variant == "examples" else []
    return [{"role": "system", "content": SYSTEM_PROMPT}, *examples, {"role": "user", "content": message}]


# %%
def seconds_each(model, asked):
    """Return how long each message takes, asked alone, and how many tokens of answer it got."""
    timings = []
    for message in asked:
        begun = time.perf_counter()
        text = answer(model, tokenizer, [conversation(message)], show=False)[0]
        timings.append((time.perf_counter() - begun, len(tokenizer(text)["input_ids"])))
    return pd.DataFrame(timings[1:], columns=["seconds", "tokens"])


waits = seconds_each(model, [row["message"] for row in messages[: timed + 1]])
record("latency_median", waits["seconds"].median(), n=timed)
record("latency_slowest", waits["seconds"].max(), n=timed)
record("tokens_per_second", waits["tokens"].sum() / waits["seconds"].sum(), n=timed)

# %% [markdown]
# **Memory**: what this model's weights take, and what the whole process takes (here that includes a second model and the libraries,
# too). **Cost**: the machine's price for an hour, times the hours for 1,000 messages. Messages that are asked together share some
# of the work: compare the two costs.

# %%
batch = [conversation(row["message"]) for row in messages[: max(timed, 4)]]
begun = time.perf_counter()
answer(model, tokenizer, batch, show=False)
each = (time.perf_counter() - begun) / len(batch)
weights_mb = sum(p.nbytes for p in {id(p): p for p in model.parameters()}.values()) / 1e6
record("weights_mb", weights_mb)
record("process_mb", psutil.Process().memory_info().rss / 1e6)
record("cost_per_1000_alone", 1000 * waits["seconds"].mean() / 3600 * price, n=timed)
record("cost_per_1000_together", 1000 * each / 3600 * price, n=len(batch))

# %% [markdown]
# The accuracy of this variant is measured when `scored` is set, as in the study: it takes minutes.

# %%
if scored:
    asked = messages[:scored]
    texts = answer(model, tokenizer, [conversation(row["message"]) for row in asked])
    scores = score_events(texts, [row["event"] for row in asked])
    record("event_accuracy", scores.accuracy, scores.low, scores.high, scores.n, seed)

# %% [markdown]
# The *study* (`smol study 4/performance_analysis`) ran the variants. Each point is one: the further left and up, the better. A point
# is *dominated* if another one is quicker and at least as accurate. Those that are left are the **Pareto front**. Accuracy has an
# interval here as elsewhere, so small differences in height may be chance.

# %% tags=["study"]
study = study_runs("performance_analysis")
done = {name: {key: result["value"] for key, result in run["results"].items()}
        for name, run in study.items() if not run["failed"]}
variants = pd.DataFrame({name: numbers for name, numbers in done.items() if "strength" not in name}).T
front = [name for name, row in variants.iterrows() if not any(
    (variants["latency_median"] < row["latency_median"]) & (variants["event_accuracy"] >= row["event_accuracy"]))]
variants[["event_accuracy", "latency_median", "latency_slowest", "weights_mb", "process_mb", "cost_per_1000_together"]].round(3)

# %% tags=["study"]
fig, ax = plt.subplots(figsize=(6.5, 3.4))
for name, row in variants.iterrows():
    colour = "#0072B2" if name in front else "#999999"
    ax.scatter(row["latency_median"], row["event_accuracy"], s=row["weights_mb"] / 3, color=colour, alpha=0.7)
    ax.annotate(name, (row["latency_median"], row["event_accuracy"]), textcoords="offset points",
                xytext=(-6, 9 if name in front else -16), fontsize=8)  # below: dominated, so names do not meet
ax.set(xlabel="median seconds for one message", ylabel="event accuracy", xlim=(0, 1.15 * variants["latency_median"].max()), ylim=(-0.15, 1),
       title="Accuracy against waiting (area: MB of weights; blue: not dominated)")
fig.tight_layout()

# %% [markdown]
# ## What did fine-tuning make worse?
#
# The organiser learned to read messages. Did it forget something? We look in two places that have nothing to do with calendars:
# everyday questions with four options, and pages of Python's help. Both models see the same, so we compare question by question:
# *gained* are those that only the organiser gets right, *lost* those that only the starting model does, and *p* is how often chance
# alone would make the two at least as uneven ([custom evaluation](../custom_evaluation.md)).

# %%
rows = list(choices("everyday"))[:questions]
prompts, options = [prompt_of(row) for row in rows], [[f" {option}" for option in row["options"]] for row in rows]


def everyday(model):
    """Return right or wrong for each question."""
    scores = option_scores(model, tokenizer, prompts, options)
    return [s.index(max(s)) == row["right"] for s, row in zip(scores, rows)]


right = {"before": everyday(start), "after": everyday(model)}
for when, values in right.items():
    record(f"{when}_choice_accuracy", np.mean(values), *wilson(sum(values), len(values)), n=len(values), seed=seed)
print(compare(right["before"], right["after"]))

# %% [markdown]
# **Perplexity** says how well a model predicts a text. It is the exponential of the mean loss (in *nats* per token): a perplexity of
# 20 means as undecided as between 20 equally likely tokens. Lower is better. It can notice changes that are too small to turn a
# multiple-choice answer. All pages are read to the same length, so they count alike. `nats_forgotten` is after minus before.

# %%
texts = list(help_pages(tokenizer, pages).values())
losses = {"before": page_losses(start, tokenizer, texts), "after": page_losses(model, tokenizer, texts)}
for when, values in losses.items():
    low, high = bootstrap(values, seed)
    record(f"{when}_perplexity", np.exp(np.mean(values)), np.exp(low), np.exp(high), n=len(values), seed=seed)
change = compare(losses["before"], losses["after"], seed)
record("nats_forgotten", change.difference, change.low, change.high, n=change.n, seed=seed)

# %%
fig, ax = plt.subplots(figsize=(4.5, 4))
ax.scatter(losses["before"], losses["after"], color="#0072B2")
ends = [min(losses["before"]) - 0.1, max(losses["after"] + losses["before"]) + 0.1]
ax.plot(ends, ends, "--", color="#888888", label="nothing changed")
ax.set(xlabel="nats per token, before", ylabel="nats per token, after", title="Python's help pages: above the line, forgotten")
ax.legend(fontsize=8)
fig.tight_layout()

# %% [markdown]
# An adapter has a dial: its addition can be multiplied by a number before it is merged. 0 is the starting model, 1 the adapter as
# it was trained. The study turned it. What is won, and what is lost?

# %% tags=["study"]
dial = pd.DataFrame({float(name.split("_")[1]): numbers for name, numbers in done.items() if name.startswith("strength_")}
                    | {1.0: done["merged"]}).T.sort_index()
fig, axes = plt.subplots(1, 2, figsize=(7.5, 3))
axes[0].plot(dial.index, dial["event_accuracy"], "o-", color="#0072B2", label="events")
axes[0].plot(dial.index, dial["after_choice_accuracy"], "s--", color="#D55E00", label="everyday questions")
axes[0].set(xlabel="strength of the adapter", ylabel="share right", ylim=(0, 1))
axes[0].legend(fontsize=8)
axes[1].plot(dial.index, dial["after_perplexity"], "o-", color="#009E73")
axes[1].set(xlabel="strength of the adapter", ylabel="perplexity on help pages", ylim=(0, None))
fig.suptitle("The dial of an adapter: won and lost")
fig.tight_layout()

# %% [markdown]
# ## A gate
#
# Somebody will change the data, the prompt or a library. A **regression gate** asks the same questions again, and stops the change
# when the model got worse by more than chance explains. (A *regression* is a step back.) For this the course keeps *reports*, which
# contain every answer of a model. The one to compare with is the *baseline*. Three kinds of question are compared.

# %%
reports = {name: report_on(name) for name in ("start", organiser)}
kept = read(baseline)
for name, report in reports.items():
    for verdict in gate(report, kept):
        print(f"{name:15} {verdict.what:28} {verdict.before:.3f} → {verdict.after:.3f}  {'WORSE' if verdict.worse else 'passes'}")

# %% [markdown]
# The command `smol evaluate` does the same. Its *exit status*, the number that a finished program leaves, gives the verdict to
# whatever script runs it: 0 to go on, 1 to stop. Here it gets a report as a file, so no model is asked. With a model's name in
# place of the file, the model is asked first.

# %%
folder = Path(tempfile.mkdtemp())


def run_gate(report):
    """Run the gate as a script would; return its exit status and what it printed."""
    report.save(folder / "report.json")
    command = [sys.executable, "-m", "smol_course.cli", "evaluate", str(folder / "report.json"), "--against", baseline]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=os.environ | {"COLUMNS": "100"})
    return done.returncode, done.stdout


status = {}
for name, report in reports.items():
    status[name], output = run_gate(report)
    print(f"{name}: exit status {status[name]}. {output.strip().splitlines()[-1]}")

# %% [markdown]
# How often does a gate err? We simulate many new trainings. In each, 15 % of the messages change from right to wrong or back. If
# the model is as good as before, both happen equally often, and a gate that stops it gives a *false alarm*: the first row. In the
# other rows the model really got worse: how often does the gate see it?

# %%
def stopped(n, drop, flips=0.15):
    """Return how often the gate stops a model that lost this share, when some messages flip anyway."""
    gains, losses = (flips - drop) / 2, (flips + drop) / 2
    changes = rng.multinomial(n, [gains, losses, 1 - flips], size=trials)
    return np.mean([lost > gained and mcnemar(int(gained), int(lost)) < 0.05 for gained, lost, _ in changes])


drops = [0, 0.02, 0.05, 0.10]
alarms = pd.DataFrame({f"{n} messages": [stopped(n, drop) for drop in drops] for n in (64, 306, 1000)},
                      index=[f"{drop:.0%} worse" for drop in drops])
record("false_alarms", alarms.iloc[0, 1], n=trials, seed=seed)
record("caught_5_points", alarms.iloc[2, 1], n=trials, seed=seed)
alarms.round(2)

# %% [markdown]
# With few messages a gate hardly ever stops anything, whether the model got worse or not. The smaller the loss that you want to
# notice, the more messages it needs. Here one kind of question was simulated; a gate on three kinds has three chances of a false
# alarm.
#
# ## Trap 1: a stale cache
#
# Asking is slow, so evaluation libraries keep answers in a *cache*. lighteval files them by the *name* of the model and its settings.
# Below, two different models have one name. The table shows the log-probabilities of the four options of one question.

# %%
def as_doc(row, task_name):
    """Turn one question into what lighteval asks."""
    return Doc(task_name=task_name, query=prompt_of(row), choices=[f" {o}" for o in row["options"]], gold_index=row["right"])


task = LightevalTaskConfig(
    name="everyday_few", prompt_function=as_doc, hf_repo=write_rows(tempfile.mkdtemp(), test=rows[:6]), hf_subset="default",
    metrics=[Metrics.loglikelihood_acc], hf_avail_splits=["test"], evaluation_splits=["test"])


def first_scores(model, name, cache):
    """Return the log-probabilities of the first question, by lighteval."""
    _, details = run_lighteval(task, model, model_path, name=name, cache=cache)
    return next([round(x, 3) for x in d.model_response.logprobs] for d in details if d.doc.id == "0")


other = AutoModelForCausalLM.from_pretrained(model_path, dtype="float32")
other.model.layers[10].mlp.down_proj.weight.data *= 0.5  # another model, of the same name
cache = tempfile.mkdtemp()
stale = {"start": first_scores(start, "mine", cache), "another, same name": first_scores(other, "mine", cache)}
pd.DataFrame(stale | {"another, own name": first_scores(other, "mine-2", cache)})

# %% [markdown]
# In the recorded run the first two columns are the same to the last digit: the second model was never asked. You notice it by a
# result that comes at once, and agrees too well. The cure is to file answers under the weights as well. The course's reports
# contain a *hash* of them, a short fingerprint that changes when the weights do.

# %%
record("stale_apart", max(abs(a - b) for a, b in zip(stale["start"], stale["another, same name"])), n=4)
print("the shipped report's key:", kept.weights, " now:", reports[organiser].weights, " start:", reports["start"].weights)

# %% [markdown]
# ## Trap 2: a leaked test
#
# `evaluate` takes anything that answers. This invented model has seen 60 of the test messages and remembers the right events. To
# the others it gives the answers in the baseline's report.

# %%
known = {row["message"]: row["event"] for row in messages[:60]}
usual = {key.split(":")[0]: text for key, text in read(baseline).answers.items()}
fallback = {row["message"]: usual.get(row["id"], "null") for row in messages}


def leaky(asked):
    """Answer from memory where possible."""
    return [known.get(message, fallback.get(message, "null")) for message in asked]


leaked = evaluate("leaky", leaky)
verdict = gate(leaked, kept)[0]
record("leaked_gain", verdict.comparison.difference, verdict.comparison.low, verdict.comparison.high, n=verdict.comparison.n)
print(f"{verdict.before:.3f} → {verdict.after:.3f}, p = {verdict.comparison.p:.1e}: the gate lets it pass")

# %% [markdown]
# The gate looks for worse, not for too good. What finds the leak: **change the messages a little**. Another weekday in the message
# is another weekday in the event. A model that reads the message gets the new day right; one that only remembers it does not.

# %%
def moved(row):
    """Return the message and event with another weekday, or None if the day is not written out once."""
    event = json.loads(row["event"])
    if not event or not event["day"] or len(re.findall(event["day"], row["message"], re.IGNORECASE)) != 1:
        return None
    other = WEEKDAYS[(WEEKDAYS.index(event["day"]) + 2) % 7]
    message = re.sub(event["day"], other.capitalize(), row["message"], flags=re.IGNORECASE)
    return (message, json.dumps(event | {"day": other})) if sum(d in message.lower() for d in WEEKDAYS) == 1 else None


changed = [(row["message"], row["event"], *moved(row)) for row in messages[:60] if moved(row)][:8]
print(changed[0][0], "\n→", changed[0][2])

# %% [markdown]
# To give memory its best chance, it now knows a message again even when the weekday in it is another. A few messages, as they are
# and with another day:

# %%
def from_memory(asked):
    """The leaky model again: it remembers a message by its words, whatever the day."""
    plain = {re.sub("|".join(WEEKDAYS), "", message.lower()): event for message, event in known.items()}
    return [plain.get(re.sub("|".join(WEEKDAYS), "", message.lower()), "null") for message in asked]


asked_now = asker(model, tokenizer)
table = {}
for name, ask in {"leaky": from_memory, organiser: asked_now}.items():
    for wording, place in (("as they are", 0), ("another day", 2)):
        answers = ask([case[place] for case in changed])
        table[name, wording] = sum(event_right(text, case[place + 1])
                                   for text, case in zip(answers, changed)) / len(changed)
        record(f"{'leaky' if name == 'leaky' else 'organiser'}_{wording.replace(' ', '_')}", table[name, wording],
               n=len(changed))
pd.Series(table).unstack().round(2)

# %% [markdown]
# **The claim of this notebook**, checked by the notebook itself: the model that would be shipped passes the gate; the starting model
# is stopped; and with another day the model that remembers gets fewer messages right.

# %%
assert status[organiser] == 0, f"the gate stops {organiser}: it is worse than {baseline}"
assert status["start"] == 1, "the gate lets the starting model pass"
assert table["leaky", "another day"] < table["leaky", "as they are"], "the changed messages did not unmask the memory"
print(f"✅ {organiser} passes, the starting model is stopped with exit status {status['start']}")

# %% [markdown]
# The control, with the starting model in place of the organiser, must fail:

# %% tags=["study"]
print(study["never_tuned"]["failed"])

# %% [markdown]
# ## What to believe
#
# Seconds and costs are this machine's; on another one even their order may differ. Forgetting was looked for in two places, and
# found or not found *there*. The gate sees only what its questions ask, and only losses that its number of messages can show. A model
# that passes was not shown to be worse on this test. Whether it is good enough, only your users can tell.
#
# ## Exercises
#
# ### 🐢 Perplexity (5 minutes)
#
# **Goal:** one number for several pages of different length. **Input:** `losses`, a list with the mean loss of each page, in nats per
# token; `tokens`, a list with the number of tokens of each page. **Output:** the perplexity over all tokens of all pages, one number:
# each token counts alike, not each page. **Example:** losses `[2.0, 5.0]` with `[200, 100]` tokens have a mean loss of 3 nats per token,
# so the perplexity is 20.09. **Judged by:** three pairs of lists. Stuck? `hint("performance_analysis/turtle")`.

# %% tags=["exercise"]
def perplexity(losses, tokens):
    """Return the perplexity over all tokens of all pages."""
    ...

# %% tags=["check"]
check("performance_analysis/turtle", perplexity)

# %% [markdown]
# ### 🐕 A gate of your own (20 minutes)
#
# **Goal:** decide whether a model got worse. **Input:** `before` and `after`, dictionaries from the names of messages to True (answered
# right) or False; not every message needs to be in both, and their order may differ. **Output:** one of three texts. Only messages
# that are in both count. `"cannot tell"` if there are fewer than 30 of them; `"fail"` if more of them were lost (right before, wrong
# after) than gained, and the two-sided p of McNemar's exact test is below 0.05; else `"pass"`. `mcnemar(gained, lost)` gives that p.
# **Judged by:** cases on both sides of each limit. Hints: `hint("performance_analysis/dog")`.

# %% tags=["exercise"]
def gate_of_mine(before, after):
    """Return "pass", "fail" or "cannot tell"."""
    ...

# %% tags=["check"]
check("performance_analysis/dog", gate_of_mine)

# %% [markdown]
# ## Go further
#
# Make the gate a part of your own project: keep a baseline in git, and let continuous integration run
#
# ```bash
# smol evaluate my_organiser --messages 0 --against my_baseline.json
# ```
#
# where `my_organiser` is the name of an artifact (a model that a notebook of the course saved) or a folder, and `my_baseline.json` was
# written by the same command with `--save my_baseline.json` in place of `--against`. On a GPU, `torch.cuda.max_memory_allocated()` is
# the number for memory, and the price is that of the machine with the card.
