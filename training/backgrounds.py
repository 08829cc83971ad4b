"""Backgrounds: plain colours, soft gradients, and ten simple landscapes."""

import math
import random
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from training.vocabulary import COLOUR, Rgb

Size = tuple[int, int]

OPEN: tuple[Rgb, ...] = (
    (246, 246, 246), (214, 232, 250), (253, 240, 208), (220, 242, 222), (250, 222, 230),
    (228, 222, 248),
)  # fmt: skip
"""Drawn where the caption names no background; a seed chooses."""

_GRADIENT_SHARE = 0.35
_GRADIENT = 0.3  # how far the foot of a gradient goes towards white
_LIKE = 60  # colours whose channels differ by less cannot be told apart


def draw(name: str | None, size: Size, avoid: list[Rgb], rng: random.Random | None) -> np.ndarray:
    """Return a background as (H, W, 3) uint8: a colour, a backdrop, or None for any soft colour.

    avoid  colours that must stay visible before an open background
    """
    if name is None:
        choices = [colour for colour in OPEN if not any(_alike(colour, c) for c in avoid)]
        return _plain((rng or random.Random(0)).choice(choices or [OPEN[1]]), size, rng)
    if name in COLOUR:
        return _plain(COLOUR[name].rgb, size, rng)
    picture = _backdrop(name, size)
    return (picture[:, ::-1] if rng and rng.random() < 0.5 else picture).copy()


def jitter(colour: Rgb, rng: random.Random | None) -> Rgb:
    """Return a colour with a small change of shade; without `rng` as it is."""
    if rng is None:
        return colour
    shade = rng.uniform(-6, 6)
    red, green, blue = (min(255, max(0, round(c + shade + rng.uniform(-2, 2)))) for c in colour)
    return red, green, blue


def _alike(a: Rgb, b: Rgb) -> bool:
    return all(abs(x - y) < _LIKE for x, y in zip(a, b, strict=True))


def _plain(colour: Rgb, size: Size, rng: random.Random | None) -> np.ndarray:
    width, height = size
    colour = jitter(colour, rng)
    if rng and rng.random() < _GRADIENT_SHARE:
        return _gradient(size, ((0.0, colour), (1.0, _lighter(colour, _GRADIENT))))
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = colour
    return picture


def _lighter(colour: Rgb, share: float) -> Rgb:
    red, green, blue = (round(c + (255 - c) * share) for c in colour)
    return red, green, blue


def _gradient(size: Size, stops: tuple[tuple[float, Rgb], ...]) -> np.ndarray:
    width, height = size
    at = (np.arange(height) + 0.5) / height
    places = [place for place, _ in stops]
    channels = [np.interp(at, places, [colour[k] for _, colour in stops]) for k in range(3)]
    column = np.round(np.stack(channels, axis=1)).astype(np.uint8)
    return np.repeat(column[:, None], width, axis=1)


class _Canvas:
    """A landscape drawn in units of its height, at twice the size, with a sky of a gradient."""

    def __init__(self, size: Size, *sky: tuple[float, Rgb]) -> None:
        self.width, self.height = size[0] * 2, size[1] * 2
        self.size = size
        # Things of a landscape keep their size when the picture is long.
        self.unit = math.sqrt(self.width * self.height)
        self.image = Image.fromarray(_gradient((self.width, self.height), sky))
        self.pen = ImageDraw.Draw(self.image)

    def band(self, top: float, colour: Rgb, wave: float = 0.0, period: float = 1.0) -> None:
        """Fill everything below a line at `top` of the height that waves."""
        points = []
        for x in range(0, self.width + 8, 8):
            swing = math.sin(2 * math.pi * x / (period * self.unit) + 1.0)
            points.append((x, top * self.height + wave * self.unit * swing))
        points += [(self.width, self.height), (0, self.height)]
        self.pen.polygon(points, fill=colour)

    def disc(self, x: float, y: float, radius: float, colour: Rgb) -> None:
        """Draw a disc; x and y are shares of the picture, the radius is in units."""
        r = radius * self.unit
        x, y = x * self.width, y * self.height
        self.pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def peak(self, x: float, foot: float, height: float, colour: Rgb, cap: Rgb | None) -> None:
        """Draw a triangle on a foot line, with a cap of snow where `cap` is a colour."""
        left, base, rise = x * self.width, foot * self.height, height * self.unit
        half = rise * 0.8
        self.pen.polygon([(left - half, base), (left, base - rise), (left + half, base)], colour)
        if cap is not None:
            self.pen.polygon(
                [(left - half / 3, base - rise * 2 / 3), (left, base - rise),
                 (left + half / 3, base - rise * 2 / 3)],
                cap,
            )  # fmt: skip

    def block(self, x: float, foot: float, size: tuple[float, float], colour: Rgb) -> None:
        """Draw an upright rectangle; its width and height are in units."""
        left, base = x * self.width, foot * self.height
        width, height = size[0] * self.unit, size[1] * self.unit
        self.pen.rectangle((left, base - height, left + width, base), fill=colour)

    def pixels(self) -> np.ndarray:
        """Return the picture at its size."""
        return np.asarray(self.image.resize(self.size, Image.Resampling.BOX))


