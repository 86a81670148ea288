"""The exercises of the notebook resources: the bytes of a training run, a fair accumulation, half the memory.

The judge of the 🐕 looks at tensors only: it cannot know whether the learner's own trainer is fair. The 🦁 is judged by
the learner's own words in a dictionary: this module cannot know whether they measured it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from smol_course.exercises import (
    Exercise,
    Mistake,
    at_most,
    call,
    compared,
    complete,
    enough,
    expect,
    planted,
    variants,
)

if TYPE_CHECKING:
    from torch import Tensor

# --- 🐢 Bytes before the first token ------------------------------------------------------------------------

# Parameters, trained parameters, bytes of one number: few trained (where most mistakes differ), 16 bits, all, none.
_MODELS = ((1_000, 30, 4), (134_515_008, 2_442_240, 2), (134_515_008, 134_515_008, 4), (500, 0, 2))


def _bytes(parameters: int, trained: int, each: int) -> int:
    return each * (parameters + 3 * trained)


_BYTES_MISTAKES: dict[str, Callable[[int, int, int], float]] = {
    "Only the weights are counted: gradients and AdamW's moments are missing.": lambda n, trained, each: each * n,
    "Frozen weights have no gradient and no moments: those count trained ones only.": lambda n, trained, each: (
        each * 4 * n
    ),
    "The frozen weights are missing: they are in memory too, trained or not.": lambda n, trained, each: (
        each * 4 * trained
    ),
    "The weights themselves are missing: only gradients and moments are counted.": lambda n, trained, each: (
        each * 3 * trained
    ),
    "One part is missing: beside the gradient, AdamW keeps two moments.": (
        lambda n, trained, each: each * (n + 2 * trained)
    ),
    "AdamW's two moments are missing.": lambda n, trained, each: each * (n + trained),
    "Something is counted twice: the trained weights are among the parameters.": lambda n, trained, each: (
        each * (n + 4 * trained)
    ),
    "A frozen weight has no gradient.": lambda n, trained, each: each * (2 * n + 2 * trained),
    "These are numbers, not bytes: each takes bytes_each.": lambda n, trained, each: n + 3 * trained,
    "These are bits: a byte has eight, and bytes are asked for.": lambda n, trained, each: 8 * _bytes(n, trained, each),
    "Every number is taken as four bytes: use bytes_each.": lambda n, trained, each: 4 * (n + 3 * trained),
}


def _judge_bytes(answer: Any) -> str | None:
    values = [expect(call(answer, *case), (int, float), "what training_bytes returns") for case in _MODELS]
    wanted = [_bytes(*case) for case in _MODELS]
    for scale, unit in ((10**6, "MB"), (2**20, "MiB"), (10**9, "GB"), (2**30, "GiB")):
        if abs(values[1] * scale / wanted[1] - 1) < 0.01:
            return f"This looks like {unit}: give bytes."

    def say(place: int) -> str:
        parameters, trained, each = _MODELS[place]
        return (
            f"For {parameters} parameters, {trained} of them trained, {each} bytes each, it should be "
            f"{wanted[place]} bytes, but yours is {values[place]:.12g}."
        )

    return compared(values, wanted, _MODELS, _BYTES_MISTAKES, say)


_TURTLE = Exercise(
    id="resources/turtle",
    level="🐢",
    title="Bytes before the first token",
    goal="Compute the bytes of weights, gradients and AdamW's moments.",
    minutes=5,
    judge=_judge_bytes,
    hints=(
        "Four things hold numbers: weights, gradients, first moments, second moments. How many numbers has each?",
        "All weights are in memory. The other three exist for trained weights only.",
        "So there are `parameters` numbers, and three times `trained` more. Each takes `bytes_each` bytes.",
    ),
    wrong=(
        *planted(_BYTES_MISTAKES),
        ("megabytes", lambda: lambda n, trained, each: _bytes(n, trained, each) / 1e6, "This looks like MB"),
        (
            "half as much",
            lambda: lambda n, trained, each: _bytes(n, trained, each) / 2,
            "4360 bytes, but yours is 2180",
        ),
        (
            "a dictionary",
            lambda: lambda n, trained, each: {"weights": n * each},
            "should be a number, but it is a dictionary",
        ),
    ),
)

# --- 🐕 A fair accumulation ---------------------------------------------------------------------------------

# For each case, the scored tokens of each row, by micro-batch; every row has as many positions as _WIDTH says.
_CASES: tuple[tuple[tuple[tuple[int, ...], ...], tuple[int, ...]], ...] = (
    (((3, 2), (1, 1)), (4, 4)),
    (((5,), (1,), (2,)), (5, 4, 4)),
    (((1, 1), (6, 4), (2, 0)), (2, 7, 3)),
    (((4, 1), (0, 0), (3, 3)), (5, 2, 4)),  # a micro-batch with nothing to score
)


def _micro_batches(case: int) -> tuple[list["Tensor"], list["Tensor"]]:
    """Per-token losses (leaves with gradients) and masks, each (rows, tokens), of every micro-batch."""
    import torch

    generator = torch.Generator().manual_seed(case)
    losses, masks = [], []
    for rows, width in zip(*_CASES[case], strict=True):
        values = 0.1 + 3 * torch.rand(len(rows), width, generator=generator, dtype=torch.float64)
        losses.append(values.requires_grad_())
        # Scored tokens stand at the end of a row, as an answer does.
        masks.append(torch.tensor([[place >= width - scored for place in range(width)] for scored in rows]))
    return losses, masks


def _judge_accumulation(answer: Any) -> str | None:
    import torch

    for case in range(len(_CASES)):
        losses, masks = _micro_batches(case)
        lent = [mask.clone() for mask in masks]
        fair_losses = _scalars(call(answer, list(losses), list(lent)), len(losses))
        total = sum(int(mask.sum()) for mask in masks)
        for value in fair_losses:
            if value.requires_grad:
                value.backward(retain_graph=True)  # the losses may share what they were computed from
        got = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in losses]
        wanted = [mask.double() / total for mask in masks]
        if not all(torch.allclose(gradient, other, atol=1e-9) for gradient, other in zip(got, wanted, strict=True)):
            return _accumulation_mistake(fair_losses, got, masks)
        right = [(loss * mask).sum().item() / total for loss, mask in zip(losses, masks, strict=True)]
        if any(abs(value.item() - wish) > 1e-6 for value, wish in zip(fair_losses, right, strict=True)):
            return "The gradients are right, but the losses themselves are not: their sum is the big batch's loss."
        if not all(torch.equal(mask, other) for mask, other in zip(masks, lent, strict=True)):
            return "The losses are right, but your function changed the masks that it was given: work on a copy."
    return None


def _scalars(value: Any, count: int) -> list["Tensor"]:
    """The learner's losses: one tensor without dimensions for each micro-batch. Raises Mistake."""
    import torch

    if issubclass(type(value), torch.Tensor) and not value.dim():
        raise Mistake("fair_losses gives one loss; give a list with one for each micro-batch.")
    if type(value) not in (list, tuple):  # and not through expect, which makes plain numbers of tensors
        value = expect(value, (list, tuple), "what fair_losses returns")
    losses = list(value)
    if len(losses) != count:
        raise Mistake(f"For {count} micro-batches there should be {count} losses, but there are {len(losses)}.")
    for loss in losses:
        if type(loss) in (int, float):
            raise Mistake("A plain number has lost its gradient: return tensors, without .item().")
        if not issubclass(type(loss), torch.Tensor):
            raise Mistake("Each loss should be a tensor, one for each micro-batch.")
        if loss.dim():
            raise Mistake(f"A loss has the shape {tuple(loss.shape)}; backward() needs one number.")
        if not torch.isfinite(loss):
            raise Mistake(f"A loss is {loss.item()}: is a micro-batch without scored tokens divided by its own zero?")
    if not any(loss.requires_grad for loss in losses):
        raise Mistake("The losses have lost their gradient: compute them from the given tensors, undetached.")
    return losses


