"""Requests that nobody thought of, sent to a running server, answered as the documents say."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from tests import oddities, servers
from zing import admin_api, documents, keys, ledger
from zing.cli.opened import opened
from zing.keys import Allowed, Scope

ROOT = Path(__file__).parent.parent
PROGRAM = Path(sys.executable).parent / "schemathesis"
LIMIT_S = {"normal": 90, "long": 900}
FEW = "--max-examples", "10", "--generation-deterministic"
SOME = "--max-examples", "50", "--generation-deterministic"

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
]
# What only some can be asked. negative_data_rejection and ignored_auth look at the HTTP status, in
# which kie.ai and TensorsLab do not refuse; the first also finds that zimageturbo.ai ignores a side
# beside a size.
STRICT: dict[str, list[str]] = {
    "evolink": ["negative_data_rejection", "ignored_auth"],
    "kie": [],
    "tensorslab": [],
    "zimageturbo": ["ignored_auth"],
}
# Where kie.ai's codes are in HTTP, that they are kept can be seen there too.
MANNERED = {
    "evolink": STRICT["evolink"],
    "kie": [*STRICT["kie"], "ignored_auth"],
    "zimageturbo": STRICT["zimageturbo"],
}
MANNERS = {
    "ZING_EVOLINK_CANCELLED": "failed",
    "ZING_KIE_HTTP": "mirror",
    "ZING_ZIT_WAIT_S": "0.05",
    "ZING_ZIT_PROMPT_MAX": "1500",
}

each_dialect = pytest.mark.parametrize("name", documents.APIS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """A service without a worker, so that tasks stay open; no callback goes anywhere."""
    data = tmp_path_factory.mktemp("schemathesis") / "data"
    with servers.serving(data, "--no-worker", ZING_CALLBACK_ALLOW="nowhere.invalid") as running:
        yield running


@pytest.fixture(scope="module")
def mannered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """The same with every manner changed."""
    data = tmp_path_factory.mktemp("mannered") / "data"
    settings = MANNERS | {"ZING_CALLBACK_ALLOW": "nowhere.invalid"}
    with servers.serving(data, "--no-worker", **settings) as running:
        yield running


def run(server: servers.Server, folder: Path, name: str, *options: str, limit_s: int) -> str:
    """What schemathesis says of a dialect; fails where it found anything."""
    command = [str(PROGRAM), "run", f"{server.url}/docs/{name}.json", "--no-color", *options]
    command += ["--request-timeout", "20", "--continue-on-failure", "--warnings", "off"]
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"SCHEMATHESIS_HOOKS": oddities.__name__, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=limit_s,
    )
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr
    # In kie.ai's and TensorsLab's replies an error of ours is in HTTP 200 too.
    assert "no answer to" not in server.log.read_text()
    return done.stdout


def explore(
    server: servers.Server, folder: Path, name: str, strict: list[str], *options: str, limit_s: int
) -> None:
    """Every phase, with the key."""
    key = f"Authorization: Bearer {server.key}"
    checks = ",".join([*CHECKS, *strict])
    said = run(server, folder, name, "-H", key, "--checks", checks, *options, limit_s=limit_s)
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in said, said


@each_dialect
def test_what_nobody_thought_of_is_answered_as_the_document_says(
    name: str, server: servers.Server, tmp_path: Path
) -> None:
    explore(server, tmp_path, name, STRICT[name], *SOME, limit_s=LIMIT_S["normal"])


@pytest.mark.parametrize("name", MANNERED)
def test_other_manners_too(name: str, mannered: servers.Server, tmp_path: Path) -> None:
    explore(mannered, tmp_path, name, MANNERED[name], *FEW, limit_s=LIMIT_S["normal"])


@each_dialect
def test_without_a_key_too(name: str, server: servers.Server, tmp_path: Path) -> None:
    checks = ",".join([*CHECKS, *STRICT[name]])
    options = "--checks", checks, *FEW, "--phases", "fuzzing"
    run(server, tmp_path, name, *options, limit_s=LIMIT_S["normal"])


def test_the_admin_api_too(server: servers.Server, tmp_path: Path) -> None:
    """With a key that may administer, and another one so that none is the last."""
    with opened(str(server.data), "") as service:
        store, now, pepper = service.store, service.clock(), service.pepper
        scopes = Allowed(scopes=frozenset({Scope.ADMIN}))

        def make(tx: Connection) -> str:
            owner = ledger.open_account(tx, now)
            keys.mint(tx, pepper, "left alone", owner, now, scopes)
            return keys.mint(tx, pepper, "explores", owner, now, scopes)[0]

        key = f"Authorization: Bearer {store.write(make)}"
    checks = ",".join([*CHECKS, "ignored_auth"])
    options = "-H", key, "--checks", checks, *FEW, "--phases", "examples,fuzzing"
    try:
        run(server, tmp_path, admin_api.NAME, *options, limit_s=LIMIT_S["normal"])
    finally:
        server.zing("maintenance", "off")
        for name in documents.APIS:
            server.zing("dialects", "enable", name)


@pytest.mark.long
@each_dialect
def test_ten_times_as_many_by_chance(name: str, tmp_path: Path) -> None:
    """On a server of its own: the queue takes 10,000 tasks, and one run makes thousands."""
    settings = {"ZING_CALLBACK_ALLOW": "nowhere.invalid", "ZING_PRICE": "0.001"}
    many = "--max-examples", "500"
    with servers.serving(tmp_path / "data", "--no-worker", **settings) as server:
        explore(server, tmp_path, name, STRICT[name], *many, limit_s=LIMIT_S["long"])
