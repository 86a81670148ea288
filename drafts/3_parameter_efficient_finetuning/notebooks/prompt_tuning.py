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
#   smol:
#     loads:
#       - smol_course/organiser/data/train.jsonl
#       - smol_course/organiser/data/test.jsonl
# ---

# %% [markdown]
# # Prompt tuning: a prompt that no one can read
#
# You train a few vectors that stand in front of a message, and not one weight of the model. You measure what they are
# worth, and try to read them.
#
# What this notebook cost in time and memory when it was last run stands in the table of the module's README.
# The lesson to read first: [prompt_tuning.md](../prompt_tuning.md).

# %% tags=["setup"]
# On Colab, install the course; anywhere else this does nothing.
import importlib.util
if importlib.util.find_spec("smol_course") is None:
    get_ipython().system("pip install -q git+ADDRESS")

# %% [markdown]
# Every number worth changing stands in one cell. With `learning_rate = 0` nothing is learned, and the claim at
# the end of this notebook fails, as it should.

# %% tags=["parameters"]
model_name = "HuggingFaceTB/SmolLM2-135M-Instruct"
seed = 0
task = "kind"  # "kind": which kind of message is this? "event": module 1's task, message to event JSON
method = "prompt"  # "prompt", "prefix", "ia3" or "lora"
virtual_tokens = 16  # vectors in front ("prompt"), or keys and values in front in each layer ("prefix")
init = "text"  # a soft prompt starts as "text": the instruction's words, "vocabulary": any words, "random": noise
learning_rate = 3e-2  # far larger than for weights
steps = 40
batch_size = 8
test_messages = 120  # 0: all of them
prompted_messages = 60  # few-shot prompts are long, so fewer messages; 0: none
margin = 0.2  # how much better "after" must be, for the claim to stand

# %% tags=["setup"]
import json
import tempfile
from pathlib import Path
import matplotlib.pyplot as plt
import pandas as pd
import torch
from peft import IA3Config, LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback, set_seed
from trl import SFTConfig, SFTTrainer
from smol_course.data import SYSTEM_PROMPT, conversation, events, in_like_batches
from smol_course.exercises import check, hint
from smol_course.hardware import prepare
from smol_course.metrics import record, wilson
from smol_course.models import find_model

# %% tags=["setup"]
here = prepare()
set_seed(seed)
model_path = find_model(model_name)
tokenizer = AutoTokenizer.from_pretrained(model_path)

# %% [markdown]
# ## The task: which kind of message is this?
#
# An organiser that knows the kind of a message can treat it accordingly: a poster wants no reply, a forwarded message was
# not written to you. Six kinds, one word each. We take the plain, short messages. The test messages have other writers' names,
# as in module 1.

# %%
KINDS = {"text_message": "text", "email": "email", "voice_transcript": "voice", "chat_thread": "chat",
         "poster": "poster", "forwarded": "forwarded"}
INSTRUCTION = "What kind of message is this: text, email, voice, chat, poster or forwarded?"


def plain(split):
    """The plain messages of the six kinds, in an order drawn by the seed."""
    rows = events(split).filter(lambda row: row["style"] == "plain" and row["register"] in KINDS)
    return rows.shuffle(seed=seed)


# %%
train, test = in_like_batches(plain("train"), batch_size, seed), plain("test")
test = in_like_batches(test.select(range(test_messages)) if test_messages else test, 20, seed)
print(f"{len(train)} messages to train on, {len(test)} to test on")
for word in KINDS:
    row = next(row for row in train if row["register"] == word)
    print(f"{KINDS[word]:10}", row["message"].replace("\n", " / "))

# %% [markdown]
# A row becomes a conversation, as in module 1. The instruction in words is always there: what we train comes on top of it.

# %%
def example(row):
    """Make one training example of a row."""
    if task == "event":
        return conversation(SYSTEM_PROMPT, row["message"], row["event"])
    return conversation(INSTRUCTION, row["message"], KINDS[row["register"]])


example(train[0])

# %% [markdown]
# ## How it is measured
#
# The six words begin with six different tokens. So one look is enough: after reading the prompt, which of the six does the model
# rate highest? It cannot fail by chatting. (For the task "event", the model's first choice among all tokens must be right,
# all through the answer.)

