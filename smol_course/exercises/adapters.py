"""The exercises of the notebook adapters: whether an adapter may be loaded, and a batch of several adapters.

The judge of the first sees only what the provenance says, as the learner does: no file is read.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from smol_course.exercises import Exercise, call, expect

if TYPE_CHECKING:
    from torch import Tensor

    Adapters = dict[str, tuple[Tensor, Tensor, float]]
    Names = list[str | None]


# --- 🐢 May it be loaded? -----------------------------------------------------------------------------------

_SMOL, _OURS, _OTHER = "HuggingFaceTB/SmolLM2-135M-Instruct", "5d1c8a", "e07b42"
# What each case is about, the base, the adapter, and the verdict.
_CASES: tuple[tuple[str, dict[str, Any], dict[str, Any], str], ...] = (
    ("the same base", {"name": _SMOL, "sha256": _OURS}, {"base": _SMOL, "base_sha256": _OURS}, "yes"),
    ("other weights", {"name": "other", "sha256": _OTHER}, {"base": _SMOL, "base_sha256": _OURS}, "no"),
    (
        "the same name, other weights",
        {"name": _SMOL, "sha256": _OURS},
        {"base": _SMOL, "base_sha256": _OTHER},
        "no",
    ),
    (
        "another name, the same weights",
        {"name": "my copy", "sha256": _OURS},
        {"base": _SMOL, "base_sha256": _OURS},
        "yes",
    ),
    # A model that was itself made from our base: it also says what it was made from.
    (
        "a base that was trained on",
        {"name": "organiser", "sha256": _OTHER, "base_sha256": _OURS},
        {"base": _SMOL, "base_sha256": _OURS},
        "no",
    ),
    ("no hash of the base", {"name": _SMOL, "sha256": None}, {"base": _SMOL, "base_sha256": _OURS}, "not known"),
    ("no hash in the adapter", {"name": _SMOL, "sha256": _OURS}, {"base": _SMOL}, "not known"),
    ("no hash at all", {"name": _SMOL, "sha256": None}, {"base": _SMOL, "base_sha256": None}, "not known"),
)
_VERDICTS = ("yes", "no", "not known")
_MISTAKES = {
    ("other weights", "yes"): "Everything is let in: look at the hashes.",
    ("other weights", "not known"): "Two hashes that differ are known to differ: that is a no.",
    ("the same name, other weights", "yes"): "The names agree and the hashes do not: a name promises nothing.",
    ("another name, the same weights", "no"): "A renamed copy has the same weights: compare the hashes only.",
    ("no hash of the base", "no"): "Without a hash you cannot say no: the verdict is not known.",
    ("no hash in the adapter", "no"): "Without a hash you cannot say no: the verdict is not known.",
    ("no hash at all", "yes"): "Two missing hashes are equal and say nothing: the verdict is not known.",
    ("a base that was trained on", "yes"): (
        "You took the base's own base_sha256, which says what it was made from: its weights are under sha256."
    ),
}


def _judge_verdicts(answer: Any) -> str | None:
    for case, base, adapter, wanted in _CASES:
        verdict = expect(call(answer, dict(base), dict(adapter)), str, "what may_load returns")
        if verdict not in _VERDICTS:
            return f"may_load returns {verdict[:20]!r}; it should be one of {', '.join(map(repr, _VERDICTS))}."
        if verdict != wanted:
            general = f"For {case} the verdict should be {wanted!r}, but yours is {verdict!r}."
            return _MISTAKES.get((case, verdict), general)
    return None


def _verdict(base: dict[str, Any], adapter: dict[str, Any]) -> str:
    ours, theirs = base.get("sha256"), adapter.get("base_sha256")
    if ours is None or theirs is None:
        return "not known"
    return "yes" if ours == theirs else "no"


def _by_name(base: dict[str, Any], adapter: dict[str, Any]) -> str:
    return "yes" if base["name"] == adapter["base"] else "no"


def _by_name_too(base: dict[str, Any], adapter: dict[str, Any]) -> str:
    verdict = _verdict(base, adapter)
    return "no" if verdict == "yes" and base["name"] != adapter["base"] else verdict


def _by_origin(base: dict[str, Any], adapter: dict[str, Any]) -> str:
    return "yes" if base.get("base_sha256") == adapter.get("base_sha256") else _verdict(base, adapter)


def _strict(base: dict[str, Any], adapter: dict[str, Any]) -> str:
    return "yes" if _verdict(base, adapter) == "yes" else "no"


_TURTLE = Exercise(
    id="adapters/turtle",
    level="🐢",
    title="May it be loaded?",
    goal="Say from two provenance dictionaries whether an adapter may be loaded onto a base.",
    minutes=5,
    judge=_judge_verdicts,
    hints=(
        "Which entry of the adapter's provenance did the notebook compare, and with what?",
        "`d.get(key)` gives None where the key is missing, so a missing hash and a hash of None are one case.",
        "Ask first whether one of the two hashes is missing. Only then compare them.",
    ),
    wrong=(
        ("compares names", lambda: _by_name, "a name promises nothing"),
        ("compares names too", lambda: _by_name_too, "A renamed copy has the same weights"),
        (
            "takes two missing hashes for equal",
            lambda: (
                lambda base, adapter: "yes" if base["sha256"] == adapter.get("base_sha256") else _verdict(base, adapter)
            ),
            "Two missing hashes are equal",
        ),
        ("no instead of not known", lambda: _strict, "Without a hash you cannot say no"),
        ("compares where both came from", lambda: _by_origin, "which says what it was made from"),
        (
            "looks the hash up without asking",
            lambda: lambda base, adapter: _verdict(base, {"base_sha256": adapter["base_sha256"]}),
            "raised KeyError",
        ),
        ("lets everything in", lambda: lambda base, adapter: "yes", "Everything is let in"),
        ("a truth value", lambda: lambda base, adapter: _verdict(base, adapter) == "yes", "should be a text"),
        ("another word", lambda: lambda base, adapter: _verdict(base, adapter).upper(), "it should be one of"),
    ),
)


# --- 🐕 A batch of several adapters -------------------------------------------------------------------------


def _batches() -> list[tuple["Tensor", "Tensor", "Adapters", "Names"]]:
    """(x, weight, adapters, names): the base alone; two adapters and the base, mixed; another shape."""
    import torch

    generator = torch.Generator().manual_seed(0)

    def batch(inputs: int, outputs: int, ranks: dict[str, int], names: "Names") -> Any:
        adapters = {
            name: (
                torch.randn(rank, inputs, generator=generator),
                torch.randn(outputs, rank, generator=generator),
                2.0 if number % 2 == 0 else 0.5,
            )
            for number, (name, rank) in enumerate(ranks.items())
        }
        x, weight = (
            torch.randn(len(names), inputs, generator=generator),
            torch.randn(outputs, inputs, generator=generator),
        )
        return x, weight, adapters, names

    # Square, so that a transposed product can be told by its values and does not only fail.
    return [
        batch(4, 4, {"event": 2}, [None, None, None]),
        batch(4, 4, {"event": 2, "confirm": 4}, ["confirm", None, "event", "event", "confirm"]),
        batch(6, 3, {"a": 1, "b": 2, "c": 3}, ["c", "a", None, "c", "b", None]),
    ]


def _row(x: "Tensor", weight: "Tensor", adapter: Any) -> "Tensor":
    """One row's output, (out,)."""
    out = weight @ x
    if adapter is None:
        return out
    a, b, scaling = adapter
    return out + scaling * (b @ (a @ x))


