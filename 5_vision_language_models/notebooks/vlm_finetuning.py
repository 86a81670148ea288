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
# # Fine-tuning a vision language model
#
# A model that knows a chart's tallest bar is taught a question that it was never asked: what colour is the third bar? You see
# what the loss looks at, token by token, and measure before and after, with the picture and without.
#
# What this notebook cost in time and memory when it was last run stands in the table of the module's README. The lesson to read
# first: [vlm_finetuning.md](../vlm_finetuning.md).
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/smol-ai/course/blob/main/5_vision_language_models/notebooks/vlm_finetuning.ipynb)
# In Colab, read the lesson [on GitHub](https://github.com/smol-ai/course/blob/main/5_vision_language_models/vlm_finetuning.md).

# %% tags=["install"]
# On Colab, install what this notebook needs; anywhere else this does nothing.
import importlib.util
import sys
if importlib.util.find_spec("smol_course") is None:
    print("Installing the course with what this notebook needs: about a minute.")
    needs = '"smol-course[vision] @ git+https://github.com/smol-ai/course"'
    get_ipython().system(f"uv pip install -q --python {sys.executable} {needs} || {sys.executable} -m pip install -q {needs}")

# %% [markdown]
# Every number worth changing stands in one cell. With `learning_rate = 0` nothing is learned; with `shuffle_images = True` every
# question gets another question's picture. In both cases the claim at the end fails, as it should.

# %% tags=["parameters"]
from smol_course.parameters import number, one_of, whole
model_name: str = "organiser_vlm"  # or a model of the Hub, such as "HuggingFaceTB/SmolVLM-256M-Instruct"
seed: whole(0, 2**32 - 1) = 0
kind: one_of("chart_colour", "calendar_busiest") = "chart_colour"  # the new question; "calendar_busiest" is a harder one
steps: whole(1) = 80
batch_size: whole(1) = 16
learning_rate: number(0, 1) = 1e-3
rank: whole(1) = 16
placement: one_of("language", "connector", "vision") = "language"  # where the adapter goes
shuffle_images: bool = False  # True: a control
test_questions: whole(1) = 60  # of the new kind
kept_each: whole(1) = 8  # of each kind that it can already do
new_tokens: whole(1, 512) = 16  # the longest answer that we wait for
margin: number(-1, 1) = 0.4  # how much larger the share of right answers must be, for the claim to stand

# %% tags=["setup"]
from itertools import groupby
from textwrap import fill
import matplotlib.pyplot as plt
import pandas as pd
from datasets import Dataset
from peft import LoraConfig
from transformers import set_seed
from trl import SFTConfig, SFTTrainer
from smol_course.data import study_runs
from smol_course.exercises import check, hint
from smol_course.hardware import prepare
from smol_course.metrics import record, watch, wilson
from smol_course.vision.model import ask_all, evaluate, load_vlm
from smol_course.vision.pictures import LEARNT, examples, shuffled, test_set

# %% tags=["setup"]
here = prepare()
set_seed(seed)

# %% [markdown]
# ## The new question
#
# Bar charts, drawn by code in the styles of the training split. The recipe that made our model asked which bar is tallest, what
# colour that one has and how many bars there are. It never asked for the colour of another bar.

# %%
train = examples("train", steps * batch_size, seed=100 + seed, kinds=(kind,))
test = test_set(test_questions, (kind,))
fig, axes = plt.subplots(1, 4, figsize=(9, 2.7))
for ax, shown in zip(axes, train):
    ax.imshow(shown.image)
    ax.set(xticks=[], yticks=[])
    ax.set_title(f"{fill(shown.question, 30)}\n{shown.answer}", fontsize=7)
fig.tight_layout()

# %% [markdown]
# ## Before
#
# Three times the same test questions: with their picture, with a grey sheet, with another question's picture.

# %%
model, processor = load_vlm(model_name)
model.set_attn_implementation(here.attention)
before = evaluate(model, processor, test, new_tokens, bf16=here.bf16)[kind]
before

# %% [markdown]
# What does it say? A chart's bars stand in the picture's parts, so you can look up whose colour it named.

# %%
answers = ask_all(model, processor, test, new_tokens, bf16=here.bf16)


def tallest_of(shown):
    """The colour of the chart's tallest bar, or None if the picture is no chart."""
    return next((part.words[0] for part in shown.parts if "highest" in part.words), None)