# %%
choices = [tokenizer(word)["input_ids"][0] for word in KINDS.values()]
assert len(set(choices)) == len(choices)
allowed = torch.full((len(tokenizer),), float("-inf"))
allowed[choices if task == "kind" else slice(None)] = 0.0


def encode(row, shots=()):
    """Return the token ids of what is read and of what should be said (of a kind, the first token)."""
    system, user = example(row)["prompt"]
    read = tokenizer.apply_chat_template([system, *shots, user], add_generation_prompt=True, return_dict=True)
    said = tokenizer(example(row)["completion"][0]["content"])["input_ids"]
    return read["input_ids"], said if task == "event" else said[:1]


# %% [markdown]
# Padding goes on the right, behind everything. On the left it would stand between soft prompt and message, and push them
# apart, farther in a batch with a long message.

# %%
@torch.inference_mode()
def right_answers(model, rows, shots=()):
    """Say for each row whether the model's first choice is right, all through the answer."""
    right = []
    for start in range(0, len(rows), 20):
        pairs = [encode(row, shots) for row in rows.select(range(start, min(start + 20, len(rows))))]
        batch = tokenizer.pad({"input_ids": [read + said for read, said in pairs]}, padding_side="right",
                              return_tensors="pt").to(model.device)
        with torch.autocast(here.device, torch.bfloat16, enabled=here.bf16):
            logits = model(**batch).logits  # (rows, positions, vocabulary); virtual tokens may stand in front
        logits = logits[:, -batch["input_ids"].shape[1]:]
        for scores, (read, said) in zip(logits.float().cpu(), pairs):
            first = (scores[len(read) - 1:len(read) + len(said) - 1] + allowed).argmax(-1)
            right.append(first.tolist() == said)
    return right


# %%
def report(name, right):
    """Record a share of right answers with its interval, and return the share."""
    share, (low, high) = sum(right) / len(right), wilson(sum(right), len(right))
    record(f"{name}_accuracy", share, low, high, len(right), seed)
    return share


# %% [markdown]
# ## Before
#
# The starting model with the instruction in words. Blind guessing is right once in six.

# %%
model = AutoModelForCausalLM.from_pretrained(model_path, dtype="float32", attn_implementation=here.attention)
right_before = right_answers(model, test)
before = report("before", right_before)

# %% [markdown]
# Words can do more than instruct: they can show. One solved example of each kind goes into the prompt, *few-shot
# prompting*.

# %%
first = [next(row for row in train if row["register"] == kind) for kind in KINDS]
shots = [part for row in first for part in (example(row)["prompt"][1], example(row)["completion"][0])]
longer = len(encode(test[0], shots)[0]) - len(encode(test[0])[0])
if prompted_messages and task == "kind":
    few_shot = report("few_shot", right_answers(model, test.select(range(prompted_messages)), shots))
    print(f"six examples make every prompt {longer} tokens longer; the soft prompt adds {virtual_tokens}")

# %% [markdown]
# ## What a soft prompt is
#
# A model never sees a word. A token number is looked up in a table, and the layers read the row found there: the *embedding*,
# here 576 numbers. Each word has its row. But nothing stops us from handing the layers other rows, which belong to no word.
#
# First with rows that do belong to words, those of the instruction, put in front by hand:

# %%
ids = torch.tensor([encode(test[0])[0]])  # (1, tokens)
words = model.get_input_embeddings()
text_ids = (tokenizer(INSTRUCTION)["input_ids"] * virtual_tokens)[:virtual_tokens]
soft = words(torch.tensor([text_ids]))  # (1, virtual_tokens, 576)
together = torch.cat([soft, words(ids)], dim=1)  # (1, virtual_tokens + tokens, 576)
print(tuple(soft.shape), "in front of", tuple(words(ids).shape), "makes", tuple(together.shape))

# %% [markdown]
# PEFT does the same. `TEXT` says how the vectors start; "text" is cut, or repeated, to the number of virtual tokens.

# %%
starts = {"text": "TEXT", "vocabulary": "SAMPLE_VOCAB", "random": "RANDOM"}
as_text = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=virtual_tokens, prompt_tuning_init="TEXT",
                             prompt_tuning_init_text=INSTRUCTION, tokenizer_name_or_path=model_path)
with torch.inference_mode():
    by_hand = model(inputs_embeds=together).logits[0, -1]
    by_peft = get_peft_model(model, as_text)(input_ids=ids).logits[0, -1]
