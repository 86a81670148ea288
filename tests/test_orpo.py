"""ORPO's terms computed by hand are TRL's, on a tiny random Llama made here: nothing is downloaded, seconds."""

import math
from pathlib import Path
from typing import Any

import pytest

# Two float32 programs that add the same numbers in another order; TRL's terms are of the order of 1 to 10.
TOLERANCE = 1e-5
WORDS = "confirm dinner ana luna friday is on at in with you have noted well so now the a one which".split()
PAIRS = [
    ("confirm dinner ana friday", "you have dinner with ana on friday", "well so now dinner with ana is on friday"),
    ("confirm luna", "dinner at luna is noted", "so"),
    ("confirm dinner luna friday at one", "noted", "well now dinner which is at luna is on friday so you have one"),
]


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An ORPOTrainer over three pairs of unequal lengths."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
        from trl.experimental.orpo import ORPOConfig, ORPOTrainer
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

    set_seed(0)
    vocabulary = {word: number for number, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocabulary), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64, pad_token_id=0, bos_token_id=1,
            eos_token_id=2, initializer_range=0.5,
        )
    )  # fmt: skip
    config = ORPOConfig(
        output_dir=str(tmp_path_factory.mktemp("trainer")), beta=0.3, max_length=64, max_steps=1, logging_steps=1,
        per_device_train_batch_size=len(PAIRS), train_sampling_strategy="sequential", learning_rate=1e-3,
        remove_unused_columns=False, activation_checkpointing=False, bf16=False, use_cpu=True, report_to="none",
        save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    rows = [
        {"prompt": prompt, "chosen": f" {chosen}", "rejected": f" {rejected}"} for prompt, chosen, rejected in PAIRS
    ]
    return ORPOTrainer(model=model, args=config, processing_class=tokenizer, train_dataset=Dataset.from_list(rows))


def by_hand(trainer: Any) -> dict[str, float]:
    """The terms from the logits of one row at a time, in float64, without padding."""
    import torch

    tokens, means = [], {"chosen": [], "rejected": []}
    for row in trainer.train_dataset:
        for side, averages in means.items():
            ids, labels = torch.tensor(row[f"{side}_input_ids"]), torch.tensor(row[f"{side}_labels"])
            with torch.no_grad():
                logits = trainer.model(input_ids=ids[None]).logits[0, :-1].double()  # (tokens - 1, vocabulary)
            logs = logits.log_softmax(-1)[torch.arange(len(ids) - 1), ids[1:]]  # (tokens - 1,)
            averages.append(logs[labels[1:] != -100].mean())
            tokens += logs.tolist() if side == "chosen" else []
    chosen, rejected = torch.stack(means["chosen"]), torch.stack(means["rejected"])  # (pairs,)
    log_ratio = chosen - (1 - chosen.exp()).log() - rejected + (1 - rejected.exp()).log()
    term = -(1 / (1 + (-log_ratio).exp())).log()
    nll = -sum(tokens) / len(tokens)  # over all tokens of the batch, the prompts' included
    return {
        "loss": nll + 0.3 * term.mean().item(),
        "nll_loss": nll,
        "log_odds_chosen": log_ratio.mean().item(),
        "log_odds_ratio": -term.mean().item(),
        "logps/chosen": chosen.mean().item(),
        "logps/rejected": rejected.mean().item(),
        "rewards/margins": 0.3 * (chosen - rejected).mean().item(),
        "rewards/accuracies": (chosen > rejected).double().mean().item(),
    }


def test_the_terms_are_those_of_trl(trainer: Any) -> None:
    trainer.model.eval()
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(PAIRS))])
    loss, metrics = trainer.get_batch_loss_metrics(trainer.model, batch)
    hand = by_hand(trainer)
    theirs = metrics | {"loss": loss.item()}
    assert {name: theirs[name] for name in hand} == pytest.approx(hand, abs=TOLERANCE)
    # The pairs must be able to show a difference: ratios of both signs, no term near its end.
    assert 0 < hand["rewards/accuracies"] < 1 and abs(hand["log_odds_chosen"]) > 1e-3


def test_the_prompt_is_in_the_likelihood_but_not_in_the_odds(trainer: Any) -> None:
    """What the lesson says of TRL's ORPO, and what would need another sentence there if it changed."""
    row = trainer.train_dataset[0]
    prompt = row["prompt_input_ids"]
    assert row["chosen_input_ids"][: len(prompt)] == prompt
    assert row["chosen_labels"][: len(prompt)] == [-100] * len(prompt)
    assert row["chosen_input_ids"][-1] == trainer.processing_class.eos_token_id == row["chosen_labels"][-1]


def test_log1mexp_holds_at_the_extremes() -> None:
    import torch
    from trl.experimental.orpo.orpo_trainer import log1mexp

    for x in (-1e-6, -0.1, -0.6931, -0.6932, -5.0, -80.0):
        right = math.log(-math.expm1(x)) if x > -0.6 else math.log1p(-math.exp(x))
        assert log1mexp(torch.tensor(x)).item() == pytest.approx(right, rel=1e-5, abs=1e-12)


def test_one_step_logs_the_loss_computed_by_hand(trainer: Any, tmp_path: Path) -> None:
    hand = by_hand(trainer)
    trainer.train()
    logged = next(entry for entry in trainer.state.log_history if "nll_loss" in entry)
    for name in ("loss", "nll_loss", "log_odds_ratio"):
        assert float(logged[name]) == pytest.approx(hand[name], abs=1e-3)  # the log rounds
    assert abs(by_hand(trainer)["loss"] - hand["loss"]) > 1e-3, "the step changed nothing"
