"""What the course changes in the libraries on a CPU, so that training and asking are quick.

`hardware.prepare` applies these. Each leaves its library as it is, and says so in one line, when the part that it
replaces has changed. What it does not know: whether a library's next version does the same by itself.
"""

import functools
import importlib.util
import inspect
import sys
import warnings
from contextlib import suppress
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_TRL, _LLAMA = "trl.trainer.utils", "transformers.models.llama.modeling_llama"
_LINEAR = "torch.nn.modules.linear"
# What the replaced functions take.
_LOGPROB_PARAMETERS = ["ctx", "hidden", "weight", "bias", "targets", "temperature", "chunk_size"]
_LOGPROB_PARAMETERS += ["final_logit_softcapping", "logit_scale", "outputs"]
_LLAMA_PARAMETERS = {
    "LlamaRMSNorm": ["self", "hidden_states"],
    "LlamaMLP": ["self", "x"],
    "LlamaAttention": "self hidden_states position_embeddings attention_mask past_key_values kwargs".split(),
    "LlamaModel": "self input_ids attention_mask position_ids past_key_values inputs_embeds use_cache kwargs".split(),
}
# 512 MB of float32: beyond it, memory matters more than speed.
_MOST_LOGITS = 1 << 27


def for_cpu() -> list[str]:
    """Apply the patches for a CPU, each once; return what was done, in a few words each."""
    words = {_TRL: "only labelled tokens scored", _LLAMA: "no padding computed", _LINEAR: "output weights not copied"}
    return [said for name, said in words.items() if _patch(name)]


def silence_known_warnings() -> None:
    """Do not show the warnings that peft and TRL raise and no learner can act on."""
    # They use transformers' names for gradient checkpointing, which it is about to drop.
    warnings.filterwarnings("ignore", r"`(is_)?gradient_checkpointing\w*` is deprecated", FutureWarning)


def _patch(name: str) -> bool:
    """Patch a module now, or when a notebook imports it (which takes seconds, so it is not done here)."""
    if name in sys.modules:
        return _PATCHES[name](sys.modules[name])
    if importlib.util.find_spec(name.split(".")[0]) is None:
        return False
    if _OnImport(name) not in sys.meta_path:
        sys.meta_path.insert(0, _OnImport(name))
    return True


@dataclass
class _OnImport(MetaPathFinder):
    """Waits for the import of one module, steps aside, and patches the module once it is loaded."""

    name: str

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec and spec.loader:
            load = spec.loader.exec_module

            def load_and_patch(module: ModuleType) -> None:
                load(module)
                _PATCHES[fullname](module)

            spec.loader.exec_module = load_and_patch
        return spec


def _score_labelled_only(module: ModuleType) -> bool:
    """Make TRL's loss cheap on a CPU, and say whether that was done.

    The output layer, 49,152 words wide, is the largest. TRL sends prompt and padding through it too, except on GPUs
    with Triton, and sets their loss to zero. `_use_triton` decides that, for its one caller here.
    """
    ask, theirs = getattr(module, "_use_triton", None), getattr(module, "_ChunkedLogProbFunction", None)
    if isinstance(theirs, _WholeLogProbs):
        return True
    # Were `_use_triton` also to choose kernels here, a true answer would start Triton on a CPU.
    if ask is None or _calls(module, "_use_triton") != 1 or _parameters(theirs) != _LOGPROB_PARAMETERS:
        print("This TRL computes its loss in a way unknown to the course: it runs as it is, slower on a CPU.")
        return False
    module._use_triton = lambda device: device.type == "cpu" or ask(device)  # type: ignore[attr-defined]
    module._ChunkedLogProbFunction = _WholeLogProbs(theirs)  # type: ignore[attr-defined]
    return True


