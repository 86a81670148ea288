"""What the course changes in the libraries on a CPU, so that training and asking are quick.

`hardware.prepare` applies these. Each leaves its library as it is, and says so in one line, when the part that it
replaces has changed. What it does not know: whether a library's next version does the same by itself.
"""

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
# What TRL's chunked function takes, and which of its outputs SFT asks for.
_LOGPROB_PARAMETERS = ["ctx", "hidden", "weight", "bias", "targets", "temperature", "chunk_size"]
_LOGPROB_PARAMETERS += ["final_logit_softcapping", "logit_scale", "outputs"]
_SFT_OUTPUTS = ("log_probs", "entropy", "is_top1")
# 512 MB of float32: beyond it, memory matters more than speed.
_MOST_LOGITS = 1 << 27


def for_cpu() -> list[str]:
    """Apply the patches for a CPU, each once; return what was done, in a few words each."""
    words = {_TRL: "only labelled tokens scored", _LLAMA: "norms fused", _LINEAR: "output weights not copied"}
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
    if isinstance(theirs, _PlainLogProbs):
        return True
    # Were `_use_triton` also to choose kernels here, a true answer would start Triton on a CPU.
    if ask is None or _calls(module, "_use_triton") != 1 or _parameters(theirs) != _LOGPROB_PARAMETERS:
        print("This TRL computes its loss in a way unknown to the course: it runs as it is, slower on a CPU.")
        return False
    module._use_triton = lambda device: device.type == "cpu" or ask(device)  # type: ignore[attr-defined]
    module._ChunkedLogProbFunction = _PlainLogProbs(theirs)  # type: ignore[attr-defined]
    return True


class _PlainLogProbs:
    """Stands where TRL has its chunked log-probabilities, and computes those of SFT in one piece on a CPU.

    TRL saves memory on GPUs by going through the vocabulary in chunks, twice, and adding gradients up in float32. The
    labelled positions of a small batch fit as they are, in one product in autocast's precision.
    """

    def __init__(self, theirs: Any) -> None:
        self.theirs = theirs

    def apply(
        self, hidden: "torch.Tensor", weight: "torch.Tensor", bias: Any, targets: "torch.Tensor", *rest: Any
    ) -> Any:
        """Return (log_probs, entropy, None, None, is_top1), each [positions]; entropy has no gradient."""
        import torch

        temperature, _, softcap, scale, outputs = rest
        plain = (temperature, softcap, scale, tuple(outputs)) == (1.0, None, 1.0, _SFT_OUTPUTS)
        if hidden.device.type != "cpu" or not plain or len(hidden) * len(weight) > _MOST_LOGITS:
            return self.theirs.apply(hidden, weight, bias, targets, *rest)
        # [positions, vocabulary]
        log_probs = torch.nn.functional.linear(hidden, weight, bias).float().log_softmax(-1)
        with torch.no_grad():
            entropy = -(log_probs.exp() * log_probs).sum(-1)
            is_top1 = log_probs.argmax(-1) == targets
        return log_probs.gather(-1, targets[:, None])[:, 0], entropy, None, None, is_top1


def _fuse_norms(module: ModuleType) -> bool:
    """Let Llama's normalisation be torch's own single operation instead of six; say whether that was done."""
    norm = getattr(module, "LlamaRMSNorm", None)
    theirs = getattr(norm, "forward", None)
    if getattr(theirs, "fused", False):
        return True
    if _parameters(norm) != ["hidden_size", "eps"] or _parameters(theirs) != ["self", "hidden_states"]:
        print("This transformers normalises in a way unknown to the course: it runs as it is, slower on a CPU.")
        return False

    def forward(self: Any, hidden_states: "torch.Tensor") -> "torch.Tensor":
        import torch

        # With mixed precisions the library's result has a wider dtype than torch's.
        if hidden_states.device.type != "cpu" or hidden_states.dtype != self.weight.dtype:
            return theirs(self, hidden_states)
        shape = hidden_states.shape[-1:]
        return torch.nn.functional.rms_norm(hidden_states, shape, self.weight, self.variance_epsilon)

    forward.fused = True  # type: ignore[attr-defined]
    norm.forward = forward  # type: ignore[union-attr]
    return True


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


_PATCHES = {_TRL: _score_labelled_only, _LLAMA: _fuse_norms, _LINEAR: _close_gaps}


def _parameters(function: Any) -> list[str]:
    """The parameter names of a function, a class or an autograd function's forward; [] for none of these."""
    function = getattr(function, "forward", None) if hasattr(function, "backward") else function
    return list(inspect.signature(function).parameters) if callable(function) else []


def _calls(module: ModuleType, function: str) -> int:
    """How often a module's source calls an imported function; 0 when there is no source to read."""
    with suppress(OSError, TypeError):
        return inspect.getsource(module).count(f"{function}(")
    return 0
