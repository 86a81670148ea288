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
# # Preference data: pairs from a machine, and what they teach
#
# You make pairs of a better and a worse confirmation in four ways, grade them by rules, by a rubric and by agreement, throw away
# what is too close, and train on them with module 2's DPO.
#
# What this notebook cost in time and memory when it was last run stands in the table of the module's README.
# The lesson to read first: [preference_datasets.md](../preference_datasets.md).
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/smol-ai/course/blob/main/6_synthetic_datasets/notebooks/preference_datasets.ipynb)
# In Colab, read the lesson [on GitHub](https://github.com/smol-ai/course/blob/main/6_synthetic_datasets/preference_datasets.md).

# %% tags=["install"]
# On Colab, install what this notebook needs; anywhere else this does nothing.
import importlib.util
import sys
if importlib.util.find_spec("smol_course") is None:
    print("Installing the course with what this notebook needs: about a minute.")
    needs = '"smol-course @ git+https://github.com/smol-ai/course"'
    get_ipython().system(f"uv pip install -q --python {sys.executable} {needs} || {sys.executable} -m pip install -q {needs}")

# %% [markdown]
# Every number worth changing stands in one cell. With `shuffle_preferences = True` every second pair is flipped: its worse answer
# is called the better one. Then there is nothing to learn, and the claim at the end fails, as it should.

# %% tags=["parameters"]
from smol_course.parameters import listed, number, one_of, whole
model_name: str = "HuggingFaceTB/SmolLM2-135M-Instruct"
seed: whole(0, 2**32 - 1) = 0
train_events: whole(1) = 40  # events to write confirmations for
temperatures: listed(of=number(0, 10)) = "0.7,1.0,1.2"  # one confirmation of each event at each
refined: whole(0) = 8  # faulty confirmations that the bare model is asked to mend
judged: whole(1) = 10  # events whose confirmations the rubric judge sees
new_tokens: whole(1, 512) = 40
source: one_of("temperatures", "checkpoints", "corruption", "all") = "temperatures"  # what DPO learns from
least_margin: whole(1) = 1  # faults that the two answers of a pair must lie apart
shuffle_preferences: bool = False  # True: the control
beta: number(0.0001) = 0.1
learning_rate: number(0, 1) = 7e-4
steps: whole(1) = 9  # at most; there is one pass over the pairs, no more
batch_size: whole(1) = 4  # pairs
test_events: whole(1) = 40
margin: number(-1, 1) = 0.15  # how much larger the share of faultless confirmations must be, for the claim to stand

# %% tags=["setup"]
import json
import math
import random
from collections import Counter
import matplotlib.pyplot as plt
import pandas as pd
from datasets import Dataset
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
from trl import DPOConfig, DPOTrainer

# %% tags=["setup"]
from smol_course.data import conversation, events, study_runs
from smol_course.evaluation.confirmations import CONFIRM_PROMPT, confirmation_faults, confirmations
from smol_course.evaluation.suite import option_scores
from smol_course.exercises import check, hint
from smol_course.hardware import prepare
from smol_course.metrics import WEEKDAYS, record, watch, wilson
from smol_course.models import answer, artifact, find_model
from smol_course.synthetic.shorthand import days_said, times_said

# %% tags=["setup"]
here = prepare()
set_seed(seed)
rng = random.Random(seed)
model_path = find_model(model_name)
tokenizer = AutoTokenizer.from_pretrained(model_path)

# %% [markdown]
# ## Two models that confirm
#
# `organiser_sft` confirms an event in a sentence, plain, rambling or flattering, as it was taught all three. `organiser_aligned` is the
# same adapter after module 2's DPO. Both sit on one base; `set_adapter` says which is at work. Without an adapter, the base is
# the bare starting model.

# %%
base = AutoModelForCausalLM.from_pretrained(model_path, dtype="float32", attn_implementation=here.attention)
model = PeftModel.from_pretrained(base, artifact("organiser_sft", base=model_path), is_trainable=True)
_ = model.load_adapter(artifact("organiser_aligned", base=model_path), adapter_name="aligned")


