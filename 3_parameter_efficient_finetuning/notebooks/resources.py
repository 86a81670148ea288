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
# # Resources: where the memory goes, and what less of it costs
#
# You compute how many bytes a training run needs, measure them, and see what each way of saving takes from which part.
#
# What this notebook cost in time and memory when it was last run stands in the table of the module's README.
# The lesson to read first: [resources.md](../resources.md).
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/smol-ai/course/blob/main/3_parameter_efficient_finetuning/notebooks/resources.ipynb)
# In Colab, read the lesson [on GitHub](https://github.com/smol-ai/course/blob/main/3_parameter_efficient_finetuning/resources.md).

# %% tags=["install"]
# On Colab, install what this notebook needs; anywhere else this does nothing.
import importlib.util
import sys
if importlib.util.find_spec("smol_course") is None:
    print("Installing the course with what this notebook needs: about a minute.")
    needs = '"smol-course @ git+https://github.com/smol-ai/course"'
    get_ipython().system(f"uv pip install -q --python {sys.executable} {needs} || {sys.executable} -m pip install -q {needs}")

# %% [markdown]
# Each line below is one way of saving, or what it is compared with. The study of this notebook changes one or two of
# them at a time. With `compare = "nothing"` the claim at the end fails, as it should.

# %% tags=["parameters"]
from smol_course.parameters import number, one_of, whole
model_name: str = "HuggingFaceTB/SmolLM2-135M-Instruct"
seed: whole(0, 2**32 - 1) = 0
method: one_of("full", "lora") = "full"  # all weights are trained, or small matrices beside them
rank: whole(1) = 8  # of those small matrices
messages: whole(2) = 32  # to train on, each once
order: one_of("random", "like") = "random"  # "like": batches of messages of like length
batch_size: whole(1) = 8  # rows that go through the model together
accumulation: whole(1) = 1  # so many batches make one step
checkpointing: bool = False  # True: keep few activations in training, compute the others again
precision: one_of("float32", "autocast", "bfloat16") = "float32"  # of many products, and of the weights
packing: whole(0) = 0  # 0: one message a row, padded. Else the most tokens in a row that contains several messages
learning_rate: number(0, 1) = 1e-4
dev_messages: whole(1) = 8
compare: one_of("checkpointing", "nothing") = "checkpointing"  # with plain training; "nothing": the control
most_kept: number(0, 1) = 0.5  # the share of the activation bytes that may be left, for the claim to stand

# %% tags=["setup"]
import threading
import time
from contextlib import contextmanager
import matplotlib.pyplot as plt
import pandas as pd
import psutil
import torch
from peft import LoraConfig
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaConfig
from transformers import PrinterCallback, TrainerCallback, set_seed
from trl import SFTConfig, SFTTrainer, pack_dataset
from smol_course.data import SYSTEM_PROMPT, conversation, events, in_like_batches, study_runs
from smol_course.exercises import check, hint
from smol_course.hardware import prepare
from smol_course.metrics import record
from smol_course.models import find_model

# %% tags=["setup"]
here = prepare()
set_seed(seed)
model_path = find_model(model_name)
tokenizer = AutoTokenizer.from_pretrained(model_path)

# %% [markdown]
# ## Compute it first
#
# How many numbers is the model? Its configuration says: an embedding, then layers of attention (four matrices), a
# feed-forward block (three matrices) and two norms. The output layer shares the embedding's matrix, if it is *tied*.

# %%
def count_weights(c):
    """How many numbers a Llama-shaped model of this configuration has."""
    d, kv = c.hidden_size, c.hidden_size * c.num_key_value_heads // c.num_attention_heads
    layer = 2 * d * d + 2 * d * kv + 3 * d * c.intermediate_size + 2 * d
    embeddings = c.vocab_size * d * (1 if c.tie_word_embeddings else 2)
    return embeddings + c.num_hidden_layers * layer + d


shape = AutoConfig.from_pretrained(model_path)
print(f"{count_weights(shape):,} numbers")