as_tallest = sum(text == tallest_of(shown) for text, shown in zip(answers, test))
print(f"{as_tallest} of {len(test)} answers name the tallest bar")
pd.DataFrame([(shown.question, text, shown.answer, tallest_of(shown)) for text, shown in zip(answers, test)][:6],
             columns=["question", "it says", "right would be", "the tallest bar"])

# %% [markdown]
# It does not fail at random. It answers the question that it knows, and the place in your question changes nothing. Where it is
# right, the bar that was asked for happens to be the tallest.
#
# What it could do before must not suffer. A few questions of each kind that it was trained on:

# %%
others = test_set(kept_each, LEARNT)


def others_right(asked):
    """Whether each of the other questions is right."""
    answers = ask_all(asked, processor, others, new_tokens, bf16=here.bf16)
    return [text == shown.answer for text, shown in zip(answers, others)]


others_before = others_right(model)
print(f"{sum(others_before)} of {len(others)} others right")

# %% [markdown]
# ## Rows
#
# As in module 1: `prompt` and `completion`, and beside them the pictures. TRL puts the image placeholders in front of the first
# question by itself.

# %%
def row_of(shown):
    """One training example in TRL's form."""
    return {"images": [shown.image], "prompt": [{"role": "user", "content": shown.question}],
            "completion": [{"role": "assistant", "content": shown.answer}]}


rows = Dataset.from_list([row_of(shown) for shown in (shuffled(train) if shuffle_images else train)])
rows[0] | {"images": [image.size for image in rows[0]["images"]]}

# %% [markdown]
# ## Where the adapter goes
#
# LoRA (module 3) adds small trained matrices beside frozen ones. A vision language model offers three places. The names say which
# matrices: here as one pattern for each place.

# %%
PLACES = {
    "language": r".*text_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)",
    "connector": r".*connector\.modality_projection\.proj",
    "vision": r".*vision_model.*\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2)",
}
lora = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=PLACES[placement])

