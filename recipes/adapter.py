"""What the recipes of the shipped adapters share: the trainer's settings, and a command line that writes results."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trl import SFTConfig

from smol_course.hardware import Machine


def settings(here: Machine, steps: int, batch: int, learning_rate: float, seed: int, **more: Any) -> SFTConfig:
    """Return the trainer's settings: rows in the order in which they come, a falling learning rate, nothing saved.

    ``here`` is what `prepare` found; ``more`` are further settings of TRL.
    """
    return SFTConfig(
        output_dir="trainer",
        max_steps=steps,
        learning_rate=learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=0.1,
        per_device_train_batch_size=batch,
        train_sampling_strategy="sequential",
        bf16=here.bf16,
        use_cpu=here.device == "cpu",
        optim=here.optimizer,
        activation_checkpointing=False,
        logging_steps=20,
        save_strategy="no",
        disable_tqdm=True,
        seed=seed,
        **more,
    )


def command_line(about: str, run: Callable[..., list[dict[str, Any]]], **options: int) -> None:
    """Run a recipe, print its results, and write them to a file if one is named.

    ``about`` is the recipe's docstring. Each of ``options`` is a whole number that the command line may set and that
    ``run`` takes, with its usual value.
    """
    parser = argparse.ArgumentParser(
        description=about.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--results", type=Path, help="a JSON file to write the results to")
    for name, usual in options.items():
        parser.add_argument(f"--{name}", type=int, default=usual, help=f"{name} of training")
    given = vars(parser.parse_args())
    results = given.pop("results")
    text = json.dumps(run(**given), indent=2)
    print(text)
    if results:
        results.write_text(text + "\n", encoding="utf-8", newline="\n")
