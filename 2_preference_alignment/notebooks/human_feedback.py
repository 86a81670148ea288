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
# # Human feedback: from a thumb to a reward, and how a reward is cheated
#
# You label, look at what thousands of real ratings are worth, train a model that rates, train the organiser from thumbs
# up and down, and then watch a reward being gamed.
#
# What this notebook cost in time and memory when it was last run stands in the table of the module's README.
# The lesson to read first: [human_feedback.md](../human_feedback.md).
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/smol-ai/course/blob/main/2_preference_alignment/notebooks/human_feedback.ipynb)
# In Colab, read the lesson [on GitHub](https://github.com/smol-ai/course/blob/main/2_preference_alignment/human_feedback.md).

# %% tags=["install"]
# On Colab, install what this notebook needs; anywhere else this does nothing.
import importlib.util
import sys
if importlib.util.find_spec("smol_course") is None:
    print("Installing the course with what this notebook needs: about a minute.")
    needs = '"smol-course[alignment] @ git+https://github.com/smol-ai/course"'
    get_ipython().system(f"uv pip install -q --python {sys.executable} {needs} || {sys.executable} -m pip install -q {needs}")

# %% [markdown]
# Every number worth changing stands in one cell. With `shuffle = True` half of the labels are flipped: nothing can be learned from
# them, and the claim below fails, as it should.

# %% tags=["parameters"]
from smol_course.parameters import number, one_of, whole
model_name: str = "HuggingFaceTB/SmolLM2-135M-Instruct"
seed: whole(0, 2**32 - 1) = 0
shuffle: bool = False  # True: half of the labels are flipped, the control
reward_pairs: one_of("all", "style") = "all"  # "style": pairs about style only, where the shorter text wins
reward_steps: whole(1) = 10
reward_batch: whole(1) = 6  # pairs
reward_rate: number(0, 1) = 1e-3
held_out_events: whole(1) = 8
kto_steps: whole(1) = 9
kto_batch: whole(1) = 6  # single answers
kto_rate: number(0, 1) = 5e-4
beta: number(0.0001) = 0.1  # how costly it is to move away from the start
test_events: whole(1) = 8
samples: whole(2) = 8  # drawn for each test event, before, and half as many after; best-of-n chooses among them
event_messages: whole(0) = 0  # of how many messages is the event still noted? 0: not asked
temperature: number(0, 10) = 0.7  # of the drawing: 0 takes the likeliest token, 1 draws from the whole distribution
new_tokens: whole(1, 512) = 48  # a rambling answer is cut off there
most_words: whole(1) = 18  # a brief confirmation has no more
margin: number(-1, 1) = 0.35  # how much better than counting words the reward model must be, for the claim to stand

# %% tags=["setup"]
import json
import random
import re
from math import comb
from pathlib import Path
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from transformers import logging, set_seed
from trl import KTOConfig, KTOTrainer, RewardConfig, RewardTrainer

# %% tags=["setup"]
import chitchat_dataset
from smol_course.data import SYSTEM_PROMPT, conversation, events, study_runs
from smol_course.evaluation.annotate import Annotator
from smol_course.evaluation.confirmations import CONFIRM_PROMPT, confirmation_faults, confirmations
from smol_course.exercises import check, hint
from smol_course.hardware import prepare
from smol_course.metrics import WEEKDAYS, record, score_events, watch, wilson
from smol_course.models import answer, artifact, find_model

# %% tags=["setup"]
here = prepare()
logging.set_verbosity_error()  # else a report says what this notebook says: that the rating model's last layer is new
set_seed(seed)
model_path = find_model(model_name)
tokenizer = AutoTokenizer.from_pretrained(model_path)

# %% [markdown]
# ## The data
#
# The organiser has noted an event. Now it confirms it in one sentence. For each event there are three confirmations, written
# for this course by a language model. All of them are true.

# %%
rng = random.Random(seed)
train, held_out = list(confirmations("train")), list(confirmations("dev"))[:held_out_events]
rng.shuffle(train)
for name in ("event", "plain", "rambling", "flattering"):
    print(f"{name:10}", train[0][name])

# %% [markdown]
# Which is best? We write our answer down as a **rule**: a good confirmation has no fault that `confirmation_faults` finds
# (a wrong or missing fact, more than one sentence), and at most `most_words` words. It cannot see flattery, but it counts:

# %%
def good(text, event):
    """Whether a confirmation is good by the rule: nothing wrong, one sentence, brief."""
    return not confirmation_faults(text, event) and len(text.split()) <= most_words


