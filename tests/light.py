"""An engine that draws next to nothing in next to no time, without torch, for tests of what is
around an engine. It stands where `zing.engine.local` does.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zing.engine.base import Order
from zing.task import Picture, Progress

STEP_S = 0.005


class LocalEngine:
    """Draws two slopes of grey and one colour, which the seed chooses."""

    def __init__(self, folder: Path, device: str, threads: int) -> None:
        pass

    def generate(self, order: Order) -> Iterator[Progress | Picture]:
        """Yield Progress after each step and the Picture last; stop iterating to cancel."""
        small = drawn(16, 16, order.seed)
        for number in range(1, order.steps + 1):
            time.sleep(STEP_S)
            yield Progress(number, order.steps, small if number == 1 and order.previews else None)
        pixels = drawn(order.width, order.height, order.seed)
        yield Picture(pixels, (order.width, order.height), len(order.prompt), len(order.prompt))


def drawn(width: int, height: int, seed: int) -> NDArray[np.uint8]:
    """The pixels, (height, width, 3)."""
    across = np.broadcast_to(np.linspace(0, 255, width), (height, width))
    down = np.broadcast_to(np.linspace(0, 255, height)[:, None], (height, width))
    return np.stack([across, down, np.full((height, width), seed % 256)], axis=2).astype(np.uint8)
