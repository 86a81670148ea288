"""The course's training step against TRL's own defaults: same model, messages, batch size, seed and machine.

    uv run python -m benchmarks.sft_step

Each measurement is a process of its own, since allocator settings and patches last as long as a process; the
sides alternate (default, ours, same batches, default, ...). What each side is, and what the figures mean, is
in README.md beside this file. Writes sft_step.json there.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterable
from typing import Any

from benchmarks import pairs
from smol_course import data, hardware
from smol_course.models import MODEL, find_model

NAME, TITLE = "sft_step", "A training step: real tokens per second"
BATCH, LEARNING_RATE, SEED = 16, 2e-4, 0
SIDES = ("default", "ours", "same_batches")
# Self time of torch's CPU operations, sorted into what a reader would call them.
KINDS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::addmm_", "aten::linear", "aten::mkldnn"),
    "attention": ("aten::bmm", "aten::baddbmm", "aten::_softmax", "flash_attention"),
    "normalisation": ("aten::_fused_rms_norm", "aten::rms_norm"),
    "loss": ("aten::_log_softmax", "aten::argmax", "aten::gather", "aten::scatter"),
    "dtype casts and copies": (
        "aten::copy_",
        "aten::_to_copy",
        "aten::to",
        "aten::clone",
        "aten::contiguous",
    ),
    "optimiser and clipping": (
        "aten::_fused_adamw_",
        "aten::_foreach",
        "Optimizer",
        "aten::linalg_vector_norm",
    ),
}


def main() -> None:
    """Measure all sides in turn, print the comparison, and write it."""
    parser = pairs.options(__doc__)
    parser.add_argument("--steps", type=int, default=8, help="training steps in each measurement")
    parser.add_argument("--side", choices=(*SIDES, "profile"), help=argparse.SUPPRESS)
    wish = parser.parse_args()
    if wish.side:
        print(json.dumps(profile(wish.steps) if wish.side == "profile" else measure(wish.side, wish.steps)))
        return

    def of(side: str, steps: int = wish.steps) -> dict[str, Any]:
        return pairs.in_new_process("-m", "benchmarks.sft_step", "--side", side, "--steps", str(steps))

    runs = pairs.take_turns(SIDES, wish.pairs, of, one_line)
    numbers, profiled = summary(runs), of("profile", 3)
    result = {"machine": pairs.machine(), "title": TITLE} | for_the_figure(numbers)
    result |= {"batch": BATCH, "steps": wish.steps, "seed": SEED, "learning_rate": LEARNING_RATE}
    result |= {"summary": numbers, "profile": profiled, "runs": runs}
    print(json.dumps({"summary": numbers, "profile": profiled["shares"]}, indent=2))
    print(f"Written: {pairs.write(NAME, result).name}")


def messages(steps: int) -> Any:
    """The first ``steps`` batches of the shuffled training messages, as prompt and completion."""

    def conversation(row: dict[str, str]) -> dict[str, list[dict[str, str]]]:
        return data.conversation(data.SYSTEM_PROMPT, row["message"], row["event"])

    rows = data.events("train").shuffle(seed=SEED).select(range(BATCH * steps))
    return rows.map(conversation, remove_columns=rows.column_names)


def build(side: str, steps: int, folder: str) -> Any:
    """The trainer of one side: TRL's own defaults, or the course's settings (see README.md)."""
    import torch
    from trl import SFTConfig, SFTTrainer

    # The same on both sides: what is trained, and that nothing else happens meanwhile.
    same = {
        "per_device_train_batch_size": BATCH,
        "learning_rate": LEARNING_RATE,
        "seed": SEED,
        "num_train_epochs": 1,
        "output_dir": folder,
    }
    same |= {"logging_steps": 1, "save_strategy": "no", "disable_tqdm": True}
    same |= {"use_cpu": not (torch.cuda.is_available() or torch.backends.mps.is_available())}
    if side == "default":
        return SFTTrainer(model=find_model(MODEL), args=SFTConfig(**same), train_dataset=messages(steps))
    from transformers import AutoModelForCausalLM

    here = hardware.prepare()
    model = AutoModelForCausalLM.from_pretrained(find_model(MODEL), dtype="float32", attn_implementation=here.attention)
    ours = {"bf16": here.bf16, "optim": here.optimizer, "activation_checkpointing": False}
    if side != "same_batches":
        ours["train_sampling_strategy"] = "group_by_length"
    return SFTTrainer(
        model=model,
        args=SFTConfig(**same, **ours),
        train_dataset=messages(steps),
        processing_class=tokenizer(),
    )


def tokenizer() -> Any:
    """The model's tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(find_model(MODEL))


