"""The built-in model, version 0: what it draws, how large it is, that its manifest is true."""

from pathlib import Path

import numpy as np
import pytest

from tests.checkpoints import BUILTIN
from training import sheet
from zing import models
from zing.engine.base import Order
from zing.engine.local import LocalEngine, verify
from zing.task import Picture


@pytest.fixture(scope="module")
def tiles() -> list[sheet.Tile]:
    """The contact sheet, drawn now."""
    return sheet.draw(BUILTIN)


def test_at_least_16_of_20_plain_shapes_come_out_right(tiles: list[sheet.Tile]) -> None:
    """The prompts of docs/prompts.tsv, half of them Chinese, at the square native size."""
    assert len(tiles) == 20
    assert sum(not tile.prompt.isascii() for tile in tiles) == 10
    wrong = [tile.prompt for tile in tiles if not tile.right]
    assert len(wrong) <= 4, wrong


def test_the_judge_does_not_pass_another_picture(tiles: list[sheet.Tile]) -> None:
    """Each picture against the next prompt's scene: none may count as right."""
    judge = sheet.Judge(sheet.candidates())
    others = [*tiles[1:], tiles[0]]
    assert not [
        tile.prompt
        for tile, other in zip(tiles, others, strict=True)
        if judge.right(tile.picture, other.scene)
    ]


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
    docs = Path(sheet.DOCS)
    page = (docs / "contact-sheet.md").read_text(encoding="utf-8")
    assert f"{page.count('| right |')} of 20 are right" in page
    assert all(prompt in page for prompt, _ in sheet.prompts())
    assert (docs / "contact-sheet.png").is_file()
