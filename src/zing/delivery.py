"""Callbacks: telling the receivers that tasks have ended.

A callback is sent at least once: it is given up after four attempts, and a crash between an answer
and its record sends it again, with the same id and the same bytes. It knows no dialect; what a body
says is handed over.
"""

import asyncio
import base64
import hmac
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from standardwebhooks import Webhook

from zing import __version__
from zing.errors import Forbidden, Unavailable, Unreachable, ZingError
from zing.netguard import Door, Reply
from zing.store import Store, outbox
from zing.store.outbox import Bounds, Hands, Held, Record
from zing.task import Attempt, Delivery, DeliveryState

CLAIMED_AT_ONCE = 64
# What has no body after so long waits for the next look, so that no slow ones hold up the first.
RENDER_S = 0.1
# So many hosts are remembered to answer; one that is forgotten shows it again.
ANSWERING_MAX = 10_000
OUTAGE_S = 1.0
ERROR_MAX = 300

# The body of attempt 1; raises UnknownTask where the task is gone.
Render = Callable[[Delivery], str]
# A dialect's own headers, by the delivery, the account's secret and UTC seconds.
ExtraHeaders = Callable[[Delivery, str, int], Mapping[str, str]]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pace:
    """How a courier spends its time, in seconds.

    delays_s  after the end of each failure; there is one attempt more than delays
    lease_s   longer than an attempt and its record take
    look_s    between looks for what is due, after work; idle_s at most
    slow_s    a host that says nothing for so long is not known to answer
    grace_s   for what is being sent when it is stopped
    bounds    how much may be sent at once
    """

    delays_s: tuple[float, ...] = (1.0, 2.0, 4.0)
    lease_s: float = 15.0
    look_s: float = 0.02
    idle_s: float = 0.25
    slow_s: float = 1.0
    grace_s: float = 1.0
    bounds: Bounds = field(default_factory=Bounds)


@dataclass(frozen=True)
class Sender:
    """Signs deliveries and sends them through the door; `pepper` is the data folder's secret.

    `timeout_s` is for all of one attempt.
    """

    door: Door
    pepper: bytes = field(repr=False)
    clock: Callable[[], float]
    extra_headers: ExtraHeaders
    timeout_s: float = 10.0

    async def attempt(
        self, delivery: Delivery, secrets: Sequence[int]
    ) -> tuple[Attempt, DeliveryState]:
        """One attempt, and delivered, refused, or due where it failed.

        `secrets` are the numbers of the account's secrets that sign it.
        """
        started_at, start = self.clock(), time.monotonic()
        status, error, state = None, "", DeliveryState.DUE
        try:
            reply = await self._post(delivery, secrets, int(started_at))
            status = reply.status
            state = DeliveryState.DELIVERED if 200 <= status < 300 else DeliveryState.DUE
        except Forbidden as forbidden:
            error, state = str(forbidden), DeliveryState.REFUSED
        except Unreachable as unreachable:
            error = str(unreachable)
        except Exception:  # one bad delivery must not stop the others
            log.exception("callback %s to %s could not be sent", delivery.id, delivery.host)
            error = "It could not be sent: something went wrong inside."
        took_s = time.monotonic() - start
        return Attempt(delivery.attempt + 1, started_at, took_s, status, _plain(error)), state

    async def _post(self, delivery: Delivery, secrets: Sequence[int], now: int) -> Reply:
        if delivery.body is None:
            raise Unreachable("There was nothing to send: the task could not be read.")
        texts = [secret(self.pepper, delivery.account_id, number) for number in secrets]
        headers = {**self.extra_headers(delivery, texts[0], now), **signed(delivery, texts, now)}
        body, group = delivery.body.encode(), delivery.account_id
        return await self.door.post(delivery.url, body, headers, self.timeout_s, group)


