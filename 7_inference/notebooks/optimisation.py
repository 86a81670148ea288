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
# # Optimisation: where the time goes, and how to get it back
#
# You build the key-value cache by hand, compute how fast this machine can write at all, shorten the weights, and put
# *engines*, programs made for running models, side by side: the same organiser, the same messages, one run.
#
# What this notebook cost in time and memory when it was last run stands in the table of the module's README.
# The lesson to read first: [optimisation.md](../optimisation.md).
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/smol-ai/course/blob/main/7_inference/notebooks/optimisation.ipynb)
# In Colab, read the lesson [on GitHub](https://github.com/smol-ai/course/blob/main/7_inference/optimisation.md).

# %% tags=["install"]
# On Colab, install what this notebook needs; anywhere else this does nothing.
import importlib.util
import sys
if importlib.util.find_spec("smol_course") is None:
    print("Installing the course with what this notebook needs: about a minute.")
    needs = '"smol-course[serving] @ git+https://github.com/smol-ai/course"'
    get_ipython().system(f"uv pip install -q --python {sys.executable} {needs} || {sys.executable} -m pip install -q {needs}")

# %% [markdown]
# An engine is named by library and kind of weights. With no engine but `transformers float32` the claim at the end fails, as
# it should.

# %% tags=["parameters"]
from smol_course.parameters import listed, number, one_of, whole
model_name: str = "HuggingFaceTB/SmolLM2-135M-Instruct"
seed: whole(0, 2**32 - 1) = 0
engines: str = "transformers float32,llama.cpp Q8_0,openvino Q8_0"  # the first is what the others are compared with
timed_messages: whole(1) = 2  # asked one at a time, and timed
test_messages: whole(2) = 10  # the inbox: given to each engine at once, timed, and scored
at_once: whole(1) = 8  # of these, that llama.cpp works on together; transformers takes batches of twice as many
new_tokens: whole(1, 512) = 48  # the longest answer we wait for; the longest right one is shorter
cache_tokens: whole(1, 512) = 12  # written with and without a cache
batches: listed(of=whole(1)) = "1,4,16"  # rows of a batch
batch_tokens: whole(1, 512) = 12  # written for each row
memory_mb: whole(1) = 1000  # moved to measure the memory; must be more than any cache of the processor can store
guess: one_of("lookup", "early exit") = "lookup"  # tokens from the prompt, or from the model's own middle
guessed: whole(1) = 6  # tokens guessed at once
compiled: bool = False  # True: compile the step of one token too (a minute, and it needs a C++ compiler)
margin: number(0) = 5.0  # how many times plain float32's tokens per second the best engine must reach; 0: claim nothing

# %% tags=["setup"]
import gc
import random
import time
import gguf
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from transformers import DynamicCache, StaticCache, set_seed
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

# %% tags=["setup"]
from smol_course.data import SYSTEM_PROMPT, conversation, events, study_runs
from smol_course.exercises import check, hint
from smol_course.hardware import prepare
from smol_course.inference.engines import LlamaCpp, OpenVINO, Transformers, check_engines, file_mb, organiser
from smol_course.inference.gguf import KINDS, gguf_copy
from smol_course.metrics import record, score_events
from smol_course.models import merged

here = prepare()
set_seed(seed)
model_path, adapter, tokenizer = organiser(model_name)

# %% [markdown]
# ## The model and its messages
#
# The organiser with its adapter merged in, in float32, and test messages as token numbers.

# %%
model = merged(model_path, adapter)
shape = model.config
test = events("test").take(test_messages)
prompts = [conversation(SYSTEM_PROMPT, text, "")["prompt"] for text in test["message"]]
asked = [tokenizer.apply_chat_template(prompt, add_generation_prompt=True)["input_ids"] for prompt in prompts]
timed_alone = min(timed_messages, len(asked))
print(len(asked), "messages of", min(map(len, asked)), "to", max(map(len, asked)), "tokens")

