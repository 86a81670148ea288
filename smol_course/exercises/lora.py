"""The exercises of the notebook lora: counting an adapter, merging it, and doing as well with a quarter of it.

The 🦁 is judged by the learner's own words in a dictionary: this module cannot know whether they measured it.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from smol_course.exercises import (
    Exercise,
    Mistake,
    at_least,
    call,
    compared,
    complete,
    expect,
    planted,
    shares,
    untested,
    variants,
)

if TYPE_CHECKING:
    from torch import Tensor

# --- 🐢 Count what LoRA trains ------------------------------------------------------------------------------

# SmolLM2-135M's matrices, (out, in): one layer, a square one, a tall one with rank 1, none, and repeated ones.
_EXAMPLES = (
    ([(576, 576), (192, 576), (192, 576), (576, 576), (1536, 576), (1536, 576), (576, 1536)], 8),
    ([(576, 576)], 16),
    ([(1536, 576)], 1),
    ([], 4),
    ([(192, 576)] * 30, 32),
    ([(6, 4)], 8),  # a rank above the sides trains as many as any other
)


def _trained(shapes: list[tuple[int, int]], rank: int) -> int:
    return sum(rank * (rows + columns) for rows, columns in shapes)


_Shapes = list[tuple[int, int]]
_COUNT_MISTAKES: dict[str, Callable[[_Shapes, int], float]] = {
    "These are the frozen matrices' own numbers: count A and B beside them.": lambda shapes, rank: sum(
        o * i for o, i in shapes
    ),
    "The frozen matrices are counted too: only A and B are trained.": lambda shapes, rank: sum(
        o * i + rank * (o + i) for o, i in shapes
    ),
    "Only A is counted: B is trained as well.": lambda shapes, rank: sum(rank * i for _, i in shapes),
    "Only B is counted: A is trained as well.": lambda shapes, rank: sum(rank * o for o, _ in shapes),
    "The sides are multiplied: A and B stand beside the matrix, so their sizes add up.": lambda shapes, rank: sum(
        rank * o * i for o, i in shapes
    ),
    "The rank is missing: A has that many rows, and B that many columns.": lambda shapes, rank: sum(
        o + i for o, i in shapes
    ),
    "The rank is counted twice: each side meets it once.": lambda shapes, rank: sum(
        rank * rank * (o + i) for o, i in shapes
    ),
    "Only the first matrix is counted: add up all of the list.": lambda shapes, rank: _trained(shapes[:1], rank),
    "Only the last matrix is counted: add up all of the list.": lambda shapes, rank: _trained(shapes[-1:], rank),
    "Each kind of shape is counted once: equal shapes are matrices of their own.": lambda shapes, rank: _trained(
        list(dict.fromkeys(shapes)), rank
    ),
    "There is a bias too many: A and B have none.": lambda shapes, rank: sum(
        rank * (o + i) + rank + o for o, i in shapes
    ),
}


def _judge_count(answer: Any) -> str | None:
    values = []
    for shapes, rank in _EXAMPLES:
        copied = list(shapes)
        values.append(expect(call(answer, copied, rank), (int, float), "what lora_parameters returns"))
        if copied != shapes:
            return "Your function changed the list that it was given: look at it only."
    wanted = [_trained(*case) for case in _EXAMPLES]

    def say(place: int) -> str:
        shapes, rank = _EXAMPLES[place]
        right, value = wanted[place], values[place]
        return f"For shapes {_short(shapes)} and rank {rank} it should be {right:,}, but yours is {value:,}."

    mistake = compared(values, wanted, _EXAMPLES, _COUNT_MISTAKES, say)
    if not mistake and any(type(value) is float for value in values):
        return "The number is right, but it is a float: parameters are counted in whole numbers."
    return mistake


def _short(shapes: list[tuple[int, int]]) -> str:
    more = f" and {len(shapes) - 2} more" if len(shapes) > 2 else ""
    return f"{shapes[:2]}{more}"


_TURTLE = Exercise(
    id="lora/turtle",
    level="🐢",
    title="Count what LoRA trains",
    goal="Count the numbers that LoRA trains, from the shapes of the matrices and the rank.",
    minutes=5,
    judge=_judge_count,
    hints=(
        "The notebook printed the number for one matrix. Which two tensors did it count?",
        "A has `rank` rows and as many columns as the matrix has inputs. B has as many rows as the matrix "
        "has outputs, and `rank` columns.",
        "For one matrix of shape (out, in) that is rank · in + out · rank. Add it up over the list.",
    ),
    wrong=(
        *planted(_COUNT_MISTAKES),
        ("a float", lambda: lambda shapes, rank: float(_trained(shapes, rank)), "it is a float"),
        (
            "a list",
            lambda: lambda shapes, rank: [rank * (o + i) for o, i in shapes],
            "but it is a list",
        ),
        (
            "another number",
            lambda: lambda shapes, rank: _trained(shapes, rank) + 7,
            "but yours is 81,415",
        ),
    ),
)


# --- 🐕 Merge an adapter ------------------------------------------------------------------------------------

# (out, in, rank, alpha, rank-stabilised, dtype of the weight). A square matrix first: there, a wrong order of
# factors does not show in the shape. Last a bfloat16 one, as a model that is served has them.
_SHAPES = (
    (6, 6, 4, 8, False, "float32"),
    (6, 6, 4, 8, True, "float32"),
    (5, 9, 2, 32, False, "float32"),
    (9, 5, 3, 3, True, "float32"),
    (4, 7, 1, 2, False, "float32"),
    (8, 6, 4, 8, False, "bfloat16"),
)


def _cases() -> list[tuple[tuple["Tensor", "Tensor", "Tensor"], float, bool]]:
    import torch

    generator = torch.Generator().manual_seed(0)
    cases = []
    for rows, columns, rank, alpha, stabilised, dtype in _SHAPES:
        weight = torch.randn(rows, columns, generator=generator).to(getattr(torch, dtype))
        A = torch.randn(rank, columns, generator=generator)
        B = torch.randn(rows, rank, generator=generator)
        cases.append(((weight, A, B), float(alpha), stabilised))
    return cases


def _judge_merge(answer: Any) -> str | None:
    import torch

    for number, (tensors, alpha, stabilised) in enumerate(_cases()):
        copies = [tensor.clone() for tensor in tensors]
        named = {} if number == 2 else {"rank_stabilised": stabilised}  # once as it is by itself
        merged = _tensor(call(answer, *copies, alpha, **named), tensors[0])
        if not all(torch.equal(copied, original) for copied, original in zip(copies, tensors, strict=True)):
            return "Your function changes the tensors that it was given: make a new one, do not use += here."
        if merged is copies[0]:
            return "weight comes back as it was given: the adapter is not in it."
        if mistake := _merge_mistake(merged.detach().double(), tensors, alpha, stabilised):
            return mistake
        if merged.dtype != tensors[0].dtype:
            return f"The numbers are right, but weight is {_name(tensors[0])} and your matrix {_name(merged)}."
    return None


def _name(tensor: "Tensor") -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _tensor(value: Any, weight: "Tensor") -> "Tensor":
    """The value if it is a matrix of the weight's shape. Raises Mistake."""
    import torch

    expect(value, torch.Tensor, "what merge returns")
    if value.shape != weight.shape:
        raise Mistake(f"For a weight of shape {tuple(weight.shape)} your matrix has the shape {tuple(value.shape)}.")
    return value


