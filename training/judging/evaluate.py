"""The evaluation: every row of the bars, drawn by zing's own engine and read by the judge.

Three kinds of figures give the scale: renders show what the judge can do, VAE reconstructions what
the VAE can, and then come generated pictures, 8 steps, one try a prompt. It writes
`evaluation.json` (figures), `evaluation.md` (the table) and `evaluation.jsonl` (each picture).
"""

import json
import os
import random
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training import scenes, vae
from training.captions import LANGUAGES
from training.judging import figures, judge, lessons, stopwatch
from training.judging.painter import STEPS, Painter
from training.judging.prompts import KINDS, SEED, Prompt
from training.judging.verdict import seen, verdict
from training.scenes import Size
from zing.pictures import fit

BATCH = 20
"""Pictures that are drawn together."""

_JOB = 100  # prompts of one job


@dataclass(frozen=True)
class Job:
    """A part of one kind of prompts: their scenes drawn and through the VAE, or one language."""

    kind: str
    language: str | None
    indices: range


@dataclass(frozen=True)
class Outcome:
    """One judged picture.

    medium  renders, reconstructed, en or zh
    right   see verdict.py
    names   the objects that the judge saw
    sharp   variance of the Laplacian at the size of the render
    apart   mean difference from the picture of another seed, of 255, where one was drawn
    error   mean square error of a reconstruction
    """

    kind: str
    medium: str
    index: int
    right: dict[str, bool]
    names: tuple[str, ...]
    text: str = ""
    sharp: float | None = None
    apart: float | None = None
    error: float | None = None


@dataclass(frozen=True)
class Desks:
    """How many processes do the jobs, on which checkpoint and with which judge."""

    checkpoint: Path
    judge: Path
    count: int = 1


class Desk:
    """Where jobs are done: the painter, the judge and the VAE of one checkpoint."""

    def __init__(self, checkpoint: Path, judge_folder: Path) -> None:
        torch.set_num_threads(1)
        self.painter = Painter(checkpoint)
        self.judge = judge.load(judge_folder)
        self.vae = vae.load(checkpoint / "vae").eval().to(memory_format=torch.channels_last)

    def do(self, job: Job) -> list[Outcome]:
        """Return the outcomes of a job."""
        if job.kind == "vae":
            return self._reconstruct(job)
        if job.language is None:
            return self._draw(job)
        return self._generate(job, job.language)

    def _draw(self, job: Job) -> list[Outcome]:
        kind = KINDS[job.kind]
        sizes = self.painter.plan(kind.size)
        drawn = [kind.scene(index) for index in job.indices]
        renders = [
            scenes.pixels(scene, sizes.render, random.Random(f"{SEED}/{job.kind}/{index}/shades"))
            for index, scene in zip(job.indices, drawn, strict=True)
        ]
        shown = {"renders": renders}
        if kind.size is None:  # the row of the VAE tells what it does to other sizes
            shown["reconstructed"] = lessons.reconstructed(self.vae, renders)
        outcomes = []
        for medium, pictures in shown.items():
            readings = self.judge.read([fit(pixels, sizes) for pixels in pictures])
            for index, scene, pixels, reading in zip(
                job.indices, drawn, pictures, readings, strict=True
            ):
                outcomes.append(
                    Outcome(
                        job.kind, medium, index, verdict(reading, scene),
                        tuple(sorted(seen(reading))), sharp=sharpness(pixels),
                    )
                )  # fmt: skip
        return outcomes

    def _generate(self, job: Job, language: str) -> list[Outcome]:
        kind = KINDS[job.kind]
        outcomes = []
        for some in _batches(job.indices):
            prompts = [kind.prompt(index, language) for index in some]
            pictures = self.painter.paint(prompts, kind.size)
            apart = self._seeds_apart(prompts, pictures) if job.kind == "grammar" else {}
            readings = self.judge.read(pictures)
            for k, (prompt, pixels) in enumerate(zip(prompts, pictures, strict=True)):
                outcomes.append(
                    Outcome(
                        job.kind, language, some[k], verdict(readings[k], prompt.scene),
                        tuple(sorted(seen(readings[k]))), prompt.text,
                        sharp=None if kind.size else sharpness(pixels), apart=apart.get(k),
                    )
                )  # fmt: skip
        return outcomes

    def _seeds_apart(self, prompts: list[Prompt], pictures: list[np.ndarray]) -> dict[int, float]:
        """Return how far the pictures of open prompts are from those of other seeds."""
        chosen = [k for k, prompt in enumerate(prompts) if prompt.scene.background is None]
        if not chosen:
            return {}
        others = [Prompt(prompts[k].scene, prompts[k].text, prompts[k].seed + SEED) for k in chosen]
        again = self.painter.paint(others)
        return {
            k: float(np.abs(pictures[k].astype(np.int16) - other).mean())
            for k, other in zip(chosen, again, strict=True)
        }

    def _reconstruct(self, job: Job) -> list[Outcome]:
        """Return the outcomes of renders of all native sizes and of their reconstructions."""
        outcomes = []
        for index in job.indices:
            rng = random.Random(f"{SEED}/vae/{index}")
            size: Size = scenes.NATIVE_SIZES[index % len(scenes.NATIVE_SIZES)]
            scene = scenes.sample(rng)
            render = scenes.pixels(scene, size, rng)
            back = lessons.reconstructed(self.vae, [render])[0]
            error = float(np.square(back.astype(np.float32) - render).mean())
            for medium, picture in (("renders", render), ("reconstructed", back)):
                reading = self.judge.read([picture])[0]
                outcomes.append(
                    Outcome(
                        "vae", medium, index, verdict(reading, scene),
                        tuple(sorted(seen(reading))), error=error,
                    )
                )  # fmt: skip
        return outcomes


