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
# # A vision language model, part by part
#
# You follow one picture through the model: patches, vision tower, pixel shuffle, connector, language model. You compute each step
# beside the library's, and then take the picture away to see whether it mattered.
#
# What this notebook cost in time and memory when it was last run stands in the table of the module's README. The lesson to read
# first: [vlm_from_parts.md](../vlm_from_parts.md).
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/smol-ai/course/blob/main/5_vision_language_models/notebooks/vlm_from_parts.ipynb)
# In Colab, read the lesson [on GitHub](https://github.com/smol-ai/course/blob/main/5_vision_language_models/vlm_from_parts.md).

# %% tags=["install"]
# On Colab, install what this notebook needs; anywhere else this does nothing.
import importlib.util
import sys
if importlib.util.find_spec("smol_course") is None:
    print("Installing the course with what this notebook needs: about a minute.")
    needs = '"smol-course[vision] @ git+https://github.com/smol-ai/course"'
    get_ipython().system(f"uv pip install -q --python {sys.executable} {needs} || {sys.executable} -m pip install -q {needs}")

# %% [markdown]
# Every number worth changing stands in one cell.

# %% tags=["parameters"]
from smol_course.parameters import one_of, whole
model_name: str = "organiser_vlm"  # or a model of the Hub, such as "HuggingFaceTB/SmolVLM-256M-Instruct"
seed: whole(0, 2**32 - 1) = 0
kind: one_of("calendar_free_day", "chart_tallest", "scene_colour", "digit_one") = "chart_tallest"  # of the question that we follow
picture: whole(0) = 4  # which test example of that kind
test_each: whole(1) = 24  # questions of each kind, for the control at the end

# %% tags=["setup"]
import math
from itertools import groupby
import matplotlib.pyplot as plt
import pandas as pd
import torch
from transformers import set_seed
from smol_course.exercises import check, hint
from smol_course.hardware import prepare
from smol_course.metrics import record
from smol_course.vision.model import ask, evaluate, image_tokens, load_vlm, turns
from smol_course.vision.pictures import all_words, example, test_set

# %% tags=["setup"]
here = prepare()
set_seed(seed)

# %% [markdown]
# ## Three parts
#
# No package ships a vision language model, so the course made its own, the way SmolVLM was made: a *vision tower* that turns a
# picture into vectors, a *connector* that makes them as wide as a word's vector, and SmolLM2-135M as the *language model*. The
# classes are transformers' own.

# %%
model, processor = load_vlm(model_name)
model.set_attn_implementation("eager")  # the plain form of attention, which can show its weights
type(model).__name__, type(processor).__name__

# %%
parts = {"vision tower": model.model.vision_model, "connector": model.model.connector, "language model": model.model.text_model}
sizes = pd.Series({name: sum(weight.numel() for weight in part.parameters()) for name, part in parts.items()})
record("vision_share_of_weights", (sizes["vision tower"] + sizes["connector"]) / sizes.sum())
sizes.map("{:,}".format).to_frame("weights")

# %% [markdown]
# ## The picture and the question

# %%
item = example("test", 0, picture, (kind,))
print(item.question, "→", item.answer)
item.image.resize((256, 256), 0)

# %% [markdown]
# The *processor* is a tokenizer and an image processor in one. The chat template writes `<image>` where the picture goes. The
# processor resizes the picture, brings its values to the range from -1 to 1, and puts one placeholder token for each vector that
# the picture will become.

# %%
prompt = processor.apply_chat_template(turns(item.question), add_generation_prompt=True)
inputs = processor(text=[prompt], images=[[item.image]], return_tensors="pt")
print(prompt)
{name: tuple(value.shape) for name, value in inputs.items()}

# %% [markdown]
# `pixel_values` is (conversations, pictures, colours, height, width). Look at the sequence that the language model will read,
# with repeated tokens counted:

# %%
ids = inputs["input_ids"][0]
for token, run in groupby(processor.tokenizer.convert_ids_to_tokens(ids)):
    count = len(list(run))
    print(token if count == 1 else f"{token} × {count}", end=" ")

