"""Scenes of the built-in model's training: what stands where, in which pixels, and what is open."""

import itertools
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest

from tests.fonts import needs_font
from training import backgrounds, scenes, sprites
from training.scenes import NATIVE_SIZES, Scene, Size, Thing
from training.vocabulary import (
    BACKDROPS,
    BACKGROUNDS,
    COLOUR,
    COLOURS,
    COUNTS,
    EMOJI,
    OBJECTS,
    POSITIONS,
    SHAPES,
    SIZES,
    Shape,
    plural,
)

pytestmark = needs_font

SQUARE = NATIVE_SIZES[0]
RED_ON_WHITE: dict[str, Any] = {"things": (Thing("square", "red"),), "background": "white"}


def _red(scene: Scene, size: Size) -> np.ndarray:
    """Return the places (row, column) of all red pixels."""
    return np.argwhere((scenes.pixels(scene, size) == COLOUR["red"].rgb).all(2))


def _middle(size: Size) -> np.ndarray:
    return (np.array([size[1], size[0]]) - 1) / 2


def test_there_is_what_a_newcomer_asks_for() -> None:
    assert len(EMOJI) >= 120
    assert (len(COLOURS), len(SHAPES), len(BACKDROPS), COUNTS) == (12, 6, 10, (1, 2, 3, 4))
    names = [concept.name for concept in (*OBJECTS, *BACKGROUNDS, *POSITIONS, *SIZES)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_everything_has_two_words_of_its_own(language: str) -> None:
    concepts = (*OBJECTS, *BACKGROUNDS, *POSITIONS, *SIZES)
    words = [word for concept in concepts for word in getattr(concept, language)]
    assert all(len(set(getattr(concept, language))) >= 2 for concept in concepts)
    assert len(set(words)) == len(words)


def test_plurals_are_english() -> None:
    said = {
        "cat": "cats", "kitty": "kitties", "fox": "foxes", "mouse": "mice", "sheep": "sheep",
        "monkey": "monkeys", "cup of coffee": "cups of coffee", "bus": "buses",
        "loaf of bread": "loaves of bread", "wolf": "wolves", "tomato": "tomatoes",
        "face with heart eyes": "faces with heart eyes", "peach": "peaches",
    }  # fmt: skip
    assert {word: plural(word) for word in said} == said


def test_native_sizes_have_few_tokens_and_lie_both_ways() -> None:
    # The middle is a corner of tokens.
    assert all(width % 64 == height % 64 == 0 for width, height in NATIVE_SIZES)
    assert all(width * height <= 96 * 32 * 32 for width, height in NATIVE_SIZES)
    assert {(height, width) for width, height in NATIVE_SIZES} == set(NATIVE_SIZES)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: str(shape.name))
