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
# # Automatic benchmarks: one question by hand, then many by machine
#
# You score a multiple-choice question by hand, get the same number from two evaluation libraries, and then change
# nothing but the form of the questions, and watch the score move.
#
# What this notebook cost in time and memory when it was last run stands in the table of the module's README.
# The lesson to read first: [automatic_benchmarks.md](../automatic_benchmarks.md).
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/smol-ai/course/blob/main/4_evaluation/notebooks/automatic_benchmarks.ipynb)
# In Colab, read the lesson [on GitHub](https://github.com/smol-ai/course/blob/main/4_evaluation/automatic_benchmarks.md).

# %% tags=["install"]
# On Colab, install what this notebook needs; anywhere else this does nothing.
import importlib.util
import sys
if importlib.util.find_spec("smol_course") is None:
    print("Installing the course with what this notebook needs: about a minute.")
    needs = '"smol-course[evaluation] @ git+https://github.com/smol-ai/course"'
    get_ipython().system(f"uv pip install -q --python {sys.executable} {needs} || {sys.executable} -m pip install -q {needs}")

# %% [markdown]
# Every number worth changing stands in one cell. With `pick = "least"` the metric (the rule that turns answers into a
# number) takes the least likely option as the model's answer. Then the claim of this notebook fails, as it should.

# %% tags=["parameters"]
from smol_course.parameters import one_of, whole
model_name: str = "HuggingFaceTB/SmolLM2-135M-Instruct"
organiser: str = "organiser_lora"  # what fine-tuning made of it; "organiser" after module 1
seed: whole(0, 2**32 - 1) = 0
questions: whole(1) = 96  # everyday questions
second_opinion: whole(1) = 48  # of them, those that lm-eval scores too
in_each_form: whole(1) = 32  # of them, those asked in every other form
examples: whole(1) = 3  # solved questions shown in a prompt, where there are any
written_out: whole(1) = 16  # of them, those that the model answers in words
pick: one_of("most", "least") = "most"  # "least": the metric picks the least likely option, the control

# %% tags=["setup"]
import random
import tempfile
from collections import Counter
import matplotlib.pyplot as plt
import pandas as pd
import torch
from lighteval.metrics.metrics import Metrics
from lighteval.metrics.metrics_sample import LoglikelihoodAcc
from lighteval.metrics.normalizations import LogProbCharNorm
from lighteval.metrics.utils.metric_utils import SampleLevelMetric
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc, SamplingMethod

# %% tags=["setup"]
from smol_course.data import events, study_runs
from smol_course.evaluation.comparisons import compare
from smol_course.evaluation.harness import own_tasks_only, run_lighteval, run_lm_eval, write_rows
from smol_course.evaluation.questions import choices
from smol_course.evaluation.suite import load, option_scores, prompt_of
from smol_course.exercises import check, hint
from smol_course.hardware import prepare
from smol_course.metrics import record, wilson
from smol_course.models import find_model

# %% tags=["setup"]
here = prepare()
own_tasks_only()  # lighteval shall load our tasks only: some that it ships download data
torch.manual_seed(seed)
model_path = find_model(model_name)

# %% [markdown]
# ## The questions
#
# Everyday questions with four options, written for this course to be easy. A *cloze* question is a text to complete, and
# the right option completes it. `right` is the index of the right option, counted from 0.

# %%
rows = list(choices("everyday"))[:questions]
pool = list(choices("everyday", "shots"))  # one more of each kind, to show as examples
print(len(rows), "questions;", dict(Counter(row["form"] for row in rows)))
pd.DataFrame(rows[:5])[["kind", "text", "options", "right"]]

# %% [markdown]
# First, what is the score of somebody who cannot read? If the right option stood first more often, or were the longest, a model
# could score without knowing anything. With four options, guessing gets 25 %, which is called *chance*. `low` and `high` are the
# ends of a 95 % interval: where the true share plausibly lies, given so few questions.

# %%
def share_right(picks):
    """Return the share of picked options that are right, with its interval."""
    hits = sum(picked == row["right"] for picked, row in zip(picks, rows))
    return hits / len(rows), *wilson(hits, len(rows))


