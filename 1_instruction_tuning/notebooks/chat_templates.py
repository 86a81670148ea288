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
# # Chat templates: how a conversation becomes one text
#
# A language model continues a text; it knows nothing of users and assistants. Here you see how roles are written into that
# text, token by token, and measure what happens to the same model when they are written wrongly.
#
# What this notebook cost when it was last run stands in the table of the module's README. The lesson to read first:
# [chat_templates.md](../chat_templates.md).
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/smol-ai/course/blob/main/1_instruction_tuning/notebooks/chat_templates.ipynb)
# In Colab, read the lesson [on GitHub](https://github.com/smol-ai/course/blob/main/1_instruction_tuning/chat_templates.md).

# %% tags=["install"]
# On Colab, install what this notebook needs; anywhere else this does nothing.
import importlib.util
import sys
if importlib.util.find_spec("smol_course") is None:
    print("Installing the course with what this notebook needs: about a minute.")
    needs = '"smol-course @ git+https://github.com/smol-ai/course"'
    get_ipython().system(f"uv pip install -q --python {sys.executable} {needs} || {sys.executable} -m pip install -q {needs}")

# %% tags=["parameters"]
from smol_course.parameters import whole
model_name: str = "HuggingFaceTB/SmolLM2-135M-Instruct"
base_name: str = "HuggingFaceTB/SmolLM2-135M"  # needs the Hub
seed: whole(0, 2**32 - 1) = 0
test_messages: whole(1) = 28
new_tokens: whole(1, 512) = 32  # the longest answer we wait for

# %% tags=["setup"]
import matplotlib.pyplot as plt
import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
from smol_course.data import SYSTEM_PROMPT, events
from smol_course.exercises import check, hint
from smol_course.hardware import prepare
from smol_course.metrics import record, wilson
from smol_course.models import find_model
from smol_course.settings import hub_allowed

# %% tags=["setup"]
here = prepare()
set_seed(seed)
model_path = find_model(model_name)
tokenizer = AutoTokenizer.from_pretrained(model_path)

# %% [markdown]
# ## Roles are text
#
# The usual way to store a conversation is a list of messages. Each has a role: `system` (standing orders), `user`, or `assistant`.

# %%
messages = [
    {"role": "system", "content": "You answer in one short sentence."},
    {"role": "user", "content": "When is lunch?"},
    {"role": "assistant", "content": "At noon."},
    {"role": "user", "content": "And dinner?"},
]
print(tokenizer.apply_chat_template(messages, tokenize=False))

# %% [markdown]
# This form is called ChatML. Each turn begins with `<|im_start|>` and the role, and ends with `<|im_end|>`. Where does it come
# from? From a small program in the Jinja language that is saved with the tokenizer:

# %%
print(tokenizer.chat_template)

# %% [markdown]
# Read its first line again: if there is no system message, it adds one of its own. A question without a system message is
# not the text you may think it is.

# %%
print(tokenizer.apply_chat_template(messages[1:2], tokenize=False))

# %% [markdown]
# ## Token by token
#
# The model sees numbers. The two markers are one token each, with numbers of their own. The role is an ordinary word.

# %%
ids = tokenizer.apply_chat_template(messages[1:2], return_dict=True)["input_ids"]
print([tokenizer.decode(token) for token in ids])
print("<|im_start|> is token", tokenizer.convert_tokens_to_ids("<|im_start|>"),
      "and <|im_end|> is token", tokenizer.convert_tokens_to_ids("<|im_end|>"))

# %% [markdown]
# ## Whose turn is it?
#
# `add_generation_prompt` opens the assistant's turn, so that the model's continuation is an answer.
# `continue_final_message` leaves the last turn open, so that the model goes on with words you chose.

# %%
asked = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
begun = messages + [{"role": "assistant", "content": "Dinner is"}]
forced = tokenizer.apply_chat_template(begun, tokenize=False, continue_final_message=True)
print("...", repr(asked[-40:]), "\n...", repr(forced[-40:]))

# %% [markdown]
# Let the model go on with both. The shorter answer of the two is filled up with end markers, so do not count those.

# %%
model = AutoModelForCausalLM.from_pretrained(
    model_path, dtype="bfloat16" if here.bf16 else "float32", attn_implementation=here.attention).eval()


def continue_texts(texts, limit=new_tokens):
    """Let the model go on with each text; return the new token ids, (texts, up to limit)."""
    batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")
    with torch.inference_mode():
        tokens = model.generate(**batch, max_new_tokens=limit, do_sample=False)
    return tokens[:, batch["input_ids"].shape[1]:]


for tokens in continue_texts([asked, forced]):
    print(repr(tokenizer.decode(tokens)))