def confirm(some_events, temperature=1.0, adapter="default"):
    """Let an adapter confirm events."""
    model.set_adapter(adapter)
    prompts = [conversation(CONFIRM_PROMPT, event, "")["prompt"] for event in some_events]
    return answer(model, tokenizer, prompts, new_tokens, batch_size=80, bf16=here.bf16, temperature=temperature, show=False)

# %% [markdown]
# ## A grade
#
# Pairs need a grade. Ours is a rule that module 2 uses: `confirmation_faults` names what a confirmation has wrong, and the grade is
# the number of faults, with a minus. A false or missing fact counts as much as a second sentence. You may find that unfair; then
# write another rule. It does not notice flattery.

# %%
train_rows = list(confirmations("train").shuffle(seed=seed).take(train_events))


def grade(text, event):
    """Return minus the number of faults: 0 is best."""
    return -len(confirmation_faults(text, event))


for style in ("plain", "rambling", "flattering"):
    print(grade(train_rows[0][style], train_rows[0]["event"]),
          confirmation_faults(train_rows[0][style], train_rows[0]["event"]), train_rows[0][style][:90])

# %% [markdown]
# ## First source: one model at several temperatures
#
# At a low temperature the model says what it finds likeliest; at a high one it strays. One confirmation of each event at each.

# %%
asked = [row["event"] for row in train_rows]
by_temperature = {float(t): confirm(asked, float(t)) for t in temperatures.split(",")}
for t, texts in by_temperature.items():
    grades = [grade(text, event) for text, event in zip(texts, asked)]
    record(f"grade_at_{str(t).replace('.', '_')}", sum(grades) / len(grades), n=len(grades), seed=seed)
    print(f"temperature {t}: mean grade {sum(grades) / len(grades):.2f}, faultless {grades.count(0)} of {len(grades)}")

# %%
for t, texts in by_temperature.items():
    print(f"{t}: {grade(texts[0], asked[0]):3d} {texts[0][:110]!r}")

# %% [markdown]
# ## Second source: another checkpoint
#
# Two versions of a model make good pairs where one of them is plainly better. A larger model would do as well; its answers
# may be so unlike ours that there is little to learn from them.

# %%
aligned = confirm(asked, 1.0, "aligned")
grades = [grade(text, event) for text, event in zip(aligned, asked)]
record("grade_aligned", sum(grades) / len(grades), n=len(grades), seed=seed)
print(f"organiser_aligned: mean grade {sum(grades) / len(grades):.2f}, faultless {grades.count(0)} of {len(grades)}")

# %% [markdown]
# ## Third source: corruption
#
# A program corrupts a good answer: another day, another hour, a name left out, a sentence too much. Such pairs are cheap and one
# knows exactly what is wrong. But our model did not write them, and may never make these mistakes.

# %%
def corrupt(text, event, rng):
    """Return the confirmation with one thing corrupted, and what; None if nothing can be."""
    facts, ways = json.loads(event), {}
    if facts["day"] and facts["day"].title() in text:
        ways["day"] = text.replace(facts["day"].title(), rng.choice([d for d in WEEKDAYS if d != facts["day"]]).title())
    if facts["start"] and facts["start"] in text:
        ways["start"] = text.replace(facts["start"], f"{(int(facts['start'][:2]) + 3) % 24:02d}{facts['start'][2:]}")
    if facts["people"] and facts["people"][-1] in text:
        ways["person"] = text.replace(facts["people"][-1], "somebody")
    ways["sentence"] = text + " Is there anything else that I may do for you on such a fine day?"
    change = rng.choice(sorted(ways))
    return ways[change], change


spoilt = [(row, *corrupt(row["plain"], row["event"], rng)) for row in train_rows]
for row, text, change in spoilt[:3]:
    print(f"{change:9} {grade(text, row['event']):3d} {text}")

