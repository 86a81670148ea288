"""The exercises of the notebook vlm_finetuning: labels of a padded row, pairs for DPO on images, one's own question.

The judges look at lists only: they train nothing. The 🦁 is judged by the learner's own words in a dictionary: this
module cannot know whether they measured it.
"""

from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from smol_course.exercises import (
    Exercise,
    Mistake,
    at_least,
    at_most,
    call,
    compared,
    complete,
    expect,
    planted,
    shares,
    variants,
)

# --- 🐢 Labels of a padded row ------------------------------------------------------------------------------

HIDDEN = -100
_IMAGE = 3
# Input ids (0 is the padding, 3 an image token, 2 the end), mask, real tokens of the prompt. In the third row the
# padding's id is the end marker's; in the fourth padding stands on the left, in the sixth on both
# sides; in the fifth the answer is cut off; in the seventh there is no prompt.
_ROWS = (
    ([1, 4, 3, 3, 3, 4, 90, 91, 52, 2], [1] * 10, 8),
    ([1, 4, 3, 3, 4, 90, 52, 53, 2, 0, 0, 0], [1] * 9 + [0] * 3, 6),
    ([1, 4, 3, 3, 4, 90, 52, 2, 2, 2], [1] * 8 + [0] * 2, 6),
    ([0, 0, 1, 4, 3, 3, 4, 90, 0, 52, 2], [0, 0] + [1] * 9, 6),
    ([1, 4, 3, 4, 90, 0, 0], [1] * 5 + [0] * 2, 5),
    ([0, 1, 3, 3, 4, 52, 2, 0], [0] + [1] * 6 + [0], 4),
    ([52, 53, 2, 0], [1] * 3 + [0], 0),
    ([2, 2, 1, 3, 4, 52, 2], [0, 0] + [1] * 5, 3),
)
_Row = tuple[list[int], list[int], int]


def _labels(ids: list[int], mask: list[int], prompt: int) -> list[int]:
    labels, real = [], 0
    for token, here in zip(ids, mask, strict=True):
        real += here
        labels.append(token if here and real > prompt else HIDDEN)
    return labels


def _judge_labels(answer: Any) -> str | None:
    values = []
    for ids, mask, prompt in _ROWS:
        copies = list(ids), list(mask)
        labels = expect(call(answer, *copies, prompt), list, "what row_labels returns")
        if copies != (ids, mask):
            return "Your function changed the list that it was given: return a new one."
        if len(labels) != len(ids):
            return f"A row of {len(ids)} tokens needs {len(ids)} labels, one for each, and yours has {len(labels)}."
        values.append([expect(label, int, "each label") for label in labels])
    wanted = [_labels(*row) for row in _ROWS]

    def say(place: int) -> str:
        (ids, mask, _), labels, right = _ROWS[place], values[place], wanted[place]
        at = next(at for at, (a, b) in enumerate(zip(labels, right, strict=True)) if a != b)
        kind = "padding" if not mask[at] else "an image token" if ids[at] == _IMAGE else f"token {ids[at]}"
        return f"At place {at} of {ids} stands {kind}: its label should be {right[at]}, but yours is {labels[at]}."

    return compared(values, wanted, _ROWS, _wrong_labels(), say)


