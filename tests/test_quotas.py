"""Limits as callers meet them: each dialect's own code, how long to wait, how much is left."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import requests, servers
from tests.requests import JSON, LEAST, NAMES, SUBMIT, Reply, check_refusal, compact
from zing.rates import Rate

PRICE = 26_000

each_dialect = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """A service that draws nothing, with limits of its own."""
    folder = tmp_path_factory.mktemp("limits") / "data"
    limits = {"ZING_KIE_RATE": "20/10", "ZING_OPEN_MAX": "22", "ZING_QUEUE_MAX": "200"}
    with servers.serving(folder, "--no-worker", **limits) as running:
        yield running


def submit(server: servers.Server, name: str, key: str, **headers: str) -> Reply:
    given = JSON | {"Authorization": f"Bearer {key}"} | headers
    return requests.send(server.url, "POST", SUBMIT[name], compact(LEAST[name]), given)


def rate_headers(reply: Reply) -> dict[str, str]:
    return {name: text for name, text in reply.headers.items() if "ratelimit" in name}


CAPS = {"key cap": {"cap": PRICE}, "daily cap": {"daily_cap": PRICE}}


@each_dialect
@pytest.mark.parametrize("cause", CAPS)
def test_a_cap_is_told_in_the_documented_code(
    server: servers.Server, name: str, cause: str
) -> None:
    key = servers.new_key(server, **CAPS[cause])
    assert submit(server, name, key).status == 200
    before = servers.broken(server.data)
    check_refusal(name, submit(server, name, key), cause)
    assert servers.broken(server.data) == before == []


@each_dialect
def test_a_key_for_other_models_is_refused_in_the_documented_code(
    server: servers.Server, name: str
) -> None:
    key = servers.new_key(server, models=frozenset({"another"}))
    check_refusal(name, submit(server, name, key), "key may not use the model")


@each_dialect
def test_a_rate_is_told_before_and_after_it_is_passed(server: servers.Server, name: str) -> None:
    key = servers.new_key(server, rate=Rate(2, 3600.0))
    lefts = []
    for _ in range(2):
        taken = submit(server, name, key)
        assert taken.status == 200
        assert taken.headers["ratelimit-policy"] == '"create";q=2;w=3600'
        match = re.fullmatch(r'"create";r=(\d);t=(\d+)', taken.headers["ratelimit"])
        assert match
        assert taken.headers["x-ratelimit-limit"] == "2"
        assert taken.headers["x-ratelimit-remaining"] == match[1]
        assert taken.headers["x-ratelimit-reset"] == match[2]
        lefts.append(int(match[1]))
    assert lefts == [1, 0]
    refused = submit(server, name, key)
    check_refusal(name, refused, "rate limit")
    assert 1790 < int(refused.headers["retry-after"]) <= 1800
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert refused.headers["ratelimit"].startswith('"create";r=0;t=')


def test_kies_own_rate_counts_what_comes_by_kie_alone(server: servers.Server) -> None:
    """20 in 10 seconds an account; what is more is not queued."""
    key = servers.new_key(server)
    account_id = server.zing("keys", "show", key)["account"]
    server.zing("accounts", "set", account_id, "--max-open", "100")
    began = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(lambda _: submit(server, "kie", key), range(60)))
    later = int(2 * (time.monotonic() - began)) + 1  # two a second more
    accepted = [reply.json()["code"] for reply in replies].count(200)
    assert 20 <= accepted <= 20 + later
    over = next(reply for reply in replies if reply.status == 429)
    check_refusal("kie", over, "rate limit")
    assert over.headers["retry-after"] == "1"
    other = submit(server, "evolink", key)
    assert (other.status, rate_headers(other)) == (200, {})


def test_a_repeated_request_is_answered_though_its_rate_is_used_up(
    server: servers.Server,
) -> None:
    key = servers.new_key(server, rate=Rate(1, 3600.0))
    name = {"Idempotency-Key": "once"}
    first = submit(server, "evolink", key, **name)
    again = submit(server, "evolink", key, **name)
    assert (first.status, again.status) == (200, 200)
    assert again.body == first.body
    check_refusal("evolink", submit(server, "evolink", key), "rate limit")


def test_an_account_with_too_much_open_is_told_to_wait_for_its_own(server: servers.Server) -> None:
    key = servers.new_key(server)
    for _ in range(22):
        assert submit(server, "evolink", key).status == 200
    refused = submit(server, "evolink", key)
    check_refusal("evolink", refused, "rate limit")
    assert int(refused.headers["retry-after"]) > 0
    assert "22 open tasks" in refused.json()["error"]["fallback_suggestion"]
    assert rate_headers(refused) == {}
    assert submit(server, "evolink", servers.new_key(server)).status == 200


def test_a_full_queue_is_told_in_the_documented_code(server: servers.Server) -> None:
    """The last test: it fills the queue."""
    while True:
        key = servers.new_key(server)
        replies = [submit(server, "evolink", key) for _ in range(22)]
        if any(reply.status != 200 for reply in replies):
            break
    assert requests.send(server.url, "GET", "/readyz").json()["queue"] == {
        "queued": 200,
        "limit": 200,
    }
    for name in NAMES:
        refused = submit(server, name, servers.new_key(server))
        check_refusal(name, refused, "queue full")
        assert int(refused.headers["retry-after"]) > 0
    assert servers.broken(server.data) == []