class Courier:
    """Delivers what the outbox holds; any number of them may run on one database.

    A receiver that hangs delays nobody else: of one host and of one account only so many are sent
    at once, and of a host one by one until it has taken a callback, and again from when it fails or
    is slow. Between start and stop a thread of its own holds an event loop.
    """

    def __init__(self, store: Store, sender: Sender, render: Render, pace: Pace = Pace()) -> None:
        self._store = store
        self._sender = sender
        self._render = render
        self._pace = pace
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
        self._held: dict[str, Held] = {}
        self._answering: set[str] = set()
        self._sending: set[asyncio.Task[None]] = set()
        self._made: list[Record] = []
        self._all_made = False
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def stop(self) -> None:
        """Deliver nothing more; what was sent and got no answer yet is given back."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._deliver())

    async def _deliver(self) -> None:
        recording = asyncio.create_task(self._record())
        pause_s = self._pace.look_s
        while not self._stopped.is_set():
            pause_s = await self._look(pause_s)
        await self._end_sending()
        self._all_made = True
        self._news.set()
        await recording
        await asyncio.to_thread(self._give_back)

    async def _look(self, pause_s: float) -> float:
        """Begin to send what is due; the next pause, longer each time where there is nothing."""
        self._room.clear()
        found = await self._found()
        if found is None:
            await asyncio.sleep(OUTAGE_S)
            return self._pace.look_s
        for each in found:
            self._begin(each)
        if found:
            await asyncio.sleep(self._pace.look_s)
            return self._pace.look_s
        with suppress(TimeoutError):
            await asyncio.wait_for(self._room.wait(), pause_s)
        return min(2 * pause_s, self._pace.idle_s)

    async def _found(self) -> list[Held] | None:
        """What is due and has room, ours now; None where the database did not say."""
        mine = [each.delivery for each in self._held.values()]
        try:
            return await asyncio.to_thread(self._claim, mine)
        except ZingError as error:
            log.warning("callbacks wait: %s", error)
        except Exception:  # one bad day must not end it
            log.exception("callbacks wait")
        return None

    def _claim(self, mine: Sequence[Delivery]) -> list[Held]:
        now = self._sender.clock()
        due = self._store.read(lambda tx: outbox.due(tx, now, CLAIMED_AT_ONCE, self._hands(mine)))
        # Made before anything is claimed, so that no lease runs out over them, and kept before the
        # first attempt, so that a crash after it changes no byte.
        bodies = self._bodies(due)
        if not bodies:
            return []
        now = self._sender.clock()
        until = now + self._pace.lease_s
        return self._store.write(lambda tx: outbox.claim(tx, bodies, now, until))

    def _hands(self, mine: Sequence[Delivery]) -> Hands:
        return Hands(self._pace.bounds, mine, lambda host: host not in self._answering)

    def _bodies(self, due: Sequence[Delivery]) -> dict[str, str | None]:
        """The bodies by id, of one delivery at least and of as many as there is time for."""
        latest = time.monotonic() + RENDER_S
        bodies = {}
        for each in due:
            bodies[each.id] = self._body(each)
            if time.monotonic() > latest:
                break
        return bodies

    def _body(self, delivery: Delivery) -> str | None:
        """The body of attempt 1; None where it cannot be made."""
        if delivery.body is not None:
            return delivery.body
        try:
            return self._render(delivery)
        except Unavailable:
            raise  # the database's fault and not this delivery's
        except ZingError as error:
            log.warning("callback %s has no body: %s", delivery.id, error)
        except Exception:  # one bad delivery must not stop the others
            log.exception("callback %s has no body", delivery.id)
        return None

    def _begin(self, held: Held) -> None:
        self._held[held.delivery.id] = held
        sending = asyncio.create_task(self._try(held))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)

    async def _try(self, held: Held) -> None:
        """One attempt; what came of it is left for `_record`."""
        host = held.delivery.host
        slow = asyncio.get_running_loop().call_later(
            self._pace.slow_s, self._answering.discard, host
        )
        attempt, state = await self._sender.attempt(held.delivery, held.secrets)
        slow.cancel()
        self._remember(host, state is DeliveryState.DELIVERED)
        now, delays_s = self._sender.clock(), self._pace.delays_s
        if state is DeliveryState.DUE and attempt.number <= len(delays_s):
            now += delays_s[attempt.number - 1]
        elif state is DeliveryState.DUE:
            state = DeliveryState.EXHAUSTED
        _tell(held.delivery, attempt, state)
        self._made.append(Record(held, attempt, state, now))
        self._news.set()

    def _remember(self, host: str, answers: bool) -> None:
        self._answering.discard(host)
        if answers:
            if len(self._answering) >= ANSWERING_MAX:
                self._answering.pop()
            self._answering.add(host)

    async def _record(self) -> None:
        """Keep what comes of attempts, all that there is by one commit, until all were made."""
        last = False
        while not last:
            await self._news.wait()
            self._news.clear()
            last = self._all_made
            made, self._made = self._made, []
            if made:
                await self._keep(made)
                for each in made:
                    del self._held[each.held.delivery.id]
                self._room.set()

    async def _keep(self, made: Sequence[Record]) -> None:
        """Write attempts, through an outage too; what stays unwritten is sent again."""
        while True:
            try:
                await asyncio.to_thread(self._store.write, partial(outbox.record, records=made))
                return
            except Unavailable as error:
                log.warning("callbacks are sent and cannot be recorded: %s", error)
            except Exception:  # one bad day must not end it
                log.exception("callbacks were sent and not recorded")
                return
            if self._stopped.is_set():
                return
            await asyncio.sleep(OUTAGE_S)

    async def _end_sending(self) -> None:
        if self._sending:
            await asyncio.wait(self._sending, timeout=self._pace.grace_s)
        for each in self._sending:
            each.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    def _give_back(self) -> None:
        """Let others send at once what was not answered."""
        if not self._held:
            return
        with suppress(Unavailable):  # then their leases end by themselves
            self._store.write(partial(outbox.release, held=list(self._held.values())))


def secret(pepper: bytes, account_id: str, number: int) -> str:
    """An account's callback secret of a number, as receivers know it: `whsec_` and base64.

    It is derived from the data folder's secret, so no database holds it.
    """
    key = hmac.digest(pepper, b"callbacks", "sha256")
    derived = hmac.digest(key, f"{account_id} {number}".encode(), "sha256")
    return f"whsec_{base64.b64encode(derived).decode()}"


def signed(delivery: Delivery, secrets: Sequence[str], now: int) -> dict[str, str]:
    """The headers of an attempt at a time (UTC seconds), with a signature by each secret."""
    moment = datetime.fromtimestamp(now, UTC)
    body = delivery.body or ""
    signatures = [Webhook(each).sign(delivery.id, moment, body) for each in secrets]
    return {
        "Content-Type": "application/json",
        "User-Agent": f"zing/{__version__}",
        "webhook-id": delivery.id,
        "webhook-timestamp": str(now),
        "webhook-signature": " ".join(signatures),
    }


def _tell(delivery: Delivery, attempt: Attempt, state: DeliveryState) -> None:
    """A line where a callback is given up; of its URL only the host, the rest may be a secret."""
    if state not in (DeliveryState.EXHAUSTED, DeliveryState.REFUSED):
        return
    why = attempt.error or f"It answered {attempt.status}."
    names = (delivery.id, delivery.host, state, attempt.number)
    log.warning("callback %s to %s is %s at attempt %d: %s", *names, why)


def _plain(text: str) -> str:
    """Text that every database takes and every terminal shows."""
    return "".join(each for each in text if each.isprintable())[:ERROR_MAX]
