"""The exercises of the notebook prompt_tuning: what each method trains, and a batch with a soft prompt in front.

The 🐕 is judged on small made-up tensors: whether a model learns from the batch, it does not see.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from smol_course.exercises import Exercise, call, compared, expect, number

if TYPE_CHECKING:
    from torch import Tensor

HIDDEN = -100
Shape = dict[str, int]


# --- 🐢 What is trained -------------------------------------------------------------------------------------

# SmolLM2-135M; SmolLM2-360M; one without grouped heads; a small odd one.
_SHAPES: tuple[Shape, ...] = (
    {"layers": 30, "hidden": 576, "heads": 9, "kv_heads": 3, "feed_forward": 1536},
    {"layers": 32, "hidden": 960, "heads": 15, "kv_heads": 5, "feed_forward": 2560},
    {"layers": 12, "hidden": 768, "heads": 12, "kv_heads": 12, "feed_forward": 3072},
    {"layers": 5, "hidden": 96, "heads": 6, "kv_heads": 2, "feed_forward": 220},
)


def _kv(shape: Shape) -> int:
    """How many numbers a layer's keys have for one position (its values have as many)."""
    return shape["kv_heads"] * (shape["hidden"] // shape["heads"])


_RIGHT: dict[str, Callable[[Shape, int], int]] = {
    "prompt": lambda s, tokens: tokens * s["hidden"],
    "prefix": lambda s, tokens: tokens * s["layers"] * 2 * _kv(s),
    "ia3": lambda s, tokens: s["layers"] * (2 * _kv(s) + s["feed_forward"]),
}
# What well-known mistakes count, by the message that names each.
_MISCOUNTS: dict[str, dict[str, Callable[[Shape, int], int]]] = {
    "prompt": {
        "A soft prompt goes in before the first layer only: do not multiply by the layers.": (
            lambda s, tokens: tokens * s["layers"] * s["hidden"]
        ),
        "That is one vector: a soft prompt has one for each virtual token.": lambda s, tokens: s["hidden"],
        "A vector of a soft prompt is as long as an embedding: hidden, not the width of the keys.": (
            lambda s, tokens: tokens * _kv(s)
        ),
    },
    "prefix": {
        "Prefix tuning's keys are counted for every query head, but several share one: use kv_heads.": (
            lambda s, tokens: tokens * s["layers"] * 2 * s["hidden"]
        ),
        "Prefix tuning trains keys and values: one of the two is not counted.": (
            lambda s, tokens: tokens * s["layers"] * _kv(s)
        ),
        "Prefix tuning reaches every layer, but one layer is counted.": lambda s, tokens: tokens * 2 * _kv(s),
        "A prefix has keys and values for each virtual token: multiply by virtual_tokens.": (
            lambda s, tokens: s["layers"] * 2 * _kv(s)
        ),
        "A key has the size of one head times kv_heads: divide hidden by heads, not by kv_heads.": (
            lambda s, tokens: tokens * s["layers"] * 2 * s["heads"] * (s["hidden"] // s["kv_heads"])
        ),
    },
    "ia3": {
        "IA3 scales the keys and values that there are: use kv_heads, not one per query head.": (
            lambda s, tokens: s["layers"] * (2 * s["hidden"] + s["feed_forward"])
        ),
        "IA3 also scales the inner numbers of each feed-forward block, which are not counted.": (
            lambda s, tokens: s["layers"] * 2 * _kv(s)
        ),
        "IA3 scales keys and values with a vector each, and one of the two is not counted.": (
            lambda s, tokens: s["layers"] * (_kv(s) + s["feed_forward"])
        ),
        "IA3 has no virtual tokens: leave them out of its count.": (
            lambda s, tokens: tokens * s["layers"] * (2 * _kv(s) + s["feed_forward"])
        ),
        "IA3's last vector scales the feed-forward block's inside (feed_forward numbers), not its output.": (
            lambda s, tokens: s["layers"] * (2 * _kv(s) + s["hidden"])
        ),
        "IA3 has its three vectors in every layer, but one layer is counted.": (
            lambda s, tokens: 2 * _kv(s) + s["feed_forward"]
        ),
    },
}


def _judge_count(answer: Any) -> str | None:
    return next((mistake for method in _RIGHT if (mistake := _judge_method(answer, method))), None)


def _judge_method(answer: Any, method: str) -> str | None:
    """What is wrong with the counts of one method, over all shapes."""
    cases, values = [(shape, tokens) for shape in _SHAPES for tokens in (16, 7)], []
    for shape, tokens in cases:
        copied = dict(shape)
        count = expect(call(answer, method, copied, tokens), (int, float), "what trained_parameters returns")
        if type(count) is float:
            number(count, "what trained_parameters returns")
            return f"{count} is a number with a fraction, even if that is zero: divide with //, not with /."
        values.append(count)
        if copied != shape:
            return "Your function changed the shape that it was given: look at it only."
    wanted = [_RIGHT[method](*case) for case in cases]

    def say(place: int) -> str:
        shape, tokens = cases[place]
        return (
            f'For "{method}" with {tokens} virtual tokens and {shape["layers"]} layers of hidden size '
            f"{shape['hidden']}, {wanted[place]:,} are trained, but you count {values[place]:,}."
        )

    return compared(values, wanted, cases, _MISCOUNTS[method], say)


def _counts_like(method: str, which: int) -> Callable[[], Any]:
    """Return a function that makes a counter with the given miscount of one method."""
    miscount = list(_MISCOUNTS[method].values())[which]
    return lambda: lambda name, shape, tokens: (miscount if name == method else _RIGHT[name])(shape, tokens)


_TURTLE = Exercise(
    id="prompt_tuning/turtle",
    level="🐢",
    title="What is trained",
    goal="Count what prompt tuning, prefix tuning and IA3 train, from a model's shape.",
    minutes=5,
    judge=_judge_count,
    hints=(
        "A soft prompt is a table with one row for each virtual token. How long is an embedding?",
        "In each layer, the keys of one position have kv_heads × (hidden // heads) numbers, and the values as many.",
        "A prefix is made of keys and values, in every layer, for each virtual token: four factors, one of them 2.",
        "IA3 has three vectors in each layer: for the keys, for the values, and for the feed_forward numbers inside "
        "the feed-forward block. Virtual tokens play no part.",
    ),
    wrong=(
        ("prompt in every layer", _counts_like("prompt", 0), "before the first layer only"),
        ("prompt of one vector", _counts_like("prompt", 1), "That is one vector"),
        ("prompt as wide as the keys", _counts_like("prompt", 2), "as long as an embedding"),
        ("prefix without groups", _counts_like("prefix", 0), "counted for every query head"),
        ("prefix of keys only", _counts_like("prefix", 1), "trains keys and values"),
        ("prefix in one layer", _counts_like("prefix", 2), "Prefix tuning reaches every layer"),
        ("prefix without tokens", _counts_like("prefix", 3), "multiply by virtual_tokens"),
        ("head size by kv_heads", _counts_like("prefix", 4), "divide hidden by heads"),
        ("ia3 without groups", _counts_like("ia3", 0), "the keys and values that there are"),
        ("ia3 without feed-forward", _counts_like("ia3", 1), "also scales the inner numbers"),
        ("ia3 with keys only", _counts_like("ia3", 2), "with a vector each"),
        ("ia3 with tokens", _counts_like("ia3", 3), "has no virtual tokens"),
        ("ia3 on the output", _counts_like("ia3", 4), "not its output"),
        ("ia3 in one layer", _counts_like("ia3", 5), "IA3 has its three vectors in every layer"),
        (
            "a float",
            lambda: lambda name, shape, tokens: float(_RIGHT[name](shape, tokens)),
            "9216.0 is a number with a fraction, even if that is zero: divide with //",
        ),
        ("something else", lambda: lambda name, shape, tokens: 12, "9,216 are trained, but you count 12"),
    ),
)


# --- 🐕 A soft prompt in front ------------------------------------------------------------------------------

_NAMES = ("inputs_embeds", "attention_mask", "labels")
# Rows of (token ids, how many of them are the prompt): of unlike length, alike, one alone, tokens that come again,
# nothing that is only read, and nothing else.
_BATCHES = (
    (3, (([5, 9, 2, 7, 11], 3), ([4, 8], 1), ([6, 1, 3], 2))),
    (2, (([5, 9, 2], 1), ([4, 8, 9], 2))),
    (1, (([7, 7, 3, 7], 2),)),
    (4, (([1, 2], 1), ([3, 4, 5, 6, 7, 8], 5))),
    (2, (([5, 9, 4], 2), ([7], 0), ([3, 8, 6], 0), ([4, 2], 2))),
)
_WIDTH, _VOCABULARY = 6, 12
Rows = tuple[tuple[list[int], int], ...]


def _tensors(virtual: int) -> tuple["Tensor", "Tensor"]:
    """A soft prompt that wants gradients, and a table of embeddings."""
    import torch

    generator = torch.Generator().manual_seed(virtual)
    soft = torch.randn(virtual, _WIDTH, generator=generator).requires_grad_()
    return soft, torch.randn(_VOCABULARY, _WIDTH, generator=generator)


def _batch(soft: "Tensor", words: "Tensor", rows: Any) -> dict[str, "Tensor"]:
    """The right batch; padding is a vector of zeros."""
    import torch

    longest = max(len(ids) for ids, _ in rows)
    embeds, mask, labels = [], [], []
    for ids, prompt in rows:
        empty = longest - len(ids)
        embeds.append(torch.cat([soft, words[torch.tensor(ids)], words.new_zeros(empty, words.shape[1])]))
        mask.append([1] * (len(soft) + len(ids)) + [0] * empty)
        labels.append([HIDDEN] * (len(soft) + prompt) + list(ids[prompt:]) + [HIDDEN] * empty)
    return {
        "inputs_embeds": torch.stack(embeds),
        "attention_mask": torch.tensor(mask),
        "labels": torch.tensor(labels),
    }


def _judge_batch(answer: Any) -> str | None:
    import torch

    for virtual, rows in _BATCHES:
        soft, words = _tensors(virtual)
        copies = soft.detach().clone().requires_grad_(), words.clone(), [(list(ids), prompt) for ids, prompt in rows]
        with torch.enable_grad():
            batch = expect(call(answer, *copies), dict, "what with_soft_prompt returns")
        wanted = _batch(soft, words, rows)
        mistake = _form_mistake(batch, wanted, virtual) or _embeds_mistake(batch, soft, words, rows)
        mistake = mistake or _mask_mistake(batch, wanted, virtual) or _labels_mistake(batch, wanted, virtual, rows)
        if mistake := mistake or _gradient_mistake(batch, copies[0], len(rows)):
            return mistake
        unchanged = torch.equal(copies[0], soft) and torch.equal(copies[1], words)
        if not unchanged or copies[2] != [(list(ids), prompt) for ids, prompt in rows]:
            return "The batch is right, but the function changed what it was given: make new lists and tensors."
    return None


def _form_mistake(batch: dict[str, Any], wanted: dict[str, "Tensor"], virtual: int) -> str | None:
    """Name a part that is missing, is no tensor, or has another shape."""
    import torch

    for name in _NAMES:
        if name not in batch:
            return f"The batch has no {name!r}: it needs {', '.join(_NAMES)}."
        expect(batch[name], torch.Tensor, name)
        shape, right = tuple(batch[name].shape), tuple(wanted[name].shape)
        if shape == (right[0], right[1] - virtual, *right[2:]):
            return f"{name} has no place for the soft prompt: it is {virtual} positions too short."
        if shape != right:
            return f"{name} has the shape {shape}, but {right} is wanted: {_what(name)}."
    if batch["labels"].dtype != torch.int64:
        return f"The labels are token numbers, so int64, but yours are {batch['labels'].dtype}."
    return None


def _what(name: str) -> str:
    return "rows, positions" + (", width of an embedding" if name == "inputs_embeds" else "")


def _same(left: "Tensor", right: "Tensor") -> bool:
    import torch

    return left.shape == right.shape and bool(torch.allclose(left.double(), right.double()))


def _embeds_mistake(batch: dict[str, Any], soft: "Tensor", words: "Tensor", rows: Rows) -> str | None:
    """Name what is wrong with the vectors of a row; what stands at padding does not matter."""
    import torch

    if not torch.isfinite(batch["inputs_embeds"].detach()).all():
        return "inputs_embeds holds what is no finite number: it spreads from there, even behind a mask."
    virtual = len(soft)
    for place, (ids, _) in enumerate(rows):
        row, message, size = batch["inputs_embeds"][place].detach(), words[torch.tensor(ids)], len(ids)
        if _same(row[:virtual], soft) and _same(row[virtual : virtual + size], message):
            continue
        if _same(row[:size], message) and _same(row[size : size + virtual], soft):
            return "The soft prompt stands behind the message: it goes in front, where every token can see it."
        if _same(row[:size], message):
            return "The message comes first: the soft prompt goes in front of it."
        if _same(row[-size:], message) and len(row) > virtual + size:
            return "The padding is on the left, or between soft prompt and message: put it behind the message."
        if _same(row[:virtual], soft.flip(0)) and virtual > 1:
            return "The vectors of the soft prompt are in reverse order."
        if place and not _same(row[:virtual], soft):
            return f"Row {place} does not begin with the soft prompt: every row of the batch needs it."
        part = "the message's embeddings" if _same(row[:virtual], soft) else "the soft prompt"
        return f"In row {place}, {part} should stand somewhere else, or as it is: soft prompt, message, padding."
    return None


def _mask_mistake(batch: dict[str, Any], wanted: dict[str, "Tensor"], virtual: int) -> str | None:
    mask, right = batch["attention_mask"].double(), wanted["attention_mask"].double()
    if _same(mask, right):
        return None
    if bool((mask[:, :virtual] != 1).any()):
        return "The attention mask hides the soft prompt: what no token attends to changes nothing. Ones belong there."
    if bool((mask[right == 0] != 0).any()):
        return "The attention mask shows the padding: zeros belong there."
    return "The attention mask hides tokens of the message: ones belong there."


def _labels_mistake(batch: dict[str, Any], wanted: dict[str, "Tensor"], virtual: int, rows: Rows) -> str | None:
    labels, right = batch["labels"], wanted["labels"]
    if _same(labels, right):
        return None
    if bool((labels[:, :virtual] != HIDDEN).any()):
        return f"The soft prompt's positions have no token that could be their label: {HIDDEN} belongs there."
    if bool((labels[wanted["attention_mask"] == 0] != HIDDEN).any()):
        return f"The padding is scored: its labels should be {HIDDEN}."
    mine = [labels[n, virtual : virtual + len(ids)].tolist() for n, (ids, _) in enumerate(rows)]
    known = {
        "The labels leave nothing of the message's prompt out: the first prompt_length tokens are only read.": [
            list(ids) for ids, _ in rows
        ],
        "The labels are shifted by one. They stand at their own tokens: the model does the shifting.": [
            [*right[n, virtual + 1 : virtual + len(ids)].tolist(), HIDDEN] for n, (ids, _) in enumerate(rows)
        ],
        "Nothing of the completion is scored: its labels are its own token numbers.": [
            [HIDDEN] * len(ids) for ids, _ in rows
        ],
    }
    for message, mistaken in known.items():
        if mine == mistaken:
            return message
    row, at = (labels != right).nonzero()[0].tolist()
    ids, prompt = rows[row]
    where = f"In row {row}, {(ids, prompt)}, the label of the message's token at place {at - virtual}"
    read = " (it is only read)" if at - virtual < prompt else ""
    return f"{where} should be {int(right[row, at])}{read}, but yours is {int(labels[row, at])}."


def _gradient_mistake(batch: dict[str, Any], soft: "Tensor", rows: int) -> str | None:
    import torch

    embeds = batch["inputs_embeds"]
    if not embeds.requires_grad:
        return "No gradient can reach the soft prompt: do not detach or copy it into a fresh tensor; use torch.cat."
    (gradient,) = torch.autograd.grad(embeds[:, : len(soft)].sum(), soft, allow_unused=True)
    if gradient is None or not _same(gradient, torch.full_like(gradient, rows)):
        return "Not every gradient reaches the soft prompt: each row must hold the soft prompt itself, not a copy."
    return None


def _changed(change: Callable[..., None]) -> Callable[[], Any]:
    """Return a function that makes an answer: the right batch, then changed in place."""

    def make() -> Any:
        def with_soft_prompt(soft: "Tensor", words: "Tensor", rows: Any) -> dict[str, "Tensor"]:
            batch = _batch(soft, words, rows)
            change(batch, soft, rows)
            return batch

        return with_soft_prompt

    return make


def _put(name: str, value: Callable[..., Any]) -> Callable[[], Any]:
    """The right batch with one part replaced by value(batch, soft, rows)."""
    return _changed(lambda batch, soft, rows: batch.update({name: value(batch, soft, rows)}))


def _roll_rows(batch: dict[str, "Tensor"], soft: "Tensor", rows: Any, start: int) -> "Tensor":
    """Each row's padding moved in front of position ``start`` of the row."""
    import torch

    mask, moved = batch["attention_mask"], []
    for row, shown in zip(batch["inputs_embeds"], mask, strict=True):
        empty = int((shown == 0).sum())
        moved.append(torch.cat([row[:start], row[len(row) - empty :], row[start : len(row) - empty]]))
    return torch.stack(moved)


def _behind(batch: dict[str, "Tensor"], soft: "Tensor", rows: Any) -> "Tensor":
    import torch

    virtual = len(soft)
    return torch.stack(
        [
            torch.cat([row[virtual : virtual + len(ids)], row[:virtual], row[virtual + len(ids) :]])
            for row, (ids, _) in zip(batch["inputs_embeds"], rows, strict=True)
        ]
    )


def _first_row_only(batch: dict[str, "Tensor"], soft: "Tensor", rows: Any) -> "Tensor":
    embeds = batch["inputs_embeds"].clone()
    embeds[1:, : len(soft)] = 0
    return embeds


def _filled(name: str, where: Callable[..., Any], value: int) -> Callable[[], Any]:
    """The right batch with ``value`` in one part, where(batch, soft) says where."""
    return _put(name, lambda batch, soft, rows: batch[name].masked_fill(where(batch, soft), value))


def _at_soft(batch: dict[str, "Tensor"], soft: "Tensor") -> "Tensor":
    import torch

    return (torch.arange(batch["labels"].shape[1]) < len(soft)).expand_as(batch["labels"])


def _prompt_scored(batch: dict[str, "Tensor"], soft: "Tensor", rows: Any) -> "Tensor":
    import torch

    labels = batch["labels"].clone()
    for row, (ids, _) in zip(labels, rows, strict=True):
        row[len(soft) : len(soft) + len(ids)] = torch.tensor(ids)
    return labels


def _one_too_many(batch: dict[str, "Tensor"], soft: "Tensor", rows: Any) -> "Tensor":
    labels = batch["labels"].clone()
    for row, (ids, prompt) in zip(labels, rows, strict=True):
        if prompt:
            row[len(soft) + prompt - 1] = ids[prompt - 1]
    return labels


def _rolled(batch: dict[str, "Tensor"], soft: "Tensor", rows: Any) -> "Tensor":
    labels = batch["labels"].roll(-1, dims=1)
    labels[:, -1] = HIDDEN
    # Shifted within the message: the place before it stays hidden.
    labels[:, : len(soft)] = HIDDEN
    return labels


def _spoils_input() -> Any:
    def with_soft_prompt(soft: "Tensor", words: "Tensor", rows: Any) -> dict[str, "Tensor"]:
        batch = _batch(soft, words, rows)
        for ids, _ in rows:
            ids.append(0)
        return batch

    return with_soft_prompt


_DOG = Exercise(
    id="prompt_tuning/dog",
    level="🐕",
    title="A soft prompt in front",
    goal="Build the batch that trains a soft prompt: vectors, attention mask and labels.",
    minutes=20,
    judge=_judge_batch,
    needs=("torch",),
    hints=(
        "Build one row after the other: its vectors, its mask and its labels have three parts each, for the soft "
        "prompt, for the message, for the padding. Then stack the rows.",
        "`words[torch.tensor(ids)]` looks the embeddings up, (tokens, width). `torch.cat` puts soft prompt, message "
        "and padding one after the other, and lets gradients through.",
        "Padding can be any vector, for example `words.new_zeros(count, words.shape[1])`: the mask hides it.",
        "The labels are -100 for the soft prompt, for the first prompt_length tokens and for padding; else the token. "
        "The mask is 1 for the soft prompt and the message, 0 for padding.",
    ),
    wrong=(
        ("behind", _put("inputs_embeds", _behind), "stands behind the message"),
        (
            "padding on the left",
            _put("inputs_embeds", lambda batch, soft, rows: _roll_rows(batch, soft, rows, 0)),
            "The padding is on the left",
        ),
        ("first row only", _put("inputs_embeds", _first_row_only), "Row 1 does not begin with the soft prompt"),
        (
            "reversed",
            _put(
                "inputs_embeds",
                lambda batch, soft, rows: _batch(soft.flip(0), _tensors(len(soft))[1], rows)["inputs_embeds"],
            ),
            "in reverse order",
        ),
        (
            "no soft prompt",
            _put("inputs_embeds", lambda batch, soft, rows: batch["inputs_embeds"][:, len(soft) :]),
            "inputs_embeds has no place",
        ),
        (
            "short mask",
            _put("attention_mask", lambda batch, soft, rows: batch["attention_mask"][:, len(soft) :]),
            "attention_mask has no place",
        ),
        (
            "short labels",
            _put("labels", lambda batch, soft, rows: batch["labels"][:, len(soft) :]),
            "labels has no place",
        ),
        ("mask hides the soft prompt", _filled("attention_mask", _at_soft, 0), "hides the soft prompt"),
        (
            "mask of ones",
            _put("attention_mask", lambda batch, soft, rows: batch["attention_mask"] * 0 + 1),
            "shows the padding",
        ),
        ("labels of zero", _filled("labels", _at_soft, 0), "no token that could be their label"),
        (
            "padding scored",
            _filled("labels", lambda batch, soft: batch["attention_mask"] == 0, 2),
            "The padding is scored",
        ),
        ("prompt scored", _put("labels", _prompt_scored), "the first prompt_length tokens are only read"),
        ("shifted", _put("labels", _rolled), "shifted by one"),
        (
            "nothing scored",
            _put("labels", lambda batch, soft, rows: batch["labels"] * 0 + HIDDEN),
            "Nothing of the completion is scored",
        ),
        (
            "labels of floats",
            _put("labels", lambda batch, soft, rows: batch["labels"].float()),
            "so int64",
        ),
        (
            "detached",
            _put("inputs_embeds", lambda batch, soft, rows: batch["inputs_embeds"].detach()),
            "No gradient can reach",
        ),
        ("a part is missing", _changed(lambda batch, soft, rows: batch.pop("labels")), "has no 'labels'"),
        (
            "a list",
            _put("labels", lambda batch, soft, rows: batch["labels"].tolist()),
            "labels should be a tensor",
        ),
        ("changes its input", _spoils_input, "changed what it was given"),
    ),
)

EXERCISES = (_TURTLE, _DOG)
