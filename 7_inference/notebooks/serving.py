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
# # Serving: the organiser as a server
#
# You start a server that speaks OpenAI's protocol, measure what it does under load, and put a *front* before it: a small
# program that answers or refuses every request, whatever comes.
#
# What this notebook cost in time and memory when it was last run stands in the table of the module's README.
# The lesson to read first: [serving.md](../serving.md).
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/smol-ai/course/blob/main/7_inference/notebooks/serving.ipynb)
# In Colab, read the lesson [on GitHub](https://github.com/smol-ai/course/blob/main/7_inference/serving.md).

# %% tags=["install"]
# On Colab, install what this notebook needs; anywhere else this does nothing.
import importlib.util
import sys
if importlib.util.find_spec("smol_course") is None:
    print("Installing the course with what this notebook needs: about a minute.")
    needs = '"smol-course[inference,serving] @ git+https://github.com/smol-ai/course"'
    get_ipython().system(f"uv pip install -q --python {sys.executable} {needs} || {sys.executable} -m pip install -q {needs}")

# %% [markdown]
# Everything listens on 127.0.0.1 only, on free ports, and ends with this notebook's process. With `engine_dies = True` the
# claim at the end fails, as it should.

# %% tags=["parameters"]
from smol_course.parameters import listed, number, one_of, whole
model_name: str = "HuggingFaceTB/SmolLM2-135M-Instruct"
seed: whole(0, 2**32 - 1) = 0
engine: one_of("llama.cpp", "transformers", "transformers batched") = "llama.cpp"
kind: one_of("F16", "Q8_0", "Q4_0") = "Q8_0"  # of weights, for llama.cpp
slots: whole(1) = 4  # requests that llama.cpp works on at once
new_tokens: whole(1, 512) = 48  # the longest answer we wait for; the longest right one is shorter
levels: listed(of=whole(1)) = "1,4"  # clients at once, in the load test
requests: whole(1) = 6  # in each load test
one_slot: bool = True  # the same load test with one slot too
prompts_mb: whole(0) = 0  # memory that llama.cpp may fill with old prompts; its own default is 8192
waiting: whole(0) = 8  # requests that the front lets wait
deadline: number(0.01) = 20.0  # seconds that it gives a request
mixed: whole(0) = 60  # requests of all kinds, sent at once; 0: leave that part out
engine_dies: bool = False  # True: stop the engine before them
soak_seconds: number(0) = 0  # repeat them for so long, and watch the memory
most_growth_mb: number(0) = 30.0  # that the process may grow meanwhile, for the claim to stand

# %% tags=["setup"]
import inspect
import json
import logging
import shutil
import socket
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
import httpx
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import psutil
import uvicorn

# %% tags=["setup"]
from openai import OpenAI
from transformers import set_seed
from smol_course.data import SYSTEM_PROMPT, conversation, events, study_runs
from smol_course.errors import CourseError
from smol_course.exercises import check, hint
from smol_course.hardware import prepare
from smol_course.inference import front  # the file that the Dockerfile beside it starts
from smol_course.inference.engines import organiser
from smol_course.inference.gguf import gguf_copy
from smol_course.metrics import record
from smol_course.models import merged

# %% tags=["setup"]
here = prepare()
set_seed(seed)
model_path, adapter, tokenizer = organiser(model_name)

# %% [markdown]
# ## An engine's own server
#
# An *engine* is a program made for running models. llama.cpp is one, and brings a server along. Here it runs inside this process
# and reads a GGUF file, which contains the organiser's weights in 8 bits with its tokenizer and template. It is the file of the
# notebook `optimisation`; if that did not run before, it is made now.

