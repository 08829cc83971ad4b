"""Who comes in: the one place where a key is asked for, whatever the route.

Many requests share one read of the keys. Who guesses is slowed down, by address; who was refused is
noted in the audit log, once the answer is known, and never what was guessed. A key that was good
lately is looked up whatever its address did: one noisy client locks out nobody behind its proxy.
"""

import asyncio
import hashlib
import ipaddress
import logging
import math
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextvars import Context
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from anyio import to_thread
from sqlalchemy import Connection
from starlette.requests import Request

from zing import config, keys
from zing.config import KEY_FAILURES
from zing.dialects.base import bearer
from zing.errors import BadKey, KeyDenied, RateLimited, Refused
from zing.keys import Key, Scope
from zing.rates import Rate
from zing.service import Service
from zing.store import audit_log
from zing.store.audit_log import KEY_REFUSED, THROTTLED, Entry
from zing.store.group import READ_MAX, READ_WAIT_S, Group

ADDRESSES_MAX = (
    65_536  # of which failures are counted; the one that failed longest ago is forgotten
)
GOOD_MAX = 16_384  # keys that were good lately
NOTED_MAX = 20  # failures of an address that are noted before it was quiet again
NOTES = Rate(1000, 86_400.0)  # failures that are noted in all: a botnet must not fill the disk
WAITING_MAX = 2000  # entries that wait to be written
WRITE_AFTER_S = 1.0
USED_EVERY_S = 60.0  # a key's last use is written down as often
ADDRESS_MAX = 64  # letters; IPv6 zones may be long

log = logging.getLogger(__name__)


def failures() -> Rate | None:
    """How many wrong keys an address may send, as the settings say; None: any number."""
    return None if config.emptied(KEY_FAILURES) else Rate.parse(config.read(KEY_FAILURES))


USUAL = Rate.parse(KEY_FAILURES.default)


@dataclass(frozen=True)
class Wanted:
    """What a route asks of a key.

    dialect  the API that the route is of; empty where it is none's
    read     the key in an Authorization header, empty where there is none
    """

    scope: Scope
    dialect: str = ""
    read: Callable[[str], str] = bearer


class Knock(NamedTuple):
    """Somebody with something that may be a key."""

    text: str
    address: str

    @property
    def network(self) -> str:
        """What its failures are counted under."""
        return network(self.address)