# %%
config = SFTConfig(
    output_dir="trainer",
    max_steps=steps, per_device_train_batch_size=batch_size,
    learning_rate=learning_rate, lr_scheduler_type="linear", warmup_steps=0.1,
    train_sampling_strategy="sequential",  # each picture is new: there is nothing to shuffle
    max_length=None,  # a cut through the image tokens would break the example
    bf16=here.bf16, use_cpu=here.device == "cpu", optim=here.optimizer,
    activation_checkpointing=False,
    logging_steps=max(1, steps // 12), save_strategy="no", disable_tqdm=True, seed=seed,
)
if hasattr(model, "peft_config"):  # from an earlier run of this cell
    model = trainer.model.unload()
trainer = SFTTrainer(model=model, args=config, processing_class=processor, peft_config=lora, train_dataset=rows)
trainer.model.print_trainable_parameters()

# %% [markdown]
# ### What the loss sees
#
# The *collator* makes a batch: it puts the image tokens into the text, pads, and writes the labels. One row of a batch, with
# repeated tokens counted. Only what is marked as scored reaches the loss.

# %%
batch = trainer.data_collator([trainer.train_dataset[row] for row in range(min(4, len(rows)))])
ids, labels = batch["input_ids"][0], batch["labels"][0]
names = processor.tokenizer.convert_ids_to_tokens(ids)
runs = [(name, scored, len(list(run))) for (name, scored), run in groupby(zip(names, (labels != -100).tolist()))]
pd.DataFrame([(name, count, "scored" if scored else "") for name, scored, count in runs], columns=["token", "times", "loss"])

# %% [markdown]
# Three things must be true, and it can take days to find out that one is not: no image token is scored, no padding is scored, and
# the answer is scored whole, with its end.

# %%
on_images = (batch["input_ids"] == trainer.model.config.image_token_id) & (batch["labels"] != -100)
on_padding = (batch["attention_mask"] == 0) & (batch["labels"] != -100)
assert not on_images.any() and not on_padding.any()
for row in range(2):
    scored = batch["labels"][row][batch["labels"][row] != -100]
    print(repr(processor.tokenizer.decode(scored)), "← answer:", rows[row]["completion"][0]["content"])

# %% [markdown]
# ## Training, watched

# %%
watch(trainer, f"step {{step:3d}} of {steps}   loss {{loss:.3f}}")
result = trainer.train()
print(f"{result.metrics['train_runtime']:.0f} seconds")
record("seconds_each_step", result.metrics["train_runtime"] / steps, n=steps, seed=seed)

# %%
log = pd.DataFrame(trainer.state.log_history).dropna(subset="loss")
fig, ax = plt.subplots(figsize=(6, 2.8))
ax.plot(log["step"], log["loss"].astype(float), "o-", color="#0072B2")
ax.set(xlabel="step", ylabel="loss (nats per token)", title="The loss of the new question's answers", ylim=(0, None))
fig.tight_layout()

# %% [markdown]
# An answer has three scored tokens: the colour, the end marker, and the line break of the template. The last two are the same in
# every answer and soon cost nothing. So even a model that guesses the colour ends with a low mean. Judge by the share of right
# answers, not by the loss.
#
# ## After

# %%
trained = trainer.model.eval()
after = evaluate(trained, processor, test, new_tokens, bf16=here.bf16)[kind]
pd.DataFrame({"before": before, "after": after})

# %%
for when, outcome in {"before": before, "after": after}.items():
    for control in ("right", "blank", "shuffled"):
        record(f"{when}_{control}", outcome[control], *wilson(round(outcome[control] * outcome["n"]), outcome["n"]),
               outcome["n"], seed)
record("most_frequent", after["most_frequent"], n=after["n"])
record("named_the_tallest", as_tallest / len(test), *wilson(as_tallest, len(test)), len(test))

# %%
fig, ax = plt.subplots(figsize=(6, 3.2))
for place, control in enumerate(("right", "blank", "shuffled")):
    for shift, (outcome, colour, label) in enumerate(((before, "#888888", "before"), (after, "#0072B2", "after"))):
        low, high = wilson(round(outcome[control] * outcome["n"]), outcome["n"])
        ax.bar(place + 0.38 * shift, outcome[control], 0.36, color=colour, label=None if place else label)
        ax.plot([place + 0.38 * shift] * 2, [low, high], color="#D55E00")
ax.axhline(after["most_frequent"], color="#888888", linestyle=":", label="always the same answer")
ax.set(xticks=[0.19, 1.19, 2.19], xticklabels=["its picture", "grey sheet", "another picture"], ylim=(0, 1),
       ylabel="share right, 95 % interval", title="The new question, with and without the picture")
ax.legend(fontsize=8)
fig.tight_layout()

# %% [markdown]
# **The claim of this notebook**, checked by the notebook itself: it learned the question, and it needs the picture for it.

# %%
gain = after["right"] - before["right"]
seeing = after["right"] - max(after["blank"], after["shuffled"], after["most_frequent"])
assert gain >= margin, f"fine-tuning did not help: {before['right']:.0%} right before, {after['right']:.0%} after"
assert margin < 0 or seeing >= margin / 2, f"it learned to guess: only {seeing:+.0%} over the best control"
print(f"✅ {gain:+.0%} right answers, {margin:.0%} asked for; {seeing:+.0%} over the best control")

# %% [markdown]
# ## What it forgot

# %%
others_after = others_right(trained)
for when, right in {"before": others_before, "after": others_after}.items():
    record(f"{when}_other_kinds", sum(right) / len(right), *wilson(sum(right), len(right)), len(right), seed)
table = pd.DataFrame({"kind": [shown.kind for shown in others], "before": others_before, "after": others_after})
table.groupby("kind", sort=False).sum()

# %% [markdown]
# Where a column falls, the adapter answers the new question although an old one was asked. Mixing some of the old questions into
# the training is the usual remedy.
#
# ## What to believe
#
# The intervals cover which questions were tested. The luck of training they do not cover: the study (`smol study
# 5/vlm_finetuning`) repeats it with two other seeds. It trains with learning rate 0 and with shuffled pictures, which must fail
# the claim. So must a question that has to be computed: which day is busiest? And it puts the adapter in each of the three
# places, with half of the steps.

# %% tags=["study"]
study = study_runs("vlm_finetuning")
numbers = {run: {name: result["value"] for name, result in entry["results"].items()} for run, entry in study.items()}
columns = ["before_right", "after_right", "after_blank", "after_shuffled", "before_other_kinds", "after_other_kinds"]
print(pd.DataFrame(numbers).T.reindex(columns=columns).round(2).to_string())
for run, outcome in study.items():
    asked_for = outcome["parameters"].get("margin", margin) > 0
    print(f"{run:16}", outcome["failed"] or ("the claim stands" if asked_for else "asked for no claim"))

# %% tags=["study"]
places = {name: numbers[f"in_{name}"] for name in PLACES}
fig, ax = plt.subplots(figsize=(6, 2.8))
ax.bar([place - 0.19 for place in range(3)], [shares["after_right"] for shares in places.values()], 0.36,
       color="#0072B2", label="the new question")
ax.bar([place + 0.19 for place in range(3)], [shares["after_other_kinds"] for shares in places.values()], 0.36,
       color="#D55E00", label="all the others")
ax.set(xticks=range(3), xticklabels=list(places), ylim=(0, 1), ylabel="share right after training", title="The adapter in three places (one run each)")
ax.legend(fontsize=8)
fig.tight_layout()

# %% [markdown]
# One run for each place decides little. Compare both colours, what was learned and what was kept: a place that learns and forgets
# is not better than one that learns less.
#
# ## Exercises
#
# ### 🐢 Labels of a padded row (5 minutes)
#
# **Goal:** write what the collator wrote. **Input:** three things about one row: `input_ids`, a list of token ids, with the image
# tokens in it; `attention_mask`, a list of 1 (a token) and 0 (padding), which may stand on either side; and `prompt_length`, how
# many *real* tokens the prompt has. **Output:** a new list of labels: the answer's ids, and -100 for the prompt and the padding.
# **Note:** the padding's id may also occur in the answer. **Judged by:** eight rows. Stuck? `hint("vlm_finetuning/turtle")`.

# %% tags=["exercise"]
def row_labels(input_ids, attention_mask, prompt_length):
    """Return the labels of one row: -100 where the loss must not look, else the token id."""
    ...

# %% tags=["check"]
check("vlm_finetuning/turtle", row_labels)

# %% [markdown]
# ### 🐕 Pairs for DPO on images (20 minutes)
#
# **Goal:** make the rows from which `DPOTrainer` (module 2) learns to look. **Input:** `shown`, a list of examples with `kind`,
# `image`, `question` and `answer`. **Output:** a list with one row for each example, in the same order: `images` (a list with its
# picture), `prompt`, `chosen` and `rejected`, the last three as lists with one message each (`role` and `content`). **Rules:**
# *chosen* is the right answer. *Rejected* is an answer that is wrong for this picture, but right for some other example of the
# *same kind* in the list: so only the picture can tell which is better, and no answer is bad as such. Over all rows, each text is
# rejected as often as it is chosen. **Example:** two questions of a kind with the answers `3` and `1`: the first row has chosen
# `3`, rejected `1`, the second the other way round. You may take it for granted that in each kind every answer occurs equally
# often, and that there are at least two. **Judged by:** three lists. Hints: `hint("vlm_finetuning/dog")`.

# %% tags=["exercise"]
def preference_rows(shown):
    """Return rows for DPOTrainer in which only the picture decides."""
    ...

# %% tags=["check"]
check("vlm_finetuning/dog", preference_rows)

# %% [markdown]
# ### 🦁 Teach it your question (an hour or more)
#
# **Goal:** a question of your own that the model fails at before and needs the picture for after. **Input:** your own pictures,
# drawn or taken, with questions and right answers, in the form of `row_of`, in a copy of this notebook. Keep test pictures apart
# from the start, and choose settings on a third set. **Output:** a results dictionary as below. **Judged by:** at least three
# seeds and 100 test questions; no test picture in training; in every run the share right rises by 0.3 or more, and after it lies
# 0.3 or more above the grey sheet, another question's picture and the best constant answer; the model's other questions lose at
# most 0.05 on average. Hints: `hint("vlm_finetuning/lion")`.

# %% tags=["exercise"]
results = {
    "before_right": [],  # one share from 0 to 1 for each seed
    "after_right": [],
    "after_blank": [],
    "after_shuffled": [],
    "most_frequent": 0.0,  # the share that the best constant answer gets
    "before_other_kinds": [],
    "after_other_kinds": [],
    "test_questions": 0,
    "train_pictures": [],  # the SHA-256 of each picture's bytes: hashlib.sha256(image.tobytes()).hexdigest()
    "test_pictures": [],
}

# %% tags=["check"]
check("vlm_finetuning/lion", results)

# %% [markdown]
# ## Go further
#
# The same cells with a public model, on a GPU: start with `SMOL_HUB=1` (or `smol run --hub`) and take `model_name =
# "HuggingFaceTB/SmolVLM-256M-Instruct"`. For a public set of pictures with questions, give the trainer its rows in the form of
# `row_of`:
#
# ```python
# from datasets import load_dataset
# questions = load_dataset("HuggingFaceM4/ChartQA", split="train").select(range(2000))
# ```
#
# From a command line it is `trl sft --config file.yaml`, with `accelerate launch` before it for more processes.
#
# Next in the course: synthetic datasets.
