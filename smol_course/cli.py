"""The command ``smol``: it reads options, calls the runner, and says in one sentence what the learner can mend."""

import signal
import sys
from itertools import groupby
from typing import Annotated

from smol_course.errors import CourseError

try:
    import typer
    from rich.console import Console
    from rich.table import Column, Table

    from smol_course.evaluation.command import evaluate
except ModuleNotFoundError as error:
    sys.exit(f"{error.name} is not installed: `uv sync`, or `pip install 'smol-course[all]'`.")

app = typer.Typer(
    name="smol",
    help="Run, check and rebuild the notebooks of smol-course.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(highlight=False, markup=False)

Targets = Annotated[
    list[str] | None,
    typer.Argument(help="all, a module (1) or a notebook (1/chat_templates); none means all"),
]
Hub = Annotated[bool, typer.Option("--hub", help="allow downloads from the Hugging Face Hub")]
_set = typer.Option("--set", metavar="NAME=VALUE", help="change a parameter; may be repeated")
Take = Annotated[bool, typer.Option("--take-notebook", help="first copy edited notebooks into their text sources")]


def _run(command: str, *given: object) -> None:
    """Call the runner, which takes a moment to import, and end with the status that it returns."""
    from smol_course import runner

    raise typer.Exit(getattr(runner, command)(*given, console))


@app.command()
def run(
    targets: Targets = None,
    given: Annotated[list[str] | None, _set] = None,
    hub: Hub = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="do not go on with an unfinished run")] = False,
) -> None:
    """Run notebooks from top to bottom and show their results; your own notebooks are not touched."""
    _run("run", targets or [], given or [], hub, fresh)


@app.command()
def study(
    target: Annotated[str, typer.Argument(help="a notebook, such as 1/supervised_fine_tuning")],
    only: Annotated[str | None, typer.Option("--only", metavar="NAME", help="one run of the study")] = None,
    hub: Hub = False,
) -> None:
    """Run the seeds, sweeps and controls behind a notebook's figures; goes on where it stopped."""
    _run("study", target, only, hub)


@app.command()
def check(
    notebook: Annotated[str, typer.Argument(help="your notebook's path, or a name such as 1/chat_templates")],
) -> None:
    """Check the exercises of your notebook."""
    _run("check", notebook)


@app.command()
def progress() -> None:
    """Show the learning path and what you have solved."""
    from smol_course import runner
    from smol_course.exercises import all_exercises, solved

    done, exercises = solved(), all_exercises()
    for module, notebooks in groupby(runner.notebooks(), key=lambda notebook: notebook.module):
        console.print(module.name.replace("_", " "))
        for notebook in notebooks:
            console.print(f"  {notebook.name}")
            for exercise in exercises:
                if exercise.id.split("/")[0] == notebook.topic:
                    console.print(f"    {exercise.level} {'✅' if exercise.id in done else 'open'}  {exercise.goal}")
    console.print(f"{sum(exercise.id in done for exercise in exercises)} of {len(exercises)} exercises solved.")


@app.command()
def doctor() -> None:
    """Show what this machine has, and what to do about what is missing."""
    from smol_course.runner.doctor import describe

    table = Table(*(Column(name, overflow="fold") for name in ("what", "here", "advice")))
    for row in describe():
        table.add_row(*row)
    console.print(table)


app.command()(evaluate)


@app.command()
def build(
    targets: Targets = None,
    text_only: Annotated[bool, typer.Option("--text-only", help="refill tables and numbers, run nothing")] = False,
    take: Take = False,
    hub: Hub = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="run also those whose code does what it did")] = False,
) -> None:
    """For authors: run notebooks whose code or data changed, write them with their outputs, and refill the tables."""
    _run("build", targets or [], text_only, take, hub, fresh)


def main() -> None:
    """Run the command line. The exit status is 1 for a failing notebook or check, 2 for a mistake in the request.

    The end of the terminal and a request to terminate are met as Ctrl-C is; their status is 128 and their number.
    """
    for stream in (sys.stdout, sys.stderr):
        # A Windows console may lack a character of the text; a question mark is better than a traceback.
        stream.reconfigure(errors="replace")
    received: list[int] = []

    def end(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # ending takes a moment, into which no second one may break
        received.append(number)
        raise KeyboardInterrupt

    for name in ("SIGTERM", "SIGHUP"):  # Windows has no HUP, and nohup ignores it
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) == signal.SIG_DFL:
            signal.signal(getattr(signal, name), end)
    try:
        app()
    except ModuleNotFoundError as error:
        if (error.name or "smol_course").startswith("smol_course"):
            raise
        sys.exit(f"{error.name.partition('.')[0]} is not installed: `uv sync`, or `pip install 'smol-course[all]'`.")
    except CourseError as error:
        Console(stderr=True, highlight=False, markup=False).print(str(error), soft_wrap=True)
        sys.exit(2)
    finally:
        if received:
            sys.exit(128 + received[0])


if __name__ == "__main__":
    main()