# %%
def seconds(work, *given, times=3):
    """The best of a few times: only interruptions make one longer."""
    best = float("inf")
    for _ in range(times):
        begun = time.perf_counter()
        work(*given)
        best = min(best, time.perf_counter() - begun)
    return best


# %% [markdown]
# ## Two phases
#
# **Prefill** reads the prompt: all its tokens at once. **Decode** writes: one token, then the next. Here is what one pass
# through the model costs, by how many tokens go through together.

# %%
@torch.inference_mode()
def one_pass(tokens):
    """Send random tokens through the model once."""
    model(torch.ones(1, tokens, dtype=torch.long), use_cache=False, logits_to_keep=1)


# %%
sizes = (1, 4, 16, 64, 128)
one_pass(1)  # the first one warms up
passes = {tokens: seconds(one_pass, tokens) for tokens in sizes}
pd.DataFrame({"pass (ms)": {n: 1000 * s for n, s in passes.items()},
              "for each token (ms)": {n: 1000 * s / n for n, s in passes.items()}}).round(1)

# %% [markdown]
# Every pass must fetch all weights from memory once, for one token or for many. That is why a token that is written costs
# more than one that is read, and why batches and guessed tokens, below, can pay.

# %%
record("read_token_ms", 1000 * passes[64] / 64, seed=seed)
record("written_token_ms", 1000 * passes[1], seed=seed)

# %% [markdown]
# ## The key-value cache, by hand
#
# In attention, a new token looks at the *keys* of all tokens before it, and takes up their *values*. Those do not change
# when the text grows. So keep them. `attend` is one layer's attention for new tokens, with the model's own matrices.

# %%
def attend(layer, x, turn, kept):
    """Attention of new tokens x (new, width) to themselves and to what is kept, which gets their keys and values."""
    own, new = layer.self_attn, len(x)
    q, k, v = (part(x).view(new, -1, own.head_dim).transpose(0, 1) for part in (own.q_proj, own.k_proj, own.v_proj))
    q, k = apply_rotary_pos_emb(q, k, *turn, unsqueeze_dim=0)  # each (heads, new, head size)
    kept["k"], kept["v"] = torch.cat([kept["k"], k], 1), torch.cat([kept["v"], v], 1)
    total = kept["k"].shape[1]
    sees = torch.ones(new, total, dtype=torch.bool).tril(total - new)  # all before, and itself
    out = torch.nn.functional.scaled_dot_product_attention(
        q[None], kept["k"][None], kept["v"][None], attn_mask=sees, enable_gqa=True)[0]
    return own.o_proj(out.transpose(0, 1).reshape(new, -1))


# %%
def nothing_kept():
    """An empty cache: keys and values of no tokens, (heads, 0, head size), for each layer."""
    empty = torch.empty(shape.num_key_value_heads, 0, shape.head_dim)
    return [{"k": empty, "v": empty} for _ in range(shape.num_hidden_layers)]


# %%
@torch.inference_mode()
def next_scores(ids, cache):
    """Scores of the next token after new tokens, (vocabulary,); the cache holds all tokens before them."""
    body, first = model.model, cache[0]["k"].shape[1]
    x = body.embed_tokens(torch.tensor(ids))  # (new, width)
    turn = [t[0] for t in body.rotary_emb(x[None], torch.arange(first, first + len(ids))[None])]
    for layer, kept in zip(body.layers, cache):
        x = x + attend(layer, layer.input_layernorm(x), turn, kept)
        x = x + layer.mlp(layer.post_attention_layernorm(x))
    return model.lm_head(body.norm(x[-1]))


# %% [markdown]
# Three ways to write the same tokens: everything read anew each time; our cache; the library's.

# %%
@torch.inference_mode()
def without(ids):
    """Scores of the token after these ones, computed by reading all of them again."""
    return model(torch.tensor([ids]), use_cache=False, logits_to_keep=1).logits[0, -1]


