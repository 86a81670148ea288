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
# # GRPO: learning from answers that can be checked
#
# A model that was fine-tuned too briefly learns from its own answers: a few lines of code grade them, and what was better
# than its siblings becomes more likely. You compute what the trainer computes, and see what a bad grader teaches.
#
# What this notebook cost in time and memory when it was last run stands in the table of the module's README.
# The lesson to read first: [grpo.md](../grpo.md).
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/smol-ai/course/blob/main/2_preference_alignment/notebooks/grpo.ipynb)
# In Colab, read the lesson [on GitHub](https://github.com/smol-ai/course/blob/main/2_preference_alignment/grpo.md).

# %% tags=["install"]
# On Colab, install what this notebook needs; anywhere else this does nothing.
import importlib.util
import sys
if importlib.util.find_spec("smol_course") is None:
    print("Installing the course with what this notebook needs: about a minute.")
    needs = '"smol-course @ git+https://github.com/smol-ai/course"'
    get_ipython().system(f"uv pip install -q --python {sys.executable} {needs} || {sys.executable} -m pip install -q {needs}")

# %% [markdown]
# Every number worth changing stands in one cell. With `reward = "random"` the grader gives random numbers: the same code runs,
# nothing useful is learned, and the claim at the end fails, as it should.

# %% tags=["parameters"]
from smol_course.parameters import number, one_of, whole
model_name: str = "HuggingFaceTB/SmolLM2-135M-Instruct"
seed: whole(0, 2**32 - 1) = 0
start_steps: whole(1) = 14  # of supervised fine-tuning before; few, so that there is something left to learn
start_batch: whole(1) = 4
start_rate: number(0, 1) = 1e-3
reward: one_of("fields", "random", "bad") = "fields"  # "random": dice. "bad": the same with a hole, see below
steps: whole(1) = 10
prompts_each_step: whole(1) = 4
group_size: whole(2) = 8  # answers to each prompt
learning_rate: number(0, 1) = 5e-4
temperature: number(0.01, 10) = 1.0
longest_message: whole(16) = 24  # tokens; a step costs time for every token, the prompt's too
new_tokens: whole(8, 512) = 48  # the longest answer we wait for; the longest right one is shorter
test_split: one_of("test", "dev") = "test"  # "dev" to choose settings by
test_messages: whole(2) = 40  # of those that are short enough
samples: whole(1) = 1  # of each test message, where answers are sampled
margin: number(-1, 1) = 0.05  # how much the mean reward on test messages must rise, for the claim to stand

# %% tags=["setup"]
import json
import random
import statistics
import tempfile
from pathlib import Path
import matplotlib.pyplot as plt
import pandas as pd
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer
from smol_course.data import events, in_like_batches, study_runs
from smol_course.exercises import check, hint
from smol_course.hardware import prepare
from smol_course.metrics import event_right, field_f1, fields_right, parse_event, record, score_events, watch
from smol_course.models import answer, find_model

# %% tags=["setup"]
here = prepare()
set_seed(seed)
model_path = find_model(model_name)
tokenizer = AutoTokenizer.from_pretrained(model_path)

# %% [markdown]
# ## Count first
#
# In module 1 the answers were given. Here the model must write them itself, many for each prompt, at every step. That is the
# cost of this method, so every token counts. Two things make the prompts short: we take short messages, and no
# instruction. The task is always the same, so the start can learn it without. SmolLM2's chat template would add an instruction of its own;
# we replace it by one that does not.

# %% tags=["setup"]
tokenizer.chat_template = (
    "{% for turn in messages %}<|im_start|>{{ turn.role }}\n{{ turn.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")


# %%
def asked(row):
    """What the model reads: the message alone."""
    return [{"role": "user", "content": row["message"]}]


def is_short(row):
    tokens = len(tokenizer(row["message"])["input_ids"]), len(tokenizer(row["event"])["input_ids"])
    return tokens[0] <= longest_message and tokens[1] < new_tokens - 1


train = events("train").filter(is_short).shuffle(seed=seed)
test = events(test_split).filter(is_short)
test = test.take(test_messages)
print(f"{len(train)} short messages to train on, {len(test)} to test on")

# %% [markdown]
# The messages are split in two: some are for the start, others for GRPO. From the first part the model sees right answers; from the
# second it never sees one. There, messages of like length come together, because a batch is as wide as its longest row.