print(f"largest difference between the two: {(by_hand - by_peft).abs().max():.1e}")
assert torch.allclose(by_hand, by_peft, atol=1e-3)

# %% [markdown]
# So a soft prompt is a table of `virtual_tokens` rows, and *prompt tuning* changes the numbers in it. Its relatives:
#
# - **prefix tuning** puts trained keys and values in front, in every layer;
# - **IA3** has no virtual tokens: it multiplies keys, values and the inside of the feed-forward blocks by trained factors;
# - **LoRA** adds a narrow matrix product to chosen weights. Rank 1 on the values of twelve layers trains exactly as much as
#   sixteen virtual tokens: 12 × (576 + 192) = 16 × 576.

# %%
configs = {
    "prompt": PromptTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=virtual_tokens, prompt_tuning_init=starts[init],
        prompt_tuning_init_text=INSTRUCTION, tokenizer_name_or_path=model_path),
    "prefix": PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=virtual_tokens),
    "ia3": IA3Config(task_type="CAUSAL_LM"),
    "lora": LoraConfig(task_type="CAUSAL_LM", r=1, lora_alpha=16, target_modules=["v_proj"],
                       layers_to_transform=list(range(18, 30))),
}

# %%
set_seed(seed)
tuned = get_peft_model(model, configs[method])
trained = {name: weight for name, weight in tuned.named_parameters() if weight.requires_grad}
count = sum(weight.numel() for weight in trained.values())
record("trained_parameters", count)
for name, weight in list(trained.items())[:3]:
    print(name, tuple(weight.shape))
print(f"{count:,} numbers are trained, of {tuned.num_parameters():,}")

# %% [markdown]
# Before any training, the vectors are the instruction's words a second time. That alone changes the answers:

# %%
is_soft = method == "prompt"
table = tuned.prompt_encoder["default"].embedding.weight if is_soft else torch.empty(0, 576)
started = table.detach().clone()  # (virtual_tokens, 576)
if is_soft:
    report("untrained", right_answers(tuned, test))

# %% [markdown]
# ## The trainer
#
# The same `SFTTrainer` as in module 1. Only the learning rate is another: an embedding is moved here, not a weight that
# thousands of tokens share. (Adam moves each number by about the learning rate at each step; embeddings have numbers of
# the size printed below.)

# %%
print(f"standard deviation of the embeddings' numbers: {words.weight.std():.3f}, of the table's: {started.std():.3f}"
      if is_soft else f"standard deviation of the embeddings' numbers: {words.weight.std():.3f}")