# %%
def write(ids, scores_of, most):
    """Write greedily; scores_of gets all tokens and those that are new. Returns tokens and the scores of each step."""
    new, steps = [], []
    for _ in range(most):
        steps.append(scores_of(ids + new, ids if not new else new[-1:]))
        new.append(int(steps[-1].argmax()))
    return new, torch.stack(steps)


# %%
@torch.inference_mode()
def library(every, new):
    """The library's cache does the same."""
    return model(torch.tensor([new]), past_key_values=theirs, logits_to_keep=1).logits[0, -1]


# %%
ours, theirs = nothing_kept(), DynamicCache(config=shape)
ways, wrote, elapsed = {"no cache": lambda every, new: without(every),
                        "our cache": lambda every, new: next_scores(new, ours),
                        "the library's cache": library}, {}, {}
for name, scores_of in ways.items():
    begun = time.perf_counter()
    wrote[name] = write(asked[0], scores_of, cache_tokens)
    elapsed[name] = time.perf_counter() - begun

# %%
plain_tokens, plain_scores = wrote["no cache"]
apart = {name: (scores - plain_scores).abs().max().item() for name, (_, scores) in wrote.items()}
assert all(tokens == plain_tokens for tokens, _ in wrote.values()) and max(apart.values()) < 1e-2, apart

# %%
record("cache_apart", apart["our cache"], n=cache_tokens, seed=seed)
record("no_cache_seconds", elapsed["no cache"], seed=seed)
record("cache_seconds", elapsed["our cache"], seed=seed)
pd.DataFrame({"seconds": elapsed, "largest difference of a score": apart})

# %% [markdown]
# The cache grows with every token: keys and values, for each layer and each of its key-value heads.

# %%
held = sum(tensor.nbytes for kept in ours for tensor in kept.values())
each = 2 * shape.num_hidden_layers * shape.num_key_value_heads * shape.head_dim * 4
assert held == each * (len(asked[0]) + cache_tokens - 1)
record("cache_bytes_for_each_token", each, seed=seed)
print(f"{each:,} bytes for each token; {each * 8192 / 1e6:,.0f} MB for a text of 8,192 tokens")

# %% [markdown]
# SmolLM2-135M has 9 query heads and 3 key-value heads (*grouped-query attention*): the cache is a third of what 9 key-value heads
# would need.
#
# ## How fast can it be at all?
#
# To write one token, all weights go through the processor. So no more tokens per second are possible than memory delivers copies of
# the weights. We move more data than fits into any cache: copying a block (read and write), and multiplying a matrix by a vector
# (read only, which is what decoding does).

# %%
block = torch.ones(memory_mb * 250_000)  # 4 bytes each
copy = torch.empty_like(block)
copied = 2 * block.nbytes / seconds(copy.copy_, block) / 1e9
matrix, vector = block.view(-1, 2500), torch.ones(2500)
read = block.nbytes / seconds(torch.mv, matrix, vector) / 1e9
del block, copy, matrix
bandwidth = max(copied, read)
record("copied_gb_per_second", copied, seed=seed)
record("read_gb_per_second", read, seed=seed)

# %%
def weight_mb(kind):
    """Megabytes that one token needs of the weights in this kind: all numbers of the model, once."""
    numbers = sum(p.numel() for p in model.parameters())
    return numbers * KINDS[kind] / 8 / 1e6


# %%
limits = {kind: 1000 * bandwidth / weight_mb(kind) for kind in KINDS}
pd.DataFrame({"MB for each token": {kind: weight_mb(kind) for kind in KINDS}, "tokens per second at most": limits}).round(0)

# %% [markdown]
# The shorter the numbers, the more tokens per second are possible. (Where the weights fit into a processor's own cache, the limit
# does not apply: a server processor may have hundreds of megabytes. And the 4-bit files below keep the embedding in 8 bits, so they
# are somewhat larger than the table says.)
#
# ## Shorter weights, by hand
#
# Eight bits: cut a row into blocks of 32 numbers. The largest number of a block becomes 127 steps: a 127th of it is the block's
# *scale*. Round all 32 to whole steps, from -127 to 127. A block then costs 32 bytes and a 16-bit scale, so 8.5 bits for a number.
# To match a GGUF file to the last number, do as its maker does: multiply by the inverse of the scale, and round a half away from
# zero, where numpy would go to the even neighbour.

