"""The judge: what it must read, how pictures are worn, who may judge; small networks, few steps."""

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from tests.fonts import needs_font  # noqa: E402
from training import scenes, stages, vae  # noqa: E402
from training.__main__ import JUDGE  # noqa: E402
from training.judging import judge, lessons, wear  # noqa: E402
from training.judging.judge import HEADS, UNTOLD, Judge, Reading, Widths  # noqa: E402
from training.loop import Loop, Plan  # noqa: E402
from training.optimizer import Rates  # noqa: E402
from training.scenes import Scene, Thing  # noqa: E402

SQUARE = scenes.NATIVE_SIZES[0]
TINY = Widths((8, 8, 8, 8), 8)
CAT, RED_STAR = Thing("cat"), Thing("star", "red")


def _answers(scene: Scene, size: scenes.Size = SQUARE) -> dict[str, object]:
    """The targets of a scene as answers; those that the picture cannot tell are left out."""
    wanted = judge.targets(scene, scenes.pixels(scene, size), size)
    return {name: HEADS[name][index] for name, index in wanted.items() if index != UNTOLD}


def _report(right: float) -> dict[str, dict[str, float]]:
    return {"renders": {"pictures": 1.0, "object": right}}


def test_every_head_has_an_answer_for_each_picture_of_any_size() -> None:
    pupil = Judge(TINY).eval()
    logits, cells = pupil(torch.zeros(2, 3, 64, 256))
    assert {name: scores.shape for name, scores in logits.items()} == {
        name: (2, len(answers)) for name, answers in HEADS.items()
    }
    assert cells.shape == (2, 64, len(HEADS["first"]))
    sizes = [(1024, 1024), (376, 376), (1408, 704), (128, 512), (1024, 1024)]
    readings = pupil.read([np.full((h, w, 3), 90, np.uint8) for w, h in sizes])
    assert len(readings) == 5
    assert readings[0] == readings[4]
    assert all(isinstance(reading, Reading) for reading in readings)


