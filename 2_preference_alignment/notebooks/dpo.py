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
# # DPO: teach a model which of two answers is preferred
#
# You let a fine-tuned model write several confirmations of each event, rank them by rules that you can read, and train on
# the pairs. Then you measure what became better, and what became worse.
#
# What this notebook cost in time and memory when it was last run stands in the table of the module's README.
# The lesson to read first: [dpo.md](../dpo.md).
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/smol-ai/course/blob/main/2_preference_alignment/notebooks/dpo.ipynb)
# In Colab, read the lesson [on GitHub](https://github.com/smol-ai/course/blob/main/2_preference_alignment/dpo.md).

# %% tags=["install"]
# On Colab, install what this notebook needs; anywhere else this does nothing.
import importlib.util
import sys
if importlib.util.find_spec("smol_course") is None:
    print("Installing the course with what this notebook needs: about a minute.")
    needs = '"smol-course @ git+https://github.com/smol-ai/course"'
    get_ipython().system(f"uv pip install -q --python {sys.executable} {needs} || {sys.executable} -m pip install -q {needs}")

# %% [markdown]
# Every number worth changing stands in one cell. With `shuffle_preferences = True` a coin decides which answer of a pair is
# called the better one. Then there is nothing to learn, and the claim at the end fails, as it should.

# %% tags=["setup"]
from smol_course.parameters import number, one_of, whole

# %% tags=["parameters"]
model_name: str = "HuggingFaceTB/SmolLM2-135M-Instruct"
seed: whole(0, 2**32 - 1) = 0
train_events: whole(1) = 44  # events to write confirmations for
samples: whole(2) = 3  # confirmations of each
new_tokens: whole(1, 512) = 40  # the longest confirmation that we wait for; a rambling one is cut off there
most_extra: whole(0) = 10  # words beyond the facts: up to so many, a confirmation is brief
tie_words: whole(0) = 4  # fewer words apart than this: as brief as each other
pair_choice: one_of("extremes", "like_length") = "extremes"  # best against worst, or the two closest in length
shuffle_preferences: bool = False  # True: the control
beta: number(0.0001) = 0.1  # how costly it is to move away from the start
loss_type: one_of("sigmoid", "hinge", "ipo", "sigmoid_norm", "apo_zero") = "sigmoid"  # DPO's own; the others are TRL's
ld_alpha: number(0, 1, or_none=True) = None  # how much the longer answer's extra tokens count; None: fully
learning_rate: number(0, 1) = 7e-4
steps: whole(1) = 10  # at most; there is one pass over the pairs, no more
batch_size: whole(1) = 4  # pairs
dev_events: whole(1) = 16
test_events: whole(1) = 40
test_messages: whole(1) = 20
keep_as: str = "organiser_aligned"  # the name under which the adapter is saved
margin: number(-1, 1) = 0.05  # how much larger the share of liked confirmations must be, for the claim to stand

# %% tags=["setup"]
import json
import math
import random
from pathlib import Path
import matplotlib.pyplot as plt
import pandas as pd
import torch
from datasets import Dataset
from peft import PeftModel
from torch.nn.functional import logsigmoid
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback, set_seed
from trl import DPOConfig, DPOTrainer
from smol_course.data import SYSTEM_PROMPT, conversation, events, study_runs
from smol_course.evaluation.confirmations import CONFIRM_PROMPT, confirmation_faults, confirmations
from smol_course.exercises import check, hint
from smol_course.hardware import prepare
from smol_course.metrics import WEEKDAYS, record, score_events, watch, wilson
from smol_course.models import answer, artifact, find_model, save_artifact

# %% tags=["setup"]
here = prepare()
set_seed(seed)
model_path = find_model(model_name)
tokenizer = AutoTokenizer.from_pretrained(model_path)

# %% [markdown]
# ## The model to start from
#
# It is an *adapter* (a LoRA one; module 3 explains it): a small set of trained numbers that is added to the model, whose own
# weights stay as they are. It was fine-tuned on two jobs: it writes events as JSON, and it confirms an event in words. For the
# second job it was shown three styles, as often each: plain, rambling and flattering. All three are true. Nobody has rated them:
# below, rules say which answer is the better one.

