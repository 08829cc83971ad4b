"""Scenes: what one training picture shows, where everything stands in it, and its pixels.

Places do not jitter: one scene is always the same pixels but for its shades, which is what makes
so small a model learn it. Objects have few sides and stand on the same tokens at every size.
"""

import hashlib
import random
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from training import backgrounds, sprites
from training.vocabulary import (
    BACKDROPS,
    COLOUR,
    COLOURS,
    COUNTS,
    EMOJI,
    OBJECT,
    RELATIONS,
    SHAPES,
    Shape,
)

Size = tuple[int, int]

NATIVE_SIZES: tuple[Size, ...] = (
    (256, 256),
    (256, 192), (192, 256),
    (384, 256), (256, 384),
    (320, 192), (192, 320),
    (384, 192), (192, 384),
    (384, 128), (128, 384),
    (512, 128), (128, 512),
)  # fmt: skip
"""Width x height in pixels, all multiples of 64; the square one first.

The middle of each is a corner of the transformer's tokens, which are 32 pixels: what stands there
falls into tokens as it does in the square, and what is learned of one size holds for all.

For the nine ratios, and for 3:1 and 4:1 and their opposites: from 2:1 to 4:1 is so far that
without one between them a picture could lose more than a fifth of a side.
"""

SIDES = (64, 96, 128, 192)
"""The sides that an object can have, pixels."""

HELD_OUT_SHARE = 0.05
"""Share of the combinations of object, background and count that training never shows."""

_ROOMY = 192  # shortest side of a picture, in pixels, that has room for objects of 128
_NARROW = 128
_MARGIN = 16


@dataclass(frozen=True)
class Thing:
    """One object of a scene; `colour` is said of shapes alone, None draws the shape's own."""

    object: str
    colour: str | None = None


@dataclass(frozen=True)
class Scene:
    """What a caption says, and no more: what is left open a seed decides.

    things      none (only a background), one, or two with a relation
    count       how many of the one thing
    relation    beside: the first stands at the left; above: the first stands on top
    background  name of a colour or of a backdrop, or None: not said
    """

    things: tuple[Thing, ...] = ()
    count: int = 1
    relation: str | None = None
    background: str | None = None
    position: str = "centre"
    size: str = "mid"


class Spot(NamedTuple):
    """Where one object stands: its upper left corner and its side, pixels."""

    x: int
    y: int
    side: int


def sample(rng: random.Random) -> Scene:
    """Draw a scene with the shares of the recipe; never a combination that is held out."""
    while held_out(scene := _sample(rng)):
        pass
    return scene


def held_out(scene: Scene) -> bool:
    """Return whether training leaves this combination of object, background and count out."""
    if len(scene.things) != 1 or scene.background is None:
        return False
    name = f"{scene.things[0].object}/{scene.background}/{scene.count}"
    draw = int.from_bytes(hashlib.sha256(f"held out/{name}".encode()).digest()[:4], "big")
    return draw < HELD_OUT_SHARE * 2**32


def _sample(rng: random.Random) -> Scene:
    kind = rng.random()
    if kind < 0.04:
        return Scene(background=_sample_background(rng, 0.6))
    if kind < 0.22:
        return _sample_two(rng)
    thing = _sample_thing(rng)
    background = _sample_background(rng, 0.6, unlike=thing.colour)
    layout = rng.random()
    if layout < 0.24:
        return Scene((thing,), rng.choice(COUNTS[1:]), None, background)
    if layout < 0.40:
        position = rng.choice(("left", "right", "top", "bottom"))
        size = "small" if rng.random() < 0.2 else "mid"
        return Scene((thing,), 1, None, background, position, size)
    if layout < 0.52:
        return Scene((thing,), 1, None, background, size=rng.choice(("small", "big")))
    return Scene((thing,), 1, None, background)


def _sample_two(rng: random.Random) -> Scene:
    first, second = _sample_thing(rng), _sample_thing(rng)
    while second.object == first.object:
        second = _sample_thing(rng)
    relation = RELATIONS[0 if rng.random() < 0.75 else 1].name
    background = _sample_background(rng, 0.4)
    if background in (first.colour, second.colour):
        background = None
    return Scene((first, second), 1, relation, background)


def _sample_thing(rng: random.Random) -> Thing:
    if rng.random() > 0.22:
        return Thing(rng.choice(EMOJI).name)
    said = rng.random() < 0.9
    return Thing(rng.choice(SHAPES).name, rng.choice(COLOURS).name if said else None)


