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
# # Prompt tuning: a prompt that no one can read
#
# You train a few vectors that stand in front of a message, and not one weight of the model. You measure what they are
# worth, and try to read them.
#
# What this notebook cost in time and memory when it was last run stands in the table of the module's README.
# The lesson to read first: [prompt_tuning.md](../prompt_tuning.md).
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/smol-ai/course/blob/main/3_parameter_efficient_finetuning/notebooks/prompt_tuning.ipynb)
# In Colab, read the lesson [on GitHub](https://github.com/smol-ai/course/blob/main/3_parameter_efficient_finetuning/prompt_tuning.md).

# %% tags=["install"]
# On Colab, install what this notebook needs; anywhere else this does nothing.
import importlib.util
import sys
if importlib.util.find_spec("smol_course") is None:
    print("Installing the course with what this notebook needs: about a minute.")
    needs = '"smol-course @ git+https://github.com/smol-ai/course"'
    get_ipython().system(f"uv pip install -q --python {sys.executable} {needs} || {sys.executable} -m pip install -q {needs}")

# %% [markdown]
# Every number worth changing stands in one cell. With `learning_rate = 0` nothing is learned, and the claim at
# the end of this notebook fails, as it should.

# %% tags=["parameters"]
from smol_course.parameters import number, whole
model_name: str = "HuggingFaceTB/SmolLM2-135M-Instruct"
seed: whole(0, 2**32 - 1) = 0
virtual_tokens: whole(1, 512) = 16  # vectors in front of every message
learning_rate: number(0, 1) = 3e-2  # a hundred times what module 1 gave to weights
steps: whole(1) = 40
batch_size: whole(1) = 4
test_messages: whole(1) = 48
compare: bool = True  # measure what words do as well: before, with examples, in the vectors' place; False: after only
margin: number(-1, 1) = 0.15  # how many more of the facts must be said after training, for the claim to stand
others: list = []  # relatives to train as well, each [name, method, virtual tokens, start, learning rate]; the study does

# %% tags=["setup"]
import json
import random
import tempfile
import warnings
from collections import Counter
from pathlib import Path
import matplotlib.pyplot as plt
import pandas as pd
import torch
from peft import IA3Config, LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
from trl import SFTConfig, SFTTrainer
from smol_course.data import conversation, events, in_like_batches, study_runs
from smol_course.evaluation.confirmations import CONFIRM_PROMPT, confirmation_faults, confirmations
from smol_course.exercises import check, hint
from smol_course.hardware import prepare
from smol_course.metrics import record, watch, wilson
from smol_course.models import answer, find_model

# %% tags=["setup"]
here = prepare()
set_seed(seed)
model_path = find_model(model_name)
tokenizer = AutoTokenizer.from_pretrained(model_path)

# %% [markdown]
# ## The task: confirm an event
#
# The organiser has noted an event, and tells its user so in one sentence. The event is given, as JSON, so the model does not have
# to work anything out. It must state all of the event, and stop. We train on sentences written for this course, and test on the
# events of the test messages, whose names training never shows.

# %%
train = in_like_batches(confirmations("train").shuffle(seed=seed), batch_size, seed, column="event")
test = events("test").filter(lambda row: row["event"] != "null").shuffle(seed=0)
test = test.take(test_messages)
print(f"{len(train)} rows to train on, {steps * batch_size} of them used; {len(test)} to test on")
for row in train.select(range(3)):
    print(row["event"], "\n    ", row["plain"])

# %% [markdown]
# A row becomes a conversation, as in module 1. The instruction in words is always there; what we train comes on top of it.

# %%
def example(row):
    """Make one training example of a row."""
    return conversation(CONFIRM_PROMPT, row["event"], row["plain"])


example(train[0])

