"""The VAE: pictures to latents of a 16th of the size with 16 channels, and back.

Two stages: `vae` trains encoder and decoder, then the encoder is frozen and measured (shift and
scale of the latents), and `decoder` goes on with the decoder alone, which keeps latents valid, so
it may run beside the transformer. Noise on the latents stands in for a KL term.
"""

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from training import norms, scenes
from training.loop import Plan, Slice
from training.optimizer import Rates

PLAN = Plan("vae", 1700, 32, Rates(muon=2e-3, adam=1e-3), average=0.995)
DECODER_PLAN = Plan("decoder", 2000, 32, Rates(muon=2e-3, adam=1e-3), average=0.997)

WIDTHS = (8, 16, 32, 64, 128)
"""Channels from the full size to the 16th."""

CROP = 128
"""Side of the crops of the first part, pixels."""

_CROPPED_SHARE = 0.7
_DETAIL = 0.3  # weight of the strength of fine detail
_WHOLE = 4  # samples of a batch that one whole picture stands for
_MEASURED = 512


def build(widths: tuple[int, ...] = WIDTHS) -> Any:
    """Return a fresh VAE."""
    levels = len(widths)
    return AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=16,
        layers_per_block=1,
        norm_num_groups=4,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        sample_size=256,
        scaling_factor=1.0,
        shift_factor=0.0,
    )


def encode(vae: Any, pictures: Tensor) -> Tensor:
    """Return the means of the latents, as they come out of the encoder."""
    mean: Tensor = vae.encoder(pictures)[:, :16]
    return mean


def draw(seed: str, size: scenes.Size, crop: int | None) -> np.ndarray:
    """Return the picture of a random scene, (H, W, 3) uint8, or a flipped crop of it."""
    rng = random.Random(seed)
    scene = scenes.sample(rng)
    picture = scenes.pixels(scene, size, rng)
    if crop is None:
        return picture
    left, top = _corner(scenes.spots(scene, size), size, crop, rng)
    picture = picture[top : top + crop, left : left + crop]
    if rng.random() < 0.5:
        picture = picture[:, ::-1]
    return picture


def _corner(
    spots: list[scenes.Spot], size: scenes.Size, crop: int, rng: random.Random
) -> tuple[int, int]:
    """Return the corner of a crop, most often one that shows a part of an object."""
    if not spots or rng.random() < 0.15:
        return rng.randint(0, size[0] - crop), rng.randint(0, size[1] - crop)
    spot = rng.choice(spots)
    x, y = (spot.x + rng.randint(0, spot.side), spot.y + rng.randint(0, spot.side))
    left, top = (
        max(0, min(centre - crop // 2, length - crop))
        for centre, length in zip((x, y), size, strict=True)
    )
    return left, top


def tensor(pictures: list[np.ndarray]) -> Tensor:
    """Return pictures as (B, 3, H, W) in -1..1, channels last, which convolves faster on a CPU."""
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return (stacked.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def difference(made: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss and its L1 part.

    L1, L1 of gradients and of pooled levels at three scales, and of the strength of fine detail:
    to L1 alone an edge that may be half a pixel off is best when it is soft.
    """
    error = made - wanted
    plain = error.abs().mean()
    total = plain + _DETAIL * (_detail(made) - _detail(wanted)).abs().mean()
    level = error
    for _ in range(3):
        steps = level.diff(dim=2).abs().mean() + level.diff(dim=3).abs().mean()
        total = total + 0.5 * steps / 3
        level = functional.avg_pool2d(level, 2)
        total = total + 0.5 * level.abs().mean() / 3
    return total, plain


def _detail(pictures: Tensor) -> Tensor:
    """Return how strong the Laplacian is, the root of its mean square over 8 x 8 pixels."""
    inner = pictures[..., 1:-1, 1:-1]
    across = pictures[..., 1:-1, :-2] + pictures[..., 1:-1, 2:]
    down = pictures[..., :-2, 1:-1] + pictures[..., 2:, 1:-1]
    return functional.avg_pool2d((across + down - 4 * inner).square(), 8).add(1e-4).sqrt()


def native_size(rng: random.Random) -> scenes.Size:
    """Return the size of one batch: 40 % square, the others evenly."""
    return scenes.NATIVE_SIZES[0] if rng.random() < 0.4 else rng.choice(scenes.NATIVE_SIZES[1:])


class VaeTask:
    """Reconstruction; `decoder_only` freezes the encoder."""

    def __init__(
        self, plan: Plan, decoder_only: bool = False, widths: tuple[int, ...] = WIDTHS
    ) -> None:
        torch.manual_seed(plan.seed)
        self.plan, self.decoder_only = plan, decoder_only
        # The encoder learns to keep away from noise; the decoder then learns what is fine.
        self.noise = 0.05 if decoder_only else 0.2
        self.model: nn.Module = build(widths).to(memory_format=torch.channels_last)
        norms.quicken(self.model)
        if decoder_only:
            self.model.encoder.requires_grad_(False)

    def is_matrix(self, name: str, weight: Tensor) -> bool:
        """Return whether Muon moves this weight: all convolutions but the outermost."""
        return weight.ndim == 4 and "encoder.conv_in" not in name and "decoder.conv_out" not in name

    def loss(self, part: Slice) -> tuple[Tensor, dict[str, float]]:
        """Return the reconstruction loss, crops first, whole pictures later."""
        cropped = not self.decoder_only and part.step < _CROPPED_SHARE * self.plan.steps
        size = native_size(random.Random(part.name()))
        samples = part.samples if cropped else self._fewer(part.samples)
        crop = CROP if cropped else None
        wanted = tensor([draw(part.name(sample), size, crop) for sample in samples])
        generator = part.generator()
        with torch.autocast("cpu", torch.bfloat16):
            latents = self._encode(wanted)
            strength = self.noise * torch.rand((), generator=generator).item()
            noise = torch.randn(latents.shape, generator=generator)
            made = self.model.decoder(latents + strength * noise)
        total, plain = difference(made.float(), wanted)
        loud = (latents.float().square().mean((0, 2, 3)) - 1).relu().mean()
        return total + 0.01 * loud, {"l1": plain.item()}

    def _encode(self, pictures: Tensor) -> Tensor:
        if not self.decoder_only:
            return encode(self.model, pictures)
        with torch.no_grad():
            return encode(self.model, pictures)

    def _fewer(self, samples: range) -> range:
        """Return as many samples as have a batch of crops' pixels."""
        return samples[: max(1, len(samples) // _WHOLE)]


def measure(vae: Any, seed: int) -> None:
    """Set shift and scale so that latents of training scenes have mean 0 and variance 1."""
    with torch.no_grad():
        batches = [
            tensor([draw(f"{seed}/measure/{k}", scenes.NATIVE_SIZES[0], None) for k in ks])
            for ks in np.arange(_MEASURED).reshape(-1, 16)
        ]
        latents = torch.cat([encode(vae, batch) for batch in batches])
    vae.register_to_config(
        shift_factor=latents.mean().item(), scaling_factor=1 / latents.std().item()
    )


def load(folder: Path) -> Any:
    """Return a saved VAE in float32."""
    return AutoencoderKL.from_pretrained(folder, dtype=torch.float32)
