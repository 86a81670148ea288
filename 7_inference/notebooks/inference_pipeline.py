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
# # The inference pipeline: from a text to a text
#
# You make every step between a message and its answer by hand once, see that `generate` and `pipeline` do the same, and
# then turn their dials: sampling, batches, streaming, stopping, chat.
#
# What this notebook cost in time and memory when it was last run stands in the table of the module's README.
# The lesson to read first: [inference_pipeline.md](../inference_pipeline.md).
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/smol-ai/course/blob/main/7_inference/notebooks/inference_pipeline.ipynb)
# In Colab, read the lesson [on GitHub](https://github.com/smol-ai/course/blob/main/7_inference/inference_pipeline.md).

# %% tags=["install"]
# On Colab, install what this notebook needs; anywhere else this does nothing.
import importlib.util
import sys
if importlib.util.find_spec("smol_course") is None:
    print("Installing the course with what this notebook needs: about a minute.")
    needs = '"smol-course @ git+https://github.com/smol-ai/course"'
    get_ipython().system(f"uv pip install -q --python {sys.executable} {needs} || {sys.executable} -m pip install -q {needs}")

# %% [markdown]
# With `padding_side = "right"` the claim at the end fails, as it should.

# %% tags=["parameters"]
from smol_course.parameters import number, one_of, whole
model_name: str = "HuggingFaceTB/SmolLM2-135M-Instruct"
seed: whole(0, 2**32 - 1) = 0
message: str = "dinner with Ana at Luna, Fri 7.30pm?"
new_tokens: whole(1, 512) = 48  # the longest answer we wait for; the longest right one is shorter
test_messages: whole(1) = 8  # asked greedily and with sampling
temperature: number(0, 10) = 1.0  # of that sampling; 0: greedy again
rows: whole(1) = 3  # messages in the batch
padding_side: one_of("left", "right") = "left"  # where a batch is padded
draws: whole(1) = 2000  # tokens drawn to see a distribution

# %% tags=["setup"]
import threading
import time
import matplotlib.pyplot as plt
import pandas as pd
import torch
from tokenizers.decoders import DecodeStream
from transformers import (
    AutoModelForCausalLM, TemperatureLogitsWarper, TextIteratorStreamer, TopKLogitsWarper,
    TopPLogitsWarper, pipeline, set_seed)
from smol_course.data import SYSTEM_PROMPT, conversation, events, study_runs
from smol_course.exercises import check, hint
from smol_course.hardware import prepare
from smol_course.inference.engines import organiser
from smol_course.metrics import record, score_events
from smol_course.models import answer, merged

# %% [markdown]
# The organiser is the starting model with the adapter of [LoRA](../../3_parameter_efficient_finetuning/lora.md) merged into
# it: yours if you made one, else the one that ships with the course.

# %% tags=["setup"]
here = prepare()
set_seed(seed)
model_path, adapter, tokenizer = organiser(model_name)
model = merged(model_path, adapter)

# %% [markdown]
# ## From a message to tokens
#
# The message becomes a conversation, the chat template makes one text of it, and the tokenizer cuts that into tokens.

# %%
def chat(message):
    """The conversation that asks the organiser about a message."""
    return conversation(SYSTEM_PROMPT, message, "")["prompt"]


text = tokenizer.apply_chat_template(chat(message), add_generation_prompt=True, tokenize=False)
print(text)

# %%
ids = tokenizer(text)["input_ids"]
print(len(ids), "tokens; the last twelve:")
pd.DataFrame({"number": ids, "token": [repr(tokenizer.decode(i)) for i in ids]}).tail(12).T

# %% [markdown]
# ## From tokens to logits
#
# The model gives each position one score for every token of the vocabulary: what may come next. Only the last row matters
# now. The softmax makes probabilities of its scores.

# %%
with torch.inference_mode():
    logits = model(torch.tensor([ids])).logits  # (1, tokens, vocabulary)
probabilities = logits[0, -1].softmax(-1)
best = probabilities.topk(5)
print(tuple(logits.shape))
record("first_probability", best.values[0].item(), seed=seed)
pd.DataFrame({"token": [repr(tokenizer.decode(i)) for i in best.indices], "probability": best.values.tolist()}).round(4)