# %%
weight = model.model.layers[15].mlp.gate_proj.weight.detach().numpy()  # (1536, 576)
print(weight.shape, "numbers, the largest", np.abs(weight).max())

# %%
def eight_bits(matrix):
    """Round a matrix to blocks of 32 with one scale each; return the numbers that are left."""
    blocks = matrix.reshape(-1, 32)
    scale = np.abs(blocks).max(1, keepdims=True) / 127
    steps = blocks * (1 / scale)
    steps = np.sign(steps) * np.floor(np.abs(steps) + 0.5)
    return (steps * scale.astype(np.float16).astype(np.float32)).reshape(matrix.shape)


# %%
def stored(matrix, kind):
    """The matrix as a GGUF file of this kind stores it."""
    kind = gguf.GGMLQuantizationType[kind]
    return gguf.dequantize(gguf.quantize(matrix, kind), kind)


def error(matrix):
    """The error as a share of the weights' own size (root of the mean squares)."""
    return float(np.sqrt(np.square(matrix - weight).mean() / np.square(weight).mean()))


# %%
assert np.allclose(eight_bits(weight), stored(weight, "Q8_0"), atol=1e-6)
pd.DataFrame({"bits for a number": KINDS, "error": {kind: error(stored(weight, kind)) for kind in KINDS}})

# %% [markdown]
# An error of weights says little about answers. Those are measured below, on the test messages.
#
# ## The same organiser for other engines
#
# `gguf_copy` writes model, tokenizer and chat template as one file that llama.cpp and OpenVINO read, with the `gguf` package's
# own writer. It keeps the file for the next time.

# %%
names = engines.split(",")
kinds = sorted({name.split()[-1] for name in names} & set(KINDS))
files = {kind: gguf_copy(model_path, adapter, kind) for kind in kinds}

# %%
print({kind: f"{file_mb(files[kind]):.0f} MB" for kind in kinds})

# %% [markdown]
# One small class for each engine; they stand in `smol_course/inference/engines.py`. All have the same three methods: `ask` returns
# the answer to one prompt, `inbox` the answers to all of them, given at once, and `top` log-probabilities of first tokens, to
# compare engines by. Here is what each one is given.

# %%
def transformers_engine(kind):
    """The library itself, with the weights as numbers of this kind."""
    weights = model if kind == "float32" else merged(model_path, adapter).to(getattr(torch, kind))
    return Transformers(weights, tokenizer, prompts, new_tokens, at_once)


# %%
def llama_cpp_engine(kind):
    """llama.cpp, with the file of this kind."""
    return LlamaCpp(files[kind], asked, new_tokens, at_once, here.cores)


# %% [markdown]
# OpenVINO's pipeline gives no scores, but with `logprobs=1` it gives the log-probability of the token that it chose. Without, it
# says 0.0.

# %%
def openvino_engine(kind):
    """OpenVINO, with the file of this kind."""
    return OpenVINO(files[kind], tokenizer, asked, new_tokens, here.cores)


# %%
libraries = {"transformers": transformers_engine, "llama.cpp": llama_cpp_engine, "openvino": openvino_engine}
check_engines(names)  # before anything starts: is each of them known, and installed?

# %% [markdown]
# ## Side by side
#
# What each engine has to do:
#
# 1. *The same model?* It gives the first token's log-probabilities for four messages, to compare with transformers in float32.
# 2. *One message at a time*, as a single user meets it: first for one token only (the time until the first sign), then for the
#    whole answer.
# 3. *A whole inbox*: a month's messages are there, and nobody watches. Now each may do what it does best: transformers takes
#    batches, the others batch *continuously*, which [serving](../serving.md) explains.
#
# Tokens are counted by our tokenizer from the text, for all engines alike.

