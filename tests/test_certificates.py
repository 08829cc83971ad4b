"""https: what is spoken, renewed certificates, and pairs that cannot be used."""

import logging
import shutil
import socket
import ssl
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.edges import reply, request, rest, running
from tests.servers import until
from zing import edge
from zing.certificates import Certificate
from zing.errors import BadSetting

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")

Pair = tuple[Path, Path]


def make(folder: Path, name: str, *options: str) -> Pair:
    """A certificate of one's own, for this name, and its key."""
    folder.mkdir(exist_ok=True)
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 2".split()
    command += ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(key), "-out", str(certificate), *(options or ["-nodes"])]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return make(tmp_path / "first", "first")


@pytest.fixture(autouse=True)
def often() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edge, "TICKS", 1)
        patch.setattr(edge, "CERTIFICATE_TICKS", 1)
        yield


def used(pair: Pair) -> Certificate:
    return Certificate(str(pair[0]), str(pair[1]))


def context(most: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED) -> ssl.SSLContext:
    found = ssl.create_default_context()
    found.check_hostname = False
    found.verify_mode = ssl.CERT_NONE
    found.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):  # of old versions
        found.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        found.maximum_version = most
    return found


def served(port: int) -> bytes:
    """The certificate that a new connection sees."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context().wrap_socket(plain) as peer,
    ):
        peer.sendall(request())
        assert reply(peer)[0] == 200
        return peer.getpeercert(binary_form=True) or b""


def der(pair: Pair) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair[0].read_text())


@pytest.mark.parametrize(
    ("version", "taken"),
    [
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
def test_tls_1_2_and_1_3_are_spoken(version: ssl.TLSVersion, taken: bool, pair: Pair) -> None:
    with running(certificate=used(pair)) as site, site.peer() as plain:
        try:
            with context(version).wrap_socket(plain) as peer:
                peer.sendall(request())
                assert reply(peer)[0] == 200
                assert site.app.scopes[0]["scheme"] == "https"
        except ssl.SSLError:
            assert not taken
        else:
            assert taken


def test_a_renewed_certificate_is_served_and_open_connections_go_on(
    pair: Pair, tmp_path: Path
) -> None:
    renewed = make(tmp_path / "second", "second")
    with running(certificate=used(pair)) as site, site.peer() as plain:
        peer = context().wrap_socket(plain)
        peer.sendall(request())
        assert reply(peer)[0] == 200
        assert served(site.port) == der(pair)
        for new, old in zip(renewed, pair, strict=True):
            shutil.copy(new, old)
        until(lambda: served(site.port) == der(renewed), 10)
        peer.sendall(request())
        assert reply(peer)[0] == 200
        peer.close()


def test_a_renewal_that_cannot_be_used_changes_nothing_and_is_told_once(
    pair: Pair, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before, certificate = der(pair), used(pair)
    other = make(tmp_path / "second", "second")
    with running(certificate=certificate) as site, caplog.at_level(logging.WARNING):
        shutil.copy(other[0], pair[0])  # its key is not there yet
        until(lambda: caplog.records, 10)
        assert served(site.port) == before
        time.sleep(0.5)
        (told,) = caplog.records
        assert "still served" in told.getMessage()
        shutil.copy(other[1], pair[1])
        until(lambda: served(site.port) == der(other), 10)


def test_what_is_no_tls_is_hung_up_on_and_told_to_nobody(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    with running(certificate=used(pair)) as site, caplog.at_level(logging.INFO):
        for sent in (request(), b"\0" * 1000, b"\x16\x03\x01\x02\0\x01\0", b""):
            with site.peer() as peer:
                peer.sendall(sent)
                if not sent:
                    peer.shutdown(socket.SHUT_WR)
                rest(peer)
        assert served(site.port) == der(pair)
    assert not caplog.records


def test_a_handshake_and_a_head_that_do_not_come_to_their_end_are_not_waited_for(
    pair: Pair,
) -> None:
    with running(certificate=used(pair)) as site:
        with site.peer() as peer:
            assert rest(peer) == b""
        with site.peer() as plain, context().wrap_socket(plain) as peer:
            peer.sendall(b"GET / HT")
            with suppress(ssl.SSLError):
                assert rest(peer) == b""


def test_an_idle_tls_connection_costs_little(pair: Pair) -> None:
    """asyncio's own buffer is 256 kB for each."""
    with running(certificate=used(pair)) as site:
        ours = context()
        peers = [ours.wrap_socket(site.peer()) for _ in range(8)]
        before = resident()
        peers += [ours.wrap_socket(site.peer()) for _ in range(8)]
        for peer in peers:
            peer.sendall(request())
            assert reply(peer)[0] == 200
        grown = resident() - before
        for peer in peers:
            peer.close()
    assert grown < 8 * 200 * 1024, "with both ends in this process"


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("why", ["passphrase", "mismatch", "nonsense", "missing", "a folder"])
def test_a_pair_that_cannot_be_used_is_told_in_one_sentence(
    why: str, pair: Pair, tmp_path: Path
) -> None:
    certificate, key = pair
    match why:
        case "passphrase":
            certificate, key = make(tmp_path / "second", "x", "-passout", "pass:secret")
        case "mismatch":
            key = make(tmp_path / "second", "x")[1]
        case "nonsense":
            key.write_text("nonsense")
        case "missing":
            key = tmp_path / "nothing.pem"
        case "a folder":
            certificate = tmp_path
    words = {
        "passphrase": "has a passphrase",
        "mismatch": "key is of another certificate",
        "nonsense": "no PEM file",
        "missing": "nothing.pem is not there",
        "a folder": "cannot be used",
    }
    with pytest.raises(BadSetting, match=words[why]):
        used((certificate, key))