# %% [markdown]
# ## How it is measured
#
# `confirmation_faults` names what is wrong with a sentence. We report two numbers:
#
# - *facts said*: the share of what the events contain (title, day, start, place, people) that is said, and said rightly;
# - *right confirmations*: the share of sentences without any fault, so also without an invented day or time, and one sentence
#   of at most 25 words.
#
# Neither sees an invented place or person. The event's own JSON, copied, is a fault too (`no sentence`).

# %%
event = '{"title": "dinner", "day": "friday", "start": "19:30", "place": "Luna", "people": ["Ana"]}'
for sentence in ("Dinner with Ana is on Friday at 19:30, at Luna.", "Dinner is on Friday at 20:30, at Luna."):
    print(sentence, confirmation_faults(sentence, event))

# %%
def facts(said, event):
    """Return how many facts of an event a sentence says rightly, and how many there are."""
    fields = [field for field, value in json.loads(event).items() if value]
    faults = confirmation_faults(said, event)
    return sum(f"no {field}" not in faults and f"wrong {field}" not in faults for field in fields), len(fields)


print(facts("Dinner is on Friday at 20:30, at Luna.", event))

# %% [markdown]
# Facts of one sentence succeed or fail together, so they are not as many tries as there are facts. The interval comes from
# drawing whole sentences again and again, with repetition (*bootstrap*).

# %%
def facts_said(answers, events):
    """Return the share of facts said rightly, and the ends of its 95 % bootstrap interval."""
    pairs = [facts(text, event) for text, event in zip(answers, events)]

    def share(chosen):
        return sum(right for right, _ in chosen) / sum(total for _, total in chosen)

    chance = random.Random(0)
    drawn = sorted(share(chance.choices(pairs, k=len(pairs))) for _ in range(1000))
    return share(pairs), drawn[25], drawn[974]


# %%
def measured(name, model, shots=()):
    """Ask the model to confirm the test events, record both numbers under a name, return answers and share of facts.

    ``shots`` are solved examples for the prompt.
    """
    prompts = [conversation(CONFIRM_PROMPT, event, "")["prompt"] for event in test["event"]]
    prompts = [[system, *shots, user] for system, user in prompts]
    answers = answer(model, tokenizer, prompts, max_new_tokens=40, batch_size=16, bf16=here.bf16, show=False)
    right = sum(not confirmation_faults(text, event) for text, event in zip(answers, test["event"]))
    record(f"{name}_accuracy", right / len(answers), *wilson(right, len(answers)), len(answers), seed)
    share, low, high = facts_said(answers, test["event"])
    record(f"{name}_facts", share, low, high, len(answers), seed)
    return answers, share

# %% [markdown]
# ## Before
#
# The starting model with the instruction in words.

# %%
def load_model():
    """Load the starting model."""
    return AutoModelForCausalLM.from_pretrained(model_path, dtype="float32", attn_implementation=here.attention)


model = load_model()
before_answers, before = measured("before", model) if compare else ([], 0.0)
for row, reply in zip(test, before_answers[:3]):
    print(row["event"], "\n    ", reply[:120])

# %% [markdown]
# Words can do more than instruct: they can show. Three solved examples go into the prompt, *few-shot prompting*. It is the
# rival to remember: it needs no training at all.

# %%
shots = [part for row in train.select(range(3)) for part in (example(row)["prompt"][1], example(row)["completion"][0])]
if compare:
    few_answers, _ = measured("few_shot", model, shots)
    for row, reply in zip(test, few_answers[:3]):
        print(row["event"], "\n    ", reply[:120])
    record("few_shot_tokens", len(tokenizer("".join(part["content"] for part in shots))["input_ids"]), seed=seed)

# %% [markdown]
# `few_shot_tokens` is by how much the examples make every prompt longer (and a few tokens more, for the roles).
#
# ## What a soft prompt is
#
# A model never sees a word. A token's number is looked up in a table, and the layers read the row found there: the *embedding*,
# here 576 numbers. Each token has its row. But nothing stops us from handing the layers other rows, which belong to no token.
#
# First with rows that do belong to tokens, those of the instruction, put in front by hand:

