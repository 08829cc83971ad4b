"""The whole pipeline against diffusers': same prompt, same seed, the same picture."""

import gc
import weakref
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import ZImagePipeline
from numpy.typing import NDArray

from tests import checkpoints
from zing.engine.base import Order
from zing.engine.local import LocalEngine
from zing.engine.zimage.config import read_manifest
from zing.sizes import plan
from zing.task import Picture, Progress

PROMPTS = ("a red circle on a blue background", "一只可爱的猫咪")
NATIVE = read_manifest(checkpoints.BUILTIN, 1).native_sizes


@cache
def engine(folder: Path) -> LocalEngine:
    return LocalEngine(folder, "cpu", 1)


def draw(folder: Path, order: Order) -> Picture:
    *steps, picture = engine(folder).generate(order)
    assert [step for step in steps if isinstance(step, Progress)] == [
        Progress(step, order.steps) for step in range(1, order.steps + 1)
    ]
    assert isinstance(picture, Picture)
    return picture


@cache
def reference_pipeline(folder: Path) -> ZImagePipeline:
    pipeline = ZImagePipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def reference(folder: Path, order: Order) -> NDArray[np.uint8]:
    image = reference_pipeline(folder)(
        order.prompt,
        width=order.width,
        height=order.height,
        num_inference_steps=order.steps,
        guidance_scale=0.0,
        generator=torch.Generator("cpu").manual_seed(order.seed),
    ).images[0]
    return np.array(image)


def share_within_one_level(ours: NDArray[np.uint8], expected: NDArray[np.uint8]) -> float:
    assert ours.shape == expected.shape
    assert expected.std() > 1, "the reference drew nothing"
    return float((np.abs(ours.astype(int) - expected.astype(int)) <= 1).mean())


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("size", NATIVE, ids=str)
def test_builtin_at_its_native_sizes_equals_reference(size: tuple[int, int], prompt: str) -> None:
    order = Order(prompt, *size, seed=7, steps=8)
    ours = draw(checkpoints.BUILTIN, order)
    assert ours.rendered == size
    assert share_within_one_level(ours.pixels, reference(checkpoints.BUILTIN, order)) >= 0.999


@pytest.mark.parametrize("prompt", PROMPTS)
def test_cut_size_equals_the_middle_of_reference(checkpoint: Path, prompt: str) -> None:
    width, height = 101, 76
    multiple = engine(checkpoint).pipeline.multiple
    sizes = plan((width, height), multiple)
    assert sizes.render != (width, height)
    ours = draw(checkpoint, Order(prompt, width, height, seed=11, steps=8))
    whole = reference(checkpoint, Order(prompt, *sizes.render, seed=11, steps=8))
    left, top, right, bottom = sizes.box
    assert ours.pixels.shape == (height, width, 3)
    assert share_within_one_level(ours.pixels, whole[top:bottom, left:right]) >= 0.999


@pytest.mark.parametrize("shard", ["1GB", "40KB"], ids=["one file", "sharded"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_every_storage_form_equals_reference(
    tmp_path: Path, dtype: torch.dtype, shard: str
) -> None:
    shape = checkpoints.SHAPES["odd"]
    folder = checkpoints.save(tmp_path / "checkpoint", shape, dtype, shard)
    shards = list((folder / "transformer").glob("*.safetensors"))
    assert (len(shards) > 1) == (shard == "40KB")
    order = Order("a red circle", 64, 48, seed=3, steps=4)
    assert share_within_one_level(draw(folder, order).pixels, reference(folder, order)) >= 0.999


def test_noise_is_drawn_as_diffusers_draws_it(checkpoint: Path) -> None:
    pipeline = engine(checkpoint).pipeline
    generator = torch.Generator("cpu").manual_seed(5)
    expected = reference_pipeline(checkpoint).prepare_latents(
        1, pipeline.transformer.config.in_channels, 64, 96, torch.float32, "cpu", generator
    )
    assert torch.equal(pipeline.noise(96, 64, 5), expected)


def test_batch_of_two_prompts_equals_each_alone(checkpoint: Path) -> None:
    pipeline = engine(checkpoint).pipeline
    texts = [pipeline.encode("cat"), pipeline.encode("a red circle on blue, " * 9)]
    noise = torch.cat([pipeline.noise(96, 64, seed) for seed in (1, 2)])
    *_, together = pipeline.denoise(noise, texts, 4)
    for index, text in enumerate(texts):
        *_, alone = pipeline.denoise(noise[index : index + 1], [text], 4)
        assert torch.allclose(together.latents[index : index + 1], alone.latents, atol=1e-5)


def test_what_is_kept_from_other_pictures_changes_nothing(checkpoint: Path) -> None:
    """Text, layout and conditioning are kept; another size, prompt and step count between."""
    order = Order("a red circle", 96, 64, seed=1, steps=4)
    fresh = LocalEngine(checkpoint, "cpu", 1)
    *_, first = fresh.generate(order)
    for other in (Order("猫" * 40, 64, 96, 2, 3), Order("a red circle", 64, 64, 2, 8)):
        list(fresh.generate(other))
    *_, again = fresh.generate(order)
    assert isinstance(first, Picture)
    assert isinstance(again, Picture)
    assert np.array_equal(first.pixels, again.pixels)


def test_a_dropped_pipeline_leaves_memory_at_once(checkpoint: Path) -> None:
    dropped = LocalEngine(checkpoint, "cpu", 1)
    list(dropped.generate(Order("cat", 64, 64, seed=1, steps=1)))
    watched = weakref.ref(dropped.pipeline)
    gc.disable()
    del dropped
    gc.enable()
    assert watched() is None
