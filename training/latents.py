"""Latents of training scenes, encoded once and kept on disk.

Scenes do not jitter, so there are few of them: encoding each once saves most of the VAE's time. A
piece is one file; ranks make different pieces. Scenes are not stored: their seeds give them back.
"""

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from training import norms, scenes, vae
from training.loop import Rank
from training.scenes import Scene, Size

PIECE = 1024
"""Scenes in one file."""

PIECES: dict[Size, int] = {
    size: 12 if size == scenes.NATIVE_SIZES[0] else 2 for size in scenes.NATIVE_SIZES
}
"""How many files of each size."""


@dataclass(frozen=True)
class Latents:
    """The latents of all pieces by size, normalised: (N, 16, H/16, W/16) float16."""

    seed: int
    by_size: dict[Size, Tensor]

    def draw(self, size: Size, rng: random.Random) -> tuple[Scene, Tensor]:
        """Return a scene and its latents (16, H/16, W/16) float32."""
        tensors = self.by_size[size]
        index = rng.randrange(len(tensors))
        return _scene(self.seed, size, index)[0], tensors[index].float()


def prepare(
    model: Any, folder: Path, seed: int, rank: Rank, pieces: dict[Size, int] | None = None
) -> None:
    """Encode the pieces of this rank that `folder` lacks."""
    digest = encoder_digest(model)
    everything = _all_pieces(pieces)
    for number, (size, piece) in enumerate(everything):
        path = _path(folder, size, piece)
        if number % rank.count == rank.index and _digest_of(path) != digest:
            _make(model, path, size, piece, seed)
            print(f"latents  piece {number + 1} of {len(everything)}", flush=True)


def load(folder: Path, seed: int, pieces: dict[Size, int] | None = None) -> Latents:
    """Return all pieces."""
    by_size: dict[Size, list[Tensor]] = {}
    for size, piece in _all_pieces(pieces):
        with safe_open(_path(folder, size, piece), "pt") as file:
            by_size.setdefault(size, []).append(file.get_tensor("latents"))
    return Latents(seed, {size: torch.cat(tensors) for size, tensors in by_size.items()})


def encoder_digest(model: Any) -> str:
    """Return a digest of the encoder's weights and of the measured shift and scale."""
    digest = hashlib.sha256(f"{model.config.shift_factor} {model.config.scaling_factor}".encode())
    for name, weight in sorted(model.encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _all_pieces(pieces: dict[Size, int] | None) -> list[tuple[Size, int]]:
    counts = PIECES if pieces is None else pieces
    return [(size, piece) for size, count in counts.items() for piece in range(count)]


def _path(folder: Path, size: Size, piece: int) -> Path:
    return folder / f"{size[0]}x{size[1]}-{piece:02}.safetensors"


def _digest_of(path: Path) -> str | None:
    if not path.is_file():
        return None
    with safe_open(path, "pt") as file:
        return str(file.metadata()["encoder"])


def _scene(seed: int, size: Size, index: int) -> tuple[Scene, random.Random]:
    rng = random.Random(f"{seed}/latents/{size}/{index}")
    return scenes.sample(rng), rng


def _make(model: Any, path: Path, size: Size, piece: int, seed: int) -> None:
    batches = torch.arange(piece * PIECE, (piece + 1) * PIECE).split(32)
    norms.quicken(model)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        encoded = [vae.encode(model, _pictures(seed, size, batch.tolist())) for batch in batches]
    latents = (torch.cat(encoded).float() - model.config.shift_factor) * model.config.scaling_factor
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".tmp")
    save_file({"latents": latents.half().contiguous()}, fresh, {"encoder": encoder_digest(model)})
    fresh.replace(path)


def _pictures(seed: int, size: Size, indices: list[int]) -> Tensor:
    drawn = (_scene(seed, size, index) for index in indices)
    return vae.tensor([scenes.pixels(scene, size, rng) for scene, rng in drawn])