def _merge_mistake(
    merged: "Tensor", tensors: tuple["Tensor", "Tensor", "Tensor"], alpha: float, stabilised: bool
) -> str | None:
    """Name the mistake in a merged matrix (float64), or return None if it has none."""
    import torch

    weight, A, B = (tensor.double() for tensor in tensors)
    rank, factor = len(A), alpha / (math.sqrt(len(A)) if stabilised else len(A))
    # bfloat16 keeps 8 bits of a number's digits: one that is rounded once or twice on the way is let pass.
    near = {"rtol": 1e-2, "atol": 2e-2} if tensors[0].dtype == torch.bfloat16 else {"rtol": 1e-4, "atol": 1e-5}

    def like(other: "Tensor") -> bool:
        return other.shape == merged.shape and torch.allclose(merged, other, **near)

    if like(weight + factor * B @ A):
        return None
    other = alpha / (rank if stabilised else math.sqrt(rank))
    switched = (
        "With rank_stabilised=True the factor is alpha / √r, but yours is alpha / r."
        if stabilised
        else "Without rank_stabilised the factor is alpha / r, but yours is alpha / √r."
    )
    known = {
        "The factor is missing: multiply B A by alpha / r.": weight + B @ A,
        "The factor is alpha alone: divide it by r.": weight + alpha * B @ A,
        "alpha is missing: the factor is alpha / r.": weight + B @ A * factor / alpha,
        "The factor divides by alpha: it is the other way up.": weight + B @ A / factor,
        "The adapter is subtracted: add it.": weight - factor * B @ A,
        "This is the update alone: add weight to it.": factor * B @ A,
        "The factor multiplies weight too: it belongs to B A only.": factor * (weight + B @ A),
        switched: weight + other * B @ A,
        "weight comes back unchanged: the adapter is not in it.": weight,
    }
    if len(weight) == weight.shape[1]:
        transposed = "B A is transposed: the update has the shape (out, in), as weight has."
        known[transposed] = weight + factor * (B @ A).T
    for message, wrong in known.items():
        if like(wrong):
            return message
    by_inputs = weight + alpha / weight.shape[1] * B @ A
    if like(by_inputs) or like(weight + alpha / weight.shape[0] * B @ A):
        return "The factor divides by a side of weight: r is how many rows A has."
    worst = (merged - weight - factor * B @ A).abs().max().item()
    return (
        f"For a weight of shape {tuple(weight.shape)}, r = {rank} and alpha = {alpha:g}, a number of the "
        f"matrix is off by {worst:.3g}."
    )


