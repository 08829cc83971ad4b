"""`python -m bench`: the engine beside diffusers; `python -m bench NAME`: what else is measured.

docs/bench.md and docs/performance.md say what the rows mean.
"""

import argparse
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch

from bench import claims, commits, follow, frame, memory, peers, service, starts
from bench.frame import Row, cpu_seconds, paired
from bench.stages import Diffusers, Ours, Stages, same
from zing import models, pictures
from zing.engine.base import Order
from zing.engine.local import LocalEngine
from zing.task import Picture

OTHERS = {
    "service": service.main,
    "peers": peers.main,
    "commits": commits.main,
    "claims": claims.main,
    "follow": follow.main,
    "memory": memory.main,
    "starts": starts.main,
}
SIDES = (512, 1024, 1536)
THREADS = 2
PROMPTS = (
    "a red circle on a blue background",
    "一只可爱的猫咪",
    "a green star, plain white backdrop",
    "黄色背景上的紫色三角形",
)


def main() -> None:
    """Measure, print the card, end with one line of JSON."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--pairs", type=int, default=5, help="alternating pairs a row")
    parser.add_argument("--sides", type=int, nargs="+", default=SIDES, help="sizes, in pixels")
    parser.add_argument("--peak", choices=("ours", "diffusers"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    if options.peak:
        print(_peak(options.peak, options.sides[0]))
        return
    rows = _stage_rows(options.sides, options.pairs)
    rows += [_memory_row(side) for side in options.sides]
    rows += _wait_rows(options.sides, options.pairs)
    facts = frame.machine() | {"threads": str(THREADS), "model": "builtin, float32"}
    title = "zing bench: CPU seconds; reference: diffusers; png: level 1 against Pillow's default"
    print(frame.card(title, facts, rows))
    print(frame.line(facts, rows))


def _stage_rows(sides: list[int], pairs: int) -> list[Row]:
    """Encode, denoise, decode and picture encoding, then their sum, at each size."""
    with TemporaryDirectory() as folder:
        checkpoint = _without_manifest(Path(folder))
        ours, reference = Ours(checkpoint), Diffusers(checkpoint)
    rows = []
    for side in sides:
        _note(f"{side}x{side}")
        _run(ours, side, 0)  # not counted
        _run(reference, side, 0)
        found: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
        for pair in range(1, pairs + 1):
            measured: list[tuple[Stages, int]] = [(ours, 0), (reference, 1)]
            results = {}
            for stages, which in measured if pair % 2 else measured[::-1]:
                seconds, results[which] = _run(stages, side, pair)
                for stage, value in seconds.items():
                    found[stage][which].append(value)
            if not same(results[0], results[1]):
                sys.exit(f"At {side} the two pictures differ: nothing to compare.")
        rows += [paired(f"{side}² {name}", "s", *values) for name, values in found.items()]
    return rows


def _run(stages: Stages, side: int, pair: int) -> tuple[dict[str, float], object]:
    """CPU seconds of each stage for a prompt that was not encoded before, and the pixels."""
    prompt = f"{PROMPTS[pair % len(PROMPTS)]}, {side} {pair}"
    seconds: dict[str, float] = {}
    seconds["encode"], text = cpu_seconds(lambda: stages.encode(prompt))
    seconds["denoise"], latents = cpu_seconds(lambda: stages.denoise(text, side, pair + 1))
    seconds["decode"], pixels = cpu_seconds(lambda: stages.decode(latents))
    seconds["png"], _ = cpu_seconds(lambda: stages.picture(pixels))
    return seconds | {"all": sum(seconds.values())}, pixels


def _wait_rows(sides: list[int], pairs: int) -> list[Row]:
    """What a user waits for: wall seconds from prompt to PNG at the model's native sizes."""
    engine = LocalEngine(models.builtin().path, "cpu", THREADS)
    rows = []
    for side in sides:
        walls = []
        for pair in range(pairs + 1):
            started = time.perf_counter()
            *_, picture = engine.generate(Order(f"{PROMPTS[0]} {side} {pair}", side, side, 1, 8))
            assert isinstance(picture, Picture)
            pictures.encode(picture.pixels)
            walls.append(time.perf_counter() - started)
        rows.append(Row(f"{side}² as a user waits", "s", median(walls[1:]), pairs=pairs))
    return rows


def _memory_row(side: int) -> Row:
    """Peak resident memory of a process that draws one picture, imports included."""
    _note(f"memory at {side}x{side}")
    ours, reference = (
        float(_output([sys.executable, "-m", "bench", "--peak", which, "--sides", str(side)]))
        for which in ("ours", "diffusers")
    )
    return paired(f"{side}² peak memory", "MB", [ours], [reference])


def _peak(which: str, side: int) -> float:
    with TemporaryDirectory() as folder:
        checkpoint = _without_manifest(Path(folder))
        stages: Stages = Ours(checkpoint) if which == "ours" else Diffusers(checkpoint)
    _run(stages, side, 1)
    # Not getrusage: its maximum is inherited from the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    peak = next(line for line in status if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 1024


def _output(command: list[str]) -> str:
    finished = subprocess.run(command, check=True, capture_output=True, text=True)
    return finished.stdout.splitlines()[-1]


def _without_manifest(folder: Path) -> Path:
    """The built-in checkpoint with its native sizes set aside."""
    for path in models.builtin().path.iterdir():
        if path.name != "zing.json":
            (folder / path.name).symlink_to(path)
    return folder


def _note(text: str) -> None:
    print(f"measuring {text} ...", file=sys.stderr)


if __name__ == "__main__":
    other = OTHERS.get("".join(sys.argv[1:2]))
    if other is None:
        main()
    else:
        other(sys.argv[2:])