# %%
def start_engine(slots):
    """Start the engine's server; return what keeps it alive, and its address."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise CourseError("llama.cpp needs xllamacpp, from the extra serving: run `uv sync --extra serving`.")
    server = front.llama_server(gguf_copy(model_path, adapter, kind), slots, threads=here.cores, prompts_mb=prompts_mb)
    return server, server.listening_address


# %% [markdown]
# `transformers serve` does the same from a model's folder. It is started by its own class, so that it too ends with this
# process.

# %%
def start_transformers(batched):
    """Start `transformers serve` for the merged model, in a thread; return the server, its address and the folder."""
    from transformers.cli.serve import Serve
    folder = tempfile.mkdtemp()
    merged(model_path, adapter).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Serve(folder, continuous_batching=batched, cb_num_blocks=32, cb_max_batch_tokens=256, device="cpu",
                   host="127.0.0.1", port=port, non_blocking=True)
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
    return server, f"http://127.0.0.1:{port}", folder


# %%
label = "organiser"  # llama.cpp has one model and does not look; `transformers serve` wants its folder's name
if engine == "llama.cpp":
    server, address = start_engine(slots)
else:
    server, address, label = start_transformers(engine.endswith("batched"))
for _ in range(100):
    try:
        well = httpx.get(address + "/health", timeout=5)
        break
    except httpx.HTTPError:
        time.sleep(0.2)
print(well.status_code, well.json())

# %% [markdown]
# ## Asked with the ordinary client
#
# The client neither knows nor cares which engine answers. That is what a common protocol is for: you can change the engine, and no
# application changes.

# %%
def chat(message):
    """The conversation that asks the organiser about a message."""
    return conversation(SYSTEM_PROMPT, message, "")["prompt"]


client = OpenAI(base_url=address + "/v1", api_key="none needed", max_retries=0)
question = chat("dinner with Ana at Luna, Fri 7.30pm?")
reply = client.chat.completions.create(model=label, messages=question, max_tokens=new_tokens, temperature=0)
print(reply.choices[0].message.content)
print(reply.usage.prompt_tokens, "tokens read,", reply.usage.completion_tokens, "written;", reply.choices[0].finish_reason)

# %% [markdown]
# The server has its own template and tokenizer, from the file. A wrong template is the commonest mistake of all, and shows as
# quietly worse answers. So count: the server must have read as many tokens as we would.

# %%
ours = tokenizer.apply_chat_template(question, add_generation_prompt=True)["input_ids"]
assert reply.usage.prompt_tokens == len(ours), f"it read {reply.usage.prompt_tokens} tokens, we make {len(ours)}"

begun, pieces = time.perf_counter(), []
for event in client.chat.completions.create(model=label, messages=question, max_tokens=new_tokens, temperature=0, stream=True):
    if event.choices and event.choices[0].delta.content:
        pieces.append((event.choices[0].delta.content, time.perf_counter() - begun))
print(" | ".join(piece for piece, _ in pieces[:10]), "| …")
record("first_text_seconds", pieces[0][1], seed=seed)
record("whole_text_seconds", pieces[-1][1], seed=seed)

# %% [markdown]
# ## Load
#
# Some clients at once, each asking its next question when it has its answer. What counts: requests per second, and how long
# a request took. Not the mean: the **p95** is the time within which 95 of 100 are answered, p50 and p99 likewise. Those who
# wait longest complain.

# %%
messages = [chat(text) for text in events("test").shuffle(seed=seed)["message"]]


def load(address, clients, requests):
    """Ask so many questions with so many clients; return the seconds of each, and of all together."""
    asks = OpenAI(base_url=address + "/v1", api_key="none needed", max_retries=0, timeout=300)

    def one(number):
        begun = time.perf_counter()
        asks.chat.completions.create(
            model=label, messages=messages[number % len(messages)], max_tokens=new_tokens, temperature=0)
        return time.perf_counter() - begun

    begun = time.perf_counter()
    with asks, ThreadPoolExecutor(clients) as pool:
        seconds = list(pool.map(one, range(requests)))
    return seconds, time.perf_counter() - begun


# %%
def load_table(address, name):
    """The load test at each level; its numbers recorded under the name."""
    table = []
    for clients in map(int, levels.split(",")):
        seconds, whole = load(address, clients, requests)
        p50, p95, p99 = np.percentile(seconds, [50, 95, 99])
        row = {"requests_per_second": len(seconds) / whole, "p50": p50, "p95": p95, "p99": p99}
        for measure, value in row.items():
            record(f"{name}_{clients}_{measure}", value, n=requests, seed=seed)
        table.append({"clients": clients} | row)
    return pd.DataFrame(table).set_index("clients").round(2)


with_slots = load_table(address, "slots")
with_slots

# %% [markdown]
# With few requests, p95 and p99 are little more than the slowest one; the study sends more. The same with **one slot**: one request
# at a time, the others in a queue.

# %%
if engine == "llama.cpp" and one_slot:
    single, single_address = start_engine(1)
    in_turn = load_table(single_address, "one_slot")
    del single  # the server ends
    most = with_slots.index[-1]
    gain = with_slots.loc[most, "requests_per_second"] / in_turn.loc[most, "requests_per_second"]
    record("batching_gain", gain, n=requests, seed=seed)

# %% [markdown]
# **Continuous batching** is what several slots do: at every step, the server writes one token for each request that it works on.
# One that is done leaves at once, and the next in the queue takes its place, in the middle of the others' answers. The lesson has a
# picture, and the 🐕 below counts the steps.
#
# ## What the engine says to bad requests

# %%
bad = {
    "no JSON": b"{not json",
    "no messages": b"{}",
    "no role": json.dumps({"messages": [{"content": "x"}]}).encode(),
    "unknown field": json.dumps({"messages": chat("x"), "max_tokens": 1, "temprature": 0}).encode(),
    "too long": json.dumps({"messages": chat("word " * 3000), "max_tokens": 1}).encode(),
}
tried = [name for name in bad if engine == "llama.cpp" or name != "too long"]  # transformers would read it all
table = []
for name in tried:
    response = httpx.post(address + "/v1/chat/completions", content=bad[name], timeout=60)
    table.append({"request": name, "status": response.status_code, "said": response.text[:90]})
pd.DataFrame(table)

# %% [markdown]
# A status in the 400s says that the client is at fault, one in the 500s that the server is. Look at the misspelt field:
# llama.cpp answers and ignores it, so the client believes in a temperature of 0 and gets llama.cpp's own default.
# (`transformers serve` refuses it.) Other things are missing altogether: a limit on how many wait, a deadline, a size.
#
# ## A front
#
# [front.py](../../smol_course/inference/front.py) is a small program that stands before any such engine, written with FastAPI, a Python
# library for web servers. Its main part decides about each request: some are worked on, some wait, and the next is refused at once,
# with status 429 (*too many requests*). A quick "no" is an answer; an endless queue is none.

# %%
print(inspect.getsource(front.Gate))

# %%
def open_front(limits):
    """Start a front before the engine, in a thread; return its app, its server, the thread and its address."""
    app = front.create(address, limits)
    gate = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", timeout_graceful_shutdown=30))
    thread = threading.Thread(target=gate.run, daemon=True)
    thread.start()
    while not gate.started:
        time.sleep(0.02)
    return app, gate, thread, f"http://127.0.0.1:{gate.servers[0].sockets[0].getsockname()[1]}"


limits = front.Limits(at_once=slots, waiting=waiting, deadline=deadline, new_tokens=64)
app, gate, thread, door = open_front(limits)
print(httpx.get(door + "/health").json(), limits)

# %%
table = [{"request": name, "status": response.status_code, "said": response.json()["error"]["message"][:80]}
         for name in tried if (response := httpx.post(door + "/v1/chat/completions", content=bad[name], timeout=60))]
pd.DataFrame(table)

# %% [markdown]
# A good request that takes too long is cut off at the *deadline*, with status 504, and the engine stops working on it. Twenty
# seconds are enough here. A second front is less patient:

# %%
def ordinary(number):
    """A good request."""
    return {"model": label, "messages": messages[number % len(messages)], "max_tokens": new_tokens, "temperature": 0}


_, hasty, hasty_thread, hasty_door = open_front(front.Limits(at_once=1, waiting=1, deadline=0.05, new_tokens=64))
late = httpx.post(hasty_door + "/v1/chat/completions", json=ordinary(0), timeout=60)
assert late.status_code == 504, late.text
print(late.status_code, late.json()["error"]["message"])
hasty.should_exit = True
hasty_thread.join(30)

# %% [markdown]
# ## Everything at once
#
# Now what a server on the open net gets: good questions, streamed ones, nonsense, far too long ones, and clients that leave
# before the answer. All are sent together, many more than can wait.

# %%
makers = {
    "good": lambda number: json.dumps(ordinary(number)).encode(),
    "streamed": lambda number: json.dumps(ordinary(number) | {"stream": True}).encode(),
    "malformed": lambda number: list(bad.values())[number // len(makers) % 4],
    "oversized": lambda number: b"x" * 100_000,
    "too long": lambda number: bad["too long"],
    "leaves": lambda number: json.dumps(ordinary(number)).encode(),
}


# %%
def one_of(number):
    """Send one request of some kind; return its kind, how it ended, and the seconds."""
    kind, begun = list(makers)[number % len(makers)], time.perf_counter()
    patience = 0.3 if kind == "leaves" else 120
    try:
        response = httpx.post(door + "/v1/chat/completions", content=makers[kind](number), timeout=patience)
        whole = "[DONE]" in response.text if kind == "streamed" else isinstance(response.json(), dict)
        ended = str(response.status_code) if whole or response.status_code != 200 else "broken"
    except httpx.TimeoutException:
        ended = "left" if kind == "leaves" else "lost"
    except httpx.HTTPError as error:
        ended = f"lost: {type(error).__name__}"
    return {"kind": kind, "ended": ended, "seconds": time.perf_counter() - begun}


# %%
def all_kinds(count, first=0):
    """Send so many requests of all kinds together, numbered from ``first``."""
    with ThreadPoolExecutor(max(1, count)) as pool:
        return list(pool.map(one_of, range(first, first + count)))


if engine_dies:
    server = None
outcome = pd.DataFrame(all_kinds(mixed), columns=["kind", "ended", "seconds"])
outcome.pivot_table(index="kind", columns="ended", values="seconds", aggfunc="count", fill_value=0)

# %% [markdown]
# 200 is an answer. 400: malformed or too long. 413: oversized. 429: too many wait. *left* is the client's own doing. Any other
# column would be a fault. The front counts as well; its numbers are what a dashboard (Prometheus, Grafana) would read:

# %%
def counted():
    """How requests ended, as the front counts them, once nobody is inside any more."""
    while app.state.front.gate.inside:
        time.sleep(0.05)
    lines = httpx.get(door + "/metrics").text.splitlines()
    return {line.split('"')[1]: int(float(line.split()[-1])) for line in lines if line.startswith("front_requests_total")}


counted()

# %%
allowed = {"good": {"200", "429"}, "streamed": {"200", "429"}, "malformed": {"400"}, "oversized": {"413"},
           "too long": {"400", "429"}, "leaves": {"left", "200", "429"}}
wrong = [row for _, row in outcome.iterrows() if row["ended"] not in allowed[row["kind"]]]
answered = int((outcome["ended"] == "200").sum())
record("mixed_answered", answered, n=mixed, seed=seed)
record("mixed_overloaded", int((outcome["ended"] == "429").sum()), n=mixed, seed=seed)
record("mixed_wrong", len(wrong), n=mixed, seed=seed)

# %% [markdown]
# ## The same for longer
#
# Does the process grow? In the study, all this is repeated for ten minutes, with other messages each time. (The client is in
# this process too.)
#
# Memory grows where somebody keeps things. llama.cpp's server keeps the keys and values of prompts that it has answered, in case
# they come again, and by default it stops at 8 GB. A message comes once, so ours keeps none: `prompts_mb = 0`. The study also
# runs with the default, and there the claim below fails.

# %%
def resident():
    """Megabytes that this process occupies."""
    return psutil.Process().memory_info().rss / 1e6


end, memory, rounds = time.perf_counter() + soak_seconds, [resident()], 0
soaked = []
while time.perf_counter() < end:
    rounds += 1
    again = all_kinds(mixed, first=rounds * mixed)  # other messages in each round
    soaked += [row for row in again if row["ended"] not in allowed[row["kind"]]]
    memory.append(resident())
settled = memory[min(len(memory) - 1, len(memory) // 5):]  # the first fifth fills caches
growth = max(settled) - settled[0]
record("soak_requests", rounds * mixed, seed=seed)
record("soak_growth_mb", growth, seed=seed)

# %%
if rounds:
    fig, ax = plt.subplots(figsize=(6, 2.6))
    ax.plot(np.linspace(0, soak_seconds / 60, len(memory)), memory, color="#0072B2")
    ax.set(xlabel="minutes", ylabel="memory (MB)", ylim=(0, None), title="Memory under mixed load")
    fig.tight_layout()

# %% [markdown]
# **The claim of this notebook**, checked by the notebook itself: every request was answered, or refused with a reason that
# fits; and the memory stays.

# %%
faults = Counter(f"{row['kind']} ended with {row['ended']}" for row in wrong + soaked)
assert not faults, f"requests that ended as they should not: {dict(faults)}"
assert growth <= most_growth_mb, f"the process grew by {growth:.0f} MB"
print(f"✅ {mixed * (rounds + 1)} requests, none lost; memory {growth:+.0f} MB")

# %% [markdown]
# ## A stop that loses nothing
#
# A server is stopped at every update. It must stop *listening* at once and finish what it has begun.

# %%
gate.should_exit = True  # this one is done
app, gate, thread, door = open_front(limits)


def stopping():
    """Ask, stop the server while it answers, and ask again."""
    with ThreadPoolExecutor() as pool:
        running = pool.submit(httpx.post, door + "/v1/chat/completions", content=makers["good"](0), timeout=60)
        while not (app.state.front.gate.inside or running.done()):
            time.sleep(0.01)
        gate.should_exit = True
        time.sleep(0.3)
        try:
            after = httpx.get(door + "/health").status_code
        except httpx.HTTPError as error:
            after = type(error).__name__
        return running.result(), after


last, after = stopping()
print("the running request got:", last.status_code, last.json()["choices"][0]["message"]["content"])
print("a new one got:", after)

# %%
thread.join(30)
if engine != "llama.cpp" and server:
    server.kill_server()
    shutil.rmtree(label, ignore_errors=True)  # the folder of its copy
server = None
print("the front's thread is", "alive" if thread.is_alive() else "gone")

# %% [markdown]
# ## What to believe: the study
#
# `smol study 7/serving` sends more requests, with one slot and with several, also to `transformers serve`; it repeats the mixed
# load for ten minutes, and once with a front but no engine, which must fail.

# %% tags=["study"]
study = study_runs("serving")
numbers = {run: {name: result["value"] for name, result in entry["results"].items()} for run, entry in study.items()}
loads = [run for run in study if run.startswith(("slots_", "transformers"))]


def curve(run, what):
    """A run's clients and the measured numbers of that name."""
    clients = [int(level) for level in study[run]["parameters"]["levels"].split(",")]
    return clients, [numbers[run][f"slots_{level}_{what}"] for level in clients]


