"""The end of a run: results in words on the screen, and the page, in which nothing of an output can run or load."""

import io
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from rich.console import Console

from smol_course.runner import Notebook, report, running, show, words

SCRIPT = "<script>alert(1)</script>"
PIXEL = "iVBORw0KGgo="


def rec(name: str, value: float, low: float | None = None, high: float | None = None, n: int | None = None) -> dict:
    return {"name": name, "value": value, "low": low, "high": high, "n": n, "seed": None}


EVENTS = [rec("before_event_accuracy", 0, 0, 0.057, 64), rec("after_event_accuracy", 0.422, 0.309, 0.544, 64)]


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of two modules; `state` makes what a run of some notebooks leaves in its folder."""
    folder = tmp_path / "runs" / "some"
    folder.mkdir(parents=True)
    for module in ("1_instruction_tuning", "2_more"):
        (tmp_path / module / "notebooks").mkdir(parents=True)
    (tmp_path / "1_instruction_tuning" / "lesson.md").touch()
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)

    def state(cells: list, records: list, *topics: str, failure: dict | None = None) -> tuple[list[Notebook], dict]:
        notebooks = tmp_path / "1_instruction_tuning" / "notebooks"
        chosen = [Notebook(f"1/{topic}", notebooks / f"{topic}.py") for topic in topics]
        nbformat.write(new_notebook(cells=cells), folder / "x.ipynb")
        entry = {"executed": "x.ipynb", "results": records, "seconds": 100, "peak_mb": 2000, "status": "done"}
        entries = {notebook.name: entry | {"failure": None} for notebook in chosen}
        if failure:
            entries[chosen[-1].name] |= {"failure": failure, "status": "failed", "results": []}
        return chosen, {"notebooks": entries}

    return SimpleNamespace(root=tmp_path, folder=folder, state=state)


def said(records: dict[str, list], width: int, terminal: bool) -> list[str]:
    """The lines that the learner sees of these results."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    console = Console(file=stream, width=width, force_terminal=terminal, color_system=None, markup=False)
    show.show_results(console, records)
    stream.flush()
    return stream.buffer.getvalue().decode().splitlines()


@pytest.mark.parametrize(
    ("records", "sentence"),
    [
        (EVENTS, "Event accuracy: 0 % before, 42 % after (31 to 54 %, 64 messages)."),
        ([rec("before_liked", 0.05, 0.01, 0.2, 16), rec("after_liked", 0.5, 0.4, 0.6, 40)],
         "Liked: 5 % before, 50 % after (40 to 60 %, n = 16 and 40)."),
        ([rec("before_dev_loss", 1.0173, n=8), rec("after_dev_loss", 0.2867, n=8)],
         "Dev loss: 1.02 before, 0.287 after (n = 8)."),
        ([rec("before_reward", 0.345, 0.26, 0.43, 40)], "Reward: 0.345 before (0.26 to 0.43, n = 40)."),
        ([rec("after_event_accuracy", 0.125, 0.05, 0.26, 40)], "Event accuracy: 12 % after (5 to 26 %, 40 messages)."),
        ([rec("trained_share", 0.0363)], "Trained share: 4 %."),
        ([rec("words_right", 0.25)], "Words right: 0.25."),
        ([rec("learning_rate", 0.0001)], "Learning rate: 0.0001."),
        ([rec("training_seconds", 68.18, n=24)], "Training: 68.2 s (n = 24)."),
        ([rec("train_tokens", 38591)], "Train tokens: 38,591."),
        ([rec("after_perplexity", 22.93, 18.46, 28.44, 12)], "Perplexity: 22.9 after (18.5 to 28.4, n = 12)."),
        ([rec("after_", 0.5)], "After : 0.5."),
    ],
)  # fmt: skip
def test_a_result_in_words(records, sentence):
    assert str(words.results(records)[0]) == sentence


def test_the_most_telling_result_comes_first():
    """Before and after, as a share with an interval; else what was measured after; else the other numbers."""
    many = [
        rec("loss_at_25", 0.3),
        rec("before_left", 0.5, 0.4, 0.6, 9),
        rec("after_new", 0.5, 0.4, 0.6, 9),
        rec("before_words", 18),
        rec("after_words", 9),
        *EVENTS,
        rec("kept", 0.5, 0.4, 0.6, 9),
    ]
    order = ["Event accuracy", "Words", "New", "Kept", "Loss at 25", "Left"]
    assert [result.what for result in words.results(many)] == order