def _accumulation_mistake(given: list["Tensor"], got: list["Tensor"], masks: list["Tensor"]) -> str:
    """Name the mistake that leads to these gradients of the per-token losses."""
    import torch

    counts = [int(mask.sum()) for mask in masks]
    total, places, several = sum(counts), sum(mask.numel() for mask in masks), len(masks)
    own = [mask.double() / max(1, count) for mask, count in zip(masks, counts, strict=True)]
    known = {
        "This is the mean of the micro-batches' means: a token among few weighs more than one among many.": [
            part / several for part in own
        ],
        "These are the means of each micro-batch, added up: the gradient is too large, and unfairly shared.": own,
        "These are sums: divide by the scored tokens of all micro-batches together.": [m.double() for m in masks],
        "Divided by all positions: only scored tokens count, in the number too.": [m.double() / places for m in masks],
        "Masked tokens are in the loss: keep only those that the mask marks.": [
            torch.ones_like(part) / total for part in got
        ],
        "Masked tokens are in the loss and in the number: the masks are not used.": [
            torch.ones_like(part) / places for part in got
        ],
        "Divided by the number of rows: a row with a long answer has more scored tokens.": [
            m.double() / sum(len(mask) for mask in masks) for m in masks
        ],
        "The wrong half is kept: the masks are True where a token is scored.": [(~m).double() / total for m in masks],
        "Divided once more by the number of micro-batches: the total of scored tokens is all.": [
            m.double() / total / several for m in masks
        ],
    }
    for message, gradients in known.items():
        if all(torch.allclose(gradient, other, atol=1e-9) for gradient, other in zip(got, gradients, strict=True)):
            return message
    total_loss = sum(value.item() for value in given)
    return (
        f"For micro-batches with {', '.join(map(str, counts))} scored tokens the gradients are not the big batch's "
        f"(your losses add up to {total_loss:.4f})."
    )