class _WholeLogProbs:
    """Stands where TRL has its chunked log-probabilities, and computes them in one product on a CPU.

    TRL saves memory on GPUs by going through the vocabulary in chunks, twice, and adding gradients up in float32. The
    labelled positions of a small batch fit as they are, in one product in autocast's precision.
    """

    def __init__(self, theirs: Any) -> None:
        self.theirs = theirs

    def apply(self, hidden: "torch.Tensor", weight: "torch.Tensor", bias: Any, targets: Any, *rest: Any) -> Any:
        """Return (log_probs, entropy, None, mean_logits, is_top1), each [positions]."""
        temperature, _, softcap, scale, outputs = rest
        plain = bias is None and softcap is None and scale == 1.0 and "log_sum_sq_probs" not in outputs
        if hidden.device.type != "cpu" or not plain or len(hidden) * len(weight) > _MOST_LOGITS:
            return self.theirs.apply(hidden, weight, bias, targets, *rest)
        from smol_course.kernels import LogProbs

        log_probs, entropy, mean, is_top1 = LogProbs.apply(hidden, weight, targets, temperature)
        return log_probs, entropy, None, mean, is_top1


def _pass_once(module: ModuleType) -> bool:
    """Let Llama's layers compute with `smol_course.kernels` on a CPU, without padding; say whether that was done.

    Attention needs to know which tokens stand in one row; all other layers work on single tokens, so the model takes
    the padding out before them, and gives it back as zeros. Whoever reads outputs there reads what has no meaning.
    """
    classes = {name: getattr(module, name, None) for name in _LLAMA_PARAMETERS}
    theirs = {name: getattr(each, "forward", None) for name, each in classes.items()}
    if all(getattr(forward, "passes_once", False) for forward in theirs.values()):
        return True
    if {name: _parameters(forward) for name, forward in theirs.items()} != _LLAMA_PARAMETERS:
        print("This transformers has a Llama unknown to the course: it runs as it is, slower on a CPU.")
        return False
    import torch

    from smol_course import kernels

    def norm(self: Any, hidden_states: "torch.Tensor") -> "torch.Tensor":
        cpu, rest = hidden_states.device.type == "cpu", (self.weight, self.variance_epsilon)
        if cpu and (torch.is_grad_enabled() or torch.is_autocast_enabled("cpu")):
            return kernels.RMSNorm.apply(hidden_states, *rest, kernels.computing_dtype(hidden_states))
        # With mixed precisions the library's result has a wider dtype than torch's.
        if not cpu or hidden_states.dtype != self.weight.dtype:
            return theirs["LlamaRMSNorm"](self, hidden_states)
        return torch.nn.functional.rms_norm(hidden_states, hidden_states.shape[-1:], *rest)

    def feed_forward(self: Any, x: "torch.Tensor") -> "torch.Tensor":
        if x.device.type != "cpu" or self.config.hidden_act != "silu" or not torch.is_grad_enabled():
            return theirs["LlamaMLP"](self, x)
        gate, up = self.gate_proj(x), self.up_proj(x)
        return self.down_proj(kernels.SiluProduct.apply(gate, up.to(gate.dtype)))

    def attention(self: Any, hidden_states: "torch.Tensor", *rest: Any, rows: Any = None, **more: Any) -> Any:
        if rows is None:
            return theirs["LlamaAttention"](self, hidden_states, *rest, **more)
        layers = self.q_proj, self.k_proj, self.v_proj
        # (1, tokens, heads × width) → (tokens, heads, width)
        parts = [layer(hidden_states).view(hidden_states.shape[1], -1, self.head_dim) for layer in layers]
        parts = [part.to(parts[0].dtype) for part in parts]
        angles = [each.float().view(-1, 1, self.head_dim) for each in more["position_embeddings"]]
        mixed = kernels.CausalAttention.apply(*parts, *angles, rows, self.scaling)
        return self.o_proj(mixed.view(*hidden_states.shape[:-1], -1)), None

    def model(self: Any, *rest: Any, **given: Any) -> Any:
        packed = None if rest or _asks_for_more(self, given) else _without_padding(given)
        if packed is None:
            return theirs["LlamaModel"](self, *rest, **given)
        given, rows, taken = packed
        output = theirs["LlamaModel"](self, **given, rows=rows)
        states = output.last_hidden_state[0]
        if len(taken) < (size := rows.rows * rows.length):
            states = states.new_zeros(size, states.shape[-1]).index_copy(0, taken, states)
        output.last_hidden_state = states.view(rows.rows, rows.length, -1)
        return output

    for name, forward in zip(theirs, (norm, feed_forward, attention, model), strict=True):
        functools.update_wrapper(forward, theirs[name])
        forward.passes_once = True  # type: ignore[attr-defined]
        classes[name].forward = forward  # type: ignore[union-attr]
    return True


