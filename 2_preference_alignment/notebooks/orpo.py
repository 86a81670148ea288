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
# # ORPO: a new skill and a preference, in one training
#
# The organiser writes events, and has never confirmed one. You teach it to, and at the same time to prefer the plain one
# of two confirmations: in one stage, with one model in memory. Then you ask whether plain fine-tuning would have done as well.
#
# What this notebook cost in time and memory when it was last run stands in the table of the module's README.
# The lesson to read first: [orpo.md](../orpo.md).
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/smol-ai/course/blob/main/2_preference_alignment/notebooks/orpo.ipynb)
# In Colab, read the lesson [on GitHub](https://github.com/smol-ai/course/blob/main/2_preference_alignment/orpo.md).

# %% tags=["install"]
# On Colab, install what this notebook needs; anywhere else this does nothing.
import importlib.util
import sys
if importlib.util.find_spec("smol_course") is None:
    print("Installing the course with what this notebook needs: about a minute.")
    needs = '"smol-course @ git+https://github.com/smol-ai/course"'
    get_ipython().system(f"uv pip install -q --python {sys.executable} {needs} || {sys.executable} -m pip install -q {needs}")

# %% [markdown]
# Every number worth changing stands in one cell. `budget` is the one from which the sizes of all methods follow. With
# `learning_rate = 0` nothing is learned, and the claim at the end fails, as it should.

# %% tags=["parameters"]
from smol_course.parameters import number, one_of, whole
model_name: str = "HuggingFaceTB/SmolLM2-135M-Instruct"
seed: whole(0, 2**32 - 1) = 0
method: one_of("orpo", "sft", "sft_dpo") = "orpo"  # or a rival: the chosen answers alone, or SFT and then DPO
budget: whole(1) = 18000  # tokens that go through the model in training, a reference model's included
sequences: whole(2) = 4  # that go through the model together: four answers, or two pairs
learning_rate: number(0, 1) = 1e-3
odds_weight: number(0) = 0.5  # the lambda of the paper, which takes 0.1; TRL calls it beta
sft_share: number(0, 1) = 0.5  # of the budget, for the first stage of "sft_dpo"
dpo_learning_rate: number(0, 1) = 2e-4
dpo_beta: number(0.0001) = 0.1
before_events: whole(1) = 16  # the start gets nothing right, and a few events show it
test_events: whole(1) = 48
test_messages: whole(1) = 24  # of how many messages the event is noted, before and after
dev_events: whole(1) = 20  # each gives two pairs
new_tokens: whole(1, 512) = 48  # the longest answer we wait for
margin: number(-1, 1) = 0.2  # how much larger the share of faultless answers must be after, for the claim to stand

# %% [markdown]
# TRL keeps ORPO among its *experimental* trainers, which may change or go in any release, and warns at each import. We know
# it now, so the first line below turns the warning off. The course pins TRL's version.

# %% tags=["setup"]
import os
os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

# %% tags=["setup"]
import math
from contextlib import contextmanager
import matplotlib.pyplot as plt
import pandas as pd
import torch
from datasets import Dataset
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer
from smol_course.data import SYSTEM_PROMPT, conversation, events, in_like_batches, study_runs
from smol_course.evaluation.confirmations import CONFIRM_PROMPT, confirmation_faults, confirmations
from smol_course.exercises import check, hint
from smol_course.hardware import prepare
from smol_course.metrics import record, score_events, watch, wilson
from smol_course.models import answer, artifact, find_model

# %% tags=["setup"]
here = prepare()
set_seed(seed)
model_path = find_model(model_name)
tokenizer = AutoTokenizer.from_pretrained(model_path)

# %% [markdown]
# ## Pairs
#
# For each event there are three sentences that confirm it. All three are true. `plain` is the one that we *choose*; it is
# compared with a `rambling` or a `flattering` one, which we *reject*. They were written for this course.

# %%
written, dev = confirmations("train").shuffle(seed=seed), confirmations("dev").take(dev_events)
for style in ("plain", "rambling", "flattering"):
    print(f"{style:10} {written[0][style]}")