# %% [markdown]
# ## Patches
#
# The tower does not see pixels one by one. It cuts the picture into square *patches*. Thin lines: patches. Thick lines: what will
# be one token.

# %%
vision = model.config.vision_config
side = vision.image_size // vision.patch_size  # patches along one side
cells = math.isqrt(image_tokens(model.config))  # tokens along one side
tile = inputs["pixel_values"][:, -1].float()  # (1, 3, height, width); where a picture is cut into tiles, the last shows all of it
print(f"{side} × {side} patches of {vision.patch_size} × {vision.patch_size} pixels; {cells} × {cells} tokens")

# %%
fig, ax = plt.subplots(figsize=(3.4, 3.4))
ax.imshow(tile[0].permute(1, 2, 0).numpy() / 2 + 0.5)
for number in range(side + 1):
    wide = 1.6 if number % model.config.scale_factor == 0 else 0.5
    ax.axhline(number * vision.patch_size - 0.5, color="#888888", linewidth=wide)
    ax.axvline(number * vision.patch_size - 0.5, color="#888888", linewidth=wide)
ax.set(title="Patches and tokens", xlabel="pixels", ylabel="pixels")
fig.tight_layout()

# %% [markdown]
# A patch becomes a vector by one matrix: lay its numbers in a row and multiply. The library writes this as a convolution whose
# step is as long as its window. By hand it is the same:

# %%
patch, convolution = vision.patch_size, model.model.vision_model.embeddings.patch_embedding
with torch.no_grad():
    rows = torch.nn.functional.unfold(tile, patch, stride=patch).transpose(1, 2)  # (1, patches, 3 · patch · patch)
    by_hand = rows @ convolution.weight.flatten(1).T + convolution.bias  # (1, patches, tower's width)
    theirs = convolution(tile).flatten(2).transpose(1, 2)
apart = (by_hand - theirs).abs().max().item()
assert apart < 1e-3, apart
print(f"{rows.shape[2]} numbers → {by_hand.shape[2]}; the library's differ by at most {apart:.0e}")

# %% [markdown]
# ## The vision tower
#
# To each patch's vector a *position* is added, for a patch alone does not know where it lies. Then come layers of attention and
# feed-forward blocks, as in a language model, but every patch looks at every other one: there is no "earlier" in a picture.

# %%
with torch.no_grad():
    seen = model.model.vision_model(pixel_values=tile).last_hidden_state  # (1, patches, tower's width)
print(tuple(seen.shape), f"{vision.num_hidden_layers} layers, {vision.num_attention_heads} heads")

# %% [markdown]
# Do the positions matter? Give every patch the position of another one, and see how far the tower's answers move, against how
# large they are.

# %%
places = model.model.vision_model.embeddings.position_embedding.weight
kept = places.detach().clone()
with torch.no_grad():
    places.copy_(kept[torch.randperm(len(kept), generator=torch.Generator().manual_seed(seed))])
    moved = model.model.vision_model(pixel_values=tile).last_hidden_state
    places.copy_(kept)
record("moved_by_positions", ((moved - seen).norm(dim=-1) / seen.norm(dim=-1)).mean().item(), seed=seed)

# %% [markdown]
# ## Pixel shuffle
#
# As many tokens as patches would make long sequences, and the language model pays for every token in every layer. *Pixel shuffle*
# puts the vectors of a small square of patches side by side into one. Nothing is averaged, nothing is lost: fewer, wider vectors.
# Here with numbers that you can follow, a grid of 4 × 4 patches with one number each:

# %%
numbers = torch.arange(16.0).view(1, 16, 1)  # (pictures, patches, width)
print(numbers.view(4, 4).int())
model.model.connector.pixel_shuffle(numbers, 2)[0].int()  # (tokens, 4 · width)

# %%
shuffled_cells = model.model.connector.pixel_shuffle(seen, model.config.scale_factor)
tuple(seen.shape), tuple(shuffled_cells.shape)