# %%
base = AutoModelForCausalLM.from_pretrained(model_path, dtype="float32", attn_implementation=here.attention)
start = artifact("organiser_sft", made_by="recipes/ship.py", base=model_path)
policy = PeftModel.from_pretrained(base, start, is_trainable=True)

# %%
shown = confirmations("train")[0]
print(shown["event"])
for style in ("plain", "rambling", "flattering"):
    print(f"\n{style}: {shown[style]}")

# %% [markdown]
# The model writes its own confirmations at **temperature 1**: each token is drawn with the probability that the model gives
# it. So the answers show all that the model may say, not only its first choice. And they are answers that *this* model
# writes, so what is learned from them is about this model.

# %%
def prompt_of(event):
    """What the model reads when it is to confirm an event."""
    return conversation(CONFIRM_PROMPT, event, "")["prompt"]


def confirm(some_events):
    """Let the policy confirm events, at temperature 1."""
    return answer(policy, tokenizer, [prompt_of(event) for event in some_events], max_new_tokens=new_tokens,
                  batch_size=72, temperature=1.0)


train = confirmations("train").shuffle(seed=seed).take(train_events)
replies = confirm([event for event in train["event"] for _ in range(samples)])
answers = [replies[start:start + samples] for start in range(0, len(replies), samples)]

# %% [markdown]
# ## Which is better? The rules
#
# 1. **Truth first.** Fewer facts that are missing, wrong or invented is better. `confirmation_faults` counts them.
# 2. **Then brevity.** Fewer words *beyond those of the facts* is better. Flattery and rambling both need such words.
# 3. **Otherwise no preference**, and the pair is dropped. So is one in which the rules disagree: the truer answer has clearly more words.
#
# The second rule counts beyond the facts, because an event with three people needs more words than one with none. The third is
# there because DPO cannot be told "truth first": a pair of a long truth and a short lie teaches length as well. The study has a run
# that asks for the truth only (`tie_words = 99`, so no number of words counts).

# %%
FORM = {"too long", "more than one sentence"}  # faults of length: the second rule judges that
MISSING = {f"no {fact}" for fact in ("title", "day", "start", "place", "people")}


def extra_words(text, event):
    """How many words a confirmation has beyond those of the facts."""
    event = json.loads(event)
    facts = [event["title"], event["day"], event["start"], event["place"], *event["people"]]
    return len(text.split()) - sum(len(fact.split()) for fact in facts if fact)


def badness(text, event):
    """What the rules compare: false or missing facts, then words beyond the facts."""
    return len(set(confirmation_faults(text, event)) - FORM), extra_words(text, event)


def clear(good, bad):
    """Whether the first of two badnesses is better by the rules, and no rule speaks against it."""
    fewer_words = bad[1] - good[1]
    return fewer_words >= tie_words if good[0] == bad[0] else good[0] < bad[0] and fewer_words > -tie_words

# %% [markdown]
# Three events with what the model said. The two numbers are the badness. Do you agree with the order?

# %%
for event, texts in list(zip(train["event"], answers))[:3]:
    print(event)
    for text in sorted(texts, key=lambda text: badness(text, event)):
        print("  ", badness(text, event), text.replace("\n", " / "))

# %% [markdown]
# You may well disagree somewhere. These rules do not notice tone: a short insult passes. They take a missing place and a wrong day
# as equally bad, though a wrong day costs you the evening. They are one person's choice, written down. So whatever the model learns
# is *these rules*, not "what people want".
#
# ## Pairs
#
# Of each event's answers, one pair: the best against the worst.
#
# One thing about these pairs is not quite true. An answer that was cut off gets an end token from the chat template, one that the
# model never wrote. Such an answer is long, so it is nearly always the rejected one, and "stop here" is pushed down with the rest
# of it.

# %%
def pair_of(event, texts):
    """Return (chosen, rejected), or None if there is no preference."""
    ranked = sorted(dict.fromkeys(texts), key=lambda text: badness(text, event))
    pairs = [(good, bad) for at, good in enumerate(ranked) for bad in ranked[at + 1:]]
    pairs = [pair for pair in pairs if clear(*(badness(text, event) for text in pair))]
    if not pairs:
        return None
    if pair_choice == "like_length":
        return min(pairs, key=lambda pair: abs(len(pair[0].split()) - len(pair[1].split())))
    return max(pairs, key=lambda pair: (ranked.index(pair[1]) - ranked.index(pair[0])))


