"""The card of the built-in model: what it draws, how well, and how it was made.

Written from the checkpoint's manifest and the evaluation's figures, so that it says nothing that
was not measured or recorded.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from training.judging import figures
from training.vocabulary import (
    ANIMALS,
    FOOD,
    OBJECTS_OF_USE,
    PLANTS_AND_SKY,
    VEHICLES_AND_BUILDINGS,
    Concept,
)

NAME = "README.md"

GROUPS: tuple[tuple[str, tuple[Concept, ...]], ...] = (
    ("Animals", ANIMALS),
    ("Food", FOOD),
    ("Plants and sky", PLANTS_AND_SKY),
    ("Vehicles and buildings", VEHICLES_AND_BUILDINGS),
    ("Things", OBJECTS_OF_USE),
)

_OTHERS = (
    ("Shapes", "shapes"),
    ("Colours of shapes and backgrounds", "colours"),
    ("Other backgrounds", "backgrounds"),
    ("How many", "counts"),
    ("Where", "positions"),
    ("How large", "sizes"),
    ("One of two things is", "relations"),
)


def write(checkpoint: Path, evaluation: Path) -> Path:
    """Write the card into the checkpoint's folder; return its path.

    Raises ValueError where the figures are another checkpoint's.
    """
    found = figures.read(evaluation, checkpoint)
    manifest = json.loads((checkpoint / "zing.json").read_text(encoding="utf-8"))
    path = checkpoint / NAME
    path.write_text(text(manifest, found), encoding="utf-8")
    return path


def text(manifest: dict[str, Any], found: dict[str, Any]) -> str:
    """Return the card."""
    parts = [
        _head(manifest, found),
        _vocabulary(manifest["vocabulary"]),
        _LIMITS,
        _figures(found),
        _sizes(manifest["native_sizes"]),
        _making(manifest["training"]),
        _licences(manifest["licences"]),
    ]
    return "\n\n".join(parts) + "\n"


def _head(manifest: dict[str, Any], found: dict[str, Any]) -> str:
    return "\n".join(
        [
            "# The built-in model",
            "",
            manifest["about"],
            "",
            f"It has the architecture, the file layout and the {manifest['steps']} steps of "
            f"Z-Image-Turbo in {found['bytes'] / 1e6:.1f} MB, and was trained from nothing on "
            "pictures that the recipe in training/ draws.",
            "",
            "![Sixty prompts nobody picked](../../../../docs/contact-sheet.png)",
            "",
            "These are the first sixty prompts of a fixed seed, one try each; "
            "[their words](../../../../docs/contact-sheet.md). A red frame means wrong.",
        ]
    )


def _vocabulary(known: dict[str, list[dict[str, Any]]]) -> str:
    things = {thing["name"]: thing for thing in known["things"]}
    lines = ["## What it draws", ""]
    lines.append(
        f"{len(things)} things and {len(known['shapes'])} shapes in English and Chinese, each "
        "under two words or more: one to four of a kind, or two different ones, small to big, in "
        "the middle or at a side, on plain colours and in simple landscapes. All words are in "
        "`zing.json`."
    )
    lines += ["", "| | English | Chinese |", "|---|---|---|"]
    for title, concepts in GROUPS:
        lines.append(_line(title, [things[c.name] for c in concepts if c.name in things]))
    lines += [_line(title, known[group]) for title, group in _OTHERS if known.get(group)]
    return "\n".join(lines)


def _line(title: str, concepts: Iterable[dict[str, Any]]) -> str:
    some = list(concepts)
    english, chinese = (", ".join(one[language][0] for one in some) for language in ("en", "zh"))
    return f"| {title} ({len(some)}) | {english} | {chinese} |"


_LIMITS = """## What it does not draw

No people, by intention. Nothing that is not in the table: a prompt that names none of it gives a
plain or soft background, and words that it does not know change little. No text, no actions, no
styles, no colours of things other than the shapes, at most two different things, and no more than
four of one. It draws flat little pictures as its training pictures are, not photographs."""


def _figures(found: dict[str, Any]) -> str:
    judged = found["judge"]["renders"]
    return "\n".join(
        [
            "## Figures",
            "",
            f"{found['prompts']} prompts a row and language (half of them each in the rows of "
            f"sizes), {found['steps']} steps, fixed seeds, one try each. They are judged by a "
            "network of the recipe that reads scenes from pictures and knows no prompt; of "
            f"{judged['pictures']:.0f} unseen renders it reads the object of "
            f"{judged['object']:.4f} right. Renders are what training pictures look like, "
            "reconstructions are renders through the VAE and back.",
            "",
            figures.table(found).rstrip(),
            "",
            f"Processor seconds are of {found['seconds']['threads']} threads; a picture took "
            f"{found['seconds']['en']['wall']:.2f} s of wall time. `make train-eval` measures all "
            "of this.",
        ]
    )


def _sizes(sizes: list[list[int]]) -> str:
    listed = ", ".join(f"{width}x{height}" for width, height in sizes)
    return (
        f"## Sizes\n\nIt draws at {listed}. Every other size is the one of these that is nearest "
        "in shape, scaled until it covers the size and cut in the middle, never stretched."
    )


def _making(training: dict[str, Any]) -> str:
    lines = ["## How it was made", "", "| stage | steps | samples | minutes |", "|---|---|---|---|"]
    for name, stage in training.get("stages", {}).items():
        lines.append(f"| {name} | {stage['steps']} | {stage['samples']} | {stage['minutes']} |")
    digest = training.get("recipe_sha256", "")[:12]
    lines += [
        "",
        f"`make train` goes on from it. Seed {training.get('seed', 0)}, recipe {digest} when it "
        "was exported; [training](../../../../training/README.md) tells in what a run from nothing "
        "differs.",
    ]
    return "\n".join(lines)


def _licences(licences: dict[str, str]) -> str:
    lines = [f"- {name}: {said}" for name, said in licences.items()]
    return "\n".join(["## Licences", "", *lines])
