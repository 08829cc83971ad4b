"""Wear: what may happen to a picture before the judge sees it, so that it reads no pixel too much.

A picture is cut a little, as sizes are fitted, blurred by a smaller size or by a Gauss filter,
compressed, shifted in its colours and noised. Where objects stand and what they are stays.
"""

import io
import random

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from training.scenes import Size

CUT = 0.06
"""The most of one side that is cut away."""

_SKEW = 0.01  # how far from the middle a cut may lie, of the side
_SHIFT = 0.05


def worn(picture: np.ndarray, size: Size, rng: random.Random) -> np.ndarray:
    """Return a picture (H, W, 3) uint8 as it may look, at `size`."""
    image = Image.fromarray(picture)
    box = _cut(image.size, rng)
    if rng.random() < 0.5:
        image, box = _smaller(image, box, rng.uniform(1.0, 3.2))
    image = image.resize(size, Image.Resampling.BICUBIC, box)
    if rng.random() < 0.25:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.0)))
    if rng.random() < 0.2:
        image = _compressed(image, rng.randint(35, 95))
    return np.asarray(image)


def tinted(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Return pictures (B, 3, H, W) in -1..1 with other shades and some noise."""
    count = len(pictures)
    contrast = 1 + _SHIFT * _spread(count, 1, generator)
    light = _SHIFT * _spread(count, 1, generator) + _SHIFT / 2 * _spread(count, 3, generator)
    strength = torch.rand((count, 1, 1, 1), generator=generator).square() * 0.12
    _, channels, height, width = pictures.shape
    noise = torch.randn((count, height, width, channels), generator=generator).permute(0, 3, 1, 2)
    return (pictures * contrast + light + strength * noise).clamp_(-1, 1)


def _spread(count: int, channels: int, generator: torch.Generator) -> Tensor:
    return torch.rand((count, channels, 1, 1), generator=generator) * 2 - 1


def _cut(size: Size, rng: random.Random) -> tuple[float, float, float, float]:
    """Return the box that is left when one side loses a little at both ends."""
    shares = [0.0, 0.0]
    if rng.random() < 0.7:
        shares[rng.randrange(2)] = rng.uniform(0, CUT)
    box = []
    for side, share in zip(size, shares, strict=True):
        start = side * max(0.0, min(share, share / 2 + rng.uniform(-_SKEW, _SKEW) * (share > 0)))
        box.append((start, start + side * (1 - share)))
    (left, right), (top, bottom) = box
    return left, top, right, bottom


def _smaller(
    image: Image.Image, box: tuple[float, float, float, float], factor: float
) -> tuple[Image.Image, tuple[float, float, float, float]]:
    """Return a picture of fewer pixels, which is a blurred one at its old size, and its box."""
    width, height = (max(8, round(side / factor)) for side in image.size)
    across, down = width / image.width, height / image.height
    small = image.resize((width, height), Image.Resampling.BILINEAR)
    return small, (box[0] * across, box[1] * down, box[2] * across, box[3] * down)


def _compressed(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")
