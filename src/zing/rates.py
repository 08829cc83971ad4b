"""How often something may happen: so many at once, and then one by one as time goes.

The generic cell rate algorithm (ITU-T I.371): one number is kept, the time at which all is free
again, and nothing has to be swept or counted.
"""

import math
import re
from dataclasses import dataclass

from zing.errors import BadSetting

COUNT_MAX, SECONDS_MAX = 1_000_000, 86_400.0
_RATE = re.compile(r"(\d{1,7})/(\d{1,5}(?:\.\d{1,3})?)", re.ASCII)
_ROUNDING = 1e-3  # seconds; times of this century are sums of steps of 2e-7


@dataclass(frozen=True)
class Taken:
    """What became of one more.

    tat     when all is free again (UTC seconds, theoretical arrival time); to be kept
    wait_s  seconds until one more would be taken; 0 where this one was
    left    how many more would be taken now
    """

    tat: float
    wait_s: float
    left: int


@dataclass(frozen=True)
class Rate:
    """At most `count` at once, and one more every `seconds / count`."""

    count: int
    seconds: float

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """The rate in a text such as 20/10: 20 in 10 seconds; raises BadSetting."""
        match = _RATE.fullmatch(text.strip())
        rate = cls(int(match[1]), float(match[2])) if match else cls(0, 0.0)
        if not (1 <= rate.count <= COUNT_MAX and 0 < rate.seconds <= SECONDS_MAX):
            raise BadSetting(f"{text!r} is no rate: write such as 20/10 for 20 in 10 seconds.")
        return rate

    def __str__(self) -> str:
        return f"{self.count}/{self.seconds:g}"

    def take(self, tat: float, now: float) -> Taken:
        """One more, where there is room for it.

        A time that lies further ahead than the rate can make it was written by another clock.
        """
        each = self.seconds / self.count
        tat = min(max(tat, now), now + self.seconds)
        wait_s = tat + each - self.seconds - now
        if wait_s > _ROUNDING:
            return Taken(tat, wait_s, 0)
        return Taken(tat + each, 0.0, math.floor((self.seconds - tat - each + now) / each + 1e-3))