config = SFTConfig(
    output_dir="trainer", max_steps=steps, per_device_train_batch_size=batch_size, learning_rate=learning_rate,
    lr_scheduler_type="linear", warmup_steps=0.1, train_sampling_strategy="sequential",
    bf16=here.bf16, use_cpu=here.device == "cpu", optim=here.optimizer,
    activation_checkpointing=False,  # prefix tuning would refuse it
    logging_steps=max(1, steps // 10), save_strategy="no", disable_tqdm=True, seed=seed,
)

# %%
trainer = SFTTrainer(
    model=tuned, args=config, processing_class=tokenizer,
    train_dataset=train.map(example, remove_columns=train.column_names),
)
batch = trainer.data_collator([trainer.train_dataset[0]])
scored = batch["labels"][0] != -100
print(f"{len(scored)} tokens, scored: {[tokenizer.decode(token) for token in batch['input_ids'][0][scored]]}")

# %% [markdown]
# The trainer knows nothing of the soft prompt. PEFT lengthens each batch inside the model's `forward`: vectors in front, ones in the
# attention mask, and -100 as labels, because a vector has no token that could be its label.
#
# ## Training, watched

# %%
class Watch(TrainerCallback):
    """Print the loss as it arrives."""

    def on_log(self, args, state, control, logs=None, **_):
        if "loss" in (logs or {}):
            print(f"step {state.global_step:3d}   loss {float(logs['loss']):.3f}")


trainer.remove_callback(PrinterCallback)
trainer.add_callback(Watch())
seconds = trainer.train().metrics["train_runtime"]
print(f"{seconds:.0f} seconds")

# %%
losses = pd.DataFrame(trainer.state.log_history).dropna(subset="loss")["loss"].astype(float)
record("last_loss", losses.iloc[-2:].mean(), seed=seed)

# %% [markdown]
# ## After
#
# The same messages, the same instruction, the same look at six tokens.

# %%
right_after = right_answers(tuned, test)
after = report("after", right_after)
print(f"before {before:.0%}, after {after:.0%}")

# %%
pd.DataFrame({"kind": [KINDS[kind] for kind in test["register"]], "before": right_before, "after": right_after}
             ).groupby("kind").agg(n=("after", "size"), before=("before", "sum"), after=("after", "sum"))

# %% [markdown]
# **The claim of this notebook**, checked by the notebook itself:

# %%
what = {"prompt": "the soft prompt", "prefix": "the prefix", "ia3": "IA3", "lora": "LoRA"}[method]
assert after >= before + margin, f"{what} did not help: {before:.0%} before, {after:.0%} after"
print(f"✅ {after - before:+.0%} accuracy, {margin:.0%} asked for")

# %% [markdown]
# ## Can it be read?
#
# For each learned vector we look up the word whose embedding points in the most similar direction (*cosine*: 1 is the same
# direction, 0 is none in common). Beside it, the same for vectors drawn by chance: among 49,152 words, one is always nearest.

# %%
def nearest(vectors):
    """Return the cosine with the nearest word of the vocabulary, and that word's number, for each vector."""
    unit = torch.nn.functional.normalize
    return (unit(vectors) @ unit(words.weight.detach()).T).max(dim=-1)


learned = table.detach().clone()
noise = torch.randn(learned.shape, generator=torch.Generator().manual_seed(seed))
(cosine, near), (by_chance, _), (_, began) = nearest(learned), nearest(noise), nearest(started)

# %%
moved = torch.nn.functional.cosine_similarity(started, learned)
pd.DataFrame({
    "started near": [repr(tokenizer.decode(token)) for token in began],
    "is now near": [repr(tokenizer.decode(token)) for token in near],
    "cosine": cosine.numpy().round(2), "cosine of a chance vector": by_chance.numpy().round(2),
    "cosine with its start": moved.numpy().round(2),
    "moved by (length)": (learned - started).norm(dim=1).numpy().round(2),
    "length at the start": started.norm(dim=1).numpy().round(2),
})

# %%
if is_soft:
    record("nearest_cosine", cosine.mean(), seed=seed)
    record("chance_cosine", by_chance.mean(), seed=seed)
    record("start_cosine", moved.mean(), seed=seed)
    record("same_word", (near == began).float().mean(), n=virtual_tokens, seed=seed)

# %% [markdown]
# If these words were what the prompt means, they should work in its place. So we put their own embeddings there, and
# measure; and as a control, embeddings of words drawn by chance.

# %%
def measured_with(vectors):
    """Return the right answers with other vectors in the soft prompt's place, and put the learned ones back."""
    table.data.copy_(vectors)
    right = right_answers(tuned, test)
    table.data.copy_(learned)
    return right


if is_soft:
    drawn = torch.randint(len(tokenizer), (virtual_tokens,), generator=torch.Generator().manual_seed(seed))
    report("nearest_words", measured_with(words.weight[near].detach()))
    report("chance_words", measured_with(words.weight[drawn].detach()))

# %% [markdown]
# Compare four numbers: `untrained`, `nearest_words`, `chance_words` and `after`. What the nearest words keep of the way from
# untrained to trained is what they explain.
#
# ## What is saved
#
# Not the model, only the table.

# %%
with tempfile.TemporaryDirectory() as folder:
    tuned.save_pretrained(folder)
    weights = Path(folder, "adapter_model.safetensors")
    record("saved_kb", weights.stat().st_size / 1000)
    print({name: tuple(weight.shape) for name, weight in list(load_file(weights).items())[:3]})

# %% [markdown]
# `PeftModel.from_pretrained(model, folder)` loads it again. One base model can serve many such tables, one for each row of a
# batch.
#
# ## What to believe
#
# One run, one seed. The study of this notebook (`smol study 3/prompt_tuning`) repeats it: other seeds, other numbers of virtual tokens,
# other starts, the other methods, and a learning rate of zero, which must fail the claim.

# %% tags=["study"]
study = json.loads(Path("../studies/prompt_tuning.json").read_text(encoding="utf-8"))["runs"]
numbers = {run: {r["name"]: r for r in found["results"]} for run, found in study.items()}
rows = [{"run": run, "trained": f"{found['trained_parameters']['value']:,.0f}", "KB": found["saved_kb"]["value"],
         "before": found["before_accuracy"]["value"], "after": found["after_accuracy"]["value"],
         "low": found["after_accuracy"]["low"], "high": found["after_accuracy"]["high"]}
        for run, found in numbers.items() if "saved_kb" in found and "after_accuracy" in found]
print("learning_rate_0:", study["learning_rate_0"]["failed"])
pd.DataFrame(rows).set_index("run").round(2)

# %% tags=["study"]
def point(run):
    """Return x = trained parameters, y and the interval's two halves in percent, of a run's accuracy after."""
    r = numbers[run]["after_accuracy"]
    y, low, high = (100 * r[key] for key in ("value", "low", "high"))
    return numbers[run]["trained_parameters"]["value"], y, [[y - low], [high - y]]


sizes = {1: "tokens_1", 4: "tokens_4", 16: "tokens_16", 64: "tokens_64"}
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True)
for tokens, run in sizes.items():
    _, y, error = point(run)
    left.errorbar(tokens, y, error, fmt="o", color="#0072B2", ecolor="#888888", capsize=3)
