"""Train the course's vision language model: a tower and a connector before SmolLM2-135M, in two stages.

    uv run python -m recipes.vlm                               # two cores; it says how long it still takes
    uv run python -m recipes.vlm --workers 14                  # a GPU, with cores that draw for it: larger batches
    uv run python -m recipes.vlm --steps 1000 300 runs/short   # shorter, in a folder of its own

Stage 1 teaches tower and connector the language model's own words: what comes out for a cell of the picture is scored
against the embeddings of the words that describe the cell. Without it, an answer's loss reaches the tower through
thirty layers that have never seen a picture, and hardly moves it. Stage 2 teaches answering: LoRA on the language
model, tower and connector go on. The loss is on answers only.

The folder is the run. Called again after a kill, it goes on from the last look to the same curve, since a batch is
a function of (seed, stage, step) and nothing else is drawn at random. What it cannot promise: the same curve on
another processor, or with another number of threads, whose sums round differently. The checkpoint comes to
``checkpoint/``, and a copy to the learner's artifacts; `recipes/ship.py` calls this file.

The checkpoint that ships had 2,600 and 600 large batches on a GPU, before patches' places began larger (`assemble`);
its ``provenance.json`` has the curves.
"""

import argparse
import json
import math
import os
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch.utils.data import DataLoader, Dataset

from smol_course.errors import CourseError
from smol_course.files import in_one_step, write_json
from smol_course.hardware import Machine, describe_short, prepare
from smol_course.models import MODEL, find_model, provenance
from smol_course.vision.model import (
    NAME,
    assemble,
    build_processor,
    evaluate,
    image_tokens,
    keep_vlm,
    load_vlm,
    save_vlm,
    turns,
)
from smol_course.vision.pictures import (
    HELD_OUT,
    LEARNT,
    TEST_EACH,
    all_words,
    cell_words,
    example,
    fingerprint,
    test_set,
)

# A GPU step costs its launches, not its arithmetic: there the batches are larger.
BATCH = {"cpu": (64, 32), "cuda": (512, 256)}
STEADY = 0.6  # the part of a stage at full learning rate; then it falls to zero
WARM = 30  # steps of warm-up
DEV = 20 * len(LEARNT)  # examples of the dev split for a look
LINEAR = r".*text_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
# These may differ when a run goes on: they change neither batches nor weights.
FREE = ("every", "workers")


@dataclass
class Settings:
    """What a run is; `main` says what each means."""

    size: int = 80
    patch: int = 8
    shuffle: int = 2
    rank: int = 16
    steps: tuple[int, int] = (1500, 500)
    batch: tuple[int, int] | None = None
    rates: tuple[float, float, float] = (1e-3, 1e-3, 2e-4)  # stage 1; the adapter and the tower in stage 2
    every: int = 50
    workers: int = 1
    seed: int = 0


@dataclass
class Progress:
    """Where a run is, and its curves: (stage, step, value) each."""

    stage: int = 1
    step: int = 0
    bf16: bool = False  # decided when the run begins, so that it does not change on the way
    seconds: float = 0.0  # of training, over all calls
    loss: list[tuple[int, int, float]] = field(default_factory=list)
    dev: list[tuple[int, int, float]] = field(default_factory=list)


# --- Batches -------------------------------------------------------------------------------------------------


class Batches(Dataset):
    """Batch number ``step`` of a stage, drawn when asked for, as numpy arrays (they travel without shared memory).

    ``pixels`` uint8 [batch, 3, size, size]; in stage 1 ``words`` float32 [batch, cells, words]; in stage 2
    ``input_ids``, ``attention_mask`` and ``labels`` int64 [batch, length], padded on the right.
    """

    def __init__(self, processor: Any, stage: int, batch: int, seed: int, split: str = "train") -> None:
        self.processor, self.stage, self.batch, self.seed, self.split = processor, stage, batch, seed, split
        self.size = processor.image_processor.max_image_size["longest_edge"]
        self.words = all_words()

    def __len__(self) -> int:
        return 10**7

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        first = step * self.batch
        drawn = [example(self.split, 10 * self.seed + self.stage, first + row) for row in range(self.batch)]
        pictures = [item.image.resize((self.size, self.size), Image.Resampling.LANCZOS) for item in drawn]
        batch = {"pixels": np.stack([np.asarray(picture).transpose(2, 0, 1) for picture in pictures])}
        if self.stage == 1:
            side = math.isqrt(self.processor.image_seq_len)
            return batch | {"words": np.stack([cell_words(item, side, self.words) for item in drawn])}
        return batch | encode(self.processor, [(item.question, item.answer) for item in drawn])


