"""Previews: about what the picture will be, early, small and cheap; asked for or not drawn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from tests import checkpoints
from tests.parity import load
from zing.engine import local
from zing.engine.base import Order
from zing.engine.local import LocalEngine
from zing.engine.zimage import preview
from zing.pictures import PREVIEW_SIDE_MAX
from zing.task import Picture, Progress

Pixels = NDArray[np.uint8]

ORDERS = [
    Order(prompt, *size, seed, 8, previews=True)
    for seed, (prompt, size) in enumerate(
        [
            ("a red circle on a blue background", (1024, 1024)),
            ("a white square on a black background", (512, 512)),
            ("蓝色背景上的黄色三角形", (1280, 720)),
            ("a green star on a pink background", (720, 1280)),
            ("a yellow car on a beach", (377, 501)),
            ("three purple flowers on a white background", (1200, 400)),
        ],
        1,
    )
]


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preview with each step, however fast the steps are."""
    monkeypatch.setattr(local, "PREVIEW_EVERY_S", 0.0)


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    """The built-in model."""
    return LocalEngine(checkpoints.BUILTIN, "cpu", 1)


def drawn(engine: LocalEngine, order: Order) -> tuple[list[Pixels | None], Pixels]:
    """What each step showed, and the picture."""
    *steps, picture = engine.generate(order)
    assert isinstance(picture, Picture)
    return [step.preview for step in steps if isinstance(step, Progress)], picture.pixels


def shown(engine: LocalEngine, order: Order) -> tuple[list[Pixels], Pixels]:
    """The same where each step has to show one."""
    previews, pixels = drawn(engine, order)
    assert len(previews) == order.steps
    return [one for one in previews if one is not None], pixels


def smaller(pixels: Pixels, like: Pixels) -> Pixels:
    """The picture at a preview's size."""
    size = like.shape[1], like.shape[0]
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def noise_ratio_db(ours: Pixels, expected: Pixels) -> float:
    error = ((ours.astype(float) - expected) ** 2).mean()
    return float(10 * np.log10(255**2 / error))


@pytest.mark.usefixtures("every_step")
@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order.prompt)
def test_half_way_a_preview_shows_the_picture(engine: LocalEngine, order: Order) -> None:
    previews, pixels = shown(engine, order)
    assert len(previews) == order.steps
    for one in previews[3:]:
        expected = smaller(pixels, one)
        assert np.corrcoef(one.ravel(), expected.ravel())[0, 1] > 0.85
        assert np.abs(one.mean((0, 1)) - expected.mean((0, 1))).max() < 40
        assert noise_ratio_db(one, expected) > 17


@pytest.mark.usefixtures("every_step")
def test_no_preview_shows_another_picture(engine: LocalEngine) -> None:
    both = [shown(engine, order) for order in ORDERS[:2]]
    for (previews, _), (_, other) in zip(both, reversed(both), strict=True):
        assert noise_ratio_db(previews[3], smaller(other, previews[3])) < 12


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ((256, 256), (32, 32, 3)),
        ((1280, 720), (22, 40, 3)),
        ((1000, 333), (16, 48, 3)),
        ((64, 2048), (64, 2, 3)),
    ],
)
def test_a_preview_has_an_eighth_of_the_rendered_sides_cut_as_the_picture(
    engine: LocalEngine, size: tuple[int, int], shape: tuple[int, ...]
) -> None:
    (first, *_), _ = drawn(engine, Order("cat", *size, seed=1, steps=1, previews=True))
    assert first is not None
    assert first.shape == shape
    assert first.dtype == np.uint8


@pytest.mark.parametrize("size", [(64, 64), (377, 211), (1040, 80), (80, 1100)])
def test_any_checkpoint_has_small_previews(checkpoint: Path, size: tuple[int, int]) -> None:
    order = Order("cat", *size, seed=1, steps=1, previews=True)
    (first, *_), _ = drawn(LocalEngine(checkpoint, "cpu", 1), order)
    assert first is not None
    height, width, channels = first.shape
    assert channels == 3
    assert first.dtype == np.uint8
    assert max(width, height) <= PREVIEW_SIDE_MAX
    assert abs(width * size[1] / size[0] - height) <= 1 + size[1] / size[0]


def test_previews_change_no_pixel(engine: LocalEngine) -> None:
    _, with_previews = drawn(engine, Order("a red cat", 500, 400, seed=5, steps=4, previews=True))
    without, pixels = drawn(engine, Order("a red cat", 500, 400, seed=5, steps=4))
    assert without == [None] * 4
    assert np.array_equal(with_previews, pixels)


def test_fast_steps_have_no_preview_each(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "PREVIEW_EVERY_S", 3600.0)
    previews, _ = drawn(engine, Order("cat", 64, 64, seed=1, steps=4, previews=True))
    assert [one is not None for one in previews] == [True, False, False, False]


def test_two_engines_draw_the_same_preview(engine: LocalEngine) -> None:
    order = Order("a red cat", 256, 256, seed=5, steps=1, previews=True)
    (one, *_), _ = drawn(engine, order)
    (other, *_), _ = drawn(LocalEngine(checkpoints.BUILTIN, "cpu", 1), order)
    assert one is not None
    assert other is not None
    assert np.array_equal(one, other)


def test_the_clean_latents_of_the_last_step_are_the_last_latents(engine: LocalEngine) -> None:
    pipeline = engine.pipeline
    text, noise = pipeline.encode("cat"), pipeline.noise(256, 256, 1)
    *_, before, last = pipeline.denoise(noise, [text], 3)
    assert torch.equal(last.clean, last.latents)
    assert not torch.equal(before.clean, before.latents)


@pytest.fixture
def vae(small: Path) -> torch.nn.Module:
    """A random decoder to be spoilt."""
    return load(small, "vae")


def test_a_decoder_of_one_colour_gives_that_colour(vae: torch.nn.Module) -> None:
    vae.decoder.conv_out.weight.data.zero_()
    vae.decoder.conv_out.bias.data = torch.tensor([1.0, 0.0, -1.0])
    pixels = preview.fit(vae).draw(torch.randn(1, vae.config.latent_channels, 5, 7))
    assert (pixels - torch.tensor([255, 128, 0])).abs().max() <= 1


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_values_that_are_not_finite_stop_no_preview(vae: torch.nn.Module, value: float) -> None:
    latents = torch.full((1, vae.config.latent_channels, 5, 7), value)
    assert preview.fit(vae).draw(latents).shape[-1] == 3
    vae.decoder.conv_out.bias.data.fill_(value)
    fitted = preview.fit(vae)
    assert torch.isfinite(fitted.weight).all()
    assert torch.isfinite(fitted.bias).all()
