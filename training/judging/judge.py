"""The judge: a small network that reads from a picture what scene it shows.

It knows pictures alone, no prompt, so it cannot be talked into anything. It learns from renders
that were worn (see wear.py and lessons.py) and may judge only when it is right on unseen ones.
"""

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from training import scenes
from training.scenes import Scene, Size
from training.vocabulary import BACKDROPS, COLOURS, COUNTS, OBJECTS, POSITIONS, RELATIONS, SIZES

LEAST = 0.99
"""Share of unseen renders whose object must be read right before a judge may judge."""

UNTOLD = -100
"""The target of a head where the picture cannot tell; the loss leaves it out."""

_OBJECTS = (*(thing.name for thing in OBJECTS), None)
_COLOURS = (*(colour.name for colour in COLOURS), None)

HEADS: dict[str, tuple[str | int | None, ...]] = {
    "first": _OBJECTS,
    "second": _OBJECTS,
    "first_colour": _COLOURS,
    "second_colour": _COLOURS,
    "count": (0, *COUNTS),
    "position": tuple(place.name for place in POSITIONS),
    "size": tuple(size.name for size in SIZES),
    "relation": (*(relation.name for relation in RELATIONS), None),
    "background": (*(c.name for c in COLOURS), *(b.name for b in BACKDROPS), None),
}
"""What is read, and the answers. First is the left or the upper one; None is none or not named."""

_GLANCES = 8
_PATCHES = 4
_BATCH = 64  # pictures that are read together
_NEAR_WHITE = 232  # an open background lighter than this cannot be told from a white one


@dataclass(frozen=True)
class Widths:
    """Channels at a half, a quarter, an eighth and a sixteenth of the canvas, and of the heads."""

    levels: tuple[int, int, int, int] = (32, 64, 128, 192)
    hidden: int = 192


@dataclass(frozen=True)
class Reading:
    """What the judge sees in one picture; the fields are the heads."""

    first: str | None
    second: str | None
    first_colour: str | None
    second_colour: str | None
    count: int
    position: str
    size: str
    relation: str | None
    background: str | None


class _Block(nn.Module):
    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.first_norm = nn.GroupNorm(8, out)
        self.second = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.second_norm = nn.GroupNorm(8, out)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(x + self.second_norm(self.second(x)))