# %%
prompt = example(train[0])["prompt"]
ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True, return_tensors="pt")["input_ids"]
words = model.get_input_embeddings()
text_ids = (tokenizer(CONFIRM_PROMPT)["input_ids"] * virtual_tokens)[:virtual_tokens]
soft = words(torch.tensor([text_ids]))  # (1, virtual_tokens, 576)
together = torch.cat([soft, words(ids)], dim=1)  # (1, virtual_tokens + tokens, 576)
print(tuple(soft.shape), "in front of", tuple(words(ids).shape), "makes", tuple(together.shape))

# %% [markdown]
# PEFT does the same. `TEXT` says how the vectors start; the text is cut, or repeated, to the number of virtual tokens. (PEFT
# warns whenever it drops the positions that generation passes along. What that does stands in the lesson, under "What goes wrong".)

# %%
warnings.filterwarnings("ignore", message="Position ids are not supported")
as_text = PromptTuningConfig(
    task_type="CAUSAL_LM", num_virtual_tokens=virtual_tokens, tokenizer_name_or_path=model_path,
    prompt_tuning_init="TEXT", prompt_tuning_init_text=CONFIRM_PROMPT)
tuned = get_peft_model(model, as_text)
with torch.inference_mode():
    by_hand = model(inputs_embeds=together).logits[0, -1]
    by_peft = tuned(input_ids=ids).logits[0, -1]
print(f"largest difference between the two: {(by_hand - by_peft).abs().max():.1e}")
assert torch.allclose(by_hand, by_peft, atol=1e-3)

# %% [markdown]
# So a soft prompt is a table of `virtual_tokens` rows, and *prompt tuning* changes the numbers in it, and no others.

# %%
def count_trained(model):
    """Return how many numbers of a model will be trained."""
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


print([(name, tuple(weight.shape)) for name, weight in tuned.named_parameters() if weight.requires_grad])
record("trained_parameters", count_trained(tuned))

# %% [markdown]
# Before any training the vectors are the instruction once more. They are the control for what follows.

# %%
table = tuned.prompt_encoder["default"].embedding.weight  # (virtual_tokens, 576)
started = table.detach().clone()
_, untrained = measured("untrained", tuned) if compare else ([], 0.0)

# %% [markdown]
# ## The trainer
#
# The same `SFTTrainer` as in module 1. Only the learning rate is another. Adam moves each number by about the learning rate
# at each step, so it has to fit the size of the numbers:

# %%
record("embedding_std", words.weight.std().item())


