"""The contact sheet: the first sixty prompts of a fixed seed, drawn by zing's own engine, judged.

Nobody picked them: scenes as training draws them, captions of its grammar, every second one
Chinese. They depend on no checkpoint.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training import captions, scenes
from training.judging.judge import Judge
from training.judging.painter import STEPS, Painter
from training.judging.prompts import Prompt
from training.judging.verdict import verdict

DOCS = Path(__file__).resolve().parents[2] / "docs"
COUNT = 60
SEED = 60_000

_BATCH = 20
_COLUMNS = 10
_TILE = 160
_FRAME = 3
_STRIP = 16  # below a picture, for its number


@dataclass(frozen=True)
class Tile:
    """One prompt of the sheet, what came, and what of it the judge calls wrong."""

    prompt: Prompt
    picture: np.ndarray
    wrong: tuple[str, ...]


def write(checkpoint: Path, judge: Judge, docs: Path = DOCS) -> list[Tile]:
    """Draw and judge the sheet; write contact-sheet.png and contact-sheet.md into `docs`."""
    tiles = draw(checkpoint, judge)
    picture(tiles).save(docs / "contact-sheet.png", optimize=True)
    (docs / "contact-sheet.md").write_text(page(tiles), encoding="utf-8")
    print(f"{sum(not tile.wrong for tile in tiles)} of {len(tiles)} right")
    return tiles


def prompts() -> list[Prompt]:
    """The prompts, English and Chinese in turn; the number of each is its seed."""
    made = []
    for number in range(1, COUNT + 1):
        rng = random.Random(f"{SEED}/sheet/{number}")
        scene = scenes.sample(rng)
        language = captions.LANGUAGES[(number - 1) % len(captions.LANGUAGES)]
        made.append(Prompt(scene, captions.caption(scene, rng, language), number))
    return made


def draw(checkpoint: Path, judge: Judge) -> list[Tile]:
    """Every prompt drawn at the square native size, and judged."""
    painter, everything = Painter(checkpoint), prompts()
    tiles = []
    for start in range(0, len(everything), _BATCH):
        some = everything[start : start + _BATCH]
        pictures = painter.paint(some)
        for prompt, pixels, reading in zip(some, pictures, judge.read(pictures), strict=True):
            right = verdict(reading, prompt.scene)
            wrong = tuple(name for name, fine in right.items() if not fine and name != "all")
            tiles.append(Tile(prompt, pixels, wrong))
    return tiles


def picture(tiles: Sequence[Tile]) -> Image.Image:
    """All pictures with their numbers, the wrong ones framed in red."""
    rows, height = -(-len(tiles) // _COLUMNS), _TILE + _STRIP
    sheet = Image.new("RGB", (_COLUMNS * _TILE, rows * height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    inner = _TILE - 2 * _FRAME
    for k, tile in enumerate(tiles):
        x, y = k % _COLUMNS * _TILE, k // _COLUMNS * height
        if tile.wrong:
            pen.rectangle((x, y, x + _TILE - 1, y + _TILE - 1), "red")
        shown = Image.fromarray(tile.picture).resize((inner, inner), Image.Resampling.LANCZOS)
        sheet.paste(shown, (x + _FRAME, y + _FRAME))
        pen.text((x + _TILE // 2, y + _TILE + _STRIP // 2), str(k + 1), "black", font, "mm")
    return sheet


def page(tiles: Sequence[Tile]) -> str:
    """The page beside the picture, in Markdown."""
    right = sum(not tile.wrong for tile in tiles)
    rows = [
        f"| {number} | {cell(tile.prompt.text)} | {_judged(tile)} |"
        for number, tile in enumerate(tiles, 1)
    ]
    return "\n".join(
        [
            "# Sixty prompts nobody picked",
            "",
            "![The sixty pictures](contact-sheet.png)",
            "",
            f"{right} of {len(tiles)} are right; a wrong one has a red frame. These are the first "
            f"{len(tiles)} prompts of a fixed seed, as the recipe's scenes and captions come, "
            f"every second one in Chinese. One try each, its number as its seed, {STEPS} steps, "
            "at the square native size.",
            "",
            "Right means that the judge, a network that reads scenes from pictures and knows no "
            "prompt, sees all that the prompt says: the things, the colours of shapes, how many, "
            "where, how large, and the background if one is named. `python -m training sheet` "
            "draws and judges them again.",
            "",
            "| | prompt | judged |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def _judged(tile: Tile) -> str:
    return f"wrong: {', '.join(tile.wrong)}" if tile.wrong else "right"


def cell(text: str) -> str:
    """Text that a Markdown table shows as it is."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")