# %%
def length(row, style):
    """How many tokens the prompt and this answer have, the chat template's included."""
    turns = conversation(CONFIRM_PROMPT, row["event"], row[style])
    return len(tokenizer.apply_chat_template(turns["prompt"] + turns["completion"])["input_ids"])


def pair(row, style):
    """Put one event's chosen and rejected answer into a row, with their lengths."""
    return {"event": row["event"], "chosen": row["plain"], "rejected": row[style],
            "chosen_tokens": length(row, "plain"), "rejected_tokens": length(row, style)}


pairs = [pair(row, ("rambling", "flattering")[i % 2]) for i, row in enumerate(written)]
pd.DataFrame(pairs)[["chosen_tokens", "rejected_tokens"]].mean().round(1)

# %% [markdown]
# ## The same tokens for each method
#
# A method that reads more may learn more. So each gets the same budget of tokens. An answer for SFT costs its own length.
# A pair for ORPO costs both answers. A pair for DPO costs both *twice*: the reference model reads them too.

# %%
COST = {
    "sft": lambda row: row["chosen_tokens"],
    "orpo": lambda row: row["chosen_tokens"] + row["rejected_tokens"],
    "dpo": lambda row: 2 * (row["chosen_tokens"] + row["rejected_tokens"]),
}


def take(kind, tokens):
    """Return rows until their cost reaches so many tokens; from the first again if all are used."""
    taken = []
    while tokens > 0:
        taken.append(pairs[len(taken) % len(pairs)])
        tokens -= COST[kind](taken[-1])
    return taken

# %%
plans = {
    "orpo": {"orpo": budget},
    "sft": {"sft": budget},
    "sft_dpo": {"sft": sft_share * budget, "dpo": (1 - sft_share) * budget},
}
for name, plan in plans.items():
    print(f"{name:8}", {kind: f"{len(take(kind, tokens))} rows" for kind, tokens in plan.items()})

# %% [markdown]
# So ORPO sees fewer events than SFT does. That is part of its price.
#
# ## The model, and before
#
# The start is an *adapter*: a small set of trained numbers that is added to the model, whose own weights stay as they are. This
# one only knows messages and events; module 3 makes it.

# %%
base = AutoModelForCausalLM.from_pretrained(model_path, dtype="float32", attn_implementation=here.attention)
start = artifact("organiser_lora", made_by="3/lora", base=model_path)
policy = PeftModel.from_pretrained(base, start, is_trainable=True)
noted = events("test").filter(lambda row: row["event"] != "null")
test = noted.take(test_events)
test_prompts = [conversation(CONFIRM_PROMPT, event, "")["prompt"] for event in test["event"]]

# %% [markdown]
# Asked to confirm an event of the test split, what does it say? An answer is *faultless* if it states every fact of the
# event, invents no day or time, and is one sentence of at most 25 words. `confirmation_faults` names what is wrong. It
# cannot see flattery.

# %%
def confirm(how_many):
    """Ask for confirmations; return the answers and the faults of each."""
    answers = answer(policy, tokenizer, test_prompts[:how_many], max_new_tokens=new_tokens, bf16=here.bf16)
    return answers, [confirmation_faults(text, event) for text, event in zip(answers, test["event"])]


before_said, before_faults = confirm(before_events)
for text, faults in list(zip(before_said, before_faults))[:3]:
    print(text[:120].replace("\n", " / "), "\n   ", faults)

# %% [markdown]
# And its first job: the event of a message, judged as in module 1. No training row below will ask for it.

# %%
messages = events("test").take(test_messages)


def record_events(when):
    """Ask for the events of test messages; record how many are right."""
    asked = [conversation(SYSTEM_PROMPT, message, "")["prompt"] for message in messages["message"]]
    scores = score_events(answer(policy, tokenizer, asked, max_new_tokens=52, bf16=here.bf16), messages["event"])
    record(f"{when}_event_accuracy", scores.accuracy, scores.low, scores.high, scores.n, seed)


record_events("before")