blind = {"always the first": [0] * len(rows),
         "the longest": [max(range(4), key=lambda i: len(row["options"][i])) for row in rows],
         "the shortest": [min(range(4), key=lambda i: len(row["options"][i])) for row in rows]}
pd.DataFrame({name: share_right(picks) for name, picks in blind.items()}, index=["share", "low", "high"]).T.round(2)

# %% [markdown]
# ## One question, by hand
#
# The model knows nothing of options. It gives every possible next token (a word, or a piece of one) a probability. So we
# append each option to the question, and add up the logarithms of the probabilities of the option's tokens.

# %%
start, tokenizer = load("start", model_name)
known = {row["text"]: row for row in choices("everyday")}
two = [known["Planes take off from an"], known["You cut wood with a"]]
print(*(f"{row['text']} ... {row['options']}" for row in two), sep="\n")

# %%
def by_hand(prompt, option):
    """Return the tokens of an option, and the log-probability of each after all that stands before it."""
    before, after = tokenizer(prompt)["input_ids"], tokenizer(option)["input_ids"]
    with torch.no_grad():
        logits = start(torch.tensor([before + after])).logits[0]  # (positions, vocabulary)
    log_probs = logits.log_softmax(-1)
    # The scores for a token stand one position earlier, where the model has not read it yet.
    places = range(len(before) - 1, len(before) + len(after) - 1)
    return tokenizer.convert_ids_to_tokens(after), [log_probs[p, t].item() for p, t in zip(places, after)]

# %%
hand = []
for row in two:
    for place, option in enumerate(row["options"]):
        tokens, scores = by_hand(prompt_of(row), f" {option}")
        hand.append({"question": row["text"], "option": option, "tokens": " ".join(tokens).replace("Ġ", "_"),
                     "sum": sum(scores), "per token": sum(scores) / len(scores),
                     "per character": sum(scores) / len(option), "right": place == row["right"]})
for hand_row in hand:
    record(f"hand_{hand_row['option']}", hand_row["sum"])
    record(f"hand_{hand_row['option']}_per_character", hand_row["per character"])
pd.DataFrame(hand).round(2)

# %% [markdown]
# Each row is one option, and `_` stands for the space before a word. Log-probabilities are negative, and each token makes the
# sum smaller. So a long option has a handicap. Two remedies are in use: divide by the number of tokens, or by the number of
# characters. Go through each question, one column at a time: the highest number is the model's choice. The columns need not
# agree, and none of them is always right. A benchmark has to say which one it uses.
#
# ## All questions
#
# `option_scores` does the same for many questions at once. First we see that it gives the same numbers.

# %%
def plain(row):
    """Return the prompt, and the options as they follow it."""
    return prompt_of(row), [f" {option}" for option in row["options"]]


def scores_of(model, rows, ask=plain):
    """Return the log-probability of each option of each question."""
    prompts, options = zip(*map(ask, rows))
    return option_scores(model, tokenizer, prompts, options)


mine = scores_of(start, rows)
batched = [score for scores in scores_of(start, two) for score in scores]
apart = max(abs(hand_row["sum"] - score) for hand_row, score in zip(hand, batched))
print(f"by hand and in a batch: at most {apart:.1e} apart")

# %%
def picked(scores, lengths=None):
    """Return the option that a model is taken to choose; with lengths, after dividing by them."""
    best = max if pick == "most" else min
    worth = scores if lengths is None else [score / length for score, length in zip(scores, lengths)]
    return worth.index(best(worth))


def accuracy(name, scores, rows, lengths=None, keep=True):
    """Return right or wrong for each question; record the share under a name."""
    lengths = lengths or [None] * len(rows)
    right = [picked(s, n) == row["right"] for s, n, row in zip(scores, lengths, rows)]
    if keep:
        record(name, sum(right) / len(right), *wilson(sum(right), len(right)), n=len(right), seed=seed)
    return right


before = accuracy("before_choice_accuracy", mine, rows)

# %% [markdown]
# And the organiser, which was fine-tuned on calendar messages only? An everyday question has nothing to do with that. Both answered
# the same questions, so we compare question by question. *Gained* counts those that only the organiser got right, *lost* those
# that only the starting model did. *p* says how often chance alone would make gained and lost at least as uneven: below 0.05
# one usually says that there is a difference. [Custom evaluation](../custom_evaluation.md) explains both.

