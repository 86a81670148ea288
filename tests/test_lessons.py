"""Numbers that the lessons work out in prose come out as they say, and output that they quote was printed."""

import io
import json
import math
import re
import statistics
import tokenize
from pathlib import Path

import chitchat_dataset
import pytest

from smol_course.evaluation.comparisons import bootstrap, mcnemar, needed
from smol_course.metrics import wilson
from smol_course.synthetic.jottings import jottings, made_jottings
from smol_course.synthetic.messages import event_faults, unlike

ROOT = Path(__file__).parents[1]


def lesson(topic: str) -> str:
    (path,) = ROOT.glob(f"[0-9]*_*/{topic}.md")
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
    (path,) = ROOT.glob(f"[0-9]*_*/notebooks/{topic}.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(out.get("text", "")) for cell in cells for out in cell.get("outputs", []))


QUOTING = [page for page in sorted(ROOT.glob("[0-9]*_*/*.md")) if QUOTED.search(page.read_text(encoding="utf-8"))]


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
    pairs = re.findall(r"^ +(\d\.\d\d) +([+-]\d\.\d\d)  ", lesson("grpo"), re.MULTILINE)
    rewards, advantages = ([float(pair[place]) for pair in pairs] for place in (0, 1))
    assert len(rewards) == 8
    mean, spread = statistics.fmean(rewards), statistics.stdev(rewards)
    assert (mean, spread) == pytest.approx((0.435, 0.221), abs=0.0005)
    assert [(reward - mean) / (spread + 1e-4) for reward in rewards] == pytest.approx(advantages, abs=0.006)


def test_the_odd_one_out_and_groups_that_are_all_wrong() -> None:
    says("grpo", "−1.5 for the one wrong answer, +1.5 for the one right answer", "0.99⁸ = 0.92")
    for rewards, odd in (((1, 1, 1, 0), -1.5), ((1, 0, 0, 0), 1.5)):
        strongest = max(
            ((reward - statistics.fmean(rewards)) / statistics.stdev(rewards) for reward in rewards), key=abs
        )
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

    rows = list(made_jottings())
    assert left([row for row in rows if not row["id"].startswith("more-")]) == (191, 585)
    assert left(rows) == (426, 820)


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
    runs = {run: {result["name"]: result["value"] for result in record["results"]} for run, record in study.items()}
    arms = [f"after_{arm}_event_accuracy" for arm in ("seeds", "unfiltered", "filtered")]
    other = runs["from_the_organiser"]
    assert other["before_event_accuracy"] > max(runs[f"seed_{seed}"][arm] for seed in range(3) for arm in arms)
    assert other[arms[0]] <= other["before_event_accuracy"] < other[arms[2]]


# --- Verdicts: a lesson says what was measured, and the test fails when the number turns ------------------------


def recorded(topic: str) -> dict[str, dict]:
    """The numbers that the topic's notebook recorded when it was last built, by name."""
    (path,) = ROOT.glob(f"[0-9]*_*/notebooks/{topic}.ipynb")
    results = json.loads(path.read_text(encoding="utf-8"))["metadata"]["smol"]["results"]
    return {result["name"]: result for result in results}


def studied(topic: str, run: str) -> dict[str, dict]:
    """The numbers of one run of the topic's study, by name."""
    (path,) = ROOT.glob(f"[0-9]*_*/studies/{topic}.json")
    results = json.loads(path.read_text(encoding="utf-8"))["runs"][run]["results"]
    return {result["name"]: result for result in results}


def overlap(first: dict, second: dict) -> bool:
    """Whether two 95 % intervals overlap."""
    return first["low"] <= second["high"] and second["low"] <= first["high"]


def test_verdicts_of_dpo() -> None:
    says("dpo", "in two of the three seeds below they rose", "so DPO had nothing to add", "fewer answers were liked")
    seeds = [studied("dpo", f"seed_{seed}") for seed in range(3)]
    assert sum(seed["after_facts_false"]["value"] > seed["before_facts_false"]["value"] for seed in seeds) == 2
    assert recorded("dpo")["start_likelihood_plain_over_false"]["value"] == 1
    alike = studied("dpo", "like_length")["after_liked"]
    same_size = [studied("dpo", run)["after_liked"] for run in ("truth_only", "beta_low", "beta_high")]
    assert all(row["n"] == alike["n"] and row["value"] > alike["value"] for row in same_size)


def test_verdicts_of_orpo() -> None:
    says("orpo", "SFT alone made rambling answers likelier", "After that it is the smaller of the two")
    says("orpo", "Here it did better than ORPO with each of its three seeds", "or less in every row of the table")
    sft, runs = studied("orpo", "sft"), [studied("orpo", f"seed_{seed}") for seed in range(3)]
    for style in ("rambling", "flattering"):
        assert sft[f"after_log_{style}"]["value"] > sft[f"before_log_{style}"]["value"]
    now = recorded("orpo")
    assert now["odds_pull"]["value"] * now["odds_weight"]["value"] < 1
    assert all(sft["after_faultless"]["value"] > run["after_faultless"]["value"] for run in runs)
    assert overlap(sft["after_faultless"], runs[0]["after_faultless"])
    highest = max(run["after_event_accuracy"]["value"] for run in [*runs, sft, studied("orpo", "sft_dpo")])
    assert highest == runs[0]["after_event_accuracy"]["value"] < now["before_event_accuracy"]["low"]


def test_verdicts_of_human_feedback() -> None:
    says("human_feedback", "seed's interval lies above 0", "So does that of the second seed", "below the second row")
    now, other = recorded("human_feedback"), studied("human_feedback", "seed_1")
    assert 0 < now["kto_gain"]["low"] < now["kto_gain"]["value"] < other["kto_gain"]["value"]
    assert other["kto_gain"]["low"] > 0
    # All pairs were right by their own event, so every one that is wrong by another's speaks for the first.
    own, anothers = now["reward_right_facts"], now["reward_right_facts_other_event"]
    wrong = round((1 - anothers["value"]) * anothers["n"])
    says("human_feedback", "exact test, p below 0.05")
    assert own["value"] == 1 and own["n"] == anothers["n"] and 2 * 0.5**wrong < 0.05
    says("human_feedback", "so a small n helped", "the reward model was, the longest was not")
    single = now["best_of_1_shortest"]
    assert now["best_of_2_shortest"]["value"] > single["value"] and not overlap(now["best_of_4_reward_model"], single)
    assert now["best_of_8_longest"]["high"] < single["low"]


def test_verdicts_of_grpo() -> None:
    says("grpo", "the field F1 of greedy answers fell a little with every seed", "undid part of what the start had")
    for run in (recorded("grpo"), studied("grpo", "seed_1"), studied("grpo", "seed_2")):
        assert 0 < run["before_field_f1"]["value"] - run["after_field_f1"]["value"] < 0.1
        assert overlap(run["before_event_accuracy"], run["after_event_accuracy"])
        assert run["after_sampled_reward"]["value"] > run["before_sampled_reward"]["value"]
    dice = studied("grpo", "random_reward")
    assert dice["after_field_f1"]["value"] < dice["before_field_f1"]["value"]
    left_out = [studied("grpo", run)["after_left_out"]["value"] for run in ("longer_bad", "longer")]
    assert left_out[0] > 2 > 0.2 > left_out[1]


def test_verdicts_of_prompt_tuning() -> None:
    says("prompt_tuning", "One virtual token is clearly worse than sixteen", "those intervals overlap")
    starts, sixteen = studied("prompt_tuning", "starts"), studied("prompt_tuning", "methods")["after_facts"]
    assert starts["after_facts"]["high"] < sixteen["low"]
    assert overlap(starts["tokens_64_facts"], sixteen) and overlap(starts["random_facts"], sixteen)
    says("prompt_tuning", "The two last numbers agree, and they must")
    now = recorded("prompt_tuning")
    assert now["same_token"]["value"] == 1 and now["nearest_words_facts"]["value"] == now["untrained_facts"]["value"]


def test_verdicts_of_evaluation() -> None:
    says("automatic_benchmarks", "the sum is wrong about the planes and right about the wood")
    hand = {name: row["value"] for name, row in recorded("automatic_benchmarks").items() if name.startswith("hand")}
    assert hand["hand_airport"] < hand["hand_island"] and hand["hand_saw"] > hand["hand_rope"]
    assert hand["hand_airport_per_character"] > hand["hand_island_per_character"]
    assert hand["hand_saw_per_character"] < hand["hand_rope_per_character"]
    says("custom_evaluation", "do not show which of the two models is better", "So this gap is more than chance")
    now = recorded("custom_evaluation")
    assert now["p"]["value"] > 0.05 and now["slice_gap"]["value"] > now["slice_gap_by_chance"]["value"]
    says("custom_evaluation", "Neither beats counting words")
    judges = studied("custom_evaluation", "judges")
    assert judges["style_length"]["value"] > max(judges[f"style_{judge}"]["value"] for judge in ("similarity", "model"))
    says("performance_analysis", "Here the last three rows differ by far less than that")
    ways = [studied("performance_analysis", run)["event_accuracy"] for run in ("apart", "merged", "bf16")]
    apart = max(way["value"] for way in ways) - min(way["value"] for way in ways)
    assert apart < 0.25 * min(way["high"] - way["low"] for way in ways)


def test_verdicts_of_vision() -> None:
    says("vlm_finetuning", "They did not: without the right picture", "cost most of the other questions")
    for run in (recorded("vlm_finetuning"), studied("vlm_finetuning", "seed_1"), studied("vlm_finetuning", "seed_2")):
        assert max(run["after_blank"]["value"], run["after_shuffled"]["value"]) <= run["most_frequent"]["value"]
    places = {place: studied("vlm_finetuning", f"in_{place}") for place in ("language", "connector", "vision")}
    kept = {place: run["after_other_kinds"]["value"] for place, run in places.items()}
    assert min(kept, key=kept.get) == "vision" and max(kept, key=kept.get) == "connector"
    assert all(overlap(run["after_right"], places["language"]["after_right"]) for run in places.values())
    says("vlm_usage", "Here the second picture cost nothing")
    now = recorded("vlm_usage")
    assert now["two_pictures_right"]["value"] >= now["one_picture_right"]["value"]


def test_verdicts_of_data_and_inference() -> None:
    says("preference_datasets", "Here those faults became fewer in every row")
    for run in ("seed_1", "seed_2", "corruption", "all"):
        numbers = studied("preference_datasets", run)
        assert numbers["after_facts"]["value"] < numbers["before_facts"]["value"]
    says("optimisation", "they lost more than twice as many messages as they won", "here it makes things slower")
    engines = studied("optimisation", "engines")
    for engine in ("llamacpp_Q4_0", "openvino_Q4_0"):
        assert engines[f"{engine}_lost"]["value"] > 2 * engines[f"{engine}_won"]["value"]
    assert studied("optimisation", "early_exit")["guess_times"]["value"] < 1


def test_verdicts_of_agents() -> None:
    says("organiser_agent", "with calls as JSON both aims were missed, and with code both were reached")
    numbers = {kind: studied("code_agents", kind) for kind in ("whole", "single")}
    for kind, aim in (("whole", 0.6), ("single", 0.8)):
        by_json, by_code = numbers[kind]["json_done"], numbers[kind]["code_done"]
        assert by_json["value"] < aim <= by_code["value"]
        assert all(done["low"] <= aim <= done["high"] for done in (by_json, by_code))
    says("custom_functions", "and so no task more was done")
    whole = studied("custom_functions", "whole")
    assert whole["masked_before_done"]["value"] == whole["before_done"]["value"]
    says("retrieval_agents", "and here it does no worse")
    answers = studied("retrieval_agents", "seed_0")
    assert answers["sentence_evidence"]["value"] >= answers["model_evidence"]["value"]


# --- Words: the field's own where a private one stood -----------------------------------------------------------

PRIVATE = {
    r"foret(?:ell|old)\w*": "predict",
    r"chance numbers?": "random numbers",
    r"(?:assigned|chosen|dealt(?: out)?|drawn|labels|picked|ranking|suspected|taken) by chance": "at random",
    r"(?<!what )doubles(?! (?:is|the|their|its|as|with)\b)": "duplicates",
    r"dear(?:er|est)|(?:are|be|how|is|slow,|too|very) dear": "costly",
    r"put(?:s|ting)? (?:\S+ ){0,3}behind": "append",
    r"spoil\w*": "corrupt",
    r"loners?|loneliest": "outliers",
    r"made (?:jottings?|messages?|notes|records?)": "synthetic",
    r"cr(?:y|ies) for nothing": "raise a false alarm",
    r"(?:brackets|intervals?|it|that) (?:(?:does|do|may|well|not) )*holds? (?:zero|0|a|\d+)": "contain",
}
# The exercises' checks are not looked at.
_PAGES = ("*.md", "docs/*.md", "benchmarks/*.md", "[0-9]*_*/*.md", "smol_course/data/*.md")
_CODE = ("smol_course/**/*.py", "recipes/*.py", "benchmarks/*.py", "tests/*.py", "[0-9]*_*/*/*.py")
PAGES = [path for place in _PAGES for path in sorted(ROOT.glob(place))]
CODE = [path for place in _CODE for path in sorted(ROOT.glob(place)) if "exercises" not in path.parts]
CODE.remove(Path(__file__))


def private_words(text: str) -> list[str]:
    """The private words of a text, each with the field's own."""
    text = " ".join(text.split())
    return [
        f"{hit[0]!r}: say {word!r}"
        for pattern, word in PRIVATE.items()
        for hit in re.finditer(rf"\b(?:{pattern})\b", text, re.IGNORECASE)
    ]


def page_prose(text: str) -> str:
    """A page without quoted output."""
    return re.sub(r"^```text.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def code_prose(text: str) -> str:
    """The comments and docstrings of a file; of a notebook's source that includes its Markdown cells."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    prose = [
        token.string.lstrip("#")
        for token in tokens
        if token.type == tokenize.COMMENT or token.type == tokenize.STRING and token.string.startswith('"""')
    ]
    return "\n".join(prose)


@pytest.mark.parametrize("path", [*PAGES, *CODE], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_texts_use_the_words_of_the_field(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert private_words(code_prose(text) if path.suffix == ".py" else page_prose(text)) == []


@pytest.mark.parametrize(
    ("planted", "word"),
    [
        ("The position before a token foretells it.", "predict"),
        ("*A* begins with chance\nnumbers.", "random numbers"),
        ("Two events, drawn by chance.", "at random"),
        ("Exact doubles are found by comparing.", "duplicates"),
        ("Sampling is dear, so use it twice.", "costly"),
        ("The token is put behind the others.", "append"),
        ("A program spoils a good answer.", "corrupt"),
        ("Read the groups and the loners.", "outliers"),
        ("The made messages help.", "synthetic"),
        ("If that interval holds 0, it may be luck.", "contain"),
    ],
)
def test_a_planted_private_word_is_found(planted: str, word: str) -> None:
    (complaint,) = private_words(page_prose(planted))
    assert complaint.endswith(f"say {word!r}")
    assert private_words(code_prose("# " + planted.replace("\n", "\n# ") + "\n"))
    assert private_words("Dear Zain, what doubles is the computing; put it there. By chance alone, 25 %.") == []