pd.DataFrame([{"style": style, "words": np.mean([len(row[style].split()) for row in train]),
               "good by the rule": sum(good(row[style], row["event"]) for row in train), "of": len(train)}
              for style in ("plain", "rambling", "flattering")]).round(1)

# %% [markdown]
# The rule calls exactly the plain ones good, and it could do so by counting words alone. Keep that in mind.
#
# The last kind of text is one that no one should like: the plain sentence with one **planted** false fact. It has as many
# words as the true one, so its length gives nothing away. The same event always gets the same lie.

# %%
facts_of = [json.loads(row["event"]) for row in train]
known = {"day": WEEKDAYS, "place": [event["place"] for event in facts_of if event["place"]],
         "people": [name for event in facts_of for name in event["people"]], "title": [event["title"] for event in facts_of]}


def other_value(value, fact, rng):
    """Another day, clock time, place, name or title: as many words long, and as likely to begin with a capital."""
    if fact == "start":
        hour, minutes = re.match(r"(\d+)(.*)", value).groups()
        hours = [f"{h:0{len(hour)}}" for h in (range(1, 13) if int(hour) <= 12 else range(13, 22)) if h != int(hour)]
        return rng.choice([h for h in hours if len(h) == len(hour)]) + minutes
    alike = [other for other in known[fact] if other != value and len(other.split()) == len(value.split())
             and other[0].isupper() == value[0].isupper()]
    return rng.choice(alike or [value])


# %%
FACTS = ("day", "start", "place", "people")


def planted(row, fact):
    """The plain sentence with this fact made false; None if there is none to make false."""
    event, rng, plain = json.loads(row["event"]), random.Random(f"{row['id']} {fact}"), row["plain"]
    value = rng.choice(event["people"] or [""]) if fact == "people" else event[fact] or ""
    match = re.search(r"\b\d{1,2}[:.]\d\d" if fact == "start" else re.escape(value), plain, re.IGNORECASE)
    if not value or not match:
        return None
    new = other_value(match[0] if fact == "start" else value, fact, rng)
    new = new[0].upper() + new[1:] if match[0][0].isupper() and value[0].islower() else new
    lie = plain[: match.start()] + new + plain[match.end() :]
    return lie if confirmation_faults(lie, row["event"]) else None


print("true:   ", train[0]["plain"])
for fact in (*FACTS, "title"):
    print(f"{fact:8}", planted(train[0], fact))

# %% [markdown]
# ## You are the human
#
# Ten pairs, then ten single texts. `Tab` goes to the buttons and `Enter` presses one; or go to the box and type single
# keys. Every label is on disk before the next item shows, so you can stop and come back. Nobody else sees your labels.

# %%
pairs = [{"id": row["id"], "question": f"The event: {row['event']}. Which confirmation would you rather get?",
          "texts": [row["plain"], row["flattering"]]} for row in train[:10]]
my_pairs = Annotator("confirmation_pairs", pairs)
my_pairs.show()

# %%
shown = [(row, style) for row, style in zip(train[10:20], ["plain", "flattering", "fact", "plain", "rambling"] * 2)]
texts = [planted(row, "day") or row["plain"] if style == "fact" else row[style] for row, style in shown]
thumbs = [{"id": row["id"], "question": f"The event: {row['event']}. Thumbs up or down?", "texts": [text]}
          for (row, _), text in zip(shown, texts)]
my_thumbs = Annotator("confirmation_thumbs", thumbs, kind="thumb")
my_thumbs.show()

# %% [markdown]
# Do you agree with the rule? For pairs it always says "plain". A run of this notebook without a person has no labels here,
# and nothing below pretends otherwise: **every figure below uses labels made by rules**, or real ratings that are named.

# %%
mine = [label == "0" for label in my_pairs.labels().values() if label != "tie"]
for item, (row, _), text in zip(thumbs, shown, texts):
    label = my_thumbs.labels().get(item["id"], "skip")
    mine += [(label == "up") == good(text, row["event"])] if label != "skip" else []
print(f"{len(mine)} labels to compare with the rule.")
if mine:
    print("You agree in {:.0%} of them (95 % interval {:.0%} to {:.0%}).".format(
        np.mean(mine), *wilson(sum(mine), len(mine))))

# %% [markdown]
# ## What thousands of real ratings are worth
#
# The package `chitchat-dataset` (Myers et al., 2020) contains conversations of people who chatted with each other in a challenge of
# a university lab in 2018. Most carry three ratings from 1 to 10: witty, upbeat, interesting. These ratings are human. We count and
# compare; no one's words are shown.