# %%
tuned, _ = load(organiser, model_name)
after = accuracy("after_choice_accuracy", scores_of(tuned, rows), rows)
print(compare(before, after))

# %% [markdown]
# ## The same with lighteval
#
# lighteval, a library that runs benchmarks, wants a *task*: data, a function that turns a row into a prompt with options (a
# `Doc`), and metrics. A metric has two parts here: one scores a question, the other one averages. lighteval's own accuracy takes
# the highest sum. We add two that divide by characters: with the space before the option counted, and without.

# %%
def as_doc(row, task_name):
    """Turn one row of the data into what lighteval asks."""
    prompt, options = plain(row)
    return Doc(task_name=task_name, query=prompt, choices=options, gold_index=row["right"])


def by_characters(name, ignore_space):
    """Return a metric that divides by characters; the space before an option counts, or not."""
    norm = LogProbCharNorm(ignore_first_space=ignore_space)
    return SampleLevelMetric(name, sample_level_fn=LoglikelihoodAcc(logprob_normalization=norm),
                             category=SamplingMethod.LOGPROBS, corpus_level_fn=lambda s: sum(s) / len(s),
                             higher_is_better=True)

# %%
folder = tempfile.mkdtemp()
task = LightevalTaskConfig(
    name="everyday", prompt_function=as_doc, hf_repo=write_rows(folder, test=rows), hf_subset="default",
    metrics=[Metrics.loglikelihood_acc, by_characters("with_space", False), by_characters("without_space", True)],
    hf_avail_splits=["test"], evaluation_splits=["test"],
)
light, details = run_lighteval(task, start, model_path, name="start")
{name: round(float(value), 4) for name, value in light.items()}

# %% [markdown]
# The same accuracy is not enough: two differences could cancel out. So we compare every log-probability.

# %%
theirs = {int(d.doc.id): d.model_response.logprobs for d in details}
light_apart = max(abs(a - b) for i, scores in enumerate(mine) for a, b in zip(scores, theirs[i]))
record("lighteval_apart", light_apart, n=4 * len(rows))
record("lighteval_accuracy", light["acc"], n=len(rows))
light_tuned, _ = run_lighteval(task, tuned, model_path, name=organiser)
print(f"organiser: {light_tuned['acc']:.4f} by lighteval, {sum(after) / len(after):.4f} by hand")

# %% [markdown]
# ## A second opinion: lm-eval
#
# lm-eval is another library, with other code. It turns question and option into tokens together, and then cuts them apart;
# lighteval and we tokenise them apart. This tokenizer joins a space to the word that follows, so a cut before the space gives
# the same tokens both ways.

# %%
asked = rows[:second_opinion]
lm, lm_scores = run_lm_eval(asked, [prompt_of(row) for row in asked], start, tokenizer)
lm_apart = max(abs(a - b) for x, y in zip(mine, lm_scores) for a, b in zip(x, y))
record("lm_eval_apart", lm_apart, n=4 * len(asked))
record("lm_eval_accuracy", lm["acc"], n=len(asked))
{name: value for name, value in lm.items() if "stderr" not in name}

# %% [markdown]
# The *normalised* accuracy, which divides by length, is where the two differ. lm-eval's `acc_norm` divides by the characters of
# the option. lighteval divides by those of what follows the prompt, so the space before the option counts, unless told otherwise.
# For how many questions does that one character change the answer?

# %%
without = [[len(option) for option in row["options"]] for row in asked]
with_space = [[length + 1 for length in lengths] for lengths in without]
moved = [row["text"] for row, s, a, b in zip(asked, mine, without, with_space) if picked(s, a) != picked(s, b)]
own_norm = sum(accuracy("", mine, asked, without, keep=False)) / len(asked)
print(f"lm-eval's acc_norm {lm['acc_norm']:.4f}, ours without the space {own_norm:.4f}; {len(moved)} answers move: {moved[:2]}")