# %% [markdown]
# ## From logits to a text
#
# Take the likeliest token, append it to the others, and read everything again. The end marker ends the loop.

# %%
def write(ids, most):
    """Return the tokens that greedy decoding writes after these."""
    new = []
    while len(new) < most:
        with torch.inference_mode():
            scores = model(torch.tensor([ids + new])).logits[0, -1]  # (vocabulary,)
        token = int(scores.argmax())
        if token == tokenizer.eos_token_id:
            break
        new.append(token)
    return new


by_hand = write(ids, new_tokens)
print(len(by_hand), "tokens:", tokenizer.decode(by_hand))

# %% [markdown]
# That is the whole loop. `generate` does the same, and keeps what it has read (the notebook `optimisation` shows how). `pipeline`
# adds the template before it and the decoding after it.

# %%
batch = torch.tensor([ids])
tokens = model.generate(batch, attention_mask=torch.ones_like(batch), max_new_tokens=new_tokens, do_sample=False)
generated = tokenizer.decode(tokens[0, len(ids):], skip_special_tokens=True)

asking = pipeline("text-generation", model=model, tokenizer=tokenizer)
reply = asking(chat(message), max_new_tokens=new_tokens, do_sample=False)
piped = reply[0]["generated_text"][-1]["content"]
assert tokenizer.decode(by_hand) == generated == piped
print("by hand = generate = pipeline:", piped)

# %% [markdown]
# ## Sampling: the same logits, another choice
#
# Greedy decoding always gives the same answer. *Sampling* draws the next token by its probability, and three dials shape the
# probabilities first. The organiser is too sure to show it, so we ask the starting model an open question.

# %%
start = AutoModelForCausalLM.from_pretrained(model_path, dtype="float32")
opening = [{"role": "user", "content": "Where shall we have lunch?"}]
question = tokenizer.apply_chat_template(opening, add_generation_prompt=True, tokenize=False) + "Let us go to the"
with torch.inference_mode():
    scores = start(**tokenizer(question, return_tensors="pt")).logits[0, -1]  # (vocabulary,)
del start

# %% [markdown]
# - **Temperature** divides the scores. Below 1 the likely become likelier, above 1 all come closer together.
# - **Top-k** keeps the k likeliest tokens.
# - **Top-p** keeps the likeliest tokens that together reach the share p, however many these are.

# %%
def shaped(scores, temperature=1.0, top_k=0, top_p=1.0):
    """Turn scores (vocabulary,) into the probabilities by which a token is drawn."""
    scores = scores / temperature
    if top_k:
        scores = scores.masked_fill(scores < scores.topk(top_k).values[-1], -torch.inf)
    probabilities, order = scores.softmax(-1).sort(descending=True)
    likelier = probabilities.cumsum(-1) - probabilities  # what stands before a token, together
    probabilities = probabilities * (likelier < top_p)
    return torch.zeros_like(scores).scatter(0, order, probabilities / probabilities.sum())


# %% [markdown]
# The library has one small class for each dial. Ours must give the same.

# %%
warpers = [TemperatureLogitsWarper(0.7), TopKLogitsWarper(50), TopPLogitsWarper(0.9)]
theirs = scores[None]  # (1, vocabulary)
for warper in warpers:
    theirs = warper(None, theirs)
ours = shaped(scores, temperature=0.7, top_k=50, top_p=0.9)
assert torch.allclose(theirs[0].softmax(-1), ours, atol=1e-5)
print(f"{(ours > 0).sum()} of {len(ours):,} tokens are left")

# %%
fig, ax = plt.subplots(figsize=(6.5, 3.2))
for heat, style, colour in ((0.5, "-", "#0072B2"), (1.0, "--", "#D55E00"), (1.5, ":", "#009E73")):
    curve = shaped(scores, temperature=heat).sort(descending=True).values
    within = int((curve.cumsum(-1) < 0.9).sum()) + 1
    ax.loglog(range(1, 5001), curve[:5000], style, color=colour, label=f"temperature {heat}: {within:,} tokens hold 90 %")
    ax.loglog(within, curve[within - 1], "o", color=colour)
