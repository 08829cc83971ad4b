"""Figures: what all outcomes of an evaluation come to, as plain data, a table and shortfalls."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.captions import LANGUAGES
from training.judging import bars
from training.judging.bars import Bar
from training.judging.prompts import KINDS
from training.judging.verdict import names

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from training.judging.evaluate import Outcome

MEDIA = ("renders", "reconstructed", *LANGUAGES)

Row = dict[str, Any]


def gather(outcomes: Sequence[Outcome], about: dict[str, Any]) -> dict[str, Any]:
    """Return all figures: `about` as it is, and one row for each bar."""
    rows = [_psnr(outcomes), *(_shares(bar, outcomes) for bar in (bars.VAE_OBJECT, *bars.JUDGED))]
    rows += [_control(outcomes), _sharpness(outcomes), _seeds(outcomes)]
    size = about["bytes"] / 1e6
    rows.append(_row(bars.FILES, dict.fromkeys(LANGUAGES, size)))
    seconds = about["seconds"]
    rows.append(_row(bars.SECONDS, {language: seconds[language]["cpu"] for language in LANGUAGES}))
    return {**about, "rows": rows}


def table(figures: dict[str, Any]) -> str:
    """Return the Markdown table, and below it what falls short and by how much."""
    lines = [
        "| measure | must | aim | renders | reconstructed | generated en | generated zh |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in figures["rows"]:
        cells = [_shown(row["values"].get(medium), row["unit"]) for medium in MEDIA]
        bar = [_shown(row[name], row["unit"], bar=True) for name in ("must", "aim")]
        lines.append(f"| {' | '.join([row['label'], *bar, *cells])} |")
    missed = shortfalls(figures)
    lines += ["", "Short of a must:" if missed else "Nothing is short of a must.", ""]
    return "\n".join([*lines, *(f"- {one}" for one in missed), *([""] if missed else [])])


def shortfalls(figures: dict[str, Any]) -> list[str]:
    """Return a sentence for each bar that is missed and for languages that are too far apart."""
    return [sentence for row in figures["rows"] for sentence in (*_missed(row), *_apart(row))]


def identity(checkpoint: Path) -> str:
    """Return a digest of a checkpoint: of its manifest, which has those of all files."""
    return hashlib.sha256((checkpoint / "zing.json").read_bytes()).hexdigest()


def read(path: Path, checkpoint: Path) -> dict[str, Any]:
    """Return saved figures; raise ValueError where they are another checkpoint's."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run 'python -m training evaluate' first.")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if found["checkpoint"] != identity(checkpoint):
        raise ValueError(f"{path} has the figures of another checkpoint than {checkpoint}.")
    return found


def _row(bar: Bar, values: dict[str, float], prompts: dict[str, int] | None = None) -> Row:
    return {
        "label": bar.label,
        "must": bar.must,
        "aim": bar.aim,
        "unit": bar.unit,
        "low": bar.low,
        "values": {medium: round(value, 4) for medium, value in values.items()},
        "prompts": prompts or {},
    }


def _shares(bar: Bar, outcomes: Iterable[Outcome]) -> Row:
    told: dict[str, list[bool]] = {}
    for one in outcomes:
        if one.kind in bar.kinds and bar.attribute in one.right:
            told.setdefault(one.medium, []).append(one.right[bar.attribute])
    values = {medium: sum(right) / len(right) for medium, right in told.items()}
    return _row(bar, values, {medium: len(right) for medium, right in told.items()})


def _psnr(outcomes: Iterable[Outcome]) -> Row:
    """Return the PSNR of the mean error of all pictures, which hard ones weigh down."""
    errors = [one.error for one in outcomes if one.medium == "reconstructed" and one.error]
    if not errors:
        return _row(bars.PSNR, {})
    value = 10 * math.log10(255**2 / statistics.fmean(errors))
    return _row(bars.PSNR, {"reconstructed": value}, {"reconstructed": len(errors)})


