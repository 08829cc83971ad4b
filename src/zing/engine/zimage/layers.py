"""The layers that the networks share, as functions of tensors and small modules.

Letters: T tokens, D features, H heads, d features of a head.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Uninitialised:
    """Weights come from a checkpoint: to fill them first would load seconds of torch's compiler."""

    def reset_parameters(self) -> None:
        """Nothing; torch's own layers call this when they are built."""


class Linear(_Uninitialised, nn.Linear):
    """torch's, without initial weights."""


class Embedding(_Uninitialised, nn.Embedding):
    """torch's, without initial weights."""


class Conv2d(_Uninitialised, nn.Conv2d):
    """torch's, without initial weights."""


class GroupNorm(_Uninitialised, nn.GroupNorm):
    """torch's, without initial weights."""


class FusedLinear(Linear):
    """One matrix product for several that a checkpoint stores apart, outputs side by side.

    `parts` maps the stored module's name to its number of outputs, in order.
    """

    def __init__(self, in_features: int, parts: dict[str, int]) -> None:
        super().__init__(in_features, sum(parts.values()), bias=False)
        self.parts = parts


class Scale(nn.Module):
    """The learned weight of a normalisation; the network that holds it applies it."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(features))


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x over the root mean square of its last axis, times the weight.

    weight need only broadcast, which F.rms_norm does not allow: q and k are normalised at once.
    On a CPU it is as fast on short inputs and a little faster on long ones (docs/bench.md).
    """
    square = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32).square_()
    factor = square.div_(x.shape[-1]).add_(eps).rsqrt_()
    return (x * factor).to(x.dtype).mul_(weight)


def rotate_pairs(x: Tensor, rope: Tensor) -> Tensor:
    """x (T, ..., H, d) with each neighbouring pair of features turned by rope (T, ..., 1, d / 2).

    rope is complex64, computed once per grid; the product runs in float32 whatever x is.
    """
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rope).flatten(-2).to(x.dtype)


def attend(q: Tensor, k: Tensor, v: Tensor, lengths: list[int]) -> Tensor:
    """Attention within each of the sequences that lie end to end along T; no mask is needed.

    q, k, v  (T, H, d) with T the sum of `lengths`; the result is (T, H * d)
    """
    parts = zip(q.split(lengths), k.split(lengths), v.split(lengths), strict=True)
    outputs = [
        F.scaled_dot_product_attention(*(part.transpose(0, 1)[None] for part in sequence))
        for sequence in parts
    ]
    joined = [output[0].transpose(0, 1).flatten(1) for output in outputs]
    return joined[0] if len(joined) == 1 else torch.cat(joined)


def swiglu(gate_and_up: Tensor) -> Tensor:
    """silu(gate) * up of a product whose two halves lie side by side."""
    gate, up = gate_and_up.chunk(2, dim=-1)
    return F.silu(gate).mul_(up)
