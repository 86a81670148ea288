"""Numbers that the lessons work out in prose come out as they say, and output that they quote was printed."""

import json
import math
import re
import statistics
from pathlib import Path

import chitchat_dataset
import pytest

from smol_course.data import jottings, made_jottings
from smol_course.metrics import bootstrap, mcnemar, needed, wilson
from smol_course.synthetic.messages import event_faults, unlike

ROOT = Path(__file__).parents[1]


def lesson(topic: str) -> str:
    (path,) = ROOT.glob(f"[1-8]_*/{topic}.md")
    return path.read_text(encoding="utf-8")


def says(topic: str, *texts: str) -> None:
    """Fail where the lesson does not say these words any more, wherever its lines break: then the test below them
    proves nothing."""
    written = " ".join(lesson(topic).split())
    missing = [text for text in texts if text not in written]
    assert not missing, f"{topic}.md no longer says {missing}"


QUOTED = re.compile(r"^```text from-notebook\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def printed(topic: str) -> str:
    """All that the topic's notebook printed when it was last built."""
    (path,) = ROOT.glob(f"[1-8]_*/notebooks/{topic}.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(out.get("text", "")) for cell in cells for out in cell.get("outputs", []))


QUOTING = [page for page in sorted(ROOT.glob("[1-8]_*/*.md")) if QUOTED.search(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("topic", [page.stem for page in QUOTING])
def test_quoted_output_was_printed_by_the_notebook(topic: str) -> None:
    quotes, output = QUOTED.findall(lesson(topic)), printed(topic)
    assert not [quote for quote in quotes if quote not in output]
    corrupted = quotes[0].replace("→", "←").replace("a", "b")
    assert corrupted not in output


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_how_many_conversations_people_rated() -> None:
    says("human_feedback", "7,168 conversations")
    data = json.loads(Path(chitchat_dataset.__file__).with_name("dataset.json").read_text(encoding="utf-8"))
    assert len(data) == 7168


def test_kappa_of_two_people_who_nearly_always_say_up() -> None:
    says("human_feedback", "= 82 %", "(0.91 - 0.82) / (1 - 0.82) = 0.5")
    chance = 0.9 * 0.9 + 0.1 * 0.1
    assert chance == pytest.approx(0.82)
    assert (0.91 - chance) / (1 - chance) == pytest.approx(0.5)


def test_the_loss_of_a_rated_pair() -> None:
    says("human_feedback", "sigmoid(0.8) = 0.69, the loss 0.371", "log 2 = 0.693")
    assert sigmoid(1.2 - 0.4) == pytest.approx(0.69, abs=0.005)
    assert -math.log(sigmoid(1.2 - 0.4)) == pytest.approx(0.371, abs=0.0005)
    assert -math.log(sigmoid(0)) == pytest.approx(0.693, abs=0.0005)


def test_the_loss_of_a_thumb() -> None:
    says("human_feedback", "1 - sigmoid(0.2) = 0.45; for a thumb down, 0.55")
    assert 1 - sigmoid(0.1 * (3 - 1)) == pytest.approx(0.45, abs=0.005)
    assert 1 - sigmoid(0.1 * (1 - 3)) == pytest.approx(0.55, abs=0.005)


def test_how_far_the_best_of_eight_moves_and_what_twenty_labels_say() -> None:
    says("human_feedback", "1.2 nats for n = 8", "the 95 % interval is 70 % to 97 %")
    assert math.log(8) - 7 / 8 == pytest.approx(1.2, abs=0.005)
    assert wilson(18, 20) == pytest.approx((0.70, 0.97), abs=0.005)


def test_the_odds_ratio_term_with_round_numbers() -> None:
    says("orpo", "its logarithm 1.386", "4 / (4 + 1) = 0.8, and -log 0.8 = 0.223")
    says("orpo", "The odds are 9 and 4, so the ratio is 2.25")
    ratio = (0.5 / 0.5) / (0.2 / 0.8)
    assert math.log(ratio) == pytest.approx(1.386, abs=0.0005)
    assert -math.log(sigmoid(math.log(ratio))) == pytest.approx(0.223, abs=0.0005)
    assert (0.9 / 0.1) / (0.8 / 0.2) == pytest.approx(2.25)


def test_the_group_of_eight_answers() -> None:
    """The advantages in the table follow from its rewards."""
    says("grpo", "is 0.435, their standard deviation 0.221")
    found = re.findall(r"^ +(\d\.\d\d) +([+-]\d\.\d\d)  ", lesson("grpo"), re.MULTILINE)
    rewards, advantages = ([float(pair[place]) for pair in found] for place in (0, 1))
    assert len(rewards) == 8
    mean, spread = statistics.fmean(rewards), statistics.stdev(rewards)
    assert (mean, spread) == pytest.approx((0.435, 0.221), abs=0.0005)
    assert [(reward - mean) / (spread + 1e-4) for reward in rewards] == pytest.approx(advantages, abs=0.006)


def test_the_odd_one_out_and_groups_that_are_all_wrong() -> None:
    says("grpo", "−1.5 for the one wrong answer, +1.5 for the one right answer", "0.99⁸ = 0.92")
    for rewards, odd in (((1, 1, 1, 0), -1.5), ((1, 0, 0, 0), 1.5)):
        strongest = max(((r - statistics.fmean(rewards)) / statistics.stdev(rewards) for r in rewards), key=abs)
        assert strongest == pytest.approx(odd)
    assert 0.99**8 == pytest.approx(0.92, abs=0.005)


def test_what_mcnemar_says_of_the_worked_cases() -> None:
    says("custom_evaluation", "5 gained and 0 lost gives p = 0.06; 20 gained and 15 lost gives p = 0.5.")
    assert mcnemar(5, 0) == pytest.approx(0.06, abs=0.005) and mcnemar(20, 15) == pytest.approx(0.5, abs=0.005)
    says("performance_analysis", "3 are lost and none gained", "p is 0.25")
    assert mcnemar(0, 3) == 0.25


def test_few_changed_messages_make_the_bootstrap_too_sure() -> None:
    says("custom_evaluation", "Four lost and none gained gives a bootstrap interval wholly below zero, but p = 0.125")
    for messages in (64, 306):
        assert bootstrap([-1] * 4 + [0] * (messages - 4))[1] < 0
    assert mcnemar(0, 4) == 0.125


def test_how_large_a_lead_306_messages_show() -> None:
    says("custom_evaluation", "right on 60 %. The second loses 5 % of the messages and gains more")
    says("custom_evaluation", "Our 306 messages lie between the first two rows")
    assert needed(0.6, 0.65, 0.15) > 306 > needed(0.6, 0.7, 0.20)


def test_how_often_many_checks_raise_a_false_alarm() -> None:
    says("custom_evaluation", "With seven tests", "in up to three of ten cases")
    assert 1 - 0.95**7 == pytest.approx(0.3, abs=0.005)
    says("performance_analysis", "twenty checks that each raise a false alarm in 5 %", "in about two of three runs")
    assert 1 - 0.95**20 == pytest.approx(2 / 3, abs=0.03)


# --- Module 8 -----------------------------------------------------------------------------------------------


def test_rank_fusion_with_round_numbers() -> None:
    says("retrieval_agents", "1/61 = 0.0164", "1/70 = 0.0143", "with 0.0286")
    assert 1 / 61 == pytest.approx(0.0164, abs=5e-5) and 1 / 70 == pytest.approx(0.0143, abs=5e-5)
    assert 2 / 70 == pytest.approx(0.0286, abs=5e-5) and 2 / 70 > 1 / 61


def test_four_tasks_of_fifty_decide_nothing() -> None:
    says("organiser_agent", "gained seven and lost three, McNemar's p is 0.34")
    assert mcnemar(7, 3) == pytest.approx(0.34, abs=0.005) and 31 / 50 == 0.62 and 27 / 50 == 0.54


def test_how_often_a_margin_is_ranked_rightly() -> None:
    says("preference_datasets", "√2 = 1.41", "true distance is 1, 76 %", "at distance 3, 98 %")
    difference = statistics.NormalDist(sigma=math.sqrt(2))
    assert [round(100 * difference.cdf(distance)) for distance in (1, 3)] == [76, 98]


def test_containment_and_jaccard_of_the_quoted_leak() -> None:
    says("quality", "the test message has 35", "35 / 35 = 1", "only 0.42")
    test, training = (
        re.search(rf"^{side} +(.*)$", lesson("quality"), re.MULTILINE)[1] for side in ("test", "training")
    )

    def pieces(text: str) -> set[str]:
        plain = " ".join(re.findall(r"[a-z0-9]+", text.casefold()))
        return {plain[at : at + 5] for at in range(len(plain) - 4)}

    shared = pieces(test) & pieces(training)
    assert (len(pieces(test)), len(shared)) == (35, 35)
    assert len(shared) / len(pieces(test) | pieces(training)) == pytest.approx(0.42, abs=0.005)


def test_how_often_minhash_buckets_meet() -> None:
    says("at_scale", "1 − (1 − s⁸)¹⁴", "At 0.8 that is 92 %, at 0.5 it is 5 %")
    assert [round(100 * (1 - (1 - s**8) ** 14)) for s in (0.8, 0.5)] == [92, 5]


def test_what_the_rules_refuse_wrongly() -> None:
    says("instruction_datasets", "of the three, two have a day crossed out")
    refused = [faults for row in jottings() if (faults := event_faults(row["message"], row["event"]))]
    assert len(refused) == 3 and refused.count(["another day said"]) == 2


def test_a_small_pool_leaves_mostly_templates() -> None:
    says("instruction_datasets", "first pool 585 passed", "191 of them the writer's own", "426 of 820")

    def left(rows: list[dict]) -> tuple[int, int]:
        passed = [row for row in rows if not event_faults(row["message"], row["event"], [row["also"]])]
        kept = [passed[place] for place in unlike([row["message"] for row in passed])]
        return sum(row["origin"] == "back_translation" for row in kept), len(kept)

    made = list(made_jottings())
    assert left([row for row in made if not row["id"].startswith("more-")]) == (191, 585)
    assert left(made) == (426, 820)


def test_what_made_messages_did_to_a_model() -> None:
    says("instruction_datasets", "Neither interval contains zero", "it, too, needs more than fifty")
    says("instruction_datasets", "more than a fresh adapter reached with any of the three")
    folder = ROOT / "6_synthetic_datasets"
    notebook = json.loads((folder / "notebooks" / "instruction_datasets.ipynb").read_text(encoding="utf-8"))
    results = {result["name"]: result for result in notebook["metadata"]["smol"]["results"]}
    for arm in ("seeds", "unfiltered"):
        lead = results[f"pooled_filtered_over_{arm}"]
        assert lead["value"] >= 0.1 and lead["low"] > 0
    study = json.loads((folder / "studies" / "instruction_datasets.json").read_text(encoding="utf-8"))["runs"]
    runs = {run: {one["name"]: one["value"] for one in found["results"]} for run, found in study.items()}
    arms = [f"after_{arm}_event_accuracy" for arm in ("seeds", "unfiltered", "filtered")]
    other = runs["from_the_organiser"]
    assert other["before_event_accuracy"] > max(runs[f"seed_{seed}"][arm] for seed in range(3) for arm in arms)
    assert other[arms[0]] <= other["before_event_accuracy"] < other[arms[2]]