# %% [markdown]
# The 🐕 builds it.
#
# ## The connector
#
# One matrix makes these vectors as wide as the language model's word vectors. That is all there is between the two models.

# %%
with torch.no_grad():
    tokens = model.model.connector(seen)  # (1, image tokens, language model's width)
table = model.get_input_embeddings().weight.detach()  # (vocabulary, width)
print(tuple(tokens.shape), f"lengths: of an image token {tokens.norm(dim=-1).mean():.1f}, of a word {table.norm(dim=-1).mean():.1f}")

# %% [markdown]
# In the first stage of its training, tower and connector learned to make vectors like those of words: each cell's vector was scored
# against the word vectors of what the cell shows. So one can ask each cell which word it is nearest to. The mean of these words'
# vectors, which all of them share, is subtracted first.

# %%
words = all_words()
first = [processor.tokenizer(word if word.isdigit() else f" {word}")["input_ids"][0] for word in words]
vectors = table[first] - table[first].mean(0)
scores = tokens[0] @ vectors.T  # (image tokens, words)
best = [" ".join(words[place] for place in row.topk(2).indices) for row in scores]
pd.DataFrame([best[row * cells:(row + 1) * cells] for row in range(cells)])

# %% [markdown]
# Compare with the picture. A model from the Hub never had this stage; its cells need not be near any word.
#
# ## Into the sequence
#
# Each placeholder token has a vector of its own that nobody needs. It is replaced by the picture's. From here on the language
# model cannot tell a picture's vectors from words': it reads one sequence.

# %%
holders = ids == model.config.image_token_id
with torch.no_grad():
    features = torch.cat(list(model.model.get_image_features(inputs["pixel_values"]).pooler_output))
    sequence = table[ids].clone()  # (length, width)
    sequence[holders] = features
    states = model.model.text_model(inputs_embeds=sequence[None]).last_hidden_state
    by_hand = model.lm_head(states[0, -1])  # (vocabulary,)
    outputs = model(**inputs, output_attentions=True)
apart = (by_hand - outputs.logits[0, -1]).abs().max().item()
assert apart < 1e-2, apart
print(f"{holders.sum()} of {len(ids)} tokens are the picture's; our logits and the model's differ by at most {apart:.0e}")

# %%
record("image_tokens", int(holders.sum()))
record("all_tokens", len(ids))
chances = outputs.logits[0, -1].softmax(-1).topk(6)
for chance, token in zip(chances.values, chances.indices):
    print(f"{chance:5.1%}  {processor.tokenizer.decode(token)!r}")

# %% [markdown]
# These are the candidates for the first token of the answer. The whole answer is:

# %%
ask(model, processor, [item.image], [item.question]), item.answer

# %% [markdown]
# ## Where the image sits in the attention
#
# The last token decides about the answer. How much of its attention goes to the picture's tokens? Mean over the heads of each
# layer.

# %%
last = torch.stack([layer[0, :, -1].mean(0) for layer in outputs.attentions])  # (layers, length)
share = {"picture": last[:, holders].sum(1), "first token": last[:, 0], "the rest": None}
share["the rest"] = 1 - share["picture"] - share["first token"]
strongest = int(share["picture"].argmax())
record("attention_on_picture", share["picture"].mean().item())
record("attention_on_picture_at_most", share["picture"].max().item())

# %%
fig, ax = plt.subplots(figsize=(6, 3))
for (name, values), style, colour in zip(share.items(), ("o-", "s--", "^:"), ("#0072B2", "#D55E00", "#888888")):
    ax.plot(range(1, len(values) + 1), values.numpy(), style, color=colour, markersize=4, label=name)
ax.set(xlabel="layer", ylabel="share of the last token's attention", ylim=(0, 1), title="Where the last token looks")
ax.legend()
fig.tight_layout()

# %% [markdown]
# Models park attention that they do not need on the first token; such a place is called an *attention sink*. Now the layer with
# the largest share for the picture, cell by cell.

