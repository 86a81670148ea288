"""DPO's loss computed by hand, from per-token log-probabilities in plain PyTorch, equals TRL's DPOTrainer's.

The model is a tiny random Llama whose configuration stands here, so nothing is downloaded. ORPO and GRPO have tests of
their own (test_orpo.py, test_grpo.py).
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.nn.functional import logsigmoid
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer

# Absolute and relative: both sides compute in float32, in another order of additions.
TOLERANCE = {"abs": 2e-5, "rel": 2e-5}
WORDS = "<pad> <end> you have kart race on saturday at turbo track dear friend of mine wonderful".split()
# TRL joins prompt and answer as texts, so the space between them stands here.
PAIRS = [
    {"prompt": "kart race saturday ", "chosen": "race on saturday", "rejected": "dear friend of mine you have a race"},
    {"prompt": "turbo track ", "chosen": "you have wonderful kart race at turbo track", "rejected": "turbo"},
    {"prompt": "dear ", "chosen": "friend of mine", "rejected": "mine of friend"},
]
BETA = 0.3
SIDES = ("chosen", "rejected")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of a few whole words."""
    words = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="mine"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", pad_token="<pad>", unk_token="mine")


def tiny(seed: int) -> LlamaForCausalLM:
    """A random Llama of two layers, its weights larger than usual so that answers differ in likelihood."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.5,
        attn_implementation="eager",
    )
    return LlamaForCausalLM(config)


def trainer(model: Any, tokenizer: Any, folder: Path, reference: Any = None, **settings: Any) -> DPOTrainer:
    """TRL's trainer over the pairs, all in one batch."""
    config = DPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=len(PAIRS),
        per_device_eval_batch_size=len(PAIRS),
        beta=BETA,
        bf16=False,
        use_cpu=True,
        activation_checkpointing=False,
        disable_tqdm=True,
        save_strategy="no",
        **settings,
    )
    rows = Dataset.from_list(PAIRS)
    return DPOTrainer(
        model=model,
        ref_model=reference,
        args=config,
        processing_class=tokenizer,
        train_dataset=rows,
        eval_dataset=rows,
    )


def token_logs(model: Any, tokenizer: Any, prompt: str, answer: str) -> torch.Tensor:
    """The log-probability of each token of the answer, its end token included: (tokens,)."""
    asked = tokenizer(prompt)["input_ids"]
    ids = torch.tensor([asked + tokenizer(answer)["input_ids"] + [tokenizer.eos_token_id]])
    with torch.no_grad():
        logs = model.eval()(input_ids=ids).logits[0].log_softmax(-1)  # (tokens, words)
    # The logits at a position speak about the next token.
    return logs[torch.arange(ids.shape[1] - 1), ids[0, 1:]][len(asked) - 1 :]


def columns(policy: Any, reference: Any, tokenizer: Any) -> list[list[torch.Tensor]]:
    """For each pair the log-probabilities of chosen and rejected, under the policy, then under the reference."""
    return [
        [token_logs(model, tokenizer, pair["prompt"], pair[side]) for model in (policy, reference) for side in SIDES]
        for pair in PAIRS
    ]


def by_hand(pair: list[torch.Tensor], kind: str, ld_alpha: float = 1.0) -> tuple[torch.Tensor, ...]:
    """The loss of one pair, and both implicit rewards."""
    shared = min(len(pair[0]), len(pair[1]))
    sums = [tokens[:shared].sum() + ld_alpha * tokens[shared:].sum() for tokens in pair]
    won, lost = sums[0] - sums[2], sums[1] - sums[3]
    each = won / len(pair[0]) - lost / len(pair[1])
    loss = {
        "sigmoid": -logsigmoid(BETA * (won - lost)),
        "hinge": torch.relu(1 - BETA * (won - lost)),
        "ipo": (each - 1 / (2 * BETA)) ** 2,
        "sigmoid_norm": -logsigmoid(BETA * each),
    }[kind]
    return loss, BETA * won, BETA * lost


def assert_same(found: dict[str, float], pairs: list[list[torch.Tensor]], kind: str, ld_alpha: float = 1.0) -> None:
    """TRL's evaluation says what the pairs give by hand."""
    losses, won, lost = (
        torch.stack(part) for part in zip(*(by_hand(pair, kind, ld_alpha) for pair in pairs), strict=True)
    )
    wanted = {
        "loss": losses.mean(),
        "rewards/chosen": won.mean(),
        "rewards/rejected": lost.mean(),
        "rewards/margins": (won - lost).mean(),
        "rewards/accuracies": (won > lost).float().mean(),
    }
    for name, value in wanted.items():
        assert found[f"eval_{name}"] == pytest.approx(value.item(), **TOLERANCE), name


@pytest.mark.parametrize("kind", ["sigmoid", "hinge", "ipo", "sigmoid_norm"])
def test_loss_by_hand_is_trls(kind: str, tokenizer: Any, tmp_path: Path) -> None:
    policy, reference = tiny(0), tiny(1)
    pairs = columns(policy, reference, tokenizer)
    assert len({len(tokens) for pair in pairs for tokens in pair}) == 3, "lengths should differ"
    metrics = trainer(policy, tokenizer, tmp_path, reference, loss_type=[kind]).evaluate()
    assert_same(metrics, pairs, kind)


@pytest.mark.parametrize("ld_alpha", [0.0, 0.5])
def test_length_desensitised_loss_by_hand_is_trls(ld_alpha: float, tokenizer: Any, tmp_path: Path) -> None:
    policy, reference = tiny(0), tiny(1)
    pairs = columns(policy, reference, tokenizer)
    metrics = trainer(policy, tokenizer, tmp_path, reference, ld_alpha=ld_alpha).evaluate()
    assert_same(metrics, pairs, "sigmoid", ld_alpha)


def test_the_reference_of_an_adapter_is_its_copy_from_the_start(tokenizer: Any, tmp_path: Path) -> None:
    lora = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    policy = get_peft_model(tiny(0), lora)
    started = [[token_logs(policy, tokenizer, pair["prompt"], pair[side]) for side in SIDES] for pair in PAIRS]
    made = trainer(policy, tokenizer, tmp_path)
    assert made.evaluate()["eval_loss"] == pytest.approx(torch.tensor(2.0).log().item(), **TOLERANCE)
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if ".default." in name:
                weight += 0.2 * torch.randn_like(weight)
    moved = [[token_logs(policy, tokenizer, pair["prompt"], pair[side]) for side in SIDES] for pair in PAIRS]
    assert_same(made.evaluate(), [now + then for now, then in zip(moved, started, strict=True)], "sigmoid")


def test_only_the_policy_is_saved(tokenizer: Any, tmp_path: Path) -> None:
    lora = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    policy = get_peft_model(tiny(0), lora)
    trainer(policy, tokenizer, tmp_path)
    assert set(policy.peft_config) == {"default", "ref"}
    policy.save_pretrained(tmp_path / "both")
    assert (tmp_path / "both" / "ref").is_dir(), "nothing would have to be deleted"
    policy.delete_adapter("ref")
    policy.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved" / "ref").exists() and (tmp_path / "saved" / "adapter_model.safetensors").is_file()