# %% [markdown]
# ### What it finds likely
#
# A model has a preference without being asked: which of two answers does it find more likely? Long answers multiply more
# probabilities, so we compare the *mean* log-probability of a token. `token_logs` gives one number for each token of the
# completion, its end included.

# %%
def token_logs(model, asked, said):
    """Return the log-probability of each token of the answers to events: a list of (tokens,)."""
    turns = [conversation(CONFIRM_PROMPT, event, text) for event, text in zip(asked, said)]
    whole = [tokenizer.apply_chat_template(t["prompt"] + t["completion"])["input_ids"] for t in turns]
    prompts = [tokenizer.apply_chat_template(t["prompt"], add_generation_prompt=True)["input_ids"] for t in turns]
    answer_logs = []
    for start in range(0, len(whole), 10):
        ids = whole[start:start + 10]
        batch = tokenizer.pad({"input_ids": ids}, padding_side="right", return_tensors="pt").to(model.device)
        with torch.inference_mode():
            logits = model(**batch).logits  # (rows, tokens, vocabulary); position i speaks about token i + 1
        for scores, prompt, row in zip(logits, prompts[start:], ids):
            said_ids = row[len(prompt):]
            logs = scores[len(prompt) - 1:len(row) - 1].float().log_softmax(-1)  # (answer's tokens, vocabulary)
            answer_logs.append(logs[range(len(said_ids)), said_ids].cpu())
    return answer_logs

# %%
def mean_logs():
    """Return, for each style, the mean log-probability per token of each dev answer: (events,)."""
    policy.eval()
    return {style: torch.stack([logs.mean() for logs in token_logs(policy, dev["event"], dev[style])])
            for style in ("plain", "rambling", "flattering")}


def preferred(means):
    """How many dev pairs the model orders as we do, and how many pairs there are."""
    right = sum((means["plain"] > means[style]).sum().item() for style in ("rambling", "flattering"))
    return right, 2 * len(means["plain"])


before_means = mean_logs()
{style: round(means.mean().item(), 2) for style, means in before_means.items()}

# %%
def record_share(name, count, n):
    """Record a share with its interval."""
    record(name, count / n, *wilson(count, n), n=n, seed=seed)


record_share("before_faultless", before_faults.count([]), len(before_faults))
record_share("before_preference_accuracy", *preferred(before_means))
for style, means in before_means.items():
    record(f"before_log_{style}", means.mean().item(), n=len(dev), seed=seed)

# %% [markdown]
# **Stop here and look at the preference accuracy.** Nobody has taught it anything yet. A plain answer repeats the words of the
# event, which stand in the prompt, and so its tokens are easy to predict. A measure that is nearly full before training cannot show
# what training does. So we watch two others: how faultless its own answers are, and the *gap*, by how much a token of plain is
# likelier than one of the other styles.
#
# ## The loss of ORPO, by hand
#
# Take one pair. The trainer makes its batch: prompt and answer in one row, twice.

# %%
log_lines = (  # what ORPO measures, then DPO, then fine-tuning
    "step {step:3d}   loss {loss:6.3f},  NLL of chosen {nll_loss:6.3f},  log odds ratio {log_odds_chosen:6.3f},  "
    "reward margin {rewards/margins:6.3f}",
    "step {step:3d}   loss {loss:6.3f},  reward margin {rewards/margins:6.3f}", "step {step:3d}   loss {loss:6.3f}")