def test_objects_of_long_pictures_stay_as_large_as_those_of_square_ones() -> None:
    assert judge.canvas((1024, 1024)) == (128, 128)
    for width, height in scenes.NATIVE_SIZES:
        assert judge.canvas((width * 3, height * 3)) == (width // 2, height // 2)


@needs_font
def test_what_a_picture_must_be_read_as() -> None:
    single = Scene((RED_STAR,), 1, None, "sea", "left", "small")
    assert _answers(single) == {
        "first": "star", "second": None, "first_colour": "red", "second_colour": None, "count": 1,
        "position": "left", "size": "small", "relation": None, "background": "sea",
    }  # fmt: skip
    pair = _answers(Scene((CAT, RED_STAR), 1, "above", "white"))
    assert (pair["first"], pair["second"], pair["relation"]) == ("cat", "star", "above")
    assert (pair["first_colour"], pair["second_colour"]) == (None, "red")
    nothing = _answers(Scene(background="meadow"))
    assert (nothing["first"], nothing["count"]) == (None, 0)
    assert _answers(Scene((Thing("heart"),)))["first_colour"] == "red"


@needs_font
def test_what_a_picture_cannot_tell_is_not_asked() -> None:
    small = Scene((CAT,), 1, None, "red", "left", "small")
    assert "size" in _answers(small)
    assert "size" not in _answers(small, (128, 512))
    assert scenes.spots(small, (128, 512)) == scenes.spots(replace(small, size="mid"), (128, 512))
    opened = Scene((CAT,))
    light, blue = np.full((9, 9, 3), 246, np.uint8), np.full((9, 9, 3), (214, 232, 250), np.uint8)
    assert judge.targets(opened, light, SQUARE)["background"] == UNTOLD
    assert HEADS["background"][judge.targets(opened, blue, SQUARE)["background"]] is None


def test_cells_name_the_object_that_stands_there() -> None:
    cells = np.array(judge.map_of(Scene((CAT, RED_STAR), 1, "beside"), (512, 128))).reshape(4, 16)
    names = np.array([str(name) for name in HEADS["first"]])[cells]
    assert set(names[:, :8].ravel()) == {"cat", "None"}
    assert set(names[:, 8:].ravel()) == {"star", "None"}
    empty = judge.map_of(Scene(), SQUARE)
    assert len(empty) == 64
    assert {HEADS["first"][cell] for cell in empty} == {None}


@needs_font
def test_wear_keeps_the_size_and_nearly_the_picture() -> None:
    for k, size in enumerate(scenes.NATIVE_SIZES * 3):
        rng = random.Random(k)
        picture = scenes.pixels(scenes.sample(rng), size, rng)
        half = size[0] // 2, size[1] // 2
        worn = wear.worn(picture, half, rng)
        assert worn.shape == (half[1], half[0], 3)
        assert worn.dtype == np.uint8
        assert np.abs(worn.mean((0, 1)) - picture.mean((0, 1))).max() < 16
    pictures = judge.tensor([np.full((8, 16, 3), 200, np.uint8)] * 4)
    tinted = wear.tinted(pictures, torch.Generator().manual_seed(0))
    assert tinted.shape == pictures.shape
    assert 0 < (tinted - pictures).abs().mean() < 0.3


def test_a_judge_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    pupil = Judge(TINY).half().float().eval()
    judge.save(pupil, tmp_path, _report(0.995))
    again = judge.load(tmp_path)
    picture = [np.random.default_rng(0).integers(0, 255, (256, 256, 3)).astype(np.uint8)]
    assert again.read(picture) == pupil.read(picture)
    assert judge.report(tmp_path)["renders"]["object"] == 0.995


def test_a_judge_that_reads_too_little_may_not_judge(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="python -m training judge"):
        judge.load(tmp_path)
    judge.save(Judge(TINY), tmp_path, _report(0.9899))
    with pytest.raises(ValueError, match=r"0\.990 of unseen renders|may judge"):
        judge.load(tmp_path)


@needs_font
def test_training_goes_on_where_it_stopped(tmp_path: Path) -> None:
    plan = Plan("judge", 4, 4, Rates(muon=4e-3, adam=2e-3), warmup=1)

    def weights(folder: Path, stop: int | None) -> list[torch.Tensor]:
        if stop is not None:
            Loop(plan, lessons.JudgeTask(plan, None, TINY), folder).run(stop)
        loop = Loop(plan, lessons.JudgeTask(plan, None, TINY), folder)
        loop.run()
        return list(loop.average.values())

    pairs = zip(weights(tmp_path / "a", None), weights(tmp_path / "b", 2), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


@needs_font
def test_half_of_the_lessons_went_through_the_vae(tmp_path: Path) -> None:
    given = tmp_path / "vae"
    vae.build((4, 4, 8, 8, 16)).save_pretrained(given)
    stock = lessons.prepare(tmp_path / "stock", given, 0, 1)
    first = {path: path.stat().st_mtime_ns for path in (tmp_path / "stock").iterdir()}
    lessons.prepare(tmp_path / "stock", given, 0, 1)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "stock").iterdir()} == first
    assert set(stock.by_size) == set(scenes.NATIVE_SIZES)
    scene, picture = stock.draw((512, 128), random.Random(0))
    assert isinstance(scene, Scene)
    assert picture.shape == (128, 512, 3)
    plan = Plan("judge", 1, 4, Rates(muon=4e-3, adam=2e-3))
    loss, _ = lessons.JudgeTask(plan, stock, TINY).loss(lessons.Slice("judge", 0, 0, range(4)))
    assert loss.isfinite()


@needs_font
def test_the_stage_writes_a_judge_with_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "Widths", lambda: TINY)
    monkeypatch.setattr(lessons, "EXAMINED", 2)
    run = stages.Run(tmp_path, ranks=1, steps=1)
    stages.train(run, "judge")
    assert run.done("judge")
    about = json.loads((tmp_path / "judge" / "judge.json").read_text())
    assert set(about["report"]) == {"renders", "square", "worn"}
    assert set(about["report"]["renders"]) == {"pictures", "object", "all", *HEADS}
    with pytest.raises(ValueError, match="train it longer"):
        judge.load(tmp_path / "judge")


@needs_font
def test_the_committed_judge_may_judge() -> None:
    kept = judge.load(JUDGE)
    rng = random.Random(0)
    drawn = [scenes.sample(rng) for _ in range(20)]
    seen = kept.read([scenes.pixels(scene, SQUARE, rng) for scene in drawn])
    assert sum(reading.first == judge.reading_of(scene).first
               for scene, reading in zip(drawn, seen, strict=True)) >= 19  # fmt: skip
    assert judge.report(JUDGE)["reconstructed"]["object"] >= judge.LEAST