class Judge(nn.Module):
    """Convolutions to a map of cells, and heads that glance at the cells with learned queries.

    The canvas keeps the picture's shape, so an object of a long picture is as large as one of a
    square picture; the cells carry their place, in shares of the picture and in pixels.
    """

    def __init__(self, widths: Widths | None = None) -> None:
        super().__init__()
        widths = widths or Widths()
        stem, *_, last = levels = widths.levels
        self.stem = nn.Conv2d(3, stem, 5, 2, 2, bias=False)
        self.stem_norm = nn.GroupNorm(8, stem)
        blocks = [_Block(channels, out, 2) for channels, out in itertools.pairwise(levels)]
        self.blocks = nn.Sequential(*blocks, _Block(last, last, 1))
        self.place = nn.Linear(6, last)
        self.glances = nn.Linear(last, _GLANCES)
        self.mix = nn.Linear(last * (_GLANCES + 1) + 3 * _PATCHES**2, widths.hidden)
        self.mix_norm = nn.LayerNorm(widths.hidden)
        self.names = nn.Linear(last, len(_OBJECTS))
        self.heads = nn.ModuleDict(
            {name: nn.Linear(widths.hidden, len(answers)) for name, answers in HEADS.items()}
        )

    def forward(self, pictures: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return the logits of each head and those of the object in each cell (B, cells, names).

        pictures  (B, 3, H, W) in -1..1, of one canvas
        """
        features = functional.relu(self.stem_norm(self.stem(pictures)))
        features = self.blocks(features)
        cells = features.flatten(2).mT + self.place(_places(features.shape[2], features.shape[3]))
        seen = self.glances(cells).softmax(1).mT @ cells
        # Norms lose how light a plain picture is: its colours go to the heads directly too.
        colours = functional.adaptive_avg_pool2d(pictures, _PATCHES).flatten(1)
        everything = torch.cat([seen.flatten(1), cells.mean(1), colours], 1)
        hidden = functional.relu(self.mix_norm(self.mix(everything)))
        logits = {name: head(hidden).float() for name, head in self.heads.items()}
        # The first two glances name what they see by the words of the cells.
        logits["first"] = logits["first"] + self.names(seen[:, 0]).float()
        logits["second"] = logits["second"] + self.names(seen[:, 1]).float()
        return logits, self.names(cells).float()

    @torch.inference_mode()
    def read(self, pictures: Sequence[np.ndarray]) -> list[Reading]:
        """Return what the pictures (H, W, 3) uint8 show, whatever their sizes."""
        readings: list[Reading] = []
        shapes = [canvas((picture.shape[1], picture.shape[0])) for picture in pictures]
        for shape, group in itertools.groupby(range(len(pictures)), lambda k: shapes[k]):
            chosen = list(group)
            for start in range(0, len(chosen), _BATCH):
                some = [_shrunk(pictures[k], shape) for k in chosen[start : start + _BATCH]]
                logits, _ = self(tensor(some))
                answers = {name: scores.argmax(1).tolist() for name, scores in logits.items()}
                for row in range(len(some)):
                    readings.append(_reading({name: answers[name][row] for name in HEADS}))
        return readings


def canvas(size: Size) -> Size:
    """Return the size at which a picture is read: half of the native size nearest in shape."""

    def distance(native: Size) -> float:
        return abs(math.log(native[0] * size[1] / (native[1] * size[0])))

    width, height = min(scenes.NATIVE_SIZES, key=distance)
    return width // 2, height // 2


def tensor(pictures: Sequence[np.ndarray]) -> Tensor:
    """Return pictures of one size as (B, 3, H, W) in -1..1, channels last."""
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return (stacked.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def targets(scene: Scene, picture: np.ndarray, size: Size) -> dict[str, int]:
    """Return the answer of each head as its index, UNTOLD where the picture cannot tell.

    picture  the scene's pixels, which decide whether an open background could be a white one
    """
    truth = reading_of(scene)
    wanted = {name: answers.index(getattr(truth, name)) for name, answers in HEADS.items()}
    if scene.background is None and picture[0, 0].min() >= _NEAR_WHITE:
        wanted["background"] = UNTOLD
    if not _size_shows(scene, size):
        wanted["size"] = UNTOLD
    return wanted


def reading_of(scene: Scene) -> Reading:
    """Return what a perfect judge reads from a picture of a scene."""
    names = [thing.object for thing in scene.things] + [None, None]
    colours = [scenes.colour_of(thing) for thing in scene.things] + [None, None]
    return Reading(
        first=names[0],
        second=names[1],
        first_colour=colours[0],
        second_colour=colours[1],
        count=scene.count if scene.things else 0,
        position=scene.position,
        size=scene.size,
        relation=scene.relation,
        background=scene.background,
    )


def map_of(scene: Scene, size: Size) -> list[int]:
    """Return the object that stands in each cell, row by row, as its index in HEADS["first"]."""
    columns, rows = size[0] // 32, size[1] // 32
    cells = np.full((rows, columns), len(OBJECTS))
    for k, (x, y, side) in enumerate(scenes.spots(scene, size)):
        thing = scene.things[min(k, len(scene.things) - 1)]
        low, high = _middles(y, side), _middles(x, side)
        cells[low[0] : low[1], high[0] : high[1]] = _OBJECTS.index(thing.object)
    return [int(cell) for cell in cells.ravel()]


def save(judge: Judge, folder: Path, report: dict[str, dict[str, float]]) -> None:
    """Write the weights, fp16, and what they reach on unseen renders."""
    folder.mkdir(parents=True, exist_ok=True)
    widths = {name: tuple(part.shape) for name, part in judge.state_dict().items()}
    levels = tuple(widths[name][0] for name in _LEVEL_WEIGHTS)
    hidden = widths["mix.weight"][0]
    weights = {name: part.half().contiguous() for name, part in judge.state_dict().items()}
    save_file(weights, folder / "judge.safetensors")
    (folder / "judge.safetensors").chmod(0o644)
    about = {"levels": levels, "hidden": hidden, "report": report}
    (folder / "judge.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def load(folder: Path) -> Judge:
    """Return a saved judge; raise ValueError where it reads too few unseen renders right."""
    about = _about(folder)
    right = about["report"]["renders"]["object"]
    if right < LEAST:
        raise ValueError(
            f"the judge reads the object of {right:.3f} of unseen renders right, {LEAST} are "
            "needed before it may judge: train it longer."
        )
    judge = Judge(Widths(tuple(about["levels"]), about["hidden"]))
    judge.load_state_dict(load_file(folder / "judge.safetensors"))
    judge.eval().to(memory_format=torch.channels_last)
    return judge


def report(folder: Path) -> dict[str, dict[str, float]]:
    """Return what a saved judge reaches on unseen pictures, by their kind and by its heads."""
    found: dict[str, dict[str, float]] = _about(folder)["report"]
    return found


def _about(folder: Path) -> dict[str, Any]:
    if not (folder / "judge.json").is_file():
        raise FileNotFoundError(f"{folder} has no judge: run 'python -m training judge' first.")
    about: dict[str, Any] = json.loads((folder / "judge.json").read_text(encoding="utf-8"))
    return about


_LEVEL_WEIGHTS = ("stem.weight", *(f"blocks.{k}.first.weight" for k in range(3)))


def _reading(answers: dict[str, int]) -> Reading:
    return Reading(**{name: HEADS[name][index] for name, index in answers.items()})  # type: ignore[arg-type]


def _shrunk(picture: np.ndarray, size: Size) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def _places(rows: int, columns: int) -> Tensor:
    """Return where the cells lie (rows * columns, 6)."""
    y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
    across, down = 2 * x / columns - 1, 2 * y / rows - 1
    places = [across, down, across * columns / 8, down * rows / 8, across**2, down**2]
    return torch.stack(places, -1).flatten(0, 1)


def _middles(start: int, side: int) -> tuple[int, int]:
    """Return the range of cells whose middles lie in `side` pixels from `start`."""
    return max(0, -(-(start - 16) // 32)), max(0, -(-(start + side - 16) // 32))


def _size_shows(scene: Scene, size: Size) -> bool:
    """Return whether the scene would look different in another size."""
    if len(scene.things) != 1 or scene.count > 1:
        return True  # always mid, whatever the picture
    sizes = ("small", "mid") if scene.position != "centre" else ("small", "mid", "big")
    others = [replace(scene, size=other) for other in sizes if other != scene.size]
    return scenes.spots(scene, size) not in [scenes.spots(other, size) for other in others]
