"""The exercises of the notebook optimisation: the cache's size, checking guesses, and an inbox overnight.

The 🦁 is judged by the learner's own words in a dictionary: this module cannot know whether they measured it.
"""

import math
from collections.abc import Callable
from typing import Any

from smol_course.exercises import (
    Exercise,
    Mistake,
    NotYet,
    at_least,
    call,
    compared,
    complete,
    enough,
    expect,
    planted,
    variants,
)

# --- 🐢 How large is the cache? -----------------------------------------------------------------------------

_NAMES = ("layers", "kv_heads", "head_size", "tokens", "rows", "bytes_each")
# In the first, no factor is equal to another, nor to the 2 of keys and values.
_MODELS = ((30, 3, 64, 100, 5, 4), (30, 3, 64, 100, 1, 4), (24, 32, 64, 8192, 1, 2), (1, 1, 1, 1, 1, 1))


def _judge_cache(answer: Any) -> str | None:
    for sizes in _MODELS:
        value = expect(call(answer, *sizes), (int, float), "what cache_bytes returns")
        right = 2 * math.prod(sizes)
        if value != right:
            return _cache_mistake(value, right, sizes)
        if type(value) is float:
            return "The number is right, but it is a float: bytes are counted in whole numbers."
    return None


def _cache_mistake(found: float, right: int, sizes: tuple[int, ...]) -> str:
    """Name the mistake that leads to this number."""
    if found == right / 2:
        return "Only keys or only values are counted: both are kept."
    for name, size in zip(_NAMES, sizes, strict=True):
        if size > 1 and found == right / size:
            return f"{name} is missing: the cache grows in proportion to it."
        if size > 1 and found == right * size:
            return f"{name} is counted twice."
    if found == 8 * right:
        return "These are bits: a byte is 8 of them, and bytes are asked for."
    return f"For {sizes} it should be {right:,}, but yours is {found:,}."


def _without(*left_out: int, times: float = 1) -> Callable[[], Any]:
    """Return a function that makes a product without some of (2, layers, kv_heads, …)."""

    def made(*sizes: int) -> float:
        product = math.prod(size for place, size in enumerate((2, *sizes)) if place not in left_out)
        return product if times == 1 else product * times

    return lambda: made


_TURTLE = Exercise(
    id="optimisation/turtle",
    level="🐢",
    title="How large is the cache?",
    goal="Compute how many bytes the key-value cache takes.",
    minutes=5,
    judge=_judge_cache,
    hints=(
        "For one token, each key-value head of each layer keeps two vectors. Which two, and how long are they?",
        "2 · layers · kv_heads · head_size numbers for each token of each text.",
        "Times tokens, times rows, times the bytes of a number.",
    ),
    wrong=(
        ("keys only", _without(0), "Only keys or only values"),
        ("no layers", _without(1), "layers is missing"),
        ("no heads", _without(2), "kv_heads is missing"),
        ("no head size", _without(3), "head_size is missing"),
        ("no tokens", _without(4), "tokens is missing"),
        ("no rows", _without(5), "rows is missing"),
        ("no bytes", _without(6), "bytes_each is missing"),
        (
            "tokens squared",
            lambda: lambda *sizes: 2 * math.prod(sizes) * sizes[3],
            "tokens is counted twice",
        ),
        ("bits", lambda: lambda *sizes: 16 * math.prod(sizes), "These are bits"),
        ("a float", lambda: lambda *sizes: 2.0 * math.prod(sizes), "it is a float"),
        ("a text", lambda: lambda *sizes: str(math.prod(sizes)), "but it is a text"),
        ("one more", lambda: lambda *sizes: 2 * math.prod(sizes) + 1, "but yours is 23,040,001"),
    ),
)

# --- 🐕 Check the guesses -----------------------------------------------------------------------------------

_GUESSES = (
    ([5, 7, 9], [5, 7, 8, 1]),
    ([5], [5, 2]),
    ([1, 2, 3], [1, 2, 3, 4]),
    ([1, 2], [9, 2, 3]),
    ([1, 9, 3], [1, 2, 3, 4]),
    ([4, 4, 4], [4, 5, 4, 4]),
    ([0, 0], [0, 0, 0]),
    ([], [3]),
    ([8, 6, 7, 5], [8, 1, 7, 5, 3]),
)