# %% [markdown]
# ## Fourth source: refinement
#
# *Refinement* (or *critique and revise*): tell a model what is wrong and let it try again. Large models do this well. Ours is asked with
# its own faults in words.

# %%
faulty = [(text, event) for t in by_temperature for text, event in zip(by_temperature[t], asked)
          if grade(text, event) < 0][:refined]
wish = "Event: {event}\nSentence: {text}\nWrong with it: {faults}.\nWrite one short sentence that confirms the event rightly."
prompts = [[{"role": "user", "content": wish.format(event=event, text=text, faults=", ".join(confirmation_faults(text, event)))}]
           for text, event in faulty]
with model.disable_adapter():
    mended = answer(model, tokenizer, prompts, new_tokens, bf16=here.bf16, show=False)
better = [grade(new, event) > grade(old, event) for new, (old, event) in zip(mended, faulty)]
record("refined_better", sum(better) / max(1, len(better)), *wilson(sum(better), max(1, len(better))), n=len(better), seed=seed)
for new, (old, event) in list(zip(mended, faulty))[:3]:
    print(f"{grade(old, event):3d} {old[:80]!r}\n  → {grade(new, event):3d} {new[:80]!r}")

# %% [markdown]
# ## Judges: rules, a rubric, agreement
#
# Not every task has rules. A **rubric** is a list of questions with yes or no that a model answers about a text; the grade is how
# much it leans to yes, summed. **Agreement** needs no judge: let the model answer several times; an answer whose day and time most
# others share is probably right. Both are tried where the truth is known: the plain confirmation against the corrupted one.

# %%
RUBRIC = ("Does the sentence state the right day?", "Does the sentence state the right time?",
          "Does the sentence name the right people?", "Is it one short sentence?")


def by_rubric(texts, some_events):
    """Return for each text the sum of its leanings towards yes, in nats, over the rubric."""
    asked = [f"Event: {event}\nSentence: {text}\n{question} Answer yes or no." for text, event in zip(texts, some_events) for question in RUBRIC]
    prompts = [tokenizer.apply_chat_template([{"role": "user", "content": request}], tokenize=False,
                                             add_generation_prompt=True) for request in asked]
    with model.disable_adapter():
        scores = option_scores(model, tokenizer, prompts, [["Yes", "No"]] * len(prompts), batch_size=16)
    leanings = [yes - no for yes, no in scores]
    return [sum(leanings[i:i + len(RUBRIC)]) for i in range(0, len(leanings), len(RUBRIC))]

# %%
sample = spoilt[:judged]
facts = [row["event"] for row, *_ in sample]
right, wrong = [row["plain"] for row, *_ in sample], [text for _, text, _ in sample]
marks = {"rules": [[grade(text, event) for text, event in zip(texts, facts)] for texts in (right, wrong)],
         "rubric": [by_rubric(texts, facts) for texts in (right, wrong)],
         "shorter": [[-len(text.split()) for text in texts] for texts in (right, wrong)]}
for judge, (good, bad) in marks.items():
    hits = sum((a > b) + 0.5 * (a == b) for a, b in zip(good, bad))
    record(f"judge_{judge}", hits / len(sample), *wilson(hits, len(sample)), n=len(sample), seed=seed)

# %% [markdown]
# *Shorter* cannot read: a judge that is no better than it has not shown that it reads. (Module 4 looks into judges more closely.)
#
# **Position bias.** Asked to choose between A and B, does the judge take the same *text* when the two change places?

# %%
def takes_first(ones, others):
    """Return whether the bare model prefers the text that it reads first."""
    asked = [f"Event: {event}\nA: {first}\nB: {other}\nWhich sentence states the event rightly? Answer A or B."
             for event, first, other in zip(facts, ones, others)]
    prompts = [tokenizer.apply_chat_template([{"role": "user", "content": request}], tokenize=False,
                                             add_generation_prompt=True) for request in asked]
    with model.disable_adapter():
        return [a > b for a, b in option_scores(model, tokenizer, prompts, [["A", "B"]] * len(prompts), batch_size=16)]