def make_trainer(tuned, learning_rate):
    """Return TRL's trainer for a model in which little is trained: the loss counts the completion only."""
    config = SFTConfig(
        output_dir="trainer", max_steps=steps, per_device_train_batch_size=batch_size, learning_rate=learning_rate,
        lr_scheduler_type="linear", warmup_steps=0.1, train_sampling_strategy="sequential",
        bf16=here.bf16, use_cpu=here.device == "cpu", optim=here.optimizer,
        activation_checkpointing=False,  # prefix tuning would refuse it
        logging_steps=max(1, steps // 10), save_strategy="no", disable_tqdm=True, seed=seed,
    )
    trainer = SFTTrainer(model=tuned, args=config, processing_class=tokenizer,
                         train_dataset=train.map(example, remove_columns=train.column_names))
    return trainer

# %%
trainer = make_trainer(tuned, learning_rate)
batch = trainer.data_collator([trainer.train_dataset[0]])
scored = batch["labels"][0] != -100
print(f"{len(scored)} tokens, {scored.sum()} of them scored:")
print("|".join(tokenizer.decode(token) for token in batch["input_ids"][0][scored]))

# %% [markdown]
# The trainer knows nothing of the soft prompt. PEFT lengthens each batch inside the model's `forward`: vectors in front, ones
# in the attention mask, and -100 as labels, because a vector has no token that could be its label.
#
# ## Training, watched

# %%
def watched(trainer):
    """Train, print the loss on the way, and return its mean over the last three times it was logged."""
    watch(trainer, "step {step:3d}   loss {loss:.3f}")
    print(f"{trainer.train().metrics['train_runtime']:.0f} seconds")
    losses = [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    return sum(losses[-3:]) / len(losses[-3:])


record("last_loss", watched(trainer), seed=seed)

# %% [markdown]
# ## After
#
# The same events, the same instruction, the same measure.

# %%
after_answers, after = measured("after", tuned)
for row, reply in zip(test, after_answers[:6]):
    print(row["event"], "\n    ", reply)

# %% [markdown]
# Which faults went, and which remain?

# %%
def faults(answers):
    """Count the faults of a list of answers."""
    return Counter(fault for text, event in zip(answers, test["event"]) for fault in confirmation_faults(text, event))


pd.DataFrame({"before": faults(before_answers), "after": faults(after_answers)}).fillna(0).astype(int)

# %% [markdown]
# **The claim of this notebook**, checked by the notebook itself:

# %%
best = max(before, untrained)
assert after >= best + margin, f"the soft prompt did not help: {best:.0%} of the facts before, {after:.0%} after"
print(f"✅ {after - best:+.0%} of the facts, {margin:.0%} asked for")

# %% [markdown]
# And the few-shot prompt? Compare with `few_shot_facts` and `few_shot_accuracy` above, on the same events.
#
# ## Can it be read?
#
# For each learned vector we look up the token whose embedding points in the most similar direction (*cosine*: 1 is the same
# direction, 0 is none in common). Beside it, the same for random vectors: among 49,152 tokens, one is always nearest.

# %%
def nearest(vectors):
    """Return the cosine with the nearest token of the vocabulary, and that token's number, for each vector."""
    unit = torch.nn.functional.normalize
    return (unit(vectors) @ unit(words.weight.detach()).T).max(dim=-1)


learned = table.detach().clone()
noise = torch.randn(learned.shape, generator=torch.Generator().manual_seed(seed))
(cosine, near), (by_chance, _), (_, began) = nearest(learned), nearest(noise), nearest(started)
kept = torch.nn.functional.cosine_similarity(started, learned)

# %%
pd.DataFrame({
    "started near": [repr(tokenizer.decode(token)) for token in began],
    "is now near": [repr(tokenizer.decode(token)) for token in near],
    "cosine": cosine.numpy().round(2), "cosine of a chance vector": by_chance.numpy().round(2),
    "cosine with its start": kept.numpy().round(2),
    "length at the start": started.norm(dim=1).numpy().round(2),
    "moved by (length)": (learned - started).norm(dim=1).numpy().round(2),
})

# %%
record("nearest_cosine", cosine.mean(), seed=seed)
record("chance_cosine", by_chance.mean(), seed=seed)
record("same_token", (near == began).float().mean(), n=virtual_tokens, seed=seed)

# %% [markdown]
# If these tokens were what the prompt means, they should work in its place. So we put their own embeddings there, and
# measure. (And put the learned vectors back.)

# %%
if compare:
    table.data.copy_(words.weight[near].detach())
    measured("nearest_words", tuned)
    table.data.copy_(learned)

# %% [markdown]
# Compare `untrained_facts`, `nearest_words_facts` and `after_facts`. Training gained the difference between the first and the last.
# What the nearest tokens keep of that gain is what they explain. In the recorded run `same_token` is 1: every vector is still
# nearest to the token that it started from. Then the nearest tokens are the untrained soft prompt, the two numbers agree, and the
# tokens explain nothing of the gain.
#
# ## What is saved
#
# Not the model, only what was trained.

# %%
with tempfile.TemporaryDirectory() as folder:
    tuned.save_pretrained(folder)
    weights = Path(folder, "adapter_model.safetensors")
    record("saved_kb", weights.stat().st_size / 1000)
    print({name: tuple(weight.shape) for name, weight in list(load_file(weights).items())[:3]})

# %% [markdown]
# `PeftModel.from_pretrained(model, folder)` loads it again.
#
# ## Relatives
#
# Three methods that also train little:
#
# - **prefix tuning** puts trained keys and values in front, in every layer;
# - **IA3** has no virtual tokens: it multiplies keys, values and the inside of the feed-forward blocks by trained factors;
# - **LoRA** adds a narrow matrix product to chosen weights. Rank 1 on the values of twelve layers trains exactly as much as
#   sixteen virtual tokens: 12 × (576 + 192) = 16 × 576.

# %%
def relative(method, tokens=16, start="text"):
    """Return the starting model with one method's trained numbers: "prompt", "prefix", "ia3" or "lora"."""
    configs = {
        "prompt": PromptTuningConfig(
            task_type="CAUSAL_LM", num_virtual_tokens=tokens, tokenizer_name_or_path=model_path,
            prompt_tuning_init=start.upper(), prompt_tuning_init_text=CONFIRM_PROMPT),
        "prefix": PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=tokens),
        "ia3": IA3Config(task_type="CAUSAL_LM"),
        "lora": LoraConfig(task_type="CAUSAL_LM", r=1, lora_alpha=16, target_modules=["v_proj"],
                           layers_to_transform=list(range(18, 30))),
    }
    return get_peft_model(load_model(), configs[method])

# %%
for method in ("prefix", "ia3", "lora"):
    record(f"{method}_parameters", count_trained(relative(method)))

# %% [markdown]
# Training them as well takes longer than a notebook should, so the study does it. To see one here, write for example
# `others = [["lora", "lora", 0, "text", 5e-3]]` into the cell of parameters.

# %%
for name, method, tokens, start, rate in others:
    set_seed(seed)
    other = relative(method, tokens, start)
    if method == "prompt":
        vectors = other.prompt_encoder["default"].embedding.weight
        record(f"{name}_start_std", vectors.std().item())
    record(f"{name}_trained_parameters", count_trained(other))
    record(f"{name}_last_loss", watched(make_trainer(other, rate)), seed=seed)
    measured(name, other)
    if method == "prompt":
        record(f"{name}_nearest_cosine", nearest(vectors.detach())[0].mean(), seed=seed)

# %% [markdown]
# ## What to believe
#
# One run, one seed. The study of this notebook (`smol study 3/prompt_tuning`) repeats it with three seeds that were not
# looked at when the claim was chosen, and once with a learning rate of zero, which must fail the claim.

# %% tags=["study"]
study = study_runs("prompt_tuning")
numbers = {run: entry["results"] for run, entry in study.items()}


def told(r):
    """Return a result as text: percent, and its interval."""
    return f"{r['value']:.0%} ({r['low']:.0%} to {r['high']:.0%})"


kinds = ("before", "untrained", "few_shot", "after", "nearest_words")
print("learning_rate_0:", study["learning_rate_0"]["failed"])
pd.DataFrame({run: {kind: told(numbers[run][f"{kind}_facts"]) for kind in kinds} for run in ("seed_3", "seed_4", "seed_5")})

# %% [markdown]
# Two more runs train the relatives and other soft prompts, for half as many steps. Each got one learning rate. Compare the
# intervals before you rank anything.

# %% tags=["study"]
def draw(ax, run, name, place, colour="#0072B2"):
    """Draw one soft prompt's or relative's share of facts after training, in percent with its interval."""
    r = numbers[run][f"{name}_facts"]
    y, low, high = (100 * r[key] for key in ("value", "low", "high"))
    ax.errorbar(place, y, [[y - low], [high - y]], fmt="o", color=colour, ecolor="#888888", capsize=3)


# %% tags=["study"]
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True)
for place, run, name in (("1", "starts", "after"), ("16", "methods", "after"), ("64", "starts", "tokens_64")):
    draw(left, run, name, place)
