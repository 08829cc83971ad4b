"""The engine in this process: a checkpoint on one device."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from zing.engine.base import Order
from zing.engine.vocabulary import Vocabulary
from zing.engine.zimage import weights
from zing.engine.zimage.pipeline import Pipeline, Step, Text, build
from zing.errors import BadCheckpoint, BadSetting, OutOfMemory
from zing.pictures import fit, fit_preview
from zing.sizes import Plan, Size, plan
from zing.task import Picture, Progress

PREVIEW_EVERY_S = 0.1  # a worker tells its progress no oftener


class LocalEngine:
    """A loaded checkpoint that draws exactly the sizes asked for.

    On a CPU it computes in float32, which is faster there than half precision; on a GPU in
    bfloat16. float16 is never computed with: the real model's activations overflow it.
    """

    def __init__(self, folder: Path, device: str, threads: int) -> None:
        self.device = pick_device(device)
        if self.device.type == "cpu":
            torch.set_num_threads(threads)
        dtype = torch.float32 if self.device.type == "cpu" else torch.bfloat16
        with _readable(folder), _fits():
            self.pipeline = Pipeline(folder, self.device, dtype)
        groups = self.pipeline.manifest.vocabulary
        self._vocabulary = Vocabulary(groups) if groups else None

    @property
    def native_sizes(self) -> tuple[Size, ...]:
        """The sizes that the checkpoint's manifest says it was trained for; often none."""
        return self.pipeline.manifest.native_sizes

    def generate(self, order: Order) -> Iterator[Progress | Picture]:
        """Yield Progress after each step and the Picture last; stop iterating to cancel."""
        with _fits():
            sizes = plan((order.width, order.height), self.pipeline.multiple, self.native_sizes)
            text: Text = self.pipeline.encode(order.prompt)
            noise = self.pipeline.noise(*sizes.render, order.seed)
            previews = Previews(self.pipeline, sizes, wanted=order.previews)
            for number, step in enumerate(self.pipeline.denoise(noise, [text], order.steps), 1):
                yield Progress(number, order.steps, previews.of(step))
            pixels = self.pipeline.decode(step.latents)[0].numpy()
            understood = self._understood(order.prompt[: text.seen])
            yield Picture(fit(pixels, sizes), sizes.render, text.total, text.used, understood)

    def _understood(self, seen: str) -> tuple[str, ...] | None:
        return None if self._vocabulary is None else self._vocabulary.understood(seen)


class Previews:
    """The previews of one picture: of its first step, then one every PREVIEW_EVERY_S.

    So they cost next to nothing also where a step takes milliseconds.
    """

    def __init__(self, pipeline: Pipeline, sizes: Plan, *, wanted: bool) -> None:
        self._pipeline, self._sizes = pipeline, sizes
        self._due_at = 0.0 if wanted else math.inf

    def of(self, step: Step) -> NDArray[np.uint8] | None:
        """The preview of this step, (h, w, 3), where one is due."""
        now = time.monotonic()
        if now < self._due_at:
            return None
        self._due_at = now + PREVIEW_EVERY_S
        return fit_preview(self._pipeline.preview.draw(step.clean)[0].numpy(), self._sizes)


def pick_device(name: str) -> torch.device:
    """The device of this name; `auto` is a CUDA card where there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise BadSetting(f"{name!r} is not a device: auto, cpu, cuda and cuda:1 are.") from None
    if device.type not in ("cpu", "cuda"):
        raise BadSetting(f"{name!r} cannot be used: the engine runs on cpu and cuda.")
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise BadSetting(f"{name!r} is not there: torch sees {count} CUDA devices.")
    return device


def verify(folder: Path) -> int:
    """Check and read every value that the engine uses of a checkpoint; how many there are.

    Raises BadCheckpoint with the file and the tensor that is wrong.
    """
    with _readable(folder), _fits():
        parts = build(folder).with_parts(folder)
        return sum(weights.verify(network, part) for network, part in parts)


def check(folder: Path) -> int:
    """`verify` without reading values: names, shapes and types; how many tensors are used."""
    with _readable(folder):
        parts = build(folder).with_parts(folder)
        return sum(weights.check_part(network, part) for network, part in parts)


def device_summary(name: str) -> str:
    """The device that a name means, in words."""
    device = pick_device(name)
    if device.type == "cpu":
        return f"cpu ({torch.backends.cpu.get_cpu_capability()})"
    properties = torch.cuda.get_device_properties(device)
    return f"{device} ({properties.name}, {properties.total_memory / 2**30:.0f} GiB)"


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """A folder that the system will not let us read is refused by name."""
    try:
        yield
    except OSError as error:
        raise BadCheckpoint(f"{folder} cannot be read: {error.strerror or error}.") from None


@contextmanager
def _fits() -> Iterator[None]:
    """Running out of memory is told apart from other failures; a CPU says it in words only."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise OutOfMemory from None
    except RuntimeError as error:
        if "can't allocate memory" in str(error) or "Storage size calculation" in str(error):
            raise OutOfMemory from None
        raise