# %% [markdown]
# LoRA leaves these frozen. Beside each of a layer's seven matrices it puts two thin ones: `rank` × inputs and outputs × `rank`.

# %%
def count_lora(c, rank):
    """How many numbers LoRA adds, if every linear layer but the output gets two thin matrices."""
    d, kv = c.hidden_size, c.hidden_size * c.num_key_value_heads // c.num_attention_heads
    return c.num_hidden_layers * rank * (2 * (d + d) + 2 * (d + kv) + 3 * (d + c.intermediate_size))


added = count_lora(shape, rank)
print(f"{added:,} numbers are trained, {added / count_weights(shape):.1%} of the model's")

# %% [markdown]
# Now bytes. A number takes 4 in float32 and 2 in bfloat16. Every weight is in memory. A *trained* one has a gradient too, and
# AdamW keeps two running means for it, the *moments*. AdamW also counts its steps, in 4 bytes for each trained tensor.

# %%
def computed_bytes(method):
    """Bytes of weights, gradients and optimiser, from the configuration alone."""
    each = 2 if precision == "bfloat16" else 4
    numbers, layers = count_weights(shape), shape.num_hidden_layers
    if method == "full":
        trained, tensors, weights = each * numbers, 9 * layers + 2, each * numbers
    else:  # PEFT keeps its matrices in float32
        trained, tensors = 4 * added, 14 * layers
        weights = each * numbers + trained
    return {"weights": weights, "gradients": trained, "optimiser": 2 * trained + 4 * tensors}


pd.DataFrame({name: computed_bytes(name) for name in ("full", "lora")}).div(1e6).round(1).add_suffix(" (MB)")

# %% [markdown]
# That is all memory that does not depend on the data. What does is the **activations**: the results of every layer that
# the backward pass will need. PyTorch hands each tensor that it keeps for that to a hook, if one is there. So they can be
# counted: each storage once (views share one), the model's own weights left out.

# %%
@contextmanager
def kept_for_backward(model):
    """Give a dictionary that fills with what a forward pass keeps: bytes by the place of the storage."""
    weights, kept = {p.untyped_storage().data_ptr() for p in model.parameters()}, {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield kept


# %% [markdown]
# ## A few steps, measured
#
# The messages, as conversations. They come in a random order here, so that rows of a batch differ in length.

# %%
chosen = events("train").shuffle(seed=seed).take(messages)
chosen = in_like_batches(chosen, batch_size, seed) if order == "like" else chosen
rows = [conversation(SYSTEM_PROMPT, row["message"], row["event"]) for row in chosen]
dev = [conversation(SYSTEM_PROMPT, row["message"], row["event"]) for row in events("dev").take(dev_messages)]
print(len(rows), "messages to train on; the first:", rows[0]["prompt"][1]["content"][:80])

# %% [markdown]
# The operating system sees a third thing: all memory of this process, Python and its libraries included. A thread looks
# every 20 milliseconds and keeps the largest number.

# %%
class Peak(threading.Thread):
    """Watch this process's memory until told to stop."""

    def run(self):
        self.bytes, self.ended = 0, threading.Event()
        while not self.ended.wait(0.02):
            self.bytes = max(self.bytes, psutil.Process().memory_info().rss)


imported = psutil.Process().memory_info().rss
print(f"{imported / 1e6:,.0f} MB are taken before any model is loaded")

# %%
dtype = "bfloat16" if precision == "bfloat16" else "float32"
autocast = precision == "autocast"
lora = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear") if method == "lora" else None
print(f"weights in {dtype};", "products in bfloat16 (autocast)" if autocast else "all products in the same format")

# %% [markdown]
# The trainer is TRL's, with a counter: for every batch it counts what the forward pass keeps, and how many positions there are, how
# many of them are real tokens and how many are scored.

# %%
class WeighingTrainer(SFTTrainer):
    """An SFTTrainer that weighs its batches."""
    seen = []

    def compute_loss(self, model, inputs, *rest, **named):
        ids, mask, labels = inputs["input_ids"], inputs.get("attention_mask"), inputs["labels"]
        with kept_for_backward(model) as kept:
            loss = super().compute_loss(model, inputs, *rest, **named)
        self.seen.append({
            "step": self.state.global_step, "training": self.model.training, "activations": sum(kept.values()),
            "positions": ids.numel(), "tokens": ids.numel() if mask is None else int(mask.sum()),
            "scored": int((labels != -100).sum())})
        return loss


# %% [markdown]
# Gradients live only from the backward pass to the step. So a callback measures them just before the step, and takes the time.

# %%
class Scales(TrainerCallback):
    """Weigh the gradients before each step, and time it."""
    seconds = []

    def on_step_begin(self, args, state, control, **_):
        self.begun = time.perf_counter()

    def on_pre_optimizer_step(self, args, state, control, model, **_):
        self.gradients = sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)

    def on_step_end(self, args, state, control, **_):
        self.seconds.append(time.perf_counter() - self.begun)