event_pairs = [(event, pair_of(event, texts)) for event, texts in zip(train["event"], answers)]
pairs = [(event, *pair) for event, pair in event_pairs if pair]
print(f"{len(pairs)} pairs, {len(event_pairs) - len(pairs)} events without a preference")
if shuffle_preferences:
    coin = random.Random(seed)
    pairs = [(event, *coin.sample([good, bad], 2)) for event, good, bad in pairs]

# %%
def row_of(event, good, bad):
    """A pair as TRL's trainer wants it."""
    return {"prompt": prompt_of(event), "chosen": [{"role": "assistant", "content": good}],
            "rejected": [{"role": "assistant", "content": bad}]}


rows = [row_of(*pair) for pair in pairs]
rows[0]

# %% [markdown]
# **A look at the length**, before anything is trained. A loss cannot tell "true" from "short" if the same answers are both.

# %%
lengths = pd.DataFrame([(len(good.split()), len(bad.split())) for _, good, bad in pairs], columns=["chosen", "rejected"])
shorter = (lengths["chosen"] < lengths["rejected"]).sum()
record("chosen_is_shorter", shorter / len(pairs), *wilson(int(shorter), len(pairs)), n=len(pairs), seed=seed)
same_faults = sum(badness(good, event)[0] == badness(bad, event)[0] for event, good, bad in pairs)
print(f"words: {lengths.mean().round(1).to_dict()}; in {same_faults} of {len(pairs)} pairs only the length differs")

# %% [markdown]
# ## Before
#
# Held-out events from the test split, confirmed once each at temperature 1. A confirmation is **liked** here if it has no
# fault at all and at most `most_extra` words beyond the facts. (No plain confirmation of the training data has more than that;
# every flattering one has.) Greedy answers would show only the model's first choice.

# %%
test = [event for event in events("test")["event"] if event != "null"]
test = test[:test_events]


def look_at(texts, asked_about):
    """Measure confirmations of these events."""
    faults = [confirmation_faults(text, event) for text, event in zip(texts, asked_about)]
    brief = [extra_words(text, event) <= most_extra for text, event in zip(texts, asked_about)]
    return pd.DataFrame({
        "liked": [b and not f for b, f in zip(brief, faults)], "brief": brief,
        "words": [len(text.split()) for text in texts],
        "facts_missing": [len(MISSING & set(text_faults)) for text_faults in faults],
        "facts_false": [sum(fault.startswith(("wrong", "invented")) for fault in text_faults)
                        for text_faults in faults]})

# %%
set_seed(seed + 100)
before_said = confirm(test)
before = look_at(before_said, test)
before.mean().round(2)

# %% [markdown]
# The other job, from message to event, must not suffer. Here greedy answers count, as in module 1.

# %%
messages = events("test").take(test_messages)
asked = [conversation(SYSTEM_PROMPT, message, "")["prompt"] for message in messages["message"]]
before_events = score_events(answer(policy, tokenizer, asked, max_new_tokens=52, bf16=here.bf16), messages["event"])
print(before_events)

# %% [markdown]
# ## Log-probabilities
#
# DPO asks the model one thing only: how likely is this answer? Its log-probability is the sum of its tokens' log-probabilities, the
# end token included. The position *before* a token is the one that predicts it.

# %%
def token_ids(prompt, text):
    """Token ids of a prompt, and of the answer with its end token."""
    whole = prompt + [{"role": "assistant", "content": text}]
    asked = tokenizer.apply_chat_template(prompt, add_generation_prompt=True)["input_ids"]
    return asked, tokenizer.apply_chat_template(whole)["input_ids"][len(asked):]