# %%
of_cells = last[strongest, holders][-cells * cells:].view(cells, cells)
fig, axes = plt.subplots(1, 2, figsize=(7, 3.2))
axes[0].imshow(tile[0].permute(1, 2, 0).numpy() / 2 + 0.5)
axes[0].set(title=item.question, xlabel="pixels", ylabel="pixels")
shade = axes[1].imshow(of_cells.numpy(), cmap="viridis", vmin=0)
axes[1].set(title=f"attention in layer {strongest + 1}", xlabel="cell", ylabel="cell")
fig.colorbar(shade, ax=axes[1], label="share of attention")
fig.tight_layout()

# %% [markdown]
# A map like this is a hint, no proof. Attention says where a layer *read*, not what it did with it, and thirty layers and nine
# heads offer many maps to choose from. The proof is to take the picture away.
#
# ## The blind control
#
# The same questions three times: with their picture, with a grey sheet, and with the picture of another question of the same
# kind. And the best that one gets without reading anything: always the most frequent answer.

# %%
kinds = ("calendar_free_day", "chart_tallest", "scene_colour", "digit_one")
by_kind = evaluate(model, processor, test_set(test_each, kinds), bf16=here.bf16)
pd.DataFrame(by_kind).T[["right", "blank", "shuffled", "most_frequent", "most_frequent_answer", "n"]]

# %%
for name, row in by_kind.items():
    record(f"{name}_right", row["right"], row["low"], row["high"], row["n"])
    record(f"{name}_blank", row["blank"], n=row["n"])
    record(f"{name}_shuffled", row["shuffled"], n=row["n"])

# %% [markdown]
# ## What to believe
#
# The distance between the first column and the next two is what seeing brings. A model can be right without seeing: where one
# answer is frequent, where the question gives it away. The questions here are few, so read the intervals; the lesson
# [vlm_usage](../vlm_usage.md) has the whole test set. And all pictures are drawn by one program: shades, fonts and phrasings are
# new to the model, the *kind* of picture is not.
#
# ## Exercises
#
# ### 🐢 How many tokens? (5 minutes)
#
# **Goal:** count what a picture costs in the sequence. **Input:** `size`, the pixels along one side of a tile; `patch`, of a
# patch; `shuffle`, the patches along one side of a token; `tiles`, into how many tiles the picture is cut. **Output:** the number
# of image tokens, a whole number. **Example:** 64, 8, 2 and 1 give 16. **Judged by:** four models. Stuck?
# `hint("vlm_from_parts/turtle")`.

# %% tags=["exercise"]
def count_image_tokens(size, patch, shuffle, tiles):
    """Return how many tokens a picture takes in the sequence."""
    ...

# %% tags=["check"]
check("vlm_from_parts/turtle", count_image_tokens)

# %% [markdown]
# ### 🐕 Pixel shuffle (20 minutes)
#
# **Goal:** build what the connector does first. **Input:** `seen`, a float tensor (pictures, patches, width), the patches of a
# square picture row by row; and `factor`, the patches along one side of a token. **Output:** a tensor (pictures, patches /
# factor², width · factor²): tokens row by row, and in each the vectors of its patches side by side, row by row. Look at the grid
# of 16 numbers above. **Judged by:** three shapes. Hints: `hint("vlm_from_parts/dog")`.

# %% tags=["exercise"]
def pixel_shuffle(seen, factor):
    """Return the patches' vectors as fewer, wider ones."""
    ...

# %% tags=["check"]
check("vlm_from_parts/dog", pixel_shuffle)

# %% [markdown]
# ## Go further
#
# Start with `SMOL_HUB=1` (or `smol run --hub`) and take `model_name = "HuggingFaceTB/SmolVLM-256M-Instruct"`: every cell above
# is made for it too. It cuts a picture into tiles of 512 pixels and adds a small copy of the whole. Count its tokens, and compare the
# attention. `recipes/vlm.py` is how our model was trained: `uv run python -m recipes.vlm`.
#
# Next: [using one](../vlm_usage.md).