# %%
config = SFTConfig(
    output_dir="trainer",
    num_train_epochs=1,
    per_device_train_batch_size=batch_size, gradient_accumulation_steps=accumulation,
    activation_checkpointing=checkpointing,
    packing=packing > 0, max_length=packing or 512, eval_packing=False,
    bf16=autocast, use_cpu=here.device == "cpu",
    optim=here.optimizer, learning_rate=learning_rate, lr_scheduler_type="constant",
    train_sampling_strategy="sequential", per_device_eval_batch_size=8,
    logging_steps=1, save_strategy="no", disable_tqdm=True, seed=seed,
)

# %%
from datasets import Dataset

trainer = model = None  # of an earlier run of this cell
WeighingTrainer.seen.clear(), Scales.seconds.clear()
model = AutoModelForCausalLM.from_pretrained(model_path, dtype=dtype, attn_implementation=here.attention)
scales = Scales()
trainer = WeighingTrainer(model=model, args=config, processing_class=tokenizer, peft_config=lora,
                          train_dataset=Dataset.from_list(rows), eval_dataset=Dataset.from_list(dev))
trainer.remove_callback(PrinterCallback)
trainer.add_callback(scales)
loss_before = trainer.evaluate()["eval_loss"]
peak = Peak(daemon=True)
peak.start()
trainer.train()
peak.ended.set()
peak.join()
loss_after = trainer.evaluate()["eval_loss"]
batches = pd.DataFrame([b for b in trainer.seen if b["training"]])
batches.head(4)

# %% [markdown]
# ## Measured
#
# The same three parts, added up from the tensors themselves.

# %%
computed = computed_bytes(method)
measured = {
    "weights": sum(p.nbytes for p in trainer.model.parameters()),
    "gradients": scales.gradients,
    "optimiser": sum(t.nbytes for state in trainer.optimizer.state.values() for t in state.values()),
}
pd.DataFrame({"computed (bytes)": computed, "measured (bytes)": measured})

# %% [markdown]
# And the parts that no formula of ours has: the activations of the largest batch, the peak of the process during training,
# and the price. The first step also warms up, so the time is that of the others, for 1,000 real tokens; padding is no work done.

# %%
timed = batches[batches["step"] > 0]
to_record = {f"{part}_mb": size / 1e6 for part, size in measured.items()} | {
    "activations_mb": batches["activations"].max() / 1e6,
    "imported_mb": imported / 1e6, "peak_mb": peak.bytes / 1e6,
    "seconds_per_1000_tokens": 1000 * sum(scales.seconds[1:]) / timed["tokens"].sum(),
    "padding_share": 1 - batches["tokens"].sum() / batches["positions"].sum(),
    "before_dev_loss": loss_before, "after_dev_loss": loss_after,
}
for name, value in to_record.items():
    record(name, value, n=dev_messages if "loss" in name else None, seed=seed)

