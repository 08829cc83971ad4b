"""What a stage needs to go on: weights, moments, averaged weights and the step, in one file.

One safetensors file, replaced atomically, so a kill at any moment leaves a whole state behind.
There is no random state to keep: every draw is seeded by its seed, stage, step and sample.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

PARTS = ("model", "average", "moments")


@dataclass(frozen=True)
class Progress:
    """How far a stage has come; `seconds` is the wall time of all its runs together."""

    step: int = 0
    samples: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class State:
    """The tensors of a stage by part and name, and its progress."""

    model: dict[str, Tensor]
    average: dict[str, Tensor]
    moments: dict[str, Tensor]
    progress: Progress


def save(path: Path, state: State) -> None:
    """Write the state; the old file stays whole until the new one is."""
    tensors = {
        f"{part}/{name}": tensor.detach().contiguous()
        for part in PARTS
        for name, tensor in getattr(state, part).items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".tmp")
    save_file(tensors, fresh, metadata={"progress": json.dumps(asdict(state.progress))})
    with fresh.open("rb") as file:
        os.fsync(file.fileno())
    fresh.replace(path)


def progress(path: Path) -> Progress | None:
    """Return only the progress of a saved state."""
    if not path.is_file():
        return None
    with safe_open(path, "pt") as file:
        return Progress(**json.loads(file.metadata()["progress"]))


def load(path: Path) -> State | None:
    """Return the saved state, or None where there is none."""
    if not path.is_file():
        return None
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in PARTS}
    with safe_open(path, "pt") as file:
        progress = Progress(**json.loads(file.metadata()["progress"]))
        for key in file.keys():  # noqa: SIM118 (not a dict)
            part, name = key.split("/", 1)
            parts[part][name] = file.get_tensor(key).clone()
    return State(parts["model"], parts["average"], parts["moments"], progress)


def restore(tensors: dict[str, Tensor], saved: dict[str, Tensor]) -> None:
    """Copy saved tensors into those of the same name."""
    if tensors.keys() != saved.keys():
        raise ValueError("the saved state belongs to another model: start again with --fresh")
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(saved[name])
