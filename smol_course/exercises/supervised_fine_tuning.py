"""The exercises of the notebook supervised_fine_tuning: labels, the loss by hand, and a fair comparison.

The 🦁 is judged by the learner's own words in a dictionary: this module cannot know whether they measured it.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from smol_course.exercises import Exercise, Mistake, call, complete, expect, shares, untested, variants

if TYPE_CHECKING:
    from torch import Tensor

HIDDEN = -100


# --- 🐢 Mask the prompt -------------------------------------------------------------------------------------

# Token 1 is <|im_start|>, 2 <|im_end|>, 198 a newline. Tokens of the prompt come back in the completion.
_EXAMPLES = (
    ([1, 4093, 198, 7089, 314, 6908, 47, 2, 198, 1, 520, 9531, 198, 3725, 198, 30, 2], 13),
    ([1, 4093, 198, 7089, 2, 198, 7089, 198, 1, 2], 6),
    ([314, 6908, 2], 0),
    ([1, 4093, 198, 2], 4),
    ([1, 2], 1),
)


def _masked(ids: list[int], prompt: int) -> list[int]:
    return [HIDDEN] * prompt + ids[prompt:]


def _judge_labels(answer: Any) -> str | None:
    for ids, prompt in _EXAMPLES:
        copied = list(ids)
        labels = expect(call(answer, copied, prompt), list, "what make_labels returns")
        if any(type(label) is not int for label in labels):
            return "Every label should be a plain whole number, also where the loss must not look."
        if labels != _masked(ids, prompt):
            return _label_mistake(labels, ids, prompt)
        if copied != ids or labels is copied:
            return "The labels are right, but input_ids is changed in place or handed back: make a new list."
    return None


def _label_mistake(labels: list[int], ids: list[int], prompt: int) -> str:
    """Name what is wrong with these labels."""
    right = _masked(ids, prompt)
    if labels == ids[prompt:]:
        return "The prompt is dropped, not masked: there must be one label for each token of the input."
    if len(labels) != len(ids):
        return f"There should be as many labels as tokens: for {len(ids)} tokens you give {len(labels)} labels."
    if labels == ids:
        return "Nothing is masked: the prompt's tokens are scored too."
    if set(labels) == {HIDDEN}:
        return f"Everything is masked for {len(ids)} tokens with prompt_length={prompt}: nothing is left to learn from."
    if labels == ids[:prompt] + [HIDDEN] * (len(ids) - prompt):
        return "It is the wrong way round: the completion is masked, and the prompt is scored."
    if labels == right[1:] + [HIDDEN]:
        return "The labels are shifted by one. They stand at their own tokens: the loss does the shifting."
    if any(label not in (token, HIDDEN) for label, token in zip(labels, ids, strict=True)):
        return f"Each label is the id of the token at its own place, or {HIDDEN}: {_odd(labels, ids)} is neither."
    wrong = [i for i, label in enumerate(labels) if label != right[i]]
    where = f"For {len(ids)} tokens with prompt_length={prompt}, the token at index {wrong[0]}"
    if wrong == [prompt - 1]:
        return "One prompt token, the last, is still scored: count again where the prompt ends."
    if wrong == [len(ids) - 1]:
        return "The last token is masked. It ends the turn: a model never scored on it does not learn to stop."
    if wrong == [prompt]:
        return "The first token of the answer is masked: count again where the prompt ends."
    return f"{where} should {'' if wrong[0] >= prompt else 'not '}be scored. Go by position, not by value."


def _odd(labels: list[int], ids: list[int]) -> int:
    return next(label for label, token in zip(labels, ids, strict=True) if label not in (token, HIDDEN))


def _in_place(ids: list[int], prompt: int) -> list[int]:
    ids[:prompt] = [HIDDEN] * prompt
    return ids


_TURTLE = Exercise(
    id="supervised_fine_tuning/turtle",
    level="🐢",
    title="Mask the prompt",
    goal="Write what made the labels: hide the prompt from the loss.",
    minutes=5,
    judge=_judge_labels,
    hints=(
        "Which of the tokens did the notebook underline, and what is the label of all the others?",
        "The prompt is the first prompt_length tokens. The labels have two parts, put together by `+`.",
        "The first part is one value as many times as the prompt has tokens: `[value] * count`.",
        "The second part is a slice of the ids, from the end of the prompt on, unchanged.",
    ),
    wrong=(
        (
            "masks the completion",
            lambda: lambda ids, prompt: ids[:prompt] + [HIDDEN] * (len(ids) - prompt),
            "the wrong way round",
        ),
        (
            "scores one prompt token",
            lambda: lambda ids, prompt: _masked(ids, max(0, prompt - 1)),
            "One prompt token, the last, is still scored",
        ),
        (
            "masks the first answer token",
            lambda: lambda ids, prompt: _masked(ids, prompt + 1)[: len(ids)],
            "The first token of the answer is masked",
        ),
        ("drops the prompt", lambda: lambda ids, prompt: ids[prompt:], "dropped, not masked"),
        (
            "masks the end of the turn",
            lambda: lambda ids, prompt: [*_masked(ids, prompt)[:-1], HIDDEN],
            "The last token is masked",
        ),
        ("changes its input", lambda: _in_place, "changed in place"),
        ("masks nothing", lambda: lambda ids, prompt: list(ids), "Nothing is masked"),
        ("shifts", lambda: lambda ids, prompt: [*_masked(ids, prompt)[1:], HIDDEN], "shifted by one"),
        ("masks everything", lambda: lambda ids, prompt: [HIDDEN] * len(ids), "Everything is masked"),
        ("zeros", lambda: lambda ids, prompt: [0] * prompt + ids[prompt:], ": 0 is neither"),
        (
            "masks by value",
            lambda: lambda ids, prompt: [HIDDEN if token in ids[:prompt] else token for token in ids],
            "by position, not by value",
        ),
    ),
)


# --- 🐕 The loss by hand ------------------------------------------------------------------------------------


def _nats(logits: "Tensor", targets: "Tensor") -> "Tensor":
    """The negative log-likelihood of each target that is not hidden, in float64."""
    from torch.nn.functional import cross_entropy

    losses = cross_entropy(logits.double(), targets, ignore_index=HIDDEN, reduction="none")
    return losses[targets != HIDDEN]


def _cases() -> list[tuple["Tensor", "Tensor"]]:
    """Logits and labels: a prompt; gaps; a scored first token, unspoken of; one token; a huge logit."""
    import torch

    generator = torch.Generator().manual_seed(0)
    cases = []
    for labels in (
        [HIDDEN] * 4 + [17, 3, 120, 9, 2, 44],
        [HIDDEN, 5, HIDDEN, HIDDEN, 7, 2, HIDDEN],
        [11, 3, 8, 2],
        [HIDDEN, HIDDEN, 130],
        [HIDDEN, 6, 2, 9],
    ):
        logits = 2 * torch.randn(len(labels), 160, generator=generator)
        cases.append((logits, torch.tensor(labels)))
    cases[-1][0][1, 77] = 500.0  # so sure of another token that the right one's probability is 0 in float32
    return cases


def _judge_loss(answer: Any) -> str | None:
    import torch

    for number, (logits, labels) in enumerate(_cases()):
        copies = logits.clone(), labels.clone()
        value = _number(call(answer, *copies))
        wanted = _nats(logits[:-1], labels[1:]).mean().item()
        if not math.isfinite(value):
            return (
                f"Your loss is {value} where a logit is 500: take the logarithm and the softmax in one step."
                if number == 4
                else f"Your loss is {value}: is there a division by zero, or a logarithm of zero?"
            )
        if number == 4 and abs(value - wanted) > 1e-4:
            return (
                f"Where a logit is 500 the loss should be {wanted:.4f}, but yours is {value:.4f}: take the logarithm "
                "and the softmax in one step, and cut nothing off."
            )
        if abs(value - wanted) > 1e-4:
            return _loss_mistake(value, wanted, logits, labels)
        if not (torch.equal(copies[0], logits) and torch.equal(copies[1], labels)):
            return "The loss is right, but your function changed the tensors that it was given: work on a copy."
    return None


def _number(value: Any) -> float:
    """A float, or what a tensor without dimensions holds. Raises Mistake."""
    import torch

    if issubclass(type(value), torch.Tensor):
        if value.dim():
            raise Mistake(f"completion_loss gives a tensor of shape {tuple(value.shape)}; one number is wanted.")
        value = value.item()
    return float(expect(value, (float, int), "what completion_loss returns"))


def _loss_mistake(value: float, wanted: float, logits: "Tensor", labels: "Tensor") -> str:
    """Name the mistake that leads to this value."""
    for message, known in _wrong_losses(logits, labels).items():
        if math.isclose(value, known, rel_tol=1e-4, abs_tol=1e-4):
            return message
    scored = int((labels[1:] != HIDDEN).sum())
    return (
        f"For {len(labels)} tokens, {scored} of them scored, the loss should be {wanted:.4f}, but yours is {value:.4f}."
    )


def _wrong_losses(logits: "Tensor", labels: "Tensor") -> dict[str, float]:
    """What well-known mistakes give for these tensors, by the message that names each."""
    import torch

    losses = _nats(logits[:-1], labels[1:])
    scored, places, total = len(losses), len(labels) - 1, losses.sum().item()
    kept = labels[1:] != HIDDEN
    raw = logits[:-1][kept].gather(1, labels[1:][kept][:, None]).mean().item()
    everything = torch.log_softmax(logits[:-1].double(), dim=-1)[torch.arange(places), labels[1:]]
    zeros = _nats(logits[:-1], labels[1:].clamp(min=0)).mean().item()
    hidden_scored = "The hidden tokens are scored as if -100 were a token: leave them out."
    return {
        "Nothing is shifted: the logits at a position speak about the next token, not about its own.": (
            _nats(logits, labels).mean().item()
        ),
        "It is shifted the wrong way: logits are paired with the token before them.": (
            _nats(logits[1:], labels[:-1]).mean().item()
        ),
        "It is a sum: divide by how many tokens are scored.": total,
        "The hidden tokens count in the mean: divide by how many tokens are scored.": total / places,
        "The hidden tokens count in the mean, and so does one position too many.": total / len(labels),
        "This is in bits (a logarithm to base 2); nats are asked for.": total / scored / math.log(2),
        "This is in base 10; nats are asked for.": total / scored / math.log(10),
        "This is a mean probability: the logarithm is missing.": (-losses).exp().mean().item(),
        "This is minus a mean probability: the logarithm is missing.": -(-losses).exp().mean().item(),
        "This is the perplexity: leave out the last exp.": math.exp(min(total / scored, 700)),
        "The sign is wrong: a loss is the negative log-likelihood.": -total / scored,
        "These are bare logits: turn them into log-probabilities first.": -raw,
        "These are bare logits, and the sign is wrong: turn them into log-probabilities first.": raw,
        hidden_scored: -everything.mean().item(),
        hidden_scored + " ": zeros,
    }


def _loss_like(reduce: Callable[["Tensor", "Tensor"], Any]) -> Callable[[], Any]:
    """Return a function that makes a loss: shifted right, then reduced from (log-probabilities, labels)."""

    def make() -> Any:
        import torch

        def loss(logits: "Tensor", labels: "Tensor") -> Any:
            return reduce(torch.log_softmax(logits[:-1], -1), labels[1:])

        return loss

    return make


def _picked(scores: "Tensor", labels: "Tensor") -> "Tensor":
    """The score of each scored label."""
    kept = labels != HIDDEN
    return scores[kept].gather(1, labels[kept][:, None])[:, 0]


def _hides_in_place(logits: "Tensor", labels: "Tensor") -> "Tensor":
    loss = -_picked(logits[:-1].log_softmax(-1), labels[1:]).mean()
    labels[labels == HIDDEN] = 0
    return loss


_DOG = Exercise(
    id="supervised_fine_tuning/dog",
    level="🐕",
    title="The loss by hand",
    goal="Compute the number that the trainer printed, from logits and labels.",
    minutes=20,
    judge=_judge_loss,
    needs=("torch",),
    hints=(
        "Three things to do, in this order: pair each position with the token it speaks about, throw away "
        "the pairs that are not scored, and average what is left.",
        "The last position's logits speak about a token that is not there, and nothing speaks about the "
        "first label: each tensor loses one end.",
        "`torch.log_softmax(..., dim=-1)` turns logits into log-probabilities in nats. A mask "
        "`labels != -100` picks the rows to keep from both tensors.",
        "With rows and targets picked, `rows[torch.arange(len(targets)), targets]` is one log-probability "
        "for each scored token. The loss is minus their mean.",
    ),
    wrong=(
        (
            "no shift",
            lambda: lambda logits, labels: -_picked(logits.log_softmax(-1), labels).mean(),
            "Nothing is shifted",
        ),
        (
            "shifts the wrong way",
            lambda: lambda logits, labels: -_picked(logits[1:].log_softmax(-1), labels[:-1]).mean().item(),
            "the wrong way",
        ),
        (
            "counts hidden tokens",
            _loss_like(lambda logs, labels: -_picked(logs, labels).sum() / len(labels)),
            "count in the mean: divide",
        ),
        ("sum", _loss_like(lambda logs, labels: -_picked(logs, labels).sum()), "It is a sum"),
        ("bits", _loss_like(lambda logs, labels: -_picked(logs / 0.6931472, labels).mean()), "in bits"),
        (
            "probability",
            _loss_like(lambda logs, labels: _picked(logs.exp(), labels).mean()),
            "a mean probability",
        ),
        (
            "perplexity",
            _loss_like(lambda logs, labels: (-_picked(logs, labels).mean()).exp()),
            "This is the perplexity",
        ),
        ("sign", _loss_like(lambda logs, labels: _picked(logs, labels).mean()), "The sign is wrong"),
        (
            "no log_softmax",
            lambda: lambda logits, labels: -_picked(logits[:-1], labels[1:]).mean(),
            "These are bare logits: turn",
        ),
        (
            "scores hidden tokens",
            _loss_like(lambda logs, labels: -logs[range(len(labels)), labels].mean()),
            "as if -100 were a token",
        ),
        ("no mean", _loss_like(lambda logs, labels: -_picked(logs, labels)), "of shape (6,); one number"),
        (
            "logarithm of softmax",
            lambda: lambda logits, labels: -_picked(logits[:-1].softmax(-1).log(), labels[1:]).mean(),
            "in one step",
        ),
        (
            "logarithm of a softmax, cut off",
            _loss_like(lambda logs, labels: -(_picked(logs.exp(), labels) + 1e-12).log().mean()),
            "cut nothing off",
        ),
        ("changes its input", lambda: _hides_in_place, "changed the tensors"),
    ),
)


# --- 🦁 Beat this notebook, fairly --------------------------------------------------------------------------

_SEEDS, _MESSAGES = 3, 200
_WHAT = {
    "baseline_accuracy": list,
    "my_accuracy": list,
    "test_messages": int,
    "baseline_tokens": int,
    "my_tokens": int,
    "train_ids": list,
}


def _judge_results(answer: Any) -> str | None:
    results = complete(answer, _WHAT)
    for name in ("baseline_accuracy", "my_accuracy"):
        shares(results, name, _SEEDS)
    if results["test_messages"] < _MESSAGES:
        return f"{results['test_messages']} test messages decide too little: measure on at least {_MESSAGES}."
    for name in ("baseline_tokens", "my_tokens"):
        if results[name] < 1:
            return f"{name} should be the number of tokens trained on in one run, but it is {results[name]}."
    if results["my_tokens"] > results["baseline_tokens"]:
        more = results["my_tokens"] - results["baseline_tokens"]
        return f"Your runs train on {more} tokens more than the budget, which is what the notebook trains on."
    untested(results["train_ids"])
    worst, best = min(results["my_accuracy"]), max(results["baseline_accuracy"])
    if worst <= best:
        return (
            f"Your worst run ({worst:.3f}) is not above the notebook's best ({best:.3f}): "
            "the difference may be luck. Every run of yours must lie above every run of the notebook."
        )
    return None


_form = variants(
    {
        "baseline_accuracy": [0.3, 0.32, 0.31],
        "my_accuracy": [0.4, 0.38, 0.41],
        "test_messages": 300,
        "baseline_tokens": 1000,
        "my_tokens": 1000,
        "train_ids": ["train-0001", "mine-1"],
    }
)


_LION = Exercise(
    id="supervised_fine_tuning/lion",
    level="🦁",
    title="Beat this notebook, fairly",
    goal="Reach a higher event accuracy than this notebook's with no more training tokens.",
    minutes=60,
    judge=_judge_results,
    hints=(
        "First repeat the notebook as it stands: three seeds, `test_messages = 0`. How far apart are those "
        "runs? Your idea has to be worth more than that.",
        "The recorded `train_tokens` is the budget. `smol run 1/supervised_fine_tuning --set seed=1` makes "
        "one run, and its numbers are recorded in the notebook that it writes.",
        "Read the failures that the notebook prints: which field is wrong most often, and which training "
        "messages would teach it? Short messages cost fewer tokens, so more of them fit.",
        "Choose by the dev messages, and look at the test messages once, at the end. Change one thing at a "
        "time: learning rate, batch size against steps, which messages, the wording of the prompt.",
    ),
    wrong=(
        ("two seeds", _form(my_accuracy=[0.4, 0.41]), "has 2 of at least 3 seeds"),
        ("few test messages", _form(test_messages=64), "64 test messages decide too little"),
        ("more tokens", _form(my_tokens=1200), "200 tokens more than the budget"),
        (
            "trained on a test message",
            _form(train_ids=["train-0001", "test-0007"]),
            "a test split (test-0007)",
        ),
        ("trained on a hard message", _form(train_ids=["hard-0003"]), "a test split (hard-0003)"),
        ("percent", _form(my_accuracy=[40, 38, 41]), "looks like percent"),
        ("no accuracy", _form(my_accuracy=[0.4, -0.1, 0.4]), "which is no share"),
        ("one run not above", _form(my_accuracy=[0.5, 0.32, 0.6]), "worst run (0.320) is not above"),
        ("a part is missing", lambda: {"my_accuracy": [0.5, 0.6, 0.7]}, "has no 'baseline_accuracy'"),
        ("negative tokens", _form(my_tokens=-1), "my_tokens should be the number of tokens"),
        ("a mean for a list", _form(my_accuracy=0.4), "my_accuracy should be a list"),
    ),
)

EXERCISES = (_TURTLE, _DOG, _LION)