# %% [markdown]
# ## What else moves the score
#
# The same model and the same questions, asked in other forms. *Plain* is the form so far. *Letters*: the options stand in the
# prompt as A to D, and the letters are scored. *Chat*: the same as a user's message. With *examples*, solved questions come before
# the question.

# %%
def letters(row):
    """Options as A to D in the prompt; what is scored is the letter."""
    options = "\n".join(f"{letter}. {option}" for letter, option in zip("ABCD", row["options"]))
    return f"{row['text']}\n{options}\nAnswer:", [f" {letter}" for letter in "ABCD"]


def chat(row):
    """The same as a user's message."""
    message = [{"role": "user", "content": letters(row)[0].replace("\nAnswer:", "\nAnswer with one letter.")}]
    return tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True), list("ABCD")


def after_examples(ask, shown):
    """Return a form that shows solved questions first."""
    def asked(row):
        solved = [prompt + options[example["right"]] for example in shown for prompt, options in [ask(example)]]
        return "\n\n".join([*solved, ask(row)[0]]), ask(row)[1]
    return asked

# %%
few = rows[:in_each_form]
shown = random.Random(seed).sample(pool, min(examples, len(pool)))
print(after_examples(letters, shown[:1])(few[0])[0])

# %%
forms = {"plain": plain, "plain_examples": after_examples(plain, shown), "letters": letters,
         "letters_examples": after_examples(letters, shown), "chat_letters": chat}
form_scores = {name: scores_of(start, few, ask) for name, ask in forms.items()}
lengths = {"tokens": [[len(tokenizer(f" {option}")["input_ids"]) for option in row["options"]] for row in few],
           "characters": [[len(option) for option in row["options"]] for row in few]}
right = {name: accuracy(f"form_{name}", scores, few) for name, scores in form_scores.items()}
for unit, counts in lengths.items():
    right[f"plain_per_{unit}"] = accuracy(f"form_plain_per_{unit}", form_scores["plain"], few, counts)

# %%
names = list(right)
shares = [sum(right[name]) / len(few) for name in names]
spans = [wilson(sum(right[name]), len(few)) for name in names]
fig, ax = plt.subplots(figsize=(7, 3.2))
ax.errorbar(shares, names, xerr=[[s - low for s, (low, _) in zip(shares, spans)],
                                 [high - s for s, (_, high) in zip(shares, spans)]], fmt="o", color="#0072B2")
ax.axvline(0.25, color="#D55E00", linestyle="--", label="chance")
ax.invert_yaxis()
ax.set(xlabel="share right, with 95 % interval", xlim=(0, 1), title="One model, the same questions, other forms")
ax.legend()
fig.tight_layout()

# %% [markdown]
# With letters, does the model choose, or does it like one letter? Count which it gives, and compare with the last column: how
# often each letter is the right one.

# %%
letters_given = {name: Counter("ABCD"[picked(s)] for s in form_scores[name])
                 for name in ("letters", "letters_examples", "chat_letters")}
letters_given["right"] = Counter("ABCD"[row["right"]] for row in few)
pd.DataFrame(letters_given).reindex(list("ABCD")).fillna(0).astype(int)

# %% [markdown]
# ## Let it write
#
# A *generative* benchmark lets the model write and compares texts. Now something has to find the answer in what it wrote. *Exact
# match* wants the right option and nothing else. *Prefix match* only asks that the text begins with it.

# %%
from lighteval.metrics.metrics_sample import ExactMatches


def generative(name, kind):
    """Return lighteval's metric of this kind: "full" or "prefix"."""
    match = ExactMatches(strip_strings=True, type_exact_match=kind)
    return SampleLevelMetric(name, sample_level_fn=match, category=SamplingMethod.GENERATIVE,
                             corpus_level_fn=lambda s: sum(s) / len(s), higher_is_better=True)


spoken = rows[:written_out]
writing = LightevalTaskConfig(
    name="everyday_written", prompt_function=as_doc, hf_repo=write_rows(tempfile.mkdtemp(), test=spoken),
    hf_subset="default", metrics=[generative("exact", "full"), generative("prefix", "prefix")],
    hf_avail_splits=["test"], evaluation_splits=["test"], generation_size=6, stop_sequence=["\n"])
