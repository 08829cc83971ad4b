"""`zing doctor`: what stands in the way of a service on this machine."""

import dataclasses
import json

import typer

from zing import config
from zing.cli.options import (
    DatabaseOption,
    DataOption,
    DeviceOption,
    JsonOption,
    ModelOption,
    ThreadsOption,
)
from zing.cli.server import CertOption, HostOption, KeyOption, PortOption
from zing.cli.terminal import plain
from zing.config import (
    DATA,
    DATABASE,
    DEVICE,
    HOST,
    MODEL,
    PORT,
    PUBLIC_URL,
    THREADS,
    TLS_CERT,
    TLS_KEY,
    folder,
    parse_port,
    parse_threads,
)


def doctor(
    host: HostOption = HOST.default,
    port: PortOption = PORT.default,
    model: ModelOption = MODEL.default,
    device: DeviceOption = DEVICE.default,
    threads: ThreadsOption = THREADS.default,
    tls_cert: CertOption = TLS_CERT.default,
    tls_key: KeyOption = TLS_KEY.default,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Examine what `zing serve` with the same options would need, and change nothing.

    Exit status 1 where something is not ok.
    """
    from zing.doctor import Subject, examine

    subject = Subject(
        data=folder(data),
        database=database,
        host=host,
        port=parse_port(port),
        model=model,
        device=device,
        threads=parse_threads(threads),
        tls_cert=tls_cert,
        tls_key=tls_key,
        public_url=config.read(PUBLIC_URL),
    )
    checks = examine(subject)
    ok = all(check.ok for check in checks)
    if as_json:
        print(json.dumps({"ok": ok, "checks": [dataclasses.asdict(check) for check in checks]}))
    else:
        for check in checks:
            print(f"{'ok' if check.ok else 'NOT OK':7} {check.name:11} {plain(check.value)}")
            if not check.ok:
                print(f"        {plain(check.advice)}")
    if not ok:
        raise typer.Exit(1)
