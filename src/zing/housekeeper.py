"""What must happen even if nobody asks: dead workers' tasks, tasks that nobody draws, pictures
whose time is over, prompts that are not to be kept; and whether the books are in order.

Each duty has its turn by a steady clock, so that setting the machine's clock stops none. Nothing is
given up or deleted sooner because the clock has jumped forward (see clocks.py).
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

from zing import audit, config, limits, logs, queue
from zing.audit import Audited
from zing.blobs import Blobs
from zing.clocks import Clock, Jumps, Silence
from zing.config import KEEP_PROMPTS, LEASE, QUEUE_TIMEOUT
from zing.errors import Unavailable, ZingError
from zing.store import Store, audit_log, files, idem, tasks

TICK_S = 0.5
SWEEP_EVERY_S = 30.0
EXPIRE_EVERY_S = 60.0
ORPHANS_EVERY_S = 3600.0
# A picture is written before its row; one without a row after this long never gets one.
ORPHAN_AGE_S = 3600.0
REFUSALS_AGE_S = 90 * 86_400.0  # of what the audit log says of strangers

# The books are gone through beside all else: it takes seconds in a large database.
AUDIT_FIRST_S = 300.0
AUDIT_EVERY_S = 3600.0

# Prompts are looked for where tasks ended lately, and now and then everywhere: a callback that
# waited long may have been told since.
FORGET_BACK_S = 600.0
FORGET_ALL_EVERY_S = 3600.0
EVER = 1e12  # also by a clock that was set back since

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rules:
    """When a housekeeper acts.

    queue_timeout_s  tasks that were queued for longer fail
    lease_s          the workers': they say something new three times in it, so half is enough
    keep_prompts     whether the words of tasks that have ended stay
    queue_max        tasks that may wait, for the audit
    """

    queue_timeout_s: float = float(QUEUE_TIMEOUT.default)
    lease_s: float = float(LEASE.default)
    keep_prompts: bool = True
    queue_max: int = limits.USUAL.queue_max

    @classmethod
    def read(cls) -> "Rules":
        """The rules that the settings name."""
        keep = config.choice(KEEP_PROMPTS, "yes", "no") == "yes"
        queue_max = limits.Rules.read().queue_max
        return cls(config.seconds(QUEUE_TIMEOUT), config.seconds(LEASE), keep, queue_max)


def _never() -> bool:
    """There is always room."""
    return False


class Housekeeper:
    """Reaps, sweeps and forgets; any number of them may run on one database.

    tight  whether there is no room for more pictures, so that old ones go at once
    """

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        clock: Clock,
        rules: Rules = Rules(),
        tight: Callable[[], bool] = _never,
        steady: Clock = time.monotonic,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._rules = rules
        self._tight = tight
        self._steady = steady
        self._jumps = Jumps(clock, steady)
        self._silence = Silence(steady, rules.lease_s / 2)
        now = steady()
        self._sweep_at = self._orphans_at = self._forget_all_at = now
        # After an outage, workers that start with us may draw and say their models first.
        self._expire_at = now + EXPIRE_EVERY_S
        self._audited: tuple[dict[str, int], float] | None = None

    def run(self, stop: threading.Event, wake: Callable[[], None]) -> None:
        """Work until `stop` is set; `wake` is called where tasks are queued again."""
        # A thread of its own: dead workers' tasks do not wait for it, nor does whoever stops us.
        threading.Thread(target=self._audits, args=(stop,), name="audit", daemon=True).start()
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
        now = self._steady()
        self._jumps.ahead()
        reaped = self.reap()
        if now >= self._sweep_at or self._tight():
            self._sweep_at = now + SWEEP_EVERY_S
            self.sweep()
            self.forget()
        if now >= self._expire_at:
            self._expire_at = now + EXPIRE_EVERY_S
            self.expire()
        if now >= self._orphans_at:
            self._orphans_at = now + ORPHANS_EVERY_S
            self.remove_orphans()
            self.forget_refusals()
        return reaped

    def reap(self, dead: str = "") -> bool:
        """Queue again what workers held who are silent, or the one known to be dead.

        A lease counts by the worker's clock and its renewals by ours, so that a clock which is set
        ends no living worker's lease and prolongs no dead one's.
        """
        now = self._clock()
        try:
            heard = self._silence.broken(self._store.read(tasks.leases))
            reaped = self._store.write(lambda tx: queue.reap(tx, now, dead, heard))
        except Unavailable:
            self._silence.forget()  # who cannot write renews no lease
            raise
        for worker in reaped.workers:
            log.warning("worker %s is gone; its tasks are queued again", worker)
        for ended in reaped.ended:
            logs.tell_end(ended)
        return bool(reaped.workers)

    def expire(self) -> int:
        """Fail the tasks that have been queued for too long; how many."""
        count = 0
        while True:
            late = partial(queue.expire, now=self._clock(), timeout_s=self._rules.queue_timeout_s)
            gone = self._store.write(partial(late, ahead_s=self._jumps.ahead()))
            if not gone:
                return count
            for ended in gone:
                logs.tell_end(ended)
            log.warning("%d tasks waited too long and failed", len(gone))
            count += len(gone)

    def sweep(self) -> int:
        """Delete the pictures whose time is over, how many, and forget old idempotency keys."""
        count = 0
        self._store.write(partial(idem.sweep, now=self._past()))
        while True:
            gone = self._store.write(partial(files.sweep, now=self._past()))
            if not gone:
                return count
            self._blobs.delete(file.blob_key for file in gone)
            count += len(gone)

    def forget(self) -> int:
        """Forget the words of tasks that have ended and were told, where they are not kept."""
        if self._rules.keep_prompts:
            return 0
        since = self._past() - FORGET_BACK_S
        if self._steady() >= self._forget_all_at:
            self._forget_all_at, since = self._steady() + FORGET_ALL_EVERY_S, 0.0
        count = 0
        ended = partial(tasks.forget_prompts, since=since, before=EVER)
        while gone := self._store.write(ended):
            count += gone
        return count

    def remove_orphans(self) -> int:
        """Delete old bytes that no row points to, left where a worker died; how many."""
        count = 0
        old = self._past() - ORPHAN_AGE_S
        self._blobs.remove_cut(old)
        for written in self._blobs.written_before(old):
            known = self._store.read(partial(files.known, blob_keys=written))
            orphans = [key for key in written if key not in known]
            self._blobs.delete(orphans)
            count += len(orphans)
        return count

    def forget_refusals(self) -> int:
        """Forget who was refused for a key long ago; how many entries."""
        old = partial(audit_log.forget, before=self._past() - REFUSALS_AGE_S)
        return sum(self._store.write(partial(old, action=each)) for each in audit_log.REFUSALS)

    def audit(self) -> None:
        """Go through the books, without the pictures; each finding is an error in the log."""
        report = self._store.read(partial(audit.examine, queue_max=self._rules.queue_max))
        for finding in report.findings:
            log.error("the audit found %s", finding, extra={"facts": asdict(finding)})
        self._audited = report.by_invariant(), self._steady()

    def last_audit(self) -> Audited | None:
        """What the last audit found; None before the first."""
        if self._audited is None:
            return None
        found, at = self._audited
        return Audited(found, self._steady() - at)

    def _audits(self, stop: threading.Event) -> None:
        pause_s = AUDIT_FIRST_S
        while not stop.wait(pause_s):
            pause_s = AUDIT_FIRST_S
            try:
                self.audit()
                pause_s = AUDIT_EVERY_S
            except ZingError as error:
                log.warning("the audit waits: %s", error)
            except Exception:  # one bad day must not end it
                log.exception("the audit failed")

    def _past(self) -> float:
        """The time, but for what the clock has jumped forward: what ended before it has ended."""
        return self._clock() - self._jumps.ahead()
