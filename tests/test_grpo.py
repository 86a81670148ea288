"""GRPO by hand: group advantages and the clipped loss of the lesson equal what TRL's GRPOTrainer computes.

On a Llama of one small layer with random weights, made here, so nothing is downloaded. What this does not show: that
training improves anything. The notebook and its study do.
"""

import statistics
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

PROMPTS, GROUP = 3, 4
EPSILON = 0.2
# Float32 sums of some thirty terms; a wrong formula is off by much more.
TOLERANCE = 1e-5


def tokenizer() -> Any:
    """A tokenizer of 24 words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"<end>": 0, "<unknown>": 1} | {f"w{number}": number for number in range(2, 24)}
    plain = Tokenizer(models.WordLevel(words, unk_token="<unknown>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<end>", pad_token="<end>", unk_token="<unknown>")


def llama() -> Any:
    """A Llama of one layer with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=24, eos_token_id=0, pad_token_id=0, bos_token_id=None, **shape))


def low_words(completion_ids: list[list[int]], worth: list[float], **_: Any) -> list[float]:
    """The share of low-numbered words, times what the prompt is worth: 0 gives a group without spread."""
    return [
        value * sum(token < 12 for token in ids) / len(ids) for ids, value in zip(completion_ids, worth, strict=True)
    ]


def advantages_by_hand(rewards: list[float], scale: str) -> list[float]:
    """Reward minus the group's mean, divided by the group's standard deviation (n - 1) unless scale is "none"."""
    mean = statistics.fmean(rewards)
    spread = statistics.stdev(rewards) + 1e-4 if scale == "group" else 1.0
    return [(reward - mean) / spread for reward in rewards]


def loss_by_hand(model: Any, inputs: dict[str, Any], loss_type: str, longest: int) -> tuple[float, int]:
    """The clipped loss in the lesson's terms, and how many tokens the clip stops."""
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
    with torch.no_grad():
        logs = model(input_ids=ids, attention_mask=mask).logits.log_softmax(-1)
    width = inputs["completion_ids"].shape[1]
    logs = logs[:, -width - 1 : -1].gather(-1, inputs["completion_ids"][:, :, None])[:, :, 0]
    by_row, clipped = [], 0
    for row in range(len(logs)):
        terms, advantage = [], inputs["advantages"][row].item()
        for place in range(int(inputs["completion_mask"][row].sum())):
            ratio = torch.exp(logs[row, place] - inputs["old_per_token_logps"][row, place]).item()
            kept = min(max(ratio, 1 - EPSILON), 1 + EPSILON)
            terms.append(-min(ratio * advantage, kept * advantage))
            clipped += kept * advantage < ratio * advantage
        by_row.append(terms)
    tokens = sum(len(terms) for terms in by_row)
    total = sum(sum(terms) for terms in by_row)
    if loss_type == "grpo":  # each completion counts the same
        return statistics.fmean(sum(terms) / max(1, len(terms)) for terms in by_row), clipped
    if loss_type == "dr_grpo":  # a constant length for all
        return total / (len(by_row) * longest), clipped
    return total / max(1, tokens), clipped  # dapo: each token counts the same