def measure(side: str, steps: int) -> dict[str, Any]:
    """Train one epoch of ``steps`` batches, and return speed, page faults, losses and matmul rates."""
    from transformers import TrainerCallback

    meter = pairs.Meter()

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            meter.start()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            meter.stop()

    with tempfile.TemporaryDirectory() as folder:
        trainer = build(side, steps, folder)
        sizes = count_positions(trainer)
        parameters = sum(weight.numel() for weight in trainer.model.parameters())  # tied weights count once
        trainer.add_callback(Clock())
        device = hardware.prepare().device if side != "default" else trainer.args.device.type
        before = pairs.rates(device)
        trainer.train()
        after = pairs.rates(device)
    tokens = int(max(float(entry.get("num_tokens", 0)) for entry in trainer.state.log_history))
    speed = tokens / sum(meter.seconds)
    bf16, float32 = (statistics.mean(pair) for pair in zip(before, after, strict=True))
    needed = 6 * parameters * speed / 1e9  # GFLOP/s
    return {
        "tokens_per_second": round(speed, 1),
        "tokens": tokens,
        "positions": sum(sizes),
        "seconds": [round(second, 3) for second in meter.seconds],
        "page_faults_per_step": round(statistics.mean(meter.faults[1:])),
        "cores_taken_by_others": round(meter.cores_taken_by_others, 2),
        "losses": [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry],
        "bf16_rate": round(bf16, 1),
        "float32_rate": round(float32, 1),
        "share_of_bf16_rate": round(needed / bf16, 3),
        "share_of_best_rate": round(needed / max(bf16, float32), 3),
        "parameters": parameters,
        "peak_mb": pairs.peak_mb(),
    }


def count_positions(trainer: Any) -> list[int]:
    """A list that grows by each batch's positions, padding included."""
    collate, sizes = trainer.data_collator, []

    def counting(examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = collate(examples)
        sizes.append(batch["input_ids"].numel())
        return batch

    trainer.data_collator = counting
    return sizes


def profile(steps: int) -> dict[str, Any]:
    """Profile the last of ``steps`` steps of ours: the share of each kind of work, and the largest."""
    import torch
    from transformers import TrainerCallback

    profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])

    class LastStep(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == steps - 1:
                profiler.start()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == steps:
                profiler.stop()

    with tempfile.TemporaryDirectory() as folder:
        trainer = build("ours", steps, folder)
        trainer.add_callback(LastStep())
        trainer.train()
    times = {event.key: event.self_cpu_time_total for event in profiler.key_averages()}
    total = sum(times.values())
    shares = dict.fromkeys([*KINDS, "other element-wise work"], 0.0)
    for name, micros in times.items():
        kind = next((kind for kind, starts in KINDS.items() if starts_with(name, starts)), "other element-wise work")
        shares[kind] += micros / total
    largest = sorted(times.items(), key=lambda item: -item[1])[:15]
    return {
        "seconds": round(total / 1e6, 2),
        "shares": {kind: round(share, 3) for kind, share in shares.items()},
        "largest": {name: round(micros / total, 3) for name, micros in largest},
    }


def starts_with(name: str, starts: Iterable[str]) -> bool:
    """Whether an operation's name is one of these or begins with one (but for two that must be exact)."""
    return any(name == start or (start not in ("aten::mm", "aten::to") and name.startswith(start)) for start in starts)


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the pairs, with the smallest and largest; losses are compared on the same batches."""
    sides = {side: [run for run in runs if run["side"] == side] for side in SIDES}
    numbers: dict[str, Any] = {}
    for side, mine in sides.items():
        numbers[side] = {
            name: pairs.spread(run[name] for run in mine)
            for name in (
                "tokens_per_second",
                "page_faults_per_step",
                "bf16_rate",
                "float32_rate",
                "share_of_bf16_rate",
                "share_of_best_rate",
                "cores_taken_by_others",
                "peak_mb",
            )
        }
        numbers[side]["real_tokens_of_positions"] = round(mine[0]["tokens"] / mine[0]["positions"], 3)
    for side in SIDES[1:]:
        numbers[side]["times_default"] = pairs.ratio(runs, side, "default", "tokens_per_second")
    first, other = sides["default"][0]["losses"], sides["same_batches"][0]["losses"]
    numbers["losses"] = {side: mine[0]["losses"] for side, mine in sides.items()}
    numbers["largest_loss_difference"] = round(max(abs(a - b) for a, b in zip(first, other, strict=True)), 4)
    return numbers


def for_the_figure(numbers: dict[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """What docs/images/benchmarks.py draws of a summary, by label."""
    return {
        "ratios": {f"{side} ÷ default": numbers[side]["times_default"] for side in SIDES[1:]},
        "shares": {side: numbers[side]["share_of_best_rate"] for side in SIDES},
    }


def one_line(run: dict[str, Any]) -> str:
    """One measurement in one line."""
    return (
        f"{run['tokens_per_second']:.0f} real tokens/s, "
        f"{run['page_faults_per_step']:,} page faults a step, {100 * run['share_of_bf16_rate']:.0f} % of "
        f"the bf16 rate ({run['bf16_rate']:.0f} GFLOP/s; {100 * run['share_of_best_rate']:.0f} % of the best), "
        f"{run['peak_mb']} MB, "
        f"others took {run['cores_taken_by_others']} cores, last loss {run['losses'][-1]:.4f}"
    )


if __name__ == "__main__":
    main()