@lru_cache(4096)
def network(address: str) -> str:
    """What failures of an address are counted under: of IPv6 its /64, which is one customer's."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(parsed) >> 64 << 64))


class Gate:
    """Lets in whoever has a key that may do what is asked for.

    rate    failures of an address that are let pass; None: any number
    steady  what waiting is measured by
    """

    def __init__(
        self,
        service: Service,
        rate: Rate | None = USUAL,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._throttle = Throttle(rate, steady)
        self._good = Good()
        self._keys = Group(self._recognise, READ_MAX, READ_WAIT_S)
        self.journal = Journal(service, steady)

    async def enter(self, request: Request, wanted: Wanted) -> Key:
        """The key of a request; raises BadKey, KeyEnded, KeyDisabled, KeyDenied or RateLimited."""
        header = request.headers.get("authorization")
        text = self._service.open_key if header is None else wanted.read(header)
        if not text:
            raise BadKey  # no guess: nothing to look up, nothing to count
        client = request.scope.get("client") or ("",)
        try:
            key = await self._keys(Knock(text, client[0]))
        finally:
            self.journal.write_soon()
        _check(key, wanted)
        return key

    def _recognise(self, knocks: Sequence[Knock]) -> list[Key | Refused]:
        """For each the key that it is, or why it is none; in a thread, a set at a time."""
        digests = [self._good.digest(knock.text) for knock in knocks]
        if all(each in self._good for each in digests):  # as nearly always
            return self._look_up(knocks, digests)
        return self._in_turns(knocks, digests)

    def _in_turns(self, knocks: Sequence[Knock], digests: Sequence[bytes]) -> list[Key | Refused]:
        """The same where there are strangers: of an address as many at once as may still fail."""
        found: dict[int, Key | Refused] = {}
        while len(found) < len(knocks):
            left = [place for place in range(len(knocks)) if place not in found]
            strangers = [place for place in left if digests[place] not in self._good]
            held, shut = self._throttle.held({each: knocks[each].network for each in strangers})
            turn = [each for each in left if each not in held and each not in shut]
            answers = self._look_up([knocks[e] for e in turn], [digests[e] for e in turn])
            found |= shut | dict(zip(turn, answers, strict=True))
        return [found[place] for place in range(len(knocks))]

    def _look_up(self, knocks: Sequence[Knock], digests: Sequence[bytes]) -> list[Key | Refused]:
        if not knocks:
            return []
        answers = self._service.authenticate_all([knock.text for knock in knocks])
        for each in zip(knocks, digests, answers, strict=True):
            self._remember(*each)
        return answers

    def _remember(self, knock: Knock, digest: bytes, answer: Key | Refused) -> None:
        """What the next ones are judged by, and what is to be written down."""
        if isinstance(answer, Refused):
            self._good.discard(digest)
            for action in self._throttle.failed(knock.network):
                self.journal.refused(action, knock, answer)
        else:
            self._good.add(digest)
            self.journal.used(answer)


def _check(key: Key, wanted: Wanted) -> None:
    allowed = key.allowed
    if wanted.scope not in allowed.scopes:
        raise KeyDenied(f"The API key may not do this: it has not the scope {wanted.scope}.")
    if wanted.dialect and allowed.dialects and wanted.dialect not in allowed.dialects:
        raise KeyDenied("The API key may not be used with this API.")


class Good:
    """The keys that were good lately: not their texts, but what only this process can make of them.

    Not safe for threads.
    """

    def __init__(self) -> None:
        self._digests: OrderedDict[bytes, None] = OrderedDict()
        self._secret = secrets.token_bytes(32)

    def digest(self, text: str) -> bytes:
        """What a text is known by."""
        message = text.encode(errors="surrogatepass")
        return hashlib.blake2b(message, key=self._secret, digest_size=16).digest()

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._digests

    def add(self, digest: bytes) -> None:
        """It was good; of too many the one that was not seen for longest is forgotten."""
        self._digests[digest] = None
        self._digests.move_to_end(digest)
        if len(self._digests) > GOOD_MAX:
            self._digests.popitem(last=False)

    def discard(self, digest: bytes) -> None:
        """It is no more."""
        self._digests.pop(digest, None)


@dataclass
class Failures:
    """Those of an address: when all are forgiven (see rates.py), how many, whether it is told."""

    tat: float = 0.0
    count: int = 0
    throttled: bool = False


class Throttle:
    """Counts the failures of addresses, in this process. Not safe for threads."""

    def __init__(self, rate: Rate | None, steady: Callable[[], float]) -> None:
        self._rate = rate
        self._steady = steady
        self._failures: OrderedDict[str, Failures] = OrderedDict()

    def held(self, networks: dict[int, str]) -> tuple[Collection[int], dict[int, Key | Refused]]:
        """Of those who knock, by their places, who must wait for others' answers, and who is
        refused.
        """
        room: dict[str, int] = {}
        waiting: set[int] = set()
        shut: dict[int, Key | Refused] = {}
        for place, name in networks.items():
            failed = self._failures.get(name)
            if self._rate is None or (failed is None and len(networks) <= self._rate.count):
                continue
            wait_s, left = self._left(self._rate, failed)
            if wait_s:
                shut[place] = RateLimited(
                    "Too many wrong API keys came from this address; try again later.",
                    retry_after_s=math.ceil(wait_s),
                )
                continue
            room.setdefault(name, left)
            room[name] -= 1
            if room[name] < 0:
                waiting.add(place)
        return waiting, shut

    def failed(self, name: str) -> Iterator[str]:
        """Count one more; the actions that are to be noted of it."""
        now = self._steady()
        failed = self._failures.setdefault(name, Failures())
        self._failures.move_to_end(name)
        if len(self._failures) > ADDRESSES_MAX:
            self._failures.popitem(last=False)
        if failed.tat <= now:
            failed.count, failed.throttled = 0, False
        failed.count += 1
        if failed.count <= NOTED_MAX:
            yield KEY_REFUSED
        taken = (self._rate or USUAL).take(failed.tat, now)
        failed.tat = taken.tat
        if self._rate is not None and taken.left == 0 and not failed.throttled:
            failed.throttled = True
            yield THROTTLED

    def _left(self, rate: Rate, failed: Failures | None) -> tuple[float, int]:
        """Seconds until an address may fail again, and how often it may now."""
        taken = rate.take(failed.tat if failed else 0.0, self._steady())
        return taken.wait_s, 0 if taken.wait_s else taken.left + 1


class Journal:
    """What is to be written down of those who came: refusals, and when keys were used last.

    Nobody waits for it, and what cannot be written is left out.
    """

    def __init__(self, service: Service, steady: Callable[[], float]) -> None:
        self._service = service
        self._steady = steady
        self._tat = 0.0
        self._left_out = 0
        self._entries: deque[Entry] = deque(maxlen=WAITING_MAX)
        self._used: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    def refused(self, action: str, knock: Knock, error: Refused) -> None:
        """Somebody was refused; the target is the key's id, where the text names one."""
        taken = NOTES.take(self._tat, self._steady())
        if taken.wait_s:
            self._left_out += 1
            return
        self._tat = taken.tat
        detail = type(error).__name__
        if self._left_out:
            detail += f"; {self._left_out} before it were not noted"
            self._left_out = 0
        now, address = self._service.clock(), knock.address[:ADDRESS_MAX]
        self._entries.append(Entry(now, "", address, action, keys.claimed(knock.text), detail))

    def used(self, key: Key) -> None:
        """A key was used."""
        now = self._service.clock()
        if not 0 <= now - (key.last_used_at or 0.0) < USED_EVERY_S:
            self._used.setdefault(key.id, now)

    def write_soon(self) -> None:
        """Have it written when others have added theirs."""
        waits = self._task is not None and not self._task.done()
        if not waits and (self._entries or self._used):
            # Not in the context of this caller: what is written is not theirs alone.
            self._task = asyncio.create_task(self._write_later(), context=Context())

    async def _write_later(self) -> None:
        await asyncio.sleep(WRITE_AFTER_S)
        await to_thread.run_sync(self.write)

    def write(self) -> None:
        """Write what there is; what is not written now never is."""
        entries = list(_drained(self._entries))
        used = dict(self._used.popitem() for _ in range(len(self._used)))
        try:
            if entries or used:
                self._service.store.write(lambda tx: _write(tx, entries, used))
        except Exception as error:  # noqa: BLE001 - nobody waits, and the next ones are written
            name = type(error).__name__
            log.warning("%d entries of the audit log are left out: %s", len(entries), name)


def _drained(entries: deque[Entry]) -> Iterator[Entry]:
    for _ in range(len(entries)):
        yield entries.popleft()


def _write(tx: Connection, entries: Sequence[Entry], used: dict[str, float]) -> None:
    known = keys.known(tx, {each.target for each in entries})
    audit_log.add(tx, [_of_known(each, known) for each in entries])
    keys.note_used(tx, used)


def _of_known(entry: Entry, known: Collection[str]) -> Entry:
    """The entry, without what was only guessed to be a key's id."""
    if entry.target in known:
        return entry
    return Entry(entry.at, entry.actor, entry.address, entry.action, "", entry.detail)
