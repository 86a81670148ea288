"""The exercises of the notebook dpo: the margin of a pair, three losses from log-probabilities, pairs of one's own.

The judges look at numbers only: they cannot know whether a learner's own trainer uses them. The 🦁 is judged by the
learner's own words in a dictionary: this module cannot know whether they measured it.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from smol_course.exercises import (
    Exercise,
    Mistake,
    at_most,
    call,
    complete,
    enough,
    expect,
    number,
    shares,
    untested,
    variants,
)

if TYPE_CHECKING:
    from torch import Tensor

# --- 🐢 The margin of a pair --------------------------------------------------------------------------------

# Log-probabilities in nats: chosen and rejected under the policy, then under the reference; and beta. In the second,
# the chosen answer has become less likely; in the third, the policy prefers the rejected one.
_PAIRS = (
    (-18.0, -55.0, -21.0, -49.0, 0.1),
    (-30.5, -71.0, -26.0, -60.0, 0.3),
    (-40.0, -33.0, -36.0, -35.0, 0.1),
)


def _margin(chosen: float, rejected: float, ref_chosen: float, ref_rejected: float, beta: float) -> float:
    return beta * ((chosen - ref_chosen) - (rejected - ref_rejected))


def _judge_margin(answer: Any) -> str | None:
    for pair in _PAIRS:
        value = _number(call(answer, *pair), "what pair_margin returns")
        wanted = _margin(*pair)
        if not math.isclose(value, wanted, rel_tol=1e-6, abs_tol=1e-6):
            return _margin_mistake(value, pair)
    return None


def _number(value: Any, what: str) -> float:
    """A finite float, or what a tensor without dimensions holds. Raises Mistake."""
    import torch

    if issubclass(type(value), torch.Tensor) and value.dim():
        raise Mistake(f"{what} is a tensor of shape {tuple(value.shape)}; one number is wanted.")
    value = float(expect(value, float, what))
    if what == "sigmoid" and not math.isfinite(value):
        raise Mistake(
            f"{what} is {value}: a sigmoid came out as 0, and log(0) is infinite. `logsigmoid` does both in one step."
        )
    return number(value, what)


def _margin_mistake(value: float, pair: tuple[float, ...]) -> str:
    """Name the mistake that leads to this margin."""
    chosen, rejected, ref_chosen, ref_rejected, beta = pair
    wanted = _margin(*pair)
    known = {
        "The reference is missing: a reward compares the policy with where it started.": beta * (chosen - rejected),
        "This is the reference's own preference: the policy is missing.": beta * (ref_chosen - ref_rejected),
        "The wrong way round: it is the chosen answer's reward minus the rejected one's.": -wanted,
        "beta is missing: each log-ratio is multiplied by it.": wanted / beta,
        "It is divided by beta; a reward is beta times the log-ratio.": wanted / beta**2,
        "The rewards are added: a margin is their difference.": beta * (chosen - ref_chosen + rejected - ref_rejected),
        "This is the chosen answer's reward alone.": beta * (chosen - ref_chosen),
        "This is the rejected answer's reward alone.": beta * (rejected - ref_rejected),
        "This is the loss already: leave out the sigmoid and the logarithm.": math.log1p(math.exp(-wanted)),
        "This is a probability already: leave out the sigmoid.": 1 / (1 + math.exp(-wanted)),
    }
    for message, wrong in known.items():
        if math.isclose(value, wrong, rel_tol=1e-6, abs_tol=1e-6):
            return message
    return f"For log-probabilities {pair[:4]} and beta {beta} it should be {wanted:.4f}, but yours is {value:.4f}."


_TURTLE = Exercise(
    id="dpo/turtle",
    level="🐢",
    title="The margin of a pair",
    goal="Compute a pair's margin from four log-probabilities.",
    minutes=5,
    judge=_judge_margin,
    needs=("torch",),
    hints=(
        "The notebook does it in its cells by hand: two rewards, then what lies between them.",
        "A reward is beta times (log-probability under the policy minus log-probability under the reference).",
        "The margin is the reward of the chosen answer minus the reward of the rejected one.",
    ),
    wrong=(
        ("no reference", lambda: lambda c, r, rc, rr, beta: beta * (c - r), "The reference is missing"),
        ("no policy", lambda: lambda c, r, rc, rr, beta: beta * (rc - rr), "the policy is missing"),
        ("turned round", lambda: lambda c, r, rc, rr, beta: -_margin(c, r, rc, rr, beta), "The wrong way round"),
        ("no beta", lambda: lambda c, r, rc, rr, beta: (c - rc) - (r - rr), "beta is missing"),
        ("over beta", lambda: lambda c, r, rc, rr, beta: ((c - rc) - (r - rr)) / beta, "divided by beta"),
        ("sum", lambda: lambda c, r, rc, rr, beta: beta * (c - rc + r - rr), "The rewards are added"),
        ("chosen alone", lambda: lambda c, r, rc, rr, beta: beta * (c - rc), "chosen answer's reward alone"),
        (
            "loss",
            lambda: lambda *pair: math.log1p(math.exp(-_margin(*pair))),
            "This is the loss already",
        ),
    ),
)


# --- 🐕 Three losses from log-probabilities -----------------------------------------------------------------

_KINDS = ("sigmoid", "hinge", "ipo")
_Pairs = tuple[list["Tensor"], list["Tensor"], list["Tensor"], list["Tensor"]]


def _cases() -> list[tuple[_Pairs, float]]:
    """Pairs of answers as log-probabilities of their tokens, and beta.

    The first pair is lost (so that the hinge's mistakes differ), the second case has one that is clearly won, and in
    the last case the policy takes a chosen answer for impossible: its sigmoid rounds to zero.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    cases = []
    for lengths, beta, spread in (
        (((5, 12),), 0.1, 1.5),
        (((4, 9), (11, 3), (6, 6)), 0.5, 1.5),
        (((3, 8), (7, 5)), 1.0, 0.5),
        (((6, 14), (9, 4)), 1.0, 0.5),
    ):
        columns: _Pairs = ([], [], [], [])
        for chosen, rejected in lengths:
            for column, size in zip(columns, (chosen, rejected, chosen, rejected), strict=True):
                column.append(-spread * torch.rand(size, generator=generator) - 0.1)
        cases.append((columns, beta))
    for case, column, change in ((0, 0, -0.8), (1, 1, -0.6), (3, 0, -40.0)):
        cases[case][0][column][0] += change  # to each token's log-probability
    return cases


def _losses(pairs: _Pairs, beta: float) -> dict[str, list[float]]:
    """The losses of each pair, by kind, in double precision."""
    losses: dict[str, list[float]] = {kind: [] for kind in _KINDS}
    for chosen, rejected, ref_chosen, ref_rejected in zip(*pairs, strict=True):
        won = (chosen.double().sum() - ref_chosen.double().sum()).item()
        lost = (rejected.double().sum() - ref_rejected.double().sum()).item()
        margin = beta * (won - lost)
        losses["sigmoid"].append(max(-margin, 0.0) + math.log1p(math.exp(-abs(margin))))
        losses["hinge"].append(max(0.0, 1 - margin))
        losses["ipo"].append((won / len(chosen) - lost / len(rejected) - 1 / (2 * beta)) ** 2)
    return losses


def _judge_losses(answer: Any) -> str | None:
    import torch

    for pairs, beta in _cases():
        copies = tuple([tokens.clone() for tokens in column] for column in pairs)
        losses = expect(call(answer, *copies, beta), dict, "what preference_losses returns")
        for kind in _KINDS:
            if kind not in losses:
                return f"The dictionary has no {kind!r}: its names are {', '.join(_KINDS)}."
            value = _number(losses[kind], kind)
            wanted = _mean(_losses(pairs, beta)[kind])
            if not math.isclose(value, wanted, rel_tol=1e-4, abs_tol=1e-4):
                return _loss_mistake(kind, value, pairs, beta)
        same = all(
            torch.equal(a, b)
            for copied, original in zip(copies, pairs, strict=True)
            for a, b in zip(copied, original, strict=True)
        )
        if not same:
            return "The losses are right, but your function changed the tensors that it was given: work on copies."
    return None


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _loss_mistake(kind: str, value: float, pairs: _Pairs, beta: float) -> str:
    """Name the mistake that leads to this value."""
    for message, known in _wrong_losses(kind, pairs, beta).items():
        if math.isclose(value, known, rel_tol=1e-4, abs_tol=1e-4):
            return f"{kind}: {message}"
    wanted = _mean(_losses(pairs, beta)[kind])
    pair_count = "1 pair" if len(pairs[0]) == 1 else f"{len(pairs[0])} pairs"
    return f"{kind}: for {pair_count} with beta {beta} it should be {wanted:.4f}, but yours is {value:.4f}."


def _wrong_losses(kind: str, pairs: _Pairs, beta: float) -> dict[str, float]:
    """What well-known mistakes give for these pairs, by the message that names each."""
    chosen, rejected, ref_chosen, ref_rejected = pairs
    right = _losses(pairs, beta)[kind]
    nothing = [[0 * tokens for tokens in column] for column in (chosen, rejected)]
    means = tuple([tokens.mean()[None] for tokens in column] for column in pairs)
    known = {
        "the reference is missing.": _mean(_losses((chosen, rejected, *nothing), beta)[kind]),  # type: ignore[arg-type]
        "chosen and rejected are swapped.": _mean(_losses((rejected, chosen, ref_rejected, ref_chosen), beta)[kind]),
        "policy and reference are swapped.": _mean(_losses((ref_chosen, ref_rejected, chosen, rejected), beta)[kind]),
        "beta is missing.": _mean(_losses(pairs, 1.0)[kind]),
        "it is a sum over the pairs: take their mean.": sum(right),
        "the sign is wrong: a loss falls when the margin grows.": -_mean(right),
    }
    if kind != "ipo":
        known["the tokens' log-probabilities are averaged: here they are added up."] = _mean(_losses(means, beta)[kind])  # type: ignore[arg-type]
    ratios = [
        ((c - rc).double().sum().item(), (r - rr).double().sum().item(), len(c), len(r))
        for c, r, rc, rr in zip(*pairs, strict=True)
    ]
    margins = [won - lost for won, lost, *_ in ratios]
    known |= _own_mistakes(kind, margins, ratios, beta)
    return known


def _own_mistakes(kind: str, margins: list[float], ratios: list[tuple[float, ...]], beta: float) -> dict[str, float]:
    """The mistakes that only this kind of loss knows; ``margins`` are without beta."""
    if kind == "sigmoid":
        chances = [1 / (1 + math.exp(-beta * margin)) for margin in margins]
        return {
            "the logarithm is missing: this is the mean of the sigmoid.": _mean(chances),
            "this is one minus the sigmoid: the logarithm is missing.": 1 - _mean(chances),
            "the mean margin went into one sigmoid: the loss of each pair comes first.": math.log1p(
                math.exp(-beta * _mean(margins))
            ),
        }
    if kind == "hinge":
        return {
            "a pair with a large margin costs nothing, never less: cut at zero.": _mean(
                [1 - beta * m for m in margins]
            ),
            "the margin must reach 1, not 0.": _mean([max(0.0, -beta * margin) for margin in margins]),
        }
    apart = [won / own - lost / other for won, lost, own, other in ratios]
    return {
        "the log-ratios are added up over the tokens: TRL's averages them.": _mean(
            [(margin - 1 / (2 * beta)) ** 2 for margin in margins]
        ),
        "the target is 1 / (2 beta), half of that.": _mean([(a - 1 / beta) ** 2 for a in apart]),
        "it is not squared.": _mean([a - 1 / (2 * beta) for a in apart]),
        "beta belongs in the target only, not before the difference.": _mean(
            [(beta * a - 1 / (2 * beta)) ** 2 for a in apart]
        ),
    }


def _like(**changed: Callable[[Any], Any]) -> Callable[[], Any]:
    """Return a function that makes `preference_losses`, some of whose kinds are wrong.

    Each change gets (per-pair sums of log-ratios (won, lost), token counts, beta) and returns the value.
    """

    def make() -> Any:
        import torch
        from torch.nn.functional import logsigmoid

        def losses(chosen: Any, rejected: Any, ref_chosen: Any, ref_rejected: Any, beta: float) -> dict[str, Any]:
            won = torch.stack([(a - b).sum() for a, b in zip(chosen, ref_chosen, strict=True)])
            lost = torch.stack([(a - b).sum() for a, b in zip(rejected, ref_rejected, strict=True)])
            sizes = [torch.tensor([len(tokens) for tokens in column]) for column in (chosen, rejected)]
            margin = beta * (won - lost)
            right = {
                "sigmoid": -logsigmoid(margin).mean(),
                "hinge": torch.relu(1 - margin).mean(),
                "ipo": (won / sizes[0] - lost / sizes[1] - 1 / (2 * beta)).square().mean(),
            }
            parts = {"margin": margin, "won": won, "lost": lost, "sizes": sizes, "beta": beta}
            return right | {kind: change(parts) for kind, change in changed.items()}

        return losses

    return make


def _log_sigmoid(parts: dict[str, Any]) -> Any:
    from torch.nn.functional import logsigmoid

    return logsigmoid(parts["margin"])


def _in_place(*given: Any) -> Any:
    losses = _like()()(*given)
    for tokens in given[0]:
        tokens.zero_()
    return losses


def _without_reference(chosen: Any, rejected: Any, _one: Any, _two: Any, beta: float) -> Any:
    nothing = [[0 * tokens for tokens in column] for column in (chosen, rejected)]
    return _like()()(chosen, rejected, *nothing, beta)


_DOG = Exercise(
    id="dpo/dog",
    level="🐕",
    title="Three losses",
    goal="Write DPO's loss and two of its variants, from the log-probabilities of tokens.",
    minutes=20,
    judge=_judge_losses,
    needs=("torch",),
    hints=(
        "First make two numbers for each pair: the log-ratio of the chosen answer and that of the rejected one. "
        "A log-ratio is a sum over tokens: policy minus reference.",
        "sigmoid and hinge see only beta times the difference of the two log-ratios. "
        "`torch.nn.functional.logsigmoid` is the logarithm of the sigmoid in one step.",
        "hinge is zero from a margin of 1 on: `torch.relu(1 - margin)`.",
        "For ipo divide each log-ratio by its own number of tokens before you take the difference. The target "
        "stands inside the square: `(difference - 1 / (2 * beta)) ** 2`.",
    ),
    wrong=(
        ("no reference", lambda: _without_reference, "sigmoid: the reference is missing"),
        ("sum", _like(sigmoid=lambda p: -_log_sigmoid(p).sum()), "a sum over the pairs"),
        ("sign", _like(sigmoid=lambda p: _log_sigmoid(p).mean()), "the sign is wrong"),
        ("probability", _like(sigmoid=lambda p: p["margin"].sigmoid().mean()), "the logarithm is missing: this is"),
        ("no beta", _like(hinge=lambda p: (1 - p["margin"] / p["beta"]).relu().mean()), "hinge: beta is missing"),
        ("no cut", _like(hinge=lambda p: (1 - p["margin"]).mean()), "cut at zero"),
        ("margin 0", _like(hinge=lambda p: (-p["margin"]).relu().mean()), "must reach 1, not 0"),
        (
            "ipo of sums",
            _like(ipo=lambda p: (p["won"] - p["lost"] - 1 / (2 * p["beta"])).square().mean()),
            "TRL's averages them",
        ),
        (
            "ipo's target",
            _like(ipo=lambda p: (p["won"] / p["sizes"][0] - p["lost"] / p["sizes"][1] - 1 / p["beta"]).square().mean()),
            "the target is 1 / (2 beta)",
        ),
        ("logarithm of sigmoid", _like(sigmoid=lambda p: -p["margin"].sigmoid().log().mean()), "in one step"),
        ("no mean", _like(sigmoid=lambda p: -_log_sigmoid(p)), "of shape (1,); one number"),
        ("one missing", lambda: lambda *pairs: {"sigmoid": _like()()(*pairs)["sigmoid"]}, "has no 'hinge'"),
        ("changes its input", lambda: _in_place, "changed the tensors"),
    ),
)


# --- 🦁 Better pairs ----------------------------------------------------------------------------------------

_SEEDS, _EVENTS, _LOST = 3, 100, 0.05
_SHARES = ("baseline_liked", "my_liked", "start_event_accuracy", "my_event_accuracy")
_WHAT = dict.fromkeys(_SHARES, list) | {"test_events": int, "baseline_pairs": int, "my_pairs": int, "train_ids": list}


def _judge_pairs(answer: Any) -> str | None:
    results = complete(answer, _WHAT)
    for name in _SHARES:
        shares(results, name, _SEEDS)
        enough(results[name], name, _SEEDS)
    if results["test_events"] < _EVENTS:
        return f"{results['test_events']} test events decide too little: measure on at least {_EVENTS}."
    for name in ("baseline_pairs", "my_pairs"):
        if results[name] < 1:
            return f"{name} should be the number of pairs trained on in one run, but it is {results[name]}."
    if results["my_pairs"] > results["baseline_pairs"]:
        more = results["my_pairs"] - results["baseline_pairs"]
        return f"Your runs train on {more} pairs more than the notebook's: better pairs, not more of them."
    untested(results["train_ids"])
    worst, best = min(results["my_liked"]), max(results["baseline_liked"])
    if at_most(worst, best):
        return (
            f"Your worst run ({worst:.3f}) is not above the notebook's best ({best:.3f}): "
            "the difference may be luck. Every run of yours must lie above every run of the notebook."
        )
    lost = _mean(results["start_event_accuracy"]) - _mean(results["my_event_accuracy"])
    if not at_most(lost, _LOST):
        return (
            f"People like it, but the organiser forgot its job: event accuracy fell by {lost:.3f}; {_LOST} is allowed."
        )
    return None


_form = variants(
    {
        "baseline_liked": [0.5, 0.52, 0.51],
        "my_liked": [0.6, 0.58, 0.61],
        "start_event_accuracy": [0.5, 0.5, 0.5],
        "my_event_accuracy": [0.49, 0.5, 0.48],
        "test_events": 280,
        "baseline_pairs": 48,
        "my_pairs": 48,
        "train_ids": ["train-0001", "mine-1"],
    }
)


_LION = Exercise(
    id="dpo/lion",
    level="🦁",
    title="Better pairs",
    goal="Reach more liked confirmations than this notebook with no more pairs, and keep the events.",
    minutes=60,
    judge=_judge_pairs,
    hints=(
        "First repeat the notebook as it stands: three seeds, and all test events. How far apart are those runs? Your "
        "idea has to be worth more than that.",
        "Read the answers that are not liked. Which are false, and which only long? A pair teaches what its two sides "
        "differ in: two answers of like length, one true and one false, teach truth.",
        "More samples for each event give a wider choice: the best of eight against the worst, or only pairs of events "
        "where the start is often wrong. Choose on dev events, and look at the test events once.",
        "beta and the learning rate decide how far the policy walks. Watch event accuracy and the KL while you change "
        "one at a time; events mixed into the training (an SFT loss beside DPO's) may hold the job in place.",
    ),
    wrong=(
        ("two seeds", _form(my_liked=[0.6, 0.61]), "has 2 of at least 3 seeds"),
        ("few test events", _form(test_events=40), "40 test events decide too little"),
        ("more pairs", _form(my_pairs=96), "48 pairs more than"),
        ("negative pairs", _form(baseline_pairs=-1), "baseline_pairs should be the number of pairs"),
        ("trained on a test event", _form(train_ids=["test-0003"]), "a test split (test-0003)"),
        ("percent", _form(my_liked=[60, 58, 61]), "looks like percent"),
        ("one run not above", _form(my_liked=[0.7, 0.5, 0.7]), "worst run (0.500) is not above"),
        ("forgot the events", _form(my_event_accuracy=[0.3, 0.32, 0.31]), "forgot its job"),
        ("a part is missing", lambda: {"my_liked": [0.5, 0.6, 0.7]}, "has no 'baseline_liked'"),
        ("a mean for a list", _form(my_liked=0.6), "my_liked should be a list"),
    ),
)

EXERCISES = (_TURTLE, _DOG, _LION)