@pytest.mark.parametrize("width", [60, 80])
def test_a_terminal_breaks_no_word(width):
    """Nor a number from its sign. One notebook gets bars, many get a line each."""
    (sentence, *bars) = said({"1/sft": EVENTS}, width, terminal=True)[1:]
    assert sentence.startswith("  Event accuracy: 0 % before, 42 % after (31 to 54 %,")
    assert [re.sub("[█░]+ *", "", bar) for bar in bars if "█" in bar or "░" in bar] == [
        "    before 0 %",
        "    after  42 %",
    ]
    many = {f"2/a_rather_long_name_{k}": [rec("good_confirmations", 0.5, 0.4375, 0.5625, 64)] for k in range(9)}
    for lines in ([sentence, *bars], said(many, width, terminal=True)):
        assert max(map(len, lines)) <= width
        assert not any(re.match(r" *(%|=|messages)", line) or re.search(r"(\bn|=)$", line) for line in lines)
    assert sum("a_rather_long_name" in line for line in said(many, width, terminal=True)) == 9


def test_a_log_keeps_lines_whole_and_plain():
    many = {f"2/a_rather_long_name_that_goes_on_and_on_{k}": EVENTS for k in range(9)} | {"2/none": []}
    lines = said(many, 60, terminal=False)
    assert len(lines) == 10 and lines[-1].endswith("  No number recorded.")
    assert lines[0].endswith("_0  Event accuracy: 0 % before, 42 % after (31 to 54 %, 64 messages).")
    assert "\n".join(said({"1/sft": EVENTS}, 60, terminal=False)).isascii()


