"""Clocks that are set while the service runs: how far one has jumped, and who is silent.

The wall clock (UTC seconds) says what is stored and shown; a steady clock, which nobody can set,
says how long something has really lasted.
"""

from collections.abc import Callable, Mapping

# Less is a clock that is corrected bit by bit, or a machine that was busy.
JUMP_S = 30.0
# What was stored before a jump has really had its time after a day: nothing is kept for longer.
REMEMBERED_S = 86_400.0

Clock = Callable[[], float]


class Jumps:
    """Watches one wall clock by a steady one."""

    def __init__(self, clock: Clock, steady: Clock) -> None:
        self._clock = clock
        self._steady = steady
        self._offset = clock() - steady()
        self._ahead = self._at = 0.0

    def ahead(self) -> float:
        """Seconds that the clock has jumped forward within the last day and was not set back.

        What is judged by `clock() - ahead()` is not over any sooner than without the jump.
        """
        steady = self._steady()
        offset = self._clock() - steady
        jump, self._offset = offset - self._offset, offset
        if abs(jump) > JUMP_S:
            self._ahead, self._at = max(0.0, self._ahead + jump), steady
        if steady - self._at > REMEMBERED_S:
            self._ahead = 0.0
        return self._ahead


class Silence:
    """Who has not said anything new for some seconds, whatever clock the speakers have."""

    def __init__(self, steady: Clock, seconds: float) -> None:
        self._steady = steady
        self._seconds = seconds
        self._heard: dict[str, tuple[float, float]] = {}

    def broken(self, said: Mapping[str, float]) -> set[str]:
        """Those whose word has changed lately, or who were never seen before."""
        now, before = self._steady(), self._heard
        self._heard = {
            name: before[name] if name in before and before[name][0] == word else (word, now)
            for name, word in said.items()
        }
        return {name for name, (_, at) in self._heard.items() if now - at < self._seconds}

    def forget(self) -> None:
        """Begin anew: for a while nobody could be heard."""
        self._heard.clear()