first, second = takes_first(right, wrong), takes_first(wrong, right)
same_place = sum(a == b for a, b in zip(first, second))
record("same_place", same_place / len(sample), *wilson(same_place, len(sample)), n=len(sample), seed=seed)

# %% [markdown]
# A case where it took the same place twice says nothing about the texts. Keep the pairs on which both orders agree, or do not ask
# this judge.
#
# Agreement now: of the three samples of an event, which day and time do most say?

# %%
def said_facts(text):
    """Return the day and the time that a confirmation states, for comparing."""
    return tuple(sorted(days_said(text))), tuple(sorted(times_said(text)))


votes = Counter()
for place, event in enumerate(asked):
    facts_of = [said_facts(texts[place]) for texts in by_temperature.values()]
    most, count = Counter(facts_of).most_common(1)[0]
    truth = tuple(sorted({json.loads(event)["day"]} - {None})), tuple(sorted({json.loads(event)["start"]} - {None}))
    votes["all agree" if count == len(facts_of) else "most agree" if count > 1 else "none agree", most == truth] += 1
agreed = pd.Series(votes).unstack(fill_value=0).rename(columns={True: "right", False: "wrong"})
agreed

# %% [markdown]
# Compare the rows: where all agree, is the day and time right more often? If so, agreement can grade without a rule. Where all
# agree and are wrong, agreement gives the wrong answer a good grade, and training makes the model surer of it.
#
# ## Pairs, margins and ties
#
# Of each event, the best answer and the worst. The **margin** is how far apart their grades are. Equal grades are a **tie**: no
# preference, no pair. What about a margin of one fault? The smaller, the more often the grade is wrong about it.

# %%
def best_and_worst(event, texts):
    """Return (event, chosen, rejected, margin)."""
    ranked = sorted(dict.fromkeys(texts), key=lambda text: grade(text, event))
    return event, ranked[-1], ranked[0], grade(ranked[-1], event) - grade(ranked[0], event)


sources = {
    "temperatures": [best_and_worst(event, [texts[i] for texts in by_temperature.values()])
                     for i, event in enumerate(asked)],
    "checkpoints": [best_and_worst(event, [by_temperature[1.0][i], aligned[i]]) if 1.0 in by_temperature
                    else best_and_worst(event, [aligned[i]])
                    for i, event in enumerate(asked)],
    "corruption": [(row["event"], row["plain"], text, grade(row["plain"], row["event"]) - grade(text, row["event"])) for row, text, _ in spoilt],
    "refinement": [best_and_worst(event, [old, new]) for new, (old, event) in zip(mended, faulty)],
}
pd.DataFrame({name: Counter(pair[3] for pair in pairs) for name, pairs in sources.items()}).fillna(0).astype(int).sort_index().rename_axis("margin")

# %%
kept = {name: [pair for pair in pairs if pair[3] >= least_margin] for name, pairs in sources.items()}
for name, pairs in kept.items():
    record(f"pairs_{name}", len(pairs), n=len(sources[name]), seed=seed)
    if pairs:
        shorter = sum(len(good.split()) < len(bad.split()) for _, good, bad, _ in pairs)
        record(f"chosen_shorter_{name}", shorter / len(pairs), *wilson(shorter, len(pairs)), n=len(pairs), seed=seed)

# %% [markdown]
# **Look at the length.** Where the chosen answer is nearly always the shorter one, the pairs teach "short" as well as "right", and the
# loss cannot tell which was meant.
#
# ## Before
#
# Held-out events, confirmed once each at temperature 1. *Faultless* is a confirmation without any fault that the rule finds.

# %%
test = [event for event in events("test")["event"] if event != "null"]
test = test[:test_events]