ax.set(xlabel="token, the likeliest is 1st", ylabel="probability", ylim=(1e-7, 1),
       title="Temperature moves probability to the tail")
ax.legend(fontsize=8)
fig.tight_layout()

# %% [markdown]
# Each dot is where top-p 0.9 would cut. Now draw: how often a token comes agrees with its probability.

# %%
probabilities = shaped(scores, temperature=1.0)
drawn = torch.multinomial(probabilities, draws, replacement=True)
likely = probabilities.topk(6).indices
table = {"token": [repr(tokenizer.decode(i)) for i in likely], "probability": probabilities[likely].tolist(),
         "drawn": [(drawn == i).float().mean().item() for i in likely]}
pd.DataFrame(table).round(3)

# %% [markdown]
# ### Where is the organiser unsure?
#
# One pass over the prompt and its answer gives the probability that each token of the answer had.

# %%
whole = torch.tensor([ids + by_hand])
with torch.inference_mode():
    sure = model(whole).logits[0, len(ids) - 1:-1].softmax(-1).max(-1)  # for each token of the answer
order = sure.values.argsort()[:5]
least = {"token": [repr(tokenizer.decode(sure.indices[i])) for i in order], "probability": sure.values[order].tolist(),
         "behind": [tokenizer.decode(by_hand[max(0, int(i) - 4):int(i)]) for i in order]}
pd.DataFrame(least).round(3)

# %% [markdown]
# Where do these stand: at a brace, a field's name, a copied word, or where something had to be decided? What has to be
# decided is what sampling may decide otherwise, and if one answer is right, that does harm. So we ask the test messages
# both ways. `answer` of the course puts them into batches, as built below.

# %%
test = events("test").take(test_messages)
prompts = [chat(text) for text in test["message"]]


def ask(name, heat):
    """Answer the test messages at a temperature; record the event accuracy."""
    answers = answer(model, tokenizer, prompts, new_tokens, bf16=here.bf16, show=False, temperature=heat)
    score = score_events(answers, test["event"])
    record(f"{name}_event_accuracy", score.accuracy, score.low, score.high, score.n, seed)
    return answers


greedy_said, sampled_said = ask("greedy", 0.0), ask("sampled", temperature)

# %%
for text, greedy_answer, sampled_answer in zip(test["message"], greedy_said, sampled_said):
    if greedy_answer != sampled_answer:
        print(text.replace("\n", " / "), "\n   greedy ", greedy_answer, "\n   sampled", sampled_answer)
        break

# %% [markdown]
# ## Batches, and where they are padded
#
# Several messages at once share the reading of the weights. The rows of a batch must be equally long, so the shorter ones are
# padded. The next token is written after the *last* position, and so the padding belongs on the left.