def _rows(x: "Tensor", weight: "Tensor", adapters: "Adapters", names: "Names") -> "Tensor":
    """The right output, (rows, out)."""
    import torch

    chosen = [None if name is None else adapters[name] for name in names]
    return torch.stack([_row(row, weight, adapter) for row, adapter in zip(x, chosen, strict=True)])


def _judge_batch(answer: Any) -> str | None:
    import torch

    for x, weight, adapters, names in _batches():
        copies = x.clone(), weight.clone(), {n: (a.clone(), b.clone(), s) for n, (a, b, s) in adapters.items()}
        output = expect(call(answer, *copies, list(names)), torch.Tensor, "what mixed_batch returns")
        wanted = _rows(x, weight, adapters, names)
        if output.shape != wanted.shape:
            found, right = tuple(output.shape), tuple(wanted.shape)
            return f"mixed_batch gives a tensor of shape {found}, not {right}: each row of x has one row of outputs."
        mistake = _batch_mistake(output.detach().float(), wanted, x, weight, adapters, names)
        same = torch.equal(copies[0], x) and torch.equal(copies[1], weight)
        if not same:
            return "Your function changed x or weight: the next row, and the next batch, meet what is left there."
        if mistake:
            return mistake
    return None


def _batch_mistake(found: "Tensor", wanted: "Tensor", *case: Any) -> str | None:
    """Name the mistake that leads to this output, or None if it is right."""
    import torch

    def equal(value: "Tensor") -> bool:
        return torch.allclose(found, value, rtol=1e-4, atol=1e-4)

    if equal(wanted):
        return None
    names = case[-1]
    for message, make in _WRONG.items():
        if equal(make(*case)):
            return message
    if all(any(torch.allclose(row, other, atol=1e-4) for other in wanted) for row in found):
        return "The rows are right and stand in another order: put each back where its input stood."
    close = torch.isclose(found, wanted, rtol=1e-4, atol=1e-4).all(dim=1)
    row = int((~close).nonzero()[0])
    whose = "the bare base" if names[row] is None else f"adapter {names[row]!r}"
    return f"Of {len(names)} rows {int(close.sum())} are right; the first wrong one is row {row}, for {whose}."


