"""The course's vision language model: put together from parts, loaded, asked and measured.

Classes, processor and chat layout are those of Idefics3 (SmolVLM's first architecture) in transformers, so that the
lines of a notebook run unchanged on HuggingFaceTB/SmolVLM-256M-Instruct. Only the tower, the connector and an adapter
are the course's; the language weights are the ones that `find_model` gives. What this module cannot know: whether an
answer in other words than ours is right, since it compares texts.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smol_course.errors import CourseError
from smol_course.files import in_one_step, writing
from smol_course.metrics import wilson
from smol_course.models import MODEL, artifact, bfloat16_copy, find_model, with_adapter
from smol_course.settings import data_folder, run_folder
from smol_course.vision.pictures import Example, blank, most_frequent, shuffled

NAME = "organiser_vlm"
# SmolLM2 reserved these for code repositories and never needs them here. Their ids get SmolVLM's names, so that the
# embedding table keeps its size and no new row has to ship. <end_of_utterance> takes the place of <|im_end|>: it is the
# same sign in another template, and the language model already ends its answers with it.
TOKENS = {
    "<|im_end|>": "<end_of_utterance>",
    "<repo_name>": "<image>",
    "<reponame>": "<fake_token_around_image>",
    "<file_sep>": "<global-img>",
    "<filename>": "<row_1_col_1>",
    "<gh_stars>": "<row_1_col_2>",
    "<issue_start>": "<row_2_col_1>",
    "<issue_comment>": "<row_2_col_2>",
}
# The layout of SmolVLM's conversations: "<|im_start|>User:<image>question<end_of_utterance>\nAssistant: answer ...".
TEMPLATE = (
    "<|im_start|>{% for turn in messages %}{{ turn.role.capitalize() }}:"
    "{% for piece in turn.content %}{% if piece.type == 'image' %}<image>{% else %}"
    "{% if loop.first %} {% endif %}{{ piece.text }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
_CONFIG, _VISION, _MADE_BY = "config.json", "vision.safetensors", "recipes/vlm.py"


# --- Putting one together ------------------------------------------------------------------------------------


def build_processor(base: str, size: int, tokens: int) -> Any:
    """Return an Idefics3Processor with the base model's tokenizer: pictures of ``size`` pixels, ``tokens`` each."""
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer, Idefics3Processor, PreTrainedTokenizerFast
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    known = json.loads(AutoTokenizer.from_pretrained(base).backend_tokenizer.to_str())
    for added in known["added_tokens"]:
        added["content"] = TOKENS.get(added["content"], added["content"])
    known["model"]["vocab"] = {TOKENS.get(token, token): row for token, row in known["model"]["vocab"].items()}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(known)),
        bos_token="<|im_start|>",
        eos_token="<end_of_utterance>",
        pad_token="<|endoftext|>",  # not the end of an answer, so that masking one never masks the other
        padding_side="left",
    )
    images = Idefics3ImageProcessorPil(
        size={"longest_edge": size}, max_image_size={"longest_edge": size}, do_image_splitting=False
    )
    return Idefics3Processor(images, tokenizer, image_seq_len=tokens, chat_template=TEMPLATE)


def build_config(text: Any, size: int = 80, patch: int = 8, shuffle: int = 2, width: int = 192, layers: int = 4) -> Any:
    """Return the model's settings around a language model's. A picture becomes (size / patch / shuffle)² tokens.

    Raises CourseError if the picture does not divide into whole patches and whole tokens.
    """
    from transformers import Idefics3Config

    if size % (patch * shuffle):
        raise CourseError(f"Pictures of {size} pixels do not divide into tokens of {patch} × {shuffle}: change one.")
    vision = {
        "image_size": size,
        "patch_size": patch,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, width // 48),
    }
    return Idefics3Config(
        text_config=text,
        vision_config=vision,
        scale_factor=shuffle,
        image_token_id=3,
        tie_word_embeddings=True,
        pad_token_id=0,
    )