# %%
@torch.no_grad()
def token_logs(event_texts, batch=8):
    """Log-probability (nats) of each token of each answer, for (event, text) pairs: tensors (tokens,)."""
    answer_logs, training = [], policy.training
    model = policy.eval().get_base_model()
    for start in range(0, len(event_texts), batch):
        ids = [token_ids(prompt_of(event), text) for event, text in event_texts[start:start + batch]]
        padded = tokenizer.pad({"input_ids": [a + b for a, b in ids]}, padding_side="right", return_tensors="pt")
        states = model.model(**padded.to(policy.device)).last_hidden_state  # (rows, tokens, width)
        for row, (prompt_ids, answer_ids) in zip(states, ids):
            logs = model.lm_head(row[len(prompt_ids) - 1:len(prompt_ids) + len(answer_ids) - 1]).float().log_softmax(-1)
            answer_logs.append(logs.cpu()[torch.arange(len(answer_ids)), torch.tensor(answer_ids)])
    policy.train(training)
    return answer_logs

# %%
event, good, bad = pairs[0]
for text, logs in zip((good, bad), token_logs([(event, good), (event, bad)])):
    print(f"{logs.sum():7.1f} nats, {len(logs)} tokens, {logs.mean():.2f} each: {text}")

# %% [markdown]
# Every token takes something off the sum, so long answers tend to have lower ones. An odd word takes off more than many expected
# ones. So the bare likelihood already favours what is short and usual, whether it is right or not. DPO does not use it alone, but
# compares it with that of a *reference*.
#
# ## Held-out preferences
#
# From the dev split, written for this course and not by our model: the plain confirmation against three others of the
# same event. The third is the plain one with its day or its time changed. It has as many words, so brevity cannot help there.

# %%
def false_twin(text, event):
    """The confirmation with another day or another hour, else None."""
    day, start = json.loads(event)["day"], json.loads(event)["start"]
    if day and day.title() in text:
        return text.replace(day.title(), WEEKDAYS[(WEEKDAYS.index(day) + 2) % 7].title())
    if start and start in text:
        return text.replace(start, f"{(int(start[:2]) + 3) % 24:02d}{start[2:]}")
    return None


dev = confirmations("dev")
dev = dev.add_column("false", [false_twin(row["plain"], row["event"]) for row in dev])
dev = dev.filter(lambda row: row["false"] is not None).take(dev_events)
assert all(confirmation_faults(row["false"], row["event"]) for row in dev)
print(dev[0]["plain"], "\n" + dev[0]["false"])

# %%
KINDS = ("plain", "rambling", "flattering", "false")
dev_texts = [(row["event"], row[kind]) for kind in KINDS for row in dev]


def dev_sums():
    """Log-probability of every dev answer: a column for each kind."""
    sums = torch.stack([logs.sum() for logs in token_logs(dev_texts)]).view(len(KINDS), -1)
    return pd.DataFrame(sums.T.numpy(), columns=KINDS)


dev_start = dev_sums()
dev_start.mean().round(1)

# %% [markdown]
# ## The trainer
#
# TRL's `DPOTrainer` sees that the model already has an adapter. It makes a frozen copy of it, named `ref`: the reference. (Were
# the adapter new, the bare model would be the reference, and the policy would start somewhere else.)

# %%
config = DPOConfig(
    output_dir="trainer",
    beta=beta, loss_type=[loss_type], ld_alpha=ld_alpha,
    max_steps=min(steps, math.ceil(len(rows) / batch_size)),
    per_device_train_batch_size=batch_size, per_device_eval_batch_size=batch_size,
    learning_rate=learning_rate, lr_scheduler_type="linear", warmup_steps=0.1,
    train_sampling_strategy="sequential",  # the events were shuffled above
    bf16=False,  # a reward is a small difference of large numbers, and 16 bits would round it away
    use_cpu=here.device == "cpu", optim=here.optimizer,
    activation_checkpointing=False,
    logging_steps=1, save_strategy="no", disable_tqdm=True, seed=seed,
)
if "ref" in policy.peft_config:  # from an earlier run of this cell
    policy.delete_adapter("ref")
trainer = DPOTrainer(model=policy, args=config, processing_class=tokenizer, train_dataset=Dataset.from_list(rows))
print("adapters:", list(policy.peft_config))

# %% [markdown]
# ### One pair by hand
#
# A pair that is not trained on. Two answers, two models: four log-probabilities. The **implicit reward** of an answer is `beta`
# times the difference of two of them: under the policy minus under the reference. The **margin** is the chosen answer's reward minus the rejected one's, and the loss
# is minus the logarithm of its sigmoid.