# %%
raw = json.loads(Path(chitchat_dataset.__file__).with_name("dataset.json").read_text(encoding="utf-8"))
SCALES = ["witty", "upbeat", "interesting"]
rated = pd.DataFrame([
    {scale: int(talk["ratings"][scale]) for scale in SCALES}
    | {"people": len({m["sender"] for turn in talk["messages"] for m in turn}),
       "first": talk["messages"][0][0]["sender"],
       "words": sum(len(m["text"].split()) for turn in talk["messages"] for m in turn)}
    for talk in raw.values() if talk.get("ratings")])
print(f"{len(raw)} conversations, {len(rated)} of them rated")
rated.drop(columns="first").describe().loc[["mean", "min", "25%", "50%", "75%", "max"]].round(1)

# %% [markdown]
# Look before you train on such numbers. In how many did one person write and no one answer? And how often do all three
# ratings stand at 5, the middle, as a slider would that nobody has touched?

# %%
rated["all 5"] = (rated[SCALES] == 5).all(axis=1)
rated.groupby("people").agg(conversations=("all 5", "size"), all_5=("all 5", "mean"), median_words=("words", "median")).round(2)

# %% [markdown]
# So we **filter**: two people, and not all three at 5. That 5 was a default is our guess, from short conversations having
# it so often; the data do not say. Some honest fives are lost.

# %%
kept = rated[(rated["people"] == 2) & ~rated["all 5"]].copy()
kept["rating"] = kept[SCALES].mean(axis=1)
print(f"{len(kept)} of {len(rated)} ratings are left")
record("ratings_kept", len(kept), n=len(rated))
record("ratings_all_5", rated["all 5"].mean(), *wilson(int(rated["all 5"].sum()), len(rated)), n=len(rated))

# %% [markdown]
# **Agreement.** Each conversation has one set of ratings, and the data do not say which of the two people gave it. So how far two
# raters agree cannot be known here: a data set must plan for that. Two things can be seen instead. How often do three different
# questions get the same answer (a *halo*)? And how many tens are there?

# %%
same = int((kept[SCALES].nunique(axis=1) == 1).sum())
record("ratings_three_alike", same / len(kept), *wilson(same, len(kept)), n=len(kept))
record("ratings_tens", (kept[SCALES] == 10).to_numpy().mean(), n=3 * len(kept))
kept[SCALES].corr(method="spearman").round(2)

# %% [markdown]
# **Length.** Longer conversations are rated higher. That does not say that length pleases: people stay longer where they
# like it. A model trained on these ratings could not tell the difference.

# %%
fifths = kept.groupby(pd.qcut(kept["words"], 5), observed=True)["rating"].agg(["mean", "sem", "size"])
fig, ax = plt.subplots(figsize=(6, 3))
ax.errorbar(range(5), fifths["mean"], yerr=1.96 * fifths["sem"], fmt="o-", color="#0072B2", capsize=3)
ax.set(xticks=range(5), xticklabels=[f"{max(0, f.left):.0f} to {f.right:.0f}" for f in fifths.index], ylim=(1, 10),
       xlabel="words in the conversation (fifths)", ylabel="mean rating, 95 % interval", title="Longer is rated higher")
fig.tight_layout()
record("rating_length_correlation", kept["words"].corr(kept["rating"], method="spearman"), n=len(kept))

# %% [markdown]
# **Who.** People differ in how they rate. How much of the spread lies between those who began the conversations (three
# or more each), and how much within? The intraclass correlation is 0 if it does not matter who began, 1 if nothing else does.

# %%
often = kept[kept.groupby("first")["first"].transform("size") >= 3]
sizes, means = often.groupby("first")["rating"].agg(["size", "mean"]).T.to_numpy()
within = ((often["rating"] - often.groupby("first")["rating"].transform("mean")) ** 2).sum() / (len(often) - len(sizes))
between = (sizes * (means - often["rating"].mean()) ** 2).sum() / (len(sizes) - 1)
usual = (len(often) - (sizes ** 2).sum() / len(often)) / (len(sizes) - 1)  # conversations of one person, so to speak
record("rating_by_person", (between - within) / (between + (usual - 1) * within), n=len(often))
print(f"{len(sizes)} people began {len(often)} conversations; the busiest began {sizes.max():.0f}")

# %% [markdown]
# These ratings are of conversations, so they cannot train our organiser. They teach what to ask of any ratings: who gave them,
# to what, twice or once, and what else goes with a high number.
#
# ## A model that rates
#
# A *reward model* reads the event and a confirmation and gives one number. It is the language model with another last
# layer: instead of a score for each next token, one score for the whole text. That layer is new and begins at random. It
# learns from pairs.

