"""The engine in this process: a checkpoint on one device."""

from collections.abc import Iterator
from pathlib import Path

import torch

from zing.config import cpu_threads
from zing.engine.base import Order
from zing.engine.zimage import weights
from zing.engine.zimage.pipeline import Pipeline, Text, build
from zing.errors import BadCheckpoint, BadSetting
from zing.pictures import fit
from zing.sizes import Size, plan
from zing.task import Picture, Progress


class LocalEngine:
    """A loaded checkpoint that draws exactly the sizes asked for.

    On a CPU it computes in float32, which is faster there than half precision; on a GPU in
    bfloat16. float16 is never computed with: the real model's activations overflow it.
    """

    def __init__(self, folder: Path, device: str = "auto", threads: int = 0) -> None:
        self.device = pick_device(device)
        if self.device.type == "cpu":
            torch.set_num_threads(threads or cpu_threads())
        dtype = torch.float32 if self.device.type == "cpu" else torch.bfloat16
        try:
            self.pipeline = Pipeline(folder, self.device, dtype)
        except OSError as error:
            raise BadCheckpoint(f"{folder} cannot be read: {error.strerror or error}.") from None

    @property
    def native_sizes(self) -> tuple[Size, ...]:
        """The sizes that the checkpoint's manifest says it was trained for; often none."""
        return self.pipeline.manifest.native_sizes

    def generate(self, order: Order) -> Iterator[Progress | Picture]:
        """Yield Progress after each step and the Picture last; stop iterating to cancel."""
        sizes = plan((order.width, order.height), self.pipeline.multiple, self.native_sizes)
        text: Text = self.pipeline.encode(order.prompt)
        latents = noise = self.pipeline.noise(*sizes.render, order.seed)
        denoised = self.pipeline.denoise(noise, [text], order.steps)
        for step, latents in enumerate(denoised, 1):  # noqa: B007 - the last ones are decoded
            yield Progress(step, order.steps)
        pixels = self.pipeline.decode(latents)[0].numpy()
        yield Picture(fit(pixels, sizes), sizes.render, text.total, text.used)


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
    """Check every tensor of a checkpoint and read every value; how many values there are.

    Raises BadCheckpoint with the file and the tensor that is wrong.
    """
    try:
        parts = build(folder).with_parts(folder)
        return sum(weights.verify(network, part) for network, part in parts)
    except OSError as error:
        raise BadCheckpoint(f"{folder} cannot be read: {error.strerror or error}.") from None


def device_summary(name: str) -> str:
    """The device that a name means, in words."""
    device = pick_device(name)
    if device.type == "cpu":
        return f"cpu ({torch.backends.cpu.get_cpu_capability()})"
    properties = torch.cuda.get_device_properties(device)
    return f"{device} ({properties.name}, {properties.total_memory / 2**30:.0f} GiB)"
