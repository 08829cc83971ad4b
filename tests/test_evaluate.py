"""The evaluation, the contact sheet and the card: which prompts, what counts, what is written."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from tests.checkpoints import BUILTIN  # noqa: E402
from tests.fonts import needs_font  # noqa: E402
from training import captions, scenes  # noqa: E402
from training.judging import bars, card, evaluate, figures, judge, sheet, stopwatch, verdict  # noqa: E402
from training.judging.evaluate import Outcome  # noqa: E402
from training.judging.judge import Judge, Reading, Widths  # noqa: E402
from training.judging.prompts import KINDS  # noqa: E402
from training.scenes import Scene, Thing  # noqa: E402
from training.vocabulary import COLOUR, OBJECT  # noqa: E402
from zing.sizes import RATIOS  # noqa: E402

CAT, RED_STAR = Thing("cat"), Thing("star", "red")
MAIN = ("grammar", "shapes", "count", "position", "wording", "combinations", "long", "pairs")


def _caption(scene: Scene, rng: random.Random, language: str) -> str:
    """A stand-in for the grammar: the words of the things."""
    words = [
        getattr(OBJECT[thing.object], language)[0]
        if thing.colour is None
        else getattr(COLOUR[thing.colour], language)[0] + getattr(OBJECT[thing.object], language)[0]
        for thing in scene.things
    ]
    return " ".join([*words, str(rng.randrange(100))])


def _long(scene: Scene, rng: random.Random, language: str, words: int, unseen: bool = False) -> str:
    assert unseen, "the sentences of an evaluation are ones that training never shows"
    return _caption(scene, rng, language) + " so" * words


@pytest.fixture(autouse=True)
def _grammar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Captions of a few words: what the prompts are about, not how they are worded."""
    monkeypatch.setattr(captions, "caption", _caption)
    monkeypatch.setattr(captions, "unseen_caption", _caption, raising=False)
    monkeypatch.setattr(captions, "long_caption", _long, raising=False)


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """A work folder with a judge that knows nothing but says that it may judge."""
    torch.manual_seed(0)
    pupil = Judge(Widths((8, 8, 8, 8), 8))
    judge.save(pupil, tmp_path / "judge", {"renders": {"pictures": 9.0, "object": 0.995}})
    return tmp_path


def _read(scene: Scene, **changes: Any) -> Reading:
    return replace(judge.reading_of(scene), **changes)


# Verdicts


def test_all_that_a_scene_says_must_be_seen() -> None:
    scene = Scene((RED_STAR,), 1, None, "sea", "left", "small")
    assert all(verdict.verdict(_read(scene), scene).values())
    for name, other in (
        ("first", "heart"), ("first_colour", "blue"), ("count", 2), ("background", None),
        ("position", "right"), ("size", "big"), ("second", "cat"),
    ):  # fmt: skip
        assert not verdict.verdict(_read(scene, **{name: other}), scene)["all"], name
    shape = verdict.verdict(_read(scene, first_colour="blue"), scene)
    assert shape["object"]
    assert not shape["shape"]


def test_what_a_scene_leaves_open_cannot_be_wrong() -> None:
    scene = Scene((Thing("heart"),))
    reading = _read(scene, first_colour="blue", background="night", size="big")
    assert verdict.verdict(reading, scene) == dict.fromkeys(
        ("object", "count", "position", "all"), True
    )


def test_two_things_are_both_there_in_any_order_but_only_one_order_is_right() -> None:
    for relation in ("beside", "above"):
        scene = Scene((CAT, RED_STAR), 1, relation)
        swapped = replace(scene, things=(RED_STAR, CAT))
        right = verdict.verdict(_read(swapped), scene)
        assert right["object"]
        assert right["colour"]
        assert not right["relation"]
        assert verdict.verdict(_read(scene), scene)["all"]
    alone = verdict.verdict(_read(scene, second=None), scene)
    assert not alone["object"]


def test_a_scene_of_nothing_must_show_nothing() -> None:
    scene = Scene(background="red")
    assert verdict.verdict(_read(scene), scene)["all"]
    assert not verdict.verdict(_read(scene, first="cat", count=1), scene)["object"]


# Prompts


def test_the_rows_are_those_that_were_promised() -> None:
    labels = [bar.label for bar in bars.JUDGED]
    assert len(labels) == len(set(labels))
    for name in (*RATIOS, "376x376", "1536x1536"):
        assert f"{name}: object" in labels
        assert bars.JUDGED[labels.index(f"{name}: object")].must == 0.90
    assert {kind for bar in bars.JUDGED for kind in bar.kinds} == set(KINDS)
    assert KINDS["size 16:9"].size == (1280, 720)
    assert KINDS["size 1536x1536"].size == (1536, 1536)
    assert set(MAIN) < set(KINDS)