def _accepted(guesses: list[int], wanted: list[int]) -> list[int]:
    right = 0
    while right < len(guesses) and guesses[right] == wanted[right]:
        right += 1
    return [*guesses[:right], wanted[right]]


def _equal(guesses: list[int], wanted: list[int]) -> list[int]:
    return [guess for guess, want in zip(guesses, wanted, strict=False) if guess == want]


def _wrong_one_kept(guesses: list[int], wanted: list[int]) -> list[int]:
    right = _accepted(guesses, wanted)
    return right if guesses == wanted[:-1] else guesses[: len(right)]


_ACCEPTED_MISTAKES: dict[str, Callable[[list[int], list[int]], list[int]]] = {
    "The model's own token is missing: the pass has computed it anyway.": lambda g, w: _accepted(g, w)[:-1],
    "The model's own token is missing where all guesses are right: `wanted` is one longer.": lambda g, w: _accepted(
        g, w
    )[: len(g)],
    "The wrong guess is kept: the model's own token takes its place.": lambda g, w: [
        *g[: len(_accepted(g, w))],
        _accepted(g, w)[-1],
    ],
    "The first wrong guess is kept instead of the model's own token.": _wrong_one_kept,
    "All that the model wanted is written: behind a wrong guess it has read the wrong text.": lambda g, w: list(w),
    "All guesses are taken, right or wrong.": lambda g, w: list(g),
    "All guesses are taken, and a token behind them.": lambda g, w: [*g, w[-1]],
    "Guesses behind the first wrong one are taken: they continue a text that is not written.": _equal,
    "Guesses behind the first wrong one are taken: they stand behind another text.": lambda g, w: [
        *_equal(g, w),
        w[-1],
    ],
    "Behind a wrong guess the last token of `wanted` is taken: take the one at that place.": lambda g, w: [
        *_accepted(g, w)[:-1],
        w[-1],
    ],
    "Only the model's first token is written: right guesses stay.": lambda g, w: w[:1],
}


def _judge_accepted(answer: Any) -> str | None:
    values = []
    for guesses, wanted in _GUESSES:
        copies = [list(guesses), list(wanted)]
        tokens = expect(call(answer, *copies), list, "what accepted returns")
        values.append([expect(token, int, "each token of what accepted returns") for token in tokens])
        if copies != [guesses, wanted]:
            return "Your function changed a list that it was given: work on a copy."
    right = [_accepted(*case) for case in _GUESSES]

    def say(place: int) -> str:
        guesses, wanted = _GUESSES[place]
        return f"For guesses {guesses} and wanted {wanted} it should be {right[place]}, not {str(values[place])[:60]}."

    return compared(values, right, _GUESSES, _ACCEPTED_MISTAKES, say)


_DOG = Exercise(
    id="optimisation/dog",
    level="🐕",
    title="Check the guesses",
    goal="Decide which guessed tokens stay, after the model has read them all.",
    minutes=20,
    judge=_judge_accepted,
    hints=(
        "`wanted[0]` is what the model writes before it has seen any guess. So it judges `guesses[0]`.",
        "Count how many guesses, from the first on, are equal to what was wanted there. Stop at the first that is not.",
        "With that many right, `wanted` at that place is the model's own next token: it has read exactly the text "
        "that stands now.",
        "That holds too when all guesses were right: `wanted` is one longer.",
    ),
    wrong=(
        *planted(_ACCEPTED_MISTAKES),
        ("a number", lambda: lambda g, w: len(_accepted(g, w)), "should be a list"),
        ("changes", lambda: lambda g, w: _accepted(g, w) + (w.clear() or []), "changed a list"),
        ("another token", lambda: lambda g, w: [*_accepted(g, w), 77], "it should be [5, 7, 8], not"),
    ),
)

# --- 🦁 An inbox overnight ----------------------------------------------------------------------------------

_RUNS, _MESSAGES, _TIMES = 3, 200, 1.5
_WHAT = {
    "baseline_tokens_per_second": list,
    "my_tokens_per_second": list,
    "test_messages": int,
    "chosen_on": list,
}