def _wrong_labels() -> dict[str, Callable[[list[int], list[int], int], list[int]]]:
    """Functions like `row_labels` that go wrong in a known way, by the message that names each."""
    return {
        "Padding is scored: the model would learn to write filler.": lambda ids, mask, prompt: [
            token if place >= prompt + mask.index(1) else HIDDEN for place, token in enumerate(ids)
        ],
        "Padding is told by its id here, so answer tokens with the same id are lost: go by the mask.": (
            lambda ids, mask, prompt: [
                HIDDEN if token == 0 else label for token, label in zip(ids, _labels(ids, mask, prompt), strict=True)
            ]
        ),
        "The prompt is counted from the row's beginning: with padding on the left it starts later.": (
            lambda ids, mask, prompt: [
                token if place >= prompt and here else HIDDEN
                for place, (token, here) in enumerate(zip(ids, mask, strict=True))
            ]
        ),
        "Only the image tokens are hidden: the question is not to be learned either.": lambda ids, mask, prompt: [
            token if here and token != _IMAGE else HIDDEN for token, here in zip(ids, mask, strict=True)
        ],
        "The prompt is scored and the answer hidden: the other way round.": lambda ids, mask, prompt: [
            token if here and label == HIDDEN else HIDDEN
            for token, here, label in zip(ids, mask, _labels(ids, mask, prompt), strict=True)
        ],
        "Nothing is hidden: the prompt and the padding are only read.": lambda ids, mask, prompt: list(ids),
        "Everything is hidden: the answer is to be learned.": lambda ids, mask, prompt: [HIDDEN] * len(ids),
        "The last token is hidden: it ends the answer, and a model never scored on it does not learn to stop.": (
            lambda ids, mask, prompt: [
                label if any(mask[place + 1 :]) else HIDDEN for place, label in enumerate(_labels(ids, mask, prompt))
            ]
        ),
        "The prompt is one token too long: the answer's first token is hidden.": lambda ids, mask, prompt: _labels(
            ids, mask, prompt + 1
        ),
        "The prompt is one token too short: its last token is scored.": lambda ids, mask, prompt: _labels(
            ids, mask, prompt - 1
        ),
        "Hidden tokens are 0 here: 0 is a token's id, and the loss would want it; write -100.": (
            lambda ids, mask, prompt: [0 if label == HIDDEN else label for label in _labels(ids, mask, prompt)]
        ),
    }


def _in_place(ids: list[int], mask: list[int], prompt: int) -> list[int]:
    ids[:] = _labels(ids, mask, prompt)
    return ids


_TURTLE = Exercise(
    id="vlm_finetuning/turtle",
    level="🐢",
    title="Labels of a padded row",
    goal="Write the labels of a padded row: the answer only.",
    minutes=5,
    judge=_judge_labels,
    hints=(
        "Walk along the row and count the real tokens: those whose mask is 1.",
        "A token is scored if its mask is 1 and more real tokens than the prompt has were counted, it included.",
        "The ids need no look at all: neither the image's nor the padding's.",
    ),
    wrong=(
        *planted(_wrong_labels()),
        ("changes its input", lambda: _in_place, "changed the list"),
        (
            "without padding",
            lambda: (
                lambda ids, mask, prompt: [
                    label for label, here in zip(_labels(ids, mask, prompt), mask, strict=True) if here
                ]
            ),
            "needs 12 labels",
        ),
    ),
)


# --- 🐕 Pairs for DPO on images -----------------------------------------------------------------------------


def _shown(*answers: tuple[str, str]) -> list[SimpleNamespace]:
    """Examples with those kinds and answers; their pictures are names here."""
    return [
        SimpleNamespace(kind=kind, image=f"picture {n}", question=f"{kind}, question {n}?", answer=answer)
        for n, (kind, answer) in enumerate(answers)
    ]


def _lists() -> list[list[SimpleNamespace]]:
    count, slot = [("count", str(n)) for n in (3, 1, 0, 1, 3, 0)], [("slot", text) for text in ("Yes", "No")]
    mixed = [("count", str(n)) for n in (3, 1, 3, 1, 0, 0)]  # the next other answer would not balance here
    return [
        _shown(*slot),
        _shown(*[pair for both in zip(count, slot * 3, strict=True) for pair in both]),
        _shown(*mixed),
    ]


_PARTS = ("images", "prompt", "chosen", "rejected")