# %%
def settings(rows, per_step, rate):
    """The arguments that all trainers share."""
    steps = math.ceil(len(rows) / per_step)
    return dict(
        output_dir="trainer", max_steps=steps, per_device_train_batch_size=per_step,
        learning_rate=rate, lr_scheduler_type="linear", warmup_steps=0.1,
        train_sampling_strategy="sequential", bf16=here.bf16, use_cpu=here.device == "cpu", optim=here.optimizer,
        activation_checkpointing=False, logging_steps=max(1, steps // 10), save_strategy="no",
        disable_tqdm=True, seed=seed)


def make(trainer, config, rows, **more):
    """Make a trainer for the policy, with our way of watching it."""
    new_trainer = trainer(model=policy, args=config, processing_class=tokenizer, train_dataset=rows, **more)
    watch(new_trainer, *log_lines)
    return new_trainer

# %%
def as_pairs(rows):
    """Rows for ORPO and DPO: a prompt, and two answers to it; batches of like length."""
    rows = in_like_batches(Dataset.from_list(rows), sequences // 2, seed, column="rejected")
    completions = {part: [[{"role": "assistant", "content": text}] for text in rows[part]]
                   for part in ("chosen", "rejected")}
    return Dataset.from_dict(
        {"prompt": [conversation(CONFIRM_PROMPT, event, "")["prompt"] for event in rows["event"]]} | completions)


def make_orpo(tokens):
    """The trainer of this notebook."""
    rows = as_pairs(take("orpo", tokens))
    config = ORPOConfig(beta=odds_weight, max_length=256, remove_unused_columns=False,
                        **settings(rows, sequences // 2, learning_rate))
    return make(ORPOTrainer, config, rows)

# %%
orpo = make_orpo(budget)
pair_batch = orpo.data_collator([orpo.train_dataset[0]])
for side in ("chosen", "rejected"):
    ids, labels = pair_batch[f"{side}_input_ids"][0], pair_batch[f"{side}_labels"][0]
    print(f"{side}: {len(ids)} tokens, {(labels != -100).sum()} of them the answer:", repr(tokenizer.decode(ids[labels != -100])))

# %% [markdown]
# TRL appends one more `<|im_end|>` to the line break that ends the turn. It does no harm.
#
# First: the probabilities that the model gives to the tokens that really come, and their mean logarithm over the answer.

# %%
policy.eval()
logs, answered = {}, {}
for side in ("chosen", "rejected"):
    ids = pair_batch[f"{side}_input_ids"].to(policy.device)
    logits = policy(input_ids=ids).logits[0, :-1]  # (tokens - 1, vocabulary)
    logs[side] = logits.log_softmax(-1)[range(len(logits)), ids[0, 1:]]  # (tokens - 1,), the prompt's too
    answered[side] = logs[side][pair_batch[f"{side}_labels"][0, 1:] != -100].mean()
{side: f"mean log {mean.item():.3f}, so p = {mean.exp().item():.3f}" for side, mean in answered.items()}

# %% [markdown]
# `p` is the probability of a typical token (their geometric mean). Its **odds** are p / (1 − p): how much more likely it is to
# come than not to come. The **odds ratio** compares the two answers, and the loss wants it large.

# %%
odds = {side: mean.exp() / (1 - mean.exp()) for side, mean in answered.items()}
log_ratio = (odds["chosen"] / odds["rejected"]).log()
term = -torch.nn.functional.logsigmoid(log_ratio)
print(f"odds {odds['chosen']:.3f} and {odds['rejected']:.3f}, their ratio {log_ratio.exp():.3f}, its logarithm {log_ratio:.3f}")
print(f"the odds-ratio term, -log sigmoid of that: {term:.3f}")

# %% [markdown]
# The other half of the loss is SFT's: the mean negative log-likelihood (NLL) of the chosen row. Look out: TRL's ORPO counts
# the **prompt's tokens too**, which `SFTTrainer` leaves out. So part of the training goes into writing events.

# %%
nll = -logs["chosen"].mean()
by_hand = {"loss": nll + odds_weight * term, "nll_loss": nll, "log_odds_chosen": log_ratio, "log_odds_ratio": -term}
loss, metrics = orpo.get_batch_loss_metrics(policy, pair_batch)
table = pd.DataFrame({"by hand": {name: value.item() for name, value in by_hand.items()},
                      "trainer": {name: metrics.get(name, loss.item()) for name in by_hand}})
assert (table["by hand"] - table["trainer"]).abs().max() < 1e-3
table

# %% [markdown]
# They agree. Beware of one name: what the trainer logs as `log_odds_ratio` is the log *sigmoid* of the log odds ratio; the
# ratio itself is `log_odds_chosen`.
#
# How much does each half change the model? The length of its gradient tells. `odds_weight` multiplies the second. The better a pair
# is ordered already, the shorter the gradient of its odds-ratio term: by the factor 1 / (1 + odds ratio).

# %%
weights = [weight for weight in policy.parameters() if weight.requires_grad]


def pull(loss):
    """Return the length of a loss's gradient."""
    parts = torch.autograd.grad(loss, weights, retain_graph=True)
    return sum(part.square().sum() for part in parts).sqrt().item()


pulls = {"NLL": pull(nll), "odds-ratio term": pull(term)}
print({name: round(size, 2) for name, size in pulls.items()})
record("odds_weight", odds_weight, seed=seed)
record("odds_pull", pulls["odds-ratio term"] / pulls["NLL"], n=1, seed=seed)

# %%
for side, mean in answered.items():
    for name, value in {"log": mean, "p": mean.exp(), "odds": odds[side]}.items():
        record(f"pair_{name}_{side}", value.item(), n=1, seed=seed)
for name, value in {"log_ratio": log_ratio, "term": term, "nll": nll}.items():
    record(f"pair_{name}", value.item(), n=1, seed=seed)

# %%
# They keep the activations of two passes.
loss = nll = term = log_ratio = odds = logs = answered = by_hand = logits = None

# %% [markdown]
# ## Training, counted and watched
#
# The counter is a hook where the model's layers begin. It counts the real tokens of every batch that enters, whoever sends it.

# %%
@contextmanager
def counting():
    """Count the tokens (padding left out) that go through the model's layers meanwhile."""
    meter = {"tokens": 0, "seconds": 0.0}

    def count(module, args, named):
        mask = named.get("attention_mask")
        meter["tokens"] += named["input_ids"].numel() if mask is None else int(mask.sum())

    hook = base.model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield meter
    finally:
        hook.remove()

# %%
def make_sft(tokens):
    """The rival, and the first stage of the other: the chosen answers alone, their prompts not scored."""
    rows = in_like_batches(Dataset.from_list(take("sft", tokens)), sequences, seed, column="event")
    rows = rows.map(lambda row: conversation(CONFIRM_PROMPT, row["event"], row["chosen"]), remove_columns=rows.column_names)
    return make(SFTTrainer, SFTConfig(**settings(rows, sequences, learning_rate)), rows)


def make_dpo(tokens):
    """The second stage: DPO on pairs, its reference a frozen copy of the adapter as it is now."""
    rows = as_pairs(take("dpo", tokens))
    return make(DPOTrainer, DPOConfig(beta=dpo_beta, **settings(rows, sequences // 2, dpo_learning_rate)), rows)

# %%
makers = {"orpo": make_orpo, "sft": make_sft, "dpo": make_dpo}
history = []
with counting() as meter:
    for kind, tokens in plans[method].items():
        trainer = makers[kind](tokens)
        meter["seconds"] += trainer.train().metrics["train_runtime"]
        history += [{"stage": kind} | entry for entry in trainer.state.log_history if "loss" in entry]
for name, value in meter.items():
    record(f"train_{name}", value, seed=seed)

# %% [markdown]
# For ORPO: does the likelihood of the chosen answer rise, and what becomes of the rejected one's? Both say the same facts to the
# same prompt, so what helps one may help the other. The odds-ratio term pulls them apart.

# %%
watched = pd.DataFrame([entry for entry in history if entry["stage"] == "orpo"]).astype(float, errors="ignore")
if len(watched):
    fig, ax = plt.subplots(figsize=(6, 3))
    ax.plot(watched["step"], watched["logps/chosen"], "o-", color="#0072B2", label="chosen")
    ax.plot(watched["step"], watched["logps/rejected"], "s--", color="#D55E00", label="rejected")
    ax.set(xlabel="step", ylabel="mean log-probability of a token", title="The training pairs, as ORPO sees them")
    ax.legend()
    fig.tight_layout()

# %% [markdown]
# ## After
#
# First the preference, on the dev pairs, which were not trained on.

# %%
after_means = mean_logs()
record_share("after_preference_accuracy", *preferred(after_means))
for style, means in after_means.items():
    record(f"after_log_{style}", means.mean().item(), n=len(dev), seed=seed)

# %%
fig, ax = plt.subplots(figsize=(6, 2.8))
for shift, (label, means, colour) in enumerate((("before", before_means, "#888888"), ("after", after_means, "#0072B2"))):
    ax.barh([place + 0.2 - 0.4 * shift for place in range(3)], [means[s].mean() for s in means], 0.38, color=colour, label=label)
ax.set_yticks(range(3), list(after_means))
ax.set(xlabel="mean log-probability of a token, dev answers (0: certain)", title="How likely each style is")
ax.legend()
fig.tight_layout()

# %% [markdown]
# Then what it says, about events of the test split.

# %%
after_said, after_faults = confirm(len(test))
record_share("after_faultless", after_faults.count([]), len(after_faults))
record("after_words", sum(len(text.split()) for text in after_said) / len(after_said), n=len(after_said), seed=seed)
for event, text, faults in list(zip(test["event"], after_said, after_faults))[:4]:
    print(event, "\n  ", text, faults or "")

# %%
pd.Series([fault for faults in after_faults for fault in faults], dtype=str).value_counts().to_frame("answers")

# %% [markdown]
# And the first job, on the same messages as before. Nothing in the training asked for it, so see what is left of it:

# %%
record_events("after")

# %% [markdown]
# **The claim of this notebook**, checked by the notebook itself:

# %%
shares = [faults.count([]) / len(faults) for faults in (before_faults, after_faults)]
assert shares[1] >= shares[0] + margin, f"{method} did not help: {shares[0]:.0%} faultless before, {shares[1]:.0%} after"
print(f"✅ {shares[1] - shares[0]:+.0%} faultless confirmations, {margin:.0%} asked for")

# %% [markdown]
# ## What the mean hides: length
#
# ORPO compares the *mean* over an answer's tokens. What if the rejected answer has no other fault than its length? Take each
# plain dev sentence, and the same sentence said twice.

# %%
once, twice = (token_logs(policy, dev["event"], [" ".join([text] * times) for text in dev["plain"]]) for times in (1, 2))
for name, score in {"mean": torch.mean, "sum": torch.sum}.items():
    record_share(f"once_preferred_by_{name}", sum(int(score(a) > score(b)) for a, b in zip(once, twice)), len(dev))

# %% [markdown]
# Every token lowers the sum, so the sum leans to the shorter text, taught or not. The mean has no such bias. A repeated sentence is
# easy to predict once the copying has begun, and that *raises* the mean; the step into the copy, where the model wanted to stop,
# lowers it. Which wins depends on the model. So if length is what you want to teach, look at both numbers. And a preference
# accuracy by the mean does not say that answers got shorter: the words were counted apart.

# %% [markdown]
# ## What to believe
#
# The claim compares with a start that had never seen the task, so any training on good answers should pass it. The fair question is
# whether ORPO does better than its rivals **with the same tokens**. The study of this notebook (`smol study 2/orpo`) ran them, ORPO
# on three seeds.

# %% tags=["study"]
study = study_runs("orpo")
numbers = {run: entry["results"] for run, entry in study.items() if not entry.get("failed")}
shown = ["train_tokens", "train_seconds", "after_preference_accuracy", "after_faultless", "after_words", "after_event_accuracy"]
print("learning_rate_0:", study["learning_rate_0"]["failed"])
pd.DataFrame({run: {name: run_numbers[name]["value"] for name in shown}
              for run, run_numbers in numbers.items()}).T.round(2)

# %% tags=["study"]
fig, ax = plt.subplots(figsize=(6, 3))
for style, colour, mark in (("plain", "#0072B2", "o"), ("rambling", "#D55E00", "s"), ("flattering", "#009E73", "^")):
    logs = [run_numbers[f"after_log_{style}"]["value"] for run_numbers in numbers.values()]
    ax.plot(logs, range(len(logs)), mark, color=colour, label=style)
ax.set_yticks(range(len(numbers)), list(numbers))
ax.invert_yaxis()
ax.set(xlabel="mean log-probability of a token, dev answers (0: certain)", title="The gap between the styles, after each training")
ax.legend(fontsize=8)
fig.tight_layout()

# %% tags=["study"]
orpos, gap = [run for run in numbers if run.startswith("seed_")], {}
for run, run_numbers in numbers.items():
    faultless = run_numbers["after_faultless"]
    others = [run_numbers[f"after_log_{style}"]["value"] for style in ("rambling", "flattering")]
    gap[run] = run_numbers["after_log_plain"]["value"] - sum(others) / 2
    print(f"{run:8} faultless {faultless['value']:4.0%} "
          f"({faultless['low']:.0%} to {faultless['high']:.0%}, n = {faultless['n']}), gap {gap[run]:.2f}")
for measure, value in {"gap": gap, "faultless": {
        run: run_numbers["after_faultless"]["value"] for run, run_numbers in numbers.items()}}.items():
    better = sum(value[run] > value["sft"] for run in orpos)
    print(f"ORPO's {measure} is above that of SFT alone in {better} of {len(orpos)} runs")

# %% [markdown]
# Read both lines: a larger gap is what the odds-ratio term is made for; faultless answers are what we wanted. They need not go
# together. More than half of ORPO's tokens are read in rejected answers, and SFT spends them on more good ones. Where the start
# already tells the styles apart, as here, that is a poor bargain: in the recorded runs SFT alone has more faultless answers than
# ORPO with any seed. And look at the faults that remain: no pair is about wrong facts, as the rejected answers are all true. Each
# rival ran once, so a small difference is no finding. `odds_weight` and the rates were set once, by a few trials, and not tuned for
# any of the methods. Not measured here: how people like the answers.
#
# ## Exercises
#
# ### 🐢 The odds-ratio term (5 minutes)
#
# **Goal:** write the term that was computed above, from two probabilities. **Input:** `p_chosen` and `p_rejected`, each between 0
# and 1. **Output:** the term, a float: -log sigmoid(log odds ratio), without its weight. **Example:** 0.5 and 0.2 have odds 1 and
# 0.25; their ratio is 4, and the term 0.223. **Judged by:** five pairs. Stuck? `hint("orpo/turtle")`.

# %% tags=["exercise"]
def odds_ratio_term(p_chosen, p_rejected):
    """Return -log sigmoid(log(odds of chosen / odds of rejected))."""
    ...

# %% tags=["check"]
check("orpo/turtle", odds_ratio_term)

# %% [markdown]
# ### 🐕 A log odds ratio that holds (20 minutes)
#
# **Goal:** the logarithm of the odds ratio from mean log-probabilities, right for every pair of them. **Input:** `log_chosen` and
# `log_rejected`, floats below 0, from -2000 (the probability is 0 as a float) to -1e-18 (it is 1 as a float). **Output:** the log
# odds ratio, a float. **How:** log(p / (1 - p)) = log p - log(1 - p). The first is given; the second is `log1mexp(x)` =
# log(1 - exp(x)), which loses all digits when exp(x) is close to 1, and some when it is close to 0. `math.expm1(x)` is exp(x) - 1
# without that loss near 0, and `math.log1p(x)` is log(1 + x). **Judged by:** pairs from tame to extreme, to 9 digits.
# Hints: `hint("orpo/dog")`.

# %% tags=["exercise"]
def log_odds_ratio(log_chosen, log_rejected):
    """Return log(odds of chosen / odds of rejected) from the logarithms of the two probabilities."""
    ...

# %% tags=["check"]
check("orpo/dog", log_odds_ratio)

# %% [markdown]
# ## Go further
#
# On a public set of pairs, with a GPU and the Hub (start with `SMOL_HUB=1`, or `smol run --hub`): take
# `model_name = "HuggingFaceTB/SmolLM2-360M"`, a base model, for ORPO was made to be the first training that a base model gets.
# Its rows have `chosen` and `rejected` conversations, from which the trainer takes the prompt itself:
#
# ```python
# from datasets import load_dataset
# rows = load_dataset("trl-lib/ultrafeedback_binarized", split="train")
# ```
#
# Next in the course: [human feedback](../human_feedback.md), where people give the verdicts.