# %% tags=["study"]
fig, axes = plt.subplots(1, 2, figsize=(8, 3.2))
looks = zip(loads, ("o-", "s-", "^-", "D-", "x--", "+--"), ("#D55E00", "#E69F00", "#009E73", "#0072B2", "#666666", "#999999"))
for run, style, colour in looks:
    for ax, measure in zip(axes, ("requests_per_second", "p95")):
        ax.plot(*curve(run, measure), style, color=colour, label=run.replace("_", " "))
axes[0].set(xlabel="clients at once", ylabel="requests per second", ylim=(0, None), title="Together")
axes[1].set(xlabel="clients at once", ylabel="p95 (s)", ylim=(0, None), title="For one of them")
axes[0].legend(fontsize=7)
fig.tight_layout()

# %% tags=["study"]
print(f"ten minutes: {numbers['soak']['soak_requests']:,.0f} requests, memory {numbers['soak']['soak_growth_mb']:+.0f} MB")
print("engine_dies:", study["engine_dies"]["failed"][:200])

# %% [markdown]
# ## Exercises
#
# ### 🐢 The p95 (5 minutes)
#
# **Goal:** the number that a promise is made of. **Input:** `seconds`, a list of at least one number, and `share`, above 0 and
# at most 1. **Output:** one of the numbers: the smallest for which at least this share of the list is not larger than it (the
# *nearest rank*). **Example:** `[3, 1, 2, 4]` and 0.5 give 2. **Judged by:** ten lists, which must stay as they were.
# Hints: `hint("serving/turtle")`.

