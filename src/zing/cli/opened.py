"""What a command that looks into the data folder opens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from zing import config
from zing.config import HOST, PORT, PUBLIC_URL

if TYPE_CHECKING:
    from zing.service import Service


@contextmanager
def opened(data: str, database: str) -> Iterator[Service]:
    """The use cases on a data folder, also while a server runs on it; no worker is woken."""
    from zing.blobs import Blobs, Links
    from zing.data import Data
    from zing.service import Served, Service, Terms
    from zing.store import Store

    place = Data(config.folder(data))
    place.make()
    secret = place.secret()
    store = Store.of(database, place)
    origin = config.read(PUBLIC_URL) or f"http://{config.read(HOST)}:{config.read(PORT)}"
    yield Service(
        store=store,
        blobs=Blobs(place.pictures / store.id),
        links=Links(secret, origin),
        pepper=secret,
        terms=Terms.read(),
        served=Served("", strict=False),
        clock=time.time,
        wake=_nobody,
    )
    store.close()


def _nobody() -> None:
    """A running server's worker looks by itself, a few times a second."""