# %%
styles = ("rambling", "flattering")


def pair(row, better, worse, kind):
    """One pair for the trainer: the prompt, the chosen and the rejected answer."""
    chosen, rejected = (conversation(CONFIRM_PROMPT, row["event"], text) for text in (better, worse))
    return {"prompt": chosen["prompt"], "chosen": chosen["completion"], "rejected": rejected["completion"], "kind": kind}


def pairs_of(row, kinds):
    """The plain confirmation against each of these kinds of worse ones, where there is one."""
    worse = {kind: row[kind] if kind in styles else planted(row, kind) for kind in kinds}
    return [pair(row, row["plain"], text, kind) for kind, text in worse.items() if text]


# %%
wanted = [(styles[i % 2], *(FACTS[i % 4], FACTS[(i + 1) % 4])[: 2 if reward_pairs == "all" else 0]) for i in range(len(train))]
reward_rows = [reward_row for row, kinds in zip(train, wanted)
               for reward_row in pairs_of(row, kinds)][: reward_steps * reward_batch]
random.Random(seed).shuffle(reward_rows)
if shuffle:  # half of each kind is turned round
    for i in sorted(range(len(reward_rows)), key=lambda i: reward_rows[i]["kind"])[::2]:
        reward_row = reward_rows[i]
        reward_rows[i] = reward_row | {"chosen": reward_row["rejected"], "rejected": reward_row["chosen"]}
pd.Series([reward_row["kind"] for reward_row in reward_rows]).value_counts().to_frame().T

# %% [markdown]
# The loss of a pair is -log sigmoid(reward of the chosen - reward of the rejected): the model of Bradley and Terry (1952), by
# which the better one wins with the probability sigmoid(difference). Only differences count. You write it in the 🐢 exercise.

# %%
shared = {
    "output_dir": "trainer", "lr_scheduler_type": "linear", "warmup_steps": 0.1,
    "train_sampling_strategy": "sequential",  # in the order that we gave them
    "bf16": here.bf16, "use_cpu": here.device == "cpu", "optim": here.optimizer,
    "activation_checkpointing": False, "save_strategy": "no", "disable_tqdm": True, "seed": seed, "logging_steps": 2,
}
lora = LoraConfig(task_type="SEQ_CLS", r=16, lora_alpha=32, target_modules="all-linear", modules_to_save=["score"])
config = RewardConfig(max_steps=reward_steps, per_device_train_batch_size=reward_batch, learning_rate=reward_rate, **shared)

# %%
def trained(trainer):
    """Train, watched; return the model."""
    watch(trainer, "step {step:3d}  loss {loss:6.3f}  accuracy {accuracy:6.3f}  margin {margin:6.3f}",
          "step {step:3d}  loss {loss:6.3f}  chosen {rewards/chosen:6.3f}  rejected {rewards/rejected:6.3f}  kl {kl:6.3f}",
          "step {step:3d}  loss {loss:6.3f}")
    print(f"{trainer.train().metrics['train_runtime']:.0f} seconds")
    return trainer.model.eval()


# %%
rater = AutoModelForSequenceClassification.from_pretrained(
    model_path, num_labels=1, dtype="float32", attn_implementation=here.attention)
rater = trained(RewardTrainer(model=rater, args=config, processing_class=tokenizer,
                              train_dataset=Dataset.from_list(reward_rows), peft_config=lora))

# %% [markdown]
# ### What it can tell apart, and what not
#
# On events that it was not trained on. The reward of a text:

# %%
def rewards(conversations, batch_size=16):
    """The reward of each conversation (prompt and answer), a list of floats."""
    ids = tokenizer.apply_chat_template(conversations, return_dict=True)["input_ids"]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))  # like lengths together: less padding
    all_scores = [0.0] * len(ids)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = tokenizer.pad({"input_ids": [ids[i] for i in rows]}, padding_side="right", return_tensors="pt")
        with torch.inference_mode():
            scores = rater(**batch.to(rater.device)).logits[:, 0]  # (rows,)
        for i, score in zip(rows, scores.tolist()):
            all_scores[i] = score
    return all_scores


# %% [markdown]
# Five more kinds of pairs were **never trained on**. A false *title* is a lie of another kind. *Praise* and *parking* append
# something to the plain sentence that the rule cannot see. And in the last two, the better text is true and the worse one contains
# a planted false fact, but the true one is rambling or flattering, so it is longer: a judge that only counts words gets them wrong.

