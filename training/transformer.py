"""The transformer: flow matching on the frozen text encoder and the frozen VAE encoder.

Time runs as in Z-Image: the model sees t = 1 - sigma (0 is noise) and answers clean - noise. No
guidance, no dropped captions: 8 steps without guidance are what it is trained for.
"""

import random
from typing import Any

import torch
from diffusers import ZImageTransformer2DModel
from torch import Tensor, nn
from torch.nn import functional

from training import norms, text_encoder, vae
from training.latents import Latents
from training.loop import Plan, Slice
from training.optimizer import Rates
from training.text_encoder import Captions

PLAN = Plan("transformer", 1400, 48, Rates(muon=6e-3, adam=2e-3))

SHIFT = 3.0
"""The scheduler's static shift; training draws the same crowding of sigmas near 1."""


def build(text_width: int, dim: int = 160, layers: int = 5) -> Any:
    """Return a fresh transformer: heads of 40, one refiner of each kind."""
    return ZImageTransformer2DModel(
        in_channels=16,
        dim=dim,
        n_layers=layers,
        n_refiner_layers=1,
        n_heads=dim // 40,
        n_kv_heads=dim // 40,
        cap_feat_dim=text_width,
        axes_dims=[8, 16, 16],
        axes_lens=[1024, 128, 128],
    )


def initialise(model: Any) -> None:
    """Give every linear layer unit gain; gates start half open and the output at zero."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            if "adaLN" in name or "final_layer" in name:
                nn.init.zeros_(module.weight)
    for layer in (*model.noise_refiner, *model.layers):
        bias = layer.adaLN_modulation[0].bias
        with torch.no_grad():
            bias.view(4, -1)[1::2] = 0.5
    nn.init.normal_(model.x_pad_token, std=0.02)
    nn.init.normal_(model.cap_pad_token, std=0.02)


def draw_sigmas(count: int, generator: torch.Generator) -> Tensor:
    """Return noise levels in 0..1, shifted as the scheduler shifts its own."""
    normal = torch.sigmoid(1.1 * torch.randn(count, generator=generator))
    uniform = torch.rand(count, generator=generator)
    even = torch.rand(count, generator=generator) < 1 / 3
    u = torch.where(even, uniform, normal)
    return SHIFT * u / (1 + (SHIFT - 1) * u)


class TransformerTask:
    """Mean square error of the flow."""

    def __init__(self, model: Any, encoder: Any, captions: Captions, latents: Latents) -> None:
        self.model: nn.Module = model
        norms.quicken(model)
        self.trunk = text_encoder.trunk(encoder.eval().requires_grad_(False))
        self.captions, self.latents = captions, latents

    def is_matrix(self, name: str, weight: Tensor) -> bool:
        """Return whether Muon moves this weight: the matrices of attention and feed-forward."""
        return weight.ndim == 2 and (".attention." in name or ".feed_forward." in name)

    def loss(self, part: Slice) -> tuple[Tensor, dict[str, float]]:
        """Return the mean square error; one batch has one size and one class of caption length."""
        rng = random.Random(part.name())
        size, shortest = vae.native_size(rng), text_encoder.lengths(rng)
        tokens, clean = self._draw(part, size, shortest)
        generator = part.generator()
        noise = torch.randn(clean.shape, generator=generator)
        sigma = draw_sigmas(len(clean), generator)
        s = sigma.view(-1, 1, 1, 1)
        noisy = (1 - s) * clean + s * noise
        answer = self.model(
            list(noisy.unsqueeze(2)), 1 - sigma, self._features(tokens), return_dict=False
        )[0]
        made = torch.stack(answer).squeeze(2)
        return functional.mse_loss(made, clean - noise), {}

    def _draw(
        self, part: Slice, size: tuple[int, int], shortest: range
    ) -> tuple[list[list[int]], Tensor]:
        tokens, clean = [], []
        for sample in part.samples:
            rng = random.Random(part.name(sample))
            scene, latent = self.latents.draw(size, rng)
            tokens.append(self.captions.describe(scene, rng, rng.choice(shortest)))
            clean.append(latent)
        return tokens, torch.stack(clean)

    def _features(self, tokens: list[list[int]]) -> list[Tensor]:
        with torch.no_grad():
            states = text_encoder.features(self.trunk, tokens)
        return [row[: len(ids)] for row, ids in zip(states, tokens, strict=True)]