def _merged_by(factor: Callable[[float, int, bool], float]) -> Callable[[], Any]:
    """Return a function that makes a merge with this factor of (alpha, rank, rank_stabilised)."""

    def merge(weight: "Tensor", A: "Tensor", B: "Tensor", alpha: float, rank_stabilised: bool = False) -> Any:
        return (weight + factor(alpha, len(A), rank_stabilised) * B @ A).to(weight.dtype)

    return lambda: merge


def _right_factor(alpha: float, rank: int, stabilised: bool) -> float:
    return alpha / (rank**0.5 if stabilised else rank)


def _merged(change: Callable[["Tensor", "Tensor"], Any]) -> Callable[[], Any]:
    """Return a function that makes a merge out of (weight, the right update)."""

    def merge(weight: "Tensor", A: "Tensor", B: "Tensor", alpha: float, rank_stabilised: bool = False) -> Any:
        return change(weight, _right_factor(alpha, len(A), rank_stabilised) * B @ A)

    return lambda: merge


def _order(weight: "Tensor", A: "Tensor", B: "Tensor", alpha: float, rank_stabilised: bool = False) -> Any:
    return weight + _right_factor(alpha, len(A), rank_stabilised) * A @ B


def _stabilised_by_itself(
    weight: "Tensor", A: "Tensor", B: "Tensor", alpha: float, rank_stabilised: bool = True
) -> Any:
    return (weight + _right_factor(alpha, len(A), rank_stabilised) * B @ A).to(weight.dtype)


def _by_side(weight: "Tensor", A: "Tensor", B: "Tensor", alpha: float, rank_stabilised: bool = False) -> Any:
    return weight + _right_factor(alpha, A.shape[1], rank_stabilised) * B @ A


_DOG = Exercise(
    id="lora/dog",
    level="🐕",
    title="Merge an adapter",
    goal="Merge an adapter into its matrix, by hand.",
    minutes=20,
    judge=_judge_merge,
    needs=("torch",),
    hints=(
        "The layer computes W x + factor · B A x. For which one matrix M is that M x?",
        "r is how many rows A has. The factor is alpha / r, or alpha / √r if rank_stabilised.",
        "`B @ A` is (out, r) times (r, in), so it has the shape of weight. The other order has not.",
        "A sum of bfloat16 and float32 is float32: `.to(weight.dtype)` brings it back. Round once, at the end.",
    ),
    wrong=(
        ("no factor", _merged_by(lambda alpha, rank, stabilised: 1.0), "The factor is missing"),
        ("alpha alone", _merged_by(lambda alpha, rank, stabilised: alpha), "alpha alone"),
        (
            "alpha is missing",
            _merged_by(lambda alpha, rank, stabilised: _right_factor(1.0, rank, stabilised)),
            "alpha is missing",
        ),
        (
            "upside down",
            _merged_by(lambda alpha, rank, stabilised: 1 / _right_factor(alpha, rank, stabilised)),
            "the other way up",
        ),
        (
            "never stabilised",
            _merged_by(lambda alpha, rank, stabilised: alpha / rank),
            "With rank_stabilised=True the factor is",
        ),
        (
            "always stabilised",
            _merged_by(lambda alpha, rank, stabilised: alpha / rank**0.5),
            "Without rank_stabilised the factor is",
        ),
        ("stabilised by itself", lambda: _stabilised_by_itself, "Without rank_stabilised the factor is alpha / r, but"),
        ("divides by a side", lambda: _by_side, "r is how many rows A has"),
        ("subtracts", _merged(lambda weight, update: (weight - update).to(weight.dtype)), "subtracted"),
        ("the update alone", _merged(lambda weight, update: update), "the update alone"),
        ("transposed", _merged(lambda weight, update: weight + update.T), "B A is transposed"),
        ("in place", _merged(lambda weight, update: weight.add_(update)), "do not use +="),
        ("the wrong order", lambda: _order, "raised RuntimeError"),
        ("weight as it was", _merged(lambda weight, update: weight), "back as it was given"),
        ("a copy of weight", _merged(lambda weight, update: weight.clone()), "back unchanged"),
        ("another dtype", _merged(lambda weight, update: weight + update), "weight is bfloat16"),
        ("a list", _merged(lambda weight, update: (weight + update).tolist()), "what merge returns should be a tensor"),
        ("off by a little", _merged(lambda weight, update: weight + 1.1 * update), "is off by"),
    ),
)