def _each(weigh: Callable[["Tensor", "Tensor", int, int, int], Any]) -> Callable[[], Any]:
    """Return a function that makes an answer: weigh(losses, mask, scored, positions, micro-batches) for each."""

    def make() -> Any:
        def fair_losses(losses: list["Tensor"], masks: list["Tensor"]) -> list[Any]:
            scored, places = sum(int(m.sum()) for m in masks), sum(m.numel() for m in masks)
            return [weigh(loss, mask, scored, places, len(masks)) for loss, mask in zip(losses, masks, strict=True)]

        return fair_losses

    return make


def _clears(losses: list["Tensor"], masks: list["Tensor"]) -> list["Tensor"]:
    total = sum(int(mask.sum()) for mask in masks)
    fair = [loss[mask.clone()].sum() / total for loss, mask in zip(losses, masks, strict=True)]
    for mask in masks:
        mask[:] = False
    return fair


_DOG = Exercise(
    id="resources/dog",
    level="🐕",
    title="A fair accumulation",
    goal="Make accumulation give the gradient of the one big batch.",
    minutes=20,
    judge=_judge_accumulation,
    needs=("torch",),
    hints=(
        "Write down the loss of the one big batch first: a sum over all scored tokens, and one division.",
        "That sum falls into parts, one for each micro-batch. What has every part to be divided by?",
        "Count the scored tokens of all micro-batches before the first loss: `sum(mask.sum() for mask in masks)`.",
        "Each loss is `losses[i][masks[i]].sum() / total`. An empty choice has the sum 0, so nothing breaks.",
    ),
    wrong=(
        (
            "mean of means",
            _each(lambda loss, mask, n, p, k: (loss * mask).sum() / mask.sum().clamp(min=1) / k),
            "mean of the micro-batches' means",
        ),
        (
            "means added up",
            _each(lambda loss, mask, n, p, k: (loss * mask).sum() / mask.sum().clamp(min=1)),
            "added up: the gradient is too large",
        ),
        ("sums", _each(lambda loss, mask, n, p, k: (loss * mask).sum()), "These are sums"),
        ("all positions", _each(lambda loss, mask, n, p, k: (loss * mask).sum() / p), "Divided by all positions"),
        ("no masks", _each(lambda loss, mask, n, p, k: loss.sum() / p), "the masks are not used"),
        ("masked tokens", _each(lambda loss, mask, n, p, k: loss.sum() / n), "Masked tokens are in the loss: keep"),
        ("the other half", _each(lambda loss, mask, n, p, k: loss[~mask].sum() / n), "The wrong half is kept"),
        (
            "divided again",
            _each(lambda loss, mask, n, p, k: loss[mask].sum() / n / k),
            "once more by the number of micro-batches",
        ),
        ("means, empty ones too", _each(lambda loss, mask, n, p, k: loss[mask].mean() * mask.sum() / n), "own zero"),
        ("numbers", _each(lambda loss, mask, n, p, k: (loss[mask].sum() / n).item()), "lost its gradient: return"),
        ("detached", _each(lambda loss, mask, n, p, k: loss.detach()[mask].sum() / n), "undetached"),
        ("per token", _each(lambda loss, mask, n, p, k: loss * mask / n), "has the shape"),
        (
            "one loss",
            lambda: lambda losses, masks: sum((x * m).sum() for x, m in zip(losses, masks, strict=True)),
            "gives one loss",
        ),
        ("clears the masks", lambda: _clears, "changed the masks"),
    ),
)


# --- 🦁 Half the memory -------------------------------------------------------------------------------------

