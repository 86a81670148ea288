"""What the patches promise: the same loss and gradients, a fallback that says so, and no surprises."""

import importlib
import importlib.util
import sys
import types
import warnings

import pytest
import torch

from smol_course import patches

# float32 differs only by the order of the sums; bfloat16 has 8 bits of mantissa.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


@pytest.fixture
def llama():
    """The module of Llama without any patch; afterwards as it was."""
    source = importlib.util.find_spec("transformers.models.llama.modeling_llama")
    module = importlib.util.module_from_spec(source)
    source.loader.exec_module(module)
    return module


@pytest.fixture
def no_waiting_hook():
    """Take away import hooks that a test leaves behind."""
    before = list(sys.meta_path)
    yield
    sys.meta_path[:] = before


def tiny_model():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        attn_implementation="eager",
    )
    return LlamaForCausalLM(config)


def batch():
    """Three prompts with completions, through TRL's own collator: 9 of 24 positions count."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    draw = torch.Generator().manual_seed(1)
    examples = []
    for prompt, completion in ((5, 3), (2, 4), (3, 2)):
        ids = torch.randint(1, 300, (prompt + completion,), generator=draw).tolist()
        examples.append({"input_ids": ids, "labels": [-100] * prompt + ids[prompt:]})
    return DataCollatorForLanguageModeling(pad_token_id=0)(examples)


def loss_and_gradients(trl_utils, monkeypatch, dtype):
    """The loss, all gradients by name, and how many positions went through the output layer."""
    scored = []
    apply = trl_utils._ChunkedLogProbFunction.apply
    counting = types.SimpleNamespace(apply=lambda hidden, *rest: scored.append(len(hidden)) or apply(hidden, *rest))
    model = tiny_model()
    trl_utils.add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1"))
    with monkeypatch.context() as patch:
        patch.setattr(trl_utils, "_ChunkedLogProbFunction", counting)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
            output = model(**batch(), fused_lm_head=True)
    output.loss.backward()
    return output, {name: weight.grad for name, weight in model.named_parameters()}, scored[0]


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_scoring_labelled_positions_only_keeps_loss_and_gradients(trl_utils, monkeypatch, dtype):
    slow, slow_gradients, slow_scored = loss_and_gradients(trl_utils, monkeypatch, dtype)
    assert patches._score_labelled_only(trl_utils)
    fast, fast_gradients, fast_scored = loss_and_gradients(trl_utils, monkeypatch, dtype)
    assert (slow_scored, fast_scored) == (3 * 7, 3 + 4 + 2)
    near = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype] / 100}
    torch.testing.assert_close(fast.loss, slow.loss, **near)
    torch.testing.assert_close(fast.log_probs, slow.log_probs, **near)
    torch.testing.assert_close(fast.entropy, slow.entropy, **near)
    assert slow_gradients.keys() == fast_gradients.keys()
    for name, gradient in slow_gradients.items():
        size = gradient.abs().max().item()
        assert size > 0, name
        assert (fast_gradients[name] - gradient).abs().max().item() <= TOLERANCE[dtype] * size, name


@pytest.mark.parametrize(
    "change",
    [{"outputs": ("log_probs", "log_sum_sq_probs")}, {"softcap": 30.0}, {"logits": 10}, {"bias": torch.ones(8)}],
)
def test_what_no_trainer_of_the_course_asks_for_is_left_to_trl(trl_utils, monkeypatch, change):
    asked = []
    theirs = types.SimpleNamespace(apply=lambda *arguments: asked.append(arguments) or "theirs")
    monkeypatch.setattr(patches, "_MOST_LOGITS", change.get("logits", 1 << 27))
    outputs, softcap = change.get("outputs", ("log_probs",)), change.get("softcap")
    tensors = torch.ones(2, 4), torch.ones(8, 4), change.get("bias"), torch.tensor([1, 2])
    assert patches._WholeLogProbs(theirs).apply(*tensors, 1.0, 32, softcap, 1.0, outputs) == "theirs"
    assert len(asked) == 1


def test_a_batch_without_labels_has_a_loss_of_zero(trl_utils):
    assert patches._score_labelled_only(trl_utils)
    model, none = tiny_model(), batch()
    none["labels"][:] = -100
    trl_utils.add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1"))
    loss = model(**none, fused_lm_head=True).loss
    loss.backward()
    assert loss.item() == 0


@pytest.mark.parametrize("temperature", (1.0, 0.7))
@pytest.mark.parametrize("positions", (1, 75))  # 75: two chunks and a part
def test_log_probabilities_are_trl_s_with_their_gradients(trl_utils, positions, temperature):
    theirs = trl_utils._ChunkedLogProbFunction

    def results(function):
        torch.manual_seed(4)
        hidden = torch.randn(positions, 16, requires_grad=True)
        weight = torch.randn(50, 16, requires_grad=True)
        targets, outputs = torch.randint(50, (positions,)), ("log_probs", "entropy", "mean_logits", "is_top1")
        found = function.apply(hidden, weight, None, targets, temperature, 32, None, 1.0, outputs)
        (found[0] * torch.linspace(-1, 1, positions) + found[1] ** 2).sum().backward()
        return [each for each in found if each is not None], [hidden.grad, weight.grad]

    for ours, before in zip(results(patches._WholeLogProbs(None)), results(theirs), strict=True):
        torch.testing.assert_close(ours, before, rtol=1e-4, atol=1e-4)


SMALL = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 1, "vocab_size": 30, "use_cache": False}


def of_llama(llama, dtype, sides="right", embedded=False, frozen=False, rows=3, **more):
    """The states of rows of 9, 5 and 7 tokens, without those of padding, and all gradients."""
    torch.manual_seed(0)
    config = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    config |= {"vocab_size": 300, "num_hidden_layers": 2, "attn_implementation": "eager", "use_cache": False}
    model = llama.LlamaForCausalLM(llama.LlamaConfig(**config, tie_word_embeddings=True)).train()
    if frozen:  # as for an adapter, which is the norms here
        for name, weight in model.named_parameters():
            weight.requires_grad_("norm" in name)
    ids = torch.randint(1, 300, (3, 9))[:rows]
    kept = torch.arange(9)[None] < torch.tensor([9, 5, 7])[:rows, None]
    mask = {"right": kept, "left": kept.flip(1), "none": torch.ones_like(kept)}[sides]
    given = {"inputs_embeds": model.model.embed_tokens(ids)} if embedded else {"input_ids": ids}
    given |= {} if sides == "none" else {"attention_mask": mask.long()}
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
        output = model(**given, **more)
    states = output.logits.float() * mask[..., None]
    (states * torch.randn(states.shape)).sum().backward()
    return states, {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}, output


CASES = [{}, {"sides": "left"}, {"sides": "none"}, {"embedded": True}, {"rows": 1}]
CASES += [
    {"frozen": True},
    {"position_ids": torch.arange(9)[None] + 3},
    {"output_hidden_states": True},
    {"use_cache": True},
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_llama_that_passes_once_keeps_its_states_and_gradients(llama, dtype, case):
    states, gradients, _ = of_llama(llama, dtype, **case)
    theirs = llama.LlamaModel.forward
    assert patches._pass_once(llama)
    ours = llama.LlamaModel.forward
    assert patches._pass_once(llama) and llama.LlamaModel.forward is ours is not theirs
    again, again_gradients, _ = of_llama(llama, dtype, **case)
    assert (again - states).abs().max() <= TOLERANCE[dtype] * states.abs().max()
    assert gradients.keys() == again_gradients.keys()
    for name, gradient in gradients.items():
        size = gradient.abs().max().item()
        assert size > 0, name
        assert (again_gradients[name] - gradient).abs().max().item() <= TOLERANCE[dtype] * size, name


@pytest.mark.parametrize("sides, tokens", (("right", 21), ("left", 21), ("none", 27)))
def test_no_layer_sees_padding(llama, monkeypatch, sides, tokens):
    assert patches._pass_once(llama)
    seen, forward = [], llama.LlamaMLP.forward
    monkeypatch.setattr(llama.LlamaMLP, "forward", lambda self, x: seen.append(x.shape[:2]) or forward(self, x))
    _, _, output = of_llama(llama, torch.float32, sides)
    assert output.logits.shape == (3, 9, 300) and set(seen) == {(1, tokens)}


def test_who_asks_for_rows_gets_them_from_the_library(llama, monkeypatch):
    assert patches._pass_once(llama)
    _, _, output = of_llama(llama, torch.float32, output_hidden_states=True)
    assert {state.shape for state in output.hidden_states} == {(3, 9, 32)}
    _, _, output = of_llama(llama, torch.float32, use_cache=True)
    assert output.past_key_values.get_seq_length() == 9
    # Two sequences packed into one row, as TRL's `padding_free` does: neither sees the other.
    model = llama.LlamaModel(llama.LlamaConfig(**SMALL))
    packed = model(torch.tensor([[5, 6, 7, 8]]), position_ids=torch.tensor([[0, 1, 0, 1]])).last_hidden_state
    alone = model(torch.tensor([[7, 8]])).last_hidden_state
    torch.testing.assert_close(packed[:, 2:], alone)


def test_padding_gets_no_states(llama):
    assert patches._pass_once(llama)
    model = llama.LlamaModel(llama.LlamaConfig(**SMALL))
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    states = model(input_ids=torch.ones(2, 4, dtype=torch.long), attention_mask=mask).last_hidden_state
    assert states[1, 2:].eq(0).all() and states[1, :2].ne(0).all()


def test_mixed_precisions_keep_the_library_s_dtype(llama):
    norm = llama.LlamaRMSNorm(32)
    with torch.no_grad():
        before = norm(torch.ones(1, 32, dtype=torch.bfloat16))
        assert patches._pass_once(llama)
        assert norm(torch.ones(1, 32, dtype=torch.bfloat16)).dtype == before.dtype


@pytest.mark.parametrize("name", patches._LLAMA_PARAMETERS)
def test_a_transformers_with_another_llama_runs_as_it_is(llama, monkeypatch, capsys, name):
    monkeypatch.setattr(getattr(llama, name), "forward", lambda self, of_another_day: None)
    before = {each: getattr(llama, each).forward for each in patches._LLAMA_PARAMETERS}
    assert not patches._pass_once(llama)
    assert "runs as it is" in capsys.readouterr().out
    assert {each: getattr(llama, each).forward for each in patches._LLAMA_PARAMETERS} == before


@pytest.fixture
def linear():
    """The module of torch's linear layers without any patch; afterwards as it was."""
    source = importlib.util.find_spec("torch.nn.modules.linear")
    module = importlib.util.module_from_spec(source)
    source.loader.exec_module(module)
    return module


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_rows_with_gaps_need_no_product_for_each_row(linear, dtype):
    torch.manual_seed(3)
    layer = linear.Linear(32, 64, bias=False).to(dtype).requires_grad_(False)
    last = torch.randn(4, 7, 32, dtype=dtype)[:, -1:]  # [4, 1, 32], with six rows between each two
    results = []
    for patched in (False, True):
        assert not patched or (patches._close_gaps(linear) and patches._close_gaps(linear))
        with torch.inference_mode(), torch.profiler.profile() as profile:
            result = layer(last)
        results.append((result, "aten::bmm" in {event.key for event in profile.key_averages()}))
    (theirs, apart), (ours, still_apart) = results
    assert apart and not still_apart
    torch.testing.assert_close(ours, theirs, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def test_a_torch_with_other_linear_layers_runs_as_it_is(capsys):
    assert not patches._close_gaps(types.ModuleType("torch_of_another_day"))
    assert "run as they are" in capsys.readouterr().out


def test_other_devices_keep_trl_s_own_answer(trl_utils):
    assert patches._score_labelled_only(trl_utils)
    assert trl_utils._use_triton(torch.device("cpu")) is True
    assert not trl_utils._use_triton(torch.device("meta"))


def test_a_trl_without_the_private_name_runs_as_it_is_and_says_so(capsys):
    assert not patches._score_labelled_only(types.ModuleType("trl_of_another_day"))
    assert "runs as it is" in capsys.readouterr().out


def test_a_trl_that_uses_the_name_for_more_runs_as_it_is(tmp_path, monkeypatch, capsys):
    text = "from kernels import _use_triton\na = _use_triton(1)\nb = _use_triton(2)\n"
    (tmp_path / "other_trl.py").write_text(text)
    (tmp_path / "kernels.py").write_text("def _use_triton(device):\n    return False\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("other_trl")
    assert not patches._score_labelled_only(module)
    assert module._use_triton(torch.device("cpu")) is False
    assert "runs as it is" in capsys.readouterr().out


def test_a_module_imported_later_is_patched_then(tmp_path, monkeypatch, no_waiting_hook):
    (tmp_path / "later.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(patches._PATCHES, "later", lambda module: bool(setattr(module, "value", 2)) or True)
    assert patches._patch("later")
    assert patches._patch("later")
    assert sum(isinstance(finder, patches._OnImport) and finder.name == "later" for finder in sys.meta_path) == 1
    assert importlib.import_module("later").value == 2
    assert not any(isinstance(finder, patches._OnImport) and finder.name == "later" for finder in sys.meta_path)


def test_a_library_that_is_not_installed_is_no_error():
    assert not patches._patch("smol_library_that_nobody_has")


def test_only_the_known_warnings_are_silent(recwarn):
    from peft import LoraConfig, get_peft_model

    warnings.simplefilter("always")
    get_peft_model(tiny_model(), LoraConfig(target_modules=["q_proj"]))
    theirs = [str(warning.message) for warning in recwarn]
    assert any("is_gradient_checkpointing" in message for message in theirs), "peft is mended: the filter may go"
    recwarn.clear()
    patches.silence_known_warnings()
    get_peft_model(tiny_model(), LoraConfig(target_modules=["q_proj"]))
    assert [str(warning.message) for warning in recwarn] == []
    warnings.warn("`something_else` is deprecated", FutureWarning, stacklevel=1)
    assert len(recwarn) == 1
