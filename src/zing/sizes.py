"""Picture sizes: ratios and WxH as people write them, and what a checkpoint renders for them.

Sizes are (width, height) in pixels everywhere in zing.
"""

import math
import re
from dataclasses import dataclass

from zing.errors import BadSize

Size = tuple[int, int]

SIDE_MIN, SIDE_MAX = 64, 2048

# dialects.md 2.5: every side a multiple of 16 and about one megapixel.
RATIOS: dict[str, Size] = {
    "1:1": (1024, 1024),
    "4:3": (1152, 864),
    "3:4": (864, 1152),
    "16:9": (1280, 720),
    "9:16": (720, 1280),
    "3:2": (1248, 832),
    "2:3": (832, 1248),
    "2:1": (1408, 704),
    "1:2": (704, 1408),
}

_WIDTH_X_HEIGHT = re.compile(r"(\d{1,5})[xX*](\d{1,5})", re.ASCII)


@dataclass(frozen=True)
class Plan:
    """How a size is reached: render `render`, scale it to `scaled`, cut `box` out of the middle.

    `scaled` equals `render` where nothing is scaled; `box` is (left, top, right, bottom).
    """

    render: Size
    scaled: Size
    box: tuple[int, int, int, int]


def parse_size(text: str, low: int = SIDE_MIN, high: int = SIDE_MAX) -> Size:
    """The (width, height) that a ratio such as 16:9 or a text such as 1280x720 names."""
    if text in RATIOS:
        return RATIOS[text]
    match = _WIDTH_X_HEIGHT.fullmatch(text)
    if match is None:
        raise BadSize(
            f"{text!r} is not a size: write WIDTHxHEIGHT, such as 1024x768, "
            f"or one of {', '.join(RATIOS)}."
        )
    width, height = int(match[1]), int(match[2])
    check_size(width, height, low, high)
    return width, height


def check_size(width: int, height: int, low: int = SIDE_MIN, high: int = SIDE_MAX) -> None:
    """Refuse a size with a side outside low..high."""
    if not (low <= width <= high and low <= height <= high):
        raise BadSize(f"{width}x{height} is out of range: each side is {low} to {high} pixels.")


def plan(size: Size, multiple: int, native_sizes: tuple[Size, ...] = ()) -> Plan:
    """The plan for exactly `size` with a model that renders multiples of `multiple`.

    Without native sizes the next multiple is rendered and cut; with them the one nearest in
    aspect ratio is rendered, scaled until it covers `size`, and cut. Nothing is ever stretched.
    """
    if native_sizes:
        render = nearest(size, native_sizes)
        scaled = _cover(render, size)
    else:
        render = (_round_up(size[0], multiple), _round_up(size[1], multiple))
        scaled = render
    return Plan(render, scaled, _centre(scaled, size))


def nearest(size: Size, native_sizes: tuple[Size, ...]) -> Size:
    """The native size whose aspect ratio is nearest; of equal ones, the nearest in area."""

    def distance(native: Size) -> tuple[float, float]:
        ratio = abs(math.log(native[0] * size[1] / (native[1] * size[0])))
        return round(ratio, 9), abs(math.log(native[0] * native[1] / (size[0] * size[1])))

    return min(native_sizes, key=distance)


def _round_up(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple


def _cover(inner: Size, outer: Size) -> Size:
    """`inner` scaled by one factor so that it just covers `outer`."""
    (w, h), (width, height) = inner, outer
    if width * h >= height * w:
        return width, max(height, round(h * width / w))
    return max(width, round(w * height / h)), height


def _centre(outer: Size, inner: Size) -> tuple[int, int, int, int]:
    left, top = (outer[0] - inner[0]) // 2, (outer[1] - inner[1]) // 2
    return left, top, left + inner[0], top + inner[1]
