"""Previews: what latents will look like, by one small convolution instead of the decoder.

The convolution is fitted to the checkpoint's own decoder, so any checkpoint has one and no table
of numbers is needed: docs/decisions/0014-previews.md.

Letters: B pictures, C latent channels, H W their rows and columns, S preview pixels a side for
one latent.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from zing.engine.zimage.vae import Vae

PIXELS = 8  # of the picture, a side, for one pixel of the preview
KERNEL = 3  # latents, a side, that a preview pixel is made of
SAMPLES, SIDE = 4, 16  # what is decoded for the fit: so many latents of so many rows and columns
SEED = 1


@dataclass(frozen=True)
class Preview:
    """The fitted convolution.

    weight  (3 S S, C, KERNEL, KERNEL)
    bias    (3 S S,), with what rounds; the values are those of pixels, 0 to 255
    scale   S
    """

    weight: Tensor
    bias: Tensor
    scale: int

    @torch.inference_mode()
    def draw(self, latents: Tensor) -> Tensor:
        """The previews (B, S H, S W, 3) uint8 on the CPU of clean latents (B, C, H, W) float32.

        Latents that are not finite give some colours or other: a preview never fails a picture.
        """
        colours = F.conv2d(latents, self.weight, self.bias, padding=KERNEL // 2)
        pixels = F.pixel_shuffle(colours.clamp_(0, 255).to(torch.uint8), self.scale)
        return pixels.permute(0, 2, 3, 1).contiguous().cpu()


@torch.inference_mode()
def fit(vae: Vae) -> Preview:
    """The convolution that comes nearest, by least squares, to what the decoder makes of noise.

    The noise is the same on every device, so the fit is too but for rounding.
    """
    device = vae.decoder.conv_in.weight.device
    scale = max(1, vae.config.factor // PIXELS)
    latents = _samples(vae.config.latent_channels)
    decoded = vae.decode(latents.to(device)).float().cpu().nan_to_num_(0).clamp_(-1, 1)
    colours = F.avg_pool2d(decoded * 127.5 + 127.5, vae.config.factor // scale)
    targets = _places(F.pixel_unshuffle(colours, scale).flatten(2))
    seen = _places(F.unfold(latents, KERNEL, padding=KERNEL // 2))
    seen = torch.cat((seen, torch.ones(len(seen), 1)), 1)
    solution = torch.linalg.lstsq(seen.double(), targets.double()).solution.float().T
    shape = (len(solution), vae.config.latent_channels, KERNEL, KERNEL)
    weight, bias = solution[:, :-1].reshape(shape), solution[:, -1] + 0.5
    return Preview(weight.to(device), bias.to(device), scale)


def _samples(channels: int) -> Tensor:
    """Noise of two sizes of grain: latents have about its spread and are a little smoother."""
    generator = torch.Generator("cpu").manual_seed(SEED)
    fine = torch.randn(SAMPLES, channels, SIDE, SIDE, generator=generator)
    coarse = torch.randn(SAMPLES, channels, SIDE // 2, SIDE // 2, generator=generator)
    return fine + F.interpolate(coarse, scale_factor=2.0, mode="nearest")


def _places(values: Tensor) -> Tensor:
    """(B, D, L) -> (B L, D)."""
    return values.transpose(1, 2).flatten(0, 1)