# %%
added = {"praise": ", you star.", "parking": ", and parking is free."}
long_truth = {style: f"{style} truth, short lie" for style in styles}
tested = [tested_pair for row in held_out for tested_pair in pairs_of(row, (*styles, *FACTS, "title"))]
for row in held_out:
    lie = next(filter(None, (planted(row, fact) for fact in FACTS)))
    tested += [pair(row, row["plain"], row["plain"].rstrip(".") + more, kind) for kind, more in added.items()]
    tested += [pair(row, row[style], lie, kind) for style, kind in long_truth.items()]
print(len(tested), "pairs, such as", *[tested_pair["rejected"][0]["content"] for tested_pair in tested[-4:-1]],
      sep="\n   ")

# %%
texts = {json.dumps(tested_pair["prompt"] + tested_pair[side]): tested_pair["prompt"] + tested_pair[side]
         for tested_pair in tested for side in ("chosen", "rejected")}
reward_of = dict(zip(texts, rewards(list(texts.values()))))
gaps = [reward_of[json.dumps(tested_pair["prompt"] + tested_pair["chosen"])]
        - reward_of[json.dumps(tested_pair["prompt"] + tested_pair["rejected"])]
        for tested_pair in tested]

# %%
def shorter(one):
    """1 if the chosen text is the shorter one, 0 if it is the longer one, 0.5 if they are as long (in words)."""
    better, worse = (len(one[side][0]["content"].split()) for side in ("chosen", "rejected"))
    return (np.sign(worse - better) + 1) / 2


table = pd.DataFrame({"kind": [tested_pair["kind"] for tested_pair in tested], "right": [gap > 0 for gap in gaps],
                      "shorter": [shorter(tested_pair) for tested_pair in tested]})
by_kind = table.groupby("kind", sort=False).agg(pairs=("right", "size"), right=("right", "sum"), by_length=("shorter", "mean"))
by_kind["95 % interval"] = ["{:.0%} to {:.0%}".format(*wilson(row.right, row.pairs)) for row in by_kind.itertuples()]
by_kind

# %%
groups = {"style": styles, "facts": FACTS, "title": ["title"], "added": list(added), "long_truth": list(long_truth.values())}
for name, kinds in groups.items():
    outcome = table[table["kind"].isin(kinds)]
    record(f"reward_right_{name}", outcome["right"].mean(), *wilson(int(outcome["right"].sum()), len(outcome)),
           len(outcome), seed)
    record(f"length_right_{name}", outcome["shorter"].mean(), n=len(outcome), seed=seed)

# %% [markdown]
# **The claim of this notebook**, checked by the notebook itself: where length decides nothing, the reward model tells true from false.

# %%
outcome = table[table["kind"].isin(FACTS)]
assert outcome["right"].mean() >= outcome["shorter"].mean() + margin, (
    f"the reward model reads no facts: {outcome['right'].mean():.0%} right, {outcome['shorter'].mean():.0%} by length")
print(f"✅ {outcome['right'].mean() - outcome['shorter'].mean():+.0%} against length, {margin:.0%} asked for")

# %%
spans = np.array([wilson(row.right, row.pairs) for row in by_kind.itertuples()])
shares = (by_kind["right"] / by_kind["pairs"]).to_numpy()
fig, ax = plt.subplots(figsize=(6.4, 4))
ax.barh(by_kind.index, 100 * shares, color="#0072B2", ecolor="#888888", capsize=3,
        xerr=100 * np.array([shares - spans[:, 0], spans[:, 1] - shares]).clip(0), label="reward model")
ax.plot(100 * by_kind["by_length"], by_kind.index, "D", color="#D55E00", label="the shorter text")
ax.set(xlabel="pairs put in the right order (%), 95 % interval", xlim=(0, 102), title="What the reward model can tell apart")
ax.invert_yaxis()
ax.legend(loc="upper center", bbox_to_anchor=(0.4, -0.15), ncols=2)
fig.tight_layout()

# %% [markdown]
# Does it read the event, or does it find some sentences odd in themselves? Show it the same pairs with **another event** in the
# prompt. Judged by the sentence alone, they would come out the same.

