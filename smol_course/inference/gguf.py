"""The same model for other engines: a Llama-shaped model and its tokenizer as one GGUF file.

llama.cpp and OpenVINO both read GGUF. The file is written with the `gguf` package's own writer, names and
quantisers. What this does not know: other shapes of model (SmolLM2 is a Llama), and whether a coarser kind is
still good enough, which the notebook `optimisation` measures.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smol_course.errors import CourseError
from smol_course.files import in_one_step, weight_files, writing
from smol_course.models import merged, weights_sha256
from smol_course.settings import cache_folder

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Each kind: the bits of a weight in the layers' matrices, scales included.
KINDS = {"F32": 32.0, "F16": 16.0, "Q8_0": 8.5, "Q4_1": 5.0, "Q4_0": 4.5}
# Raise it when `write_gguf` writes something else, so that every cached file is made again.
_RECIPE = 1


def gguf_copy(base: str, adapter: str | None = None, kind: str = "Q8_0") -> str:
    """Return the path of a GGUF file of a model, an adapter merged into it if one is given.

    ``base`` is what `find_model` returned: a folder, or a name on the Hub, which is fetched. ``adapter`` is what
    `artifact` returned. ``kind`` is one of `KINDS`. Made on first use (some seconds), then kept in the cache; an
    older one of the same name goes. Raises CourseError for another kind, and when the file cannot be written.
    """
    _known(kind)
    what, base = Path(adapter or base).name, _folder(base)
    file = cache_folder() / "gguf" / f"{what}-{kind}-{_made_from(base, adapter)}.gguf"
    if not file.is_file():
        from filelock import FileLock

        with writing(file.name, "free disk, or set SMOL_CACHE"):
            file.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(file.with_suffix(".lock")):
                if not file.is_file():  # another notebook may have made it while this one waited
                    _make(file, base, adapter, kind)
    return str(file)


def _folder(base: str) -> str:
    """The folder of a model; one that is named as on the Hub is fetched from there."""
    if Path(base).is_dir():
        return base
    from huggingface_hub import snapshot_download

    try:
        return snapshot_download(base, allow_patterns=["*.json", "*.txt", "*.jinja", "*.safetensors"])
    except Exception as error:  # many kinds, from no network to no such model
        raise CourseError(
            f"{base} cannot be fetched from the Hugging Face Hub ({type(error).__name__}): see that its name is "
            "right and the network is there."
        ) from error


def _known(kind: str) -> None:
    if kind not in KINDS:
        raise CourseError(f"There is no GGUF kind {kind!r} here: take one of {', '.join(KINDS)}.")


def _made_from(base: str, adapter: str | None) -> str:
    """A short hash of the weights that go in; it changes with them."""
    folders = [base, *([adapter] if adapter else [])]
    for folder in folders:
        if not weight_files(folder):
            raise CourseError(f"{Path(folder).name} has no safetensors file, so it cannot be written as GGUF.")
    return f"{_RECIPE}{weights_sha256(*folders)}"[:12]


def _make(file: Path, base: str, adapter: str | None, kind: str) -> None:
    """Write the file in one step as others see it. Call it with the lock held."""
    from transformers import AutoTokenizer

    print(f"Writing the model as GGUF ({kind}), once on this machine.", flush=True)
    for leftover in file.parent.glob(f".{file.name}.*.tmp"):  # of a process that was killed
        leftover.unlink(missing_ok=True)
    with in_one_step(file) as draft:
        write_gguf(merged(base, adapter), AutoTokenizer.from_pretrained(base), draft, kind)
        for older in file.parent.glob(f"{file.name.rpartition('-')[0]}-*.gguf"):
            with suppress(OSError):  # on Windows, one that an engine still reads stays
                older.unlink()


def write_gguf(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", path: str | Path, kind: str = "Q8_0"
) -> None:
    """Write a Llama-shaped model with its tokenizer and chat template as one GGUF file.

    ``kind`` is one of `KINDS`: the format of the layers' matrices. Norms stay float32; the embedding, which is
    the output layer too, has 8 bits where the matrices have 4. Raises CourseError for a model of another shape.
    """
    import gguf

    _known(kind)
    if model.config.model_type != "llama" or not model.config.tie_word_embeddings:
        raise CourseError("Only Llama-shaped models with tied embeddings can be written as GGUF here.")
    if model.config.rope_parameters["rope_type"] != "default":  # it would load, and count positions wrongly
        raise CourseError("Only models with ordinary rotary positions can be written as GGUF here.")
    writer = gguf.GGUFWriter(path, "llama")
    try:
        _write_settings(writer, model.config, kind)
        _write_tokenizer(writer, tokenizer)
        for name, weights, format_ in _tensors(model, kind):
            quantised = gguf.quantize(weights, format_)
            writer.add_tensor(name, quantised, raw_dtype=format_)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _write_settings(writer: Any, config: Any, kind: str) -> None:
    import gguf

    writer.add_name("smol-course organiser")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(gguf.LlamaFileType["ALL_F32" if kind == "F32" else f"MOSTLY_{kind}"])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _write_tokenizer(writer: Any, tokenizer: "PreTrainedTokenizerBase") -> None:
    """The tokens, how they are merged, the special ones and the chat template."""
    import json

    import gguf

    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    ids = range(len(tokenizer))
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")  # llama.cpp's name for: digits one by one, then as in GPT-2
    writer.add_token_list(tokenizer.convert_ids_to_tokens(ids))
    writer.add_token_types([gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL for i in ids])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_unk_token_id(tokenizer.unk_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(tokenizer.chat_template)


def _tensors(model: "PreTrainedModel", kind: str) -> Iterator[tuple[str, "np.ndarray", Any]]:
    """Each tensor as GGUF names, orders and stores it."""
    import gguf

    formats = gguf.GGMLQuantizationType
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, model.config.num_hidden_layers)
    heads = {"q_proj": model.config.num_attention_heads, "k_proj": model.config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight":  # tied: llama.cpp uses the embedding
            continue
        weights = tensor.detach().float().cpu().numpy()
        part = name.split(".")[-2]
        if part in heads:
            weights = _paired(weights, heads[part])
        format_ = formats.F32 if weights.ndim == 1 else formats[kind]
        if part == "embed_tokens" and KINDS[kind] < 8:
            format_ = formats.Q8_0
        yield names.get_name(name, try_suffixes=(".weight",)), weights, format_


def _paired(weights: "np.ndarray", heads: int) -> "np.ndarray":
    """Reorder the rows of a query or key matrix for llama.cpp's rotary positions.

    transformers rotates row i of a head together with row i + half; llama.cpp rotates neighbours.
    """
    half = weights.shape[0] // heads // 2
    return weights.reshape(heads, 2, half, -1).swapaxes(1, 2).reshape(weights.shape)