def _each(change: Callable[["Tensor", "Tensor", Any, "Adapters"], "Tensor"]) -> Callable[..., "Tensor"]:
    """Make a wrong batch from what happens to one row: (x, weight, its adapter or None, all adapters)."""

    def make(x: "Tensor", weight: "Tensor", adapters: "Adapters", names: "Names") -> "Tensor":
        import torch

        chosen = [None if name is None else adapters[name] for name in names]
        return torch.stack([change(row, weight, own, adapters) for row, own in zip(x, chosen, strict=True)])

    return make


def _bare(x: "Tensor", weight: "Tensor", own: Any, adapters: "Adapters") -> "Tensor":
    return weight @ x


def _transposed(x: "Tensor", weight: "Tensor", own: Any, adapters: "Adapters") -> "Tensor":
    return _row(x, weight.T if weight.shape[0] == weight.shape[1] else weight, own)


def _unscaled(x: "Tensor", weight: "Tensor", own: Any, adapters: "Adapters") -> "Tensor":
    return _row(x, weight, own and (own[0], own[1], 1.0))


def _first_for_all(x: "Tensor", weight: "Tensor", own: Any, adapters: "Adapters") -> "Tensor":
    return _row(x, weight, own and next(iter(adapters.values())))


def _never_none(x: "Tensor", weight: "Tensor", own: Any, adapters: "Adapters") -> "Tensor":
    return _row(x, weight, own or next(iter(adapters.values())))


def _zero_for_none(x: "Tensor", weight: "Tensor", own: Any, adapters: "Adapters") -> "Tensor":
    return _row(x, weight if own else 0 * weight, own)


def _no_base(x: "Tensor", weight: "Tensor", own: Any, adapters: "Adapters") -> "Tensor":
    return _row(x, 0 * weight if own else weight, own)


def _all_at_once(x: "Tensor", weight: "Tensor", own: Any, adapters: "Adapters") -> "Tensor":
    return sum((_row(x, 0 * weight, each) for each in adapters.values()), weight @ x) if own else weight @ x