def _asks_for_more(model: Any, given: dict[str, Any]) -> bool:
    """Whether a call of a Llama asks for what has rows: a cache, inner states, packed sequences, another attention."""
    config, mask = model.config, given.get("attention_mask")
    wishes = ("output_hidden_states", "output_attentions", "past_key_values")
    inner = any(given.get(wish) not in (None, False) or getattr(config, wish, False) for wish in wishes)
    cache = config.use_cache if given.get("use_cache") is None else given["use_cache"]
    packed = mask is None and given.get("position_ids") is not None
    other = config._attn_implementation not in ("eager", "sdpa") or getattr(mask, "ndim", 2) != 2
    return bool(inner or cache or packed or other or (model.training and config.attention_dropout))


def _without_padding(given: dict[str, Any]) -> tuple[dict[str, Any], Any, "torch.Tensor"] | None:
    """The arguments of a Llama's call with all rows in one, the rows, and where the tokens stood; None if it has none.

    Positions stay those of the padded rows.
    """
    import torch

    from smol_course.kernels import Rows

    name = "input_ids" if given.get("inputs_embeds") is None else "inputs_embeds"
    tokens, mask, positions = given.get(name), given.get("attention_mask"), given.get("position_ids")
    if tokens is None or tokens.device.type != "cpu":
        return None
    count, length = tokens.shape[:2]
    mask = torch.ones(count, length, dtype=torch.bool) if mask is None else mask.bool()
    taken = mask.view(-1).nonzero()[:, 0]
    if mask.shape != (count, length) or not len(taken):
        return None
    longest = int(mask.sum(1).max())
    place = mask.cumsum(1) - 1 + longest * torch.arange(count)[:, None]  # in rows that begin at the left
    rows = Rows(count, length, longest, None if len(taken) == count * longest else place.view(-1)[taken])
    positions = torch.arange(length)[None] if positions is None else positions
    positions = positions.expand(count, length).reshape(1, -1)[:, taken]
    # A mask of four dimensions is taken as it is, so that no other is made.
    flat = {
        name: tokens.flatten(0, 1)[None, taken],
        "position_ids": positions,
        "attention_mask": rows.causal[None, None],
    }
    return given | flat | {"use_cache": False}, rows, taken


def _close_gaps(module: ModuleType) -> bool:
    """Let a linear layer get its rows without gaps between them when nothing is trained; say whether that was done.

    To write the first token of an answer, `generate` sends the last position of each prompt through the output layer: a
    view with gaps. By frozen weights, such as an adapter's base, torch multiplies it row by row, and in bfloat16 it
    copies the weights for each row, 57 MB for a vocabulary of 49,152 tokens.
    """
    layer = getattr(module, "Linear", None)
    theirs = getattr(layer, "forward", None)
    if getattr(theirs, "closes_gaps", False):
        return True
    if _parameters(theirs) != ["self", "input"]:
        print("This torch has linear layers unknown to the course: they run as they are, slower on a CPU.")
        return False

    def forward(self: Any, input: "torch.Tensor") -> "torch.Tensor":
        import torch

        if input.device.type == "cpu" and not torch.is_grad_enabled():
            input = input.contiguous()
        return theirs(self, input)

    forward.closes_gaps = True  # type: ignore[attr-defined]
    layer.forward = forward  # type: ignore[union-attr]
    return True


_PATCHES = {_TRL: _score_labelled_only, _LLAMA: _pass_once, _LINEAR: _close_gaps}


def _parameters(function: Any) -> list[str]:
    """The parameter names of a function, a class or an autograd function's forward; [] for none of these."""
    function = getattr(function, "forward", None) if hasattr(function, "backward") else function
    return list(inspect.signature(function).parameters) if callable(function) else []


def _calls(module: ModuleType, function: str) -> int:
    """How often a module's source calls an imported function; 0 when there is no source to read."""
    with suppress(OSError, TypeError):
        return inspect.getsource(module).count(f"{function}(")
    return 0
