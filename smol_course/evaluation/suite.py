"""The evaluation suite: how good an organiser is, on the same questions each time, and whether it got worse.

A *report* has what a model answered: to messages, to everyday questions, and how well it predicts pages of Python's
help. Scores, intervals and comparisons are computed from that, so a report stays good when a metric changes. Each
question carries a hash of its text: two reports are compared on the questions that are the same in both.

What it does not know: whether the messages are like yours, or whether a model was trained on them.
"""

import hashlib
import io
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smol_course.data import SYSTEM_PROMPT, events
from smol_course.errors import CourseError
from smol_course.evaluation.comparisons import Comparison, bootstrap, by_group, compare
from smol_course.evaluation.questions import choices
from smol_course.files import write_json, writing
from smol_course.hardware import describe_short
from smol_course.metrics import FIELDS, event_right, field_f1, fields_right, parse_event, wilson
from smol_course.models import MODEL, answer, artifact, find_model, merged, weights_sha256

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    Ask = Callable[[list[str]], list[str]]

START = "start"
REPORTS = Path(__file__).parent / "reports"
PAGE_TOKENS = 160  # the longest piece of a help page that is read, so that every page counts alike
_FEWEST = 30  # questions of a kind: fewer decide nothing


@dataclass(frozen=True)
class Report:
    """What one model answered. The keys name a question and its text, as "test-0007:1f2e3d4c".

    Attributes:
        name: what the model is called.
        weights: what `weights_of` says of its files; "" where there are none.
        answers: to messages, as the model wrote them.
        choices: the log-probability of each option of an everyday question.
        pages: nats per token on the beginnings of Python's help pages.
        made: with what, on what machine, and how long it took.
    """

    name: str
    weights: str = ""
    answers: dict[str, str] = field(default_factory=dict)
    choices: dict[str, list[float]] = field(default_factory=dict)
    pages: dict[str, float] = field(default_factory=dict)
    made: dict[str, Any] = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write the report as JSON, in one step. Raises CourseError where that is not possible."""
        with writing(str(path)):
            write_json(Path(path), asdict(self), indent=0)


def read(name: str | Path) -> Report:
    """Return a saved report: a file's, or the shipped one of that name. Raises CourseError if it cannot be read."""
    path = Path(name) if str(name).endswith(".json") else REPORTS / f"{name}.json"
    try:
        return Report(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        shipped = ", ".join(sorted(file.stem for file in REPORTS.glob("*.json"))) or "none"
        raise CourseError(f"{path.name} is no report that can be read; these ship: {shipped}.") from error


# --- Asking -------------------------------------------------------------------------------------------------


def load(name: str, base: str = MODEL) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Return a model in float32 and its tokenizer: "start" is the starting model, else an artifact's name or a folder.

    An adapter is merged into ``base``, which is the starting model. Raises CourseError if there is no such artifact.
    """
    from transformers import AutoTokenizer

    base = find_model(base)
    folder = _folder(name, base)
    adapted = (Path(folder) / "adapter_config.json").is_file()
    model = merged(base, folder) if adapted else merged(folder)
    return model, AutoTokenizer.from_pretrained(base)


def _folder(name: str, base: str) -> str:
    """Where the weights of what `load` takes lie."""
    return base if name == START else name if Path(name).is_dir() else artifact(name)


def weights_of(name: str) -> str:
    """Return 16 characters that stand for a model's weight files, and an adapter's base: other bytes, other characters.

    "" where the files are not at hand. ``name`` is what `load` takes. Raises CourseError if there is no such artifact.
    """
    with redirect_stdout(io.StringIO()):
        base = find_model(MODEL)
        folder = _folder(name, base)
    adapted = (Path(folder) / "adapter_config.json").is_file()
    return (weights_sha256(*([base, folder] if adapted else [folder])) or "")[:16]


def asker(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", bf16: bool = False) -> "Ask":
    """Return a function that asks the model for the events of messages, as the organiser is asked."""

    def ask(messages: list[str]) -> list[str]:
        conversations = [
            [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": message}] for message in messages
        ]
        return answer(model, tokenizer, conversations, bf16=bf16, show=False)

    return ask


def prompt_of(row: dict) -> str:
    """Return what stands before the option: the text to go on with, or the question in the usual form."""
    return row["text"] if row["form"] == "cloze" else f"Question: {row['text']}\nAnswer:"


def option_scores(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[str],
    options: Sequence[Sequence[str]],
    batch_size: int = 32,
) -> list[list[float]]:
    """Return the log-probability of each option as what follows its prompt, in nats, summed over its tokens.

    Prompt and option are tokenised apart, and an option brings its own space. ``batch_size`` counts rows. The
    model's mode stays as it was.
    """
    import torch

    rows = [
        (tokenizer(prompt)["input_ids"], tokenizer(option)["input_ids"])
        for prompt, group in zip(prompts, options, strict=True)
        for option in group
    ]
    # The last token is predicted and never read, so options of one token share a row of the batch.
    inputs: dict[tuple[int, ...], list[int]] = {}
    for row, (prompt_ids, option_ids) in enumerate(rows):
        inputs.setdefault((*prompt_ids, *option_ids[:-1]), []).append(row)
    order = sorted(inputs, key=len, reverse=True)
    sums, training = [0.0] * len(rows), model.training
    model.eval()
    try:
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            # Padded on the right: no token sees what comes after it.
            ids = torch.tensor(
                [[*tokens_read, *[0] * (len(batch[0]) - len(tokens_read))] for tokens_read in batch],
                device=model.device,
            )
            # What stands before the first option is read, and nobody asks what it predicts.
            skipped = min(len(rows[row][0]) - 1 for tokens_read in batch for row in inputs[tokens_read])
            with torch.inference_mode():  # logits: (rows, longest - skipped, vocabulary)
                logits = model(input_ids=ids, use_cache=False, logits_to_keep=ids.shape[1] - skipped).logits
            for place, tokens_read in enumerate(batch):
                for row in inputs[tokens_read]:
                    first, option_ids = len(rows[row][0]) - 1 - skipped, rows[row][1]
                    scores = logits[place, first : first + len(option_ids)].float().log_softmax(-1)
                    sums[row] = scores[range(len(option_ids)), option_ids].sum().item()
    finally:
        model.train(training)
    flat = iter(sums)
    return [[next(flat) for _ in group] for group in options]


def page_losses(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str], batch_size: int = 8
) -> list[float]:
    """Return the mean nats per token on the first PAGE_TOKENS tokens of each text. Each has at least so many."""
    import torch

    losses, training = [], model.training
    model.eval()
    try:
        for start in range(0, len(texts), batch_size):
            batch = [tokenizer(text)["input_ids"][: PAGE_TOKENS + 1] for text in texts[start : start + batch_size]]
            ids = torch.tensor(batch, device=model.device)  # (pages, PAGE_TOKENS + 1)
            with torch.inference_mode():
                logits = model(input_ids=ids[:, :-1], use_cache=False).logits.float()
                loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
            losses += loss.mean(dim=1).tolist()
    finally:
        model.train(training)
    return losses


def help_pages(tokenizer: "PreTrainedTokenizerBase", most: int = 24) -> dict[str, str]:
    """Return so many of the help pages that ship with Python, those that are long enough, by name.

    Their texts differ a little from one Python to the next.
    """
    from pydoc_data.topics import topics

    long = {name: text for name, text in sorted(topics.items()) if len(text) > 4 * PAGE_TOKENS}
    enough = (name for name in long if len(tokenizer(long[name][: 12 * PAGE_TOKENS])["input_ids"]) > PAGE_TOKENS)
    return {name: long[name] for name, _ in zip(enough, range(most), strict=False)}


def evaluate(
    name: str,
    who: Any,
    tokenizer: "PreTrainedTokenizerBase | None" = None,
    messages: int = 1_000,
    items: int = 1_000,
    pages: int = 24,
    bf16: bool = False,
    weights: str = "",
) -> Report:
    """Ask a model, or anything that answers, and return the report.

    ``who`` is a model, given with its tokenizer, or a function that turns a list of messages into a list of answers;
    such a function is asked for events only. ``messages`` of the test split and ``items`` of the everyday questions are
    asked, the first ones, or all there are; ``pages`` of the help pages. ``bf16`` asks for events with a bfloat16 copy.
    ``weights`` is what `weights_of` says, for a model that has files.
    """
    begun = time.perf_counter()
    known = _messages()
    asked = dict(list(known.items())[:messages])
    ask = who if tokenizer is None else asker(who, tokenizer, bf16)
    answers = ask([row["message"] for row in asked.values()])
    if len(answers) != len(asked):
        raise CourseError(f"{name} gave {len(answers)} answers to {len(asked)} messages: it must give one to each.")
    report = Report(name, weights, dict(zip(asked, answers, strict=True)))
    if tokenizer is not None:
        rows = dict(list(_items().items())[:items])
        options = [[f" {option}" for option in row["options"]] for row in rows.values()]
        scores = option_scores(who, tokenizer, [prompt_of(row) for row in rows.values()], options)
        report.choices.update(zip(rows, ([round(score, 4) for score in group] for group in scores), strict=True))
        texts = help_pages(tokenizer, pages)
        keys = [_key(name, text) for name, text in texts.items()]
        losses = page_losses(who, tokenizer, list(texts.values()))
        report.pages.update(zip(keys, (round(loss, 5) for loss in losses), strict=True))
    report.made.update(_circumstances(time.perf_counter() - begun))
    return report


def report_on(name: str) -> Report:
    """Return the shipped report on a model if it is about these very weights, else ask anew; print which it is.

    Asked anew, it gets 64 test messages: all of them would take minutes.

    Raises CourseError if there is no such artifact.
    """
    weights = weights_of(name)
    if weights and (REPORTS / f"{name}.json").is_file() and (shipped := read(name)).weights == weights:
        print(f"Report on {name}: the shipped one, made with these weights in {shipped.made['seconds']} seconds.")
        return shipped
    print(f"Report on {name}: made now, as none ships for these weights.")
    model, tokenizer = load(name)
    return evaluate(name, model, tokenizer, messages=64, weights=weights)


def _circumstances(seconds: float) -> dict[str, Any]:
    versions = {package: metadata.version(package) for package in ("torch", "transformers")}
    return {"seconds": round(seconds), "machine": describe_short(), "versions": versions}


def _key(name: str, content: str) -> str:
    return f"{name}:{hashlib.sha256(content.encode()).hexdigest()[:8]}"


@cache
def _messages() -> dict[str, dict]:
    return {_key(row["id"], row["message"] + row["event"]): row for row in events("test")}


@cache
def _items() -> dict[str, dict]:
    return {_key(row["id"], json.dumps([row["text"], row["options"]])): row for row in choices("everyday")}


# --- Reading a report ---------------------------------------------------------------------------------------


def _known(given: dict[str, Any], questions: dict[str, dict]) -> dict[str, Any]:
    """The answers to questions that are still the same as when they were asked."""
    return {key: value for key, value in given.items() if key in questions}


def events_right(report: Report) -> dict[str, bool]:
    """Return for each message that was asked whether the whole event is right."""
    rows = _messages()
    return {key: event_right(text, rows[key]["event"]) for key, text in _known(report.answers, rows).items()}


def choices_right(report: Report) -> dict[str, bool]:
    """Return for each everyday question whether the right option is the likeliest."""
    rows = _items()
    scored = _known(report.choices, rows)
    return {key: scores.index(max(scores)) == rows[key]["right"] for key, scores in scored.items()}


def numbers(report: Report) -> dict[str, tuple[float, float | None, float | None, int]]:
    """Return the report's scores as (value, low, high, n), with 95 % intervals: what `record` takes.

    ``event_accuracy``, ``field_f1`` (without an interval), ``choice_accuracy`` and ``perplexity``; those for which
    nothing was asked are left out.
    """
    scores: dict[str, tuple[float, float | None, float | None, int]] = {}
    for name, right in (("event_accuracy", events_right(report)), ("choice_accuracy", choices_right(report))):
        if right:
            n, correct = len(right), sum(right.values())
            scores[name] = (correct / n, *wilson(correct, n), n)
    answers = _known(report.answers, _messages())
    if answers:
        wanted = [_messages()[key]["event"] for key in answers]
        scores["field_f1"] = (field_f1(list(answers.values()), wanted), None, None, len(answers))
    if report.pages:
        losses = list(report.pages.values())
        low, high = bootstrap(losses)
        scores["perplexity"] = (math.exp(sum(losses) / len(losses)), math.exp(low), math.exp(high), len(losses))
    return scores


def slices(report: Report, by: str = "register") -> dict[str, tuple[float, float, float, int]]:
    """Return event accuracy by "register" or "style", as (share, low, high, n) for each."""
    right, rows = events_right(report), _messages()
    return by_group(list(right.values()), [rows[key][by] for key in right])


def outcomes(report: Report) -> dict[str, Counter[str]]:
    """Return what happened to events and fields, as `field_outcomes` does."""
    answers, rows = _known(report.answers, _messages()), _messages()
    return field_outcomes(list(answers.values()), [rows[key]["event"] for key in answers])


def field_outcomes(answers: list[str], events: list[str]) -> dict[str, Counter[str]]:
    """Return what happened to each field, over all messages: a Counter for each name in FIELDS, and one for "event".

    "event" counts "noted" (an event where there is one), "left alone" (none where there is none), "overlooked",
    "made up" and "unreadable". A field is looked at in events that were noted: "right", "missing" (null where there
    is something), "invented" (something where there is null) or "wrong" (another value).
    """
    outcomes: dict[str, Counter[str]] = {name: Counter() for name in ("event", *FIELDS)}
    for said, event in zip(answers, events, strict=True):
        truth = json.loads(event)
        try:
            given = parse_event(said)
        except ValueError:
            outcomes["event"]["unreadable"] += 1
            continue
        names = {(False, False): "noted", (True, True): "left alone", (True, False): "overlooked"}
        outcomes["event"][names.get((given is None, truth is None), "made up")] += 1
        if given is not None and truth is not None:
            for field, right in fields_right(given, truth).items():
                outcomes[field]["right" if right else _fault(given[field], truth[field])] += 1
    return outcomes


def _fault(given: object, wanted: object) -> str:
    if wanted in (None, []):
        return "invented"
    return "missing" if given in (None, []) else "wrong"


# --- The gate -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """How one kind of question changed; ``worse`` is True where chance does not explain it."""

    what: str
    before: float
    after: float
    comparison: Comparison
    worse: bool


def gate(report: Report, baseline: Report) -> list[Verdict]:
    """Compare a report with a baseline on the questions that both were asked; return a verdict for each kind.

    A model is worse where its difference's 95 % interval lies on the bad side of zero and, for right or wrong,
    McNemar's p is below 0.05: with few changed answers the interval alone is too sure. Better, and "not shown", both
    pass. A kind of which the two share fewer than 30 questions (8 pages) is left out. Raises CourseError if that leaves
    nothing to compare.
    """
    kinds = (
        ("event accuracy", events_right(baseline), events_right(report), 1, _FEWEST),
        ("choice accuracy", choices_right(baseline), choices_right(report), 1, _FEWEST),
        ("help pages, nats per token", baseline.pages, report.pages, -1, 8),
    )
    verdicts = []
    for what, old, new, good, fewest in kinds:
        shared = [key for key in old if key in new]
        if len(shared) < fewest:
            continue
        before, after = [float(old[key]) for key in shared], [float(new[key]) for key in shared]
        comparison = compare(before, after)
        worse = comparison.high < 0 if good > 0 else comparison.low > 0
        worse = worse and (comparison.p is None or comparison.p < 0.05)
        verdicts.append(Verdict(what, sum(before) / len(before), sum(after) / len(after), comparison, worse))
    if not verdicts:
        raise CourseError(
            f"{report.name} and {baseline.name} share too few questions: ask more, or make the baseline anew."
        )
    return verdicts