def _control(outcomes: Iterable[Outcome]) -> Row:
    """Return how often the object of another prompt is seen, beside how often they are equal."""
    seen: dict[str, list[frozenset[str]]] = {}
    asked: dict[str, list[frozenset[str]]] = {}
    for one in outcomes:
        if one.kind == "grammar":
            seen.setdefault(one.medium, []).append(frozenset(one.names))
            asked.setdefault(one.medium, []).append(names(KINDS[one.kind].scene(one.index)))
    values = {medium: matches(seen[medium], asked[medium]) for medium in seen}
    chance = matches(asked["renders"], asked["renders"]) if "renders" in asked else 0.0
    row = _row(bars.CONTROL, values, {medium: len(all_) for medium, all_ in seen.items()})
    return {**row, "must": round(chance + bars.NEAR_CHANCE, 4), "chance": round(chance, 4)}


def matches(seen: Sequence[frozenset[str]], asked: Sequence[frozenset[str]]) -> float:
    """Return the share of equal ones among all pairs but those of the same place."""
    count = len(seen)
    if count < 2:
        return 0.0
    there = Counter(seen)
    pairs = sum(there[wanted] for wanted in asked)
    own = sum(a == b for a, b in zip(seen, asked, strict=True))
    return (pairs - own) / (count * (count - 1))


def _sharpness(outcomes: Iterable[Outcome]) -> Row:
    sharp: dict[str, list[float]] = {}
    for one in outcomes:
        if one.kind == "grammar" and one.sharp is not None:
            sharp.setdefault(one.medium, []).append(one.sharp)
    medians = {medium: statistics.median(some) for medium, some in sharp.items()}
    base = medians.get("renders")
    values = {medium: median / base for medium, median in medians.items()} if base else {}
    return _row(bars.SHARPNESS, values, {medium: len(some) for medium, some in sharp.items()})


def _seeds(outcomes: Iterable[Outcome]) -> Row:
    apart: dict[str, list[float]] = {}
    for one in outcomes:
        if one.apart is not None:
            apart.setdefault(one.medium, []).append(one.apart)
    values = {language: statistics.fmean(some) for language, some in apart.items()}
    return _row(bars.SEEDS, values, {language: len(some) for language, some in apart.items()})


def _shown(value: float | None, unit: str, bar: bool = False) -> str:
    if value is None:
        return ""
    number = {"dB": f"{value:.1f}", "MB": f"{value:.1f}", "of 255": f"{value:.1f}"}.get(
        unit, f"{value:.3f}"
    )
    if unit == "chance":
        return f"chance, ≤ {number}" if bar else number
    if bar:
        number = f"{value:.2f}" if unit == "share" and round(value, 2) == value else f"{value:g}"
    return f"{number}/255" if unit == "of 255" else f"{number} {unit}" if unit in _NAMED else number


_NAMED = ("dB", "MB", "s")


def _barred(row: Row) -> dict[str, float]:
    """Return the values that the bar is for: generated ones, where there are some."""
    generated = {k: value for k, value in row["values"].items() if k in LANGUAGES}
    return generated or {k: v for k, v in row["values"].items() if k == "reconstructed"}


def _missed(row: Row) -> list[str]:
    if row["must"] is None:
        return []
    values, unit = _barred(row), row["unit"]
    sign = 1 if row["low"] else -1
    missing = max((sign * (value - row["must"]) for value in values.values()), default=0)
    if missing <= 0:
        return []
    shown = ", ".join(f"{medium} {_shown(value, unit)}" for medium, value in values.items())
    must = _shown(row["must"], unit, bar=True)
    return [f"{row['label']}: {shown}; must be {must}, {missing:.3g} short"]


def _apart(row: Row) -> list[str]:
    values = [row["values"].get(language) for language in LANGUAGES]
    if row["unit"] != "share" or None in values:
        return []
    points = abs(values[0] - values[1])
    if points <= bars.APART + 1e-9:
        return []
    return [f"{row['label']}: English and Chinese are {100 * points:.1f} points apart"]