# %% [markdown]
# Why is the peak not the sum? The parts do not all live at once: in the backward pass activations go while gradients come. On the
# other side, the process contains Python and its libraries, results that live for a moment only, and memory that the allocator
# keeps for the next step. Under autocast the activations also contain a bfloat16 copy of every matrix that is used.

# %%
counted = sum(measured.values()) + batches["activations"].max()
print(f"counted {counted / 1e6:,.0f} MB; peak {peak.bytes / 1e6:,.0f} MB, of which {imported / 1e6:,.0f} MB before the model")

# %% [markdown]
# ## What do activations depend on?
#
# From here on, the model computes in the format of its weights, without autocast. `kept_bytes` sends random tokens through all
# layers, up to the output layer.

# %%
plain = trainer.model.get_base_model() if method == "lora" else trainer.model


def kept_bytes(rows, length, checkpoint):
    """Bytes that one forward pass keeps for this many rows of this many tokens."""
    plain.activation_checkpointing_enable() if checkpoint else plain.activation_checkpointing_disable()
    ids = torch.randint(0, shape.vocab_size, (rows, length), device=plain.device)
    with kept_for_backward(plain.train()) as kept:
        plain.model(input_ids=ids, use_cache=False)
    return sum(kept.values())


# %%
sizes = {"rows of 64 tokens": [(n, 64) for n in (1, 2, 4)], "tokens in one row": [(1, n) for n in (64, 128, 256)]}
kept = {(label, checkpoint): [kept_bytes(*size, checkpoint) / 1e6 for size in pairs]
        for label, pairs in sizes.items() for checkpoint in (False, True)}
pd.DataFrame(kept, index=["1 ×", "2 ×", "4 ×"]).round(0).rename(columns={False: "plain (MB)", True: "checkpointing (MB)"})

# %%
fig, axes = plt.subplots(1, 2, figsize=(7, 3), sharey=True)
for ax, (label, pairs) in zip(axes, sizes.items()):
    at = [rows if "rows" in label else length for rows, length in pairs]
    ax.plot(at, kept[label, False], "o-", color="#0072B2", label="plain")
    ax.plot(at, kept[label, True], "s--", color="#D55E00", label="checkpointing")
    ax.set(xlabel=label, xlim=(0, None))
axes[0].set(ylabel="kept for the backward pass (MB)", ylim=(0, None))  # the axes share it
axes[0].legend()
fig.suptitle("Activations grow with rows and with length")
fig.tight_layout()

# %% [markdown]
# Twice the rows, twice the bytes. Twice the length is a little more than twice, because attention keeps a number for
# every *pair* of positions, in each of its heads. **Activation checkpointing** keeps only what enters each layer. The
# backward pass runs the layer once more to get the rest, one layer at a time.
#
# ## The largest single tensor
#
# The output layer gives every position one score for each of 49,152 tokens. But only the answer's tokens are scored.

# %%
def tokenised(row):
    """Token ids and labels of a conversation: -100 where nothing is scored."""
    prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True)["input_ids"]
    ids = tokenizer.apply_chat_template(row["prompt"] + row["completion"])["input_ids"]
    return {"input_ids": ids, "labels": [-100] * len(prompt) + ids[len(prompt):]}


examples = [tokenised(row) for row in rows]
eight = examples[:8]
positions = max(len(e["input_ids"]) for e in eight) * len(eight)
scored = sum(label != -100 for e in eight for label in e["labels"])
for name, number in {"all positions": positions, "scored tokens only": scored}.items():
    print(f"{name:20}{number:6,} × 49,152 × 4 bytes = {number * shape.vocab_size * 4 / 1e6:5,.0f} MB")

# %% [markdown]
# That is for eight of our messages, in float32, and for one copy; the loss and its gradient need more than one. TRL scores
# only labelled tokens on GPUs with Triton; on a CPU, `prepare` lets it do the same. The largest saving here costs nothing.
#
# ## Accumulation: the same gradient?
#
# A batch too large for the memory can go through in pieces, whose gradients add up. Below are four messages: two without
# an event, whose answer is short, and two with one.

# %%
every = events("train").filter(lambda row: row["style"] == "plain")
without = [row for row in every if row["event"] == "null"][:2]
picked = without + [row for row in every if row["event"] != "null"][:2]
four = [tokenised(conversation(SYSTEM_PROMPT, row["message"], row["event"])) for row in picked]
print("scored tokens:", [sum(label != -100 for label in e["labels"]) for e in four])

# %%
def batch_of(examples):
    """One padded batch: ids, mask and labels, each (rows, longest)."""
    def pad(lists, filler):
        return torch.nn.utils.rnn.pad_sequence([torch.tensor(x) for x in lists], True, filler).to(plain.device)

    ids = [e["input_ids"] for e in examples]
    return {"input_ids": pad(ids, tokenizer.pad_token_id), "attention_mask": pad([[1] * len(x) for x in ids], 0),
            "labels": pad([e["labels"] for e in examples], -100)}


def summed_loss(batch):
    """The losses of the scored tokens, added up, and how many there are."""
    hidden = plain.model(batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).last_hidden_state
    labels = batch["labels"][:, 1:]
    logits = plain.lm_head(hidden[:, :-1][labels != -100]).float()  # (scored tokens, vocabulary)
    return torch.nn.functional.cross_entropy(logits, labels[labels != -100], reduction="sum"), len(logits)


# %% [markdown]
# `fair` divides each piece's sum by the scored tokens of *all* pieces. `unfair` takes the mean of each piece, and then the
# mean of the means: a token of a short answer then weighs more than one of a long answer.

# %%
trained = [p for p in plain.parameters() if p.requires_grad]
plain.activation_checkpointing_disable()


def gradient(examples, weigh):
    """The gradient of the summed loss of a batch, times weigh(number of scored tokens)."""
    loss, n = summed_loss(batch_of(examples))
    return torch.autograd.grad(loss * weigh(n), trained)


def apart(one, other):
    """How far two gradients are apart, as a share of the first one's length."""
    squares = [((a - b).float().square().sum(), a.float().square().sum()) for a, b in zip(one, other)]
    return (sum(d for d, _ in squares) / sum(s for _, s in squares)).sqrt().item()


# %%
total = sum(label != -100 for e in four for label in e["labels"])
whole = gradient(four, lambda n: 1 / total)
fair = [a + b for a, b in zip(*(gradient(half, lambda n: 1 / total) for half in (four[:2], four[2:])))]
fair_apart = apart(whole, fair)
del fair
unfair = [(a + b) / 2 for a, b in zip(*(gradient(half, lambda n: 1 / n) for half in (four[:2], four[2:])))]
unfair_apart = apart(whole, unfair)
del unfair
print(f"fair:   {fair_apart:.1e} of the gradient's length apart\nunfair: {unfair_apart:.1e}")

# %%
tolerance = 0.05 if precision == "bfloat16" else 1e-4  # 16-bit numbers round more
assert fair_apart < tolerance < unfair_apart, f"accumulation: fair {fair_apart:.1e}, unfair {unfair_apart:.1e}"
record("fair_accumulation_apart", fair_apart, n=len(four), seed=seed)
record("unfair_accumulation_apart", unfair_apart, n=len(four), seed=seed)

# %% [markdown]
# TRL divides fairly: it counts the labels of all batches of a step before the first goes through. The 🐕 below asks you to do the same.
#
# ## Checkpointing: the same gradient?
#
# The same four messages, once plain and once with checkpointing.

# %%
if compare == "checkpointing":
    plain.activation_checkpointing_enable()
with kept_for_backward(plain) as kept_again:
    again = gradient(four, lambda n: 1 / total)
plain.activation_checkpointing_disable()
with kept_for_backward(plain) as kept_plain:
    loss, _ = summed_loss(batch_of(four))
share, checkpoint_apart = sum(kept_again.values()) / sum(kept_plain.values()), apart(whole, again)
del again, loss
print(f"{share:.1%} of the activation bytes are kept; the gradients are {checkpoint_apart:.1e} apart")

# %%
whole = None  # a gradient is as large as what is trained

# %% [markdown]
# **The claim of this notebook**, checked by the notebook itself: what the formula computes is what is there, to the byte; and
# checkpointing keeps far less for the same gradient.

# %%
record("kept_share", share, n=len(four), seed=seed)
record("checkpointing_apart", checkpoint_apart, n=len(four), seed=seed)
assert computed == measured, f"computed {computed}, measured {measured}"
assert share <= most_kept, f"checkpointing kept no fewer activations: {share:.0%} of them"
assert checkpoint_apart < tolerance, f"checkpointing changed the gradient by {checkpoint_apart:.1e}"
print(f"✅ {sum(measured.values()):,} bytes predicted exactly; {share:.1%} of the activations kept, {most_kept:.0%} allowed")

# %% [markdown]
# ## Padding and packing
#
# A batch is as wide as its longest row. The padding of the others costs memory and time like words. There are three remedies:
# batches of like length; *packing*, which puts several messages into one row; and *padding-free* batches, all rows joined to one.

# %%
def padding(lengths, size):
    """The share of positions that are padding, in batches of this many rows."""
    groups = [lengths[i:i + size] for i in range(0, len(lengths), size)]
    return 1 - sum(lengths) / sum(len(group) * max(group) for group in groups)


lengths = [len(tokenised(conversation(SYSTEM_PROMPT, row["message"], row["event"]))["input_ids"])
           for row in events("train").shuffle(seed=seed).select(range(320))]
packed = pack_dataset(Dataset.from_list([{"input_ids": [0] * n} for n in lengths]), 512, "bfd")
shares = {f"{kind}, {size} rows": padding(values, size) for size in (4, 8)
          for kind, values in {"random": lengths, "like length": sorted(lengths)}.items()}
shares[f"packed to 512, {len(packed)} rows"] = padding([len(row) for row in packed["input_ids"]], len(packed))
pd.Series(shares, name="positions that hold nothing").map("{:.1%}".format).to_frame()

# %% [markdown]
# May a packed message see its neighbour? It must not. TRL restarts the position numbers at every message and gives no mask;
# from those numbers transformers makes a mask that keeps messages apart, also for plain (*eager*) attention on a CPU. Below, the second
# of two messages is read alone, packed that way, and packed without the numbers.

# %%
first, second = (torch.tensor([e["input_ids"]], device=plain.device) for e in four[1:3])
numbers = torch.cat([torch.arange(x.shape[1], device=plain.device) for x in (first, second)])[None]
with torch.no_grad():
    alone = plain.model(second, use_cache=False).last_hidden_state
    for name, extra in {"positions restart": {"position_ids": numbers}, "no positions": {}}.items():
        both = plain.model(torch.cat([first, second], 1), use_cache=False, **extra).last_hidden_state
        seen = (both[:, first.shape[1]:] - alone).abs().max() / alone.abs().max()
        record("neighbour_" + name.replace(" ", "_"), seen.item(), seed=seed)

# %% [markdown]
# Near zero means: as if alone. Without restarted positions the second message reads the first; TRL's strategy `"wrapped"` packs like that.
#
# The mask has a price. Flash attention on a GPU skips the pairs that it forbids. Eager attention computes and
# keeps them all, so one row of 512 keeps four times the pairs of four rows of 128.

# %%
for count, length in ((4, 128), (1, 512), (1, 2048)):
    pairs = count * shape.num_attention_heads * length ** 2
    print(f"{count} × {length:4} tokens: {pairs * 4 / 1e6:6.1f} MB for one layer's attention weights, "
          f"{pairs * 4 * shape.num_hidden_layers / 1e6:7,.0f} MB for all {shape.num_hidden_layers}")

# %% [markdown]
# ## What each way of saving removes
#
# The study of this notebook (`smol study 3/resources`) repeats the training above on the same messages, each way in a
# process of its own. The bars are counted bytes; the diamond is the peak of the process.

# %% tags=["study"]
study = study_runs("resources")
names = [name for name, run in study.items() if not run["failed"]]
numbers = pd.DataFrame({name: {key: result["value"] for key, result in study[name]["results"].items()}
                        for name in names}).T
numbers.index = numbers.index.str.replace("_", " ")
numbers[["weights_mb", "gradients_mb", "optimiser_mb", "activations_mb", "peak_mb", "padding_share",
         "seconds_per_1000_tokens", "after_dev_loss"]].round(2)

# %% tags=["study"]
parts = {"weights": "#0072B2", "gradients": "#D55E00", "optimiser": "#E69F00", "activations": "#009E73"}
fig, ax = plt.subplots(figsize=(7, 4.2))
left = 0 * numbers["weights_mb"]
for part, colour in parts.items():
    ax.barh(numbers.index, numbers[f"{part}_mb"] / 1000, left=left, color=colour, label=part)
    left = left + numbers[f"{part}_mb"] / 1000
ax.plot(numbers["peak_mb"] / 1000, numbers.index, "D", color="#555555", label="peak of the process")
ax.invert_yaxis()
ax.set(xlabel="memory (GB)", title="Where the memory goes")
ax.legend(fontsize=8)
fig.tight_layout()

# %% tags=["study"]
fig, ax = plt.subplots(figsize=(7, 3.6))
ax.barh(numbers.index, numbers["seconds_per_1000_tokens"], color="#0072B2")
ax.invert_yaxis()
ax.set(xlabel="seconds for 1,000 real tokens", title="The price in time")
fig.tight_layout()

# %% [markdown]
# These are few steps on one machine, so look at large differences only. The losses are there to show that the run learns
# something; a handful of steps says nothing about quality. And LoRA ran with a higher learning rate than full training.
#
# The control, which compares plain training with plain training, must fail:

# %% tags=["study"]
print(study["without_checkpointing"]["failed"])

# %% [markdown]
# ## Will it fit?
#
# The formula knows other models too. The table is **computed, not measured**: full training in float32; LoRA on a bfloat16
# model; QLoRA on one whose linear layers are stored in 4 bits (NF4, with 0.127 bits more for its doubly quantised scales).
# Adapters are float32. All in GB. Activations come on top.

# %%
def fit(c):
    """GB of weights, gradients and AdamW by method; linear layers are all but embeddings and norms."""
    numbers, thin = count_weights(c), count_lora(c, rank)
    embeddings = c.vocab_size * c.hidden_size * (1 if c.tie_word_embeddings else 2)
    other = embeddings + (2 * c.num_hidden_layers + 1) * c.hidden_size
    qlora = (numbers - other) * (4 + 0.127) / 8 + 2 * other
    return {"full": 16 * numbers / 1e9, "LoRA": (2 * numbers + 16 * thin) / 1e9, "QLoRA": (qlora + 16 * thin) / 1e9}


def llama(d, wide, layers, heads, kv, vocabulary=49152, tied=True):
    return LlamaConfig(hidden_size=d, intermediate_size=wide, num_hidden_layers=layers, num_attention_heads=heads,
                       num_key_value_heads=kv, vocab_size=vocabulary, tie_word_embeddings=tied)


# %%
shapes = {"SmolLM2-135M": shape, "SmolLM2-360M": llama(960, 2560, 32, 15, 5), "SmolLM2-1.7B": llama(2048, 8192, 24, 32, 32),
          "Llama-2-7B": llama(4096, 11008, 32, 32, 32, 32000, False)}
needs = pd.DataFrame({name: fit(c) for name, c in shapes.items()}).T
for name, row in needs.iterrows():
    for way, size in row.items():
        record(f"computed_gb_{name.split('-')[-1].replace('.', '_')}_{way}", size)
needs.insert(0, "weights", [f"{count_weights(c):,}" for c in shapes.values()])
needs.round(2)