def _judge_rows(answer: Any) -> str | None:
    for shown in _lists():
        rows = expect(call(answer, list(shown)), list, "what preference_rows returns")
        if len(rows) != len(shown):
            return f"{len(shown)} examples should give {len(shown)} rows, and yours are {len(rows)}."
        texts = [_texts(row, example) for row, example in zip(rows, shown, strict=True)]
        for pair, example in zip(texts, shown, strict=True):
            mistake = _pair_mistake(*pair, example, shown)
            if mistake:
                return mistake
        for kind in {example.kind for example in shown}:
            pairs = [pair for pair, example in zip(texts, shown, strict=True) if example.kind == kind]
            chosen, rejected = (Counter(column) for column in zip(*pairs, strict=True))
            if chosen != rejected:
                text = next(text for text in chosen | rejected if chosen[text] != rejected[text])
                return (
                    f"{text!r} is chosen {chosen[text]} and rejected {rejected[text]} times among questions of its "
                    "kind: so a model learns which answer to like, without looking. Balance them."
                )
    return None


def _texts(row: Any, one: SimpleNamespace) -> tuple[str, str]:
    """The chosen and the rejected text of a row, after looking at its form. Raises Mistake."""
    row = expect(row, dict, "each row")
    missing = [name for name in _PARTS if name not in row]
    if missing:
        raise Mistake(f"A row has no {missing[0]!r}: DPOTrainer wants {', '.join(_PARTS)}.")
    if row["images"] != [one.image]:
        raise Mistake("`images` should be a list with the example's own picture, and nothing else.")
    contents = []
    for name, role in (("prompt", "user"), ("chosen", "assistant"), ("rejected", "assistant")):
        turns = expect(row[name], list, name)
        if len(turns) != 1 or type(turns[0]) is not dict or {"role", "content"} - set(turns[0]):
            raise Mistake(f"`{name}` should be a list with one message: a dictionary with role and content.")
        if turns[0]["role"] != role:
            raise Mistake(f"The message of `{name}` should have the role {role}.")
        contents.append(expect(turns[0]["content"], str, f"the content of {name}"))
    if contents[0] != one.question:
        raise Mistake("The prompt should be the example's question as it stands.")
    return contents[1], contents[2]


def _pair_mistake(chosen: str, rejected: str, one: SimpleNamespace, shown: list[SimpleNamespace]) -> str | None:
    if rejected == one.answer and chosen != one.answer:
        return "Chosen and rejected are swapped: the right answer is the chosen one."
    if chosen != one.answer:
        return f"The chosen answer to {one.question!r} should be {one.answer!r}, its right one."
    if rejected == one.answer:
        return "Chosen and rejected are the same answer: such a pair teaches nothing."
    if rejected not in {other.answer for other in shown if other.kind == one.kind}:
        others = {other.answer for other in shown}
        if rejected in others:
            return "The rejected answer belongs to another kind of question: no picture is needed to see that."
        return "The rejected answer is right for no picture: the model learns to dislike the text, not to look."
    return None


def _rows_like(reject: Callable[[SimpleNamespace, list[str], list[str]], str], **changed: Any) -> Callable[[], Any]:
    """A function that makes `preference_rows`; ``reject`` gets an example, its kind's answers, and all answers."""

    def preference_rows(shown: list[SimpleNamespace]) -> list[dict[str, Any]]:
        rows = []
        for example in shown:
            own = sorted({other.answer for other in shown if other.kind == example.kind})
            chosen, rejected = example.answer, reject(example, own, sorted({other.answer for other in shown}))
            row = {
                "images": [example.image],
                "prompt": [{"role": "user", "content": example.question}],
                "chosen": [{"role": "assistant", "content": rejected if changed.get("swap") else chosen}],
                "rejected": [{"role": "assistant", "content": chosen if changed.get("swap") else rejected}],
            }
            rows.append(
                {name: changed.get(name, lambda value, _: value)(value, example) for name, value in row.items()}
            )
        return rows[: changed.get("keep")]

    return lambda: preference_rows


def _neighbour(one: SimpleNamespace, own: list[str], _: list[str]) -> str:
    return own[own.index(one.answer) - 1]


def _of_another_kind(one: SimpleNamespace, own: list[str], every: list[str]) -> str:
    return next((text for text in every if text not in own), _neighbour(one, own, every))