def test_every_kind_of_prompt_is_what_its_name_says() -> None:
    drawn = {name: [KINDS[name].scene(k) for k in range(24)] for name in KINDS}
    for name in set(KINDS) - {"pairs", "mixed"}:
        assert {len(scene.things) for scene in drawn[name]} == {1}, name
    assert all(scene.things[0].colour for scene in drawn["shapes"])
    assert [scene.count for scene in drawn["count"]] == [1, 2, 3, 4] * 6
    assert {scene.position for scene in drawn["position"]} == {"left", "right", "top", "bottom"}
    assert all(scenes.held_out(scene) for scene in drawn["combinations"])
    assert not any(scenes.held_out(scene) for scene in drawn["grammar"] + drawn["wording"])
    assert {len(scene.things) for scene in drawn["pairs"]} == {2}


def test_prompts_are_the_same_each_time_and_of_one_scene_in_both_languages() -> None:
    for name in MAIN:
        one, again = (KINDS[name].prompt(7, "en") for _ in range(2))
        other = KINDS[name].prompt(7, "zh")
        assert one == again
        assert one.text != other.text
        assert (one.scene, one.seed) == (other.scene, other.seed)
    words = [len(KINDS["long"].prompt(k, "en").text.split()) for k in range(40)]
    assert min(words) >= 40
    assert max(words) <= 205


def test_each_row_has_its_prompts() -> None:
    todo = evaluate.jobs(500)
    counts = {
        (kind, language): sum(
            len(j.indices) for j in todo if (j.kind, j.language) == (kind, language)
        )
        for kind in KINDS
        for language in ("en", "zh", None)
    }
    assert all(counts[name, language] == 500 for name in MAIN for language in ("en", "zh", None))
    for name in KINDS:
        if name.startswith("size "):
            assert counts[name, "en"] + counts[name, "zh"] == 500
    assert sum(len(job.indices) for job in todo if job.kind == "vae") == 500


# Figures


def _outcomes(right: float, count: int = 100) -> list[Outcome]:
    """Outcomes of which this share is right in English; all are right in Chinese."""
    kinds = [*KINDS, "vae"]
    every = ("object", "shape", "count", "background", "position", "all")
    made = []
    for kind in kinds:
        for medium in ("renders", "reconstructed", "en", "zh"):
            for k in range(count):
                fine = medium != "en" or k < right * count
                made.append(
                    Outcome(
                        kind, medium, k, dict.fromkeys(every, fine), ("cat",),
                        sharp=10.0 if medium == "renders" else 4.0, apart=9.0, error=65.025,
                    )
                )  # fmt: skip
    return made


ABOUT = {
    "checkpoint": "", "prompts": 100, "steps": 8, "seed": 1, "bytes": 26_500_000,
    "judge": {"renders": {"pictures": 2000.0, "object": 0.995}},
    "seconds": {"threads": 2, "en": {"cpu": 1.25, "wall": 0.7}, "zh": {"cpu": 1.2, "wall": 0.7}},
}  # fmt: skip


def test_figures_become_a_table_with_shortfalls() -> None:
    found = figures.gather(_outcomes(0.9), ABOUT)
    text = figures.table(json.loads(json.dumps(found)))
    assert text.splitlines()[0].count("|") == 8
    assert (
        "| object right, training grammar | 0.92 | 0.97 | 1.000 | 1.000 | 0.900 | 1.000 |" in text
    )
    assert "| VAE: PSNR of unseen renders | 28 dB | 31 dB |  | 30.0 dB |  |  |" in text
    assert "| 0.35 | 0.6 | 1.000 | 0.400 | 0.400 | 0.400 |" in text
    assert "4/255" in text
    assert "9.0/255" in text
    missed = figures.shortfalls(found)
    assert "object right, training grammar: en 0.900, zh 1.000; must be 0.92, 0.02 short" in missed
    assert "files in all: en 26.5 MB, zh 26.5 MB; must be 25 MB, 1.5 short" in missed
    assert any("10.0 points apart" in sentence for sentence in missed)
    assert all(f"- {sentence}" in text for sentence in missed)
    assert not any("two objects both" in one and "short" in one for one in missed)


def test_nothing_is_short_where_all_is_right() -> None:
    found = figures.gather(_outcomes(1.0), {**ABOUT, "bytes": 20_000_000})
    # One object in all readings is no chance: the control alone is off.
    assert [one for one in figures.shortfalls(found) if "control" not in one] == []


def test_a_judge_that_guesses_is_at_chance() -> None:
    names = [frozenset([str(k % 20)]) for k in range(400)]
    guessed = random.Random(1).choices(names, k=400)
    assert abs(figures.matches(guessed, names) - 0.05) < 0.005
    assert abs(figures.matches(names, names) - 19 / 399) < 1e-9
    assert figures.matches([frozenset()] * 400, names) == 0