def image_tokens(config: Any) -> int:
    """Return how many tokens a picture (or a tile of one) takes in the sequence."""
    return (config.vision_config.image_size // config.vision_config.patch_size // config.scale_factor) ** 2


def assemble(base: str, config: Any = None, **sizes: int) -> Any:
    """Return an Idefics3ForConditionalGeneration in float32: random tower and connector, real language weights.

    ``base`` is a language model's folder, ``sizes`` are those of `build_config`, used when no ``config`` is given.
    """
    from transformers import AutoModelForCausalLM, Idefics3ForConditionalGeneration

    language = AutoModelForCausalLM.from_pretrained(base, dtype="float32")
    language.config._name_or_path = MODEL  # not this machine's folder
    config = config or build_config(language.config, **sizes)
    model = Idefics3ForConditionalGeneration(config)
    # At first the connector's output is several times longer than a word's embedding.
    model.model.connector.modality_projection.proj.weight.data.mul_(0.25)
    # The library begins with places 25 times smaller: beside a patch's colours the tower then hardly sees where the
    # patch is, and stage 1 of the recipe stands still for a thousand batches.
    model.model.vision_model.embeddings.position_embedding.weight.data.normal_(0, 0.5)
    model.model.text_model.load_state_dict(language.model.state_dict())
    model.tie_weights()
    # The end of an answer; what SmolLM2's own settings say about sampling stays out.
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = 2, 0
    return model


# --- Loading and keeping -------------------------------------------------------------------------------------


def load_vlm(name: str = NAME, base: str | None = None) -> tuple[Any, Any]:
    """Return (model, processor), the model in float32 and in evaluation mode.

    ``name`` is the artifact's, a folder with such a checkpoint (its adapter is merged in), or any vision language
    model that transformers loads: a folder, or a name on the Hub where that is allowed. ``base`` is the language
    model's folder for the course's own, by default what `find_model` gives. Raises CourseError if there is no such
    artifact, a Hub name is not allowed, or the checkpoint's files do not fit together.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor

    if name == NAME:
        base = base or find_model(MODEL)
        name = artifact(NAME, made_by=_MADE_BY, base=base)
    if (Path(name) / _VISION).is_file():
        return _own(Path(name), base or find_model(MODEL))
    place = find_model(name)
    model = AutoModelForImageTextToText.from_pretrained(place, dtype="float32")
    return model.eval(), AutoProcessor.from_pretrained(place)


def _own(folder: Path, base: str) -> tuple[Any, Any]:
    """Tower and connector of the folder around the base's language model, its adapter merged in."""
    from safetensors.torch import load_file
    from transformers import Idefics3Config

    config = Idefics3Config.from_pretrained(folder)
    model = assemble(base, config)
    weights = {key: weight.float() for key, weight in load_file(folder / _VISION).items()}
    wanted = {key: weight.shape for key, weight in vision_weights(model).items()}
    if wanted != {key: weight.shape for key, weight in weights.items()}:
        raise CourseError(f"{_VISION} in {folder.name} does not fit the settings in {_CONFIG}: make it again.")
    model.load_state_dict(weights, strict=False)
    if (folder / "adapter_config.json").is_file():
        model = with_adapter(model, str(folder))
    return model.eval(), build_processor(base, config.vision_config.image_size, image_tokens(config))


def vision_weights(model: Any) -> dict[str, Any]:
    """Return the tower's and connector's weights by their names in an Idefics3ForConditionalGeneration."""
    names = ("model.vision_model.", "model.connector.")
    return {name: weight for name, weight in _plain(model).state_dict().items() if name.startswith(names)}


def _plain(model: Any) -> Any:
    """The Idefics3 model itself, where an adapter is around it."""
    from peft import PeftModel

    return model.get_base_model() if isinstance(model, PeftModel) else model


def save_vlm(model: Any, folder: Path) -> None:
    """Write tower and connector, the adapter if there is one, and the settings; weights as bfloat16 safetensors."""
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors.torch import save_file

    with writing(f"The model {folder.name}"), in_one_step(folder) as draft:
        draft.mkdir()
        save_file(_half(vision_weights(model)), draft / _VISION, metadata={"format": "pt"})
        _plain(model).config.save_pretrained(draft)
        if isinstance(model, PeftModel):
            adapter = get_peft_model_state_dict(model, save_embedding_layers=False)
            save_file(_half(adapter), draft / "adapter_model.safetensors", metadata={"format": "pt"})
            settings = model.peft_config["default"]
            settings.base_model_name_or_path, settings.inference_mode = MODEL, True
            settings.save_pretrained(draft)


def keep_vlm(checkpoint: Path) -> Path:
    """Copy a finished checkpoint, provenance included, to where `load_vlm` finds it by its name; return that folder."""
    folder = (run_folder() or data_folder()) / "artifacts" / NAME
    with writing(f"The artifact {NAME}"), in_one_step(folder) as draft:
        shutil.copytree(checkpoint, draft)
    return folder


def _half(weights: dict[str, Any]) -> dict[str, Any]:
    import torch

    return {name: weight.detach().to("cpu", torch.bfloat16).contiguous() for name, weight in weights.items()}


# --- Asking and measuring ------------------------------------------------------------------------------------


def turns(question: str, answer: str | None = None, images: int = 1) -> list[dict[str, Any]]:
    """Return a conversation in the form that `apply_chat_template` takes; ``images`` pictures before the question."""
    asked = [{"type": "image"}] * images + [{"type": "text", "text": question}]
    said = [] if answer is None else [{"role": "assistant", "content": [{"type": "text", "text": answer}]}]
    return [{"role": "user", "content": asked}, *said]


def ask(
    model: Any,
    processor: Any,
    images: Sequence[Any],
    questions: Sequence[str],
    batch: int = 64,
    new_tokens: int = 8,
    bf16: bool = False,
) -> list[str]:
    """Return the greedy answers to questions, each about one picture (or a list of pictures), in the same order.

    ``bf16`` asks a bfloat16 copy of the model, which is quicker where `prepare` found bfloat16 quick; single answers
    may differ. Weights and mode (training or not) stay as they were. Raises CourseError unless there is a picture, or
    a list of them, for each question.
    """
    import torch

    if len(images) != len(questions):
        raise CourseError(f"{len(images)} pictures for {len(questions)} questions: give one, or a list, for each.")
    answers: list[str] = []
    training, asked = model.training, bfloat16_copy(model) if bf16 else model
    asked.eval()
    for start in range(0, len(questions), batch):
        stop = start + batch
        shown = [item if isinstance(item, list) else [item] for item in images[start:stop]]
        texts = [
            processor.apply_chat_template(turns(question, images=len(seen)), add_generation_prompt=True)
            for question, seen in zip(questions[start:stop], shown, strict=True)
        ]
        inputs = processor(text=texts, images=shown, padding=True, padding_side="left", return_tensors="pt")
        with torch.inference_mode():
            tokens = asked.generate(
                **inputs.to(asked.device), max_new_tokens=new_tokens, do_sample=False, use_cache=True
            )
        new = tokens[:, inputs["input_ids"].shape[1] :]  # [batch, at most new_tokens]
        answers += [text.strip() for text in processor.batch_decode(new, skip_special_tokens=True)]
    model.train(training)
    return answers


def ask_all(
    model: Any, processor: Any, pictures: Sequence[Example], new_tokens: int = 8, bf16: bool = False
) -> list[str]:
    """Return the answers to examples' own questions about their own pictures."""
    shown, questions = [item.image for item in pictures], [item.question for item in pictures]
    return ask(model, processor, shown, questions, new_tokens=new_tokens, bf16=bf16)


def evaluate(
    model: Any, processor: Any, pictures: Sequence[Example], new_tokens: int = 16, bf16: bool = False
) -> dict[str, dict[str, Any]]:
    """Return for each kind of question how often the model is right, and how often it would be without seeing.

    ``right`` (with its 95 % Wilson interval ``low``, ``high``) is with the picture, ``blank`` with a grey sheet,
    ``shuffled`` with another question's picture, ``most_frequent`` the best constant answer; all are shares of ``n``.
    """
    asked = bfloat16_copy(model) if bf16 else model
    shares: dict[str, dict[str, Any]] = {kind: {} for kind in dict.fromkeys(item.kind for item in pictures)}
    for control, shown in {"right": pictures, "blank": blank(pictures), "shuffled": shuffled(pictures)}.items():
        said = ask_all(asked, processor, shown, new_tokens)
        for kind, share in shares.items():
            hits = [text == item.answer for text, item in zip(said, pictures, strict=True) if item.kind == kind]
            share[control], share["n"] = sum(hits) / len(hits), len(hits)
            if control == "right":
                share["low"], share["high"] = wilson(sum(hits), len(hits))
    for kind, (answer, times) in most_frequent(pictures).items():
        shares[kind] |= {"most_frequent": times / shares[kind]["n"], "most_frequent_answer": answer}
    return shares
