"""What a training step on a CPU computes most, as autograd functions that pass over memory once and keep little.

`smol_course.patches` puts them in the place of the libraries' own. The sums are the libraries', to rounding; what goes
is conversion to wider numbers and back, tensors kept for the backward pass that can be had again cheaply, and padding.
What it does not know: the models and trainers that call it.

Each ``forward`` and ``backward`` belongs to torch's autograd and runs without autocast.
"""

from typing import Any

import torch
from torch.autograd import Function

_CHUNK = 32  # rows of logits that fit into a processor's cache in float32


def computing_dtype(x: torch.Tensor) -> torch.dtype:
    """Return the dtype in which autocast would multiply x on a CPU, or its own."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


class RMSNorm(Function):
    """Root-mean-square normalisation (Zhang and Sennrich 2019, arXiv:1910.07467) of (..., width), in a given dtype."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float, dtype: torch.dtype) -> torch.Tensor:
        square = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32).square_()
        inverse = square.div_(x.shape[-1]).add_(eps).rsqrt_()  # (..., 1)
        ctx.save_for_backward(x, weight, inverse)
        return (x * inverse).mul_(weight).to(dtype)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple:
        x, weight, inverse = ctx.saved_tensors
        width, wide = x.shape[-1], weight.float()
        normal, grad = x * inverse, grad.to(torch.float32, copy=True)
        product = (grad * normal).view(-1, width)
        grad_weight = product.sum(0).to(weight.dtype) if ctx.needs_input_grad[1] else None
        along = torch.mv(product, wide).div_(-width).view(*x.shape[:-1], 1)
        return grad.mul_(wide).addcmul_(normal, along).mul_(inverse).to(x.dtype), grad_weight, None, None


class SiluProduct(Function):
    """silu(gate) × up (Shazeer 2020, arXiv:2002.05202), of one shape and dtype; keeps the two and nothing else."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        return torch.nn.functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple:
        gate, up = ctx.saved_tensors
        grad_up = torch.nn.functional.silu(gate).mul_(grad)
        return torch.ops.aten.silu_backward(grad * up, gate), grad_up


class Rows:
    """Where the tokens of a batch without padding belong: ``rows`` sequences, the longest of ``longest`` tokens.

    ``length`` was theirs with padding. ``place`` (tokens,) is each token's index among rows × longest, or None where
    all are equally long.
    """

    def __init__(self, rows: int, length: int, longest: int, place: torch.Tensor | None) -> None:
        self.rows, self.length, self.longest, self.place = rows, length, longest, place
        # (longest, longest): minus infinity above the diagonal
        self.causal = torch.full((longest, longest), float("-inf")).triu_(1)

    def spread(self, x: torch.Tensor, kv_heads: int) -> torch.Tensor:
        """(tokens, heads, width) → (rows × kv_heads, heads / kv_heads × longest, width), zeros where there is none."""
        tokens, heads, width = x.shape
        if self.place is not None:
            empty = x.new_zeros(self.rows * self.longest, heads * width)
            x = empty.index_copy_(0, self.place, x.reshape(tokens, -1))
        x = x.reshape(self.rows, self.longest, kv_heads, heads // kv_heads, width).permute(0, 2, 3, 1, 4)
        return x.reshape(self.rows * kv_heads, -1, width)

    def gather(self, x: torch.Tensor, kv_heads: int) -> torch.Tensor:
        """The way back from `spread`."""
        x = x.reshape(self.rows, kv_heads, -1, self.longest, x.shape[-1]).permute(0, 3, 1, 2, 4)
        x = x.reshape(self.rows * self.longest, -1, x.shape[-1])  # of one row no copy, so with other strides
        return x.contiguous() if self.place is None else x.index_select(0, self.place)


def _rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, sign: int = 1) -> torch.Tensor:
    """Rotary positions (Su et al. 2021, arXiv:2104.09864) on (tokens, heads, width), in float32; sign -1: back."""
    dtype, half = x.dtype, x.shape[-1] // 2
    left, right = x.float().split(half, -1)
    cos, sin = cos[..., :half], sin[..., :half]
    turned = torch.cat((left * cos, right * cos), -1)
    turned[..., :half].addcmul_(right, sin, value=-sign)
    turned[..., half:].addcmul_(left, sin, value=sign)
    return turned.to(dtype)


class CausalAttention(Function):
    """Rotary positions and attention of the tokens of some rows, each to the earlier ones of its row.

    query (tokens, heads, width), key and value (tokens, kv_heads, width), of one dtype; cos and sin (tokens, 1, width)
    in float32. Gives (tokens, heads, width). Heads share keys without copies of them.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Any, key: Any, value: Any, cos: Any, sin: Any, rows: Rows, scale: float
    ) -> torch.Tensor:
        kv_heads, longest = key.shape[1], rows.longest
        with torch.autocast("cpu", enabled=False):
            query = rows.spread(_rotated(query, cos, sin).mul_(scale), kv_heads)
            key, value = rows.spread(_rotated(key, cos, sin), kv_heads), rows.spread(value, kv_heads)
            scores = torch.bmm(query, key.transpose(1, 2)).float()
            scores.view(-1, longest, longest).add_(rows.causal)
            shares = scores.softmax(-1).to(value.dtype)
            ctx.save_for_backward(query, key, value, shares, cos, sin)
            ctx.rest = rows, scale, kv_heads
            return rows.gather(torch.bmm(shares, value), kv_heads)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple:
        query, key, value, shares, cos, sin = ctx.saved_tensors
        rows, scale, kv_heads = ctx.rest
        grad = rows.spread(grad.contiguous(), kv_heads)
        grad_value = torch.bmm(shares.transpose(1, 2), grad)
        of_shares = torch.bmm(grad, value.transpose(1, 2)).float()
        of_scores = torch._softmax_backward_data(of_shares, shares.float(), -1, torch.float32).to(shares.dtype)
        grad_query = rows.gather(torch.bmm(of_scores, key), kv_heads).mul_(scale)
        grad_key = rows.gather(torch.bmm(of_scores.transpose(1, 2), query), kv_heads)
        turned = _rotated(grad_query, cos, sin, -1), _rotated(grad_key, cos, sin, -1)
        return *turned, rows.gather(grad_value, kv_heads), None, None, None, None