# %% tags=["exercise"]
def percentile(seconds, share):
    """Return the time within which this share of the requests was answered."""
    ...

# %% tags=["check"]
check("serving/turtle", percentile)

# %% [markdown]
# ### 🐕 Count the steps (20 minutes)
#
# **Goal:** see what continuous batching saves. **Input:** `lengths`, the tokens of each answer in the order of arrival, and
# `slots`. In one step the server writes one token for every request in a slot. All requests are there from the start.
# *Static*: it takes as many as there are slots, and takes the next ones only when all of these are done. *Continuous*: when
# one is done, the next takes its slot, from the next step on. **Output:** a pair: steps with static and with continuous
# batching. **Example:** `[4, 1, 1]` and 2 slots give `(5, 4)`. **Judged by:** ten lists, which must stay as they were; one
# is empty and takes no step. Hints: `hint("serving/dog")`.

# %% tags=["exercise"]
def steps(lengths, slots):
    """Return the steps until all answers are written: with static batching, with continuous batching."""
    ...

# %% tags=["check"]
check("serving/dog", steps)

# %% [markdown]
# ## Go further
#
# [going_further.md](../going_further.md) has the container, vLLM, several replicas and what a real deployment adds. The front
# does not change:
#
# ```bash
# vllm serve HuggingFaceTB/SmolLM2-1.7B-Instruct --host 127.0.0.1 --port 8080
# python server/front.py --engine http://127.0.0.1:8080 --at-once 64 --waiting 256
# ```
