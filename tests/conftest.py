"""Fixtures that several suites share. Nothing here reaches the network."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Set before transformers or diffusers are imported: no look-ups, no bars.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch

from tests import checkpoints, databases, servers
from zing.store import Store

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


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """A running PostgreSQL."""
    if databases.programs() is None:
        pytest.skip("PostgreSQL is not installed")
    with databases.cluster() as server:
        yield server


@pytest.fixture(params=databases.KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a new, empty database, of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'zing.db'}"
        return
    with databases.new_database(request.getfixturevalue("postgresql")) as url:
        yield url


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A new, empty database with its tables, of each kind."""
    opened = Store(database_url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """A running service with the built-in model, for tests that leave it running."""
    with servers.serving(tmp_path_factory.mktemp("server") / "data") as running:
        yield running