# %%
def written(text):
    """How many tokens an answer has, with its end marker."""
    return len(tokenizer(text)["input_ids"]) + 1


def timed(work, *given):
    """What a call returns, and its seconds."""
    begun = time.perf_counter()
    return work(*given), time.perf_counter() - begun


# %%
def one_at_a_time(engine):
    """Ask the timed messages one by one: answers, tokens, seconds for each, and seconds until each first token."""
    engine.ask(asked[0], 4)  # warm up
    first = [seconds(engine.ask, ids, 1, times=2) for ids in asked[:timed_alone]]
    answers, elapsed = zip(*(timed(engine.ask, ids, new_tokens) for ids in asked[:timed_alone]))
    return {"said": answers, "tokens": [written(text) for text in answers], "seconds": elapsed, "first": first}


# %% [markdown]
# One engine after the other, and each is gone before the next one starts, so that no engine's threads and memory can be in
# another's way.

# %%
runs, inbox, tops, mb = {}, {}, {}, {}
for name in names:
    engine = libraries[name.split()[0]](name.split()[1])
    tops[name], mb[name] = [engine.top(ids) for ids in asked[:4]], engine.mb
    runs[name] = one_at_a_time(engine)
    answers, elapsed = timed(engine.inbox)
    inbox[name] = {"said": answers, "rate": sum(map(written, answers)) / elapsed}
    del engine
    gc.collect()
    print(f"{name:22}{sum(runs[name]['tokens']) / sum(runs[name]['seconds']):7.1f} tokens/s   {runs[name]['said'][0]}")

# %% [markdown]
# **Is it the same model?** The log-probabilities of the three likeliest first tokens must be near those of float32. (OpenVINO says
# only that of the token which it chose.) Four bits may move them further than eight.

# %%
def distance(name):
    """The largest difference from float32's log-probabilities, over its three likeliest first tokens."""
    pairs = zip(tops[name], tops[names[0]])
    return max(abs(top[token] - truth[token]) for top, truth in pairs for token in list(truth)[:3] if token in top)


for name in names:
    record(f"{name.replace('.', '').replace(' ', '_')}_logprob_apart", distance(name), n=4, seed=seed)
    assert distance(name) < (3 if "Q4" in name else 0.5), f"{name} is another model: {distance(name):.2f} from float32"

# %% [markdown]
# The quotient of two engines gets an interval by the bootstrap: draw the messages at random, with replacement, and see how the
# quotient varies.

# %%
def rate(run, chosen):
    """Tokens per second over these messages."""
    return sum(run["tokens"][i] for i in chosen) / sum(run["seconds"][i] for i in chosen)


