"""Lessons: what the judge learns from, and its examination on renders that it has not seen.

Half of the pictures of a batch have been through the VAE where a trained one is given. Those are
made once and kept on disk, because the VAE costs ten times what the judge does.
"""

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training import scenes, vae
from training.judging import judge, wear
from training.judging.judge import HEADS, UNTOLD, Judge, Reading
from training.loop import Plan, Slice
from training.optimizer import Rates
from training.scenes import Scene, Size

PLAN = Plan("judge", 2400, 64, Rates(muon=4e-3, adam=2e-3))

STOCK = 256
"""Pictures of each native size that go through the VAE; of the square one `_SQUARE` times more."""

EXAMINED = 160
"""Unseen pictures of each native size in an examination; of the square one `_SQUARE` times more."""

_SQUARE = 4
_BATCH = 16
_WEIGHTS = {"first": 1.0, "second": 1.0}  # of a head in the loss
_OTHER_WEIGHT = 0.5


@dataclass(frozen=True)
class Stock:
    """Pictures that went through the VAE, by size (N, H, W, 3) uint8; their seeds give scenes."""

    seed: int
    by_size: dict[Size, np.ndarray]

    def draw(self, size: Size, rng: random.Random) -> tuple[Scene, np.ndarray]:
        """Return a scene and its picture."""
        pictures = self.by_size[size]
        index = rng.randrange(len(pictures))
        return _stock_scene(self.seed, size, index)[0], pictures[index]


