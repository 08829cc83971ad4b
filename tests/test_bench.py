"""The benchmark's frame on made-up values, and the benchmark itself once, small."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench import frame, stages

ROOT = Path(__file__).parent.parent


def test_ratio_is_the_median_of_pairs() -> None:
    row = frame.paired("decode", "s", [1.0, 2.0, 4.0], [2.0, 8.0, 4.0])
    assert (row.ours, row.reference, row.ratio, row.pairs) == (2.0, 4.0, 2.0, 3)


def test_card_and_line_hold_every_row() -> None:
    rows = [frame.paired("decode", "s", [1.0], [2.0]), frame.Row("alone", "MB", 7.0)]
    card = frame.card("title", {"cpu": "a cpu"}, rows)
    assert "2.00x" in card
    assert "alone" in card
    assert "a cpu" in card
    assert len(json.loads(frame.line({"cpu": "a cpu"}, rows))["rows"]) == 2


def test_another_picture_is_not_the_same() -> None:
    pixels = np.full((10, 10, 3), 100, np.uint8)
    assert stages.same(pixels, pixels + 1)
    assert not stages.same(pixels, pixels + 2)


@pytest.mark.long
def test_benchmark_ends_with_one_line_of_json() -> None:
    command = [sys.executable, "-m", "bench", "--pairs", "1", "--sides", "256"]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rows = {row["name"]: row for row in json.loads(finished.stdout.splitlines()[-1])["rows"]}
    for stage in ("encode", "denoise", "decode", "png", "all", "peak memory"):
        assert rows[f"256² {stage}"]["ratio"] > 0
    assert rows["256² as a user waits"]["ours"] > 0
