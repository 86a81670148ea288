"""One small class for each engine that module 7 puts side by side: transformers, llama.cpp and OpenVINO.

All have the same three methods: `ask` returns the answer to one prompt of token numbers, `inbox` the answers to all
prompts, given at once, and `top` log-probabilities of first tokens, to compare engines by. ``mb`` is the size of the
weights in megabytes. What none of them knows: how quick it is, and whether its answers are right.
"""

import importlib.util
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from smol_course.errors import CourseError
from smol_course.inference.gguf import KINDS
from smol_course.models import answer, artifact, find_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Each library: the package that it needs, and the kinds of weights that it takes here.
_LIBRARIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "transformers": ("torch", ("float32", "bfloat16", "float16")),
    "llama.cpp": ("xllamacpp", tuple(KINDS)),
    "openvino": ("openvino_genai", tuple(KINDS)),
}


def organiser(model: str) -> tuple[str, str, "PreTrainedTokenizerBase"]:
    """Return what module 7 serves: the path of the starting model, that of the organiser's adapter, the tokenizer.

    The adapter is the learner's own, else the shipped one. Raises CourseError where one of them cannot be found.
    """
    from transformers import AutoTokenizer

    path = find_model(model)
    adapter = artifact("organiser_lora", made_by="3/lora", base=path)
    return path, adapter, AutoTokenizer.from_pretrained(path)


def check_engines(names: Iterable[str]) -> None:
    """Raise CourseError for the first name that is no engine with a kind of weights, or is not installed."""
    for name in names:
        library, _, kind = name.partition(" ")
        package, kinds = _LIBRARIES.get(library, ("", ()))
        if kind not in kinds:
            known = "; ".join(f"{known} {' or '.join(theirs)}" for known, (_, theirs) in _LIBRARIES.items())
            raise CourseError(f"There is no engine {name!r}: take one of {known}.")
        if importlib.util.find_spec(package) is None:
            raise CourseError(f"{name} needs {package}, from the extra serving: run `uv sync --extra serving`.")


def file_mb(path: str) -> float:
    """Return the megabytes of a file."""
    return Path(path).stat().st_size / 1e6


class Transformers:
    """The library itself, with a model's weights as they are; an inbox goes in batches of twice ``at_once``."""

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        prompts: list[list[dict[str, str]]],
        new_tokens: int,
        at_once: int,
    ) -> None:
        self.tokenizer, self.prompts, self.new_tokens, self.at_once = tokenizer, prompts, new_tokens, at_once
        self.model = model
        self.mb = sum(p.nbytes for p in self.model.parameters()) / 1e6

    @torch.inference_mode()
    def ask(self, ids: Any, most: int) -> str:
        """Return the answer to one prompt, of so many tokens at most."""
        ids = torch.tensor([ids])
        how = {"attention_mask": torch.ones_like(ids), "max_new_tokens": most, "do_sample": False}
        return self.tokenizer.decode(self.model.generate(ids, **how)[0, ids.shape[1] :], skip_special_tokens=True)

    def inbox(self) -> list[str]:
        """Return the answers to all prompts."""
        return answer(
            self.model, self.tokenizer, self.prompts, self.new_tokens, batch_size=2 * self.at_once, show=False
        )

    @torch.inference_mode()
    def top(self, ids: list[int]) -> dict[int, float]:
        """Return the ten likeliest first tokens behind a prompt, with their log-probabilities."""
        best = self.model(torch.tensor([ids]), logits_to_keep=1).logits[0, -1].float().log_softmax(-1).topk(10)
        return dict(zip(best.indices.tolist(), best.values.tolist(), strict=True))


class LlamaCpp:
    """llama.cpp's server, inside this process, with a GGUF file; it works on ``at_once`` requests together."""

    def __init__(self, path: str, asked: list[list[int]], new_tokens: int, at_once: int, cores: int) -> None:
        import xllamacpp

        self.asked, self.new_tokens, self.at_once = asked, new_tokens, at_once
        settings = xllamacpp.CommonParams()
        settings.model.path, settings.n_ctx, settings.n_parallel = path, 512 * at_once, at_once
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = cores
        settings.verbosity, settings.ui, settings.fit_params = 0, False, False
        self.server, self.mb = xllamacpp.Server(settings), file_mb(path)

    def _run(self, ids: list[int], most: int, **more: Any) -> dict:
        job = {"prompt": ids, "max_tokens": most, "temperature": 0, "cache_prompt": False} | more
        return self.server.handle_completions(job)["choices"][0]

    def ask(self, ids: list[int], most: int) -> str:
        """Return the answer to one prompt, of so many tokens at most."""
        return self._run(ids, most)["text"]

    def inbox(self) -> list[str]:
        """Return the answers to all prompts."""
        with ThreadPoolExecutor(self.at_once) as pool:
            return list(pool.map(lambda ids: self.ask(ids, self.new_tokens), self.asked))

    def top(self, ids: list[int]) -> dict[int, float]:
        """Return the ten likeliest first tokens behind a prompt, with their log-probabilities."""
        best = self._run(ids, 1, logprobs=10)["logprobs"]["content"][0]["top_logprobs"]
        return {token["id"]: token["logprob"] for token in best}


class OpenVINO:
    """OpenVINO's pipeline with continuous batching, on the CPU, with a GGUF file."""

    def __init__(
        self, path: str, tokenizer: "PreTrainedTokenizerBase", asked: list[list[int]], new_tokens: int, cores: int
    ) -> None:
        import openvino_genai

        self.tokenizer, self.asked, self.new_tokens = tokenizer, asked, new_tokens
        room = openvino_genai.SchedulerConfig()
        room.cache_size = 1  # gigabytes for keys and values
        self.genai, self.mb, how = openvino_genai, file_mb(path), {"INFERENCE_NUM_THREADS": cores}
        self.pipe = openvino_genai.ContinuousBatchingPipeline(path, room, "CPU", how)

    def _run(self, many: list[list[int]], most: int, **more: Any) -> list[tuple[list[int], float]]:
        from openvino import Tensor

        greedy = {"max_new_tokens": most, "do_sample": False, "eos_token_id": self.tokenizer.eos_token_id}
        how = self.genai.GenerationConfig(**greedy | more)
        outputs = self.pipe.generate([Tensor(np.array([ids])) for ids in many], [how] * len(many))
        return [(output.m_generation_ids[0], output.m_scores[0]) for output in outputs]

    def ask(self, ids: list[int], most: int) -> str:
        """Return the answer to one prompt, of so many tokens at most."""
        return self.tokenizer.decode(self._run([ids], most)[0][0], skip_special_tokens=True)

    def inbox(self) -> list[str]:
        """Return the answers to all prompts."""
        return self.tokenizer.batch_decode(
            [ids for ids, _ in self._run(self.asked, self.new_tokens)], skip_special_tokens=True
        )

    def top(self, ids: list[int]) -> dict[int, float]:
        """Return the first token that it chose, with its log-probability: it gives no others."""
        # Without logprobs=1 it would say 0.0.
        ((tokens, score),) = self._run([ids], 1, logprobs=1)
        return {tokens[0]: score}
