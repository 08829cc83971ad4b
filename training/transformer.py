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

from training import dense, norms, text_encoder
from training.latents import Latents
from training.loop import Plan, Slice
from training.optimizer import Rates
from training.scenes import NATIVE_SIZES, Size
from training.text_encoder import Captions

PLAN = Plan("transformer", 9000, 48, Rates(muon=6e-3, adam=2e-3), falling=0.7, average=0.998)

SQUARE_SHARE = 0.35
"""Share of the batches that are square; the other sizes share the rest evenly."""

SHIFT = 3.0
"""The scheduler's static shift; training draws the same crowding of sigmas near 1."""


def build(text_width: int, dim: int = 192, layers: int = 6) -> Any:
    """Return a fresh transformer: heads of 48, one refiner of each kind."""
    return ZImageTransformer2DModel(
        in_channels=16,
        dim=dim,
        n_layers=layers,
        n_refiner_layers=1,
        n_heads=dim // 48,
        n_kv_heads=dim // 48,
        cap_feat_dim=text_width,
        axes_dims=[12, 18, 18],
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
    """Return noise levels in 0..1, shifted as the scheduler shifts its own.

    Two of three crowd where a picture is still all noise: what it shows is learnt there.
    """
    normal = torch.sigmoid(0.7 + 1.1 * torch.randn(count, generator=generator))
    uniform = torch.rand(count, generator=generator)
    even = torch.rand(count, generator=generator) < 1 / 3
    u = torch.where(even, uniform, normal)
    return SHIFT * u / (1 + (SHIFT - 1) * u)


def native_size(rng: random.Random) -> Size:
    """Return the size of one batch."""
    square, *others = NATIVE_SIZES
    return square if rng.random() < SQUARE_SHARE else rng.choice(others)


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
        size, span = native_size(rng), text_encoder.spans(rng)
        tokens, clean = self._draw(part, size, span)
        generator = part.generator()
        noise = torch.randn(clean.shape, generator=generator)
        sigma = draw_sigmas(len(clean), generator)
        s = sigma.view(-1, 1, 1, 1)
        noisy = (1 - s) * clean + s * noise
        with torch.autocast("cpu", torch.bfloat16):
            texts, lengths = self._features(tokens, span)
            made = dense.forward(self.model, noisy, 1 - sigma, texts, lengths)
        return functional.mse_loss(made.float(), clean - noise), {}

    def _draw(self, part: Slice, size: Size, span: range) -> tuple[list[list[int]], Tensor]:
        tokens, clean = [], []
        for sample in part.samples:
            rng = random.Random(part.name(sample))
            scene, latent = self.latents.draw(size, rng)
            tokens.append(self.captions.describe(scene, rng, span))
            clean.append(latent)
        return tokens, torch.stack(clean)

    def _features(self, tokens: list[list[int]], span: range) -> tuple[Tensor, Tensor]:
        """Return the texts' features, padded to the longest of their class, and their lengths."""
        with torch.no_grad():
            states = text_encoder.features(self.trunk, tokens)
        padded = functional.pad(states, (0, 0, 0, span.stop - 1 - states.shape[1]))
        return padded, torch.tensor([len(ids) for ids in tokens])
