"""Receivers on loopback for tests of what is sent: certificates, scripted answers, hooked connects.

Nothing here leaves the machine: `Hooked` records where a connection was to go and opens it to a
receiver on loopback, and `only_loopback` fails whatever tries to go elsewhere.
"""

import ipaddress
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpcore2
import pytest

TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Sent:
    """A request that a receiver got. Names of headers are in small letters."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    sni: str


# What a receiver does on a connection once it has read a request.
Answer = Callable[[socket.socket, Sent], None]


def answer(
    status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> Answer:
    """Answer once and close."""
    fields = {"Content-Length": str(len(body)), "Connection": "close"} | dict(headers or {})
    lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in fields.items())]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return lambda connection, _: connection.sendall(head + body)


def in_turn(*answers: Answer) -> Answer:
    """One answer after another; the last for all that come later."""
    left = list(answers)
    lock = threading.Lock()

    def next_one(connection: socket.socket, sent: Sent) -> None:
        with lock:
            this = left.pop(0) if len(left) > 1 else left[0]
        this(connection, sent)

    return next_one


def hang(connection: socket.socket, _: Sent) -> None:
    """Say nothing until the other side goes away."""
    with suppress(OSError):
        connection.recv(1)


def tunnel(ports: Mapping[str, int]) -> Answer:
    """An egress proxy's answer: a tunnel to the loopback port that stands for an address and port,
    502 where none does.
    """

    def open_one(connection: socket.socket, sent: Sent) -> None:
        if sent.path not in ports:
            answer(502)(connection, sent)
            return
        with socket.create_connection(("127.0.0.1", ports[sent.path])) as other:
            connection.sendall(b"HTTP/1.1 200 Open\r\n\r\n")
            back = threading.Thread(target=_pump, args=(other, connection), daemon=True)
            back.start()
            _pump(connection, other)
            back.join(TIMEOUT_S)

    return open_one


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


class Receiver:
    """An HTTP server on loopback that keeps what it got; https where it is given a certificate.

    Use it as a context. `requests` holds what came, `connections` counts what was accepted, `tls`
    is how it speaks https.
    """

    def __init__(self, say: Answer | None = None, certificate: "Certificate | None" = None) -> None:
        self.say = say or answer()
        self.requests: list[Sent] = []
        self.connections = 0
        self.tls = certificate.context() if certificate else None
        self._names: dict[int, str] = {}
        if self.tls:
            self.tls.sni_callback = self._named
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._open: set[socket.socket] = set()
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        """Where it is, without a path."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> "Receiver":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # shutdown wakes the thread in accept, which close alone does not.
        for each in (self._listener, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _named(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        self._names[id(connection)] = name or ""

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        plain.settimeout(TIMEOUT_S)
        connection = plain
        # The other side may go away at any moment, or refuse the certificate.
        with suppress(OSError):
            if self.tls:
                connection = self.tls.wrap_socket(plain, server_side=True)
                self._open.add(connection)
            sent = _request(connection, self._names.pop(id(connection), ""))
            if sent:
                self.requests.append(sent)
                self.say(connection, sent)
        connection.close()


def _request(connection: socket.socket, sni: str) -> Sent | None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        more = connection.recv(65536)
        if not more:
            return None
        body += more
    return Sent(method, path, headers, body, sni)


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, in PEM files."""

    cert: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """A server's context that shows it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        return context


# Of its own, for the one that a machine has may add to it or be missing.
_CONFIGURATION = """
[req]
distinguished_name = name
x509_extensions = authority
prompt = no
[name]
commonName = zing-tests
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
subjectKeyIdentifier = hash
"""


class Authority:
    """A certificate authority of the test's own, made by the openssl command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "ca.cnf").write_text(_CONFIGURATION)
        self._openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
            "-config ca.cnf -keyout ca.key -out ca.pem"
        )

    def trust(self) -> ssl.SSLContext:
        """A client's context that trusts this authority alone."""
        return ssl.create_default_context(cafile=str(self.folder / "ca.pem"))

    def certificate(self, *names: str, file: str = "server", days: int = 2) -> Certificate:
        """A certificate for names (DNS, `*.` allowed) and addresses."""
        kinds = ["IP" if _is_address(name) else "DNS" for name in names]
        listed = ",".join(f"{kind}:{name}" for kind, name in zip(kinds, names, strict=True))
        (self.folder / f"{file}.ext").write_text(
            f"subjectAltName={listed}\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
        )
        self._openssl(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=receiver "
            f"-config ca.cnf -keyout {file}.key -out {file}.csr"
        )
        self._openssl(
            f"x509 -req -in {file}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days {days} "
            f"-extfile {file}.ext -out {file}.pem"
        )
        return Certificate(self.folder / f"{file}.pem", self.folder / f"{file}.key")

    def _openssl(self, arguments: str) -> None:
        command = ["openssl", *arguments.split()]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True, timeout=60)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


@dataclass
class Hooked(httpcore2.AsyncNetworkBackend):
    """A backend that records where a connection was to go, and opens it on loopback.

    ports    the loopback port that stands for an address; an address without one refuses
    default  the port for every other address; 0: none
    """

    ports: dict[str, int] = field(default_factory=dict)
    default: int = 0
    asked: list[tuple[str, int]] = field(default_factory=list)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        self.asked.append((host, port))
        here = self.ports.get(host, self.default)
        if not here:
            raise httpcore2.ConnectError("nobody listens") from ConnectionRefusedError()
        return await httpcore2.AnyIOBackend().connect_tcp("127.0.0.1", here, timeout)


@contextmanager
def only_loopback() -> Iterator[list[Any]]:
    """Fail whatever goes to another address than a loopback one; gives what tried to."""
    tried: list[Any] = []

    def guarded(name: str, place: int) -> Callable[..., Any]:
        real = getattr(socket.socket, name)

        def checked(self: socket.socket, *arguments: Any) -> Any:
            where = arguments[place]
            inner = self.family in (socket.AF_INET, socket.AF_INET6)
            if inner and not ipaddress.ip_address(where[0]).is_loopback:
                tried.append(where)
                raise AssertionError(f"a test reached for {where}")
            return real(self, *arguments)

        return checked

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded("connect", 0))
        patch.setattr(socket.socket, "connect_ex", guarded("connect_ex", 0))
        patch.setattr(socket.socket, "sendto", guarded("sendto", -1))
        yield tried
    assert not tried, f"a test reached for {tried}"