draw(left, "starts", "random", "16, from noise", "#D55E00")
left.set(xlabel="virtual tokens of the soft prompt", ylim=(0, 102), title="How many vectors, and which start?",
         ylabel="facts said (%), 95 % interval")
labels = {"after": "soft prompt", "lora": "LoRA", "ia3": "IA3", "prefix": "prefix"}
for name, label in labels.items():
    count = numbers["methods"]["trained_parameters" if name == "after" else f"{name}_trained_parameters"]["value"]
    draw(right, "methods", name, f"{label}\n{count:,.0f}")
right.set(xlabel="method, and how many numbers it trains", title="Which method?")
fig.tight_layout()

# %% [markdown]
# ## Exercises
#
# ### 🐢 What is trained (5 minutes)
#
# **Goal:** count the trained numbers of three methods. **Input:** `method`, one of "prompt", "prefix" and "ia3"; `shape`,
# a dictionary with the model's `layers`, `hidden` size, `heads`, `kv_heads` and `feed_forward` size; `virtual_tokens`. A
# head has hidden // heads numbers; several query heads share one head of keys and values, so there are only `kv_heads` of
# those. IA3 has one factor for each number of the keys, of the values and of the feed-forward block's inside
# (`feed_forward` numbers), in each layer. **Output:** a whole number. **Example:** for the shape below, "prompt" with 16
# virtual tokens gives 9,216. **Judged by:** four shapes. Stuck? `hint("prompt_tuning/turtle")`.

