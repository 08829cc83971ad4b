"""SIGKILL of a worker at each point of a task's life, with the built-in model where it draws."""

from collections.abc import Iterator

import pytest

from tests import dying
from tests.pairs import Pair, meet
from tests.test_kills import LEFT, POINTS


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A pair that draws with the built-in model."""
    with Pair(tmp_path_factory.mktemp("real"), engine="builtin").running() as running:
        yield running


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A pair whose worker starts at once."""
    with Pair(tmp_path_factory.mktemp("light")).running() as running:
        yield running


@pytest.mark.parametrize("point", dying.WORKER)
def test_a_worker_is_killed_in_its_work_at(real: Pair, point: str) -> None:
    real.draws()
    asked, left = meet(real, "worker", point)
    assert left in LEFT[point]
    real.check(asked)
    real.audit()


@pytest.mark.parametrize("point", [each for each in POINTS if each in dying.API])
def test_a_worker_is_killed_while_the_api_is_at(light: Pair, point: str) -> None:
    light.draws()
    asked, left = meet(light, "worker", point)
    assert left in LEFT[point]
    light.check(asked)
    light.audit()