@pytest.mark.parametrize("size", NATIVE_SIZES, ids=str)
def test_shape_stands_in_the_middle_in_its_colour(shape: Shape, size: Size) -> None:
    for colour, behind in itertools.pairwise(COLOURS):
        scene = Scene((Thing(shape.name, colour.name),), background=behind.name)
        picture = scenes.pixels(scene, size)
        assert picture.shape == (size[1], size[0], 3)
        assert tuple(picture[size[1] // 2, size[0] // 2]) == colour.rgb
        assert tuple(picture[0, 0]) == tuple(picture[-1, -1]) == behind.rgb


@pytest.mark.parametrize("size", NATIVE_SIZES, ids=str)
def test_what_has_no_position_stands_in_the_middle(size: Size) -> None:
    for side in SIZES:
        places = _red(Scene(**RED_ON_WHITE, size=side.name), size)
        assert np.abs(places.mean(0) - _middle(size)).max() <= 8


@pytest.mark.parametrize("size", NATIVE_SIZES, ids=str)
def test_positions_move_the_object_and_keep_it_inside(size: Size) -> None:
    sides = {"left": (1, -1), "right": (1, 1), "top": (0, -1), "bottom": (0, 1)}
    for (position, (axis, sign)), side in itertools.product(sides.items(), ("small", "mid")):
        places = _red(Scene(**RED_ON_WHITE, position=position, size=side), size)
        away = places.mean(0) - _middle(size)
        assert away[axis] * sign >= 16
        assert abs(away[1 - axis]) <= 8
        assert (places.min(0) > 0).all()
        assert (places.max(0) < np.array([size[1], size[0]]) - 1).all()


@pytest.mark.parametrize("size", NATIVE_SIZES, ids=str)
@pytest.mark.parametrize("count", COUNTS)
def test_as_many_stand_apart_as_are_asked_for(count: int, size: Size) -> None:
    spots = scenes.spots(Scene((Thing("cat"),), count), size)
    assert len(spots) == count
    _stand_apart_inside(spots, size)


@pytest.mark.parametrize("size", NATIVE_SIZES, ids=str)
def test_two_things_stand_in_their_order(size: Size) -> None:
    pair = (Thing("cat"), Thing("house"))
    first, second = scenes.spots(Scene(pair, relation="beside"), size)
    assert first.x + first.side <= second.x
    assert first.y == second.y
    upper, lower = scenes.spots(Scene(pair, relation="above"), size)
    assert upper.y + upper.side <= lower.y
    assert upper.x == lower.x
    for spots in ([first, second], [upper, lower]):
        _stand_apart_inside(spots, size)


def _stand_apart_inside(spots: list[scenes.Spot], size: Size) -> None:
    taken = np.zeros((size[1], size[0]), int)
    for x, y, side in spots:
        assert x >= 0
        assert y >= 0
        assert side in scenes.SIDES
        assert taken[y : y + side, x : x + side].shape == (side, side)
        taken[y : y + side, x : x + side] += 1
    assert taken.max() == 1


def test_shades_differ_by_seed_and_stay_near_the_named_colour() -> None:
    scene = Scene((Thing("circle", "red"),), background="blue")
    pictures = [scenes.pixels(scene, SQUARE, random.Random(k)).astype(int) for k in range(30)]
    assert len({picture.tobytes() for picture in pictures}) == 30
    for picture in pictures:
        assert np.abs(picture[128, 128] - COLOUR["red"].rgb).max() <= 10
        assert np.abs(picture[0, 0] - COLOUR["blue"].rgb).max() <= 10


def test_open_backgrounds_differ_by_seed_and_never_hide_a_shape() -> None:
    drawn = Counter()  # type: Counter[bytes]
    for k in range(60):
        white = scenes.pixels(Scene((Thing("circle", "white"),)), SQUARE, random.Random(k))
        assert np.abs(white[128, 128].astype(int) - white[0, 0]).max() > 16
        drawn[white[0, 0].tobytes()] += 1
    assert len(drawn) > 3


@pytest.mark.parametrize("size", NATIVE_SIZES, ids=str)
def test_every_background_has_a_look_of_its_own(size: Size) -> None:
    drawn = {scenes.pixels(Scene(background=b.name), size).tobytes() for b in BACKGROUNDS}
    assert len(drawn) == len(BACKGROUNDS)


def test_a_scene_does_not_paint_on_the_cached_landscape() -> None:
    before = scenes.pixels(Scene(background="sea"), SQUARE)
    scenes.pixels(Scene((Thing("square", "red"),), background="sea"), SQUARE)
    assert (scenes.pixels(Scene(background="sea"), SQUARE) == before).all()


def test_every_emoji_has_a_picture_of_its_own() -> None:
    drawn = {
        scenes.pixels(Scene((Thing(e.name),), background="white"), SQUARE).tobytes() for e in EMOJI
    }
    assert len(drawn) == len(EMOJI)
    assert scenes.pixels(Scene(background="white"), SQUARE).tobytes() not in drawn


def test_pasting_blends_edges() -> None:
    sprite = np.zeros((2, 2, 4), np.uint8)
    sprite[0, 0] = (100, 50, 0, 128)
    picture = np.full((4, 4, 3), 200, np.uint8)
    sprites.paste(picture, sprite, 1, 1)
    assert tuple(picture[1, 1]) == (200, 150, 100)
    assert (picture[2:, 2:] == 200).all()


def test_training_never_draws_what_is_held_out() -> None:
    rng = random.Random(0)
    assert not any(scenes.held_out(scenes.sample(rng)) for _ in range(3000))
    every = [
        Scene((Thing(thing.name),), count, background=behind.name)
        for thing, count, behind in itertools.product(OBJECTS, COUNTS, BACKGROUNDS)
    ]
    share = sum(map(scenes.held_out, every)) / len(every)
    assert abs(share - scenes.HELD_OUT_SHARE) < 0.01
    assert not scenes.held_out(Scene((Thing("cat"),)))


def test_samples_hold_every_kind_of_scene() -> None:
    rng = random.Random(5)
    drawn = [scenes.sample(rng) for _ in range(6000)]
    assert {t.object for scene in drawn for t in scene.things} == {o.name for o in OBJECTS}
    assert {scene.background for scene in drawn} == {None, *(b.name for b in BACKGROUNDS)}
    assert {len(scene.things) for scene in drawn} == {0, 1, 2}
    assert {scene.relation for scene in drawn} == {None, "beside", "above"}
    assert {scene.count for scene in drawn} == set(COUNTS)
    assert {scene.position for scene in drawn} == {p.name for p in POSITIONS}
    assert {scene.size for scene in drawn} == {s.name for s in SIZES}
    for scene in drawn:
        colours = {scenes.colour_of(thing) for thing in scene.things if thing.colour}
        assert scene.background not in colours


def test_missing_font_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sprites, "FONT_PLACES", ())
    with pytest.raises(FileNotFoundError, match="fonts-noto-color-emoji"):
        sprites.font_path()


def test_jitter_stays_a_colour() -> None:
    rng = random.Random(0)
    for colour in COLOURS:
        for _ in range(50):
            assert all(0 <= channel <= 255 for channel in backgrounds.jitter(colour.rgb, rng))
