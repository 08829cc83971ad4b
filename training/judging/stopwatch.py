"""The stopwatch: how long one 1024x1024 picture takes, from the prompt to its pixels.

It runs in a process of its own without the settings of training, as the service would draw.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE
from typing import Any

from training.judging.painter import STEPS
from zing.engine.base import Order
from zing.engine.local import LocalEngine

SIDE = 1024
PROMPTS = {
    "en": ("a cat", "two red hearts", "a rocket at night", "a house in the snow", "a blue star"),
    "zh": ("一只猫", "两颗红色的心", "夜空中的火箭", "雪地里的房子", "蓝色的星星"),
}


def measure(checkpoint: Path) -> dict[str, Any]:
    """Return the medians of processor and wall seconds by language, and the threads used."""
    settings = ("MALLOC_", "OMP_")
    plain = {k: v for k, v in os.environ.items() if not k.startswith(settings)}
    command = [sys.executable, "-m", "training.judging.stopwatch", str(checkpoint.resolve())]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=root, env=plain, check=True, stdout=PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def time_all(checkpoint: Path) -> dict[str, Any]:
    """Draw every prompt after a first one that does not count, in this process."""
    threads = len(os.sched_getaffinity(0))
    engine = LocalEngine(checkpoint, "cpu", threads)
    _time(engine, "warming up")
    found: dict[str, Any] = {"threads": threads}
    for language, prompts in PROMPTS.items():
        times = [_time(engine, prompt) for prompt in prompts]
        found[language] = {
            "cpu": round(statistics.median(cpu for cpu, _ in times), 3),
            "wall": round(statistics.median(wall for _, wall in times), 3),
        }
    return found


def _time(engine: LocalEngine, prompt: str) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in engine.generate(Order(prompt, SIDE, SIDE, 1, STEPS)):
        pass
    return time.process_time() - cpu, time.perf_counter() - wall


if __name__ == "__main__":
    print(json.dumps(time_all(Path(sys.argv[1]))))
