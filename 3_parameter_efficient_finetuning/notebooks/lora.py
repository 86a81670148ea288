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
# # LoRA: train a few weights, keep the rest
#
# You look inside a full fine-tuning, measure how much of its change is needed, and then train a small addition only:
# an adapter of a few megabytes that turns a message into an event.
#
# What this notebook cost in time and memory when it was last run stands in the table of the module's README.
# The lesson to read first: [lora.md](../lora.md).
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/smol-ai/course/blob/main/3_parameter_efficient_finetuning/notebooks/lora.ipynb)
# In Colab, read the lesson [on GitHub](https://github.com/smol-ai/course/blob/main/3_parameter_efficient_finetuning/lora.md).

# %% tags=["install"]
# On Colab, install what this notebook needs; anywhere else this does nothing.
import importlib.util
import sys
if importlib.util.find_spec("smol_course") is None:
    print("Installing the course with what this notebook needs: about a minute.")
    needs = '"smol-course @ git+https://github.com/smol-ai/course"'
    get_ipython().system(f"uv pip install -q --python {sys.executable} {needs} || {sys.executable} -m pip install -q {needs}")

# %% [markdown]
# Every number worth changing stands in one cell. With `learning_rate = 0` the adapter learns nothing, and the claim of
# this notebook fails, as it should. `full_steps = 0` leaves out the first part, which trains all weights.

# %% tags=["parameters"]
from smol_course.parameters import number, one_of, whole
model_name: str = "HuggingFaceTB/SmolLM2-135M-Instruct"
seed: whole(0, 2**32 - 1) = 0
method: one_of("lora", "rslora", "dora", "qlora", "full") = "lora"
rank: whole(1) = 16
alpha: whole(1) = 32
targets: str = "all-linear"  # or names of matrices with commas between: "q_proj,v_proj"
learning_rate: number(0, 1) = 2e-3
steps: whole(1) = 48
full_steps: whole(0) = 12  # of the full fine-tuning whose change we look at; 0: leave that part out
full_learning_rate: number(0, 1) = 3e-4
batch_size: whole(1) = 4
test_messages: whole(1) = 40
before_messages: whole(1) = 16  # the start gets hardly anything right, and fewer messages show it
dev_messages: whole(1) = 8
new_tokens: whole(1, 512) = 52  # the longest answer we wait for; the longest right one is shorter
keep_as: str = "organiser_lora_short"  # the name under which the adapter is saved; `organiser_lora` is the one that ships
margin: number(-1, 1) = 0.40  # how much higher the field F1 must be after, for the claim to stand

# %% tags=["setup"]
import copy
from pathlib import Path
import matplotlib.pyplot as plt
import pandas as pd
import psutil
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, set_seed
from trl import SFTConfig, SFTTrainer
from smol_course.data import SYSTEM_PROMPT, conversation, events, in_like_batches, study_runs
from smol_course.errors import CourseError
from smol_course.exercises import check, hint
from smol_course.hardware import prepare
from smol_course.metrics import record, score_events, watch
from smol_course.models import answer, artifact, find_model, save_artifact

# %% tags=["setup"]
here = prepare()
set_seed(seed)
model_path = find_model(model_name)
tokenizer = AutoTokenizer.from_pretrained(model_path)

# %% [markdown]
# ## The data
#
# The same task as in module 1: a message in, one event out. `train` is learned from, `dev` is for decisions, `test` for the report.
# Batches contain messages of like length, so that little is padded.

# %%
train = in_like_batches(events("train").shuffle(seed=seed), batch_size, seed)
dev = events("dev").take(dev_messages)
test = events("test").take(test_messages)
print(f"{len(train)} messages to train on, {steps * batch_size} of them used; {len(test)} to test on")
print(train[0]["message"], "\n ", train[0]["event"])

# %%
def example(row):
    """Make one training example: the prompt is read, the completion is scored."""
    return conversation(SYSTEM_PROMPT, row["message"], row["event"])


train_set, dev_set = (rows.map(example, remove_columns=rows.column_names) for rows in (train, dev))
test_prompts = [example(row)["prompt"] for row in test]

# %% [markdown]
# ## The model, and before
#
# `method = "qlora"` loads the matrices in 4 bits each; every other method loads them as they are.

# %%
if method == "qlora" and importlib.util.find_spec("bitsandbytes") is None:
    raise CourseError("QLoRA needs bitsandbytes, which is in the extra gpu: run `uv sync --extra gpu`.")


