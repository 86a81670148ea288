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
# # Adapters: two behaviours on one base
#
# You train a second small adapter for the organiser, then switch between two behaviours, answer both kinds of question in
# one batch, merge an adapter away, mix two, and see what happens on a base that an adapter was not made for.
#
# What this notebook cost in time and memory when it was last run stands in the table of the module's README.
# The lesson to read first: [adapters.md](../adapters.md).
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/smol-ai/course/blob/main/3_parameter_efficient_finetuning/notebooks/adapters.ipynb)
# In Colab, read the lesson [on GitHub](https://github.com/smol-ai/course/blob/main/3_parameter_efficient_finetuning/adapters.md).

# %% tags=["install"]
# On Colab, install what this notebook needs; anywhere else this does nothing.
import importlib.util
import sys
if importlib.util.find_spec("smol_course") is None:
    print("Installing the course with what this notebook needs: about a minute.")
    needs = '"smol-course @ git+https://github.com/smol-ai/course"'
    get_ipython().system(f"uv pip install -q --python {sys.executable} {needs} || {sys.executable} -m pip install -q {needs}")

# %% [markdown]
# Every number worth changing stands in one cell. With `learning_rate = 0` nothing is learned, and the claim of this notebook
# fails, as it should.

# %% tags=["parameters"]
from smol_course.parameters import number, whole
model_name: str = "HuggingFaceTB/SmolLM2-135M-Instruct"
seed: whole(0, 2**32 - 1) = 0
learning_rate: number(0, 1) = 2e-3
steps: whole(1) = 32
batch_size: whole(1) = 4
rank: whole(1) = 16  # as in organiser_lora: the mixture "linear" wants two equal ranks
alpha: whole(1) = 32  # the adapter's output is scaled by alpha / rank
test_events: whole(1) = 32  # confirmations measured before and after
table_messages: whole(2) = 12  # for each cell of the other tables
event_tokens: whole(1, 512) = 52  # the longest answer we wait for
confirm_tokens: whole(1, 512) = 40
mixtures: list = [["cat", 1.0, 1.0]]  # each: how, weight of event, weight of confirm; try ["cat", 0.5, 0.5] as well
noise: number(0) = 0.1  # how far the other base's weights are moved, in standard deviations of each matrix
tolerance: number(0) = 1e-3  # the largest difference of two logits that we call rounding
margin: number(-1, 1) = 0.3  # how much better "after" must be, for the claim to stand

# %% tags=["setup"]
import copy
import hashlib
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
import matplotlib.pyplot as plt
import pandas as pd
import torch
from IPython.display import HTML, display
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
from trl import SFTConfig, SFTTrainer
from smol_course.data import SYSTEM_PROMPT, conversation, events, in_like_batches, study_runs
from smol_course.evaluation.confirmations import CONFIRM_PROMPT, confirmation_faults, confirmations
from smol_course.exercises import check, hint
from smol_course.hardware import prepare
from smol_course.metrics import event_right, record, watch, wilson
from smol_course.models import answer, artifact, find_model, save_artifact

# %% [markdown]
# The first behaviour, from a message to an event, is the adapter of the notebook on [LoRA](../lora.md). Yours is taken if
# you made one, else the one that ships with the course.

# %% tags=["setup"]
here = prepare()
set_seed(seed)
model_path = find_model(model_name)
tokenizer = AutoTokenizer.from_pretrained(model_path)
event_folder = artifact("organiser_lora", made_by="3/lora", base=model_path)

# %% [markdown]
# ## The second behaviour
#
# The organiser has noted an event. Now it says so, in one sentence. Each row has an event and a sentence, `plain`, that was written
# for this course. (The rows contain worse sentences too; module 2 uses them.)

# %%
train = confirmations("train").shuffle(seed=seed)
train = train.select(range(min(steps * batch_size, len(train))))
for row in train.select(range(3)):
    print(row["event"], "\n    ", row["plain"])

# %% [markdown]
# We measure on events of the test messages, which have other names and places. `null`, "no event", needs no confirmation,
# so it is left out.

# %%
test = events("test").filter(lambda row: row["event"] != "null")
to_confirm = test.take(test_events)
few = test.select(range(min(table_messages, len(test))))
print(f"{len(train)} sentences to train on, {len(to_confirm)} events to test on")

