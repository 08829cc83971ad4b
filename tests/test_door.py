"""What the door sends, where to, and what it never does. No packet leaves the machine."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.receivers import Authority, Certificate, Hooked, Receiver, answer, hang, only_loopback
from zing.errors import Forbidden, Unreachable
from zing.netguard import Door, Reply, Rules

HOST = "hooks.example.com"
PUBLIC = "93.184.216.34"


@pytest.fixture(autouse=True)
def guarded() -> Iterator[None]:
    with only_loopback():
        yield


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def certificate(authority: Authority) -> Certificate:
    return authority.certificate(HOST, PUBLIC)


def post(door: Door, url: str, body: bytes = b"{}", timeout_s: float = 10.0) -> Reply:
    return asyncio.run(door.post(url, body, {"Content-Type": "application/json"}, timeout_s))


def test_a_post_arrives(authority: Authority, certificate: Certificate) -> None:
    with Receiver(answer(201, b"thanks"), certificate) as receiver:
        hooked = Hooked({PUBLIC: receiver.port})
        door = Door(Rules(), lambda _: [PUBLIC], hooked, authority.trust())
        reply = post(door, f"https://{HOST}/a?b=c", b'{"a": 1}')
    assert reply == Reply(201, b"thanks", whole=True)
    assert hooked.asked == [(PUBLIC, 443)]
    sent = receiver.requests[0]
    assert (sent.method, sent.path, sent.body) == ("POST", "/a?b=c", b'{"a": 1}')
    assert (sent.sni, sent.headers["host"]) == (HOST, HOST)
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["accept-encoding"] == "identity"


def test_a_private_address_is_not_connected_to() -> None:
    hooked = Hooked(default=1)
    door = Door(Rules(), lambda _: [PUBLIC, "10.0.0.1"], hooked)
    with pytest.raises(Forbidden, match=r"10\.0\.0\.1"):
        post(door, f"https://{HOST}/")
    assert not hooked.asked


def test_a_private_host_is_reached_in_plain_http() -> None:
    with Receiver() as receiver:
        door = Door(Rules(private=("127.0.0.1",)))
        assert post(door, f"{receiver.url}/").status == 200


def test_a_hanging_receiver_ends_at_the_deadline() -> None:
    with Receiver(hang) as receiver:
        door = Door(Rules(private=("127.0.0.1",)))
        with pytest.raises(Unreachable, match=r"did not answer within 0.2 s"):
            post(door, receiver.url, timeout_s=0.2)