# %% [markdown]
# Both answers end with `<|im_end|>`. The model writes this token itself, as it learned to in its training, and `generate`
# stops there. `<|im_end|>` also fills up the shorter rows of a batch: it is the end-of-turn *and* the padding token.

# %%
print("end:", tokenizer.eos_token, "| padding:", tokenizer.pad_token)

# %% [markdown]
# That is a trap in training. Somebody who hides every padding token from the loss by its *value* hides the end of the
# answer too, and the model never learns to stop. Hide by *position* instead. (The three turns below are a system's, a
# user's and an assistant's. We hide only padding here; training hides the first two turns as well.)

# %%
row = tokenizer.apply_chat_template(begun[:3], return_dict=True)["input_ids"]
padded = torch.tensor(row + [tokenizer.pad_token_id] * 4)
by_value = padded.masked_fill(padded == tokenizer.pad_token_id, -100)
by_position = padded.masked_fill(torch.arange(len(padded)) >= len(row), -100)
for name, labels in {"by value": by_value, "by position": by_position}.items():
    print(f"{name:12} scored ends of turn: {(labels == tokenizer.eos_token_id).sum()} of {row.count(tokenizer.eos_token_id)}")

# %% [markdown]
# ## The same words in the wrong template
#
# Now the measurement. The messages are the test messages of the course; the instruction is the same; only the template differs. Two
# of these are the templates of other model families.

# %%
system = "Say in one short sentence what the message is about."
templates = {
    "ChatML (right)": "<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{message}<|im_end|>\n<|im_start|>assistant\n",
    "no open turn": "<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{message}<|im_end|>\n",
    "Alpaca's": "### Instruction:\n{system}\n\n### Input:\n{message}\n\n### Response:\n",
    "none": "{system}\n{message}\n",
    "Llama 2's": "[INST] <<SYS>>\n{system}\n<</SYS>>\n\n{message} [/INST] ",
}
rows = events("test").filter(lambda row: row["style"] == "plain" and row["event"] != "null").take(test_messages)

# %% [markdown]
# The first question: does it stop? We count the answers that end by themselves within the limit.

# %%
stopped = {}
for name, template in templates.items():
    new = continue_texts([template.format(system=system, message=message) for message in rows["message"]])
    stopped[name] = (new == tokenizer.eos_token_id).any(dim=1).numpy()
    print(f"{name:15} {stopped[name].mean():4.0%} stop |", repr(tokenizer.decode(new[0], skip_special_tokens=True)[:70]))

# %% [markdown]
# The second question: how surprised is the model by the *right* answer, the event of each message? That is its loss on those
# tokens, in nats per token; the smaller, the better. Nothing is trained here; the model only reads.

# %%
def surprise(prompt, wanted):
    """Return the model's mean loss (nats per token) on the wanted text, given the prompt."""
    start = len(tokenizer(prompt)["input_ids"])
    ids = torch.tensor([tokenizer(prompt)["input_ids"] + tokenizer(wanted)["input_ids"]])
    labels = ids.masked_fill(torch.arange(ids.shape[1]) < start, -100)
    with torch.inference_mode():
        return model(input_ids=ids, labels=labels).loss.item()


losses = {name: np.array([surprise(template.format(system=SYSTEM_PROMPT, message=row["message"]), row["event"] + "<|im_end|>")
                          for row in rows]) for name, template in templates.items()}

# %% [markdown]
# Each message is read under every template, so we compare message by message: the difference to the right template, with
# a 95 % interval from resampling the messages (the *bootstrap*).

# %%
def interval(values, draws=2000):
    """Return the 95 % bootstrap interval of a mean."""
    rng = np.random.default_rng(seed)
    means = rng.choice(values, size=(draws, len(values))).mean(axis=1)
    return np.quantile(means, [0.025, 0.975])


for name, values in losses.items():
    extra = values - losses["ChatML (right)"]
    print(f"{name:15} {values.mean():.2f} nats   {extra.mean():+.2f} ({interval(extra)[0]:+.2f} to {interval(extra)[1]:+.2f})")

# %%
short = {"ChatML (right)": "right", "no open turn": "no_open_turn", "Alpaca's": "alpaca", "none": "none", "Llama 2's": "llama2"}
for name, key in short.items():
    record(f"stops_{key}", stopped[name].mean(), *wilson(int(stopped[name].sum()), len(rows)), n=len(rows), seed=seed)
    record(f"loss_{key}", losses[name].mean(), *interval(losses[name]), n=len(rows), seed=seed)