_SEEDS, _DEV, _MOST_MESSAGES, _SLOWER, _WORSE = 3, 48, 64, 1.5, 0.02
_LISTS = ("baseline_peak_mb", "my_peak_mb", "baseline_seconds", "my_seconds", "baseline_dev_loss", "my_dev_loss")


def _judge_half(answer: Any) -> str | None:
    results = complete(answer, dict.fromkeys(_LISTS, list) | {"dev_messages": int, "my_messages": int})
    for name in _LISTS:
        if mistake := _list_mistake(name, results[name]):
            return mistake
    if results["dev_messages"] < _DEV:
        return f"{results['dev_messages']} dev messages decide too little: measure on at least {_DEV}."
    if not 0 < results["my_messages"] <= _MOST_MESSAGES:
        return f"You train on {results['my_messages']} messages; from 1 to {_MOST_MESSAGES} are allowed."
    return _price(results)


def _list_mistake(name: str, values: list[Any]) -> str | None:
    for value in values:
        expect(value, (float, int), f"each number of {name}")
        if not 0 < value < 1e6:
            return f"{name} holds {value:.4g}, which cannot have been measured."
        if name.endswith("_mb") and value < 50:
            return f"{name} holds {value:.4g}: that looks like gigabytes. Write megabytes, as peak_mb is recorded."
    enough(values, name, _SEEDS)
    return None


def _price(results: dict[str, Any]) -> str | None:
    """Compare memory, time and dev loss of the two sides."""
    most = min(results["baseline_peak_mb"]) / 2
    if not at_most(max(results["my_peak_mb"]), most):
        return f"Your largest peak is {max(results['my_peak_mb']):,.1f} MB; half of the notebook's is {most:,.1f}."
    mean = {name: sum(results[name]) / len(results[name]) for name in _LISTS}
    slower = mean["my_seconds"] / mean["baseline_seconds"]
    if not at_most(slower, _SLOWER):
        return f"It fits, but 1,000 tokens take {slower:.3f} times as long; {_SLOWER} times is allowed."
    worse = mean["my_dev_loss"] - mean["baseline_dev_loss"]
    if not at_most(worse, _WORSE):
        return f"It fits, but it learned less: your mean dev loss is {worse:.4f} above; {_WORSE} is allowed."
    return None


_half = variants(
    {
        "baseline_peak_mb": [5300, 5290, 5310],
        "my_peak_mb": [2400, 2410, 2390],
        "baseline_seconds": [5.6, 5.7, 5.8],
        "my_seconds": [5.0, 5.1, 5.2],
        "baseline_dev_loss": [0.28, 0.29, 0.3],
        "my_dev_loss": [0.27, 0.3, 0.29],
        "dev_messages": 96,
        "my_messages": 64,
    }
)


_LION = Exercise(
    id="resources/lion",
    level="🦁",
    title="Half the memory",
    goal="Train with half of this notebook's peak memory, and learn as much.",
    minutes=60,
    judge=_judge_half,
    hints=(
        "First repeat the notebook as it stands with three seeds and more dev messages. Which of the four parts is the "
        "largest at the peak, and which technique removes that one?",
        "The study's table says what each technique removes by itself. Two of them that remove different parts "
        "add up; two that remove the same part do not.",
        "LoRA learns little at full fine-tuning's learning rate. Try several times as much, and judge by the dev loss.",
        "Time is a price too: small pieces and 16-bit products can cost more than they save. Look at seconds for "
        "1,000 tokens of each change alone, and use the messages that you are allowed.",
    ),
    wrong=(
        ("two seeds", _half(my_dev_loss=[0.2, 0.21]), "has 2 of at least 3 seeds"),
        ("too large", _half(my_peak_mb=[2400, 2700, 2400]), "Your largest peak is 2,700.0 MB"),
        ("gigabytes", _half(my_peak_mb=[2.4, 2.4, 2.4]), "looks like gigabytes"),
        ("too slow", _half(my_seconds=[9.0, 9.5, 9.2]), "1.620 times as long"),
        ("learned less", _half(my_dev_loss=[0.5, 0.49, 0.5]), "it learned less"),
        ("few dev messages", _half(dev_messages=8), "8 dev messages decide too little"),
        ("more messages", _half(my_messages=200), "You train on 200 messages"),
        ("never measured", _half(baseline_seconds=[5.6, -1, 5.8]), "cannot have been measured"),
        ("a part is missing", lambda: {"my_peak_mb": [1, 2, 3]}, "has no 'baseline_peak_mb'"),
        ("a mean for a list", _half(my_seconds=5.0), "my_seconds should be a list"),
    ),
)

EXERCISES = (_TURTLE, _DOG, _LION)