def _next_other(shown: list[SimpleNamespace]) -> list[dict[str, Any]]:
    rows = _rows_like(_first_other)()(shown)
    for place, (row, example) in enumerate(zip(rows, shown, strict=True)):
        behind = [*shown[place + 1 :], *shown]
        row["rejected"][0]["content"] = next(
            o.answer for o in behind if o.kind == example.kind and o.answer != example.answer
        )
    return rows


def _first_other(one: SimpleNamespace, own: list[str], _: list[str]) -> str:
    return next(text for text in own if text != one.answer)


_DOG = Exercise(
    id="vlm_finetuning/dog",
    level="🐕",
    title="Pairs for DPO on images",
    goal="Make preference pairs on images in which only the picture decides.",
    minutes=20,
    judge=_judge_rows,
    hints=(
        "Collect the answers of each kind first: a dictionary from the kind to its different answers.",
        "Put them in an order and let each answer's rejected one be its neighbour, the last one's the first.",
        "Why neighbours? Were the rejected one simply the first that is wrong, one answer would be rejected for all "
        "the others: the model would learn to dislike it, whatever the picture shows.",
        "`[{'role': 'assistant', 'content': text}]` is one message in a list.",
    ),
    wrong=(
        ("swapped", _rows_like(_neighbour, swap=True), "Chosen and rejected are swapped"),
        ("always the first wrong one", _rows_like(_first_other), "Balance them"),
        ("the next one that is wrong", lambda: _next_other, "'3' is chosen 2 and rejected 3 times"),
        ("another kind's", _rows_like(_of_another_kind), "belongs to another kind"),
        ("nonsense", _rows_like(lambda example, own, every: "I do not know"), "right for no picture"),
        ("the same", _rows_like(lambda example, own, every: example.answer), "the same answer"),
        ("no list", _rows_like(_neighbour, images=lambda value, _: value[0]), "a list with the example's own picture"),
        (
            "texts",
            _rows_like(_neighbour, chosen=lambda value, _: value[0]["content"]),
            "chosen should be a list",
        ),
        (
            "role",
            _rows_like(_neighbour, rejected=lambda value, _: [value[0] | {"role": "user"}]),
            "should have the role assistant",
        ),
        (
            "changed question",
            _rows_like(
                _neighbour, prompt=lambda value, example: [{"role": "user", "content": "Look: " + example.question}]
            ),
            "question as it stands",
        ),
        ("one left out", _rows_like(_neighbour, keep=-1), "should give 2 rows"),
    ),
)


# --- 🦁 Teach it your question ------------------------------------------------------------------------------

_SEEDS, _QUESTIONS, _GAIN, _LOST = 3, 100, 0.3, 0.05
_SHARES = (
    "before_right",
    "after_right",
    "after_blank",
    "after_shuffled",
    "before_other_kinds",
    "after_other_kinds",
)
_WHAT = dict.fromkeys(_SHARES, list) | {
    "most_frequent": float,
    "test_questions": int,
    "train_pictures": list,
    "test_pictures": list,
}


def _judge_question(answer: Any) -> str | None:
    results = complete(answer, _WHAT)
    for name in _SHARES:
        shares(results, name, _SEEDS)
    counts = {len(results[name]) for name in _SHARES}
    if len(counts) > 1:
        return "The lists have different lengths: one number for each seed, the same seeds in the same order in all."
    if not 0 < results["most_frequent"] <= 1:
        return f"most_frequent is {results['most_frequent']:.4g}, which is no share: it lies from 0 to 1."
    if results["test_questions"] < _QUESTIONS:
        return f"{results['test_questions']} test questions decide too little: measure on at least {_QUESTIONS}."
    return _picture_mistake(results) or _run_mistake(results)


