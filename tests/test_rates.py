"""How often something may happen: no more at once, nor in the long run, than the rate says."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.audit import NOW
from zing.errors import BadSetting
from zing.rates import Rate

RATES = st.builds(Rate, st.integers(1, 50), st.floats(0.5, 3600.0).map(lambda s: round(s, 3)))
GAPS = st.lists(st.floats(0.0, 100.0), max_size=120)


def taken(rate: Rate, times: list[float]) -> list[float]:
    """The times at which one more was taken."""
    tat, found = 0.0, []
    for now in times:
        one = rate.take(tat, now)
        tat = one.tat
        if not one.wait_s:
            found.append(now)
    return found


def test_so_many_at_once_and_then_one_by_one() -> None:
    rate = Rate(20, 10.0)
    tat = 0.0
    for left in range(19, -1, -1):
        one = rate.take(tat, NOW)
        assert (one.wait_s, one.left) == (0.0, left)
        tat = one.tat
    over = rate.take(tat, NOW)
    assert over.left == 0
    assert over.wait_s == pytest.approx(0.5, abs=1e-3)
    assert over.tat == tat, "who is refused waits no longer for it"
    assert rate.take(tat, NOW + 0.51).wait_s == 0.0
    assert rate.take(tat, NOW + 10.0).left == 19


@given(RATES, GAPS)
def test_in_any_stretch_of_time_no_more_than_the_rate_allows(rate: Rate, gaps: list[float]) -> None:
    """In a time T at most count + T * count / seconds (ITU-T I.371)."""
    times = [NOW + sum(gaps[:place]) for place in range(len(gaps) + 1)]
    found = taken(rate, times)
    for first in range(len(found)):
        for last in range(first, len(found)):
            stretch = Fraction(found[last]) - Fraction(found[first])
            allowed = rate.count + (float(stretch) + 2e-3) * rate.count / rate.seconds
            assert last - first + 1 <= allowed


@given(RATES, st.integers(1, 200))
def test_who_keeps_to_the_rate_is_never_refused(rate: Rate, count: int) -> None:
    times = [NOW + place * rate.seconds / rate.count for place in range(count)]
    assert len(taken(rate, times)) == count


@given(RATES, GAPS)
def test_who_waits_as_told_is_taken(rate: Rate, gaps: list[float]) -> None:
    tat, now = 0.0, NOW
    for gap in gaps:
        one = rate.take(tat, now)
        if one.wait_s:
            one = rate.take(one.tat, now + one.wait_s)
            assert one.wait_s == 0.0
        tat, now = one.tat, now + gap


def test_a_clock_that_was_set_back_locks_nobody_out_for_longer_than_the_rate() -> None:
    rate = Rate(2, 10.0)
    later = rate.take(0.0, NOW + 86_400.0)
    assert rate.take(later.tat, NOW).wait_s <= 10.0


@pytest.mark.parametrize(("text", "rate"), [("20/10", Rate(20, 10.0)), ("1/0.5", Rate(1, 0.5))])
def test_a_rate_is_read_and_written_alike(text: str, rate: Rate) -> None:
    assert Rate.parse(text) == rate
    assert str(rate) == text


BAD = ["", "20", "/10", "20/", "0/10", "20/0", "-1/10", "2e1/10", "٢/10", "20/10s", "1/86401", "x"]


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_rate_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadSetting, match="20/10"):
        Rate.parse(text)
