"""Scenes: what one training picture shows, and its pixels.

A scene is one object on a plain background. Positions and sizes do not jitter: one object at one
place is always the same pixels but for a small change of shade, which is what makes so small a
model learn it.
"""

import math
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.vocabulary import COLOUR, COLOURS, EMOJI, OBJECT, SHAPES, Emoji, Rgb

Size = tuple[int, int]

NATIVE_SIZES: tuple[Size, ...] = ((160, 160), (224, 128), (128, 224))
"""Width x height in pixels, all multiples of 32; the square one first."""

SIDES = {"small": 48, "mid": 80, "big": 112}
"""Side of the square that an object fills, pixels."""

OPEN_BACKGROUNDS: tuple[Rgb, ...] = ((246, 246, 246), (216, 232, 248), (252, 242, 214))
"""Drawn where the caption names no background; a seed chooses."""

FONT_PLACES = ("/usr/share/fonts/truetype/noto", "/usr/share/fonts/noto", "/usr/share/fonts")
FONT_NAME = "NotoColorEmoji.ttf"
GLYPH_SIZE = 109  # the only size at which the font's bitmaps exist, pixels

_SHAPE_SHARE = 0.62
_SUPERSAMPLING = 4


@dataclass(frozen=True)
class Scene:
    """One object, its colour, place and size, and what is behind it.

    colour      of a shape; None for an emoji
    colour_said whether captions name the colour (emoji: never needed)
    background  name of a colour, or None: not said
    """

    object: str
    colour: str | None = None
    colour_said: bool = True
    background: str | None = None
    position: str = "centre"
    size: str = "mid"


def sample(rng: random.Random) -> Scene:
    """Draw a scene with the shares of the recipe: half are shapes on a named background."""
    position = "centre" if rng.random() < 0.76 else rng.choice(("left", "right", "top", "bottom"))
    size = "mid" if rng.random() < 0.8 else rng.choice(("small", "big"))
    if rng.random() < _SHAPE_SHARE:
        return _sample_shape(rng, position, size)
    background = rng.choice(COLOURS).name if rng.random() < 0.5 else None
    if background is None and rng.random() < 0.5:
        position, size = "centre", "mid"
    return Scene(rng.choice(EMOJI).name, None, True, background, position, size)


def _sample_shape(rng: random.Random, position: str, size: str) -> Scene:
    shape = rng.choice(SHAPES)
    colour = rng.choice(COLOURS).name
    said = rng.random() >= 0.05
    if not said:
        colour = shape.colour
    if rng.random() < 0.2:
        return Scene(shape.name, colour, said, None, "centre", "mid")
    background = rng.choice([c.name for c in COLOURS if c.name != colour])
    return Scene(shape.name, colour, said, background, position, size)


def render(scene: Scene, size: Size, rng: random.Random | None = None) -> Image.Image:
    """Return the picture of a scene, RGB; `rng` jitters the shades, None draws the named ones."""
    picture = Image.new("RGB", size, _background(scene, rng))
    thing, side = OBJECT[scene.object], SIDES[scene.size]
    x, y = _corner(scene.position, side, size)
    if isinstance(thing, Emoji):
        glyph = _glyph(thing.glyph, side)
        picture.paste(glyph, (x, y), glyph)
        return picture
    colour = COLOUR[scene.colour or thing.colour].rgb
    picture.paste(_jitter(colour, rng), (x, y), _mask(thing.name, side))
    return picture


def pixels(scene: Scene, size: Size, rng: random.Random | None = None) -> np.ndarray:
    """Return the picture of a scene as (H, W, 3) uint8."""
    return np.asarray(render(scene, size, rng))


def _background(scene: Scene, rng: random.Random | None) -> Rgb:
    if scene.background is not None:
        return _jitter(COLOUR[scene.background].rgb, rng)
    # White on near-white would show nothing.
    choices = OPEN_BACKGROUNDS[1:] if scene.colour == "white" else OPEN_BACKGROUNDS
    return _jitter(rng.choice(choices) if rng else choices[0], rng)


def _jitter(colour: Rgb, rng: random.Random | None) -> Rgb:
    if rng is None:
        return colour
    shade = rng.uniform(-8, 8)
    red, green, blue = (min(255, max(0, round(c + shade + rng.uniform(-3, 3)))) for c in colour)
    return red, green, blue


def _corner(position: str, side: int, size: Size) -> tuple[int, int]:
    """Return the upper left corner of the object; offsets snap to 16 pixels, one latent."""
    along_x = {"left": -1, "right": 1}.get(position, 0)
    along_y = {"top": -1, "bottom": 1}.get(position, 0)
    room_x, room_y = ((length - side) // 2 for length in size)
    return room_x + along_x * _snap(room_x), room_y + along_y * _snap(room_y)


def _snap(room: int) -> int:
    return room // 16 * 16 if room >= 16 else room


@cache
def _mask(shape: str, side: int) -> Image.Image:
    big = side * _SUPERSAMPLING
    mask = Image.new("L", (big, big))
    draw = ImageDraw.Draw(mask)
    if shape == "circle":
        draw.ellipse((0, 0, big - 1, big - 1), fill=255)
    else:
        draw.polygon([(x * big, y * big) for x, y in _outline(shape)], fill=255)
    return mask.resize((side, side), Image.Resampling.BOX)


def _outline(shape: str) -> list[tuple[float, float]]:
    """Return the corners of a figure in the unit square."""
    if shape == "square":
        return [(0.06, 0.06), (0.94, 0.06), (0.94, 0.94), (0.06, 0.94)]
    if shape == "triangle":
        return [(0.5, 0.04), (1.0, 0.92), (0.0, 0.92)]
    if shape == "diamond":
        return [(0.5, 0.0), (0.86, 0.5), (0.5, 1.0), (0.14, 0.5)]
    if shape == "star":
        return [_star_corner(k) for k in range(10)]
    return [_heart_point(2 * math.pi * k / 120) for k in range(120)]


def _star_corner(k: int) -> tuple[float, float]:
    radius = 0.54 if k % 2 == 0 else 0.24
    angle = math.pi * (k / 5 - 0.5)
    return 0.5 + radius * math.cos(angle), 0.54 + radius * math.sin(angle)


def _heart_point(t: float) -> tuple[float, float]:
    x = 16 * math.sin(t) ** 3
    y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
    return 0.5 + x / 34, 0.46 - y / 34


@cache
def _glyph(text: str, side: int) -> Image.Image:
    font = ImageFont.truetype(font_path(), GLYPH_SIZE)
    canvas = Image.new("RGBA", (160, 160))
    ImageDraw.Draw(canvas).text((12, 12), text, font=font, embedded_color=True)
    box = canvas.getbbox()
    if box is None:
        raise RuntimeError(f"the emoji font has no picture of {text}")
    glyph = canvas.crop(box)
    scale = side / max(glyph.size)
    glyph = glyph.resize(
        (round(glyph.width * scale), round(glyph.height * scale)), Image.Resampling.LANCZOS
    )
    square = Image.new("RGBA", (side, side))
    square.paste(glyph, ((side - glyph.width) // 2, (side - glyph.height) // 2))
    return square


def font_path() -> str:
    """Return where the emoji font lies; raise FileNotFoundError that names its Debian package."""
    for place in FONT_PLACES:
        path = Path(place) / FONT_NAME
        if path.is_file():
            return str(path)
    raise FileNotFoundError(
        f"{FONT_NAME} is not installed: install the Debian package fonts-noto-color-emoji."
    )
