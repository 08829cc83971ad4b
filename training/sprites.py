"""Sprites: the glyphs of the emoji font and the plain figures, as premultiplied RGBA."""

import math
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.vocabulary import Rgb

FONT_PLACES = ("/usr/share/fonts/truetype/noto", "/usr/share/fonts/noto", "/usr/share/fonts")
FONT_NAME = "NotoColorEmoji.ttf"
GLYPH_SIZE = 109  # the only size at which the font's bitmaps exist, pixels

_SUPERSAMPLING = 4


def paste(picture: np.ndarray, sprite: np.ndarray, x: int, y: int) -> None:
    """Lay a sprite over a picture (H, W, 3) uint8, in place."""
    height, width = sprite.shape[:2]
    part = picture[y : y + height, x : x + width]
    below = part.astype(np.uint16) * (255 - sprite[..., 3:]) + 127
    part[:] = sprite[..., :3] + (below // 255).astype(np.uint8)


@cache
def glyph(text: str, side: int) -> np.ndarray:
    """Return an emoji that fills a square of this side, (side, side, 4) uint8."""
    font = ImageFont.truetype(font_path(), GLYPH_SIZE)
    canvas = Image.new("RGBA", (160, 160))
    ImageDraw.Draw(canvas).text((12, 12), text, font=font, embedded_color=True)
    box = canvas.getbbox()
    if box is None:
        raise RuntimeError(f"the emoji font has no picture of {text}")
    picture = canvas.crop(box)
    scale = side / max(picture.size)
    picture = picture.resize(
        (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS
    )
    square = Image.new("RGBA", (side, side))
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    rgba = np.array(square)
    rgba[..., :3] = _shaded(rgba[..., :3], rgba[..., 3])
    return rgba


def figure(shape: str, side: int, colour: Rgb) -> np.ndarray:
    """Return a plain figure in one colour, (side, side, 4) uint8."""
    mask = _mask(shape, side)
    plain = np.broadcast_to(np.array(colour, np.uint8), (side, side, 3))
    return np.concatenate([_shaded(plain, mask), mask[..., None]], axis=2)


def _shaded(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    product = colours.astype(np.uint16) * alpha[..., None] + 127
    shaded: np.ndarray = (product // 255).astype(np.uint8)
    return shaded


@cache
def _mask(shape: str, side: int) -> np.ndarray:
    big = side * _SUPERSAMPLING
    mask = Image.new("L", (big, big))
    draw = ImageDraw.Draw(mask)
    if shape == "circle":
        draw.ellipse((0, 0, big - 1, big - 1), fill=255)
    else:
        draw.polygon([(x * big, y * big) for x, y in _outline(shape)], fill=255)
    return np.asarray(mask.resize((side, side), Image.Resampling.BOX))


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


def font_path() -> str:
    """Return where the emoji font lies; raise FileNotFoundError that names its Debian package."""
    for place in FONT_PLACES:
        path = Path(place) / FONT_NAME
        if path.is_file():
            return str(path)
    raise FileNotFoundError(
        f"{FONT_NAME} is not installed: install the Debian package fonts-noto-color-emoji."
    )