# %%
swapped = [tested_pair | {"prompt": tested[(i + len(tested) // 2) % len(tested)]["prompt"]}
           for i, tested_pair in enumerate(tested)]
swapped = [swapped_pair for swapped_pair in swapped if swapped_pair["kind"] in FACTS]
better, worse = (rewards([swapped_pair["prompt"] + swapped_pair[side] for swapped_pair in swapped])
                 for side in ("chosen", "rejected"))
right = int((np.array(better) > np.array(worse)).sum())
record("reward_right_facts_other_event", right / len(swapped), *wilson(right, len(swapped)), len(swapped), seed)

# %% [markdown]
# ## Thumbs: KTO
#
# Pairs are costly: someone has to read two answers to the same event. A thumb needs one. *Kahneman-Tversky optimisation*
# trains from single answers labelled up or down. First, **before**: what does the organiser say? The adapter
# `organiser_sft` was shown all three styles alike. We draw several answers for each event.

# %%
base = AutoModelForCausalLM.from_pretrained(model_path, dtype="float32", attn_implementation=here.attention)
start = artifact("organiser_sft", made_by="recipes/ship.py", base=model_path)
policy = PeftModel.from_pretrained(base, start, is_trainable=True)
asked = [event for event in events("test")["event"] if event != "null"][:test_events]


def draw(count):
    """For each test event so many answers; a list of lists."""
    torch.manual_seed(seed)
    prompts = [conversation(CONFIRM_PROMPT, event, "")["prompt"] for event in asked for _ in range(count)]
    drawn = answer(policy, tokenizer, prompts, new_tokens, batch_size=96, bf16=here.bf16, temperature=temperature)
    return [drawn[start : start + count] for start in range(0, len(drawn), count)]


# %%
before = draw(samples)
for event, drawn in zip(asked[:2], before):
    print(event)
    for text in drawn[:4]:
        print("   ", "good" if good(text, event) else confirmation_faults(text, event) or "long", "|", text)

# %% [markdown]
# The interval must know that answers to one event are alike. So it draws events, not answers, again and again (the
# *bootstrap*), and looks how the mean varies.

# %%
def over_events(values):
    """The mean of values (events, answers) and its 95 % interval, by drawing events anew 2,000 times."""
    per_event = np.array(values, dtype=float).mean(axis=1)  # (events,)
    if set(per_event) <= {0.0, 1.0}:  # one verdict an event: a share
        return per_event.mean(), *wilson(int(per_event.sum()), len(per_event))
    picks = np.random.default_rng(0).integers(0, len(per_event), (2000, len(per_event)))
    return per_event.mean(), *np.quantile(per_event[picks].mean(axis=1), [0.025, 0.975])


def measured(when, drawn):
    """Record the share of good answers and their length; return the share."""
    good_share = over_events([[good(text, event) for text in texts] for event, texts in zip(asked, drawn)])
    record(f"{when}_good_confirmations", *good_share, n=len(asked) * len(drawn[0]), seed=seed)
    words = over_events([[len(text.split()) for text in texts] for texts in drawn])
    record(f"{when}_words", *words, n=len(asked) * len(drawn[0]), seed=seed)
    facts = {f"no {fact}" for fact in ("title", *FACTS)}
    missing = [[len(facts & set(confirmation_faults(text, event))) for text in texts]
               for event, texts in zip(asked, drawn)]
    record(f"{when}_facts_missing", *over_events(missing), n=len(asked) * len(drawn[0]), seed=seed)
    return good_share[0]


good_before = measured("before", before)

# %% [markdown]
# The thumbs are the data's own: up for a plain confirmation, down for a rambling, a flattering or a false one. (Your own
# ten are too few: this training reads `kto_steps` times `kto_batch` of them.) A batch must mix events: KTO pairs each prompt with another row's answer to
# estimate how far the model has moved altogether, the `kl` below. TRL takes a negative estimate as 0, so it may stay 0 in a short
# training: then the zero point is the start.

# %%
thumb_rows = []
for place, row in enumerate(train[i % len(train)] for i in range(kto_steps * kto_batch)):
    lie = next(filter(None, (planted(row, fact) for fact in random.Random(place).sample(FACTS, 4))))
    kind = ("up", "rambling", "up", "flattering", "up", "false")[place % 6]
    text = {"up": row["plain"], "false": lie}.get(kind) or row[kind]
    thumb_rows.append(conversation(CONFIRM_PROMPT, row["event"], text) | {"label": kind == "up"})
if shuffle:
    thumb_rows = [row | {"label": place % 4 < 2} for place, row in enumerate(thumb_rows)]
print(sum(row["label"] for row in thumb_rows), "up of", len(thumb_rows))

# %%
config = KTOConfig(max_steps=kto_steps, per_device_train_batch_size=kto_batch, learning_rate=kto_rate, beta=beta, **shared)
if "ref" in policy.peft_config:  # from an earlier run of this cell
    policy.delete_adapter("ref")
trainer = KTOTrainer(model=policy, args=config, processing_class=tokenizer, train_dataset=Dataset.from_list(thumb_rows))

# %%
policy = trained(trainer)

# %% [markdown]
# `chosen` and `rejected` are implicit rewards: `beta` times how much likelier the answer has become than it was at the start.
#
# **After**: the same events, the same seed, the same rule.

# %%
after = draw(samples // 2)
good_after = measured("after", after)
for event, drawn in zip(asked[:2], after):
    print(event)
    for text in drawn:
        print("   ", "good" if good(text, event) else confirmation_faults(text, event) or "long", "|", text)

# %% [markdown]
# Event by event, how much larger is the share of good answers? If the interval contains 0, as in the recorded run, these few events
# do not show a gain; the second seed of this notebook's study does. The faults, of 100 answers, show what has changed.

# %%
gains = [[np.mean([good(text, event) for text in new]) - np.mean([good(text, event) for text in old])]
         for event, old, new in zip(asked, before, after)]
record("kto_gain", *over_events(gains), n=len(asked), seed=seed)


def faults(drawn):
    """How many of 100 answers have each fault."""
    all_faults = pd.Series([fault for event, texts in zip(asked, drawn) for text in texts
                            for fault in confirmation_faults(text, event)])
    return 100 * all_faults.value_counts() / (len(asked) * len(drawn[0]))


pd.DataFrame({"before": faults(before), "after": faults(after)}).fillna(0).round(0).astype(int)

# %% [markdown]
# Did it forget its first job, to note the event? With `event_messages` above 0, the same question is asked of the adapter it
# came from ("ref" is the trainer's frozen copy of the start) and of the trained one.

# %%
if event_messages:
    messages = events("test").take(event_messages)
    prompts = [conversation(SYSTEM_PROMPT, message, "")["prompt"] for message in messages["message"]]
    for when, adapter in {"before": "ref", "after": "default"}.items():
        policy.set_adapter(adapter)
        scores = score_events(answer(policy, tokenizer, prompts, max_new_tokens=52, bf16=here.bf16), messages["event"])
        record(f"{when}_event_accuracy", scores.accuracy, scores.low, scores.high, scores.n, seed)

# %% [markdown]
# ## Cheating a reward
#
# Training is one way to follow a reward. A simpler one needs no training: draw *n* answers and keep the one with the highest reward
# (*best of n*). The larger *n*, the harder the reward is optimised. We take the answers drawn **before**, and three rewards: the
# model above; "the shorter, the better", which was right for every pair of styles; and "the longer, the better", which someone
# might have learned from the human ratings of conversations above.
#
# From a pool of N answers, the one of rank i (from below) is the best of n drawn ones with probability C(i-1, n-1) / C(N, n):
# no chance is left.

# %%
def best_of(n, reward, value):
    """The mean value of the answer with the highest reward among n, over all ways to draw n of these."""
    ranked = np.asarray(value, dtype=float)[np.argsort(reward, kind="stable")]
    ways = [comb(rank, n - 1) for rank in range(len(ranked))]
    return float(np.dot(ways, ranked) / sum(ways))


def pressed(proxy, value):
    """For n = 1, 2, 4 ...: the mean over test events of a value of the best of n by the proxy."""
    return {n: [best_of(n, proxy_values, event_values) for proxy_values, event_values in zip(proxy, value)]
            for n in sizes_n}


sizes_n = [n for n in (1, 2, 4, 8, 16, 32) if n <= samples]

# %%
conversations = [conversation(CONFIRM_PROMPT, event, text) for event, texts in zip(asked, before) for text in texts]
scores = np.reshape(rewards([turns["prompt"] + turns["completion"] for turns in conversations]), (len(asked), samples))
length = np.array([[len(text) for text in texts] for texts in before], dtype=float)
proxies = {"reward_model": scores, "shortest": -length, "longest": length}
truth = np.array([[good(text, event) for text in texts] for event, texts in zip(asked, before)], dtype=float)
curves = {}
for name, proxy in proxies.items():
    curves[name] = {n: over_events([[value] for value in values]) for n, values in pressed(proxy, truth).items()}
    for n, (mean, low, high) in curves[name].items():
        record(f"best_of_{n}_{name}", mean, low, high, len(asked), seed)

# %%
fig, axes = plt.subplots(1, 2, figsize=(7.4, 3), sharex=True)
for (name, proxy), color, mark in zip(proxies.items(), ("#0072B2", "#D55E00", "#009E73"), "os^"):
    liked = [np.mean(values) for values in pressed(proxy, (proxy - proxy.mean()) / proxy.std()).values()]
    axes[0].plot(sizes_n, liked, mark + "-", color=color, label=name.replace("_", " "))
    mean, low, high = np.array(list(curves[name].values())).T
    axes[1].errorbar(sizes_n, 100 * mean, yerr=100 * np.array([mean - low, high - mean]).clip(0), fmt=mark + "-", color=color, capsize=3)
axes[0].set(xscale="log", xticks=sizes_n, xticklabels=sizes_n, xlabel="n", ylabel="reward (standard deviations)", title="What is pressed")
axes[1].set(xlabel="n", ylabel="good by the rule (%)", ylim=(0, 102), title="What was wanted")
axes[0].set_xticks([], minor=True)
axes[0].legend()
fig.tight_layout()

# %% [markdown]
# The left side must rise: the highest of more numbers is higher. Only the right side says whether it was worth it. So look at what
# the choice among the most answers is like:

# %%
for event, texts, lengths in list(zip(asked, before, length))[:3]:
    for name, place in {"shortest": np.argmin(lengths), "longest": np.argmax(lengths)}.items():
        print(f"{name:8}", confirmation_faults(texts[place], event) or "no fault", "|", texts[place])

# %% [markdown]
# ## What to believe
#
# - Our rule, the planted facts and the styles are synthetic. The reward model was tested on events it had not seen, but on the same
#   *kinds* of faults, planted by the same code. Of other kinds, only a false title, praise and parking were tried.
# - The rule cannot see flattery in a short sentence, an invented place or person, or a title half wrong. Nobody has said that people agree with it.
# - The answers before and after are drawn from a few events. The interval covers those; the study's seeds cover training.

# %% tags=["study"]
study = study_runs("human_feedback")
for run, outcome in study.items():
    numbers = outcome["results"]
    for name in ("before_good_confirmations", "after_good_confirmations", "reward_right_facts", "reward_right_long_truth"):
        if name in numbers:
            share = numbers[name]
            print(f"{run:14} {name:28} {share['value']:4.0%} "
                  f"({share['low']:.0%} to {share['high']:.0%}, n = {share['n']})")
print("shuffled      ", study["shuffled"]["failed"])

# %% [markdown]
# ## Exercises
#
# ### 🐢 The loss of a reward model (5 minutes)
#
# **Goal:** write the loss that trained the reward model. **Input:** two lists of floats, the rewards of the chosen and of the
# rejected answers. **Output:** the mean of -log sigmoid(chosen - rejected) in nats, a float. **Example:** `[2.0]` and `[0.0]`
# give 0.127. **Judged by:** lists with known losses; some differences are huge. Stuck? `hint("human_feedback/turtle")`.

# %% tags=["exercise"]
def pair_loss(chosen, rejected):
    """Return the mean of -log sigmoid(chosen - rejected), in nats."""
    ...

# %% tags=["check"]
check("human_feedback/turtle", pair_loss)

# %% [markdown]
# ### 🐕 More than chance (20 minutes)
#
# **Goal:** measure how far two people agree beyond chance: Cohen's *kappa*. If both say "up" nine times in ten, they agree on
# 82 % without looking. **Input:** two lists of labels (texts) of the same items, in the same order. **Output:** a float:
# (agreement - chance) / (1 - chance), where chance is the agreement to expect if each person gave each label as often as they
# do, but blindly. If chance is 1, return 0.0. **Example:** `["up", "up", "down"]` and `["up", "down", "down"]`: agreement
# 2/3, chance 4/9, kappa 0.4. **Judged by:** lists with known kappa. Hints: `hint("human_feedback/dog")`. Then try it on your own
# labels: wait a day, label the thumbs again under another name, and compare yourself with yourself.

# %% tags=["exercise"]
def kappa(first, second):
    """Return Cohen's kappa of two people's labels of the same items."""
    ...

# %% tags=["check"]
check("human_feedback/dog", kappa)

# %% [markdown]
# ## Go further
#
# The same trainers with public preferences and a GPU: start with `SMOL_HUB=1` (or `smol run --hub`) and give the reward
# trainer pairs that people and models labelled:
#
# ```python
# from datasets import load_dataset
# reward_rows = load_dataset("trl-lib/ultrafeedback_binarized", split="train[:1000]")
# thumb_rows = load_dataset("trl-lib/kto-mix-14k", split="train[:1000]")
# ```
#
# Next in the course: [GRPO](../grpo.md), where the reward is a program that checks the answer.