def _picture_mistake(results: dict[str, Any]) -> str | None:
    for name in ("train_pictures", "test_pictures"):
        for digest in results[name]:
            text = expect(digest, str, f"each of {name}")
            if len(text) != 64 or set(text.lower()) - set("0123456789abcdef"):
                return f"{name} should hold SHA-256 sums of 64 letters and digits: {text[:20]!r} is none."
    shared = set(results["train_pictures"]) & set(results["test_pictures"])
    if shared:
        return f"You trained on {len(shared)} of the test pictures: they can test nothing now."
    return None


def _run_mistake(results: dict[str, Any]) -> str | None:
    """What is wrong with one of the runs."""
    for run in range(len(results["after_right"])):
        now, gain = results["after_right"][run], results["after_right"][run] - results["before_right"][run]
        if not at_least(gain, _GAIN):
            return f"Run {run} rises by {gain:.3f}; every run has to rise by {_GAIN}."
        controls = {name: results[name][run] for name in ("after_blank", "after_shuffled")}
        controls["most_frequent"] = results["most_frequent"]
        best = max(controls, key=lambda name: controls[name])
        if not at_least(now - controls[best], _GAIN):
            return (
                f"Run {run} is right in {now:.2f}, and {best} alone gets {controls[best]:.2f}: "
                "it answers much of it without your picture."
            )
    lost = _mean(results["before_other_kinds"]) - _mean(results["after_other_kinds"])
    if not at_most(lost, _LOST):
        return f"It learned your question and forgot others: they fell by {lost:.3f}; {_LOST} is allowed."
    return None


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


_form = variants(
    {
        "before_right": [0.1, 0.12, 0.08],
        "after_right": [0.8, 0.76, 0.82],
        "after_blank": [0.25, 0.22, 0.24],
        "after_shuffled": [0.26, 0.25, 0.21],
        "most_frequent": 0.28,
        "before_other_kinds": [0.85, 0.85, 0.85],
        "after_other_kinds": [0.84, 0.83, 0.85],
        "test_questions": 120,
        "train_pictures": ["0a" * 32],
        "test_pictures": ["2c" * 32],
    }
)


_LION = Exercise(
    id="vlm_finetuning/lion",
    level="🦁",
    title="Teach it your question",
    goal="Teach the model a question of your own that needs the picture, on three seeds.",
    minutes=60,
    judge=_judge_question,
    hints=(
        "Begin with the answers, not the pictures: choose a question whose answers are equally frequent and cannot be "
        "guessed from its words.",
        "Measure blind before you train, and blind again after: a grey sheet, and another question's picture. If these "
        "rise too, your questions give answers away.",
        "Two hundred pictures drawn by code in many styles teach more than twenty in one. Draw the test pictures in "
        "styles of their own.",
        "If the model forgets, mix some questions of its old kinds into the rows: one in four is a start.",
    ),
    wrong=(
        ("two seeds", _form(after_right=[0.8, 0.82]), "has 2 of at least 3 seeds"),
        ("unequal lists", _form(after_blank=[0.25, 0.22, 0.24, 0.2]), "have different lengths"),
        ("percent", _form(after_right=[80, 76, 82]), "looks like percent"),
        ("few questions", _form(test_questions=40), "40 test questions decide too little"),
        ("trained on a test picture", _form(train_pictures=["2c" * 32]), "trained on 1 of the test pictures"),
        ("no sums", _form(test_pictures=["photo.png"]), "64 letters and digits"),
        ("small gain", _form(before_right=[0.1, 0.6, 0.1]), "Run 1 rises by 0.160"),
        ("blind is as good", _form(after_shuffled=[0.26, 0.7, 0.21]), "after_shuffled alone gets 0.70"),
        ("one answer is frequent", _form(most_frequent=0.6), "most_frequent alone gets 0.60"),
        ("forgot", _form(after_other_kinds=[0.6, 0.62, 0.61]), "forgot others"),
        ("a part is missing", lambda: {"after_right": [0.5, 0.6, 0.7]}, "has no 'before_right'"),
    ),
)

EXERCISES = (_TURTLE, _DOG, _LION)