wrote, samples = run_lighteval(writing, start, model_path, name="start")
{name: round(float(value), 4) for name, value in wrote.items() if "stderr" not in name}

# %% [markdown]
# By hand: continue greedily (always with the likeliest token), cut at the line's end, strip the spaces, compare.

# %%
def continue_text(prompt):
    """Return what the model writes after the prompt, greedily: at most 6 tokens of one line."""
    ids = tokenizer(prompt, return_tensors="pt")
    new = start.generate(**ids, max_new_tokens=6, do_sample=False, pad_token_id=tokenizer.pad_token_id)
    return tokenizer.decode(new[0, ids["input_ids"].shape[1]:], skip_special_tokens=True).split("\n")[0].strip()


texts = [continue_text(prompt_of(row)) for row in spoken]
truths = [row["options"][row["right"]] for row in spoken]
exact = sum(text == truth for text, truth in zip(texts, truths)) / len(spoken)
prefix = sum(text.startswith(truth) for text, truth in zip(texts, truths)) / len(spoken)
print(f"by hand: exact {exact:.4f}, prefix {prefix:.4f}; by lighteval {wrote['exact']:.4f} and {wrote['prefix']:.4f}")
pd.DataFrame({"question": [row["text"] for row in spoken], "wrote": texts, "right": truths}).head(6)

# %%
for name, share in {"exact": exact, "prefix": prefix, "scored": sum(before[: len(spoken)]) / len(spoken)}.items():
    record(f"written_{name}", share, *wilson(round(share * len(spoken)), len(spoken)), n=len(spoken), seed=seed)

# %% [markdown]
# The same model and the same questions again; `written_scored` is its share of right options when they are only scored. Look at
# the column *wrote*: is a text that counts as wrong nonsense, or just none of the options?
#
# ## Contamination
#
# A benchmark does not measure what a model can do if its questions were in training. The usual search: does a test text share a
# run of words with a training text? We look for eight words in a row.

# %%
def runs(text, n=8):
    """Return all runs of n words of a text."""
    words = "".join(c if c.isalnum() else " " for c in text.casefold()).split()
    return {tuple(words[i:i + n]) for i in range(len(words) - n + 1)}


def contaminated(tests, trains, n=8):
    """Return the test texts that share a run of n words with a training text."""
    seen = set().union(*(runs(text, n) for text in trains))
    return [text for text in tests if runs(text, n) & seen]


train, test = ([row["message"] for row in events(split)] for split in ("train", "test"))
leaked = train + [test[0], "Fwd: " + test[1]]
print("as they ship:", len(contaminated(test, train)), "of", len(test), "test messages")
print("two planted: ", len(contaminated(test, leaked)))
print("reworded:    ", len(contaminated(["Omar says that the kart race at Turbo Track is at ten to six on Saturday"], [test[1]])))

# %% [markdown]
# The search finds copies. It overlooks a reworded message, and cannot see one of fewer than eight words. What would a leak be
# worth? We put the answer into the prompt: the last of the solved examples is the very question that is asked.

# %%
leaks = [scores_of(start, [row], after_examples(letters, [*shown[:-1], row]))[0] for row in few]
leak = accuracy("form_letters_leaked", leaks, few)
print(compare(right["letters_examples"], leak))

# %% [markdown]
# ## The course's own quiz
#
# Quiz questions of the course's lessons, with options. They want reasoning, and there are few of them.

# %%
quiz = list(choices("quiz"))
quiz_right = accuracy("quiz_accuracy", scores_of(start, quiz), quiz)
quiz_norm = accuracy("quiz_accuracy_per_character", scores_of(start, quiz), quiz,
                     [[len(option) for option in row["options"]] for row in quiz])

# %% [markdown]
# Look at the interval before you speak of this number: with so few questions it is wide. In the recorded run it contains 25 %, the
# score of guessing, so nothing is shown here.
#
# **The claim of this notebook**, checked by the notebook itself: three ways to compute the accuracy on the everyday questions
# give one number, and the starting model is better than chance on them.