class Page(HTMLParser):
    """What a browser would find in the page: its tags with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def harmless(path: Path) -> str:
    """The page, of which nothing can run or load anything."""
    text = path.read_text(encoding="utf-8")
    found = Page(text).found
    assert not {tag for tag, _ in found} & {"script", "iframe", "object", "embed", "link", "base", "form", "video"}
    policies = [attrs["content"] for _, attrs in found if attrs.get("http-equiv")]
    assert len(policies) == 1 and "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in policies[0]
    assert "script-src" not in policies[0]
    for tag, attrs in found:
        assert not any(name.startswith("on") or name in ("style", "srcset", "srcdoc") for name in attrs), (tag, attrs)
        assert attrs.get("src", "data:image/").startswith("data:image/"), (tag, attrs)
        assert re.match(r"https?:|[#.]", attrs.get("href") or "#"), (tag, attrs)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert not re.search(r"@import|url\(", style) and "mathjax" not in text.lower()
    return text


@pytest.mark.parametrize(
    "attack",
    [
        SCRIPT,
        '<script src="https://cdn.example.com/a.js">1</script>',
        "<scr<script>ipt>alert(1)</script>",
        '<img src=x onerror="alert(1)">',
        '<img alt="x" src="//example.com/y.png" srcset="https://example.com/z.png 2x">',
        '<svg onload="alert(1)"><image href="https://example.com/x.png"/></svg>',
        '<a href="java&#10;script:alert(1)">x</a>',
        '<a href="d&#97;ta:text/html,<script>1</script>">x</a>',
        '<iframe srcdoc="<script>1</script>"></iframe><object data="https://example.com"></object>',
        '<meta http-equiv="refresh" content="0;url=https://example.com"><base href="https://example.com">',
        '<link rel="stylesheet" href="https://example.com/z.css"><style>@import "https://example.com"</style>',
        '<form action="https://example.com"><button>x</button></form>',
        '<p style="background:url(https://example.com/x)">x</p>',
    ],
)
def test_nothing_of_an_output_runs_or_loads(course, attack):
    html = new_output("display_data", data={"text/html": f"{attack}<p>kept</p>"}, metadata={})
    isolated = new_output("display_data", data={"text/html": attack}, metadata={"text/html": {"isolated": True}})
    outputs = [
        html,
        new_output("stream", name="stdout", text=attack),
        new_output("error", ename=attack, evalue=attack, traceback=[attack]),
        new_output("display_data", data={"application/javascript": "alert(1)", "text/plain": "x"}),
        new_output("display_data", data={"image/png": f'{PIXEL}"{attack}'}),
        new_output("display_data", data={"text/markdown": attack}),
    ]
    cells = [new_markdown_cell(f"## What is wrong {attack}\n\n{attack}"), new_code_cell("1", outputs=outputs)]
    failure = {"cell": 1, "of": 2, "line": attack, "message": attack}
    state = course.state(cells, [rec("before_x", 0, 0, 1)], "a", "b", failure=failure)
    page = harmless(report.write_report(course.folder, f"a title {attack}", *state))
    assert "kept" in page
    isolated_cell = new_code_cell("1", outputs=[isolated])
    chosen, entries = course.state([isolated_cell], [], "c")
    text = report.write_report(course.folder, "t", chosen, entries).read_text(encoding="utf-8")
    assert "default-src 'none'" in text, "frames are forbidden by the policy"


def test_names_of_results_and_notebooks_are_text(course):
    odd, entries = course.state([], [rec(f"{SCRIPT}_accuracy", 0.5, 0.4, 0.6)], f"x{SCRIPT}")
    page = harmless(report.write_report(course.folder, "t", odd, entries))
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;_accuracy") == 1, "the table of every number"


def test_the_page_has_everything_in_its_order(course):
    """Failures, results with bars, figures, what goes wrong, costs, numbers, and the notebooks, folded."""
    badge = "[![Open in Colab](https://example.com/badge.svg)](https://example.com/open)"
    cells = [
        new_markdown_cell(f"# Title\n{badge}\n\n[lesson](../lesson.md) [gone](../gone.md) $x^2$\n\n## The curve"),
        new_code_cell("plot()", outputs=[new_output("display_data", data={"image/png": PIXEL})]),
        new_markdown_cell("## What is still wrong\nRead them."),
        new_code_cell("1", outputs=[new_output("stream", name="stdout", text="wanted <a>, said <b>")]),
        new_code_cell("df", outputs=[new_output("display_data", data={"text/html": "<table><th>h</th></table>"})]),
    ]
    failure = {"cell": 3, "of": 4, "line": "assert ready", "message": "AssertionError: no"}
    state = course.state(cells, EVENTS, "good", "bad", failure=failure)
    page = harmless(report.write_report(course.folder, "t", *state))
    order = [
        *("</a> failed", "assert ready", "AssertionError: no"),
        *('class="big"', "0 % → 42 %", 'width="42.2"', "M30.9 6H54.4", "31 to 54 %, 64 messages"),
        *("Figures</h2>", "The curve ·", "What still goes wrong</h2>", "wanted &lt;a&gt;, said &lt;b&gt;"),
        *("Costs</h2>", "Together: 2 notebooks in 3.3 min, at most 2.0 GB of memory. Machine: "),
        *("Every number</h2>", "before_event_accuracy", "0.309 to 0.544"),
        *("as they ran</h2>", 'class="highlight', "<p>Read them."),
    ]
    places = [page.find(part) for part in order]
    assert -1 not in places and places == sorted(places), dict(zip(order, places, strict=True))
    assert '<a href="https://example.com/open"><img alt="Open in Colab"/></a>' in page, "the badge is its words"
    assert 'href="../../1_instruction_tuning/lesson.md"' in page, "a link of the notebook leads on from the run folder"
    assert f'src="data:image/png;base64,{PIXEL}"' in page and "<th>h</th>" in page
    assert "<details open" not in page


@pytest.mark.parametrize("width", [60, 80])
def test_the_end_of_a_run_says_failures_first(course, capsys, width):
    """Then the results, the costs, and where to look next, in lines that fit."""
    failure = {"cell": 3, "of": 4, "line": "assert ready", "message": "AssertionError: no"}
    console = Console(width=width, markup=False, force_terminal=True, color_system=None)
    for failed in (failure, None):
        chosen, state = course.state([], EVENTS, "good", "supervised_fine_tuning", failure=failed)
        running._conclude(course.folder, chosen, state, console)
        out = capsys.readouterr().out.replace("\\", "/")
        first = "1/supervised_fine_tuning failed in cell 3 of 4:\n    assert ready\nAssertionError: no\n"
        assert out.lstrip("\n").startswith(first if failed else "1/good\n  Event accuracy: 0 % before, 42 % after")
        assert out.count("42 % after") == (1 if failed else 2) and "Report: runs/some/report.html\n" in out
        assert max(map(len, out.splitlines())) <= width
        said = " ".join(out.split())
        assert ("the same command goes on from here" in said) == bool(failed)
        assert ("`smol progress`" in said) == ("`smol check 1/supervised_fine_tuning`" in said) == (not failed)