# %%
def times_faster(run, base, draws=2000):
    """How many times faster than base, with the 95 % interval over messages (paired bootstrap)."""
    chance, every = random.Random(seed), range(timed_alone)
    quotients = []
    for _ in range(draws):
        chosen = chance.choices(every, k=timed_alone)
        quotients.append(rate(run, chosen) / rate(base, chosen))
    quotients.sort()
    return rate(run, every) / rate(base, every), quotients[draws // 40], quotients[-draws // 40]


# %%
plain = runs[names[0]]
for name, run in runs.items():
    key, quick = name.replace(".", "").replace(" ", "_"), rate(run, range(timed_alone))
    record(f"{key}_tokens_per_second", quick, n=timed_alone, seed=seed)
    record(f"{key}_times", *times_faster(run, plain), timed_alone, seed)
    record(f"{key}_first_token_ms", 1000 * sorted(run["first"])[timed_alone // 2], n=timed_alone, seed=seed)
    record(f"{key}_mb", mb[name], seed=seed)
    record(f"{key}_of_limit", quick * mb[name] / 1000 / bandwidth, seed=seed)

# %% [markdown]
# `_of_limit` is the share of the memory's rate that the engine uses, if each token fetches the weights once. Reading the
# prompt is in the time, so it stays below 1, unless weights come from the processor's own cache. `_mb` is the size of the
# weights (of an engine, of its file), not all the memory that it takes.

# %% [markdown]
# **And is it as good?** The inbox's rate is compared with plain float32, one message at a time. Its answers are scored: the event
# accuracy, and message by message against float32.

# %%
scores = {name: score_events(run["said"], test["event"]) for name, run in inbox.items()}
pd.DataFrame({"right": {name: sum(score.right) for name, score in scores.items()}})

# %%
for name, score in scores.items():
    key = name.replace(".", "").replace(" ", "_")
    record(f"{key}_inbox_tokens_per_second", inbox[name]["rate"], n=score.n, seed=seed)
    record(f"{key}_inbox_times", inbox[name]["rate"] / rate(plain, range(timed_alone)), n=score.n, seed=seed)
    record(f"{key}_event_accuracy", score.accuracy, score.low, score.high, score.n, seed)
    pairs = list(zip(scores[names[0]].right, score.right))
    record(f"{key}_lost", sum(a and not b for a, b in pairs), n=score.n, seed=seed)
    record(f"{key}_won", sum(b and not a for a, b in pairs), n=score.n, seed=seed)

# %% [markdown]
# *Lost* are messages that float32 had right and the engine has not; *won* the other way round.
#
# **The claim of this notebook**, checked by the notebook itself: some engine answers the inbox several times as fast as plain
# float32 does, and its accuracy is in the interval of float32's.

# %%
quickest = max(names, key=lambda name: inbox[name]["rate"])
quotient = inbox[quickest]["rate"] / rate(plain, range(timed_alone))
truth, score = scores[names[0]], scores[quickest]
record("best_times", quotient, n=len(asked), seed=seed)

# %%
if margin:
    assert not quickest.startswith("transformers"), f"no engine is quicker than {quickest}, {quotient:.1f} times float32"
    assert quotient >= margin, f"no engine is {margin:g} times as fast: {quickest} is {quotient:.1f} times"
    assert truth.low <= score.accuracy <= truth.high, f"{quickest} changed the accuracy: {truth} became {score}"
print(f"{quickest}: {quotient:.1f} times the tokens per second of plain float32, {margin:g} asked for")

# %% [markdown]
# ## More rows at once
#
# A batch shares the fetching of the weights. Each user waits longer, and all together get more. How much, for transformers in
# float32:

# %%
@torch.inference_mode()
def batch_seconds(rows):
    """Write a few tokens for so many prompts of equal length."""
    ids = torch.tensor([asked[0]] * rows)
    how = {"max_new_tokens": batch_tokens, "min_new_tokens": batch_tokens, "do_sample": False}
    return seconds(lambda: model.generate(ids, attention_mask=torch.ones_like(ids), **how), times=1)


# %%
sizes = [int(size) for size in batches.split(",")]
by_rows = {rows: batch_seconds(rows) for rows in sizes}
for rows, elapsed in by_rows.items():
    record(f"batch_{rows}_tokens_per_second", rows * batch_tokens / elapsed, seed=seed)
    record(f"batch_{rows}_seconds", elapsed, seed=seed)

# %% [markdown]
# ## Guess several tokens, check them in one pass
#
# Reading is cheap, so let something quick guess the next tokens, and let the model read them all at once. What it would have
# written itself stays; the first wrong guess is corrected, and the rest is dropped. So greedy answers stay as they were
# (`guess_same` counts it). *Prompt lookup* looks for the last words in the prompt and guesses that what follows them there
# follows here too. The organiser copies names and places from its prompt.

# %%
counted = {"passes": 0}


def count(*_):
    """Count a pass through the model."""
    counted["passes"] += 1


# %%
def guessing(ids, how):
    """Answer one prompt: the tokens, the passes that it took, and the seconds."""
    counted["passes"], begun, ids = 0, time.perf_counter(), torch.tensor([ids])
    tokens = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new_tokens, do_sample=False, **how)
    return tokens[0, ids.shape[1]:].tolist(), counted["passes"], time.perf_counter() - begun


# %%
way = {"lookup": {"prompt_lookup_num_tokens": guessed}, "early exit": {"assistant_early_exit": 15}}[guess]
hook = model.model.register_forward_hook(count)
few = asked[:2]
alone, helped = [guessing(ids, {}) for ids in few], [guessing(ids, way) for ids in few]
hook.remove()

# %%
record("guess_same", sum(a[0] == b[0] for a, b in zip(alone, helped)) / len(few), n=len(few), seed=seed)
record("guess_passes", sum(b[1] for b in helped) / sum(a[1] for a in alone), n=len(few), seed=seed)
record("guess_times", sum(a[2] for a in alone) / sum(b[2] for b in helped), n=len(few), seed=seed)

# %% [markdown]
# *Assisted decoding* takes the guesses from a smaller model of the same family, or from the model's own middle
# (`guess = "early exit"`, in the study; there `guess_passes` counts the passes that make the guesses too, each through half of
# the layers). It pays if the guesses are good and much cheaper than the model.
#
# ## Compiling
#
# `torch.compile` makes one program of many small steps. It wants fixed sizes, so the cache gets its full length at once. The
# study does this; here it is off (`compiled`), as it takes a minute and a C++ compiler.

# %%
@torch.inference_mode()
def step_seconds(step):
    """Seconds for the first three tokens, and for a later one, with a cache of fixed size."""
    cache = StaticCache(config=shape, max_cache_len=128)
    token = torch.tensor([[asked[0][-1]]])
    compiling = timed(lambda: [step(token, past_key_values=cache) for _ in range(3)])[1]  # a new program's first steps
    return compiling, seconds(lambda: step(token, past_key_values=cache), times=10)


# %%
if compiled:
    (_, plain_step), (compiling, quick_step) = step_seconds(model), step_seconds(torch.compile(model))
    record("compile_seconds", compiling, seed=seed)
    record("compiled_times", plain_step / quick_step, seed=seed)

# %% [markdown]
# ## What to believe: the study
#
# `smol study 7/optimisation` puts more engines and kinds of weights side by side, on all test messages. It also measures
# compiling and early exit, and has a run without an engine, which must fail.

# %% tags=["study"]
study = study_runs("optimisation")
numbers = {run: entry["results"] for run, entry in study.items()}
whole = study["engines"]["parameters"]["engines"].split(",")[1:]


def row(name):
    """What the study measured of an engine."""
    key, results = name.replace(".", "").replace(" ", "_"), numbers["engines"]
    times = results[f"{key}_times"]
    columns = ("inbox_times", "tokens_per_second", "inbox_tokens_per_second", "first_token_ms", "mb", "of_limit",
               "event_accuracy", "lost", "won")
    return {"engine": name, "times": times["value"], "low": times["low"], "high": times["high"]} | {
        column: results[f"{key}_{column}"]["value"] for column in columns}


measured = pd.DataFrame([row(name) for name in whole]).set_index("engine").sort_values("times")
measured.round(2)

# %% tags=["study"]
fig, ax = plt.subplots(figsize=(7, 3.6))
for height, (_, result) in enumerate(measured.iterrows()):
    ax.barh(height + 0.2, result["times"], 0.38, color="#0072B2", label="one at a time" if not height else None)
    ax.barh(height - 0.2, result["inbox_times"], 0.38, color="#E69F00", label="inbox" if not height else None)
    note = f"{result['event_accuracy']:.0%}, {result['mb']:.0f} MB"
    ax.annotate(note, (max(result["times"], result["inbox_times"]), height), xytext=(6, -4), textcoords="offset points")
ax.axvline(1, color="grey", ls=":")
ax.set_yticks(range(len(measured)), measured.index)
ax.set(xlabel="tokens per second, as a multiple of plain float32's", xlim=(0, 1.3 * measured["inbox_times"].max()),
       title="Speed, with event accuracy and size")
ax.legend(loc="lower right")
fig.tight_layout()

# %% tags=["study"]
for run in ("early_exit", "compiled"):
    print(run, {name: round(result["value"], 2) for name, result in numbers[run].items()
                if name.startswith(("guess", "compile"))})
print("no_engine:", study["no_engine"]["failed"])

# %% [markdown]
# Which one for which machine stands in the lesson.
#
# ## Exercises
#
# ### 🐢 How large is the cache? (5 minutes)
#
# **Goal:** know the cache before memory runs out. **Input:** `layers`, `kv_heads`, `head_size`, `tokens`, `rows` (texts at once)
# and `bytes_each` for a number. **Output:** bytes, a whole number. **Example:** the organiser, one text of 100 tokens in
# float32, `(30, 3, 64, 100, 1, 4)`, needs 4,608,000. **Judged by:** four models. Hints: `hint("optimisation/turtle")`.

# %% tags=["exercise"]
def cache_bytes(layers, kv_heads, head_size, tokens, rows, bytes_each):
    """Return how many bytes the keys and values of these texts take."""
    ...

# %% tags=["check"]
check("optimisation/turtle", cache_bytes)

# %% [markdown]
# ### 🐕 Check the guesses (20 minutes)
#
# **Goal:** the heart of prompt lookup and assisted decoding. **Input:** `guesses`, a list of token numbers, and `wanted`: what
# the model itself would write, greedily, behind the text, behind the text and the first guess, behind the first two, and so
# on; it is one longer than `guesses`. **Output:** the list of tokens that are now written: the guesses up to the first wrong
# one, and then one token of the model's own. **Example:** `[5, 7, 9]` and `[5, 7, 8, 1]` give `[5, 7, 8]`; `[5]` and `[5, 2]`
# give `[5, 2]`. **Judged by:** nine pairs of lists, which must stay as they were. Hints: `hint("optimisation/dog")`.

# %% tags=["exercise"]
def accepted(guesses, wanted):
    """Return the tokens that are written after one pass over the guesses."""
    ...

# %% tags=["check"]
check("optimisation/dog", accepted)

# %% [markdown]
# ### 🦁 An inbox overnight (an hour or more)
#
# **Goal:** answer the inbox with 1.5 times the tokens per second of this notebook's quickest engine, on your machine, and no
# less accurately: more at once, messages in another order, another kind of weights, guesses, another engine, or one built for
# your processor. **Input:** your own runs, of both, in turn, at least three of each. Choose your settings on the dev messages.
# **Output:** a results dictionary as below, with lost and won counted on at least 200 test messages, the same for both.
# **Judged by:** the slowest of your runs against the best of the notebook's; the messages that changed: lost may outnumber won
# only as far as a fair coin would do in 2.5 % of cases or more; and no test message used for choosing.
# Hints: `hint("optimisation/lion")`.

# %% tags=["exercise"]
results = {
    "baseline_tokens_per_second": [],  # of the inbox: one number for each run of the notebook's quickest engine
    "my_tokens_per_second": [],
    "test_messages": 0,
    "lost": -1,  # messages that the baseline had right and mine has not
    "won": -1,  # the other way round
    "chosen_on": [],  # ids of the messages on which you chose your settings
}

# %% tags=["check"]
check("optimisation/lion", results)

# %% [markdown]
# ## Go further
#
# On a GPU the same limits hold with other numbers. vLLM and SGLang batch continuously and share prefixes; with the Hub
# (start with `SMOL_HUB=1`, or `smol run --hub`) and `pip install vllm`:
#
# ```python
# from vllm import LLM, SamplingParams
# llm = LLM("HuggingFaceTB/SmolLM2-1.7B-Instruct")
# print(llm.chat([{"role": "user", "content": "Hello"}], SamplingParams(temperature=0, max_tokens=64))[0].outputs[0].text)
# ```
