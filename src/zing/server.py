"""`zing serve`: the service, a worker process and the housekeeper of one machine, wired."""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

import uvicorn
from sqlalchemy import Connection
from starlette.applications import Starlette

from zing import (
    app,
    authentication,
    config,
    edge,
    extension,
    keys,
    ledger,
    limits,
    logs,
    models,
    netguard,
    origins,
)
from zing.blobs import Blobs, Links
from zing.certificates import Certificate
from zing.config import (
    DATABASE,
    DRAIN,
    EVOLINK_CANCELLED,
    GROUP_MAX,
    KIE_HTTP,
    PUBLIC_URL,
    ZIT_PROMPT_MAX,
    ZIT_WAIT,
)
from zing.data import Data, replace
from zing.delivery import Courier, Sender
from zing.dialects.manners import Manners, spoken
from zing.errors import BadSetting, Unavailable
from zing.housekeeper import Housekeeper, Rules
from zing.metrics import Metrics
from zing.netguard import Door
from zing.proxies import Behind, Proxies
from zing.room import Bounds, Room
from zing.service import Served, Service, Terms
from zing.store import Store
from zing.supervisor import REFUSED, Supervisor
from zing.task import MICRO, PROMPT_MAX

FIRST_CREDITS = 1000 * MICRO
READY_LOOK_S = 0.05
WAIT_MAX_S = 60.0
GROUP_MOST = 500  # variables of a statement have a limit
HANG_UP_S = 6  # for requests that are being answered; who waits for a task stops waiting

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """What `zing serve` was asked for."""

    data: Path
    database: str
    host: str
    port: int
    model: str
    device: str
    threads: str
    worker: bool
    tls_cert: str
    tls_key: str


class Server(edge.Server):
    """The edge's server that ends with a status instead of by the signal it got."""

    def __init__(self, parts: "Parts", settings: uvicorn.Config, front: "Front") -> None:
        super().__init__(settings, front.limits, front.proxies, front.certificate)
        self._parts = parts

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The first signal drains, the second gives back what runs and ends."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.handle_exit)
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note the wish to end."""
        if self.should_exit:
            self._parts.hurry()
        self.should_exit = True
        self._parts.drain()


@dataclass(frozen=True)
class Front:
    """What stands before the application."""

    limits: edge.Limits
    proxies: Proxies
    origins: tuple[str, ...]
    certificate: Certificate | None


@dataclass
class Parts:
    """The running parts beside the HTTP server."""

    wiring: app.Wiring
    supervisor: Supervisor | None
    drain_s: float
    courier: Courier
    stop: threading.Event
    keeper: threading.Thread
    refused: bool = False

    def start(self) -> None:
        """The parts begin their work."""
        self.keeper.start()
        self.courier.start()
        if self.supervisor is not None:
            self.supervisor.start()

    def drain(self) -> None:
        """Nothing new is drawn, and nobody waits for what is."""
        self.wiring.stopping.set()
        if self.supervisor is not None:
            self.supervisor.drain()

    def hurry(self) -> None:
        """The worker gives back what it draws."""
        if self.supervisor is not None:
            self.supervisor.hurry()

    def end(self) -> None:
        """The worker, the courier and the housekeeper have ended when this returns."""
        if self.supervisor is not None:
            self.supervisor.stop(self.drain_s)
        self.courier.stop()
        self.stop.set()
        if self.keeper.ident is not None:
            self.keeper.join()


def serve(options: Options, tell: Callable[[dict[str, str]], None]) -> int:
    """Serve until a signal; the exit status.

    `tell` is called with the first key once it is made, and with the address once it is ready.
    """
    logs.set_up("zing")
    front = _front(options)
    data = Data(options.data)
    data.make()
    listener = _listen(options.host, options.port)
    address = _address(options, listener)
    store = Store.of(options.database, data)
    parts = _wire(options, data, store, address)
    parts.wiring.metrics.watch_log()
    first = make_first_key(parts.wiring.service, data)
    if first:
        tell({"key": first, "key_file": str(data.first_key)})
    facts = {"ready": address} | (
        {"key_file": str(data.first_key)} if data.first_key.exists() else {}
    )
    server = Server(parts, _settings(parts, front, lambda: tell(facts)), front)
    try:
        server.run(sockets=[listener])
    finally:
        parts.end()
        store.close()
    return REFUSED if parts.refused else 0


def make_first_key(service: Service, data: Data) -> str:
    """Where there is no key yet: a new one, funded and kept in the data folder; else empty."""

    def make(tx: Connection) -> str:
        if keys.list_keys(tx):
            return ""
        now = service.clock()
        account_id = ledger.open_account(tx, now)
        ledger.grant(tx, account_id, FIRST_CREDITS, now, "the first key")
        text, _ = keys.mint(tx, service.pepper, "first", account_id, now)
        replace(data.first_key, text + "\n")  # before it counts, or a crash could lose it
        return text

    return service.store.write(make)


def _wire(options: Options, data: Data, store: Store, address: str) -> Parts:
    secret = data.secret()
    blobs = Blobs(data.pictures / store.id)
    room = Room(store, _written(data, store), Bounds.read())
    housekeeper = Housekeeper(store, blobs, time.time, Rules.read(), room.tight)
    supervisor = None
    if options.worker:
        hidden = {DATABASE.variable: options.database}
        supervisor = Supervisor(_work(options), os.environ | hidden, housekeeper.reap)
    model = models.find(options.model, options.data)
    service = Service(
        store=store,
        blobs=blobs,
        links=Links(secret, config.read(PUBLIC_URL) or address),
        pepper=secret,
        terms=Terms.read(),
        served=Served(model.name, not models.draws_people(model), options.worker),
        clock=time.time,
        wake=supervisor.wake if supervisor else _nobody,
        rules=netguard.callback_rules(),
        room=room,
        most=limits.Rules.read(),
    )
    wiring = app.Wiring(
        service,
        spoken(_manners()),
        extension.read(),
        metrics=Metrics(queue_max=service.most.queue_max),
        group_max=config.whole_number(GROUP_MAX, 1, GROUP_MOST),
        failures=authentication.failures(),
    )
    wiring.metrics.watch_audit(housekeeper.last_audit)
    sender = Sender(Door(service.rules), secret, time.time, partial(app.sign, wiring))
    courier = Courier(store, sender, partial(app.tell, wiring))
    _warn_of_links(service.links.origin)
    stop = threading.Event()
    keeper = threading.Thread(
        target=housekeeper.run, args=(stop, service.wake), name="housekeeper", daemon=True
    )
    return Parts(wiring, supervisor, config.seconds(DRAIN), courier, stop, keeper)


def _written(data: Data, store: Store) -> list[Path]:
    """The folders that the service writes in."""
    database = [Path(store.url.database or "").absolute().parent] if store.sqlite else []
    return [data.pictures, *database]


def _manners() -> Manners:
    """How the dialects are spoken, by the settings."""
    prompt_max = config.whole_number(ZIT_PROMPT_MAX, 1, PROMPT_MAX)
    return Manners(
        cancelled_is_failed=config.choice(EVOLINK_CANCELLED, "cancelled", "failed") == "failed",
        codes_in_http=config.choice(KIE_HTTP, "body", "mirror") == "mirror",
        wait_s=config.seconds(ZIT_WAIT, 0.0, WAIT_MAX_S),
        prompt_max=prompt_max,
    )


def _work(options: Options) -> list[str]:
    """The command of the worker process, without the database's URL: it may hold a password."""
    command = [sys.executable, "-m", "zing", "work", "--supervised"]
    named = {
        "--data": str(options.data),
        "--model": options.model,
        "--device": options.device,
        "--threads": options.threads,
    }
    return command + [word for name, value in named.items() if value for word in (name, value)]


def _lifespan(parts: Parts, ready: Callable[[], None]) -> app.Lifespan:
    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        parts.start()
        watch = asyncio.create_task(_watch(parts, ready))
        yield
        watch.cancel()

    return lifespan


async def _watch(parts: Parts, ready: Callable[[], None]) -> None:
    """Tell when the service is ready; end it where its worker can never be.

    Without a worker of its own it is ready when it answers.
    """
    while parts.supervisor is not None:
        if parts.supervisor.refused:
            parts.refused = True
            signal.raise_signal(signal.SIGTERM)
            return
        with suppress(Unavailable):  # the database may come back
            facts = await asyncio.to_thread(parts.wiring.service.ready)
            if facts["ready"]:
                break
        await asyncio.sleep(READY_LOOK_S)
    ready()


def _front(options: Options) -> Front:
    """What the settings say of it; raises BadSetting."""
    if bool(options.tls_cert) != bool(options.tls_key):
        raise BadSetting("--tls-cert and --tls-key go together.")
    certificate = Certificate(options.tls_cert, options.tls_key) if options.tls_cert else None
    return Front(edge.Limits.read(), Proxies.read(), origins.read(), certificate)


def _settings(parts: Parts, front: Front, ready: Callable[[], None]) -> uvicorn.Config:
    built = app.build(parts.wiring, _lifespan(parts, ready))
    # From outside: errors of all kinds are for these origins' pages too.
    shared = origins.shared(Behind(built, front.proxies), front.origins)
    return edge.settings(shared, front.limits, HANG_UP_S)


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, address = found[0][0], found[0][4]
        listener = socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise BadSetting(
            f"{host} port {port} cannot be listened on: {error.strerror}; choose another --port."
        ) from None
    listener.set_inheritable(False)
    edge.tune(listener)
    return listener


def _address(options: Options, listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"{'https' if options.tls_cert else 'http'}://{host}:{port}"


def _warn_of_links(origin: str) -> None:
    """Some clients take https links only, and nobody else reaches this machine's own address."""
    local = any(f"//{host}" in origin for host in ("127.", "localhost", "[::1]"))
    if not origin.startswith("https://") and not local:
        log.warning("picture links start with %s; set ZING_PUBLIC_URL to an https address", origin)


def _nobody() -> None:
    """There is no worker of ours to wake."""