# %% [markdown]
# ## What to believe
#
# The bytes of weights, gradients and optimiser are the same on any machine: they are counted to the byte. The activations are those
# of this model, these messages and this way of attention. The times and the peaks are this machine's; on a GPU the order can
# differ. That two gradients agree was tried on four messages. It follows from how they are computed, not from the number of trials.
#
# ## Exercises
#
# ### 🐢 Bytes before the first token (5 minutes)
#
# **Goal:** compute what a run needs before it reads anything. **Input:** `parameters`, how many numbers the model has in all; `trained`, how
# many of them are trained; `bytes_each`, the bytes of one number (the same for all). **Output:** the bytes of weights, gradients and AdamW's two
# moments together, as a whole number; leave its step counters out. **Judged by:** four models. Stuck? `hint("resources/turtle")`.

# %% tags=["exercise"]
def training_bytes(parameters, trained, bytes_each):
    """Return the bytes of weights, gradients and AdamW's two moments."""
    ...

# %% tags=["check"]
check("resources/turtle", training_bytes)

# %% [markdown]
# ### 🐕 A fair accumulation (20 minutes)
#
# **Goal:** let micro-batches add up to the gradient of the one big batch. **Input:** `losses`, a list with one float tensor (rows,
# tokens) for each micro-batch: the loss of every token, padding and prompt included; `masks`, a list of boolean tensors of the same
# shapes, True where a token is scored. A micro-batch may have no scored token. **Output:** a list with one loss for each micro-batch: a
# tensor without dimensions, still connected to its input. After `backward()` on each of them, the gradients are those of the mean over all
# scored tokens. **Example:** losses `[[1, 2]]` and `[[6, 9]]`, masks `[[True, True]]` and `[[False, True]]` give 1 and 3: together
# (1 + 2 + 9) / 3. **Judged by:** values and gradients of four cases. Hints: `hint("resources/dog")`.

# %% tags=["exercise"]
def fair_losses(losses, masks):
    """Return one loss for each micro-batch, so that their gradients add up to the big batch's."""
    ...

# %% tags=["check"]
check("resources/dog", fair_losses)

# %% [markdown]
# ### 🦁 Half the memory (an hour or more)
#
# **Goal:** train with at most half of this notebook's peak memory, and learn as much: any technique of this notebook, or several, or
# one of your own. **Input:** your own runs, such as `smol run 3/resources --set method=lora --set learning_rate=0.001`, or a copy of this
# notebook. The table at the end of a run has *peak mb*, *seconds per 1000 tokens* and *after dev loss*. Run three seeds of the notebook
# as it stands, and of yours, with `--set dev_messages=96`; you may train on up to 64 messages. **Output:** a results dictionary as
# below. **Judged by:** at least three seeds and 48 dev messages; every peak of yours at most half of the notebook's smallest; on average at
# most 1.5 times its seconds for 1,000 tokens, and a dev loss at most 0.02 above. Hints: `hint("resources/lion")`.

# %% tags=["exercise"]
results = {
    "baseline_peak_mb": [],  # one number for each seed
    "my_peak_mb": [],
    "baseline_seconds": [],  # for 1,000 real tokens
    "my_seconds": [],
    "baseline_dev_loss": [],  # after training
    "my_dev_loss": [],
    "dev_messages": 0,
    "my_messages": 0,  # that you trained on, in one run
}

# %% tags=["check"]
check("resources/lion", results)

# %% [markdown]
# ## Go further
#
# On a GPU with flash attention, packing is what you want: `attn_implementation="flash_attention_2"` in `from_pretrained`, and
# `packing=True` in `SFTConfig`. With `SMOL_HUB=1` (or `smol run --hub`), take `model_name = "HuggingFaceTB/SmolLM2-360M-Instruct"`
# and compare the measured bytes with the computed ones; with `method = "lora"` it needs far fewer. A public data set takes the place of the messages:
#
# ```python
# from datasets import load_dataset
# rows = load_dataset("HuggingFaceTB/smoltalk", "everyday-conversations", split="train").select(range(64))
# ```
#
# On a GPU, `torch.cuda.max_memory_allocated()` gives the peak of tensors alone, without Python and its libraries.