# %% tags=["exercise"]
# SmolLM2-135M: {"layers": 30, "hidden": 576, "heads": 9, "kv_heads": 3, "feed_forward": 1536}
def trained_parameters(method, shape, virtual_tokens):
    """Return how many numbers "prompt", "prefix" or "ia3" trains on a model of this shape."""
    ...

# %% tags=["check"]
check("prompt_tuning/turtle", trained_parameters)

# %% [markdown]
# ### 🐕 A soft prompt in front (20 minutes)
#
# **Goal:** build what PEFT hands to the model when it trains a soft prompt. **Input:** `soft`, a tensor (virtual, width)
# that wants gradients (each row passes some on); `words`, the table of embeddings (vocabulary, width); `rows`, a list of
# pairs (input_ids, prompt_length), where the first prompt_length tokens are only read. **Output:** a dictionary of three
# tensors: `inputs_embeds` (rows, positions, width), `attention_mask` and `labels`, both (rows, positions). In each row:
# soft prompt, message, padding up to the longest row. Padding may be any vector. Labels are not shifted. **Example:**
# with 2 virtual tokens, `[([5, 9, 4], 2), ([7], 0)]` has the labels
# `[[-100, -100, -100, -100, 4], [-100, -100, 7, -100, -100]]`. **Judged by:** small tensors. Hints: `hint("prompt_tuning/dog")`.

# %% tags=["exercise"]
def with_soft_prompt(soft, words, rows):
    """Return the batch as a dictionary of inputs_embeds, attention_mask and labels."""
    ...

# %% tags=["check"]
check("prompt_tuning/dog", with_soft_prompt)

# %% [markdown]
# ## Go further
#
# The same cells, with a larger model: start with `SMOL_HUB=1` (or `smol run --hub`) and take
# `model_name = "HuggingFaceTB/SmolLM2-1.7B-Instruct"`, on a GPU. In the paper, prompt tuning came closer to full fine-tuning the
# larger the model was. For a public data set, `example` takes other columns:
#
# ```python
# from datasets import load_dataset
# train = load_dataset("knkarthick/samsum", split="train")
# def example(row):
#     return conversation("Summarise the dialogue.", row["dialogue"], row["summary"])
# ```
#
# A summary needs a measure of its own, in the place of `measured`.
