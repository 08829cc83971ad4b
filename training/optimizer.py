"""Muon for matrices and AdamW for the rest, with a state of named tensors in float32.

torch.optim.Muon takes only two-dimensional weights; this one also takes convolutions (flattened to
matrices) and stacks weights of equal shape. Directions need no precision: they are in bfloat16.
Source: Keller Jordan, "Muon: An optimizer for hidden layers in neural networks" (2024).
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_NEWTON_SCHULZ_STEPS = 4
_EPSILON = 1e-8


@dataclass(frozen=True)
class Rates:
    """Learning rates at their height, and momenta."""

    muon: float
    adam: float
    momentum: float = 0.95
    betas: tuple[float, float] = (0.9, 0.95)


def orthogonal(matrices: Tensor) -> Tensor:
    """Return the nearest half-orthogonal matrices, roughly; matrices (N, rows, columns)."""
    flipped = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if flipped else matrices
    x = (x / x.norm(dim=(1, 2), keepdim=True).clamp_min(_EPSILON)).bfloat16()
    a, b, c = _COEFFICIENTS
    for _ in range(_NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    x = x.to(matrices.dtype)
    return x.mT if flipped else x


@dataclass
class Optimizer:
    """Steps a model's weights; `is_matrix(name, weight)` says which go to Muon."""

    model: nn.Module
    rates: Rates
    is_matrix: Callable[[str, Tensor], bool]
    moments: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.weights = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        self._groups: dict[tuple[int, int], list[str]] = defaultdict(list)
        for name, weight in self.weights.items():
            if self.is_matrix(name, weight):
                self._groups[weight.shape[0], weight[0].numel()].append(name)
        matrices = {name for names in self._groups.values() for name in names}
        self._others = [name for name in self.weights if name not in matrices]
        for name, weight in self.weights.items():
            self.moments[f"first.{name}"] = torch.zeros_like(weight)
            if name not in matrices:
                self.moments[f"second.{name}"] = torch.zeros_like(weight)

    @torch.no_grad()
    def step(self, count: int, scale: float) -> None:
        """Move the weights along their gradients; count from 1, `scale` times the rates."""
        for (rows, columns), names in self._groups.items():
            self._muon(names, rows, columns, self.rates.muon * scale)
        for name in self._others:
            self._adam(name, count, self.rates.adam * scale)
        for weight in self.weights.values():
            weight.grad = None

    def _muon(self, names: list[str], rows: int, columns: int, rate: float) -> None:
        wanted = []
        for name in names:
            gradient, first = self._gradient(name), self.moments[f"first.{name}"]
            first.lerp_(gradient, 1 - self.rates.momentum)
            wanted.append(gradient.lerp(first, self.rates.momentum).reshape(rows, columns))
        # 0.2 sqrt(longer side) makes the step as large as AdamW's would be.
        rate *= 0.2 * max(rows, columns) ** 0.5
        for name, change in zip(names, orthogonal(torch.stack(wanted)), strict=True):
            weight = self.weights[name]
            weight.sub_(change.reshape(weight.shape), alpha=rate)

    def _adam(self, name: str, count: int, rate: float) -> None:
        beta1, beta2 = self.rates.betas
        gradient = self._gradient(name)
        first, second = self.moments[f"first.{name}"], self.moments[f"second.{name}"]
        first.lerp_(gradient, 1 - beta1)
        second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        spread = (second / (1 - beta2**count)).sqrt_().add_(_EPSILON)
        self.weights[name].addcdiv_(first, spread, value=-rate / (1 - beta1**count))

    def _gradient(self, name: str) -> Tensor:
        gradient = self.weights[name].grad
        return torch.zeros_like(self.weights[name]) if gradient is None else gradient