# %%
fig, axes = plt.subplots(1, 2, figsize=(8, 3), sharey=True)
names = list(templates)[::-1]
colours = ["#0072B2" if "right" in name else "#E69F00" for name in names]
axes[0].barh(names, [100 * stopped[name].mean() for name in names], color=colours)
axes[0].set(xlabel="answers that stop by themselves (%)", xlim=(0, 100))
axes[1].barh(names, [losses[name].mean() for name in names], color=colours)
axes[1].set(xlabel="loss on the right answer (nats per token)")
fig.suptitle("The same model, the same messages, five templates")
fig.tight_layout()

# %% [markdown]
# **The claim of this notebook:** the right template beats no template, in both measures, by more than chance explains.

# %%
extra = losses["none"] - losses["ChatML (right)"]
fewer = stopped["ChatML (right)"].astype(float) - stopped["none"]
record("loss_gap_none", extra.mean(), *interval(extra), n=len(rows), seed=seed)
record("stops_gap_none", fewer.mean(), *interval(fewer), n=len(rows), seed=seed)
assert interval(extra)[0] > 0 and interval(fewer)[0] > 0, "the wrong template did no harm here"
print("✅ both intervals exclude zero")

# %% [markdown]
# A wrong template raises no error. The model answers, only worse, and that is why it is found so late.
#
# ## A template for tools
#
# SmolLM2's template has no place for tools: functions that a model may ask to have called. A template is only a program, so we
# write one. It lists the tools in the system turn. `{% … %}` is an instruction, `{{ … }}` a value to write, and a `-` beside
# `%` swallows the white space there.

# %%
tool_template = """{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}
{%- if loop.first and tools %}

You may call these functions:
{% for tool in tools %}
{{ tool.function | tojson }}
{% endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

# %%
def free_on(day: str) -> list[str]:
    """Return the free hours of a day.

    Args:
        day: a lower-case weekday
    """


text = tokenizer.apply_chat_template(
    messages[:2], tools=[free_on], chat_template=tool_template, tokenize=False, add_generation_prompt=True)
print(text)

# %% [markdown]
# `transformers` made the JSON description out of the function's signature and docstring. The model still has to *learn* to answer
# with calls: module 8 trains one. A template alone teaches nothing.
#
# ## Base and instruct
#
# A *base* model has only learned to continue texts. Its tokenizer often has no chat template at all. It needs the Hub:

# %%
if hub_allowed():
    base = AutoTokenizer.from_pretrained(find_model(base_name))
    print("the base model's template:", base.chat_template)
else:
    print("The base model is on the Hub: start with SMOL_HUB=1 to see it.")

# %% [markdown]
# ## What to believe
#
# One model, two instructions (one for stopping, one for the loss), a few dozen messages, all from this course. The claim is
# only about the right template against none; two bars whose intervals overlap are not told apart. The loss says how likely
# the right answer is, not whether the model would say it: how often it does is measured in the next notebook.
#
# ## Exercises
#
# ### 🐢 ChatML by hand (5 minutes)
#
# **Goal:** write the text that the template makes. **Input:** a list of messages that begins with a system message.
# **Output:** one string, with the assistant's turn open at the end if `add_generation_prompt` is true.
# **Judged by:** four conversations. Stuck? `hint("chat_templates/turtle")`.

# %% tags=["exercise"]
def chatml(messages, add_generation_prompt):
    """Return the conversation as one ChatML text."""
    ...

# %% tags=["check"]
check("chat_templates/turtle", chatml)

# %% [markdown]
# ### 🐕 A template that carries results (20 minutes)
#
# **Goal:** a Jinja template for conversations in which a tool answers. **Input:** `messages`, with the roles system, user, assistant and
# `tool`, and `add_generation_prompt`. **Output:** the template, as a string. A `tool` message becomes a *user* turn, because the
# model knows no other role. Its content stands between two tags, each on a line of its own. For the single message
# `{"role": "tool", "content": "9:00"}` the text is exactly
#
# ```text
# <|im_start|>user
# <tool_response>
# 9:00
# </tool_response><|im_end|>
# ```
#
# with a line break at the end. All else is ChatML; no system message is invented. What you need of Jinja: `{% for message in
# messages %}` … `{% endfor %}`, `{% if … %}` … `{% else %}` … `{% endif %}`, and `{{ message.content }}`. A line break right after
# `%}` does not count. **Judged by:** rendering it. Hints: `hint("chat_templates/dog")`.

# %% tags=["exercise"]
result_template = """"""

# %% tags=["check"]
check("chat_templates/dog", result_template)

# %% [markdown]
# ## Go further
#
# With the Hub allowed, compare templates across models: `AutoTokenizer.from_pretrained("Qwen/Qwen2.5-0.5B-Instruct").chat_template` has
# tools in it, and so has `HuggingFaceTB/SmolLM3-3B`'s. Find what each does when there is no system message.
#
# Next: [supervised fine-tuning](supervised_fine_tuning.ipynb), where the loss looks at the assistant's turn only.
