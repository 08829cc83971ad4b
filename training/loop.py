"""The training loop that all learned stages share: step, average, log, save, resume.

It knows no model: a stage hands it a Task. With several ranks every process computes its slice of
each batch with one thread and the gradients are averaged with gloo; rank 0 logs and saves.
"""

import hashlib
import json
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
import torch.distributed
from torch import Tensor, nn

from training import state
from training.optimizer import Optimizer, Rates


@dataclass(frozen=True)
class Plan:
    """How a stage is trained.

    batch    samples a step, over all ranks
    falling  share of the steps after which the learning rate falls linearly to 2 %
    average  decay of the averaged weights, which are what ships
    """

    stage: str
    steps: int
    batch: int
    rates: Rates
    seed: int = 0
    warmup: int = 60
    falling: float = 0.5
    average: float = 0.997
    save_every_s: float = 120.0
    log_every: int = 25


@dataclass(frozen=True)
class Slice:
    """The part of one batch that one rank computes; all draws are seeded by `name(i)`."""

    stage: str
    seed: int
    step: int
    samples: range

    def name(self, sample: object = "batch") -> str:
        """Return the seed of one sample, the same whatever the number of ranks."""
        return f"{self.seed}/{self.stage}/{self.step}/{sample}"

    def generator(self) -> torch.Generator:
        """Return a generator for the tensors of this slice."""
        generator = torch.Generator()
        return generator.manual_seed(hash_of(self.name(f"from {self.samples.start}")))


class Task(Protocol):
    """What a stage trains: a model, and its loss on a slice of a batch."""

    model: nn.Module

    def loss(self, part: Slice) -> tuple[Tensor, dict[str, float]]:
        """Return the mean loss over the slice and figures for the log."""

    def is_matrix(self, name: str, weight: Tensor) -> bool:
        """Return whether Muon moves this weight."""


@dataclass(frozen=True)
class Rank:
    """One of several processes that train together."""

    index: int = 0
    count: int = 1


def hash_of(name: str) -> int:
    """Return a 63-bit number for a name, the same in every process."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


def rate_scale(step: int, plan: Plan) -> float:
    """Return the learning rate at a step (from 0) as a share of its height."""
    warm = min(1.0, (step + 1) / max(1, plan.warmup))
    start = plan.falling * plan.steps
    fallen = max(0.0, (step - start) / max(1.0, plan.steps - start))
    return warm * (1 - 0.98 * min(1.0, fallen))


class Loop:
    """Trains one Task by one Plan, with its state in `folder`."""

    def __init__(self, plan: Plan, task: Task, folder: Path, rank: Rank | None = None) -> None:
        self.plan, self.task, self.folder = plan, task, folder
        self.rank = rank or Rank()
        self.optimizer = Optimizer(task.model, plan.rates, task.is_matrix)
        self.weights = dict(task.model.named_parameters())
        self.average = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.progress = state.Progress()
        self._figures: dict[str, list[float]] = {}
        self._stopping = False
        self._resume()

    @property
    def path(self) -> Path:
        """The file of the state."""
        return self.folder / f"{self.plan.stage}.safetensors"

    def run(self, until: int | None = None) -> None:
        """Train up to step `until` (None: all of the plan) and save."""
        saved = logged = time.monotonic()
        logged_step = self.progress.step
        while self.progress.step < (self.plan.steps if until is None else until):
            begun = time.monotonic()
            self._step()
            now = time.monotonic()
            self._advance(now - begun)
            if self.progress.step % self.plan.log_every == 0:
                self._log((self.progress.step - logged_step) / (now - logged))
                logged, logged_step = now, self.progress.step
            if now - saved > self.plan.save_every_s or self._stopping:
                self.save()
                saved = now
            if self._stopping:
                raise SystemExit(f"{self.plan.stage}: stopped at step {self.progress.step}, saved")
        self.save()

    def stop(self, *_signal: object) -> None:
        """End after the step under way, with the state saved; a handler for SIGTERM and SIGINT."""
        self._stopping = True

    def save(self) -> None:
        """Write the state, on rank 0."""
        if self.rank.index == 0:
            parts = (dict(self.weights), self.average, self.optimizer.moments)
            state.save(self.path, state.State(*parts, self.progress))

    def _resume(self) -> None:
        saved = state.load(self.path)
        if saved is None:
            return
        state.restore(dict(self.weights), saved.model)
        state.restore(self.average, saved.average)
        state.restore(self.optimizer.moments, saved.moments)
        self.progress = saved.progress

    def _step(self) -> None:
        step, plan = self.progress.step, self.plan
        loss, figures = self.task.loss(self._slice(step))
        loss.backward()
        self._share_gradients()
        weights = list(self.optimizer.weights.values())
        norm = nn.utils.clip_grad_norm_(weights, 1.0)
        if not math.isfinite(norm):
            raise FloatingPointError(f"step {step} of {plan.stage}: the loss is no number any more")
        self.optimizer.step(step + 1, rate_scale(step, plan))
        decay = min(plan.average, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, weight in self.weights.items():
                self.average[name].lerp_(weight, 1 - decay)
        self._collect({"loss": loss.item(), **figures})

    def _slice(self, step: int) -> Slice:
        each = self.plan.batch // self.rank.count
        samples = range(self.rank.index * each, (self.rank.index + 1) * each)
        return Slice(self.plan.stage, self.plan.seed, step, samples)

    def _share_gradients(self) -> None:
        if self.rank.count == 1:
            return
        gradients = [w.grad for w in self.optimizer.weights.values() if w.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        torch.distributed.all_reduce(flat)
        flat /= self.rank.count
        pieces = flat.split([gradient.numel() for gradient in gradients])
        for gradient, piece in zip(gradients, pieces, strict=True):
            gradient.copy_(piece.view_as(gradient))

    def _advance(self, seconds: float) -> None:
        done = self.progress
        self.progress = replace(
            done,
            step=done.step + 1,
            samples=done.samples + self.plan.batch,
            seconds=done.seconds + seconds,
        )

    def _collect(self, figures: dict[str, float]) -> None:
        for name, figure in figures.items():
            self._figures.setdefault(name, []).append(figure)

    def _log(self, steps_per_s: float) -> None:
        figures = {name: sum(seen) / len(seen) for name, seen in self._figures.items()}
        self._figures = {}
        if self.rank.index:
            return
        done, plan = self.progress, self.plan
        rate = steps_per_s * plan.batch
        left = (plan.steps - done.step) / steps_per_s
        shown = "  ".join(f"{name} {figure:.4f}" for name, figure in figures.items())
        print(
            f"{plan.stage}  step {done.step}/{plan.steps}  {shown}  {rate:.1f} samples/s  "
            f"{left / 60:.1f} min left",
            flush=True,
        )
        line = {"stage": plan.stage, "step": done.step, "samples": done.samples}
        line |= {name: round(figure, 5) for name, figure in figures.items()}
        line |= {"samples_per_s": round(rate, 2), "seconds": round(done.seconds, 1)}
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
