"""The built-in model: what it draws, how large it is, that its manifest and its sheet are true."""

import random

import numpy as np
import pytest

from tests.checkpoints import BUILTIN
from training.judging import sheet
from training.judging.painter import Painter
from training.judging.prompts import Prompt
from training.scenes import Scene, Thing
from training.vocabulary import COLOUR, COLOURS, OBJECT, SHAPES
from zing import models
from zing.engine.base import Order
from zing.engine.local import LocalEngine, verify
from zing.task import Picture

CLOSE = 40
"""Largest difference of a channel that passes for the named colour, of 255."""


def _plain_prompts() -> list[Prompt]:
    """Twenty plain shapes on plain backgrounds by a fixed seed, every second one in Chinese."""
    rng, made = random.Random(1), []
    for seed in range(20):
        colour, behind = rng.sample(COLOURS, 2)
        shape = OBJECT[rng.choice(SHAPES).name]
        text = f"a {colour.en[0]} {shape.en[0]} on a {behind.en[0]} background"
        if seed % 2:
            text = f"{behind.zh[0]}色背景上的{colour.zh[0]}色{shape.zh[0]}"
        scene = Scene((Thing(shape.name, colour.name),), background=behind.name)
        made.append(Prompt(scene, text, seed))
    return made


PLAIN = _plain_prompts()


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """The twenty plain shapes, drawn now."""
    return Painter(BUILTIN).paint(PLAIN)


def _has_colours(picture: np.ndarray, scene: Scene) -> bool:
    """Whether the middle and the border have the colours of the shape and the background."""
    height, width = picture.shape[:2]
    middle = picture[height // 2 - 8 : height // 2 + 8, width // 2 - 8 : width // 2 + 8]
    border = np.concatenate([picture[:8], picture[-8:]])
    named = scene.things[0].colour, scene.background
    return all(
        np.abs(part.reshape(-1, 3).mean(0) - COLOUR[str(name)].rgb).max() <= CLOSE
        for part, name in zip((middle, border), named, strict=True)
    )


def test_plain_shapes_come_out_in_their_colours(pictures: list[np.ndarray]) -> None:
    pairs = zip(PLAIN, pictures, strict=True)
    wrong = [prompt.text for prompt, picture in pairs if not _has_colours(picture, prompt.scene)]
    assert len(wrong) <= 2, wrong


def test_no_picture_has_the_colours_of_the_next_prompt(pictures: list[np.ndarray]) -> None:
    others = [*PLAIN[1:], PLAIN[0]]
    pairs = zip(pictures, others, strict=True)
    assert sum(_has_colours(picture, other.scene) for picture, other in pairs) <= 1


@pytest.mark.parametrize("prompt", ["a blue circle on a white background", "白色背景上的蓝色圆形"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_has_no_position_stands_in_the_middle(prompt: str, seed: int) -> None:
    engine = LocalEngine(BUILTIN, "cpu", 1)
    side = next(width for width, height in engine.native_sizes if width == height)
    *_, picture = engine.generate(Order(prompt, side, side, seed, 8))
    assert isinstance(picture, Picture)
    assert picture.rendered == (side, side)
    red, blue = (picture.pixels[..., channel].astype(int) for channel in (0, 2))
    rows, columns = np.nonzero(blue - red > 90)
    assert len(rows) > side**2 / 64
    assert abs(rows.mean() - (side - 1) / 2) < side / 26
    assert abs(columns.mean() - (side - 1) / 2) < side / 26


def test_all_files_are_small_and_sound() -> None:
    files = [path for path in BUILTIN.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 25_000_000
    assert not [path for path in files if path.suffix in {".bin", ".pt", ".pkl"}]
    assert verify(BUILTIN) > 1_000_000


def test_the_manifest_records_every_other_file() -> None:
    others = [path for path in models.checkpoint_files(BUILTIN) if path.name != "zing.json"]
    assert models.verify_files(models.builtin()) == len(others)


def test_the_contact_sheet_is_what_the_page_says() -> None:
    page = (sheet.DOCS / "contact-sheet.md").read_text(encoding="utf-8")
    assert f"{page.count('| right |')} of {sheet.COUNT} are right" in page
    assert all(sheet.cell(prompt.text) in page for prompt in sheet.prompts())
    assert (sheet.DOCS / "contact-sheet.png").is_file()
