"""The ledger as CSV, for books and spreadsheets: RFC 4180, UTF-8, one line an entry.

Text that a spreadsheet would run as a formula begins with an apostrophe. `available`, `held` and
`used` are what the entry did to the account's numbers in micro-credits: over all entries of an
account they add up to its balance.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal

from zing.ledger import NUMBERS, Entry
from zing.task import MICRO

TITLES = (
    *("id", "created_at", "account", "task", "kind", "credits", "micro_credits", *NUMBERS),
    "reason",
)
_RUN = ("=", "+", "-", "@", "\t", "\r", "\n")
_DIGITS = Decimal(1) / MICRO


def lines(entries: Iterable[Entry]) -> Iterator[str]:
    """The table, line by line: first the titles, then each entry as it comes."""
    yield _line(TITLES)
    for entry in entries:
        yield _line(_cells(entry))


def _cells(entry: Entry) -> tuple[str | int, ...]:
    moment = datetime.fromtimestamp(entry.created_at, UTC).isoformat(timespec="milliseconds")
    return (
        entry.id,
        moment.replace("+00:00", "Z"),
        harmless(entry.account_id),
        harmless(entry.public_id or entry.task_id or ""),
        entry.kind.value,
        f"{(Decimal(entry.amount) / MICRO).quantize(_DIGITS):f}",
        entry.amount,
        *entry.effects,
        harmless(entry.reason),
    )


def harmless(text: str) -> str:
    """Text that a spreadsheet shows and does not run."""
    return f"'{text}" if text.startswith(_RUN) else text


def _line(cells: Iterable[str | int]) -> str:
    written = io.StringIO()
    csv.writer(written).writerow(cells)
    return written.getvalue()
