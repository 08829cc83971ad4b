"""Room for the pictures of new tasks: on the disk, and below the operator's quota.

Asked before each accept, so it looks around once a second at most and counts in between.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from zing import config, disk
from zing.config import BLOBS_QUOTA, DISK_FLOOR
from zing.errors import Unavailable
from zing.store import Store, files, tasks

LOOK_EVERY_S = 1.0
# Adding up the pictures of a very full house takes a while; it takes no more than this share.
LOOK_SHARE = 0.05
# What a task that is accepted is promised: the PNG of a large photograph has fewer bytes.
PICTURE_BYTES = 2 * 2**20
RETRY_S = 30

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bounds:
    """Bytes that all pictures may take, where that is bounded, and that stay free on the disk."""

    quota: int | None
    floor: int

    @classmethod
    def read(cls) -> "Bounds":
        """The bounds that the settings name."""
        quota = None if config.emptied(BLOBS_QUOTA) else config.size(BLOBS_QUOTA)
        return cls(quota, config.size(DISK_FLOOR))


class Room:
    """How many more tasks there is room for; `folders` are where this service writes."""

    def __init__(
        self,
        store: Store,
        folders: Sequence[Path],
        bounds: Bounds,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._folders = folders
        self._bounds = bounds
        self._steady = steady
        self._lock = threading.Lock()
        self._look_at = 0.0
        self._left = 0
        self.why = ""  # there is no room; empty where there is
        self._look()

    def check(self) -> None:
        """Count one more task in; raises Unavailable where its picture would find no room."""
        self._look_again()
        with self._lock:
            self._left -= 1
            if self._left < 0:
                raise Unavailable(self.why or _said("now"), retry_after_s=RETRY_S)

    def tight(self) -> bool:
        """Whether there is no room for a task now."""
        self._look_again()
        return self._left < 1

    def _look_again(self) -> None:
        """See what is left where the last look is old; one does, the others go by the last."""
        with self._lock:
            if self._steady() < self._look_at:
                return
            self._look_at = self._steady() + LOOK_EVERY_S
        self._look()

    def _look(self) -> None:
        started = self._steady()
        on_disk = min(map(self._free, self._folders))
        left, where = on_disk, "on the disk"
        if self._bounds.quota is not None:
            used = self._store.read(files.bytes_kept)
            if self._bounds.quota - used < on_disk:
                left, where = self._bounds.quota - used, "in their quota"
        self._set(left // PICTURE_BYTES - self._store.read(tasks.open_tasks), where)
        ended = self._steady()
        with self._lock:
            self._look_at = ended + max(LOOK_EVERY_S, (ended - started) / LOOK_SHARE)

    def _set(self, left: int, where: str) -> None:
        why = _said(where) if left < 1 else ""
        if why != self.why:
            log.warning("%s", why or "There is room for pictures again.")
        with self._lock:
            self._left, self.why = left, why

    def _free(self, folder: Path) -> int:
        """Bytes that pictures may take in a folder; none where nothing can be written."""
        found = disk.room(folder)
        if found.trouble or disk.existing(folder) != folder:
            return 0
        return found.free - self._bounds.floor


def _said(where: str) -> str:
    return f"There is no room for more pictures {where}; try again later."
