"""Requests that nobody thought of, sent to a running server, answered as the documents say."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from zing import documents

PROGRAM = Path(sys.executable).parent / "schemathesis"
LIMIT_S = {"normal": 90, "long": 900}

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
]
# kie.ai and TensorsLab refuse in HTTP 200, and zimageturbo.ai ignores a side beside a size.
STRICT = {"evolink": ["negative_data_rejection"]}

each_dialect = pytest.mark.parametrize("name", documents.APIS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """A service without a worker, so that tasks stay open; no callback goes anywhere."""
    data = tmp_path_factory.mktemp("schemathesis") / "data"
    with servers.serving(data, "--no-worker", ZING_CALLBACK_ALLOW="nowhere.invalid") as running:
        yield running


def run(server: servers.Server, folder: Path, name: str, *options: str, limit_s: int) -> str:
    """What schemathesis says of a dialect; fails where it found anything."""
    command = [str(PROGRAM), "run", f"{server.url}/docs/{name}.json", "--no-color", *options]
    command += ["--request-timeout", "20", "--continue-on-failure", "--warnings", "off"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=limit_s
    )
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr
    return done.stdout


def explore(server: servers.Server, folder: Path, name: str, *options: str, limit_s: int) -> None:
    """Every phase, with the key."""
    checks = [*CHECKS, *STRICT.get(name, [])]
    key = f"Authorization: Bearer {server.key}"
    said = run(
        server, folder, name, "-H", key, "--checks", ",".join(checks), *options, limit_s=limit_s
    )
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in said, said


@each_dialect
def test_what_nobody_thought_of_is_answered_as_the_document_says(
    name: str, server: servers.Server, tmp_path: Path
) -> None:
    options = "--max-examples", "50", "--generation-deterministic"
    explore(server, tmp_path, name, *options, limit_s=LIMIT_S["normal"])


@each_dialect
def test_without_a_key_too(name: str, server: servers.Server, tmp_path: Path) -> None:
    options = "--max-examples", "10", "--generation-deterministic", "--phases", "fuzzing"
    checks = ",".join(CHECKS)
    run(server, tmp_path, name, "--checks", checks, *options, limit_s=LIMIT_S["normal"])


@pytest.mark.long
@each_dialect
def test_ten_times_as_many_by_chance(name: str, tmp_path: Path) -> None:
    """On a server of its own: the queue takes 10,000 tasks, and one run makes thousands."""
    settings = {"ZING_CALLBACK_ALLOW": "nowhere.invalid", "ZING_PRICE": "0.001"}
    with servers.serving(tmp_path / "data", "--no-worker", **settings) as server:
        explore(server, tmp_path, name, "--max-examples", "500", limit_s=LIMIT_S["long"])
