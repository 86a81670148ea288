"""The exercises of the notebook automatic_benchmarks: the chosen option, the log-probability of a continuation.

The judge of the 🐕 hands over made-up logits: it cannot know whether the learner's prompts and options are tokenised
as the model expects.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from smol_course.exercises import Exercise, Mistake, call, expect, plain

if TYPE_CHECKING:
    from torch import Tensor

# --- 🐢 The chosen option -----------------------------------------------------------------------------------

# Scores, options, per character. No two ways of choosing pick the same option in all of them.
_QUESTIONS = (
    ([-4.0, -2.0, -3.0, -9.0], ["knife", "cup", "pot", "spoon"], False),
    ([-6.0, -3.0, -4.0, -8.0, -30.0], ["screwdrivers", "lamp", "a", "to a b c", "pillow"], True),
    ([-5.0, -6.0, -4.0, -12.0], ["screwdriver", "a knife", "cup", "to go"], True),
    ([-7.5, -9.0, -8.0, -30.0], ["a", "to a cinema", "to", "to somewhere else"], False),
    ([-12.0, -2.0, -9.0], ["screwdriver set", "cup", "teapot"], True),
    ([-3.0, -6.6, -4.5], ["cup", "bottle", "saucers"], True),
)


def _worth(scores: list[float], options: list[str], per_character: bool) -> list[float]:
    return [s / len(o) for s, o in zip(scores, options, strict=True)] if per_character else list(scores)


def _judge_chosen(answer: Any) -> str | None:
    for scores, options, per_character in _QUESTIONS:
        choice = plain(call(answer, list(scores), list(options), per_character))
        if type(choice) is str and choice in options:
            raise Mistake("This is the option's text: give its index.")
        if type(choice) is float and choice in _worth(scores, options, per_character):
            raise Mistake("This is the best score itself: give the index of its option.")
        index = expect(choice, int, "what chosen returns")
        right = _index(max, _worth(scores, options, per_character))
        if index != right:
            return _chosen_mistake(index, scores, options, per_character)
    return None


def _index(best: Callable[[list[float]], float], values: list[float]) -> int:
    return values.index(best(values))


def _chosen_mistake(index: int, scores: list[float], options: list[str], per_character: bool) -> str:
    """Name the mistake that leads to this index."""
    if not 0 <= index < len(options):
        return f"There are {len(options)} options, counted from 0: {index} is none of them."
    worth = _worth(scores, options, per_character)
    if index == _index(min, worth):
        return "This is the least likely option: log-probabilities are negative, and the highest wins."
    if index == _index(max, _worth(scores, options, not per_character)):
        if per_character:
            return "With per_character, each score is divided by its option's length first."
        return "Without per_character the sums count as they are: nothing is divided."
    if per_character and index == _index(max, [s * len(o) for s, o in zip(scores, options, strict=True)]):
        return "The scores are multiplied by the lengths: divide them."
    words = [s / len(o.split()) for s, o in zip(scores, options, strict=True)]
    if per_character and index == _index(max, words):
        return "Divided by the number of words: characters are asked for."
    shown = ", ".join(f"{value:.3g}" for value in worth)
    return f"The scores that count here are {shown}; the highest is at index {_index(max, worth)}, but you say {index}."


def _by(worth: Callable[[float, str], float], best: Callable[..., Any] = max) -> Callable[[], Any]:
    """Return a function that makes a choice of the best score, divided like this if per_character."""

    def chosen(scores: list[float], options: list[str], per_character: bool) -> int:
        values = [worth(s, o) if per_character else s for s, o in zip(scores, options, strict=True)]
        return values.index(best(values))

    return lambda: chosen


def _per_character(score: float, option: str) -> float:
    return score / len(option)


_TURTLE = Exercise(
    id="automatic_benchmarks/turtle",
    level="🐢",
    title="The chosen option",
    goal="Decide for the model, with and without normalisation.",
    minutes=5,
    judge=_judge_chosen,
    hints=(
        "A log-probability of -2 is more likely than one of -9. Which of min and max do you need?",
        "With per_character, make a new list first: each score divided by `len(option)`.",
        "`values.index(max(values))` gives the place of the highest.",
    ),
    wrong=(
        ("the least likely", _by(_per_character, min), "the least likely option"),
        ("never divided", _by(lambda score, option: score), "With per_character, each score is divided"),
        (
            "always divided",
            lambda: lambda scores, options, per: _index(max, _worth(scores, options, True)),
            "Without per_character the sums count as they are",
        ),
        ("multiplied", _by(lambda score, option: score * len(option)), "multiplied by the lengths"),
        ("words", _by(lambda score, option: score / len(option.split())), "the number of words"),
        (
            "the text",
            lambda: lambda scores, options, per: options[_index(max, _worth(scores, options, per))],
            "the option's text",
        ),
        (
            "the score",
            lambda: lambda scores, options, per: max(_worth(scores, options, per)),
            "the best score itself",
        ),
        (
            "from one",
            lambda: lambda scores, options, per: 4 if per else 1 + _index(max, scores),
            "the highest is at index 1, but you say 2",
        ),
    ),
)

# --- 🐕 The log-probability of a continuation ---------------------------------------------------------------

# Tokens, vocabulary, start, and how large the logits are.
_SHAPES = ((6, 11, 3, 1.0), (5, 7, 4, 3.0), (9, 13, 2, 8.0), (4, 50, 1, 2.0))


def _case(number: int) -> tuple["Tensor", list[int], int]:
    import torch

    tokens, vocabulary, start, size = _SHAPES[number]
    generator = torch.Generator().manual_seed(40 + number)
    logits = size * torch.randn(tokens, vocabulary, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, vocabulary, (tokens,), generator=generator).tolist(), start


def _summed(scores: "Tensor", ids: list[int], start: int, back: int = 1) -> float:
    """The sum of scores of ids[start:], each read ``back`` rows before its place."""
    return sum(scores[place - back, ids[place]].item() for place in range(start, len(ids)))


def _judge_logprob(answer: Any) -> str | None:
    import torch

    for number in range(len(_SHAPES)):
        logits, ids, start = _case(number)
        lent = logits.clone()
        result = call(answer, lent, list(ids), start)
        if issubclass(type(result), torch.Tensor):
            if result.numel() != 1:
                return f"Your result has the shape {tuple(result.shape)}: the option has one sum, so give one number."
            result = result.item()
        value = expect(result, (float, int), "what continuation_logprob returns")
        if not torch.equal(lent, logits):
            return "Your function changes the logits that it was given: work on a copy."
        if not math.isclose(value, _summed(logits.log_softmax(-1), ids, start), abs_tol=1e-4):
            return _logprob_mistake(value, logits, ids, start)
    return None


def _logprob_mistake(value: float, logits: "Tensor", ids: list[int], start: int) -> str:
    """Name the mistake that leads to this number."""
    log_probs, n = logits.log_softmax(-1), len(ids) - start
    right = _summed(log_probs, ids, start)
    known = {
        "Each token is read from its own row: there the model has read it already. Its scores stand one row before.": (
            _summed(log_probs, ids, start, back=0)
        ),
        "These are raw logits: turn each row into log-probabilities first (log_softmax).": _summed(logits, ids, start),
        "These are probabilities: their logarithms are added up.": _summed(logits.softmax(-1), ids, start),
        "log_softmax runs over the tokens here: it belongs over the vocabulary, the last dimension.": _summed(
            logits.log_softmax(0), ids, start
        ),
        "This is the mean: the sum is asked for.": right / n,
        "The sign is turned: log-probabilities are negative.": -right,
        "This is a probability: give its logarithm.": math.exp(right),
        "The option's first token is missing.": _summed(log_probs, ids, start + 1),
        "The prompt's tokens are counted too: begin at start.": _summed(log_probs, ids, 1),
        "The option's last token is missing.": _summed(log_probs, ids[:-1], start),
        "This takes the likeliest token at each place: take the option's own.": sum(
            log_probs[place - 1].max().item() for place in range(start, len(ids))
        ),
        "The logarithm has the base 2: the natural one is asked for.": right / math.log(2),
        "The logarithm has the base 10: the natural one is asked for.": right / math.log(10),
    }
    for message, wrong in known.items():
        if math.isclose(value, wrong, abs_tol=1e-4):
            return message
    return f"For {len(ids)} tokens, the option from {start} on, the sum is {right:.4f}, but yours is {value:.4f}."


def _from(read: Callable[["Tensor", list[int], int], Any]) -> Callable[[], Any]:
    """Return a function that makes an answer out of (log-probabilities, ids, start)."""
    return lambda: lambda logits, ids, start: read(logits.log_softmax(-1), ids, start)


def _one_early(logits: "Tensor", ids: list[int], start: int) -> float:
    return sum(logits.log_softmax(-1)[place - 2, ids[place]].item() for place in range(start, len(ids)))


def _in_place(logits: "Tensor", ids: list[int], start: int) -> float:
    logits -= logits.logsumexp(-1, keepdim=True)
    return _summed(logits, ids, start)


_DOG = Exercise(
    id="automatic_benchmarks/dog",
    level="🐕",
    title="The log-probability of a continuation",
    goal="Compute the log-probability of a continuation from logits.",
    minutes=20,
    judge=_judge_logprob,
    needs=("torch",),
    hints=(
        "Logits are raw scores. `logits.log_softmax(-1)` makes each row the log-probabilities of what comes next.",
        "Row t was computed after reading token t. So which row says how likely token t was?",
        "For each place from start to the end: row `place - 1`, column `ids[place]`.",
        "`sum(log_probs[place - 1, ids[place]].item() for place in range(start, len(ids)))`.",
    ),
    wrong=(
        ("its own row", _from(lambda scores, ids, start: _summed(scores, ids, start, 0)), "one row before"),
        ("logits", lambda: _summed, "These are raw logits"),
        (
            "probabilities",
            lambda: lambda logits, ids, start: _summed(logits.softmax(-1), ids, start),
            "These are probabilities",
        ),
        (
            "the wrong dimension",
            lambda: lambda logits, ids, start: _summed(logits.log_softmax(0), ids, start),
            "over the tokens here",
        ),
        ("the mean", _from(lambda s, ids, start: _summed(s, ids, start) / (len(ids) - start)), "This is the mean"),
        ("the sign", _from(lambda scores, ids, start: -_summed(scores, ids, start)), "The sign is turned"),
        ("a probability", _from(lambda s, ids, start: math.exp(_summed(s, ids, start))), "This is a probability"),
        ("no first token", _from(lambda s, ids, start: _summed(s, ids, start + 1)), "first token is missing"),
        ("the prompt too", _from(lambda scores, ids, start: _summed(scores, ids, 1)), "The prompt's tokens"),
        ("no last token", _from(lambda s, ids, start: _summed(s, ids[:-1], start)), "last token is missing"),
        (
            "the likeliest",
            _from(lambda s, ids, start: s[start - 1 : -1].max(-1).values.sum().item()),
            "the likeliest token at each place",
        ),
        ("bits", _from(lambda s, ids, start: _summed(s, ids, start) / math.log(2)), "has the base 2"),
        ("base 10", _from(lambda s, ids, start: _summed(s, ids, start) / math.log(10)), "has the base 10"),
        ("two rows before", lambda: _one_early, "but yours is"),
        ("a list", _from(lambda s, ids, start: [_summed(s, ids, start)]), "it is a list"),
        ("a tensor of several", _from(lambda s, ids, start: s[start - 1 : -1, ids[start]][:2]), "has the shape"),
        ("in place", lambda: _in_place, "changes the logits"),
    ),
)

EXERCISES = (_TURTLE, _DOG)
