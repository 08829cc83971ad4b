"""What must happen even if nobody asks: dead workers' tasks, tasks that nobody draws, pictures
whose time is over.
"""

import logging
import threading
from collections.abc import Callable
from functools import partial

from zing import logs, queue
from zing.blobs import Blobs
from zing.config import QUEUE_TIMEOUT
from zing.errors import ZingError
from zing.store import Store, files, idem

TICK_S = 0.5
SWEEP_EVERY_S = 30.0
EXPIRE_EVERY_S = 60.0
ORPHANS_EVERY_S = 3600.0
# A picture is written before its row; one without a row after this long never gets one.
ORPHAN_AGE_S = 3600.0

log = logging.getLogger(__name__)


class Housekeeper:
    """Reaps, sweeps and forgets; any number of them may run on one database."""

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        clock: Callable[[], float],
        queue_timeout_s: float = float(QUEUE_TIMEOUT.default),
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._queue_timeout_s = queue_timeout_s
        self._sweep_at = self._orphans_at = 0.0
        # After an outage, workers that start with us may draw and say their models first.
        self._expire_at = clock() + EXPIRE_EVERY_S

    def run(self, stop: threading.Event, wake: Callable[[], None]) -> None:
        """Work until `stop` is set; `wake` is called where tasks are queued again."""
        while not stop.wait(TICK_S):
            try:
                if self.tick():
                    wake()
            except ZingError as error:
                log.warning("housekeeping waits: %s", error)
            except Exception:  # one bad day must not end it
                log.exception("housekeeping failed")

    def tick(self) -> bool:
        """Do what is due; true where a worker was reaped."""
        now = self._clock()
        reaped = self.reap()
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_EVERY_S
            self.sweep()
        if now >= self._expire_at:
            self._expire_at = now + EXPIRE_EVERY_S
            self.expire()
        if now >= self._orphans_at:
            self._orphans_at = now + ORPHANS_EVERY_S
            self.remove_orphans()
        return reaped

    def reap(self, dead: str = "") -> bool:
        """Queue again what workers held whose lease is over, or of the one known to be dead."""
        now = self._clock()
        reaped = self._store.write(lambda tx: queue.reap(tx, now, dead))
        for worker in reaped.workers:
            log.warning("worker %s is gone; its tasks are queued again", worker)
        for ended in reaped.ended:
            logs.tell_end(ended)
        return bool(reaped.workers)

    def expire(self) -> int:
        """Fail the tasks that have been queued for too long; how many."""
        count = 0
        while True:
            late = partial(queue.expire, now=self._clock(), timeout_s=self._queue_timeout_s)
            gone = self._store.write(late)
            if not gone:
                return count
            for ended in gone:
                logs.tell_end(ended)
            log.warning("%d tasks waited too long and failed", len(gone))
            count += len(gone)

    def sweep(self) -> int:
        """Delete the pictures whose time is over, how many, and forget old idempotency keys."""
        count = 0
        self._store.write(partial(idem.sweep, now=self._clock()))
        while True:
            now = self._clock()
            gone = self._store.write(partial(files.sweep, now=now))
            if not gone:
                return count
            self._blobs.delete(file.blob_key for file in gone)
            count += len(gone)

    def remove_orphans(self) -> int:
        """Delete old bytes that no row points to, left where a worker died; how many."""
        count = 0
        old = self._clock() - ORPHAN_AGE_S
        self._blobs.remove_cut(old)
        for written in self._blobs.written_before(old):
            known = self._store.read(partial(files.known, blob_keys=written))
            orphans = [key for key in written if key not in known]
            self._blobs.delete(orphans)
            count += len(orphans)
        return count
