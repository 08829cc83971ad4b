"""The prompts of the evaluation: kinds of scenes, each worded in both languages by fixed seeds.

Their seeds and what is held out depend on no checkpoint; their words are those of the grammar as it
is. One scene of a kind is the same in English and in Chinese.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from training import captions, scenes
from training.scenes import Scene, Size
from training.vocabulary import BACKDROPS, COLOURS, COUNTS, POSITIONS
from zing.sizes import RATIOS

SEED = 20_000

LONG_WORDS = (40, 200)
"""The fewest and the most words of a long prompt."""

OTHER_SIZES: tuple[Size, ...] = ((376, 376), (1536, 1536))

Accept = Callable[[Scene, int], bool]
Word = Callable[[Scene, random.Random, str], str]


@dataclass(frozen=True)
class Prompt:
    """A scene, how it is asked for, and the seed of its noise."""

    scene: Scene
    text: str
    seed: int


def _single(scene: Scene, _index: int) -> bool:
    return len(scene.things) == 1


def _shape(scene: Scene, _index: int) -> bool:
    return len(scene.things) == 1 and scene.things[0].colour is not None


def _counted(scene: Scene, index: int) -> bool:
    return len(scene.things) == 1 and scene.count == COUNTS[index % len(COUNTS)]


def _placed(scene: Scene, index: int) -> bool:
    said = [place.name for place in POSITIONS if place.name != "centre"]
    return len(scene.things) == 1 and scene.position == said[index % len(said)]


def _on_background(scene: Scene, _index: int) -> bool:
    return len(scene.things) == 1 and scene.background is not None


def _pair(scene: Scene, _index: int) -> bool:
    return len(scene.things) == 2


def _any(_scene: Scene, _index: int) -> bool:
    return True


def _caption(scene: Scene, rng: random.Random, language: str) -> str:
    return captions.caption(scene, rng, language)


def _unseen(scene: Scene, rng: random.Random, language: str) -> str:
    return captions.unseen_caption(scene, rng, language)


def _long(scene: Scene, rng: random.Random, language: str) -> str:
    words = rng.randint(*LONG_WORDS)
    return captions.long_caption(scene, rng, language, words, unseen=True)


@dataclass(frozen=True)
class Kind:
    """A kind of prompt.

    accept  which of the scenes that training draws belong to it; the index spreads the answers
    size    of the pictures; None: the square size at which the checkpoint is at home
    halved  the prompts of a row are those of both languages together
    """

    name: str
    accept: Accept
    word: Word = _caption
    size: Size | None = None
    halved: bool = False

    def scene(self, index: int) -> Scene:
        """Return a scene of this kind."""
        rng = random.Random(f"{SEED}/{self.name}/{index}")
        while not self.accept(scene := scenes.sample(rng), index):
            pass
        return _kept_out(scene, rng) if self.name == "combinations" else scene

    def prompt(self, index: int, language: str) -> Prompt:
        """Return a scene of this kind, worded."""
        scene = self.scene(index)
        rng = random.Random(f"{SEED}/{self.name}/{index}/{language}")
        return Prompt(scene, self.word(scene, rng, language), SEED + index)

    def indices(self, count: int) -> range:
        """Return the indices of the scenes in a row of `count` prompts."""
        return range(count // 2 if self.halved else count)


def _kept_out(scene: Scene, rng: random.Random) -> Scene:
    """Return the scene on a background that training never shows with its thing and count."""
    backgrounds = [one.name for one in (*COLOURS, *BACKDROPS)]
    here = [replace(scene, background=name) for name in backgrounds]
    allowed = [one for one in here if scenes.held_out(one) and _visible(one)]
    if allowed:
        return rng.choice(allowed)
    # A thing that is kept from no background gives its place to the next one that is drawn.
    while not _on_background(other := scenes.sample(rng), 0):
        pass
    return _kept_out(other, rng)


def _visible(scene: Scene) -> bool:
    return all(scenes.colour_of(thing) != scene.background for thing in scene.things)


_SIZES = {**RATIOS, **{f"{width}x{height}": (width, height) for width, height in OTHER_SIZES}}

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("grammar", _single),
        Kind("shapes", _shape),
        Kind("count", _counted),
        Kind("position", _placed),
        Kind("wording", _single, _unseen),
        Kind("combinations", _on_background),
        Kind("long", _single, _long),
        Kind("pairs", _pair),
        Kind("mixed", _any),
        *(Kind(f"size {name}", _single, size=size, halved=True) for name, size in _SIZES.items()),
    )
}
"""By name. `grammar` and most others are of one kind of thing; `mixed` is what training draws."""