# %%
several = sorted(prompts, key=lambda prompt: len(prompt[1]["content"]))[:: max(1, len(prompts) // rows)][:rows]


def encoded(side):
    """The prompts as one batch: ids and mask, each (rows, longest)."""
    tokenizer.padding_side = side
    return tokenizer.apply_chat_template(
        several, add_generation_prompt=True, padding=True, return_dict=True, return_tensors="pt")


for side in ("left", "right"):
    print(f"{side:6}", encoded(side)["attention_mask"][0].tolist())

# %%
def batched(side):
    """Answer the prompts as one batch that is padded on this side."""
    batch = encoded(side)
    tokens = model.generate(**batch, max_new_tokens=new_tokens, do_sample=False)  # (rows, longest + new)
    return tokenizer.batch_decode(tokens[:, batch["input_ids"].shape[1]:], skip_special_tokens=True)


alone = [answer(model, tokenizer, [prompt], new_tokens)[0] for prompt in several]
sides = {side: batched(side) for side in ("left", "right")}
same = {side: sum(a.strip() == b for a, b in zip(answers, alone)) / len(alone) for side, answers in sides.items()}
for side, share in same.items():
    record(f"{side}_same", share, n=len(alone), seed=seed)

# %%
shortest = several[0][1]["content"]
print(shortest, "\n   alone:", alone[0], "\n   left: ", sides["left"][0], "\n   right:", sides["right"][0])

# %% [markdown]
# The mask is the other half: it says which positions are padding. Without it the model reads the padding as if it had been written.
# Here is how far that moves the logits of the next token, for the shortest row; with the mask only rounding should be left.

# %%
batch = encoded("left")
own = tokenizer.apply_chat_template(several[0], add_generation_prompt=True, return_dict=True, return_tensors="pt")
with torch.inference_mode():
    lone = model(**own).logits[0, -1]
    masked = model(**batch, position_ids=(batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)).logits[0, -1]
    bare = model(batch["input_ids"]).logits[0, -1]
for name, row in {"with_mask": masked, "without_mask": bare}.items():
    record(f"moved_{name}", (row - lone).abs().max().item(), seed=seed)

# %% [markdown]
# **The claim of this notebook**, checked by the notebook itself:

# %%
changed = [text for text, other in zip(sides[padding_side], alone) if text.strip() != other]
assert not changed, f"batching changed the answers: {len(changed)} of {rows} differ"
print(f"✅ {rows} answers of one batch are those of each message alone")

# %% [markdown]
# ## Streaming
#
# A user need not wait for the end. A *streamer* gets each token as it is written; `generate` runs in a thread meanwhile.

# %%
streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
job = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long), "streamer": streamer}
begun = time.perf_counter()
worker = threading.Thread(target=model.generate, kwargs=job | {"max_new_tokens": new_tokens, "do_sample": False})
worker.start()
pieces = [(piece, time.perf_counter() - begun) for piece in streamer]
worker.join()
print(" | ".join(piece for piece, _ in pieces[:12]), "| …")

# %%
record("first_text_seconds", next(when for piece, when in pieces if piece.strip()), seed=seed)
record("whole_text_seconds", pieces[-1][1], seed=seed)

# %% [markdown]
# A token is a piece of *bytes*, not of letters. Frequent letters such as ê are one token here; rare ones and emoji are several, and
# none of these alone is text. A stream decoder keeps them back until the letter is whole.

# %%
parts = tokenizer.encode("Crêpes 🐢 at 7")
print("one by one:", [tokenizer.decode(part) for part in parts])
decoder = DecodeStream(skip_special_tokens=True)
print("as stream: ", [decoder.step(tokenizer.backend_tokenizer, part) for part in parts])

# %% [markdown]
# ## Stopping
#
# What ends an answer? The end marker, if the model learned to write it and the library knows which it is; a text that we
# name; or the limit.

# %%
ways = {
    "end marker": {},
    "the text }": {"stop_strings": ["}"], "tokenizer": tokenizer},
    "the limit": {"eos_token_id": len(tokenizer)},  # no token has this number
}
for name, how in ways.items():
    tokens = model.generate(**own, max_new_tokens=new_tokens, do_sample=False, **how)[0, own["input_ids"].shape[1]:]
    record(f"tokens_until_{name.split()[-1].replace('}', 'brace')}", len(tokens), seed=seed)
    print(f"{name:11} {tokenizer.decode(tokens)!r}")

# %% [markdown]
# A server that knows the wrong end marker pays for every answer up to the limit. And a limit that is too short cuts the JSON.
#
# ## Chat: the model remembers nothing
#
# A second question must bring the first one and its answer along. The conversation is the memory, and all of it is read
# anew.

# %%
talk = chat(message) + [{"role": "assistant", "content": piped}, {"role": "user", "content": "Omar: kart race Sat 17:50"}]
second = tokenizer.apply_chat_template(talk, add_generation_prompt=True)["input_ids"]
print(f"first question {len(ids)} tokens, second {len(second)}")
print("the second begins with all of the first:", second[:len(ids)] == ids)
print(answer(model, tokenizer, [talk], new_tokens)[0])