# --- 🦁 As good with a quarter ------------------------------------------------------------------------------

_SEEDS, _MESSAGES, _PART = 3, 200, 4
_WHAT = {
    "baseline_f1": list,
    "my_f1": list,
    "test_messages": int,
    "baseline_parameters": int,
    "my_parameters": int,
    "baseline_tokens": int,
    "my_tokens": int,
    "train_ids": list,
}


def _judge_results(answer: Any) -> str | None:
    results = complete(answer, _WHAT)
    for name in ("baseline_f1", "my_f1"):
        shares(results, name, _SEEDS)
    if results["test_messages"] < _MESSAGES:
        return f"{results['test_messages']} test messages decide too little: measure on at least {_MESSAGES}."
    return _budget_mistake(results) or _compared(results["my_f1"], results["baseline_f1"])


def _budget_mistake(results: dict[str, Any]) -> str | None:
    """What is wrong with parameters, tokens or training messages."""
    for name in ("baseline_parameters", "my_parameters", "baseline_tokens", "my_tokens"):
        if results[name] < 1:
            return f"{name} should count what one run trains (on), but it is {results[name]}."
    if _PART * results["my_parameters"] > results["baseline_parameters"]:
        most = results["baseline_parameters"] // _PART
        return f"{results['my_parameters']:,} trained parameters are more than a quarter, which is {most:,}."
    if results["my_tokens"] > results["baseline_tokens"]:
        more = results["my_tokens"] - results["baseline_tokens"]
        return f"Your runs train on {more} tokens more than the notebook: then it is not the adapter alone."
    untested(results["train_ids"])
    return None


def _compared(mine: list[float], baseline: list[float]) -> str | None:
    mean, theirs = sum(mine) / len(mine), sum(baseline) / len(baseline)
    if not at_least(mean, theirs):
        return f"The mean of your runs ({mean:.3f}) is below the notebook's ({theirs:.3f})."
    if min(mine) < min(baseline):
        return (
            f"The mean is good, but your worst run ({min(mine):.3f}) is below the notebook's worst "
            f"({min(baseline):.3f}): a seed should not decide."
        )
    return None


_form = variants(
    {
        "baseline_f1": [0.3, 0.32, 0.31],
        "my_f1": [0.33, 0.31, 0.32],
        "test_messages": 300,
        "baseline_parameters": 4_000_000,
        "my_parameters": 1_000_000,
        "baseline_tokens": 1000,
        "my_tokens": 1000,
        "train_ids": ["train-0001", "mine-1"],
    }
)


_LION = Exercise(
    id="lora/lion",
    level="🦁",
    title="As good with a quarter",
    goal="Reach this notebook's field F1 with at most a quarter of its trained parameters.",
    minutes=60,
    judge=_judge_results,
    hints=(
        "First repeat the notebook as it stands, with full_steps=0, test_messages=0 and three seeds. How far "
        "apart are those runs?",
        "Two ways to a quarter: a fourth of the rank on all matrices, or fewer matrices at the same rank. "
        "The 🐢 exercise counts both before you train.",
        "Whoever changes rank or alpha changes how far a step moves the layer. Look for the learning rate "
        "anew each time, by the dev loss (more dev messages, few test messages).",
        "With few steps the adapter has little time. Does your loss still fall at the end? Then a higher rate "
        "or a larger alpha may be worth more than parameters.",
    ),
    wrong=(
        ("two seeds", _form(my_f1=[0.4, 0.41]), "has 2 of at least 3 seeds"),
        ("few test messages", _form(test_messages=48), "48 test messages decide too little"),
        ("half", _form(my_parameters=2_000_000), "2,000,000 trained parameters are more than a quarter"),
        ("more tokens", _form(my_tokens=1200), "200 tokens more than the notebook"),
        ("trained on a test message", _form(train_ids=["test-0007"]), "a test split (test-0007)"),
        ("percent", _form(my_f1=[40, 38, 41]), "looks like percent"),
        ("no accuracy", _form(my_f1=[0.4, -0.1, 0.4]), "which is no share"),
        ("a lower mean", _form(my_f1=[0.31, 0.29, 0.3]), "is below the notebook's (0.310)"),
        ("one bad run", _form(my_f1=[0.5, 0.2, 0.6]), "your worst run (0.200)"),
        ("a part is missing", lambda: {"my_f1": [0.5, 0.6, 0.7]}, "has no 'baseline_f1'"),
        ("negative parameters", _form(my_parameters=-1), "my_parameters should count"),
        ("a mean for a list", _form(my_f1=0.4), "my_f1 should be a list"),
    ),
)

EXERCISES = (_TURTLE, _DOG, _LION)
