"""Fixtures that several suites share. Nothing here reaches the network."""

import os
from pathlib import Path

import pytest

# Set before transformers or diffusers are imported: no look-ups, no bars.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch

from tests import checkpoints

# One thread: two that wait for each other on a busy machine take far longer than one.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def builtin() -> Path:
    """The built-in checkpoint."""
    return checkpoints.BUILTIN


@pytest.fixture(scope="session", params=sorted(checkpoints.SHAPES))
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random checkpoint without a manifest, float32, one file a part."""
    folder = tmp_path_factory.mktemp("checkpoint") / request.param
    return checkpoints.save(folder, checkpoints.SHAPES[request.param])


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One random checkpoint for tests that spoil copies of it."""
    folder = tmp_path_factory.mktemp("checkpoint") / "small"
    return checkpoints.save(folder, checkpoints.SHAPES["odd"])