# %%
first = min(start_steps * start_batch, len(train) // 2)
for_start = in_like_batches(train.take(first), start_batch, seed)
for_grpo = in_like_batches(train.skip(first).take(steps * prompts_each_step), prompts_each_step, seed)
widths = [len(tokenizer.apply_chat_template(asked(row), add_generation_prompt=True)["input_ids"]) for row in for_grpo]
rows = prompts_each_step * group_size
print(f"a step: {rows} answers; prompts of {min(widths)} to {max(widths)} tokens, answers of at most {new_tokens}, "
      f"so at most {rows * (max(widths) + new_tokens):,} tokens to train on")

# %% [markdown]
# ## A start that is sometimes right
#
# An untrained model never writes an event. All its answers get the same grade, so there is nothing to compare. A fully
# trained one is right nearly always: again all grades are the same. So we fine-tune, but stop early, with LoRA (module 3).

# %%
lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
base = AutoModelForCausalLM.from_pretrained(model_path, dtype="float32", attn_implementation=here.attention)
shared = dict(bf16=here.bf16, use_cpu=here.device == "cpu", optim=here.optimizer, activation_checkpointing=False,
              save_strategy="no", disable_tqdm=True, seed=seed, output_dir=tempfile.mkdtemp())
taught = for_start.map(lambda row: {"prompt": asked(row), "completion": [{"role": "assistant", "content": row["event"]}]},
                       remove_columns=for_start.column_names)
tutor = SFTTrainer(
    model=get_peft_model(base, lora), processing_class=tokenizer, train_dataset=taught,
    args=SFTConfig(max_steps=start_steps, learning_rate=start_rate, warmup_steps=0.1, logging_steps=10,
                   per_device_train_batch_size=start_batch, train_sampling_strategy="sequential", **shared))

# %%
watch(tutor, "step {step:3d}   loss {loss:.3f}")
result = tutor.train()
print(f"{result.metrics['train_runtime']:.0f} seconds")
record("start_seconds_each_step", result.metrics["train_runtime"] / start_steps, n=start_steps, seed=seed)

# %% [markdown]
# GRPO gets a fresh LoRA of its own. So the one of the start is *merged*: its product is added to the weights, and the result is an
# ordinary model.

# %%
if tutor:  # else this cell ran before
    start, tutor, base = tutor.model.merge_and_unload(), None, None

# %% [markdown]
# ## The reward
#
# A *verifiable* reward needs no judge and no second model: a program compares the answer with what is known to be right. Ours gives
# 0.2 for an answer that can be read (JSON or `null`), and 0.8 times the share of right fields; a field that is left out is wrong.
# Why not 1 for a right event and 0 for all else? Then most groups of answers would contain zeros only. Partial credit gives the
# answers *spread*.

# %%
READABLE = 0.2


def fields_reward(text, event, strict=True):
    """0 if unreadable; 0.2 if readable; up to 1 with the share of right fields. Strict: a field must be there."""
    truth = json.loads(event)
    try:
        parsed = parse_event(text)
    except ValueError:
        return 0.0
    if parsed is None or truth is None:  # no event: either side says so, or both
        return 1.0 if parsed is truth else READABLE
    right = fields_right(parsed, truth)
    earned = sum(right[field] and (f'"{field}"' in text or not strict) for field in right)
    return READABLE + (1 - READABLE) * earned / len(right)


# %% [markdown]
# Test the grader before you trust it. What does it give for these answers to one event?

# %%
wanted = '{"title": "lunch", "day": "friday", "start": "12:30", "place": null, "people": ["Ana"]}'
silent = '{"title": null, "day": null, "start": null, "place": null, "people": []}'
for reply in (wanted, wanted.replace("12:30", "02:30"), wanted.replace("null", '"Luna"'), silent, "null", "{}",
              wanted[:40]):
    print(f"{fields_reward(reply, wanted):.2f}  {reply}")

# %% [markdown]
# The event of nulls says nothing and gets some credit, for what is rightly empty. Remember that; the 🐕 closes this hole.
#
# Now two other graders. One gives random numbers. The other is the first version of ours. It read the answer with the course's
# `parse_event`, which kindly takes a missing field for null. So `{"title": "lunch", "day": "friday"}` got credit for a `place` that
# it never mentioned. It looked harmless.

# %%
def bad_reward(text, event):
    """The same, but a field left out counts as null."""
    return fields_reward(text, event, strict=False)


dice = random.Random(seed)
score = {"fields": fields_reward, "bad": bad_reward, "random": lambda text, event: dice.random()}[reward]

# %% [markdown]
# ## Before
#
# There are two ways of asking. *Greedy* always takes the likeliest token; that is what a user gets. *Sampled* draws each token at
# random by its probability, as in training; its mean reward is what GRPO raises. We look at both, on test messages.

# %%
def asked_twice(model):
    """Return the greedy and the sampled answers to the test messages."""
    prompts = [asked(row) for row in test]
    how = dict(max_new_tokens=new_tokens, batch_size=48, bf16=here.bf16)
    greedy = answer(model, tokenizer, prompts, **how)
    set_seed(seed)
    return greedy, answer(model, tokenizer, [p for p in prompts for _ in range(samples)], temperature=temperature, **how)


def mean_interval(values):
    """A mean with its 95 % interval, for some dozens of values."""
    half = 1.96 * statistics.stdev(values) / len(values) ** 0.5
    return statistics.fmean(values), statistics.fmean(values) - half, statistics.fmean(values) + half


# %%
def left_out(answers):
    """How many of the five fields an answer does not mention, on average, where there is an event."""
    fields = ("title", "day", "start", "place", "people")
    with_event = [text for text, event in zip(answers, test["event"]) if event != "null"]
    return statistics.fmean(sum(f'"{field}"' not in text for field in fields) for text in with_event)


def judged_all(when, greedy, sampled):
    """Record what is right in both kinds of answers; return each message's mean reward over its samples."""
    scores = score_events(greedy, test["event"])
    rewards = [statistics.fmean(fields_reward(text, event) for text in sampled[samples * i:samples * (i + 1)])
               for i, event in enumerate(test["event"])]
    record(f"{when}_event_accuracy", scores.accuracy, scores.low, scores.high, scores.n, seed)
    record(f"{when}_field_f1", scores.field_f1, n=scores.n, seed=seed)
    record(f"{when}_readable", scores.readable, n=scores.n, seed=seed)
    record(f"{when}_left_out", left_out(greedy), n=scores.n, seed=seed)
    repeated = [event for event in test["event"] for _ in range(samples)]
    record(f"{when}_sampled_readable", score_events(sampled, repeated).readable, n=len(sampled), seed=seed)
    record(f"{when}_sampled_reward", *mean_interval(rewards), len(rewards), seed)
    return rewards


# %%
before_greedy, before_sampled_answers = asked_twice(start)
before = judged_all("before", before_greedy, before_sampled_answers)

# %% [markdown]
# Is there spread? The rewards of the sampled answers:

# %%
drawn = [fields_reward(text, test[row // samples]["event"]) for row, text in enumerate(before_sampled_answers)]
pd.Series(drawn).round(2).value_counts().sort_index().to_frame("answers with this reward").T

# %% [markdown]
# ## GRPO
#
# Each step: take some prompts, write a *group* of answers to each, grade them, compare each with its own group, and make the better
# ones likelier. What the settings say:
#
# - `num_generations` is the size of a group. The mean of a smaller group is a poorer estimate. With a larger one, each step costs
#   more.
# - `gradient_accumulation_steps=2`: all answers of a step are written together, and then trained on in two halves. That gives the
#   same update and needs half of the memory.
# - `temperature=1.0`, `top_k=0`: sample from the model's own distribution, uncut. It is the one whose probabilities the loss uses.
# - `beta=0`: no penalty for leaving the start, so no reference model to run.
# - `scale_rewards="group"`: divide by the group's spread, so that a close race counts as much as a clear one.
# - `mask_truncated_completions`: an answer cut off at the limit is graded, but its tokens are not trained on.
# - `learning_rate`: large, as a fresh LoRA allows, because there are few steps. An earlier trial at 1e-5, from a well-tuned start, moved
#   nothing.

# %%
def graded(completions, event, **_):
    """What the trainer calls: one reward for each completion. The column `event` comes from our rows."""
    return [score(turns[0]["content"], truth) for turns, truth in zip(completions, event)]


config = GRPOConfig(
    max_steps=steps, learning_rate=learning_rate, lr_scheduler_type="constant",
    per_device_train_batch_size=rows // 2, gradient_accumulation_steps=2, num_generations=group_size,
    max_completion_length=new_tokens, temperature=temperature, top_k=0, beta=0.0, scale_rewards="group",
    mask_truncated_completions=True, shuffle_dataset=False,  # in the order that we gave them
    logging_steps=1, log_completions=True, num_completions_to_print=0, **shared)

# %%
if hasattr(start, "peft_config"):  # from an earlier run of this cell
    start = trainer.model.unload()
trainer = GRPOTrainer(
    model=start, reward_funcs=graded, args=config, processing_class=tokenizer, peft_config=lora,
    train_dataset=for_grpo.map(lambda row: {"prompt": asked(row)}).select_columns(["prompt", "event"]))

# %%
watch(trainer, "step {step:3d}   reward {reward:.3f}   tokens {completions/mean_length:.3f}   entropy {entropy:.3f}")
result = trainer.train()
print(f"{result.metrics['train_runtime']:.0f} seconds")

# %% [markdown]
# ## By hand: one group
#
# `log_completions` made the trainer write down every answer, its reward and its *advantage*: the reward minus the group's mean, divided by the
# group's standard deviation. This is the first group whose rewards differ.

# %%
written = pd.concat([pd.read_parquet(file) for file in sorted(Path(config.output_dir).glob("completions/*.parquet"))])
written["said"] = [turns[0]["content"] for turns in written["completion"]]
written["group"] = [row // group_size for row in range(len(written))]


def by_hand(rewards):
    """Advantages of one group. The 0.0001 is TRL's, against a division by zero."""
    return (rewards - rewards.mean()) / (rewards.std() + 1e-4)


# %%
spread = written.groupby("group")["graded"].std()
group = written[written["group"] == spread.gt(1e-6).idxmax()]
print(group["prompt"].iloc[0][0]["content"])
print(f"mean {group['graded'].mean():.3f}, standard deviation {group['graded'].std():.3f}\nreward  by hand  trainer's")
for text, value, mine, theirs in zip(group["said"], group["graded"], by_hand(group["graded"]), group["advantage"]):
    print(f"{value:6.2f}  {mine:+7.3f}  {theirs:+9.3f}  {text}")

# %% [markdown]
# The next cell checks all the other groups. If we had the formula wrong, it would fail.

# %%
apart = (written.groupby("group")["graded"].transform(by_hand) - written["advantage"]).abs().max()
assert apart < 1e-3, f"by hand the advantages are up to {apart:.4f} away from the trainer's"
print(f"{len(written):,} advantages, at most {apart:.0e} away from the trainer's")

# %% [markdown]
# ## Groups that teach nothing
#
# Where all answers of a group get the same reward, every advantage is 0. The group was paid for and moves nothing. How many, and why? (The trainer
# logs such a share too, `frac_reward_zero_std`. But the mean of eight times 0.84 is not exactly 0.84 to a computer, and then it counts no group. We allow
# for rounding.)

# %%
groups = written.groupby("group")["graded"].agg(["mean", "std"])
flat = groups["std"] < 1e-6
print(f"{flat.sum()} of {len(groups)} groups without spread; "
      f"all answers right: {(flat & (groups['mean'] > 0.99)).sum()}, all equally wrong: {(flat & (groups['mean'] <= 0.99)).sum()}")
record("groups_without_spread", flat.mean(), n=len(groups), seed=seed)

# %% [markdown]
# What is never written cannot be rewarded. For messages that contain no event, `null` would be right. How often did the model try
# it?

# %%
truth = {row["message"]: row["event"] for row in for_grpo}
no_event = written[[truth[turns[0]["content"]] == "null" for turns in written["prompt"]]]
print(f"{len(no_event)} answers to messages without an event; {no_event['said'].str.startswith('null').sum()} of them say null")

# %% [markdown]
# ## Three curves
#
# *Reward*, of the answers that it trains on; each point comes from other messages, so it wobbles. *Length*: a jump is a sign of
# something odd. *Entropy*: how undecided the model is about the next token, in nats. It falls as the model settles; at zero, all answers of a
# group are the same and learning ends.

# %%
log = pd.DataFrame(trainer.state.log_history).dropna(subset="reward")
curves = {"reward": "mean reward", "completions/mean_length": "length (tokens)", "entropy": "entropy (nats per token)"}
fig, axes = plt.subplots(1, 3, figsize=(9, 2.8))
for ax, (name, label), colour in zip(axes, curves.items(), ("#0072B2", "#D55E00", "#009E73")):
    ax.plot(log["step"], log[name].astype(float), "o-", color=colour, markersize=4)
    ax.set(xlabel="step", ylabel=label, ylim=(0, None))
fig.suptitle("What moves while it trains")
fig.tight_layout()

# %%
part = max(1, steps // 4)
for when, lines in {"first": log.head(part), "last": log.tail(part)}.items():
    for name, column in {"own_reward": "reward", "length": "completions/mean_length", "entropy": "entropy"}.items():
        record(f"{when}_{name}", lines[column].astype(float).mean(), n=part * rows, seed=seed)
record("seconds_each_step", result.metrics["train_runtime"] / steps, n=steps, seed=seed)

# %% [markdown]
# ## After
#
# The same test messages, asked the same two ways, judged by the true reward whatever the model was trained on.

# %%
after_greedy, after_sampled = asked_twice(trainer.model)
after = judged_all("after", after_greedy, after_sampled)

# %% [markdown]
# Both times the same messages were asked. So compare message by message: the interval of the *difference* is narrower than
# that of each mean alone.

# %%
gain, low, high = mean_interval([a - b for a, b in zip(after, before)])
record("gained_sampled_reward", gain, low, high, len(test), seed)
pairs = list(zip(before_greedy, after_greedy, test["event"]))
turned = {"wrong → right": (False, True), "right → wrong": (True, False)}
for name, change in turned.items():
    print(name, sum((event_right(old, event), event_right(new, event)) == change for old, new, event in pairs))

# %% [markdown]
# **The claim of this notebook**, checked by the notebook itself: sampled answers to messages that it never saw get a higher reward.

# %%
assert gain >= margin, f"GRPO did not help: the mean reward rose by {gain:.3f}, {margin} asked for"
print(f"✅ {gain:+.3f} mean reward on test messages, {margin} asked for")

# %% [markdown]
# ## Look at the answers
#
# Greedy answers: the two that lost most reward, then the three that gained most.

# %%
graded_pairs = [(fields_reward(new, event) - fields_reward(old, event), old, new, event) for old, new, event in pairs]
graded_pairs.sort(key=lambda graded_pair: graded_pair[0])
for change, old, new, event in graded_pairs[:2] + graded_pairs[-3:]:
    print(f"{change:+.2f}  wanted {event}\n       before {old}\n       after  {new}")

# %% [markdown]
# ## What to believe
#
# Training raised what it was paid for: the mean reward of *sampled* answers. Compare `sampled_readable` before and after, and you
# see the main source of it: when its answers are sampled, a half-trained model often writes broken JSON. Its *greedy* answers
# hardly ever did. So they have less to gain: look at their event accuracy and field F1, here and in the study's table. A higher
# reward is no promise about every other measure.
#
# One run is one random draw. The study of this notebook (`smol study 2/grpo`) repeats it with other seeds: another start, other
# messages, other samples. And it runs the control, where the rewards are random numbers: all else is the same, and the claim must
# fail.

# %% tags=["study"]
study = study_runs("grpo")
numbers = {run: {name: result["value"] for name, result in entry["results"].items()} for run, entry in study.items()}
columns = ["before_sampled_reward", "after_sampled_reward", "gained_sampled_reward", "before_field_f1", "after_field_f1",
           "before_event_accuracy", "after_event_accuracy", "groups_without_spread"]
pd.DataFrame(numbers).T[columns].round(3)

# %% tags=["study"]
for run, entry in study.items():
    asked_for = entry["parameters"].get("margin", margin) > 0
    print(f"{run:15}", entry["failed"] or ("the claim stands" if asked_for else "asked for no claim"))

# %% [markdown]
# ## What a bad reward teaches
#
# Two runs of the study are longer and at twice the learning rate. One has the right reward, the other its own first version: a field left
# out counts as null. Look at what each is paid, and then at what we wanted.

# %% tags=["study"]
longer = {"right reward": numbers["longer"], "bad reward": numbers["longer_bad"]}
shown = {"its own reward, in training": ("first_own_reward", "last_own_reward"),
         "length of its answers, in training (tokens)": ("first_length", "last_length"),
         "true reward of sampled answers, test messages": ("before_sampled_reward", "after_sampled_reward"),
         "field F1 on test messages": ("before_field_f1", "after_field_f1"),
         "fields left out on test messages (of 5)": ("before_left_out", "after_left_out")}
pd.DataFrame({(name, when): [run[pair[place]] for pair in shown.values()]
              for name, run in longer.items() for place, when in enumerate(("before", "after"))}, index=list(shown)).round(3)

# %% [markdown]
# Nothing in its own curve tells the bad reward from the right one. But saying less pays there: a field that is not written cannot
# be wrong, and cannot break the JSON. In the recorded runs the model that was trained on it leaves out about three of the five
# fields: see the last row.
#
# ## Exercises
#
# ### 🐢 Advantages of a group (5 minutes)
#
# **Goal:** compute what the trainer used. **Input:** `rewards`, a list of two or more numbers, the rewards of one group. **Output:** a new
# list of as many numbers: reward minus mean, divided by the standard deviation. Take the sample's (`n - 1`, as `statistics.stdev` does); leave out
# TRL's 0.0001. A group without spread gives zeros. **Judged by:** five groups. Stuck? `hint("grpo/turtle")`.

# %% tags=["exercise"]
def advantages(rewards):
    """Return the advantage of each answer of one group."""
    ...

# %% tags=["check"]
check("grpo/turtle", advantages)

# %% [markdown]
# ### 🐕 A reward that cannot be cheated (20 minutes)
#
# **Goal:** grade events so that no trick pays. **Input:** `answer`, any text that a model wrote; `event`, the right event as JSON text, `null` if the
# message has none. **Output:** a number from 0 to 1. **Rules:** the right answer, and nothing around it, gets exactly 1. What cannot be read gets 0,
# also where `null` was right. Among events, one more right field gives more. Each of these gets less than the honest answer beside it: a place or
# name that the message does not have, against leaving it out; ten names hoping for one hit, against one right name; a second
# object or chatter after the first, against none. An answer that says nothing (`{}`, all nulls, or `null` for a real event) gets at most 0.2, and so does any event where
# `null` is right. The same answer always gets the same grade. You may use `parse_event`, `fields_right` and `field_f1`. **Judged by:** planted cheats.
# Hints: `hint("grpo/dog")`.

# %% tags=["exercise"]
def honest_reward(answer, event):
    """Return 0 to 1 for an answer, given the right event as JSON text."""
    ...

# %% tags=["check"]
check("grpo/dog", honest_reward)

# %% [markdown]
# ### 🦁 More from the same answers (an hour or more)
#
# **Goal:** a higher mean reward than this notebook's from no more sampled answers, and greedy answers that are no worse than before training: another
# reward, group size, rate, choice of messages, or your reward of the 🐕. **Input:** your own runs, by `smol run 2/grpo --set name=value` or in a copy of this
# notebook; leave `temperature` and the start (`start_steps`, `start_batch`, `start_rate`) as they are. Run three seeds of the notebook as it stands,
# of yours, and of yours with dice for rewards, each with `test_messages = 96` and judged by the notebook's `fields_reward`. The table at the end of a run
# has *sampled reward* and *field f1*. **Output:** a results dictionary as below. **Judged by:** three seeds each and at least 96 test messages, no more completions
# than the notebook's, no test message in training; every reward of yours above every one of the notebook and of the dice; a mean field F1 after training
# not below that before. Hints: `hint("grpo/lion")`.

# %% tags=["exercise"]
results = {
    "baseline_reward": [],  # "sampled reward, after": one number from 0 to 1 for each seed
    "my_reward": [],
    "dice_reward": [],  # your design with random rewards
    "my_field_f1_before": [],  # of your runs, greedy answers
    "my_field_f1_after": [],
    "test_messages": 0,
    "baseline_completions": 0,  # answers sampled in training, in one run: steps × prompts × group size
    "my_completions": 0,
    "train_ids": [],  # the ids of all messages you trained on: for_start["id"] + for_grpo["id"]
}

# %% tags=["check"]
check("grpo/lion", results)

# %% [markdown]
# ## Go further
#
# On a GPU the same cells take a larger model and hundreds of steps: `SMOL_HUB=1` (or `smol run --hub`), `model_name = "HuggingFaceTB/SmolLM2-360M-Instruct"`,
# groups of 16, `use_vllm=True` for quick sampling. A public set of problems whose answers a program can check:
#
# ```python
# from datasets import load_dataset
# problems = load_dataset("openai/gsm8k", "main", split="train")  # the number behind #### is the answer
# ```
#
# TRL keeps the reward function in the trainer's hands; `trl grpo --config file.yaml` runs the same without a notebook.