def load_model(bits=32):
    """Load the starting model, its matrices in 32 or 4 bits a weight."""
    nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
    return AutoModelForCausalLM.from_pretrained(
        model_path, dtype="float32", attn_implementation=here.attention,
        quantization_config=nf4 if bits == 4 else None)

# %%
model = load_model(bits=4 if method == "qlora" else 32)
asked = min(before_messages, len(test))
before_answers = answer(model, tokenizer, test_prompts[:asked], max_new_tokens=new_tokens, bf16=here.bf16)
before = score_events(before_answers, test["event"][:asked])
record("before_event_accuracy", before.accuracy, before.low, before.high, before.n, seed)
record("before_field_f1", before.field_f1, n=before.n, seed=seed)
print(before_answers[0][:100])

# %% [markdown]
# ## One trainer for every method
#
# Full fine-tuning and LoRA use the same trainer, data and schedule. What differs is which weights may move, and the
# learning rate.

# %%
log_line = "step {step:3d}   loss {loss:.3f}"

# %%
def make_trainer(model, learning_rate, steps):
    """Return TRL's trainer for this model: the loss counts the completion only."""
    config = SFTConfig(
        output_dir="trainer", max_steps=steps, learning_rate=learning_rate,
        lr_scheduler_type="linear", warmup_steps=0.1,
        per_device_train_batch_size=batch_size, per_device_eval_batch_size=batch_size,
        train_sampling_strategy="sequential",  # in the order that we gave them
        bf16=here.bf16, use_cpu=here.device == "cpu", optim=here.optimizer,
        activation_checkpointing=False,
        logging_steps=max(1, steps // 8), save_strategy="no", disable_tqdm=True, seed=seed,
    )
    trainer = SFTTrainer(
        model=model, args=config, processing_class=tokenizer, train_dataset=train_set, eval_dataset=dev_set)
    watch(trainer, log_line)
    return trainer

# %% [markdown]
# ## What full fine-tuning changes
#
# First a short training of *all* weights. Afterwards we subtract: for each weight matrix, its *update* is the matrix
# after training minus the matrix before.

# %%
def matrices(model):
    """Return the weight matrices inside the layers, by name (no embedding, no norms)."""
    return {name: weight.detach() for name, weight in model.model.layers.named_parameters() if weight.ndim == 2}


updates = {}
if full_steps:
    full_model = load_model()
    start = copy.deepcopy(full_model.state_dict())
    full_trainer = make_trainer(full_model, full_learning_rate, full_steps)
    full_trainer.train()
    updates = {name: weight - start[f"model.layers.{name}"] for name, weight in matrices(full_model).items()}

# %%
if updates:
    labels = full_trainer.data_collator([full_trainer.train_dataset[0]])["labels"][0]
    print(f"of the first example's {len(labels)} tokens, {(labels != -100).sum()} were scored: the completion")
    print(f"{len(updates)} matrices changed, {sum(update.numel() for update in updates.values()):,} numbers in all")

# %% [markdown]
# A matrix does something to a vector in several *directions*, and a *singular value* says how strongly in each. A matrix
# that has only *r* singular values above zero has **rank** *r*: it can be written as a tall matrix times a wide one, with
# *r* columns and *r* rows. So we look at the singular values of some updates, the largest first.
#
# The **control** is a matrix of random numbers with the same shape and the same overall size (*norm*: the root of the sum of the
# squared numbers). Its singular values fall too, and that says nothing.

# %%
def singular_values(matrix):
    """Return the singular values, the largest first: (smaller side,)."""
    return torch.linalg.svdvals(matrix)


def like_chance(matrix):
    """Return a random matrix of the same shape and norm."""
    noise = torch.randn_like(matrix)
    return noise * matrix.norm() / noise.norm()

# %%
picked = [f"{layer}.{part}.weight" for part in ("self_attn.q_proj", "mlp.down_proj") for layer in (0, 15, 29)]
spectra = {name: (singular_values(updates[name]), singular_values(like_chance(updates[name])))
           for name in picked if updates}
for part in ("q_proj", "down_proj"):
    for place, kind in enumerate(("update", "chance")):
        shares = [(pair[place][:16].square().sum() / pair[place].square().sum()).item()
                  for name, pair in spectra.items() if part in name]
        if shares:
            record(f"{kind}_share_16_{part}", sum(shares) / len(shares), seed=seed)

# %% [markdown]
# The share above is how much of the matrix (of its squared norm) sits in the 16 strongest of 576 directions, the mean of
# three layers.

# %%
if spectra:
    fig, axes = plt.subplots(1, 2, figsize=(7.5, 3.2), sharey=True)
    for ax, part in zip(axes, ("q_proj", "down_proj")):
        for name, style in zip([name for name in picked if part in name], ("-", "--", "-.")):
            spectrum, chance = spectra[name]
            at = range(1, len(spectrum) + 1)
            ax.loglog(at, spectrum / spectrum.norm(), style, color="#0072B2",
                      label=f"update, layer {name.split('.')[0]}")
            ax.loglog(at, chance / chance.norm(), ":", color="#D55E00", label="chance" if style == "-" else None)
        ax.set(title=part, xlabel="singular value, the largest is 1st")
    axes[0].set(ylabel="singular value (update's norm = 1)", ylim=(1e-3, 1))
    axes[0].legend(fontsize=8)
    fig.suptitle("Singular values of updates, and of chance")
    fig.tight_layout()

# %% [markdown]
# ## What low rank keeps
#
# A large direction need not be a useful one. So we ask the dev messages: keep of **every** matrix's update only its strongest 1, 4,
# 16 or 64 directions, throw the rest away, and measure the loss. The updates of embedding and norms are left out, because LoRA as
# used here leaves those alone. A second control keeps 16 directions chosen at random; it keeps less of the update than the
# strongest 16.

# %%
def cut(update, most=64):
    """Return the strongest directions of an update, nearly exactly: (out, q), (q,), (in, q); q is most + 16."""
    return torch.svd_lowrank(update, q=most + 16, niter=2)  # the 16 more make the first ones exact


strongest = {name: cut(update) for name, update in updates.items()}


def of_rank(name, r):
    """Return the update with all but its r strongest directions thrown away."""
    left, values, right = strongest[name]
    return (left[:, :r] * values[:r]) @ right[:, :r].T

# %%
def by_chance(name, r):
    """Return what the update does in r directions chosen at random."""
    directions, _ = torch.linalg.qr(torch.randn(updates[name].shape[1], r))  # (in, r)
    return updates[name] @ directions @ directions.T


def dev_loss_with(update_of, *how):
    """Return the dev loss of the start plus an update of each matrix."""
    for name, weight in matrices(full_model).items():
        weight.copy_(start[f"model.layers.{name}"] + update_of(name, *how))
    return full_trainer.evaluate()["eval_loss"]


learned_loss = full_trainer.evaluate()["eval_loss"] if updates else None

# %%
kept = {}
if updates:
    kept["all weights"] = learned_loss
    full_model.load_state_dict(start)
    kept["start"] = full_trainer.evaluate()["eval_loss"]
    for r in (1, 4, 16, 64):
        kept[f"rank {r}"] = dev_loss_with(of_rank, r)
    kept["all ranks"] = dev_loss_with(updates.get)
    kept["16 by chance"] = dev_loss_with(by_chance, 16)
for name, loss in kept.items():
    record(f"kept_{name.replace(' ', '_')}", loss, n=len(dev), seed=seed)

# %%
full_trainer = full_model = start = strongest = None  # they take much memory

# %%
if kept:
    order = ["start", "16 by chance", "rank 1", "rank 4", "rank 16", "rank 64", "all ranks", "all weights"]
    fig, ax = plt.subplots(figsize=(6, 3.2))
    colours = ["#888888", "#D55E00"] + ["#0072B2"] * 5 + ["#009E73"]
    ax.barh(order[::-1], [kept[name] for name in order[::-1]], color=colours[::-1])
    ax.set(xlabel="dev loss (nats per token)", title="What is left when the update is cut down")
    fig.tight_layout()

# %% [markdown]
# *All ranks* is the uncut update of the matrices; *all weights* adds what embedding and norms learned.
#
# ## LoRA by hand
#
# LoRA does it the other way round. It does not train a matrix and cut it afterwards: it trains an update that has rank *r* by
# construction. The matrix `W` stays frozen. Beside it stand `A` (r rows) and `B` (r columns), and the layer computes
#
# > `W x + (alpha / r) · B A x`
#
# `A` starts with random numbers and `B` with zeros.

# %%
layer = model.model.layers[15].self_attn.q_proj
A = torch.randn(rank, layer.in_features) / layer.in_features**0.5  # (rank, in)
B = torch.zeros(layer.out_features, rank)  # (out, rank)
x = torch.randn(4, layer.in_features)  # (tokens, in)
with torch.no_grad():
    plain = layer(x)  # (tokens, out)
adapted = plain + alpha / rank * (x @ A.T) @ B.T
print("largest change of an output:", (adapted - plain).abs().max().item())

# %% [markdown]
# So training starts from exactly the model that we have. Now one look at the gradients. As `B` is zero, `A` has no effect yet,
# and its gradient is zero: in the first step only `B` moves.

# %%
A.requires_grad_(), B.requires_grad_()
wanted = torch.randn(4, layer.out_features)
(plain + alpha / rank * (x @ A.T) @ B.T - wanted).square().mean().backward()
print(f"largest gradient: {A.grad.abs().max().item():.4f} in A, {B.grad.abs().max().item():.4f} in B")
print(f"W holds {layer.in_features * layer.out_features:,} numbers, A and B together {A.numel() + B.numel():,}")

# %% [markdown]
# ## The same with PEFT
#
# The library `peft` puts such a pair beside every matrix that `target_modules` names. `"all-linear"` means all of a layer's:
# the four of attention (`q`, `k`, `v`, `o`) and the three of the feed-forward block, also called MLP (`gate`, `up`, `down`).
#
# We load the model anew first. With 4 bits this matters: on some CPUs bitsandbytes repacks the weights of a model that is
# asked something, and then gradients no longer pass through them. There is a warning and no error; the loss just does not
# fall.

# %%
model = layer = None  # free the memory before it is loaded again

# %%
variants = {"rslora": {"use_rslora": True}, "dora": {"use_dora": True}}
adapter = LoraConfig(
    r=rank, lora_alpha=alpha, lora_dropout=0.0, task_type="CAUSAL_LM",
    target_modules=targets if targets == "all-linear" else targets.split(","),
    **variants.get(method, {}),
)
model = load_model(bits=4 if method == "qlora" else 32)
everything = model.num_parameters()
trained = model if method == "full" else get_peft_model(model, adapter)
[(name, tuple(weight.shape)) for name, weight in trained.named_parameters() if weight.requires_grad][:4]

# %%
count = sum(weight.numel() for weight in trained.parameters() if weight.requires_grad)
record("trained_parameters", count, seed=seed)
record("trained_share", count / everything, seed=seed)

# %% [markdown]
# Training keeps four numbers of 4 bytes for each trained weight: the weight, its gradient, and two running means of AdamW.
# A frozen weight needs only itself. (What the layers compute on the way comes on top, for both.)

# %%
print(f"all weights: {16 * everything / 1e9:.2f} GB; these {count:,}: {(4 * everything + 16 * count) / 1e9:.2f} GB")

# %% [markdown]
# ## Training, watched
#
# The learning rate is several times that of full fine-tuning. The study further down shows what other rates do.

# %%
trainer = make_trainer(trained, learning_rate, steps)
result = trainer.train()
record("memory_mb", psutil.Process().memory_info().rss / 1e6, seed=seed)
record("train_seconds", result.metrics["train_runtime"], seed=seed)
record("train_tokens", max(entry.get("num_tokens", 0) for entry in trainer.state.log_history), seed=seed)
record("dev_loss", trainer.evaluate()["eval_loss"], n=len(dev), seed=seed)

# %% [markdown]
# `memory_mb` is what the whole process occupies at this moment. On Linux `prepare` keeps freed memory with the process, so this is
# close to the most that training took. Here, some of it may be left from the full fine-tuning above; the study's runs leave that
# part out. The notebook `resources` looks at the parts.

# %%
log = pd.DataFrame(trainer.state.log_history).dropna(subset="loss")
fig, ax = plt.subplots(figsize=(6, 2.8))
ax.plot(log["step"], log["loss"].astype(float), "o-", color="#0072B2")
ax.set(xlabel="step", ylabel="loss (nats per token)", title="The loss of the training batches", ylim=(0, None))
fig.tight_layout()

# %% [markdown]
# ## After
#
# The test messages, which training never saw; the same prompt and measure as before. (Before, only the first
# `before_messages` of them were asked.)

# %%
after_answers = answer(trained, tokenizer, test_prompts, max_new_tokens=new_tokens, bf16=here.bf16)
after = score_events(after_answers, test["event"])
record("after_event_accuracy", after.accuracy, after.low, after.high, after.n, seed)
record("after_field_f1", after.field_f1, n=after.n, seed=seed)
print("before:", before, "\nafter: ", after)

# %%
for row, reply in list(zip(test, after_answers))[:4]:
    print(row["message"].replace("\n", " / "), "\n   wanted", row["event"], "\n   said  ", reply)

# %% [markdown]
# *Event accuracy* wants every field of a message right, *field F1* counts the fields one by one (module 1). After so few
# steps most messages have at least one field wrong, so the second says more. The adapter that ships with the course is this
# one, trained for longer: the lesson links to the file that has its accuracy.
#
# **The claim of this notebook**, checked by the notebook itself:

# %%
assert after.field_f1 >= before.field_f1 + margin, (
    f"LoRA did not help: field F1 {before.field_f1:.2f} before, {after.field_f1:.2f} after")
print(f"✅ field F1 {after.field_f1 - before.field_f1:+.2f}, {margin:.2f} asked for")

# %% [markdown]
# ## Keep it
#
# Only the adapter is saved, as bfloat16; the base is named in its settings and its hash is kept. Whoever loads it needs the
# same base.

# %%
folder = Path(save_artifact(keep_as, trained, tokenizer, base=model_path))
size = sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 1e6
record("adapter_mb", size, seed=seed)
print(*sorted(file.name for file in folder.iterdir()), sep="\n")

# %%
if method in ("lora", "rslora", "dora"):
    again = PeftModel.from_pretrained(load_model(), artifact(keep_as, made_by="3/lora"))
    same = [answer(peft_model, tokenizer, test_prompts[:4], max_new_tokens=16, bf16=True)
            for peft_model in (again, trained)]
    print(f"loaded back: {sum(a == b for a, b in zip(*same))} of {len(same[0])} answers begin the same")
    assert same[0] == same[1]

# %% [markdown]
# ## What to believe: the study
#
# One run with one seed says little. The study of this notebook (`smol study 3/lora`) runs it again with other methods,
# learning rates and seeds, and once with learning rate 0, which must fail the claim. Each run has its own process, so that
# its memory is its own.

# %% tags=["study"]
study = study_runs("lora")
numbers = {run: entry["results"] for run, entry in study.items()}


def accuracy(run):
    """Return a run's event accuracy with its interval, as text."""
    r = numbers[run]["after_event_accuracy"]
    return f"{r['value']:.0%} ({r['low']:.0%} to {r['high']:.0%}, n = {r['n']})"

# %% [markdown]
# **The methods**, with the same messages in the same order (QLoRA has 4-bit weights, which a CPU unpacks slowly). All
# weights have a rate of their own; the other four share LoRA's, so the table does not rank them:

# %% tags=["study"]
methods = [run for run in ("full", "lora", "rslora", "dora", "qlora") if run in study]
pd.DataFrame([{
    "method": run,
    "trained parameters": f"{numbers[run]['trained_parameters']['value']:,.0f}",
    "file (MB)": round(numbers[run]["adapter_mb"]["value"], 1),
    "memory (MB)": round(numbers[run]["memory_mb"]["value"]),
    "training (s)": round(numbers[run]["train_seconds"]["value"]),
    "event accuracy": accuracy(run),
    "field F1": round(numbers[run]["after_field_f1"]["value"], 2),
} for run in methods]).set_index("method")

# %% [markdown]
# **The learning rate.** Short runs, judged by the dev loss. Each method with its own best rate is the fair comparison; with
# one rate for both, the comparison measures the rate.

# %% tags=["study"]
fig, ax = plt.subplots(figsize=(6, 3.2))
for kind, style, colour in (("lora", "o-", "#0072B2"), ("full", "s--", "#D55E00")):
    runs = [run for run in study if run.startswith(f"sweep_{kind}")]
    points = sorted((study[run]["parameters"]["learning_rate"], numbers[run]["dev_loss"]["value"]) for run in runs)
    ax.semilogx(*zip(*points), style, color=colour, label={"lora": "LoRA", "full": "all weights"}[kind])
ax.set(xlabel="learning rate", ylabel="dev loss (nats per token)", title="The dev loss after short runs, by learning rate")
ax.legend()
fig.tight_layout()

# %% [markdown]
# **Rank, alpha and targets**, one changed at a time. `q_proj,v_proj` is what the first paper trained.

# %% tags=["study"]
dials = {run: study[run]["parameters"] for run in study if run.split("_")[0] in ("rank", "alpha", "targets")}
dials = {"sweep_lora_0.002": {}} | dials
pd.DataFrame([{
    "rank": changed.get("rank", rank), "alpha": changed.get("alpha", alpha), "targets": changed.get("targets", targets),
    "trained parameters": f"{numbers[run]['trained_parameters']['value']:,.0f}",
    "dev loss": round(numbers[run]["dev_loss"]["value"], 3),
} for run, changed in dials.items()])

# %% [markdown]
# **Seeds, and the control:**

# %% tags=["study"]
for run in numbers:
    if run.startswith("seed_") or run == "lora":
        print(f"{run:8} field F1 {numbers[run]['after_field_f1']['value']:.2f}   event accuracy {accuracy(run)}")
print("learning_rate_0:", study["learning_rate_0"]["failed"])

# %% [markdown]
# Look at the intervals before you rank the methods: they cover which messages were tested, and not the luck of training,
# for which the seeds stand.
#
# ## Exercises
#
# ### 🐢 Count what LoRA trains (5 minutes)
#
# **Goal:** know an adapter's size before you train it. **Input:** `shapes`, a list of `(out, in)` for each matrix that gets an
# adapter, and the rank. **Output:** how many numbers are trained, a whole number. **Example:** `[(576, 576)]` and rank 16
# give 18432, as above. **Judged by:** six lists of shapes. Hints: `hint("lora/turtle")`.

# %% tags=["exercise"]
def lora_parameters(shapes, rank):
    """Return how many numbers LoRA trains beside matrices of these shapes."""
    ...

# %% tags=["check"]
check("lora/turtle", lora_parameters)

# %% [markdown]
# ### 🐕 Merge an adapter (20 minutes)
#
# **Goal:** put an adapter into its matrix, so that the model needs no extra work when it answers. **Input:** tensors `weight`
# (out, in), `A` (r, in) and `B` (out, r); `alpha`; and `rank_stabilised`. The factor before `B A` is `alpha / r`, and with
# `rank_stabilised=True` it is `alpha / √r` (rsLoRA). **Output:** a new matrix (out, in) with the dtype of `weight`, which
# itself stays as it was. **Example:** `weight` `[[1.0]]`, `A` `[[2.0]]`, `B` `[[3.0]]`, `alpha=4` give `[[25.0]]`.
# **Judged by:** tensors of several shapes and dtypes. Hints: `hint("lora/dog")`.

# %% tags=["exercise"]
def merge(weight, A, B, alpha, rank_stabilised=False):
    """Return the matrix that does in one step what weight and adapter do together."""
    ...

# %% tags=["check"]
check("lora/dog", merge)

# %% [markdown]
# ### 🦁 As good with a quarter (an hour or more)
#
# **Goal:** the field F1 of this notebook's adapter with at most a quarter of its trained parameters and no more training
# tokens: another rank, other targets, another alpha or learning rate, another method. **Input:** your own runs, such as
# `smol run 3/lora --set full_steps=0 --set test_messages=0 --set rank=4 --set seed=1`. Add `--set margin=-1`, so that a
# weak attempt does not stop at the claim. Choose on the dev messages. Then run three seeds of the notebook with
# `full_steps=0` and `test_messages=0` and nothing else changed, and three of yours. `list(events("train")["id"])` holds
# the ids of all training messages. The table at the end of a run has *field f1, after*, *trained parameters* and *train
# tokens*. **Output:** a results dictionary as below. **Judged by:** at least three seeds and 200 test messages, a quarter
# of the parameters, no more tokens, no test message in training, and neither the mean nor the worst of your runs below
# the notebook's. Hints: `hint("lora/lion")`.

# %% tags=["exercise"]
results = {
    "baseline_f1": [],  # one number from 0 to 1 for each seed
    "my_f1": [],
    "test_messages": 0,
    "baseline_parameters": 0,  # trained ones
    "my_parameters": 0,
    "baseline_tokens": 0,  # tokens trained on, in one run
    "my_tokens": 0,
    "train_ids": [],  # the ids of the messages you trained on
}

# %% tags=["check"]
check("lora/lion", results)

# %% [markdown]
# ## Go further
#
# The saving grows with the model. With a GPU and the Hub (start with `SMOL_HUB=1`, or `smol run --hub`), take
# `model_name = "HuggingFaceTB/SmolLM2-1.7B-Instruct"`, `method = "qlora"` and `full_steps = 0`, and give the trainer a public
# conversational data set:
#
# ```python
# from datasets import load_dataset
# train_set = load_dataset("HuggingFaceTB/smoltalk", "everyday-conversations", split="train")
# ```
#
# Leave out `dev_set` then, and watch the training loss: the event measure does not fit these conversations.
