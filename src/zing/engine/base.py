"""What an engine is: an order in, progress and a picture out. No key, no money, no HTTP."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from zing.task import Picture, Progress


@dataclass(frozen=True)
class Order:
    """What an engine needs to draw one picture; the seed is always known by now.

    previews  whether Progress is to carry some: that of step 1 does, later ones now and then
    """

    prompt: str
    width: int
    height: int
    seed: int
    steps: int
    previews: bool = False


class Engine(Protocol):
    """Turns orders into pictures."""

    def generate(self, order: Order) -> Iterator[Progress | Picture]:
        """Yield Progress after each step and the Picture last; stop iterating to cancel."""
        ...