# %%
def under(adapter, event_texts):
    """Log-probabilities of the answers' tokens with that adapter switched on."""
    policy.set_adapter(adapter)
    logs = token_logs(event_texts)
    policy.set_adapter("default")  # and only this one is trained
    return logs


def by_hand(event, good, bad):
    """Rewards, margin and loss of one pair."""
    texts = [(event, good), (event, bad)]
    chosen, rejected = [beta * (ours.sum() - start.sum())
                        for ours, start in zip(under("default", texts), under("ref", texts))]
    return {"rewards/chosen": chosen, "rewards/rejected": rejected, "rewards/margins": chosen - rejected,
            "loss": -logsigmoid(chosen - rejected)}

# %%
def compare_with_trl():
    """Print and compare what we and TRL's trainer find for the pair."""
    ours, theirs = by_hand(*held_pair), trainer.evaluate(Dataset.from_list([row_of(*held_pair)]))
    for name, value in ours.items():
        print(f"{name:17} by hand {value.item():9.5f}   TRL {float(theirs['eval_' + name]):9.5f}")
        if (loss_type, ld_alpha) == ("sigmoid", None):  # what by_hand computes
            assert abs(value.item() - float(theirs["eval_" + name])) < 1e-3, name
    return ours


held_pair = (dev[0]["event"], dev[0]["plain"], dev[0]["flattering"])
_ = compare_with_trl()

# %% [markdown]
# Before the first step, policy and reference are the same. Both rewards are 0, and the loss is log 2 = 0.693: the loss of
# tossing a coin. After training we compare again.
#
# ## Training, watched
#
# What to watch: `chosen` and `rejected` are the rewards, `margins` is the distance between them, `accuracies` is the share of pairs
# whose margin is above 0. The **KL** says how far the policy has moved from the reference. To estimate it, let the *policy* write
# answers, and average log-probability under the policy minus under the reference. It is an average over few answers, each of which
# is cut at `new_tokens`.

# %%
def kl_of(event_texts):
    """Estimate the KL (nats per answer) from answers that the policy wrote; return (mean, standard error)."""
    both = zip(under("default", event_texts), under("ref", event_texts))
    # The last token is the template's line break, which no one draws; a cut answer has no end token either.
    ratios = torch.stack([(ours - start)[:-1][:new_tokens].sum() for ours, start in both])
    return ratios.mean().item(), ratios.std().item() / len(ratios) ** 0.5