# %% [markdown]
# A confirmation counts if it has no fault: title, day, start, place and people said rightly, no day or time invented, one
# sentence of at most 25 words. An invented place or person is not seen. The event's own JSON, copied, says every fact and is
# no sentence.

# %%
example = '{"title": "kart race", "day": "saturday", "start": "17:50", "place": "Turbo Track", "people": []}'
for text in ("The kart race is on Saturday at 17:50, at Turbo Track.", "Kart race on Sunday at Turbo Track!", example):
    print(confirmation_faults(text, example), text)

# %% [markdown]
# Two functions ask a model, one for each behaviour. Note that the instructions differ as well.

# %%
def ask_events(model, rows):
    """Ask for the event of each message; return the answers, and whether each is right."""
    prompts = [conversation(SYSTEM_PROMPT, message, "")["prompt"] for message in rows["message"]]
    answers = answer(model, tokenizer, prompts, event_tokens, bf16=here.bf16, show=False)
    return answers, [event_right(text, event) for text, event in zip(answers, rows["event"])]


def ask_confirmations(model, rows):
    """Ask for a confirmation of each event; return the answers, and whether each is without fault."""
    prompts = [conversation(CONFIRM_PROMPT, event, "")["prompt"] for event in rows["event"]]
    answers = answer(model, tokenizer, prompts, confirm_tokens, bf16=here.bf16, show=False)
    return answers, [not confirmation_faults(text, event) for text, event in zip(answers, rows["event"])]

# %%
def keep(name, right):
    """Record a share with its 95 % interval and return it."""
    record(name, sum(right) / len(right), *wilson(sum(right), len(right)), len(right), seed)
    return sum(right) / len(right)

# %% [markdown]
# ## Before
#
# The starting model gets the same instruction as later.

# %%
base = AutoModelForCausalLM.from_pretrained(model_path, dtype="float32", attn_implementation=here.attention)
before_said, before_right = ask_confirmations(base, to_confirm)
before = keep("before_confirmations_right", before_right)
for event, text in zip(to_confirm["event"][:3], before_said):
    print(event, "\n     says:", text.replace("\n", " / "))

# %% [markdown]
# ## Training the adapter
#
# `LoraConfig` puts two small matrices beside every weight matrix of a layer, and the trainer changes only those. The
# weights of the base stay as they are: this is what makes everything below possible.