left.set(xscale="log", xticks=list(sizes), xticklabels=list(sizes), xlabel="virtual tokens of the soft prompt",
         ylabel="accuracy after (%), 95 % interval", ylim=(0, 102), title="How many vectors?")
for (label, run), mark in zip({"soft prompt, 16": "tokens_16", "prefix, 16": "prefix", "IA3": "ia3",
                               "LoRA, as many": "lora"}.items(), "os^D"):
    x, y, error = point(run)
    right.errorbar(x, y, error, fmt=mark, capsize=3, ecolor="#888888", label=label)
right.set(xscale="log", xlabel="trained parameters", title="Which method?")
right.legend()
fig.tight_layout()

# %% [markdown]
# ### Where it is weak
#
# Choosing one of six words asks little of a model that can already read. Writing the event of module 1 asks for forty tokens, each
# right. Two runs of the study try that with as many trained parameters and steps. It counts only if the model's
# first choice is right at every token.

# %% tags=["study"]
for run in ("event_prompt", "event_lora"):
    r, found = numbers[run]["after_accuracy"], numbers[run]
    print(f"{run:13} {found['trained_parameters']['value']:,.0f} trained: {r['value']:.0%} of the events exactly right "
          f"({r['low']:.0%} to {r['high']:.0%}, n = {r['n']}), loss at the end {found['last_loss']['value']:.2f}")

# %% [markdown]
# ## Exercises
#
# ### 🐢 What is trained (5 minutes)
#
# **Goal:** count the trained numbers of three methods. **Input:** `method`, one of "prompt", "prefix" and "ia3"; `shape`, a
# dictionary with the model's `layers`, `hidden` size, `heads`, `kv_heads` and `feed_forward` size; `virtual_tokens`. A head has
# hidden // heads numbers; several query heads share one head of keys and values, so there are only `kv_heads` of those. IA3 scales
# keys, values and the feed-forward block's inside in each layer. **Output:** a whole number. **Example:** for the shape below, "prompt" with
# 16 virtual tokens gives 9,216. **Judged by:** four shapes. Stuck? `hint("prompt_tuning/turtle")`.

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
# **Goal:** build what PEFT hands to the model when it trains a soft prompt. **Input:** `soft`, a tensor (virtual, width) that wants
# gradients; `words`, the table of embeddings (vocabulary, width); `rows`, a list of pairs (input_ids, prompt_length), where the
# first prompt_length tokens are only read. **Output:** a dictionary of three tensors: `inputs_embeds` (rows, positions, width),
# `attention_mask` and `labels`, both (rows, positions). In each row: soft prompt, message, padding up to the longest row. Padding may
# be any vector. Labels are not shifted. **Example:** with 2 virtual tokens, `[([5, 9, 4], 2), ([7], 0)]` has the labels
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
# The same cells, with a larger model and a public data set: start with `SMOL_HUB=1` (or `smol run --hub`), take
# `model_name = "HuggingFaceTB/SmolLM2-1.7B-Instruct"`, and rows of six kinds of question:
#
# ```python
# from datasets import load_dataset
# train = load_dataset("SetFit/TREC-QC", split="train")
# ```
#
# The papers say that prompt tuning catches up with full fine-tuning as models grow. Change one parameter, the model, and see.
