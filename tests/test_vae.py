"""Our decoder against diffusers' AutoencoderKL."""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL

from tests.parity import difference, load


def decode_reference(vae: AutoencoderKL, latents: torch.Tensor) -> torch.Tensor:
    scaled = latents.to(vae.dtype) / vae.config.scaling_factor + vae.config.shift_factor
    decoded: torch.Tensor = vae.decode(scaled, return_dict=False)[0]
    return decoded


@pytest.mark.parametrize("size", [(8, 8), (10, 14), (1, 3)])
def test_pixels_equal_reference(checkpoint: Path, size: tuple[int, int]) -> None:
    ours = load(checkpoint, "vae")
    reference = AutoencoderKL.from_pretrained(checkpoint / "vae").eval()
    latents = torch.randn(2, ours.config.latent_channels, *size, generator=torch.manual_seed(1))
    with torch.inference_mode():
        assert difference(ours.decode(latents), decode_reference(reference, latents)) < 1e-5


def test_bfloat16_pixels_stay_near_reference(checkpoint: Path) -> None:
    dtype = torch.bfloat16
    ours = load(checkpoint, "vae", dtype)
    reference = AutoencoderKL.from_pretrained(checkpoint / "vae", dtype=dtype).eval()
    latents = torch.randn(1, ours.config.latent_channels, 10, 14, generator=torch.manual_seed(1))
    with torch.inference_mode():
        assert difference(ours.decode(latents), decode_reference(reference, latents)) < 2e-2


@pytest.mark.parametrize("levels", [2, 4, 6])
def test_any_factor_decodes_to_its_size(tmp_path: Path, levels: int) -> None:
    from tests import checkpoints

    shape = checkpoints.Shape(channels=(8,) * levels)
    ours = load(checkpoints.save(tmp_path / "checkpoint", shape), "vae")
    factor = 2 ** (levels - 1)
    assert ours.config.factor == factor
    with torch.inference_mode():
        assert ours.decode(torch.zeros(1, 16, 3, 5)).shape == (1, 3, 3 * factor, 5 * factor)