def _wrong_way(x: "Tensor", weight: "Tensor", own: Any, adapters: "Adapters") -> "Tensor":
    if own is None or weight.shape[0] != weight.shape[1]:
        return _row(x, weight, own)
    return _row(x, weight, (own[1].T, own[0].T, own[2]))


# In the order of the first case (the base alone), then of the mixed one.
_WRONG: dict[str, Callable[..., "Tensor"]] = {
    "weight is transposed: it is (out, in), so a row's output is weight @ row.": _each(_transposed),
    "A row without an adapter should get the base's output, not zeros.": _each(_zero_for_none),
    "A row whose name is None got an adapter: the bare base is asked for there.": _each(_never_none),
    "No row gets its adapter: all outputs are the bare base's.": _each(_bare),
    "The scaling is missing: an adapter adds scaling * B @ A.": _each(_unscaled),
    "The base's output is missing: an adapter adds to it and does not replace it.": _each(_no_base),
    "Every row got the first adapter: look up each row's own.": _each(_first_for_all),
    "Rows got all adapters at once: each takes its own only.": _each(_all_at_once),
    "A and B are swapped: A reads the input, B writes the output.": _each(_wrong_way),
}


def _grouped(x: "Tensor", weight: "Tensor", adapters: "Adapters", names: "Names") -> "Tensor":
    """The right rows, one adapter after the other."""
    right = _rows(x, weight, adapters, names)
    return right[sorted(range(len(names)), key=lambda row: str(names[row]))]


def _in_place(x: "Tensor", weight: "Tensor", adapters: "Adapters", names: "Names") -> "Tensor":
    """Merge each row's adapter into the weight and leave it there."""
    import torch

    rows = []
    for row, name in zip(x, names, strict=True):
        if name is not None:
            a, b, scaling = adapters[name]
            weight += scaling * b @ a
        rows.append(weight @ row)
    return torch.stack(rows)


def _planted(change: Callable[..., "Tensor"]) -> Callable[[], Callable[..., "Tensor"]]:
    return lambda: _each(change)


_DOG = Exercise(
    id="adapters/dog",
    level="🐕",
    title="A batch of several adapters",
    goal="Compute one layer's output for a batch whose rows use different adapters.",
    minutes=20,
    judge=_judge_batch,
    needs=("torch",),
    hints=(
        "Start with the rows for the bare base: `x @ weight.T` gives every row's base output at once.",
        "For one row with adapter (A, B, scaling), what is added is `scaling * (row @ A.T @ B.T)`. Look at "
        "the shapes: in → rank → out.",
        "Go through the rows with their names. Where the name is None, add nothing; else look the adapter up.",
        "Add to the output and never to weight: what is added to weight stays there for the next row.",
    ),
    wrong=(
        ("transposes the weight", _planted(_transposed), "weight is transposed"),
        ("no adapters", _planted(_bare), "No row gets its adapter"),
        ("no scaling", _planted(_unscaled), "The scaling is missing"),
        ("one adapter for all", _planted(_first_for_all), "Every row got the first adapter"),
        ("None gets an adapter", _planted(_never_none), "A row whose name is None got an adapter"),
        ("None gets zeros", _planted(_zero_for_none), "not zeros"),
        ("forgets the base", _planted(_no_base), "The base's output is missing"),
        ("all adapters", _planted(_all_at_once), "Rows got all adapters at once"),
        ("A and B swapped", _planted(_wrong_way), "A and B are swapped"),
        ("grouped by adapter", lambda: _grouped, "stand in another order"),
        ("merges and does not unmerge", lambda: _in_place, "changed x or weight"),
        (
            "a list of rows",
            lambda: lambda *case: list(_rows(*case)),
            "what mixed_batch returns should be a tensor, but it is a list",
        ),
        (
            "one row short",
            lambda: lambda *case: _rows(*case)[1:],
            "gives a tensor of shape",
        ),
        (
            "looks None up",
            lambda: lambda x, weight, adapters, names: [adapters[name] for name in names],
            "raised KeyError",
        ),
    ),
)

EXERCISES = (_TURTLE, _DOG)