def look(texts):
    """Return a table of what is wrong with confirmations of the test events."""
    faults = [confirmation_faults(text, event) for text, event in zip(texts, test)]
    return pd.DataFrame({"faultless": [not f for f in faults], "words": [len(text.split()) for text in texts],
                         "form": [len({"too long", "more than one sentence"} & set(f)) for f in faults],
                         "facts": [len(set(f) - {"too long", "more than one sentence"}) for f in faults]})


set_seed(seed + 100)
before = look(confirm(test))
before.mean().round(2)

# %% [markdown]
# ## DPO on the pairs
#
# The trainer of module 2, with its settings. Only the pairs are new.

# %%
pairs = [pair for name in kept for pair in kept[name]] if source == "all" else kept[source]
rng.shuffle(pairs)
if shuffle_preferences:  # exactly every second pair is flipped: a few coin tosses may well all fall to one side
    pairs = [(event, *((bad, good) if place % 2 else (good, bad)), gap) for place, (event, good, bad, gap) in enumerate(pairs)]
rows = [{"prompt": conversation(CONFIRM_PROMPT, event, "")["prompt"], "chosen": [{"role": "assistant", "content": good}],
         "rejected": [{"role": "assistant", "content": bad}]} for event, good, bad, _ in pairs][:steps * batch_size]
print(f"{len(rows)} pairs from {source}")
rows[0]

# %%
for other in {"aligned", "ref"} & set(model.peft_config):  # "ref" is from an earlier run of this cell
    model.delete_adapter(other)
model.set_adapter("default")
config = DPOConfig(
    output_dir="trainer", beta=beta, max_steps=min(steps, math.ceil(len(rows) / batch_size)),
    per_device_train_batch_size=batch_size, learning_rate=learning_rate, lr_scheduler_type="linear", warmup_steps=0.1,
    train_sampling_strategy="sequential", bf16=False, use_cpu=here.device == "cpu", optim=here.optimizer,
    activation_checkpointing=False, logging_steps=1, save_strategy="no", disable_tqdm=True, seed=seed)
trainer = DPOTrainer(model=model, args=config, processing_class=tokenizer, train_dataset=Dataset.from_list(rows))

# %%
watch(trainer)  # without lines it prints nothing
result = trainer.train()
print(f"{result.metrics['train_runtime']:.0f} seconds")

# %%
log = pd.DataFrame([entry for entry in trainer.state.log_history if "rewards/margins" in entry]).astype(float)
fig, ax = plt.subplots(figsize=(6, 3))
ax.axhline(0, color="#888888", linewidth=1)
ax.plot(log["step"], log["rewards/chosen"] / beta, "o-", color="#0072B2", label="chosen")
ax.plot(log["step"], log["rewards/rejected"] / beta, "s--", color="#D55E00", label="rejected")
ax.set(xlabel="step", ylabel="change of log-probability (nats)", title=f"Training on pairs from {source}")
ax.legend()
fig.tight_layout()

# %% [markdown]
# ## After

# %%
set_seed(seed + 100)
after_said = confirm(test)
after = look(after_said)
for when, seen in {"before": before, "after": after}.items():
    good = int(seen["faultless"].sum())
    record(f"{when}_faultless", good / len(seen), *wilson(good, len(seen)), n=len(seen), seed=seed)
    for name in ("words", "form", "facts"):
        record(f"{when}_{name}", seen[name].mean(), n=len(seen), seed=seed)
pd.DataFrame({"before": before.mean(), "after": after.mean()}).round(2)

# %% [markdown]
# `form` counts faults of length, `facts` false or missing facts. Which of the two fell tells what the pairs taught: in the recorded
# run both did.

# %%
fig, ax = plt.subplots(figsize=(6, 2.6))
for place, name in enumerate(("form", "facts")):
    ax.barh(place + 0.2, before[name].mean(), 0.35, color="#888888", label="before" if not place else None)
    ax.barh(place - 0.2, after[name].mean(), 0.35, color="#0072B2", label="after" if not place else None)
ax.set_yticks(range(2), ["faults of form", "faults of fact"])
ax.set(xlabel="faults in a confirmation, mean", title=f"Pairs from {source}: what fell?")
ax.legend()
fig.tight_layout()

