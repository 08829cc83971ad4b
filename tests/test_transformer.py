"""Our transformer against diffusers', same weights: one forward and eight steps."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from diffusers import ZImageTransformer2DModel
from torch import Tensor

from tests.parity import difference, load
from zing.engine.zimage.scheduler import euler_step, sigmas
from zing.engine.zimage.transformer import Transformer

# Latent rows x columns, twice the tokens' each way: 64, 35 and 6 tokens.
GRIDS = {"on a multiple of 32": (16, 16), "off it": (14, 10), "fewer than 32": (4, 6)}


def networks(
    folder: Path, dtype: torch.dtype = torch.float32
) -> tuple[Transformer, ZImageTransformer2DModel]:
    reference = ZImageTransformer2DModel.from_pretrained(folder / "transformer", dtype=dtype)
    return load(folder, "transformer", dtype), reference.eval()


def inputs(
    ours: Transformer, lengths: list[int], grid: tuple[int, int]
) -> tuple[Tensor, list[Tensor]]:
    torch.manual_seed(sum(lengths))
    dtype = ours.x_pad_token.dtype
    latents = torch.randn(len(lengths), ours.config.in_channels, *grid)
    texts = [torch.randn(length, ours.config.cap_feat_dim).to(dtype) for length in lengths]
    return latents, texts


@torch.inference_mode()
def run(ours: Transformer, latents: Tensor, texts: list[Tensor], sigma: float) -> Tensor:
    tokens = [ours.text_tokens(text) for text in texts]
    rows, columns = latents.shape[2] // 2, latents.shape[3] // 2
    layout = ours.layout(rows, columns, tuple(map(len, tokens)))
    conditioning = ours.conditioning(torch.tensor(sigma))
    return ours(latents.to(ours.x_pad_token.dtype), conditioning, tokens, layout)


@torch.inference_mode()
def run_reference(
    reference: ZImageTransformer2DModel, latents: Tensor, texts: list[Tensor], sigma: float
) -> Tensor:
    items = list(latents.to(reference.dtype)[:, :, None])
    timestep = (1000 - torch.full((len(items),), sigma) * 1000) / 1000
    outputs = reference(items, timestep, texts, return_dict=False)[0]
    return torch.stack(list(outputs))[:, :, 0]


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
@pytest.mark.parametrize("length", [5, 31, 32, 33, 70, 500])
def test_forward_equals_reference(checkpoint: Path, length: int, grid: tuple[int, int]) -> None:
    ours, reference = networks(checkpoint)
    latents, texts = inputs(ours, [length], grid)
    for sigma in (1.0, 0.3):
        expected = run_reference(reference, latents, texts, sigma)
        assert difference(run(ours, latents, texts, sigma), expected) < 1e-5


def test_batch_of_unequal_lengths_equals_each_alone(checkpoint: Path) -> None:
    ours, reference = networks(checkpoint)
    latents, texts = inputs(ours, [5, 33, 70], (14, 10))
    together = run(ours, latents, texts, 0.75)
    for index, text in enumerate(texts):
        alone = latents[index : index + 1]
        assert difference(together[index : index + 1], run(ours, alone, [text], 0.75)) < 1e-5
        expected = run_reference(reference, alone, [text], 0.75)
        assert difference(together[index : index + 1], expected) < 1e-5


def test_bfloat16_forward_stays_near_reference(checkpoint: Path) -> None:
    ours, reference = networks(checkpoint, torch.bfloat16)
    for length in (5, 33, 70):
        latents, texts = inputs(ours, [length], (14, 10))
        expected = run_reference(reference, latents, texts, 0.75)
        assert difference(run(ours, latents, texts, 0.75), expected) < 2e-2


def test_eight_steps_equal_reference(checkpoint: Path) -> None:
    ours, reference = networks(checkpoint)
    start, texts = inputs(ours, [33], (14, 10))
    falling = sigmas(8, 3.0)
    latents = expected = start
    for sigma, after in pairwise(falling):
        latents = euler_step(latents, run(ours, latents, texts, float(sigma)), sigma, after)
        velocity = -run_reference(reference, expected, texts, float(sigma))
        expected = expected + (after - sigma) * velocity
    assert difference(latents, expected) < 1e-4