def report(desks: Desks, work: Path, count: int) -> dict[str, Any]:
    """Measure a checkpoint on `count` prompts a row; write the figures to `work`, return them."""
    checkpoint = desks.checkpoint
    outcomes = list(_outcomes(desks, jobs(count)))
    with (work / "evaluation.jsonl").open("w", encoding="utf-8") as file:
        for outcome in outcomes:
            file.write(json.dumps(asdict(outcome), ensure_ascii=False) + "\n")
    about = {
        "checkpoint": figures.identity(checkpoint),
        "prompts": count,
        "steps": STEPS,
        "seed": SEED,
        "judge": judge.report(desks.judge),
        "bytes": sum(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file()),
        "seconds": stopwatch.measure(checkpoint),
    }
    found = figures.gather(outcomes, about)
    (work / "evaluation.json").write_text(
        json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    text = figures.table(found)
    (work / "evaluation.md").write_text(text, encoding="utf-8")
    print(text)
    return found


def jobs(count: int) -> list[Job]:
    """Return all jobs of an evaluation of `count` prompts a row."""
    made = _parts("vae", None, range(count))
    for kind in KINDS.values():
        for language in (None, *LANGUAGES):
            made += _parts(kind.name, language, kind.indices(count))
    return made


def sharpness(picture: np.ndarray) -> float:
    """Return the variance of the Laplacian of a picture's luminance."""
    light = picture.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    middle = light[1:-1, 1:-1]
    around = light[:-2, 1:-1] + light[2:, 1:-1] + light[1:-1, :-2] + light[1:-1, 2:]
    return float((around - 4 * middle).var())


def _parts(kind: str, language: str | None, indices: range) -> list[Job]:
    return [Job(kind, language, part) for part in _batches(indices, _JOB)]


def _batches(indices: range, size: int = BATCH) -> list[range]:
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def _outcomes(desks: Desks, todo: list[Job]) -> Iterator[Outcome]:
    """Yield what all jobs come to, and print how far they are."""
    begun, generated = time.monotonic(), 0
    for number, (job, outcomes) in enumerate(_done(desks, todo), 1):
        generated += len(outcomes) if job.language else 0
        passed = time.monotonic() - begun
        print(
            f"evaluate  {number}/{len(todo)}  {job.kind} {job.language or 'renders'}  "
            f"{sum(one.right['object'] for one in outcomes)} of {len(outcomes)} objects  "
            f"{generated} pictures  {generated / passed:.1f} a second  "
            f"{passed / number * (len(todo) - number) / 60:.1f} min left",
            flush=True,
        )
        yield from outcomes


def _done(desks: Desks, todo: list[Job]) -> Iterable[tuple[Job, list[Outcome]]]:
    if desks.count == 1:
        desk = Desk(desks.checkpoint, desks.judge)
        yield from ((job, desk.do(job)) for job in todo)
        return
    places = (desks.checkpoint, desks.judge)
    with ProcessPoolExecutor(desks.count, get_context("spawn"), _sit_down, places) as pool:
        yield from zip(todo, pool.map(_do, todo), strict=True)


_desks: dict[int, Desk] = {}  # of this process


def _sit_down(checkpoint: Path, judge_folder: Path) -> None:
    _desks[os.getpid()] = Desk(checkpoint, judge_folder)


def _do(job: Job) -> list[Outcome]:
    return _desks[os.getpid()].do(job)