# %%
low, _ = wilson(sum(before), len(before))
assert low > 0.25, f"no better than chance: the interval begins at {low:.2f}"
assert abs(light["acc"] - sum(before) / len(before)) < 1e-9, "lighteval's accuracy is another"
assert abs(lm["acc"] - sum(before[: len(asked)]) / len(asked)) < 1e-9, "lm-eval's accuracy is another"
assert max(apart, light_apart, lm_apart) < 1e-2, f"log-probabilities differ: {light_apart:.1e}, {lm_apart:.1e}"
assert exact == wrote["exact"] and prefix == wrote["prefix"], "the written answers are scored otherwise"
print(f"✅ one number from three programs: {sum(before) / len(before):.3f}, at least {low:.2f} where chance is 0.25")

# %% [markdown]
# ## More questions
#
# A *study* repeats a notebook with other settings. This one (`smol study 4/automatic_benchmarks`) asks all questions in every
# form, and repeats the forms with more examples and with other ones.

# %% tags=["study"]
study = study_runs("automatic_benchmarks")
done = {name: run["results"] for name, run in study.items() if not run["failed"]}
pd.DataFrame({name: {key: f"{result['value']:.2f} ({result['low']:.2f} to {result['high']:.2f})"
                     for key, result in results.items() if result["low"] is not None}
              for name, results in done.items()})

# %% [markdown]
# The control, a metric that picks the least likely option, must fail:

# %% tags=["study"]
print(study["least_likely"]["failed"])

# %% [markdown]
# ## What to believe
#
# That the three programs agree is solid: but for rounding, they agree in every log-probability. That the model knows everyday
# facts is a claim about *these* questions in *this* form; the figure shows the others. So two scores may be compared only if
# questions, form, examples and normalisation are the same, and even then with their intervals. That the model never saw these
# questions is not shown.
#
# ## Exercises
#
# ### 🐢 The chosen option (5 minutes)
#
# **Goal:** decide for the model, with and without normalisation. **Input:** `scores`, a list with the summed log-probability of
# each option; `options`, a list of their texts; `per_character`, True or False. **Output:** the index of the chosen option, a
# whole number counted from 0. With `per_character`, each score is first divided by the number of characters of its option.
# **Example:** scores `[-4.0, -6.0]` and options `["cup", "kettle"]` give 0, and with `per_character` 1. **Judged by:** six
# questions. Stuck? `hint("automatic_benchmarks/turtle")`.

# %% tags=["exercise"]
def chosen(scores, options, per_character):
    """Return the index of the option that the model is taken to choose."""
    ...

# %% tags=["check"]
check("automatic_benchmarks/turtle", chosen)

# %% [markdown]
# ### 🐕 The log-probability of a continuation (20 minutes)
#
# **Goal:** compute what every log-likelihood benchmark rests on. **Input:** `logits`, a float tensor (tokens, vocabulary): row *t*
# holds the model's raw scores for what comes next, after it has read the tokens 0 to *t*; `ids`, a list with the token ids of
# prompt and option together; `start`, the place of the option's first token in `ids`, at least 1. **Output:** one number, the sum
# of the log-probabilities (natural logarithm) of the option's tokens. The logits stay as they were. **Example:** with a
# vocabulary of 2, logits of zeros, `ids = [0, 1, 1]` and `start = 1`, both tokens of the option have probability 1/2, so the sum
# is −1.386. **Judged by:** four cases. Hints: `hint("automatic_benchmarks/dog")`.

# %% tags=["exercise"]
def continuation_logprob(logits, ids, start):
    """Return the summed log-probability of ids[start:] after what stands before."""
    ...

# %% tags=["check"]
check("automatic_benchmarks/dog", continuation_logprob)

# %% [markdown]
# ## Go further
#
# With the Hub, lighteval knows hundreds of tasks by name. This downloads data and a model, and wants a GPU to be quick:
#
# ```bash
# lighteval accelerate "model_name=HuggingFaceTB/SmolLM2-135M-Instruct" "mmlu:abstract_algebra|0,arc:challenge|0,gsm8k|5,ifeval|0" --max-samples 50
# ```
#
# ARC (science questions) scores the options by their log-probability, as here. With lighteval 0.13 the others let the model
# write: MMLU (school and university subjects) the letter of an option, GSM8K (school mathematics) and IFEval (instructions that
# a program can check) a text. The number after `|` is how many examples are shown.