def test_figures_of_another_checkpoint_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    with pytest.raises(FileNotFoundError, match="evaluate"):
        figures.read(path, BUILTIN)
    path.write_text(json.dumps({"checkpoint": "another"}), encoding="utf-8")
    with pytest.raises(ValueError, match="another checkpoint"):
        figures.read(path, BUILTIN)


def test_sharpness_falls_when_a_picture_is_blurred() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    soft = (picture // 2 + np.roll(picture, 1, 0) // 2).astype(np.uint8)
    assert evaluate.sharpness(np.full((64, 64, 3), 200, np.uint8)) < 1e-6
    assert 0 < evaluate.sharpness(soft) < evaluate.sharpness(picture)


@needs_font
def test_an_evaluation_writes_all_rows(judged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopwatch, "measure", lambda checkpoint: ABOUT["seconds"])
    chosen = {name: KINDS[name] for name in ("grammar", "pairs", "size 16:9")}
    monkeypatch.setattr(evaluate, "KINDS", chosen)
    evaluate.report(evaluate.Desks(BUILTIN, judged / "judge"), judged, 4)
    found = figures.read(judged / "evaluation.json", BUILTIN)
    rows = {row["label"]: row for row in found["rows"]}
    assert len(rows) == len(bars.JUDGED) + 7
    row = rows["object right, training grammar"]
    assert row["prompts"] == {"renders": 4, "reconstructed": 4, "en": 4, "zh": 4}
    assert rows["16:9: object"]["prompts"] == {"renders": 2, "en": 2, "zh": 2}
    assert rows["files in all"]["values"]["en"] == pytest.approx(14.5, abs=12)
    lines = (judged / "evaluation.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 4 * 2 + 2 * (4 * 4) + 6
    assert (judged / "evaluation.md").read_text(encoding="utf-8") == figures.table(found)


@needs_font
def test_pictures_of_a_batch_are_those_of_their_seeds(judged: Path) -> None:
    desk = evaluate.Desk(BUILTIN, judged / "judge")
    asked = [KINDS["grammar"].prompt(k, "en") for k in range(3)]
    together = desk.painter.paint(asked, (376, 376))
    alone = desk.painter.paint(asked[1:2], (376, 376))[0]
    assert together[1].shape == (376, 376, 3)
    assert np.abs(together[1].astype(int) - alone).max() <= 2


# The sheet and the card


def test_the_sheet_has_the_first_sixty_prompts_of_its_seed() -> None:
    drawn = sheet.prompts()
    assert drawn == sheet.prompts()
    assert len(drawn) == 60
    for number, prompt in enumerate(drawn, 1):
        rng = random.Random(f"{sheet.SEED}/sheet/{number}")
        assert prompt.scene == scenes.sample(rng)
        assert prompt.text == _caption(prompt.scene, rng, "en" if number % 2 else "zh")
        assert prompt.seed == number


def test_the_sheet_shows_every_picture_and_names_the_wrong_ones(
    judged: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    few = sheet.prompts()[:11]
    monkeypatch.setattr(sheet, "prompts", lambda: few)
    tiles = sheet.write(BUILTIN, judge.load(judged / "judge"), tmp_path)
    page = (tmp_path / "contact-sheet.md").read_text(encoding="utf-8")
    right = sum(not tile.wrong for tile in tiles)
    assert f"{right} of 11 are right" in page
    assert page.count("| wrong: ") == 11 - right
    assert all(sheet.cell(prompt.text) in page for prompt in few)
    image = sheet.picture([replace(tiles[0], wrong=()), replace(tiles[1], wrong=("count",))])
    assert image.getpixel((161, 80)) == (255, 0, 0)
    assert image.getpixel((1, 80)) == (255, 255, 255)
    assert sheet.picture(tiles).width == 1600


def test_the_card_says_what_was_measured(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    manifest = (BUILTIN / "zing.json").read_bytes()
    (checkpoint / "zing.json").write_bytes(manifest)
    found = figures.gather(_outcomes(0.9), ABOUT)
    found["checkpoint"] = figures.identity(checkpoint)
    evaluation = tmp_path / "evaluation.json"
    evaluation.write_text(json.dumps(found), encoding="utf-8")
    text = card.write(checkpoint, evaluation).read_text(encoding="utf-8")
    assert figures.table(found).rstrip() in text
    for word in (
        "26.5 MB",
        "penguin",
        "熊猫",
        "Noto Color Emoji",
        "contact-sheet.png",
        "No people",
    ):
        assert word in text
    for width, height in json.loads(manifest)["native_sizes"]:
        assert f"{width}x{height}" in text
    for stage, done in json.loads(manifest)["training"]["stages"].items():
        assert f"| {stage} | {done['steps']} | {done['samples']} | {done['minutes']} |" in text
