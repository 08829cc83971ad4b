"""The painter: pictures of many prompts by zing's own engine, several at a time."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from training.judging.prompts import Prompt
from training.scenes import Size
from zing.engine.local import LocalEngine
from zing.pictures import fit
from zing.sizes import Plan, plan

STEPS = 8


class Painter:
    """A checkpoint that draws batches; each picture is the one that its own seed names."""

    def __init__(self, checkpoint: Path, threads: int = 1) -> None:
        self.engine = LocalEngine(checkpoint, "cpu", threads)

    @property
    def square(self) -> Size:
        """The square native size of the checkpoint."""
        return next(size for size in self.engine.native_sizes if size[0] == size[1])

    def plan(self, size: Size | None) -> Plan:
        """Return how a size is reached; None is the square native one."""
        pipeline = self.engine.pipeline
        return plan(size or self.square, pipeline.multiple, self.engine.native_sizes)

    def paint(self, prompts: Sequence[Prompt], size: Size | None = None) -> list[np.ndarray]:
        """Return one picture (H, W, 3) uint8 for each prompt, of exactly this size."""
        sizes, pipeline = self.plan(size), self.engine.pipeline
        texts = [pipeline.encode(prompt.text) for prompt in prompts]
        noise = torch.cat([pipeline.noise(*sizes.render, prompt.seed) for prompt in prompts])
        *_, last = pipeline.denoise(noise, texts, STEPS)
        return [fit(pixels, sizes) for pixels in pipeline.decode(last.latents).numpy()]