def _judge_results(answer: Any) -> str | None:
    results = complete(answer, _WHAT)
    for name in ("baseline_tokens_per_second", "my_tokens_per_second"):
        for rate in results[name]:
            if not 0 < expect(rate, (float, int), f"each number of {name}") < math.inf:
                return f"{name} holds {rate}: tokens per second are above 0."
        enough(results[name], name, _RUNS)
    if results["test_messages"] < _MESSAGES:
        return f"{results['test_messages']} test messages decide too little: measure on at least {_MESSAGES}."
    for name in results["chosen_on"]:
        if expect(name, str, "each id in chosen_on").lower().startswith(("test-", "hard-")):
            return f"You chose on a message of a test split ({name[:20]}): it can test nothing now."
    slowest, best = min(results["my_tokens_per_second"]), max(results["baseline_tokens_per_second"])
    if not at_least(slowest, _TIMES * best):
        return (
            f"Your slowest run ({slowest:.0f} tokens/s) is {slowest / best:.3f} times the notebook's best "
            f"({best:.0f}): {_TIMES} times is asked for, by each of your runs."
        )
    return _accuracy_mistake(results)


def _accuracy_mistake(results: dict[str, Any]) -> str | None:
    """What is wrong with the messages that were lost and won; a sign test says what chance explains."""
    for name in ("lost", "won"):
        if name not in results:
            raise Mistake(f"results has no {name!r}: keep all names of the cell above.")
        if expect(results[name], int, name) < 0:
            raise NotYet(f"{name} is still missing: count the messages.")
    lost, won = results["lost"], results["won"]
    if lost + won > results["test_messages"]:
        return f"{lost} lost and {won} won are more than {results['test_messages']} test messages."
    changed = min(lost + won, 1000)
    at_least = sum(math.comb(changed, k) for k in range(min(lost, changed), changed + 1)) / 2**changed
    if lost > won and at_least < 0.025:
        return (
            f"{lost} messages lost and {won} won: chance explains that in {at_least:.1%} of cases only; "
            "as accurate as the notebook's engine is asked for."
        )
    return None


_form = variants(
    {
        "baseline_tokens_per_second": [100.0, 98.0, 101.0],
        "my_tokens_per_second": [260.0, 250.0, 255.0],
        "test_messages": 306,
        "lost": 4,
        "won": 3,
        "chosen_on": ["dev-0001", "dev-0002"],
    }
)


_LION = Exercise(
    id="optimisation/lion",
    level="🦁",
    title="An inbox overnight",
    goal="Answer an inbox 1.5 times as quickly as the notebook's quickest engine, and as accurately.",
    minutes=60,
    judge=_judge_results,
    hints=(
        "Where is the limit now? With many messages at once it is arithmetic rather than memory. The notebook's "
        "section on batches shows where the gain of more rows ends.",
        "All prompts begin with the same system message. An engine that keeps it (prefix caching) reads less.",
        "Messages of like length waste less of a batch. Prompt lookup works in engines too.",
        "Ready-built wheels of llama.cpp use the instructions that most processors have. One built on your own "
        "machine may use more.",
        "Fewer bits are quicker where memory is the limit. Measure, do not assume.",
    ),
    wrong=(
        ("two runs", _form(my_tokens_per_second=[300.0, 300.0]), "has 2 of at least 3 seeds"),
        (
            "not enough",
            _form(my_tokens_per_second=[260.0, 140.0, 255.0]),
            "is 1.386 times the notebook's best (101): 1.5 times is asked for",
        ),
        ("few messages", _form(test_messages=48), "48 test messages decide too little"),
        ("chosen on the test", _form(chosen_on=["test-0007"]), "a test split (test-0007)"),
        ("worse", _form(lost=30, won=3), "30 messages lost and 3 won"),
        ("too many", _form(lost=300, won=200), "are more than 306 test messages"),
        ("negative rate", _form(my_tokens_per_second=[-1.0, 2.0, 3.0]), "tokens per second are above 0"),
        ("a part is missing", lambda: {"my_tokens_per_second": [5.0]}, "has no 'baseline_tokens"),
        ("a rate for a list", _form(my_tokens_per_second=260.0), "should be a list"),
        ("lost in words", _form(lost="few"), "lost should be a whole number"),
        ("numbers for ids", _form(chosen_on=[1, 2]), "each id in chosen_on should be a text"),
    ),
)

EXERCISES = (_TURTLE, _DOG, _LION)