def encode(processor: Any, pairs: list[tuple[str, str]]) -> dict[str, np.ndarray]:
    """Return questions with their answers as tokens, labelled on the answer and its end only.

    As the processor does, without its pictures: ``input_ids``, ``attention_mask``, ``labels``, int64 [pairs, length].
    """
    picture = processor.replace_image_token({"rows": [[0]], "cols": [[0]]}, 0)
    asked = [processor.apply_chat_template(turns(question), add_generation_prompt=True) for question, _ in pairs]
    prompts = processor.tokenizer([text.replace("<image>", picture) for text in asked])["input_ids"]
    said = processor.tokenizer([f" {answer}<end_of_utterance>" for _, answer in pairs])["input_ids"]
    length = -(-max(len(prompt) + len(other) for prompt, other in zip(prompts, said, strict=True)) // 8) * 8
    encoded = {
        "input_ids": np.full((len(pairs), length), processor.tokenizer.pad_token_id),
        "attention_mask": np.zeros((len(pairs), length), np.int64),
        "labels": np.full((len(pairs), length), -100),
    }
    for row, (prompt, answer) in enumerate(zip(prompts, said, strict=True)):
        start, end = len(prompt), len(prompt) + len(answer)
        encoded["input_ids"][row, :end] = prompt + answer
        encoded["attention_mask"][row, :end] = 1
        encoded["labels"][row, start:end] = answer
    return encoded


def on_device(batch: dict[str, np.ndarray], device: str) -> dict[str, torch.Tensor]:
    """Return a batch as tensors there; pixels become float32 from -1 to 1, as the image processor makes them."""
    tensors = {name: torch.from_numpy(value).to(device) for name, value in batch.items()}
    tensors["pixels"] = (tensors["pixels"].float() / 255 - 0.5) / 0.5
    return tensors


# --- The two losses ------------------------------------------------------------------------------------------


def word_vectors(model: Any, processor: Any) -> torch.Tensor:
    """Return what cells are scored against, float32 [words, width]: centred embeddings, scaled so that a cell that
    equals a word's embedding scores about the root of the width for it, and about 0 for the others."""
    texts = [word if word.isdigit() else f" {word}" for word in all_words()]
    rows = [processor.tokenizer(text)["input_ids"][0] for text in texts]
    table = model.get_input_embeddings().weight.detach().float()
    centred = table[rows] - table[rows].mean(0)
    return centred / (table.var() * math.sqrt(table.shape[1]))


def cell_scores(model: Any, pixels: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Return how well each word fits each cell of pictures [batch, 3, size, size], float32 [batch, cells, words]."""
    cells = model.model.connector(model.model.vision_model(pixel_values=pixels).last_hidden_state)
    return cells.float() @ vectors.T


def cell_loss(model: Any, batch: dict[str, torch.Tensor], vectors: torch.Tensor) -> torch.Tensor:
    """Cross-entropy between a cell's scores and its words."""
    scores = cell_scores(model, batch["pixels"], vectors).float()
    return -(batch["words"] * scores.log_softmax(-1)).sum(-1).mean()


def answer_scores(model: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits [labelled, vocabulary] at the labelled positions, and their labels [labelled]."""
    hidden = model.model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        pixel_values=batch["pixels"][:, None],  # one picture per question
        use_cache=False,
    ).last_hidden_state
    wanted = batch["labels"][:, 1:]
    # The output layer is the widest: prompt and padding do not go through it.
    return model.lm_head(hidden[:, :-1][wanted != -100]), wanted[wanted != -100]


def answer_loss(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Cross-entropy of the answers' tokens."""
    logits, wanted = answer_scores(model, batch)
    return torch.nn.functional.cross_entropy(logits.float(), wanted)


def exact_cells(scores: torch.Tensor, words: torch.Tensor) -> float:
    """Return the share of cells, empty ones left out, whose own words all score above every other word.

    Both are float [batch, cells, words]. Words with less than half of a cell's largest share may stand anywhere.
    """
    own = words >= 0.5 * words.amax(-1, keepdim=True)
    worst = scores.masked_fill(~own, math.inf).amin(-1)
    rival = scores.masked_fill(words > 0, -math.inf).amax(-1)
    return (worst > rival)[words[..., 0] < 0.5].float().mean().item()  # word 0 is "empty"


def right_answers(model: Any, batch: dict[str, torch.Tensor]) -> float:
    """Return the share of answers of which every token is the likeliest."""
    logits, wanted = answer_scores(model, batch)
    wrong = torch.zeros(batch["labels"].shape, dtype=torch.bool, device=wanted.device)
    wrong[:, 1:][batch["labels"][:, 1:] != -100] = logits.argmax(-1) != wanted
    return 1 - wrong.any(1).float().mean().item()


# --- Keeping and resuming a run ------------------------------------------------------------------------------


def save_state(file: Path, model: Any, optimizer: Any, progress: Progress, settings: Settings) -> None:
    """Write what is trained, the optimiser's memory, the progress and the settings, in one file and one step."""
    trained = {name: weight for name, weight in _named(model) if weight.requires_grad}
    tensors = {f"weight/{name}": weight.detach().contiguous() for name, weight in trained.items()}
    for name, weight in trained.items():
        for key, value in optimizer.state[weight].items():
            tensors[f"memory/{key}/{name}"] = value.detach().contiguous()
    told = {"progress": json.dumps(asdict(progress)), "settings": _fixed(settings)}
    with in_one_step(file) as draft:
        save_file(tensors, draft, metadata=told)


def _fixed(settings: Settings) -> str:
    """The settings that must stay the same when a run goes on, as text."""
    return json.dumps({name: value for name, value in asdict(settings).items() if name not in FREE})


def _named(model: Any) -> list[tuple[str, Any]]:
    """The parameters by names that are the same with and without an adapter around the model."""
    return [(name.removeprefix("base_model.model."), weight) for name, weight in model.named_parameters()]


def read_progress(file: Path, settings: Settings) -> Progress | None:
    """Return the progress of a saved run, or None if there is none. Raises CourseError if its settings were others."""
    if not file.is_file():
        return None
    with safe_open(file, "pt") as saved:
        told = saved.metadata()
    if told["settings"] != _fixed(settings):
        raise CourseError(f"The run in {file.parent.name} has other settings: give another folder, or delete this one.")
    progress = Progress(**json.loads(told["progress"]))
    progress.loss, progress.dev = [tuple(row) for row in progress.loss], [tuple(row) for row in progress.dev]
    return progress


def load_state(file: Path, model: Any, optimizer: Any | None) -> None:
    """Read the weights; and the optimiser's memory where one is given."""
    with safe_open(file, "pt") as saved, torch.no_grad():
        names = set(saved.keys())
        for name, weight in _named(model):
            if f"weight/{name}" in names:
                weight.copy_(saved.get_tensor(f"weight/{name}"))
            for key in ("step", "exp_avg", "exp_avg_sq") if optimizer else ():
                if f"memory/{key}/{name}" in names:
                    value = saved.get_tensor(f"memory/{key}/{name}")
                    keep = key == "step" and not optimizer.defaults["fused"]  # a plain AdamW counts on the CPU
                    optimizer.state[weight][key] = value if keep else value.to(weight.device)


# --- Training ------------------------------------------------------------------------------------------------


def prepare_stage(model: Any, stage: int, settings: Settings, device: str) -> tuple[Any, Any]:
    """Return (model, optimizer) of a stage: in the second the language model has its adapter."""
    model.requires_grad_(False)
    if stage == 2:
        torch.manual_seed(settings.seed)  # the adapter's first weights
        lora = LoraConfig(r=settings.rank, lora_alpha=2 * settings.rank, target_modules=LINEAR)
        model = get_peft_model(model, lora)
    plain = model.get_base_model() if stage == 2 else model
    seeing = [*plain.model.vision_model.parameters(), *plain.model.connector.parameters()]
    for weight in seeing:
        weight.requires_grad_(True)
    groups = [{"params": seeing, "lr": settings.rates[0 if stage == 1 else 2]}]
    if stage == 2:
        adapter = [weight for name, weight in model.named_parameters() if "lora_" in name]
        groups.append({"params": adapter, "lr": settings.rates[1]})
    for group in groups:
        group["peak"] = group["lr"]
    return model, torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.01, fused=device == "cuda")


def rate(step: int, total: int) -> float:
    """The part of the full learning rate at a step: warm-up, steady, then a straight line to zero."""
    slow = round(STEADY * total)
    return min(1.0, (step + 1) / WARM, (total - step) / max(1, total - slow))


class Run:
    """One training run in a folder; it begins anew or goes on."""

    def __init__(self, folder: Path, settings: Settings, model: Any, processor: Any, here: Machine) -> None:
        self.folder, self.settings, self.device = folder, settings, here.device
        self.model, self.processor = model, processor
        self.state = folder / "state.safetensors"
        earlier = read_progress(self.state, settings)
        self.resumed = earlier is not None
        self.progress = earlier or Progress(bf16=here.bf16)
        self.vectors = word_vectors(model, processor)
        self.batch = settings.batch or BATCH.get(self.device, BATCH["cpu"])

    def autocast(self) -> AbstractContextManager[Any]:
        """bfloat16 where this run began with it."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.progress.bf16)

    def train(self) -> Any:
        """Run what is left of both stages; return the model with its adapter."""
        for stage in range(self.progress.stage, 3):
            self.model, optimizer = prepare_stage(self.model, stage, self.settings, self.device)
            if self.resumed:
                load_state(self.state, self.model, optimizer if self.progress.step else None)
            self.stage(stage, optimizer)
            if stage == 1:
                self.progress.stage, self.progress.step, self.resumed = 2, 0, False
                save_state(self.state, self.model, optimizer, self.progress, self.settings)
        return self.model

    def stage(self, stage: int, optimizer: Any) -> None:
        """Train one stage from the step it is at to its end."""
        settings, progress, total = self.settings, self.progress, self.settings.steps[stage - 1]
        plain = self.model.get_base_model() if stage == 2 else self.model
        batches = Batches(self.processor, stage, self.batch[stage - 1], settings.seed)
        more = {"prefetch_factor": 4} if settings.workers else {}
        order = range(progress.step, total)
        loader = DataLoader(batches, None, sampler=order, num_workers=settings.workers, collate_fn=_same, **more)
        dev = on_device(Batches(self.processor, stage, DEV, settings.seed, "dev")[0], self.device)
        trained = [weight for group in optimizer.param_groups for weight in group["params"]]
        began, before, first = time.monotonic(), progress.seconds, progress.step
        for drawn in loader:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * rate(progress.step, total)
            batch = on_device(drawn, self.device)
            with self.autocast():
                loss = cell_loss(plain, batch, self.vectors) if stage == 1 else answer_loss(plain, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            progress.step += 1
            if progress.step % 10 == 0 or progress.step <= 2:
                progress.loss.append((stage, progress.step, round(loss.item(), 5)))
            progress.seconds = before + time.monotonic() - began
            if progress.step % settings.every == 0 or progress.step == total:
                each = (progress.seconds - before) / (progress.step - first)
                self.look(stage, plain, dev, each * (total - progress.step))
                save_state(self.state, self.model, optimizer, progress, settings)

    def look(self, stage: int, plain: Any, dev: dict[str, torch.Tensor], left: float) -> None:
        """Measure on the dev split, keep it and print a line; ``left`` are the seconds that the stage still takes."""
        plain.eval()
        with torch.no_grad(), self.autocast():
            if stage == 1:
                share = exact_cells(cell_scores(plain, dev["pixels"], self.vectors), dev["words"])
            else:
                share = right_answers(plain, dev)
        plain.train()
        progress, total = self.progress, self.settings.steps[stage - 1]
        progress.dev.append((stage, progress.step, round(share, 4)))
        loss = progress.loss[-1][2] if progress.loss else float("nan")
        what = "exact cells" if stage == 1 else "right answers"
        print(
            f"stage {stage} of 2, step {progress.step} of {total}: loss {loss:.3f}, {what} on dev {share:.0%}, "
            f"{progress.seconds / 60:.1f} min gone, {left / 60:.1f} min left in this stage",
            flush=True,
        )


def _same(batch: Any) -> Any:
    return batch


def train(folder: Path, settings: Settings, base: str, test_each: int) -> dict[str, Any]:
    """Train in a folder, or go on there; write ``checkpoint/``, measure what was written, return its provenance.

    ``test_each`` questions of each kind are asked. Raises CourseError if the folder has a run with other settings.
    """
    told = folder / "checkpoint" / "provenance.json"
    if told.is_file() and read_progress(folder / "state.safetensors", settings):
        provenance = json.loads(told.read_text(encoding="utf-8"))
        if provenance["test_each"] == test_each:
            print(f"The run in {folder.name} was finished before.")
            return provenance
    here = prepare()
    torch.manual_seed(settings.seed)
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {name: getattr(settings, name) for name in ("size", "patch", "shuffle")}
    model = assemble(base, **sizes).to(here.device)
    model.set_attn_implementation(here.attention)
    processor = build_processor(base, settings.size, image_tokens(model.config))
    if here.device == "cuda":  # what is not trained needs no float32
        for weight in [*model.model.text_model.parameters(), *model.lm_head.parameters()]:
            weight.data = weight.data.to(torch.bfloat16)
    run = Run(folder, settings, model.train(), processor, here)
    save_vlm(run.train(), folder / "checkpoint")
    provenance = told_about(run, base, test_each)
    write_json(told, provenance, indent=1)
    return json.loads(json.dumps(provenance))


def told_about(run: Run, base: str, test_each: int) -> dict[str, Any]:
    """Measure the checkpoint as it was written, read back in float32 with the adapter merged; return its provenance."""
    began = time.monotonic()
    print(f"Testing: {test_each} questions of each kind, three times (picture, blank, another's picture).", flush=True)
    model, processor = load_vlm(str(run.folder / "checkpoint"), base)
    tested = test_set(test_each)
    # A GPU is quick enough in float32, which is what `load_vlm` gives.
    accuracy = evaluate(model.to(run.device), processor, tested, bf16=run.progress.bf16 and run.device == "cpu")
    return provenance(NAME, base) | {
        "settings": asdict(run.settings) | {"batch": run.batch, "bf16": run.progress.bf16},
        "test_sha256": fingerprint(tested),
        "test_each": test_each,
        "held_out": HELD_OUT,
        "accuracy": accuracy,
        "loss": run.progress.loss,
        "dev": run.progress.dev,
        "training_seconds": round(run.progress.seconds),
        "testing_seconds": round(time.monotonic() - began),
        "trained_on": torch.cuda.get_device_name(0) if run.device == "cuda" else describe_short(),
        "bytes": sum(path.stat().st_size for path in (run.folder / "checkpoint").iterdir()),
    }


def table(provenance: dict[str, Any]) -> str:
    """Return the accuracies as lines of text."""
    rows = [f"{'kind':20} right  blank  other  most frequent"]
    for kind, measured in provenance["accuracy"].items():
        shares = (measured["right"], measured["blank"], measured["shuffled"], measured["most_frequent"])
        rows.append(f"{kind:20} " + "  ".join(f"{share:5.3f}" for share in shares))
    return "\n".join(rows)


def results(provenance: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the accuracies as `record` names them: ``after_KIND`` with its interval."""
    return [
        {"name": f"after_{kind}", "value": measured["right"], **{key: measured[key] for key in ("low", "high", "n")}}
        for kind, measured in provenance["accuracy"].items()
    ]


def main() -> None:
    """Train, test, keep the checkpoint, and write the results to a file if one is named."""
    usual = Settings()
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs") / NAME, help="where the run is kept")
    parser.add_argument("--steps", type=int, nargs=2, default=usual.steps, help="of the two stages")
    parser.add_argument("--size", type=int, default=usual.size, help="pixels of a picture's side")
    parser.add_argument("--patch", type=int, default=usual.patch, help="pixels of a patch's side")
    parser.add_argument("--shuffle", type=int, default=usual.shuffle, help="patches of a token's side")
    parser.add_argument("--rank", type=int, default=usual.rank, help="of the adapter")
    parser.add_argument("--rates", type=float, nargs=3, default=usual.rates, help="stage 1, adapter, tower")
    parser.add_argument(
        "--batch", type=int, nargs=2, help="examples a step, of the two stages; else what suits the device"
    )
    parser.add_argument("--every", type=int, default=usual.every, help="steps between two looks, each of which is kept")
    parser.add_argument("--workers", type=int, default=usual.workers, help="processes that draw")
    parser.add_argument("--seed", type=int, default=usual.seed, help="of batches and first weights")
    parser.add_argument("--test-each", type=int, default=TEST_EACH, help="test questions of each kind")
    parser.add_argument("--results", type=Path, help="a JSON file to write the results to")
    given = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the drawing processes are forked
    values = {name: getattr(given, name) for name in Settings.__dataclass_fields__}
    settings = Settings(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})
    try:
        provenance = train(given.folder, settings, find_model(MODEL), given.test_each)
    except CourseError as error:
        sys.exit(str(error))
    print(f"{table(provenance)}\nKept: {keep_vlm(given.folder / 'checkpoint').name}", flush=True)
    if given.results:
        given.results.write_text(json.dumps(results(provenance), indent=2) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