def _sample_background(rng: random.Random, said: float, unlike: str | None = None) -> str | None:
    if rng.random() >= said:
        return None
    if rng.random() < 0.45:
        return rng.choice(BACKDROPS).name
    return rng.choice([colour.name for colour in COLOURS if colour.name != unlike])


def colour_of(thing: Thing) -> str | None:
    """Return the colour that a shape is drawn in; None for an emoji."""
    drawn = OBJECT[thing.object]
    return (thing.colour or drawn.colour) if isinstance(drawn, Shape) else None


def spots(scene: Scene, size: Size) -> list[Spot]:
    """Return where the objects of a scene stand in a picture of this size."""
    if len(scene.things) == 2:
        return _cells(2, size, (2, 1) if scene.relation == "above" else (1, 2))
    if scene.count > 1:
        return _cells(scene.count, size, _arrangement(scene.count, size))
    return [_single(scene, size)] if scene.things else []


def _single(scene: Scene, size: Size) -> Spot:
    side = _side(scene, min(size))
    x, y = ((length - side) // 2 for length in size)
    if scene.position in ("left", "top"):
        edge = _MARGIN
    else:
        edge = size[scene.position == "bottom"] - side - _MARGIN
    if scene.position in ("left", "right"):
        x = max(edge, 0)
    if scene.position in ("top", "bottom"):
        y = max(edge, 0)
    return Spot(_snap(x), _snap(y), side)


def _side(scene: Scene, shortest: int) -> int:
    """Return the side of the one object of a scene."""
    if scene.position != "centre":
        across = shortest > _NARROW
        return 64 if scene.size == "small" else 96 if across else 64
    if shortest >= _ROOMY:
        return {"small": 64, "mid": 128, "big": 192}[scene.size]
    return {"small": 64, "mid": 96, "big": 128}[scene.size]


def _arrangement(count: int, size: Size) -> tuple[int, int]:
    """Return the rows and columns in which so many objects are as large as they can be."""
    shapes = [(rows, -(-count // rows)) for rows in range(1, count + 1)]
    width, height = size
    return max(shapes, key=lambda grid: (min(width / grid[1], height / grid[0]), grid[1]))


def _cells(count: int, size: Size, grid: tuple[int, int]) -> list[Spot]:
    """Return the spots of `count` objects in rows and columns; a last short row is centred."""
    rows, columns = grid
    step_x, step_y = _step(size[0], columns), _step(size[1], rows)
    room = max(min(step_x, step_y) - _MARGIN, SIDES[0])
    side = max(side for side in SIDES[:3] if side <= room)
    spots = []
    for row in range(rows):
        here = min(columns, count - row * columns)
        for column in range(here):
            x = (size[0] + step_x * (2 * column + 1 - here) - side) / 2
            y = (size[1] + step_y * (2 * row + 1 - rows) - side) / 2
            spots.append(Spot(_snap(x), _snap(y), side))
    return spots


def _step(length: int, count: int) -> int:
    """Return how far apart the middles of `count` objects in a line are.

    Where there is room for it a whole number of tokens lies between the middles and that of the
    picture, as in the square.
    """
    even = length // count
    tokens = 32 if count % 2 else 64  # of an even number the nearest is half a step away
    whole = even // tokens * tokens
    return whole if whole >= SIDES[0] + _MARGIN else even


def _snap(place: float) -> int:
    return int(place + 8) // 16 * 16


def pixels(scene: Scene, size: Size, rng: random.Random | None = None) -> np.ndarray:
    """Return the picture of a scene as (H, W, 3) uint8.

    `rng` decides what the scene leaves open; None draws the named colours as they are.
    """
    avoid = [COLOUR[colour].rgb for thing in scene.things if (colour := colour_of(thing))]
    picture = backgrounds.draw(scene.background, size, avoid, rng)
    places = spots(scene, size)
    for k, (x, y, side) in enumerate(places):
        thing = scene.things[min(k, len(scene.things) - 1)]
        sprites.paste(picture, _sprite(thing, side, rng), x, y)
    return picture


def _sprite(thing: Thing, side: int, rng: random.Random | None) -> np.ndarray:
    drawn = OBJECT[thing.object]
    if not isinstance(drawn, Shape):
        return sprites.glyph(drawn.glyph, side)
    rgb = COLOUR[thing.colour or drawn.colour].rgb
    return sprites.figure(drawn.name, side, backgrounds.jitter(rgb, rng))


def render(scene: Scene, size: Size, rng: random.Random | None = None) -> Image.Image:
    """Return the picture of a scene, RGB."""
    return Image.fromarray(pixels(scene, size, rng))