def prepare(folder: Path, given: Path, seed: int, count: int = STOCK) -> Stock:
    """Return the stock in `folder`, made with the VAE in `given` where it is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    model, digest = vae.load(given).eval(), _digest(given)
    model.to(memory_format=torch.channels_last)
    for path in folder.iterdir():
        if not path.name.startswith(digest):  # of an earlier VAE
            path.unlink()
    by_size = {}
    for size in scenes.NATIVE_SIZES:
        path = folder / f"{digest}-{seed}-{size[0]}x{size[1]}.npy"
        wanted = count * _share(size)
        if not path.is_file() or len(np.load(path, mmap_mode="r")) != wanted:
            drawn = [_stock_scene(seed, size, index) for index in range(wanted)]
            made = reconstructed(model, [scenes.pixels(scene, size, rng) for scene, rng in drawn])
            with path.with_suffix(".tmp").open("wb") as file:
                np.save(file, np.stack(made))
            path.with_suffix(".tmp").replace(path)
            print(f"judge  {wanted} pictures of {size[0]}x{size[1]} through the VAE", flush=True)
        by_size[size] = np.load(path, mmap_mode="r")
    return Stock(seed, by_size)


@torch.inference_mode()
def reconstructed(model: Any, pictures: list[np.ndarray]) -> list[np.ndarray]:
    """Return pictures of one size through the VAE and back, uint8."""
    made: list[np.ndarray] = []
    for start in range(0, len(pictures), _BATCH):
        batch = vae.tensor(pictures[start : start + _BATCH])
        back = model.decoder(vae.encode(model, batch)).permute(0, 2, 3, 1)
        made.extend(((back + 1) * 127.5).round().clamp(0, 255).byte().numpy())
    return made


class JudgeTask:
    """Reading worn pictures: a cross-entropy for each head, and one for the cells."""

    def __init__(self, plan: Plan, stock: Stock | None, widths: judge.Widths | None = None) -> None:
        torch.manual_seed(plan.seed)
        self.stock = stock
        self.judge = Judge(widths).to(memory_format=torch.channels_last)
        self.model: nn.Module = self.judge

    def is_matrix(self, name: str, weight: Tensor) -> bool:
        """Return whether Muon moves this weight: all convolutions but the first, and the mix."""
        return (weight.ndim == 4 and name != "stem.weight") or name == "mix.weight"

    def loss(self, part: Slice) -> tuple[Tensor, dict[str, float]]:
        """Return the loss on pictures of one native size, and how often the object was right."""
        size = _native_size(random.Random(part.name()))
        lessons = [self._lesson(part.name(sample), size) for sample in part.samples]
        pictures = wear.tinted(judge.tensor([one.picture for one in lessons]), part.generator())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits, cells = self.judge(pictures.contiguous(memory_format=torch.channels_last))
        total = functional.cross_entropy(
            cells.flatten(0, 1), torch.tensor([cell for one in lessons for cell in one.cells])
        )
        for name, scores in logits.items():
            wanted = torch.tensor([one.targets[name] for one in lessons])
            if (wanted != UNTOLD).any():
                loss = functional.cross_entropy(scores, wanted, ignore_index=UNTOLD)
                total = total + _WEIGHTS.get(name, _OTHER_WEIGHT) * loss
        return total, {"object": _object_right(logits, lessons)}

    def _lesson(self, seed: str, size: Size) -> "_Lesson":
        rng = random.Random(seed)
        if self.stock is not None and rng.random() < 0.5:
            scene, picture = self.stock.draw(size, rng)
        else:
            scene = scenes.sample(rng)
            picture = scenes.pixels(scene, size, rng)
        half = size[0] // 2, size[1] // 2
        wanted = judge.targets(scene, picture, size)
        return _Lesson(wear.worn(picture, half, rng), wanted, judge.map_of(scene, size))


@dataclass(frozen=True)
class _Lesson:
    picture: np.ndarray
    targets: dict[str, int]
    cells: list[int]


def examine(pupil: Judge, seed: int, given: Path | None, count: int) -> dict[str, Any]:
    """Return the shares that are read right of unseen pictures, by kind and head.

    renders, square  as they are drawn: all native sizes, and the square one alone
    worn             renders as training wears them
    reconstructed    through the VAE in `given`, where there is one
    """
    pupil.eval()
    model = None if given is None else vae.load(given).eval()
    rows: dict[str, list[dict[str, bool]]] = {}
    for size in scenes.NATIVE_SIZES:
        rngs = [
            random.Random(f"{seed}/judge/unseen/{size}/{k}") for k in range(count * _share(size))
        ]
        drawn = [scenes.sample(rng) for rng in rngs]
        pairs = list(zip(drawn, rngs, strict=True))
        renders = [scenes.pixels(scene, size, rng) for scene, rng in pairs]
        wanted = [judge.targets(s, p, size) for s, p in zip(drawn, renders, strict=True)]
        half = size[0] // 2, size[1] // 2
        shown = {
            "renders": renders,
            "worn": [wear.worn(p, half, r) for p, r in zip(renders, rngs, strict=True)],
        }
        if model is not None:
            shown["reconstructed"] = reconstructed(model, renders)
        for kind, pictures in shown.items():
            right = [_right(a, b) for a, b in zip(pupil.read(pictures), wanted, strict=True)]
            rows.setdefault(kind, []).extend(right)
            if kind == "renders" and size == scenes.NATIVE_SIZES[0]:
                rows["square"] = right
    return {kind: _shares(right) for kind, right in rows.items()}


def _object_right(logits: dict[str, Tensor], lessons: list[_Lesson]) -> float:
    right = torch.ones(len(lessons), dtype=torch.bool)
    for name in ("first", "second"):
        right &= logits[name].argmax(1) == torch.tensor([one.targets[name] for one in lessons])
    share: float = right.float().mean().item()
    return share


def _right(reading: Reading, wanted: dict[str, int]) -> dict[str, bool]:
    """Return which heads are right, those that the picture can tell, and `object`: both names."""
    right = {
        name: getattr(reading, name) == HEADS[name][index]
        for name, index in wanted.items()
        if index != UNTOLD
    }
    return {"object": right["first"] and right["second"], **right, "all": all(right.values())}


def _shares(rows: list[dict[str, bool]]) -> dict[str, float]:
    shares = {"pictures": float(len(rows))}
    for name in ("object", *HEADS, "all"):
        told = [row[name] for row in rows if name in row]
        shares[name] = round(sum(told) / len(told), 4)
    return shares


def _native_size(rng: random.Random) -> Size:
    sizes = scenes.NATIVE_SIZES
    return rng.choices(sizes, [_share(size) for size in sizes])[0]


def _share(size: Size) -> int:
    return _SQUARE if size == scenes.NATIVE_SIZES[0] else 1


def _stock_scene(seed: int, size: Size, index: int) -> tuple[Scene, random.Random]:
    rng = random.Random(f"{seed}/judge/stock/{size}/{index}")
    return scenes.sample(rng), rng


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