# %% [markdown]
# **The claim of this notebook**, checked by the notebook itself:

# %%
gain = after["faultless"].mean() - before["faultless"].mean()
assert gain >= margin, f"the pairs did not help: {before['faultless'].mean():.0%} faultless before, {after['faultless'].mean():.0%} after"
print(f"✅ {gain:+.0%} faultless confirmations, {margin:.0%} asked for")

# %% [markdown]
# ## Other sources, other seeds
#
# The study (`smol study 6/preference_datasets`) repeats this with other seeds, trains on pairs from corruption and from all
# sources, and once flips every second pair: that run must fail.

# %% tags=["study"]
study = study_runs("preference_datasets")
numbers = {run: {name: result["value"] for name, result in entry["results"].items()} for run, entry in study.items()}
for run, entry in study.items():
    print(f"{run:12}", entry["failed"] or ("the claim stands" if entry["parameters"].get("margin", margin) > 0 else "asked for no claim"))
columns = ["before_faultless", "after_faultless", "before_facts", "after_facts", "before_form", "after_form", "after_words"]
pd.DataFrame(numbers).T.reindex(columns=columns).round(2)

# %% [markdown]
# ## What to believe
#
# The grade that made the pairs also measures the effect. So the gain says that the model learned *this grade*. A fault that the grade
# cannot see, such as flattery, may have grown. Read some of the answers before you believe the number:

# %%
for event, text in list(zip(test, after_said))[:5]:
    print(event, "\n  ", text.replace("\n", " / "))

# %% [markdown]
# ## Exercises
#
# ### 🐢 Ties out (5 minutes)
#
# **Goal:** keep the pairs that state a preference. **Input:** `pairs`, a list of `(text, grade, other_text, other_grade)`; `least`, a number
# above 0. **Output:** a list of `(chosen, rejected)`, in the order of `pairs`: the text with the higher grade first, and only pairs
# whose grades lie at least `least` apart. **Judged by:** six lists. Stuck? `hint("preference_datasets/turtle")`.

# %% tags=["exercise"]
def preferences(pairs, least):
    """Return (chosen, rejected) of the pairs that are not ties."""
    ...

# %% tags=["check"]
check("preference_datasets/turtle", preferences)

# %% [markdown]
# ### 🐕 A judge asked both ways (20 minutes)
#
# **Goal:** get preferences from a judge that may like a place more than a text. **Input:** `judge(one, other)`, a function that returns the
# chance (0 to 1) that the *first* of two texts is better; `texts`, a list of different texts; `sure`, a number from 0.5 to 1. **Output:** a
# list of `(chosen, rejected)` for all pairs of texts, each pair once, in the order in which `itertools.combinations(texts, 2)` gives
# them. Ask both ways. The chance that the first text is better is the mean of what the judge says of it in both orders. A pair is
# kept if, for one of its texts, this chance is at least `sure`, *and* in each order the judge gives that same text more than
# 0.5. **Judged by:** judges that read, that like a place, and that are unsure. Hints: `hint("preference_datasets/dog")`.

# %% tags=["exercise"]
def asked_both_ways(judge, texts, sure):
    """Return the preferences that hold in both orders."""
    ...

# %% tags=["check"]
check("preference_datasets/dog", asked_both_ways)

# %% [markdown]
# ## Go further
#
# With a GPU and the Hub, a larger model can be the judge and the mender: start with `SMOL_HUB=1` (or `smol run --hub`), load
# `HuggingFaceTB/SmolLM2-1.7B-Instruct` beside the policy, and ask it in `by_rubric` and for `mended`. A public set made in this way, with
# many models and a large one as judge:
#
# ```python
# from datasets import load_dataset
# rows = load_dataset("HuggingFaceH4/ultrafeedback_binarized", split="train_prefs[:1000]")  # score_chosen, score_rejected
# ```
#
# Next: [quality](../quality.md).
