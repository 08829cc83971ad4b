"""The contact sheet: the twenty prompts of docs/prompts.tsv, drawn by zing's own engine, judged.

The prompts were written before anything that version 0 drew was seen, and stay as they are.
"""

import csv
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from training.evaluate import Judge, contact_sheet
from training.scenes import Scene
from training.vocabulary import COLOURS, POSITIONS, SHAPES, SIZES
from zing.engine.base import Order
from zing.engine.local import LocalEngine
from zing.task import Picture

DOCS = Path(__file__).resolve().parent.parent / "docs"
SEED = 1


@dataclass(frozen=True)
class Tile:
    """One prompt of the sheet, what it asks for and what came."""

    prompt: str
    scene: Scene
    picture: Image.Image
    right: bool


def write(checkpoint: Path) -> None:
    """Draw and judge the sheet; write docs/contact-sheet.png and docs/contact-sheet.md."""
    tiles = draw(checkpoint)
    pictures = [tile.picture for tile in tiles]
    contact_sheet(pictures, [tile.right for tile in tiles], DOCS / "contact-sheet.png")
    (DOCS / "contact-sheet.md").write_text(_page(tiles), encoding="utf-8")
    print(f"{sum(tile.right for tile in tiles)} of {len(tiles)} right")


def draw(checkpoint: Path) -> list[Tile]:
    """Every prompt drawn at the square native size and judged by its nearest render."""
    engine = LocalEngine(checkpoint, "cpu", 1)
    width, height = next(size for size in engine.native_sizes if size[0] == size[1])
    judge = Judge(candidates())
    tiles = []
    for prompt, scene in prompts():
        *_, picture = engine.generate(Order(prompt, width, height, SEED, 8))
        assert isinstance(picture, Picture)
        image = Image.fromarray(picture.pixels)
        tiles.append(Tile(prompt, scene, image, judge.right(image, scene)))
    return tiles


def prompts() -> list[tuple[str, Scene]]:
    """The prompts with the scenes that they ask for; what has no position said is centred."""
    with (DOCS / "prompts.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))
    return [
        (prompt, Scene(shape, colour, background=background, size=size))
        for prompt, shape, colour, background, size in rows
    ]


def candidates() -> list[Scene]:
    """Every plain shape on every other colour: at each place, and in the middle at each size."""
    plain = [
        Scene(shape.name, colour.name, background=behind.name)
        for shape in SHAPES
        for colour in COLOURS
        for behind in COLOURS
        if colour != behind
    ]
    placed = [replace(s, position=place.name) for s in plain for place in POSITIONS]
    sized = [replace(s, size=size.name) for s in plain for size in SIZES]
    return list(dict.fromkeys(placed + sized))


def _page(tiles: list[Tile]) -> str:
    right = sum(tile.right for tile in tiles)
    rows = [
        f"| {number} | {tile.prompt} | {'right' if tile.right else 'wrong'} |"
        for number, tile in enumerate(tiles, 1)
    ]
    return "\n".join(
        [
            "# Twenty prompts",
            "",
            "![The twenty pictures](contact-sheet.png)",
            "",
            f"{right} of {len(tiles)} are right; a wrong one has a red frame. The prompts were "
            "written before anything that the model drew was seen and none was exchanged; one try "
            f"each, seed {SEED}, eight steps, at the square native size, in the table's order.",
            "",
            "Right means: of the renders of every shape in every colour on every other colour, at "
            "every place and size, the nearest one in pixels is the one that the prompt asks for, "
            "and the mean colours in the middle and at the border are within 40 of 255 of the "
            "named ones. `python -m training sheet` draws and judges them again.",
            "",
            "| | prompt | |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )
