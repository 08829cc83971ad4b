"""`zing serve` and `zing work`: the service and its worker."""

import os
import time
from contextlib import suppress
from typing import Annotated

import typer

from zing.cli.options import (
    DatabaseOption,
    DataOption,
    DeviceOption,
    JsonOption,
    ModelOption,
    ThreadsOption,
    option,
)
from zing.cli.terminal import show
from zing.config import (
    DATA,
    DATABASE,
    DEVICE,
    HOST,
    MODEL,
    PORT,
    THREADS,
    TLS_CERT,
    TLS_KEY,
    folder,
    parse_port,
    parse_threads,
)
from zing.errors import Failed, Unavailable

HostOption = Annotated[str, option(HOST, "--host")]
PortOption = Annotated[str, option(PORT, "--port")]
CertOption = Annotated[str, option(TLS_CERT, "--tls-cert")]
KeyOption = Annotated[str, option(TLS_KEY, "--tls-key")]
WorkerOption = Annotated[
    bool, typer.Option(" /--no-worker", help="Serve the API only; `zing work` draws elsewhere.")
]
IdOption = Annotated[str, typer.Option("--id", help="The worker's name.", hidden=True)]
SupervisedOption = Annotated[
    bool, typer.Option("--supervised", help="Standard input is the leash.", hidden=True)
]


def serve(
    host: HostOption = HOST.default,
    port: PortOption = PORT.default,
    model: ModelOption = MODEL.default,
    device: DeviceOption = DEVICE.default,
    threads: ThreadsOption = THREADS.default,
    worker: WorkerOption = True,
    tls_cert: CertOption = TLS_CERT.default,
    tls_key: KeyOption = TLS_KEY.default,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Serve the four APIs: accept tasks, draw them with a worker process, keep the pictures.

    Ends on Ctrl-C or SIGTERM when what runs is done, at once on a second one.
    """
    from zing import server

    parse_threads(threads)
    options = server.Options(
        data=folder(data),
        database=database,
        host=host,
        port=parse_port(port),
        model=model,
        device=device,
        threads=threads,
        worker=worker,
        tls_cert=tls_cert,
        tls_key=tls_key,
    )

    def tell(facts: dict[str, str]) -> None:
        show(facts, as_json, _told(facts))

    raise typer.Exit(server.serve(options, tell))


def work(
    model: ModelOption = MODEL.default,
    device: DeviceOption = DEVICE.default,
    threads: ThreadsOption = THREADS.default,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    worker_id: IdOption = "",
    supervised: SupervisedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Draw the tasks of a service that runs elsewhere on the same database and pictures."""
    import logging

    from zing import logs, models
    from zing.blobs import Blobs
    from zing.data import Data
    from zing.store import Store
    from zing.supervisor import Leash, name
    from zing.worker import Lease, Rules, Worker

    leash = Leash(supervised)
    logs.set_up("zing worker")
    place, rules = Data(folder(data)), Rules.read()
    place.make()
    found = models.find(model, place.root)
    store = Store.of(database, place)
    blobs = Blobs(place.pictures / store.id)
    lease = Lease(store, worker_id or name(), rules, time.time)
    lease.start()
    # Read when torch is loaded. A thread that spins while it waits takes the core that the service
    # or another thread needs: beside one busy core a picture took 1.0 s spinning, 0.2 s not.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        from zing.engine.local import LocalEngine

        engine = LocalEngine(found.path, device, parse_threads(threads))
        line = f"worker {lease.worker_id} draws with {found.name}"
        if supervised:  # the service's standard error is the one who listens
            logging.getLogger(__name__).info(line)
        else:
            show({"worker": lease.worker_id}, as_json, line)
        Worker(store, blobs, lease, rules, found.name).run(engine, leash)
    except Unavailable as error:  # may pass, and the one who started us tries again
        raise Failed(str(error)) from None
    finally:
        with suppress(Unavailable):  # then the lease runs out by itself
            lease.end()
        store.close()


def _told(facts: dict[str, str]) -> str:
    """What a person reads at a start: the key, then the address and a line to try."""
    if "ready" not in facts:
        return f"key {facts['key']} (kept in {facts['key_file']})"
    lines = [f"zing ready {facts['ready']}"]
    if "key_file" in facts:
        lines += [
            f"key in {facts['key_file']}",
            f"curl -s {facts['ready']}/v1/images/generations \\",
            f"  -H \"Authorization: Bearer $(cat '{facts['key_file']}')\" \\",
            "  -H 'Content-Type: application/json' \\",
            '  -d \'{"model":"z-image-turbo","prompt":"一只可爱的猫咪","size":"16:9"}\'',
        ]
    return "\n".join(lines)