def trained(folder: Path, **settings: Any) -> tuple[list[dict[str, Any]], pd.DataFrame, Any]:
    """Train for two generations, each used twice; return the losses both ways, the completions, and the log."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    losses: list[dict[str, Any]] = []

    class Compared(GRPOTrainer):
        def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
            by_hand, clipped = loss_by_hand(model, inputs, self.loss_type, self.max_completion_length)
            loss = super()._compute_loss(model, inputs)
            losses.append({"hand": by_hand, "theirs": loss.item(), "clipped": clipped, "inputs": inputs})
            return loss

    arguments = GRPOConfig(
        output_dir=str(folder), max_steps=4, learning_rate=0.02, per_device_train_batch_size=PROMPTS * GROUP,
        num_generations=GROUP, num_iterations=2, max_completion_length=6, temperature=1.0, beta=0.0, epsilon=EPSILON,
        shuffle_dataset=False, use_cpu=True, bf16=False, activation_checkpointing=False, logging_steps=1,
        save_strategy="no", disable_tqdm=True, log_completions=True, num_completions_to_print=0, seed=1, **settings,
    )  # fmt: skip
    rows = {"prompt": ["w2 w3", "w4 w5 w6", "w7"] * 2, "worth": [1.0, 0.5, 0.0] * 2}
    trainer = Compared(
        model=llama(), reward_funcs=low_words, args=arguments, train_dataset=Dataset.from_dict(rows),
        processing_class=tokenizer(),
    )  # fmt: skip
    trainer.train()
    tables = [pd.read_parquet(file) for file in sorted((folder / "completions").glob("*.parquet"))]
    return losses, pd.concat(tables), trainer


@pytest.mark.parametrize("scale", ["group", "none"])
@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "dr_grpo"])
def test_advantages_and_loss_are_those_of_trl(loss_type: str, scale: str, tmp_path: Path) -> None:
    losses, table, trainer = trained(tmp_path, loss_type=loss_type, scale_rewards=scale)
    assert len(losses) == 4 and list(table.groupby("step").size()) == [PROMPTS * GROUP] * 4
    for _, rows in table.groupby("step"):
        rewards, theirs = list(rows["low_words"]), list(rows["advantage"])
        groups = [rewards[start : start + GROUP] for start in range(0, len(rewards), GROUP)]
        by_hand = [value for group in groups for value in advantages_by_hand(group, scale)]
        assert theirs == pytest.approx(by_hand, abs=TOLERANCE)
        assert theirs[-GROUP:] == [0.0] * GROUP, "the last prompt is worth nothing: its group has no spread"
        assert max(by_hand) > 0.1
    for compared in losses:
        assert compared["theirs"] == pytest.approx(compared["hand"], abs=TOLERANCE)
    # The table shows what the loss was given, in another order.
    first = table[table["step"] == 1]["advantage"]
    assert sorted(losses[0]["inputs"]["advantages"].tolist()) == pytest.approx(sorted(first), abs=TOLERANCE)


def test_the_clip_stops_nothing_before_the_first_update_and_something_after_it(tmp_path: Path) -> None:
    losses, _, trainer = trained(tmp_path, loss_type="dapo")
    assert [compared["clipped"] > 0 for compared in losses] == [False, True, False, True]
    logged = [row["clip_ratio/region_mean"] for row in trainer.state.log_history if "clip_ratio/region_mean" in row]
    for compared, share in zip(losses, logged, strict=True):
        tokens = compared["inputs"]["completion_mask"].sum().item()
        assert share == pytest.approx(compared["clipped"] / tokens, abs=TOLERANCE)


def test_truncated_completions_are_left_out_of_the_loss_but_not_out_of_the_group(tmp_path: Path) -> None:
    losses, table, _ = trained(tmp_path, loss_type="dapo", mask_truncated_completions=True)
    inputs = losses[0]["inputs"]
    left_out = inputs["completion_mask"].sum(1) == 0
    assert left_out.any() and not left_out.all()
    assert (inputs["advantages"][left_out] != 0).any(), "their rewards are still in the group's mean"
    assert losses[0]["theirs"] == pytest.approx(losses[0]["hand"], abs=TOLERANCE)


def test_the_hand_made_advantages_can_differ() -> None:
    rewards = [1.0, 0.0, 0.0, 0.0]
    assert advantages_by_hand(rewards, "group") == pytest.approx([1.5, -0.5, -0.5, -0.5], abs=1e-3)
    assert advantages_by_hand(rewards, "none") == [0.75, -0.25, -0.25, -0.25]
    population = [(reward - 0.25) / (statistics.pstdev(rewards) + 1e-4) for reward in rewards]
    assert abs(population[0] - advantages_by_hand(rewards, "group")[0]) > 1000 * TOLERANCE
