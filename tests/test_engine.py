"""What any engine owes its callers: exact sizes, seeds, progress, cancelling. One suite for all."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import checkpoints
from zing.engine.base import Engine, Order
from zing.engine.local import LocalEngine, device_summary, pick_device, verify
from zing.errors import BadCheckpoint, BadPicture, BadSetting, OutOfMemory
from zing.task import Picture, Progress


@pytest.fixture(scope="session", params=["builtin", "random"])
def engine(request: pytest.FixtureRequest, builtin: Path, small: Path) -> Engine:
    """Every engine there is: with native sizes and without."""
    return LocalEngine({"builtin": builtin, "random": small}[request.param], "cpu", 1)


def picture(engine: Engine, order: Order) -> Picture:
    *_, last = engine.generate(order)
    assert isinstance(last, Picture)
    return last


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(width=st.integers(64, 500), height=st.integers(64, 500))
def test_any_size_comes_out_exactly(engine: Engine, width: int, height: int) -> None:
    drawn = picture(engine, Order("cat", width, height, seed=1, steps=1))
    assert drawn.pixels.shape == (height, width, 3)
    assert drawn.pixels.dtype == np.uint8


@pytest.mark.parametrize("size", [(376, 376), (1536, 376), (377, 1535), (64, 2048), (1280, 720)])
def test_sizes_at_the_limits_come_out_exactly(engine: Engine, size: tuple[int, int]) -> None:
    assert picture(engine, Order("cat", *size, seed=1, steps=1)).pixels.shape == (*size[::-1], 3)


def test_same_seed_same_picture_and_another_seed_another(engine: Engine) -> None:
    first, again, other = (
        picture(engine, Order("一只可爱的猫咪", 96, 64, seed=seed, steps=2)).pixels
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_another_prompt_another_picture(engine: Engine) -> None:
    one, two = (
        picture(engine, Order(prompt, 96, 96, seed=1, steps=4)).pixels
        for prompt in ("a red circle", "a blue square on a yellow background")
    )
    assert not np.array_equal(one, two)


def test_progress_counts_every_step(engine: Engine) -> None:
    *progress, _ = engine.generate(Order("cat", 64, 64, seed=1, steps=5))
    assert progress == [Progress(step, 5) for step in range(1, 6)]


def test_to_stop_iterating_is_to_cancel(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(engine, LocalEngine)
    forwards = []
    handle = engine.pipeline.transformer.register_forward_hook(lambda *_: forwards.append(1))
    running = engine.generate(Order("cat", 64, 64, seed=1, steps=8))
    assert [next(running), next(running)] == [Progress(1, 8), Progress(2, 8)]
    running.close()  # type: ignore[attr-defined]
    handle.remove()
    assert len(forwards) == 2


def test_tokens_of_the_prompt_are_told(engine: Engine) -> None:
    drawn = picture(engine, Order("猫" * 600, 64, 64, seed=1, steps=1))
    assert drawn.prompt_tokens > 600
    assert drawn.prompt_tokens_used <= 512
    short = picture(engine, Order("猫", 64, 64, seed=1, steps=1))
    assert short.prompt_tokens == short.prompt_tokens_used


def test_words_are_understood_where_the_checkpoint_lists_some(
    tmp_path: Path, small: Path, builtin: Path
) -> None:
    order = Order("a Red circle, 抽象", 64, 64, seed=1, steps=1)
    assert picture(LocalEngine(builtin, "cpu", 1), order).understood == ("Red", "circle")
    unknown = Order("quantum gravity", 64, 64, seed=1, steps=1)
    assert picture(LocalEngine(builtin, "cpu", 1), unknown).understood == ()
    copy = checkpoints.copy(small, tmp_path / "copy")
    assert picture(LocalEngine(copy, "cpu", 1), order).understood is None
    listed = {"vocabulary": {"moods": [{"name": "abstract", "zh": ["抽象"]}]}}
    (copy / "zing.json").write_text(json.dumps(listed))
    assert picture(LocalEngine(copy, "cpu", 1), order).understood == ("抽象",)


def test_words_that_were_cut_off_are_not_understood(tmp_path: Path, small: Path) -> None:
    copy = checkpoints.copy(small, tmp_path / "copy")
    listed = [{"name": word, "en": [word]} for word in ("circle", "square")]
    manifest = {"max_sequence_length": 64, "vocabulary": {"objects": listed}}
    (copy / "zing.json").write_text(json.dumps(manifest))
    order = Order(f"circle {'猫' * 100} square", 64, 64, seed=1, steps=1)
    assert picture(LocalEngine(copy, "cpu", 1), order).understood == ("circle",)


def test_the_manifest_can_set_the_longest_prompt(tmp_path: Path, small: Path) -> None:
    copy = checkpoints.copy(small, tmp_path / "copy")
    for manifest, used in (({}, 512), ({"max_sequence_length": 64}, 64)):
        (copy / "zing.json").write_text(json.dumps(manifest))
        drawn = picture(LocalEngine(copy, "cpu", 1), Order("猫" * 600, 64, 64, seed=1, steps=1))
        assert drawn.prompt_tokens_used == used


def test_values_that_are_not_finite_are_no_picture(small: Path) -> None:
    engine = LocalEngine(small, "cpu", 1)
    engine.pipeline.vae.decoder.conv_out.bias.data.fill_(torch.nan)
    with pytest.raises(BadPicture):
        list(engine.generate(Order("cat", 64, 64, seed=1, steps=1)))


def test_a_picture_larger_than_memory_says_so(small: Path) -> None:
    engine = LocalEngine(small, "cpu", 1)
    with pytest.raises(OutOfMemory):
        list(engine.generate(Order("cat", 2**24, 2**24, seed=1, steps=1)))


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "meta", ""])
def test_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(BadSetting):
        pick_device(name)


def test_device_summary_names_the_cpu() -> None:
    assert device_summary("cpu").startswith("cpu")


def test_verify_counts_the_values_that_are_used(builtin: Path, small: Path) -> None:
    assert verify(builtin) > 1_000_000
    assert verify(small) > 10_000


def test_unreadable_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="nowhere"):
        LocalEngine(tmp_path / "nowhere", "cpu", 1)


def test_drawing_loads_nothing_of_the_compiler() -> None:
    """torch's compiler takes seconds to import, and torch does so at the slightest occasion."""
    program = """
import sys
from zing import models
from zing.engine.base import Order
from zing.engine.local import LocalEngine
engine = LocalEngine(models.builtin().path, "cpu", 1)
list(engine.generate(Order("cat", 64, 64, 1, 1, previews=True)))
print("torch._dynamo" in sys.modules)
"""
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert finished.stdout.strip() == "False"
