"""RMS norms that train faster: the same numbers with half of the passes over memory.

diffusers' RMSNorm leaves its gradient to autograd, which on a CPU costs as much as a large linear
layer. Only the way of computing is replaced; the module and its weight stay.
"""

from functools import partial
from typing import Any

import torch
from diffusers.models.normalization import RMSNorm
from torch import Tensor, nn


def quicken(model: nn.Module) -> None:
    """Let all RMS norms of a model compute by `Rms`."""
    for module in model.modules():
        if isinstance(module, RMSNorm):
            module.forward = partial(_forward, module)


def _forward(norm: Any, x: Tensor) -> Tensor:
    y: Tensor = Rms.apply(x, norm.weight, norm.eps)
    return y


class Rms(torch.autograd.Function):
    """x / rms(x) * weight over the last dimension."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """Return the normalised tensor."""
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        inverse = length.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        normal = x * inverse
        ctx.save_for_backward(normal, inverse, weight)
        return normal * weight

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        """Return the gradients of x and weight."""
        normal, inverse, weight = ctx.saved_tensors
        product = (gradient * normal).flatten(0, -2)
        share = (product @ weight).view(inverse.shape).div_(-normal.shape[-1])
        of_x = torch.addcmul(gradient * weight, normal, share).mul_(inverse)
        return of_x, product.sum(0), None
