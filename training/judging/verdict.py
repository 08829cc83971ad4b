"""Verdicts: what of a caption a picture shows, by the judge's reading of it.

Only what the caption says is asked for: a colour or a background that it leaves open cannot be
wrong. One thing without a place named stands in the middle, which counts as said.
"""

from training.judging.judge import Reading
from training.scenes import Scene


def verdict(reading: Reading, scene: Scene) -> dict[str, bool]:
    """Return what is right of `object` and of whatever else the scene says, and `all` of it.

    object    exactly the things of the scene and no other; two things in any order
    shape     object and colour both right
    relation  the first of two things is the left or the upper one, as every scene has it
    """
    right = {"object": seen(reading) == names(scene)}
    colours = _colours(reading)
    said = [thing for thing in scene.things if thing.colour]
    if said:
        right["colour"] = all(colours.get(thing.object) == thing.colour for thing in said)
        right["shape"] = right["object"] and right["colour"]
    if scene.background is not None:
        right["background"] = reading.background == scene.background
    right |= _pair(reading, scene) if len(scene.things) == 2 else _single(reading, scene)
    return {**right, "all": all(right.values())}


def names(scene: Scene) -> frozenset[str]:
    """Return the objects that a scene asks for."""
    return frozenset(thing.object for thing in scene.things)


def seen(reading: Reading) -> frozenset[str]:
    """Return the objects that the judge saw."""
    return frozenset(name for name in (reading.first, reading.second) if name is not None)


def _colours(reading: Reading) -> dict[str | None, str | None]:
    return {reading.second: reading.second_colour, reading.first: reading.first_colour}


def _single(reading: Reading, scene: Scene) -> dict[str, bool]:
    """Return what is right of a scene of one kind of thing, or of none."""
    right = {"count": reading.count == (scene.count if scene.things else 0)}
    if scene.things and scene.count == 1:
        right["position"] = reading.position == scene.position
        if scene.size != "mid":
            right["size"] = reading.size == scene.size
    return right


def _pair(reading: Reading, scene: Scene) -> dict[str, bool]:
    in_order = reading.first == scene.things[0].object
    return {"relation": in_order and reading.relation == scene.relation}