# %%
config = SFTConfig(
    output_dir="trainer", max_steps=steps, per_device_train_batch_size=batch_size,
    learning_rate=learning_rate,  # several times that of full fine-tuning
    lr_scheduler_type="linear", warmup_steps=0.1, train_sampling_strategy="sequential",
    bf16=here.bf16, use_cpu=here.device == "cpu", optim=here.optimizer, activation_checkpointing=False,
    logging_steps=max(1, steps // 8), save_strategy="no", disable_tqdm=True, seed=seed,
)
lora = LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")

# %%
def to_conversation(row):
    """Make one training example: the event is read, the sentence is to be said."""
    return conversation(CONFIRM_PROMPT, row["event"], row["plain"])


rows = in_like_batches(train, batch_size, seed, column="event")
rows = rows.map(to_conversation, remove_columns=rows.column_names)
if hasattr(base, "peft_config"):  # from an earlier run of this cell
    base = trainer.model.unload()
trainer = SFTTrainer(model=base, args=config, processing_class=tokenizer, train_dataset=rows, peft_config=lora)

# %% [markdown]
# What the loss counts: the sentence and its end marker (underlined), not the event, which is only read.

# %%
batch = trainer.data_collator([trainer.train_dataset[0]])
pairs = zip(batch["input_ids"][0], batch["labels"][0])
marked = [f"<u>{tokenizer.decode(t)}</u>" if label != -100 else tokenizer.decode(t).replace("<", "&lt;")
          for t, label in pairs]
display(HTML("<code>" + "".join(marked).replace("<|", "&lt;|").replace("\n", "⏎<br>") + "</code>"))

# %%
watch(trainer, "step {step:3d}   loss {loss:.3f}")
result = trainer.train()
print(f"{result.metrics['train_runtime']:.0f} seconds")

# %% [markdown]
# `save_artifact` writes the adapter only, a pair of small matrices for each large one, and a note of the base it belongs to.

# %%
confirm_folder = str(save_artifact("organiser_confirm", trainer.model, tokenizer, base=model_path))
for file in sorted(Path(confirm_folder).iterdir()):
    print(f"{file.stat().st_size / 1e6:8.2f} MB  {file.name}")

# %% [markdown]
# ## Load both
#
# As another process would: the base once, then an adapter under a name, then a second one under another name.

# %%
trainer = None
base = AutoModelForCausalLM.from_pretrained(model_path, dtype="float32", attn_implementation=here.attention)
base.to(here.device)
model = PeftModel.from_pretrained(base, event_folder, adapter_name="event")
model.load_adapter(confirm_folder, adapter_name="confirm")
model.eval()
print(list(model.peft_config), "active:", model.active_adapter)

# %% [markdown]
# ## After
#
# `set_adapter` chooses which adapter speaks. Nothing is loaded and no weight moves, so it takes next to no time.

# %%
started = time.perf_counter()
model.set_adapter("confirm")
print(f"switched in {1000 * (time.perf_counter() - started):.0f} ms")
after_said, after_right = ask_confirmations(model, to_confirm)
after = keep("after_confirmations_right", after_right)

# %%
for event, text in zip(to_confirm["event"][:4], after_said):
    print(event, "\n     says:", text)

# %%
def fault_counts(said):
    """Count the faults of these confirmations by name."""
    return Counter(fault for text, event in zip(said, to_confirm["event"])
                   for fault in confirmation_faults(text, event))


pd.DataFrame({"before": fault_counts(before_said), "after": fault_counts(after_said)}).fillna(0).astype(int)

# %% [markdown]
# **The claim of this notebook**, checked by the notebook itself:

# %%
assert after >= before + margin, f"the confirm adapter did not help: {before:.0%} before, {after:.0%} after"
print(f"✅ {after - before:+.0%} faultless confirmations, {margin:.0%} asked for")

# %% [markdown]
# ## Two behaviours, two adapters
#
# Each behaviour with each adapter. Does an adapter do only its own job, or did it also learn something for the other?

# %%
cells = {"confirm": {"confirm": after_right[:len(few)]}, "event": {}}
model.set_adapter("confirm")
cells["confirm"]["event"] = ask_events(model, few)[1]
model.set_adapter("event")
event_said, cells["event"]["event"] = ask_events(model, few)
swapped_said, cells["event"]["confirm"] = ask_confirmations(model, few)

# %%
table = {f"{adapter} adapter": {f"{task} asked": keep(f"{adapter}_adapter_{task}_right", right)
         for task, right in sorted(by_task.items())} for adapter, by_task in sorted(cells.items())}
pd.DataFrame(table).map("{:.0%}".format)

# %%
print("asked to confirm, the event adapter says:", swapped_said[0])

# %% [markdown]
# ## Both in one batch
#
# A server gets both kinds of question at once. `adapter_names` gives every row of a batch its own adapter, or `__base__` for none.
# Answers are written on the right, so the padding goes to the left.

# %%
tokenizer.padding_side = "left"
asked = [(SYSTEM_PROMPT, few[0]["message"], "event"), (CONFIRM_PROMPT, few[0]["event"], "confirm"),
         (SYSTEM_PROMPT, few[1]["message"], "event"), (CONFIRM_PROMPT, few[1]["event"], "confirm"),
         (CONFIRM_PROMPT, few[0]["event"], "__base__")]
names = [name for _, _, name in asked]
prompts = [conversation(prompt, text, "")["prompt"] for prompt, text, _ in asked]


def encode(prompts):
    """Return the prompts as one batch of tokens, filled up on the left."""
    return tokenizer.apply_chat_template(
        prompts, add_generation_prompt=True, padding=True, return_dict=True, return_tensors="pt").to(model.device)

# %%
batch = encode(prompts)
with torch.inference_mode():
    tokens = model.generate(**batch, adapter_names=names, max_new_tokens=event_tokens, do_sample=False, use_cache=True)
new = tokens[:, batch["input_ids"].shape[1]:]  # (rows, new tokens)
for name, text in zip(names, tokenizer.batch_decode(new, skip_special_tokens=True)):
    print(f"{name:9}", text.strip().replace("\n", " / "))

# %% [markdown]
# Is each row what it would be alone? Compare the *logits*, the scores of all tokens of the vocabulary, for the next token:
# first of the whole batch, then of each row by itself with its adapter set. In 32-bit numbers only rounding may differ.

# %%
def next_logits(model, batch, **more):
    """Return the scores of the next token, (rows, vocabulary)."""
    with torch.inference_mode():
        return model(**batch, logits_to_keep=1, **more).logits[:, -1].float()


together = next_logits(model, batch, adapter_names=names)
print("the largest score:", f"{together.abs().max():.1f}")

# %%
differences = []
for row, (prompt, name) in enumerate(zip(prompts, names)):
    model.set_adapter("event" if name == "__base__" else name)
    if name == "__base__":
        with model.disable_adapter():
            alone = next_logits(model, encode([prompt]))
    else:
        alone = next_logits(model, encode([prompt]))
    differences.append((alone[0] - together[row]).abs().max().item())
print("largest difference by row:", [f"{d:.1e}" for d in differences])
assert max(differences) < tolerance

# %%
record("batch_largest_difference", max(differences), n=len(names), seed=seed)

# %% [markdown]
# Did the rows differ at all? The same question with the adapters exchanged is the control: it must *not* agree.

# %%
exchanged = next_logits(model, batch, adapter_names=["confirm" if name == "event" else "event" for name in names])
moved = (exchanged - together).abs().amax(dim=1)
record("exchanged_smallest_difference", moved.min().item(), n=len(names), seed=seed)
assert moved.min() > 100 * tolerance

# %% [markdown]
# ## What it costs to keep two behaviours
#
# Sizes as bfloat16, two bytes for each weight, as the course saves them. "Computed" counts the weights; "on disk" looks at the
# files.

# %%
def on_disk(folder):
    """Return the size of a folder's weights in MB."""
    return sum(file.stat().st_size for file in Path(folder).glob("*.safetensors")) / 1e6


with torch.device("meta"):  # shapes without numbers
    counted = sum(weight.numel() for weight in AutoModelForCausalLM.from_config(base.config).parameters())
full = 2 * counted / 1e6
adapters = {name: 2 * sum(w.numel() for key, w in model.named_parameters() if f".{name}." in key) / 1e6
            for name in ("event", "confirm")}

# %%
sizes = pd.DataFrame({
    "computed (MB)": {"base": full, **adapters, "base and two adapters": full + sum(adapters.values()),
                      "two full models": 2 * full},
    "on disk (MB)": {"event": on_disk(event_folder), "confirm": on_disk(confirm_folder)},
})
record("full_model_mb", full)
record("adapter_mb", on_disk(confirm_folder))
sizes.round(1)

# %% [markdown]
# In memory it is the same sum, twice as large here, because we keep 32-bit numbers.

# %%
held = sum(weight.numel() * weight.element_size() for weight in model.parameters()) / 1e6
record("held_mb", held)
print(f"base and two adapters {held:.0f} MB, two full models {2 * 4 * counted / 1e6:.0f} MB")

# %% [markdown]
# ## Merge, and undo it
#
# An adapter adds `scaling * B @ A` to a weight. Added once and for all, the extra products at every answer are saved.
# `merge_adapter` adds it in place and keeps the adapter, so that `unmerge_adapter` can take it off again.

# %%
model.set_adapter("event")
batch = encode([conversation(SYSTEM_PROMPT, message, "")["prompt"] for message in few["message"][:8]])
kept = {name: weight.clone() for name, weight in model.named_parameters() if "base_layer" in name}
apart = next_logits(model, batch)


def fastest(model):
    """Return the milliseconds of the fastest of three passes."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        next_logits(model, batch)
        times.append(1000 * (time.perf_counter() - started))
    return min(times)

# %%
apart_ms = fastest(model)
model.merge_adapter()
merged = next_logits(model, batch)
merged_ms = fastest(model)
difference = (merged - apart).abs().max().item()
record("merged_largest_difference", difference, n=len(merged), seed=seed)
print(f"one pass: {apart_ms:.0f} ms with the adapter apart, {merged_ms:.0f} ms merged")
assert difference < tolerance

# %%
record("apart_ms", apart_ms)
record("merged_ms", merged_ms)
model.unmerge_adapter()
left = max((weight - kept[name]).abs().max().item() for name, weight in model.named_parameters() if name in kept)
changed = sum(not torch.equal(weight, kept[name]) for name, weight in model.named_parameters() if name in kept)
record("unmerge_largest_difference", left)
print(f"{changed} of {len(kept)} matrices are not what they were, bit for bit; the largest difference is {left:.1e}")

# %% [markdown]
# Adding and taking off are rounded, so this way back is not exact. A server that switches a thousand times a day keeps its
# adapters apart, or keeps a copy of the base.
#
# `merge_and_unload` has no way back: what it gives is an ordinary model, which any program can load without PEFT.

# %%
plain = copy.deepcopy(model).merge_and_unload()
difference = (next_logits(plain, batch) - apart).abs().max().item()
record("plain_largest_difference", difference, n=len(batch["input_ids"]), seed=seed)
print(type(plain).__name__, f"differs by {difference:.1e}; adapters left in it:",
      sum("lora" in name for name, _ in plain.named_parameters()))
assert difference < tolerance
del plain

# %% [markdown]
# Rounding is small in 32 bits. In bfloat16, with two or three decimal digits, small changes can vanish in large weights. Here
# the same merge is made in bfloat16. For a fair comparison the one made in 32 bits is then rounded, so that both compute in
# bfloat16, and only the merge differs.

# %%
short = copy.deepcopy(model).to(torch.bfloat16)
short.merge_adapter()
rounded_once = copy.deepcopy(model).merge_and_unload().to(torch.bfloat16)
for name, bf16_model in {"merged_bf16": short, "rounded_bf16": rounded_once}.items():
    logits = next_logits(bf16_model, batch).float()
    difference = (logits - apart).abs().max().item()
    record(f"{name}_largest_difference", difference, n=len(logits), seed=seed)
    agree = (logits.argmax(-1) == apart.argmax(-1)).sum().item()
    print(f"{name}: differs by {difference:.2f}; the next token agrees in {agree} of {len(logits)} rows")
del short, rounded_once, bf16_model

# %% [markdown]
# ## Mix two adapters
#
# `add_weighted_adapter` makes a new adapter from weighted old ones. `cat` puts the matrices side by side, so that the changes add
# up exactly; its rank is the sum of the ranks. `linear` adds the A's and the B's themselves and keeps the rank. But (B₁ + B₂) times
# (A₁ + A₂) also contains products of one adapter's B with the other's A. Look at one layer:

# %%
for how in ("cat", "linear"):
    model.add_weighted_adapter(["event", "confirm"], [1.0, 1.0], how, combination_type=how)
layer = model.base_model.model.model.layers[0].self_attn.q_proj
change = {name: layer.get_delta_weight(name).detach() for name in ("event", "confirm", "cat", "linear")}
total = change["event"] + change["confirm"]
for how in ("cat", "linear"):
    apart_by = ((change[how] - total).norm() / total.norm()).item()
    record(f"{how}_distance_from_sum", apart_by, seed=seed)
    print(f"{how:7} rank {model.peft_config[how].r}, away from the sum by {apart_by:.1%} of its size")
    model.delete_adapter(how)

# %% [markdown]
# And how do both behaviours fare with a mixture? `cat` with weights 1 and 1 is the sum. This is also what you get when the
# event adapter is put on a base that was *fine-tuned further*: a base into which somebody merged `confirm`.

# %%
mixed = {}
for how, for_event, for_confirm in mixtures:
    model.add_weighted_adapter(["event", "confirm"], [for_event, for_confirm], "mixture", combination_type=how)
    model.set_adapter("mixture")
    name = f"{how}_{100 * for_event:.0f}_{100 * for_confirm:.0f}"
    mixed[f"{how} {for_event:g}, {for_confirm:g}"] = {
        "event": keep(f"{name}_event_right", ask_events(model, few)[1]),
        "confirm": keep(f"{name}_confirm_right", ask_confirmations(model, few)[1])}
    model.set_adapter("event")
    model.delete_adapter("mixture")

# %%
own = {"event adapter": {task: sum(right) / len(right) for task, right in cells["event"].items()},
       "confirm adapter": {task: sum(right) / len(right) for task, right in cells["confirm"].items()}}
shares = pd.DataFrame(own | mixed).T[["event", "confirm"]]
ends = {task: [wilson(round(share * len(few)), len(few)) for share in shares[task]] for task in shares}
errors = [[[100 * (s - low) for s, (low, _) in zip(shares[task], ends[task])],
           [100 * (high - s) for s, (_, high) in zip(shares[task], ends[task])]] for task in shares]

# %%
fig, ax = plt.subplots(figsize=(6.5, 3.6))
(100 * shares).plot.barh(ax=ax, xerr=errors, color=["#0072B2", "#E69F00"], width=0.75, ecolor="#888888", capsize=2)
ax.invert_yaxis()
ax.set(xlabel=f"right answers (%), 95 % interval, {len(few)} questions each", xlim=(0, 100),
       title="What one adapter does, and what a mixture keeps")
ax.legend(["event asked", "confirmation asked"], loc="upper center", bbox_to_anchor=(0.4, -0.2), ncols=2)
fig.tight_layout()

# %% [markdown]
# ## Another base
#
# An adapter is a difference from certain weights. On other weights of the same shape it loads without a word. Two such bases:
# in one, every matrix is moved by a little random noise; the other has the same architecture and fresh random weights.

# %%
def moved_base(share):
    """Return the base with noise added to each matrix, ``share`` of its standard deviation."""
    other = AutoModelForCausalLM.from_pretrained(model_path, dtype="float32", attn_implementation=here.attention)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in other.parameters():
            if weight.dim() == 2:
                weight += share * weight.std() * torch.randn(weight.shape, generator=generator)
    return other.to(here.device)


dice = torch.get_rng_state()


def fresh_base():
    """Return a base of the same architecture that was never trained."""
    torch.set_rng_state(dice)
    return AutoModelForCausalLM.from_config(base.config, attn_implementation=here.attention).float().to(here.device)

# %% [markdown]
# How much does the noise harm the base itself? As a control, ask each bare base how well it predicts the plain text of the
# messages, in nats per token (lower is better).

# %%
def text_loss(model):
    """Return the mean loss (nats per token) of eight messages as plain text."""
    batch = tokenizer(list(few["message"][:8]), return_tensors="pt", padding=True).to(model.device)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    with torch.inference_mode():
        return model(**batch, labels=labels).loss.item()


with model.disable_adapter():
    own_loss = text_loss(model)
for name, loss in {"own": own_loss, "noise": text_loss(moved_base(noise)), "fresh": text_loss(fresh_base())}.items():
    record(f"{name}_base_text_loss", loss, n=min(8, len(few)), seed=seed)

# %% [markdown]
# Now the event adapter on top of each. There is no error and no warning.

# %%
noisy = PeftModel.from_pretrained(moved_base(noise), event_folder).eval()
fresh = PeftModel.from_pretrained(fresh_base(), event_folder).eval()
noisy_said, noisy_right = ask_events(noisy, few)
fresh_said, _ = ask_events(fresh, few.select(range(1)))
keep("noise_base_event_right", noisy_right)
for name, replies in {"its own base": event_said, "noise": noisy_said, "fresh": fresh_said}.items():
    print(f"{name:13} {replies[0][:96]!r}")
print(f"events right: {sum(cells['event']['event'])} on its own base, {sum(noisy_right)} on the noisy one, of {len(few)}")

# %% [markdown]
# Nothing stops you from loading it, so something should. `save_artifact` wrote down which weights the adapter was trained on: a
# *hash*, a short fingerprint of the file.

# %%
provenance = json.loads((Path(event_folder) / "provenance.json").read_text(encoding="utf-8"))
{name: provenance[name] for name in ("name", "base", "base_sha256")}

# %%
def weights_sha256(folder):
    """Return the hash of a folder's weights, or None where there are none (a name on the Hub)."""
    digest, files = hashlib.sha256(), sorted(Path(folder).glob("*.safetensors"))
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest() if files else None


def compare(what, folder):
    """Print whether a folder's weights are those that the adapter was trained on."""
    sha256 = weights_sha256(folder)
    verdict = "no hash" if sha256 is None else "the same" if sha256 == provenance["base_sha256"] else "refused"
    print(f"{what:22} {str(sha256)[:12]}  {verdict}")


compare("the base in use", model_path)

# %% [markdown]
# The control first: our base, saved once more. Then two that should look different: the base with noise, and our own base
# rounded to bfloat16.

# %%
rounded = AutoModelForCausalLM.from_pretrained(model_path, dtype="bfloat16")
again = AutoModelForCausalLM.from_pretrained(model_path, dtype="float32")
for description, other in {"our base, saved again": again, "with noise": moved_base(noise),
                           "our base, rounded": rounded}.items():
    with tempfile.TemporaryDirectory() as folder:
        other.save_pretrained(folder)
        compare(description, folder)
        size = on_disk(folder)
record("full_on_disk_mb", size)
print(f"a full model in bfloat16 takes {size:.0f} MB on disk; computed: {full:.0f} MB")

# %% [markdown]
# The rounded base is refused too, although rounding moved each weight by less than half a percent. So another hash does not mean
# "this will break". It means "nobody has measured this".
#
# ## What to believe
#
# Small tables with wide intervals tell you that an adapter does its job, or does not. They do not rank two bars that differ
# by two questions. The study of this notebook (`smol study 3/adapters`) trains the confirm adapter with two more
# seeds. With learning rate 0 the claim must fail.

# %% tags=["study"]
study = study_runs("adapters")
for run, entry in study.items():
    numbers = entry["results"]
    if "after_confirmations_right" in numbers and not entry["failed"]:
        right_after, right_before = numbers["after_confirmations_right"], numbers["before_confirmations_right"]
        print(f"{run}: {right_before['value']:.0%} before, {right_after['value']:.0%} after "
              f"({right_after['low']:.0%} to {right_after['high']:.0%}, n = {right_after['n']})")
print("learning_rate_0:", study["learning_rate_0"]["failed"])

# %% [markdown]
# ## Exercises
#
# ### 🐢 May it be loaded? (5 minutes)
#
# **Goal:** decide before loading. **Input:** `base`, a dictionary with the model's `name` and the hash of its weights,
# `sha256`; `adapter`, a dictionary as in `provenance.json`, with `base` and `base_sha256`. A hash may be `None`, or
# missing. **Output:** `"yes"` or `"no"` where the hashes can tell, else `"not known"`. **Judged by:** eight pairs. Stuck?
# `hint("adapters/turtle")`.

# %% tags=["exercise"]
def may_load(base, adapter):
    """Return "yes", "no" or "not known": may the adapter be loaded onto this base?"""
    ...

# %% tags=["check"]
check("adapters/turtle", may_load)

# %% [markdown]
# ### 🐕 A batch of several adapters (20 minutes)
#
# **Goal:** compute what one linear layer gives for a batch whose rows use different adapters. **Input:** `x`, a float tensor
# (rows, in); `weight`, the base's (out, in); `adapters`, a dictionary from a name to `(A, B, scaling)` with A (rank, in) and
# B (out, rank); `names`, one name for each row, or `None` for the bare base. **Output:** a tensor (rows, out). `x` and
# `weight` stay as they are. **Example:** `x = [[1, 2], [1, 2]]`, `weight` the identity, `A = [[1, 1]]`, `B = [[1], [0]]`,
# scaling 2, for the first row only. A gives 3, B makes `[3, 0]` of it, the scaling `[6, 0]`. So the output is
# `[[7, 2], [1, 2]]`. **Judged by:** three batches. Hints: `hint("adapters/dog")`.

# %% tags=["exercise"]
def mixed_batch(x, weight, adapters, names):
    """Return the layer's output (rows, out), each row with its own adapter or none."""
    ...

# %% tags=["check"]
check("adapters/dog", mixed_batch)

# %% [markdown]
# ## Go further
#
# The same cells with a larger model and adapters of others: start with `SMOL_HUB=1` (or `smol run --hub`). Any LoRA adapter
# on the Hub names its base in `adapter_config.json`; load that base, then the adapter:
#
# ```python
# from peft import PeftConfig
# base_name = PeftConfig.from_pretrained("someone/their-adapter").base_model_name_or_path
# base = AutoModelForCausalLM.from_pretrained(base_name)
# model = PeftModel.from_pretrained(base, "someone/their-adapter", adapter_name="theirs")
# ```
#
# A name is all that such an adapter records: no hash. Measure it before you trust it. To serve many adapters at once, vLLM
# does with `--enable-lora` what `adapter_names` did here.