_DAY = ((0.0, (120, 190, 245)), (0.7, (214, 236, 252)))


def _meadow(size: Size) -> _Canvas:
    canvas = _Canvas(size, *_DAY)
    canvas.band(0.56, (134, 200, 92), 0.03, 1.1)
    canvas.band(0.68, (96, 174, 66), 0.025, 0.8)
    return canvas


def _sea(size: Size) -> _Canvas:
    canvas = _Canvas(size, (0.0, (150, 208, 248)), (0.5, (226, 242, 252)))
    canvas.band(0.5, (48, 132, 200))
    canvas.band(0.62, (36, 112, 184), 0.012, 0.25)
    canvas.band(0.8, (26, 92, 164), 0.012, 0.3)
    return canvas


def _beach(size: Size) -> _Canvas:
    canvas = _Canvas(size, (0.0, (132, 204, 248)), (0.4, (220, 242, 252)))
    canvas.band(0.42, (60, 170, 210))
    canvas.band(0.58, (250, 250, 246), 0.012, 0.5)
    canvas.band(0.61, (240, 218, 160), 0.012, 0.5)
    return canvas


def _desert(size: Size) -> _Canvas:
    canvas = _Canvas(size, (0.0, (250, 214, 150)), (0.6, (254, 240, 210)))
    canvas.disc(0.84, 0.18, 0.07, (255, 250, 224))
    canvas.band(0.58, (226, 170, 96), 0.05, 1.0)
    canvas.band(0.72, (206, 144, 74), 0.04, 0.7)
    return canvas


def _snow(size: Size) -> _Canvas:
    canvas = _Canvas(size, (0.0, (176, 200, 226)), (0.7, (226, 236, 246)))
    for k in range(9):
        canvas.disc((0.06 + 0.37 * k) % 1.0, 0.08 + 0.055 * k, 0.014, (252, 253, 255))
    canvas.band(0.6, (226, 236, 248), 0.03, 1.2)
    canvas.band(0.72, (246, 250, 254), 0.025, 0.8)
    return canvas


def _night(size: Size) -> _Canvas:
    canvas = _Canvas(size, (0.0, (12, 18, 56)), (0.8, (44, 54, 116)))
    for k in range(14):
        canvas.disc((0.05 + 0.29 * k) % 1.0, 0.06 + 0.045 * k, 0.008, (250, 244, 206))
    canvas.band(0.78, (20, 34, 50), 0.02, 0.9)
    return canvas


def _sunset(size: Size) -> _Canvas:
    canvas = _Canvas(size, (0.0, (116, 66, 140)), (0.36, (236, 110, 92)), (0.66, (254, 196, 96)))
    canvas.disc(0.5, 0.66, 0.16, (255, 236, 150))
    canvas.band(0.68, (92, 46, 88))
    canvas.band(0.8, (70, 34, 74), 0.012, 0.4)
    return canvas


def _mountains(size: Size) -> _Canvas:
    canvas = _Canvas(size, (0.0, (140, 196, 240)), (0.7, (228, 240, 250)))
    step = 0.36 * canvas.unit / canvas.width
    for k in range(-1, int(1 / step) + 3):
        canvas.peak((k + 0.2) * step, 0.72, 0.36 + 0.1 * (k % 2), (112, 128, 152), (246, 248, 252))
    canvas.band(0.7, (110, 160, 96), 0.02, 0.9)
    return canvas


def _forest(size: Size) -> _Canvas:
    canvas = _Canvas(size, (0.0, (176, 214, 190)), (0.8, (214, 234, 206)))
    for row, colour in ((0, (74, 130, 92)), (1, (38, 96, 60))):
        step = 0.17 * canvas.unit / canvas.width
        for k in range(-1, int(1 / step) + 3):
            x, foot = (k + 0.5 * row) * step, 0.68 + 0.1 * row
            canvas.peak(x, foot, 0.3 + 0.06 * row, colour, None)
            canvas.peak(x, foot - 0.1, 0.26 + 0.06 * row, colour, None)
    canvas.band(0.76, (86, 120, 62), 0.015, 0.8)
    return canvas


def _city(size: Size) -> _Canvas:
    canvas = _Canvas(size, (0.0, (170, 190, 222)), (0.8, (240, 226, 214)))
    for row, colour in ((0, (150, 160, 186)), (1, (92, 102, 134))):
        step = 0.13 * canvas.unit / canvas.width
        for k in range(-1, int(1 / step) + 2):
            height = (0.5, 0.34, 0.44, 0.28, 0.4)[(k + 2 * row) % 5] - 0.12 * row
            canvas.block((k + 0.4 * row) * step, 0.82, (0.1, height), colour)
    canvas.band(0.8, (84, 86, 96))
    return canvas


_BACKDROPS = {
    "meadow": _meadow, "sea": _sea, "beach": _beach, "desert": _desert, "snow": _snow,
    "night": _night, "sunset": _sunset, "mountains": _mountains, "forest": _forest, "city": _city,
}  # fmt: skip


@cache
def _backdrop(name: str, size: Size) -> np.ndarray:
    return _BACKDROPS[name](size).pixels()