class LogProbs(Function):
    """Log-probabilities of the targets (positions,) by hidden (positions, width) and the output layer's weight.

    Gives log_probs, entropy in nats, mean logit and whether the target is the most probable token, each (positions,).
    The logits are computed in one product and kept in its dtype; what is done with them goes by chunks that stay in the
    cache. The mean logit has no gradient.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, targets: torch.Tensor, temperature: float) -> tuple:
        ctx.set_materialize_grads(False)
        dtype = computing_dtype(hidden)
        narrow, narrow_weight = hidden.to(dtype), weight.to(dtype)
        with torch.autocast("cpu", enabled=False):
            logits = narrow @ narrow_weight.t()
        parts = []  # of each chunk
        for chunk, target in zip(logits.split(_CHUNK), targets.split(_CHUNK), strict=True):
            wide = chunk.float() / temperature
            whole = wide.logsumexp(-1)
            log_probs = wide.gather(-1, target[:, None])[:, 0] - whole
            mean, is_top1 = wide.mean(-1), wide.argmax(-1) == target
            entropy = whole - (wide - whole[:, None]).exp_().mul_(wide).sum(-1)
            parts.append((log_probs, entropy, mean, is_top1, whole))
        log_probs, entropy, mean, is_top1, whole = (torch.cat(part) for part in zip(*parts, strict=True))
        ctx.save_for_backward(narrow, narrow_weight, targets, logits, whole, entropy)
        ctx.rest = temperature, hidden.dtype, weight.dtype
        ctx.mark_non_differentiable(mean, is_top1)
        return log_probs, entropy, mean, is_top1

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor | None, grad_entropy: torch.Tensor | None, *_: Any) -> tuple:
        hidden, weight, targets, logits, whole, entropy = ctx.saved_tensors
        temperature, hidden_dtype, weight_dtype = ctx.rest
        of_logits = torch.empty_like(logits)
        for start in range(0, len(targets), _CHUNK):
            here = slice(start, start + _CHUNK)
            log_probs = logits[here].float() / temperature - whole[here, None]
            probs = log_probs.exp()
            part = torch.zeros_like(probs)
            if grad is not None:
                part.addcmul_(probs, grad[here, None], value=-1).scatter_add_(-1, targets[here, None], grad[here, None])
            if grad_entropy is not None:
                part.addcmul_(probs, (log_probs + entropy[here, None]) * grad_entropy[here, None], value=-1)
            of_logits[here] = part.div_(temperature)
        grad_hidden = (of_logits @ weight).to(hidden_dtype) if ctx.needs_input_grad[0] else None
        return grad_hidden, (of_logits.t() @ hidden).to(weight_dtype) if ctx.needs_input_grad[1] else None, None, None