class HalfWay(TrainerCallback):
    """Half way, estimate the KL."""

    def on_step_end(self, args, state, control, **_):
        if state.global_step == max(1, state.max_steps // 2):
            events_now = dev["event"][:8]
            kl, error = kl_of(list(zip(events_now, confirm(events_now))))
            print(f"         KL {kl:.1f} nats (standard error {error:.1f}, n = 8)")

# %%
watch(trainer, "step {step:2d}  loss {loss:.3f}  chosen {rewards/chosen:6.2f}  rejected {rewards/rejected:6.2f}  "
               "margins {rewards/margins:6.2f}  accuracies {rewards/accuracies:6.2f}")
trainer.remove_callback(HalfWay)
trainer.add_callback(HalfWay())
result = trainer.train()
record("pairs_seen", round(trainer.state.epoch * len(rows)), seed=seed)
print(f"{result.metrics['train_runtime']:.0f} seconds")

# %%
log = pd.DataFrame([entry for entry in trainer.state.log_history if "rewards/chosen" in entry]).astype(float)
fig, ax = plt.subplots(figsize=(6, 3.2))
ax.axhline(0, color="#888888", linewidth=1)
ax.plot(log["step"], log["rewards/chosen"] / beta, "o-", color="#0072B2", label="chosen")
ax.plot(log["step"], log["rewards/rejected"] / beta, "s--", color="#D55E00", label="rejected")
ax.set(xlabel="step", ylabel="change of log-probability (nats)", title="Does the chosen answer become likelier?")
ax.legend()
fig.tight_layout()

# %% [markdown]
# **The failure that everyone meets.** The loss rewards the *distance* between the two lines, not the height of either. If both fall
# and the rejected one falls faster, the loss falls as well. Where the blue line is below 0, the chosen answers became less likely
# than they were at the start. Then the probability has gone to answers that are in neither column.
#
# Each point is another few pairs, and none of them was trained on before its point, because there is only one pass.
# So these curves are about new pairs. In a second pass they would jump: the pairs are known by heart then.

# %%
last = log.tail(max(1, len(log) // 4))
for name in ("chosen", "rejected", "margins", "accuracies"):
    record(f"last_rewards_{name}", last[f"rewards/{name}"].mean(), n=len(last) * batch_size, seed=seed)
record("chosen_change_nats", last["rewards/chosen"].mean() / beta, n=len(last) * batch_size, seed=seed)

# %% [markdown]
# The same pair by hand again, now that the two models differ:

# %%
for name, value in compare_with_trl().items():
    record(f"pair_{name.replace('rewards/', '')}", value, seed=seed)

# %% [markdown]
# ## After: the confirmations

# %%
set_seed(seed + 100)
after_said = confirm(test)
after = look_at(after_said, test)
for when, table in {"before": before, "after": after}.items():
    liked = int(table["liked"].sum())
    record(f"{when}_liked", liked / len(table), *wilson(liked, len(table)), n=len(table), seed=seed)
    for name in ("brief", "words", "facts_missing", "facts_false"):
        record(f"{when}_{name}", table[name].mean(), n=len(table), seed=seed)

# %%
for event, old, new in list(zip(test, before_said, after_said))[:5]:
    print(event, "\n   before:", old.replace("\n", " / "), "\n   after: ", new.replace("\n", " / "))

# %%
fig, ax = plt.subplots(figsize=(6, 3.2))
bins = range(0, 45, 3)
ax.hist(before["words"], bins=bins, color="#888888", alpha=0.6, label="before")
ax.hist(after["words"], bins=bins, histtype="step", linewidth=2, color="#0072B2", label="after")
ax.set(xlabel=f"words in the confirmation (cut at {new_tokens} tokens)", ylabel="confirmations", title="Length, before and after")
ax.legend()
fig.tight_layout()

# %% [markdown]
# **Did it drop facts to be short?** Compare the facts that are missing for each confirmation, and the false ones, with the words.
# In the recorded run the words and the missing facts both fell, so it did not. Should the missing facts rise in yours while the
# words fall, the model has learned "short" and nothing else.

# %%
pd.DataFrame({"before": before.mean(), "after": after.mean()}).round(2)

# %% [markdown]
# ## After: held-out preferences
#
# Three judges for the same pairs. *The shorter one* has learned nothing. *The start's likelihood* takes the answer that the
# reference finds likelier. *The implicit reward* is what training has made. The table says in what share of the pairs each judge
# prefers the plain one; a tie counts half.

# %%
dev_now = dev_sums()
rewards = beta * (dev_now - dev_start)
words = pd.DataFrame({kind: [len(text.split()) for text in dev[kind]] for kind in KINDS})
table = {}
for other in KINDS[1:]:
    judges = {"shorter": -words, "start_likelihood": dev_start, "implicit_reward": rewards}
    for judge, scores in judges.items():
        won = ((scores["plain"] > scores[other]) + 0.5 * (scores["plain"] == scores[other])).sum()  # a tie is half
        record(f"{judge}_plain_over_{other}", won / len(dev), *wilson(won, len(dev)), n=len(dev), seed=seed)
        table[other, judge] = won / len(dev)
pd.Series(table).unstack().loc[list(KINDS[1:]), list(judges)].round(2)

# %% [markdown]
# Read the first column first. Where the trivial judge is right every time, a high number beside it proves nothing. The row
# `false` is the one where length is no help.

# %%
change = (dev_now - dev_start).mean()
for kind in KINDS:
    record(f"dev_change_{kind}", change[kind], n=len(dev), seed=seed)
for when, sums in {"start": dev_start, "after": dev_now}.items():  # of the pair computed by hand
    record(f"pair_{when}_plain", sums["plain"][0], seed=seed)
    record(f"pair_{when}_flattering", sums["flattering"][0], seed=seed)

# %%
fig, ax = plt.subplots(figsize=(6, 2.8))
ax.barh(KINDS[::-1], change[list(KINDS[::-1])], color=["#CC79A7", "#E69F00", "#D55E00", "#0072B2"])
ax.axvline(0, color="#888888", linewidth=1)
ax.set(xlabel="mean change of log-probability (nats per answer)", title="Which held-out answers became likelier")
fig.tight_layout()

# %% [markdown]
# A rambling answer has several times the tokens of a plain one, so the same change for each token gives it a longer bar.
#
# ## What got worse
#
# Two things may have: the distance from the reference, and the first job.

# %%
kl, error = kl_of(list(zip(test, after_said))[:24])
record("after_kl_nats", kl, kl - 1.96 * error, kl + 1.96 * error, n=min(24, len(test)), seed=seed)
after_events = score_events(answer(policy, tokenizer, asked, max_new_tokens=52, bf16=here.bf16), messages["event"])
for when, score in {"before": before_events, "after": after_events}.items():
    record(f"{when}_event_accuracy", score.accuracy, score.low, score.high, score.n, seed)
    record(f"{when}_field_f1", score.field_f1, n=score.n, seed=seed)

# %% [markdown]
# **The claim of this notebook**, checked by the notebook itself:

# %%
gain = after["liked"].mean() - before["liked"].mean()
assert gain >= margin, f"DPO did not help: {before['liked'].mean():.0%} liked before, {after['liked'].mean():.0%} after"
print(f"✅ {gain:+.0%} liked confirmations, {margin:.0%} asked for")

# %% [markdown]
# ## Keep it
#
# A later notebook can start from the aligned policy. The reference is an adapter of the same model and would be saved with it, so it
# goes first.

# %%
if "ref" in policy.peft_config:
    policy.delete_adapter("ref")
folder = Path(save_artifact(keep_as, policy, tokenizer, base=model_path))
print(sorted(path.name for path in folder.iterdir()))
assert not (folder / "ref").exists() and (folder / "adapter_model.safetensors").is_file()

# %% [markdown]
# ## What to believe
#
# The intervals cover the luck of the events, and that each was answered once. They do not cover the luck of sampling pairs and of
# training. The study (`smol study 2/dpo`) repeats the notebook with other seeds and more test events. It changes `beta` in both
# directions, takes pairs of like length, takes pairs by truth alone, and once lets a coin decide the preferences: that run must
# fail the claim.

# %% tags=["study"]
study = study_runs("dpo")
numbers = {run: entry["results"] for run, entry in study.items()}
columns = ["before_liked", "after_liked", "after_words", "after_facts_missing", "after_facts_false", "after_kl_nats",
           "chosen_change_nats", "after_event_accuracy", "chosen_is_shorter"]
print("shuffled:", study["shuffled"]["failed"])
pd.DataFrame({run: {name: run_numbers[name]["value"] for name in columns if name in run_numbers}
              for run, run_numbers in numbers.items()}).T.reindex(columns=columns).round(2)

# %% tags=["study"]
order = [run for run in ("seed_0", "beta_low", "beta_high", "like_length", "truth_only") if "after_kl_nats" in numbers.get(run, {})]
fig, ax = plt.subplots(figsize=(6, 3.2))
for run, marker in zip(order, "ov^sD"):
    kl, liked = numbers[run]["after_kl_nats"]["value"], numbers[run]["after_liked"]
    bar = [[liked["value"] - liked["low"]], [liked["high"] - liked["value"]]]
    ax.errorbar(kl, liked["value"], yerr=bar, fmt=marker, capsize=3, label=f"{run}")
ax.set(xlabel="KL to the reference (nats per answer)", ylabel="share liked, 95 % interval", ylim=(0, 1),
       title="How far it walked, and what that bought")
ax.legend()
fig.tight_layout()

# %% [markdown]
# In `like_length` the pairs are those whose two answers are closest in length, so brevity is rewarded less. Compare it with
# `seed_0`: the words, and the facts missing. In the recorded runs fewer words were dropped and fewer answers were liked than in
# `seed_0`: that is what correcting the length bias costs here. TRL offers two other ways, which need no other pairs: `ld_alpha`
# gives less weight to the tokens that the longer answer has beyond the shorter one's length, and the loss `sigmoid_norm` averages
# over tokens.
#
# ## Exercises
#
# ### 🐢 The margin of a pair (5 minutes)
#
# **Goal:** compute what the loss looks at. **Input:** four log-probabilities in nats: of the chosen and the rejected answer under
# the policy, then of both under the reference; and `beta`. **Output:** the margin, a number. **Judged by:** three pairs. Stuck?
# `hint("dpo/turtle")`.

# %% tags=["exercise"]
def pair_margin(chosen, rejected, ref_chosen, ref_rejected, beta):
    """Return the implicit reward of the chosen answer minus that of the rejected one."""
    ...

# %% tags=["check"]
check("dpo/turtle", pair_margin)

# %% [markdown]
# ### 🐕 Three losses (20 minutes)
#
# **Goal:** write DPO's loss and two variants, as TRL computes them. **Input:** four lists with one float tensor (tokens,) for each pair:
# log-probabilities of the tokens of the chosen and the rejected answer under the policy, then of both under the reference; and `beta`. The
# answers differ in length. **Output:** a dictionary with the mean loss over the pairs under three names:
#
# - `"sigmoid"`: minus the logarithm of the sigmoid of the margin (as above, from log-probabilities added up over the tokens);
# - `"hinge"`: 1 minus the margin, never below 0;
# - `"ipo"`: each answer's log-ratio (policy minus reference) *averaged* over its tokens; the chosen one's minus the rejected one's; from
#   this take 1 / (2 beta), and square.
#
# **Judged by:** four batches with known losses. Hints: `hint("dpo/dog")`.

# %% tags=["exercise"]
def preference_losses(chosen, rejected, ref_chosen, ref_rejected, beta):
    """Return the mean losses of the pairs as a dictionary: sigmoid, hinge, ipo."""
    ...

# %% tags=["check"]
check("dpo/dog", preference_losses)

# %% [markdown]
# ### 🦁 Better pairs (an hour or more)
#
# **Goal:** more liked confirmations than this notebook's, with no more pairs, and the events kept. **Input:** your own runs: other rules
# for pairs, more samples, another loss, `beta` or learning rate, by `smol run 2/dpo --set name=value` or in a copy of this notebook. Choose
# on the dev events: `look_at(confirm(dev["event"]), dev["event"])`. Then run three seeds of the notebook as it stands, and of yours, with
# `test_events=0` and `test_messages=306`. The table at the end of a run has
# *liked* and *event accuracy*, before and after, and *pairs seen*. **Output:** a results dictionary as below. **Judged by:** at least three
# seeds and 100 test events, no more pairs than the notebook's, nothing of a test split in training, every run of yours above every run of the
# notebook, and a mean event accuracy at most 0.05 below the start's. Hints: `hint("dpo/lion")`.

# %% tags=["exercise"]
results = {
    "baseline_liked": [],  # one share from 0 to 1 for each seed
    "my_liked": [],
    "start_event_accuracy": [],  # before DPO
    "my_event_accuracy": [],  # after yours
    "test_events": 0,  # confirmed, in one run
    "baseline_pairs": 0,  # seen in training, in one run
    "my_pairs": 0,
    "train_ids": [],  # of the events in your pairs: train["id"]
}

# %% tags=["check"]
check("dpo/lion", results)

# %% [markdown]
# ## Go further
#
# The same cells, with a public preference data set and a GPU: start with `SMOL_HUB=1` (or `smol run --hub`), take
# `model_name = "HuggingFaceTB/SmolLM2-360M-Instruct"`, load it without our adapter, and give the trainer rows with `chosen` and `rejected`:
#
# ```python
# from datasets import load_dataset
# rows = load_dataset("trl-lib/ultrafeedback_binarized", split="train").select(range(1000))
# ```
#
# Without an adapter in the model, pass `peft_config=LoraConfig(...)`: the bare model is then the reference. From a command line it is
# `trl dpo --config file.yaml`, and `accelerate launch` before it for more processes.
#
# Next in the course: [ORPO](../orpo.md), skill and preference in one stage.
