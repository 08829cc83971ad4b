"""API keys: what is kept of them, who comes in, and how they end."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, text, update

from tests.audit import NOW, funded
from zing import keys, ledger
from zing.errors import BadKey, BadSetting, KeyDisabled, KeyEnded, Refused, UnknownKey, ZingError
from zing.keys import Allowed, Key, Scope, Spending
from zing.rates import Rate
from zing.store import Store
from zing.store.schema import api_key

PEPPER = b"p" * 32


@pytest.fixture
def account_id(store: Store) -> str:
    """An account that keys may be of."""
    return store.write(lambda tx: ledger.open_account(tx, NOW))


def mint(store: Store, account_id: str, name: str = "laptop", now: float = NOW) -> tuple[str, Key]:
    return store.write(lambda tx: keys.mint(tx, PEPPER, name, account_id, now))


def enter(store: Store, key: str, now: float = NOW, pepper: bytes = PEPPER) -> Key:
    (found,) = store.read(lambda tx: keys.authenticate(tx, pepper, [key], now))
    if isinstance(found, Refused):
        raise found
    return found


def find(store: Store, named: str) -> Key:
    return store.read(lambda tx: keys.find(tx, named))


def test_a_key_has_its_form(store: Store, account_id: str) -> None:
    shown, key = mint(store, account_id)
    assert re.fullmatch(r"zk_live_[0-9a-z]{8}_[0-9A-Za-z]{43}", shown)
    assert shown.split("_")[2] == key.id
    assert (key.name, key.account_id, key.created_at) == ("laptop", account_id, NOW)
    assert key.state(NOW) == "active"


def test_keys_differ(store: Store, account_id: str) -> None:
    shown = {mint(store, account_id)[0] for _ in range(20)}
    assert len({each.split("_")[2] for each in shown}) == 20
    assert len({each.split("_")[3] for each in shown}) == 20


def test_the_secret_is_nowhere_in_the_database(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'zing.db'}")
    shown, key = mint(store, funded(store, 0), "findable name")
    enter(store, shown)
    files = [path.read_bytes() for path in tmp_path.iterdir()]
    store.close()
    files += [path.read_bytes() for path in tmp_path.iterdir()]
    assert any(b"findable name" in each and key.id.encode() in each for each in files)
    secret = shown.rpartition("_")[2]
    for each in files:
        assert secret.encode() not in each
        assert PEPPER not in each


def test_who_has_the_key_comes_in(store: Store, account_id: str) -> None:
    shown, key = mint(store, account_id)
    mint(store, account_id, "another")
    assert enter(store, shown) == key


def test_a_key_of_this_form_that_was_never_made_is_unknown(store: Store, account_id: str) -> None:
    mint(store, account_id)
    with pytest.raises(BadKey):
        enter(store, f"zk_live_{'0' * 8}_{'0' * 43}")


def test_every_letter_of_a_key_counts(store: Store, account_id: str) -> None:
    shown, _ = mint(store, account_id)
    for place, letter in enumerate(shown):
        for other in ("a" if letter != "a" else "b", letter.swapcase(), "", letter * 2, "é"):
            changed = shown[:place] + other + shown[place + 1 :]
            if changed != shown:
                with pytest.raises(BadKey):
                    enter(store, changed)


def test_the_secret_of_another_key_does_not_help(store: Store, account_id: str) -> None:
    one, other = mint(store, account_id)[0], mint(store, account_id)[0]
    with pytest.raises(BadKey):
        enter(store, one[:17] + other[17:])


def test_a_key_is_worth_nothing_with_another_pepper(store: Store, account_id: str) -> None:
    shown, _ = mint(store, account_id)
    with pytest.raises(BadKey):
        enter(store, shown, pepper=b"q" * 32)


GARBAGE = [
    "",
    " ",
    "zk_live_",
    "Bearer x",
    "zk_live_00000000_",
    "zk_test_00000000_" + "0" * 43,
    "zk_live_0000000٤_" + "0" * 43,
    "zk_live_00000000_" + "0" * 42 + "\0",
    "\0",
    "\ud800",
    "猫" * 51,
    "' OR 1=1 --",
    "%",
    "x" * 10**6,
    "zk_live_00000000_" + "0" * 10**6,
]


def test_garbage_is_no_key(store: Store, account_id: str) -> None:
    mint(store, account_id)
    for each in GARBAGE:
        with pytest.raises(BadKey):
            enter(store, each)


def test_line_ends_and_spaces_are_not_part_of_a_key(store: Store, account_id: str) -> None:
    shown, _ = mint(store, account_id)
    for changed in (shown + "\n", " " + shown, shown + "\0", shown.upper()):
        with pytest.raises(BadKey):
            enter(store, changed)


def test_a_revoked_key_has_ended_for_good(store: Store, account_id: str) -> None:
    shown, key = mint(store, account_id)
    store.write(lambda tx: keys.revoke(tx, key.id, NOW + 1))
    store.write(lambda tx: keys.revoke(tx, key.id, NOW + 9))
    store.write(lambda tx: keys.enable(tx, key.id, NOW))
    with pytest.raises(KeyEnded):
        enter(store, shown, NOW + 2)
    found = find(store, key.id)
    assert (found.revoked_at, found.state(NOW)) == (NOW + 1, "revoked")


def test_a_key_works_until_it_expires(store: Store, account_id: str) -> None:
    shown, key = mint(store, account_id)
    until = update(api_key).where(api_key.c.id == key.id).values(expires_at=NOW + 60)
    store.write(lambda tx: tx.execute(until))
    assert enter(store, shown, NOW + 59.9).id == key.id
    with pytest.raises(KeyEnded):
        enter(store, shown, NOW + 60)
    assert find(store, key.id).state(NOW + 60) == "expired"


def test_a_disabled_key_works_again_when_it_is_enabled(store: Store, account_id: str) -> None:
    shown, key = mint(store, account_id)
    store.write(lambda tx: keys.disable(tx, key.id, NOW))
    with pytest.raises(KeyDisabled):
        enter(store, shown)
    assert find(store, key.id).state(NOW) == "disabled"
    store.write(lambda tx: keys.enable(tx, key.id, NOW))
    assert enter(store, shown) == key


@pytest.mark.parametrize("ending", ["revoked_at", "disabled_at", "expires_at"])
def test_a_wrong_secret_learns_nothing_of_the_key(
    store: Store, account_id: str, ending: str
) -> None:
    shown, key = mint(store, account_id)
    ended = update(api_key).where(api_key.c.id == key.id).values({ending: NOW})
    store.write(lambda tx: tx.execute(ended))
    with pytest.raises(BadKey):
        enter(store, shown[:-1] + ("a" if shown[-1] != "a" else "b"))


def test_a_rotated_key_ends_and_the_new_one_is_of_the_same_account(
    store: Store, account_id: str
) -> None:
    old_text, old = mint(store, account_id)
    new_text, new = store.write(lambda tx: keys.rotate(tx, PEPPER, old, NOW + 5))
    assert enter(store, new_text, NOW + 5) == new
    assert (new.name, new.account_id, new.created_at) == (old.name, account_id, NOW + 5)
    assert new.id != old.id
    with pytest.raises(KeyEnded):
        enter(store, old_text, NOW + 5)


def test_an_overlap_lets_the_old_key_go_on_for_a_while(store: Store, account_id: str) -> None:
    old_text, old = mint(store, account_id)
    new_text, _ = store.write(lambda tx: keys.rotate(tx, PEPPER, old, NOW, 3600.0))
    for shown in (old_text, new_text):
        enter(store, shown, NOW + 3599)
    with pytest.raises(KeyEnded):
        enter(store, old_text, NOW + 3600)
    enter(store, new_text, NOW + 3600)


def test_an_overlap_prolongs_no_key(store: Store, account_id: str) -> None:
    ends = Allowed(expires_at=NOW + 60)
    _, old = store.write(lambda tx: keys.mint(tx, PEPPER, "k", account_id, NOW, ends))
    _, new = store.write(lambda tx: keys.rotate(tx, PEPPER, old, NOW, 3600.0))
    assert [find(store, each.id).expires_at for each in (old, new)] == [NOW + 60, NOW + 60]


def spend(store: Store, key: Key, used: int, held: int, day_spent: int) -> None:
    sums = {"used": used, "held": held, "day_spent": day_spent, "day": int(NOW // 86_400)}
    spent = update(api_key).where(api_key.c.id == key.id).values(**sums)
    store.write(lambda tx: tx.execute(spent))


@pytest.mark.parametrize("overlap_s", [0.0, 3600.0])
def test_no_cap_begins_anew_with_a_new_key(store: Store, account_id: str, overlap_s: float) -> None:
    caps = Allowed(cap=100, daily_cap=50, rate=Rate(3, 1.0), dialects=frozenset({"kie"}))
    _, old = store.write(lambda tx: keys.mint(tx, PEPPER, "k", account_id, NOW, caps))
    spend(store, old, used=20, held=10, day_spent=25)
    _, new = store.write(lambda tx: keys.rotate(tx, PEPPER, old, NOW, overlap_s))
    assert new == find(store, new.id)
    assert new.allowed == replace(caps, cap=70)
    assert (new.spending.total, new.spending.today(NOW)) == (0, 25)
    assert new.spending.today(NOW + 86_400) == 0
    left = find(store, old.id)
    if overlap_s:
        assert (left.allowed.cap, left.allowed.daily_cap) == (30, 0)
    assert left.spending == Spending(20, 10, int(NOW // 86_400), 25)


def test_what_has_no_cap_goes_on_without_one(store: Store, account_id: str) -> None:
    _, old = mint(store, account_id)
    spend(store, old, used=20, held=10, day_spent=25)
    _, new = store.write(lambda tx: keys.rotate(tx, PEPPER, old, NOW, 3600.0))
    for each in (old, new):
        assert (find(store, each.id).allowed.cap, find(store, each.id).allowed.daily_cap) == (
            None,
            None,
        )


@pytest.mark.parametrize(
    ("ending", "error"),
    [("revoked_at", KeyEnded), ("expires_at", KeyEnded), ("disabled_at", KeyDisabled)],
)
def test_a_key_that_lets_nobody_in_is_not_made_anew(
    store: Store, account_id: str, ending: str, error: type[Refused]
) -> None:
    _, old = mint(store, account_id)
    ended = update(api_key).where(api_key.c.id == old.id).values({ending: NOW})
    store.write(lambda tx: tx.execute(ended))
    with pytest.raises(error):
        store.write(lambda tx: keys.rotate(tx, PEPPER, old, NOW))
    assert len(store.read(keys.list_keys)) == 1


def test_a_key_may_do_what_it_is_changed_to(store: Store, account_id: str) -> None:
    text, key = mint(store, account_id)
    allowed = Allowed(
        frozenset({Scope.READ}),
        frozenset({"kie"}),
        frozenset({"tiny"}),
        5,
        4,
        Rate(1, 2.5),
        NOW + 9,
    )
    store.write(lambda tx: keys.change(tx, key.id, allowed))
    assert enter(store, text).allowed == allowed
    store.write(lambda tx: keys.change(tx, key.id, Allowed()))
    assert enter(store, text) == key


def test_a_rotated_key_is_still_found_by_its_name(store: Store, account_id: str) -> None:
    _, old = mint(store, account_id)
    _, new = store.write(lambda tx: keys.rotate(tx, PEPPER, old, NOW + 5))
    assert find(store, "laptop") == new
    assert find(store, old.id).id == old.id


def test_a_key_is_found_by_id_by_name_and_by_itself(store: Store, account_id: str) -> None:
    shown, key = mint(store, account_id, "猫 laptop")
    mint(store, account_id, "another")
    for named in (key.id, "猫 laptop", shown):
        assert find(store, named) == key


def test_a_revoked_key_is_found_by_its_name(store: Store, account_id: str) -> None:
    _, key = mint(store, account_id)
    store.write(lambda tx: keys.revoke(tx, key.id, NOW))
    assert find(store, "laptop").id == key.id


def test_a_name_of_several_keys_is_not_guessed(store: Store, account_id: str) -> None:
    _, key = mint(store, account_id)
    mint(store, account_id)
    with pytest.raises(UnknownKey, match="More than one"):
        find(store, "laptop")
    assert find(store, key.id) == key


def test_an_id_goes_before_a_name_however_many_have_it(store: Store, account_id: str) -> None:
    _, key = mint(store, account_id)
    for _ in range(4):
        mint(store, account_id, key.id)
    assert find(store, key.id) == key


def test_a_key_that_is_not_there_is_unknown(store: Store, account_id: str) -> None:
    mint(store, account_id)
    for named in ("", "nobody", "lapto", "%", "x" * 9999, "a\0b", "\udcff"):
        with pytest.raises(UnknownKey) as refused:
            find(store, named)
        assert len(str(refused.value)) < 200


def test_an_unknown_key_is_not_repeated_in_full(store: Store) -> None:
    """Who types a wrong key should not find its secret in a log."""
    wrong = f"zk_live_{'0' * 8}_{'s' * 43}"
    with pytest.raises(UnknownKey) as refused:
        find(store, wrong)
    assert "s" * 43 not in str(refused.value)


def test_keys_are_listed_oldest_first(store: Store, account_id: str) -> None:
    made = [mint(store, account_id, f"key {age}", NOW - age)[1] for age in (1, 3, 2)]
    listed = store.read(keys.list_keys)
    assert [each.name for each in listed] == ["key 3", "key 2", "key 1"]
    assert sorted(each.id for each in listed) == sorted(each.id for each in made)


def test_a_name_that_cannot_be_shown_is_refused(store: Store, account_id: str) -> None:
    for name in ("", "x" * 201, "two\nlines", "\x1b[31m", "\ud800", "a\0b"):
        with pytest.raises(BadSetting, match="printable"):
            mint(store, account_id, name)
    assert store.read(keys.list_keys) == []


def test_only_a_hash_is_kept(store: Store, account_id: str) -> None:
    shown, _ = mint(store, account_id)

    def row(tx: Connection) -> str:
        return repr(tx.execute(text("SELECT * FROM api_key")).one())

    assert shown.rpartition("_")[2] not in store.read(row)
    assert re.search(r"'[0-9a-f]{64}'", store.read(row))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A database with one key, that nobody will guess."""
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('keys') / 'zing.db'}")
    mint(store, funded(store, 0))
    return store


@given(st.text() | st.from_regex(r"zk_live_[0-9a-z]{8}_[0-9A-Za-z]{43}", fullmatch=True))
def test_no_text_but_the_key_comes_in(guarded: Store, guess: str) -> None:
    with pytest.raises(ZingError) as refused:
        enter(guarded, guess)
    assert type(refused.value) is BadKey