# %% [markdown]
# What is the same at the beginning need not be computed twice: servers keep it (*prefix caching*). That works only while
# nothing in front changes. A clock in the system prompt makes every request new.
#
# ## What to believe: the study
#
# Sixteen messages and one seed say little about temperature. `smol study 7/inference_pipeline` asks more messages at several
# temperatures with three seeds each, and runs once with the padding on the right, which must fail.

# %% tags=["study"]
study = study_runs("inference_pipeline")
numbers = {run: entry["results"] for run, entry in study.items()}
warm = {run: entry["parameters"]["temperature"] for run, entry in study.items() if run.startswith("temperature")}
greedy = numbers["temperature_1_seed_0"]["greedy_event_accuracy"]["value"]  # every run has it, the same but for rounding
measured = pd.DataFrame([{"temperature": 0.0, "event accuracy": greedy}] + [
    {"temperature": heat, "event accuracy": numbers[run]["sampled_event_accuracy"]["value"]} for run, heat in warm.items()])
measured.pivot_table(index="temperature", values="event accuracy", aggfunc=["mean", "min", "max"]).round(2)

# %% tags=["study"]
fig, ax = plt.subplots(figsize=(6, 3))
ax.plot(measured["temperature"], measured["event accuracy"], "o", color="#0072B2")
ax.set(xlabel="temperature", ylabel="event accuracy", ylim=(0, 1), title="The organiser's answers, greedy (0) and sampled")
fig.tight_layout()
print("right_padding:", study["right_padding"]["failed"])

# %% [markdown]
# Each dot is one seed (greedy decoding needs none). Where one answer is right, take the likeliest. Sampling earns its place
# where several answers are wanted: in writing, for synthetic data, or to draw candidates among which something else chooses
# (*best-of-n*).
#
# ## Exercises
#
# ### 🐢 Probabilities at a temperature (5 minutes)
#
# **Goal:** the softmax with temperature, from plain numbers. **Input:** `scores`, a list of numbers, and `temperature`, above
# 0. **Output:** a list of probabilities in the same order, which add up to 1. **Example:** `[0.0, 0.0]` gives `[0.5, 0.5]` at any
# temperature. **Judged by:** seven lists, some of them with scores far from 0 (`math.exp(1000)` is too large for a
# number). They must stay as they were.
# Hints: `hint("inference_pipeline/turtle")`.

# %% tags=["exercise"]
def probabilities_at(scores, temperature):
    """Return the probability of each token at this temperature."""
    ...

# %% tags=["check"]
check("inference_pipeline/turtle", probabilities_at)

# %% [markdown]
# ### 🐕 Top-p by hand (20 minutes)
#
# **Goal:** cut the tail off. **Input:** `probabilities`, a list that adds up to 1, and `top_p` from 0 to 1. **Output:** a list in the
# same order: the likeliest tokens that together reach `top_p` keep their probability, shared out anew so that it adds up to 1;
# the others get 0. The token that reaches `top_p` stays, and at least one stays. Of equal probabilities the earlier token comes
# first. **Example:** `[0.2, 0.5, 0.3]` and 0.6 give `[0, 0.625, 0.375]`. **Judged by:** six lists, which must stay as they were.
# Hints: `hint("inference_pipeline/dog")`.

# %% tags=["exercise"]
def keep_top_p(probabilities, top_p):
    """Return the probabilities with the tail beyond top_p cut off."""
    ...

# %% tags=["check"]
check("inference_pipeline/dog", keep_top_p)

# %% [markdown]
# ## Go further
#
# With the Hub (start with `SMOL_HUB=1`, or `smol run --hub`), take a larger model of the same family and public prompts:
#
# ```python
# from datasets import load_dataset
# asking = pipeline("text-generation", model="HuggingFaceTB/SmolLM2-1.7B-Instruct", dtype="bfloat16", device_map="auto")
# prompts = load_dataset("HuggingFaceH4/mt_bench_prompts", split="train")["prompt"]
# print(asking([{"role": "user", "content": prompts[0][0]}], max_new_tokens=200, temperature=0.7)[0]["generated_text"][-1])
# ```
