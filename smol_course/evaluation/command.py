"""The command ``smol evaluate``: a report as a table, and the gate against a baseline as an exit status."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from smol_course.evaluation.suite import Report

_CONSOLE = Console(highlight=False, markup=False)


def evaluate(
    who: Annotated[
        str, typer.Argument(metavar="MODEL", help='"start", an artifact such as organiser_lora, or a report (.json)')
    ],
    against: Annotated[
        str | None, typer.Option("--against", metavar="REPORT", help="a baseline: a report's name or .json file")
    ] = None,
    messages: Annotated[int, typer.Option("--messages", min=1, help="test messages to ask; 1000: all")] = 64,
    items: Annotated[int, typer.Option("--items", min=1, help="everyday questions to ask; 1000: all")] = 1_000,
    pages: Annotated[int, typer.Option("--pages", min=1, help="help pages to read")] = 24,
    save: Annotated[str | None, typer.Option("--save", metavar="FILE", help="keep the report (.json)")] = None,
) -> None:
    """Evaluate a model; with a baseline, the exit status is 1 if it got worse by more than chance explains."""
    from smol_course.evaluation import suite

    if who.endswith(".json"):
        report = suite.read(who)
    else:
        from smol_course.hardware import prepare

        here, (model, tokenizer) = prepare(), suite.load(who)
        report = suite.evaluate(who, model, tokenizer, messages, items, pages, here.bf16, suite.weights_of(who))
    if save:
        report.save(save)
    table = Table(*("score", report.name, "95 % interval", "n"))
    for name, (value, low, high, n) in suite.numbers(report).items():
        span = "" if low is None or high is None else f"{low:.3f} to {high:.3f}"
        table.add_row(name.replace("_", " "), f"{value:.3f}", span, str(n))
    _CONSOLE.print(table)
    if against:
        raise typer.Exit(_gate(report, suite.read(against)))


def _gate(report: "Report", baseline: "Report") -> int:
    """Print how the report compares with the baseline; return the exit status."""
    from smol_course.evaluation.suite import gate

    verdicts = gate(report, baseline)
    table = Table(*("against " + baseline.name, "before", "now", "change, 95 % interval", "n", ""))
    for verdict in verdicts:
        comparison = verdict.comparison
        change = f"{comparison.difference:+.3f} ({comparison.low:+.3f} to {comparison.high:+.3f})"
        said = "WORSE" if verdict.worse else "not worse"
        table.add_row(verdict.what, f"{verdict.before:.3f}", f"{verdict.after:.3f}", change, str(comparison.n), said)
    _CONSOLE.print(table)
    worse = [verdict.what for verdict in verdicts if verdict.worse]
    _CONSOLE.print(f"{report.name} got worse: {', '.join(worse)}." if worse else f"{report.name} passes.")
    return 1 if worse else 0
