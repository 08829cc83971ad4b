"""`zing keys`, `credits` and `tasks` on a data folder, without a server beside them."""

import csv
import io
import json
import re
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer

from zing import cli, dialects, keys, queue
from zing.cli.opened import opened
from zing.dialects import evolink
from zing.errors import (
    BadFile,
    BadSetting,
    NotCancellable,
    SwitchedOff,
    Unavailable,
    UnknownAccount,
    UnknownKey,
    UnknownTask,
)
from zing.queue import Outcome
from zing.service import Asking
from zing.store import switches
from zing.task import ImageRequest, TaskState

Zing = Callable[..., Any]


@pytest.fixture
def zing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Zing:
    """Runs a command in this process; what it printed as JSON."""

    def run(*arguments: str) -> Any:
        command = [*arguments, "--data", str(tmp_path / "data"), "--json"]
        cli.app(command, standalone_mode=False, prog_name="zing")
        lines = capsys.readouterr().out.splitlines()
        return [json.loads(line) for line in lines] if len(lines) > 1 else json.loads(lines[0])

    return run


@pytest.fixture
def task_id(zing: Zing, tmp_path: Path) -> str:
    """A task that is queued, of the account of the key `shop`."""
    made = zing("keys", "create", "shop", "--credits", "1")
    with opened(str(tmp_path / "data"), "") as service:
        key = service.authenticate(made["key"])
        asking = Asking(key, evolink, ImageRequest("a red circle", 512, 512), {"a": 1})
        view = service.submit(asking).view
    assert view is not None
    return view.task.public_id


def drawn(data: Path, result: dict[str, Any]) -> None:
    """The task that is queued has succeeded."""
    with opened(str(data), "") as service:
        end = Outcome(TaskState.SUCCEEDED, result=result)
        service.store.write(lambda tx: queue.register(tx, "w1", "host", time.time(), 60.0))
        model, now = service.served.name, time.time()
        (held,) = service.store.write(lambda tx: queue.claim(tx, "w1", model, 1, now))
        assert service.store.write(lambda tx: queue.settle(tx, [(held, end)], now)) != [None]


def test_a_key_opens_an_account_with_credits(zing: Zing) -> None:
    made = zing("keys", "create", "shop", "--credits", "2.5")
    assert set(made) == {"key", "id", "account"}
    assert made["key"].startswith(f"{keys.PREFIX}{made['id']}_")
    assert zing("credits", "show", "shop") == {
        "account": made["account"],
        "available": 2.5,
        "held": 0,
        "used": 0,
    }


def test_a_key_without_credits_has_none(zing: Zing) -> None:
    made = zing("keys", "create", "empty")
    assert zing("credits", "show", made["id"])["available"] == 0


def test_a_second_key_of_an_account_shares_its_credits(zing: Zing) -> None:
    first = zing("keys", "create", "one", "--credits", "1")
    second = zing("keys", "create", "two", "--account", first["account"])
    assert second["account"] == first["account"]
    zing("credits", "grant", "two", "0.5", "--reason", "a present")
    assert zing("credits", "show", first["key"])["available"] == 1.5
    kinds = [(each["kind"], each["credits"], each["reason"]) for each in ledger(zing, "one")]
    assert kinds == [("grant", 1, "with the key one"), ("grant", 0.5, "a present")]


def ledger(zing: Zing, key: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = zing("credits", "ledger", key)
    return found


def test_keys_are_listed_with_their_state_and_without_their_secret(zing: Zing) -> None:
    made = {name: zing("keys", "create", name) for name in ("a", "b", "c")}
    assert zing("keys", "disable", "a")["state"] == "disabled"
    assert zing("keys", "revoke", made["b"]["id"])["state"] == "revoked"
    listed = zing("keys", "list")
    assert {each["name"]: each["state"] for each in listed} == {
        "a": "disabled",
        "b": "revoked",
        "c": "active",
    }
    assert not [one for one in made.values() if one["key"].rpartition("_")[2] in str(listed)]
    assert zing("keys", "enable", "a")["state"] == "active"


def test_rotating_ends_the_old_key_and_keeps_the_account(zing: Zing) -> None:
    old = zing("keys", "create", "shop", "--credits", "1")
    new = zing("keys", "rotate", old["id"])
    assert new["key"] != old["key"]
    assert new["account"] == old["account"]
    states = {each["id"]: each["state"] for each in zing("keys", "list")}
    assert states == {old["id"]: "revoked", new["id"]: "active"}


LIMITS = {
    "scopes": ["create", "read"],
    "dialects": ["evolink", "kie"],
    "models": ["builtin"],
    "cap": 12.5,
    "daily_cap": 2,
    "rate": "20/10",
}
OPTIONS = "--scopes create,read --dialects kie,evolink --models builtin --cap 12.5 --daily-cap 2"


def test_a_key_is_made_for_some_things_alone_and_changed(zing: Zing) -> None:
    zing("keys", "create", "shop", *OPTIONS.split(), "--rate", "20/10", "--expires", "30d")
    shown = zing("keys", "show", "shop")
    assert {name: shown[name] for name in LIMITS} == LIMITS
    assert abs(shown["expires_at"] - time.time() - 30 * 86_400) < 60
    assert (shown["spent"], shown["spent_today"], shown["last_used_at"]) == (0, 0, None)
    changed = zing("keys", "change", "shop", "--cap", "none", "--scopes", "read,admin")
    assert changed == shown | {"cap": None, "scopes": ["admin", "read"]}
    cleared = "--dialects none --models none --daily-cap none --rate none --expires none"
    free = zing("keys", "change", "shop", *cleared.split())
    assert [free[name] for name in ("dialects", "models", "daily_cap", "rate", "expires_at")] == [
        [],
        [],
        None,
        None,
        None,
    ]
    assert zing("keys", "list") == [free]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2100-01-01", 4_102_444_800),
        ("2100-01-01T12:00", 4_102_444_800 + 43_200),
        ("2100-01-01T00:00:00+02:00", 4_102_444_800 - 7200),
    ],
)
def test_a_key_ends_on_a_day(zing: Zing, text: str, seconds: int) -> None:
    zing("keys", "create", "shop", "--expires", text)
    assert zing("keys", "show", "shop")["expires_at"] == seconds


def test_an_old_key_goes_on_while_the_new_one_is_taken_up(zing: Zing, tmp_path: Path) -> None:
    old = zing("keys", "create", "shop", "--credits", "1")
    new = zing("keys", "rotate", old["id"], "--overlap", "24h")
    with opened(str(tmp_path / "data"), "") as service:
        found = [service.authenticate(each["key"]) for each in (old, new)]
    assert found[0].expires_at is not None
    assert abs(found[0].expires_at - time.time() - 86_400) < 60
    assert found[1].expires_at is None


def test_what_is_done_to_keys_is_in_the_audit_log(zing: Zing) -> None:
    made = zing("keys", "create", "shop", "--cap", "5", "--credits", "2")
    zing("keys", "change", "shop", "--rate", "1/5", "--cap", "none")
    zing("keys", "disable", "shop")
    zing("keys", "enable", "shop")
    new = zing("keys", "rotate", "shop", "--overlap", "1h")
    zing("keys", "revoke", made["id"])
    told = [(each["action"], each["target"], each["detail"]) for each in zing("log")]
    assert told == [
        ("account opened", made["account"], ""),
        ("credits granted", made["account"], "2: with the key shop"),
        ("key created", made["id"], "name shop, cap 5"),
        ("key changed", made["id"], "cap none, rate 1/5"),
        ("key disabled", made["id"], "shop"),
        ("key enabled", made["id"], "shop"),
        ("key rotated", made["id"], f"the new one is {new['id']}, overlap 3600 s"),
        ("key revoked", made["id"], "shop"),
    ]
    entry = zing("log", "--action", "key revoked")[0]
    assert set(entry) == {"at", "actor", "address", "action", "target", "detail"}
    assert (entry["actor"], entry["address"]) == ("command line", "")
    assert [each["action"] for each in zing("log", "--limit", "2")] == [
        "key rotated",
        "key revoked",
    ]
    assert not [one for one in (made, new) if one["key"].rpartition("_")[2] in str(told)]


def test_what_is_refused_is_not_in_the_audit_log(zing: Zing) -> None:
    zing("keys", "create", "shop")
    with pytest.raises(BadSetting):
        zing("keys", "create", "two\nlines")
    with pytest.raises(BadSetting):
        zing("keys", "change", "shop", "--cap", "many")
    assert [each["action"] for each in zing("log")] == ["account opened", "key created"]


def test_a_person_reads_of_a_key_and_of_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for asked in ("keys create shop --cap 5", "keys show shop", "log"):
        command = [*asked.split(), "--data", str(tmp_path / "data")]
        cli.app(command, standalone_mode=False, prog_name="zing")
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[1:]]
    told = dict(lines[:13])
    assert (told["scopes"], told["dialects"], told["spent"]) == (
        "cancel, create, read",
        "all",
        "0 of 5",
    )
    assert (told["expires"], told["last"], told["rate"]) == ("-", "used  -", "any")
    assert lines[13][0] == "time"
    assert "command line  -        account opened" in lines[14][1]
    assert "command line  -        key created" in lines[15][1]


def test_a_task_is_listed_shown_and_cancelled(zing: Zing, task_id: str) -> None:
    assert [each["id"] for each in zing("tasks", "list")] == [task_id]
    assert zing("tasks", "list", "--state", "running") == []
    shown = zing("tasks", "show", task_id)
    assert (shown["state"], shown["prompt"], shown["size"]) == (
        "queued",
        "a red circle",
        "512x512",
    )
    assert zing("credits", "show", "shop")["held"] == 0.026
    assert zing("tasks", "cancel", task_id)["state"] == "cancelled"
    assert zing("credits", "show", "shop") | {"account": ""} == {
        "account": "",
        "available": 1,
        "held": 0,
        "used": 0,
    }
    assert zing("tasks", "watch", task_id)["state"] == "cancelled"
    with pytest.raises(NotCancellable):
        zing("tasks", "cancel", task_id)


@pytest.mark.parametrize(
    ("understood", "said"),
    [
        (["Red", "猫"], "Red, 猫"),
        ([], "no word that the model knows"),
        (None, None),
    ],
)
def test_a_person_reads_which_words_of_a_task_were_understood(
    zing: Zing,
    task_id: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    understood: list[str] | None,
    said: str | None,
) -> None:
    drawn(tmp_path / "data", {"understood": understood})
    assert zing("tasks", "show", task_id)["result"] == {"understood": understood}
    command = ["tasks", "show", task_id, "--data", str(tmp_path / "data")]
    cli.app(command, standalone_mode=False, prog_name="zing")
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows.get("understood") == said


def test_purging_forgets_old_tasks_and_keeps_the_ledger(zing: Zing, task_id: str) -> None:
    assert zing("tasks", "purge", "--days", "0") == {"purged": 0}
    zing("tasks", "cancel", task_id)
    assert zing("tasks", "purge", "--days", "1") == {"purged": 0}
    time.sleep(0.01)
    assert zing("tasks", "purge", "--days", "0") == {"purged": 1}
    assert zing("tasks", "list") == []
    assert [each["kind"] for each in ledger(zing, "shop")] == ["grant", "hold", "release"]


def test_credits_are_adjusted_for_a_reason(zing: Zing) -> None:
    zing("keys", "create", "shop", "--credits", "10")
    assert zing("credits", "adjust", "shop", "0.5", "--reason", "a gift")["available"] == 10.5
    assert zing("credits", "adjust", "shop", "--by", "-5", "--reason", "back")["available"] == 5.5
    # What is after -- is no option any more, --data and --json included.
    assert zing("credits", "adjust", "--by=-0.000001", "shop", "--reason", "x")["available"] == (
        5.499999
    )
    with pytest.raises(BadSetting, match=r"5\.499999 credits available"):
        zing("credits", "adjust", "shop", "--by", "-5.5", "--reason", "more")
    reasons = [(each["kind"], each["credits"], each["reason"]) for each in ledger(zing, "shop")]
    assert reasons[1:] == [
        ("adjust", 0.5, "a gift"),
        ("adjust", -5, "back"),
        ("adjust", -0.000001, "x"),
    ]


def test_less_than_nothing_is_named_after_two_dashes(
    zing: Zing, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zing("keys", "create", "shop", "--credits", "10")
    command = ["credits", "adjust", "--reason", "x", "--data", str(tmp_path / "data")]
    cli.app([*command, "--", "shop", "-5"], standalone_mode=False, prog_name="zing")
    assert capsys.readouterr().out == "5 available, 0 held, 0 used\n"


def test_a_task_is_refunded(zing: Zing, task_id: str, tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="nothing was charged"):
        zing("credits", "refund", task_id, "--reason", "no cat")
    drawn(tmp_path / "data", {})
    assert zing("credits", "show", "shop")["used"] == 0.026
    after = zing("credits", "refund", task_id, "--reason", "no cat")
    assert (after["available"], after["held"], after["used"]) == (1, 0, 0)
    assert ledger(zing, "shop")[-1]["reason"] == "no cat"
    with pytest.raises(BadSetting, match="refunded already"):
        zing("credits", "refund", task_id, "--reason", "no cat")


@pytest.fixture
def table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[Any]]:
    """The rows of a command that prints CSV."""

    def run(*arguments: str) -> list[Any]:
        command = ["credits", *arguments, "--data", str(tmp_path / "data")]
        cli.app(command, standalone_mode=False, prog_name="zing")
        return list(csv.DictReader(io.StringIO(capsys.readouterr().out, newline="")))

    return run


def test_the_ledger_is_exported_as_csv(
    zing: Zing, table: Callable[..., list[Any]], tmp_path: Path
) -> None:
    first = zing("keys", "create", "one", "--credits", "1")
    second = zing("keys", "create", "two", "--credits", "2")
    zing("credits", "grant", "one", "0.5", "--reason", "=1+1, 猫")
    mine = table("ledger", "one", "--csv")
    assert [(each["credits"], each["reason"]) for each in mine] == [
        ("1.000000", "with the key one"),
        ("0.500000", "'=1+1, 猫"),
    ]
    assert table("export", "--account", first["account"]) == mine
    accounts = [each["account"] for each in table("export", "-o", "-")]
    assert accounts == [first["account"], second["account"], first["account"]]
    assert table("export", "--from", "2999-01-01") == []
    assert table("export", "--until", "2001-01-01T00:00+02:00") == []
    assert len(table("export", "--from", "2001-01-01", "--until", "2999-01-01")) == 3
    file = tmp_path / "books.csv"
    file.write_text("of yesterday")
    assert zing("credits", "export", "-o", str(file)) == {"path": str(file), "entries": 3}
    with file.open(newline="", encoding="utf-8") as lines:
        assert [each["account"] for each in csv.DictReader(lines)] == accounts
    assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(each.name for each in tmp_path.iterdir()) == ["books.csv", "data"]


def test_a_refused_export_leaves_the_file_as_it_was(zing: Zing, tmp_path: Path) -> None:
    file = tmp_path / "books.csv"
    file.write_text("of yesterday")
    with pytest.raises(UnknownAccount):
        zing("credits", "export", "--account", "acct_none", "-o", str(file))
    assert file.read_text() == "of yesterday"
    with pytest.raises(BadFile):
        zing("credits", "export", "-o", str(tmp_path / "none" / "books.csv"))


def taken(data: Path) -> list[str]:
    """The dialects that take new tasks."""
    names = []
    with opened(str(data), "") as service:
        for dialect in dialects.ALL:
            with suppress(Unavailable, SwitchedOff):
                service.store.write(partial(switches.check, dialect_name=dialect.NAME))
                names.append(dialect.NAME)
    return names


def test_maintenance_is_switched_on_and_off(zing: Zing, tmp_path: Path) -> None:
    off = {"maintenance": False}
    assert zing("maintenance", "show") == off
    on = zing("maintenance", "on", "--message", "Back at five.")
    assert (on["maintenance"], on["message"]) == (True, "Back at five.")
    assert abs(on["since"] - time.time()) < 60
    assert zing("maintenance", "show") == on
    assert taken(tmp_path / "data") == []
    assert zing("maintenance", "on") | {"message": ""} == on | {"message": ""}
    assert "maintenance" in zing("maintenance", "show")["message"]
    assert zing("maintenance", "off") == off
    assert len(taken(tmp_path / "data")) == 4


def test_a_dialect_is_disabled_and_enabled(zing: Zing, tmp_path: Path) -> None:
    listed = zing("dialects", "list")
    names = [each["name"] for each in listed]
    assert names == [each.NAME for each in dialects.ALL]
    assert {(each["enabled"], each["since"]) for each in listed} == {(True, None)}
    disabled = zing("dialects", "disable", "kie")
    assert (disabled["name"], disabled["enabled"]) == ("kie", False)
    assert [each for each in zing("dialects", "list") if not each["enabled"]] == [disabled]
    assert taken(tmp_path / "data") == [name for name in names if name != "kie"]
    assert zing("dialects", "enable", "kie") == {"name": "kie", "enabled": True, "since": None}
    assert taken(tmp_path / "data") == names


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["keys", "create", "x", "--credits", "-1"], BadSetting),
        (["keys", "create", "x", "--credits", "many"], BadSetting),
        (["keys", "create", "x", "--credits", "0.0000001"], BadSetting),
        (["keys", "create", "x", "--credits", "9" * 13], BadSetting),
        (["keys", "create", ""], BadSetting),
        (["keys", "create", "two\nlines"], BadSetting),
        (["keys", "create", "x", "--account", "acct_none"], UnknownAccount),
        (["keys", "create", "x", "--scopes", "create,write"], BadSetting),
        (["keys", "create", "x", "--scopes", "none"], BadSetting),
        (["keys", "create", "x", "--scopes", ","], BadSetting),
        (["keys", "create", "x", "--dialects", "dall-e"], BadSetting),
        (["keys", "create", "x", "--models", "\x1b"], BadSetting),
        (["keys", "create", "x", "--cap", "-1"], BadSetting),
        (["keys", "create", "x", "--daily-cap", "x"], BadSetting),
        (["keys", "create", "x", "--rate", "20"], BadSetting),
        (["keys", "create", "x", "--expires", "2001-01-01"], BadSetting),
        (["keys", "create", "x", "--expires", "0d"], BadSetting),
        (["keys", "create", "x", "--expires", "99999999d"], BadSetting),
        (["keys", "create", "x", "--expires", "soon"], BadSetting),
        (["keys", "change", "x"], BadSetting),
        (["keys", "change", "nobody", "--cap", "1"], UnknownKey),
        (["keys", "rotate", "nobody", "--overlap", "day"], BadSetting),
        (["keys", "show", "nobody"], UnknownKey),
        (["keys", "revoke", "nobody"], UnknownKey),
        (["credits", "grant", "nobody", "1"], UnknownKey),
        (["credits", "grant", "nobody", "0"], BadSetting),
        (["credits", "show", "nobody"], UnknownKey),
        (["credits", "adjust", "nobody", "1", "--reason", "x"], UnknownKey),
        (["credits", "adjust", "nobody", "--reason", "x"], BadSetting),
        (["credits", "adjust", "nobody", "1", "--by", "1", "--reason", "x"], BadSetting),
        (["credits", "adjust", "nobody", "--by", "--1", "--reason", "x"], BadSetting),
        (["credits", "refund", "nothing", "--reason", "x"], UnknownTask),
        (["credits", "refund", "nothing"], BadSetting),
        (["credits", "export"], BadSetting),
        (["credits", "export", "--from", "yesterday", "-o", "x.csv"], BadSetting),
        (["credits", "ledger", "nobody", "--csv"], BadSetting),
        (["tasks", "show", "nothing"], UnknownTask),
        (["tasks", "cancel", "nothing"], UnknownTask),
        (["tasks", "watch", "nothing"], UnknownTask),
        (["tasks", "list", "--database", "oracle://x"], BadSetting),
        (["maintenance", "on", "--message", "two\nlines"], BadSetting),
        (["dialects", "disable", "dall-e"], BadSetting),
        (["dialects", "enable", ""], BadSetting),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else value.__name__,
)
def test_what_cannot_be_done_is_refused(
    zing: Zing, arguments: list[str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        zing(*arguments)


def test_a_refused_key_leaves_no_account_behind(zing: Zing, tmp_path: Path) -> None:
    with pytest.raises(BadSetting):
        zing("keys", "create", "two\nlines", "--credits", "5")
    with opened(str(tmp_path / "data"), "") as service:
        count = service.store.read(lambda tx: tx.exec_driver_sql("select count(*) from account"))
        assert count.scalar() == 0


def test_a_name_of_two_keys_must_be_an_id(zing: Zing) -> None:
    first = zing("keys", "create", "shop")
    zing("keys", "create", "shop")
    with pytest.raises(UnknownKey, match="More than one"):
        zing("keys", "revoke", "shop")
    assert zing("keys", "revoke", first["id"])["state"] == "revoked"


def test_a_person_reads_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = "keys create shop; keys list; tasks list; maintenance on; maintenance off"
    asked += "; dialects disable kie; dialects list"
    for arguments in (each.split() for each in asked.split("; ")):
        command = [*arguments, "--data", str(tmp_path / "data")]
        cli.app(command, standalone_mode=False, prog_name="zing")
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:5] == ["id", "name", "account", "state", "scopes"]
    assert lines[2].split()[1] == "shop"
    assert lines[3].split() == ["id", "state", "prompt"]
    assert re.fullmatch(r"Maintenance is on since [-\d]{10} [:\d]{8} UTC: The service .*", lines[4])
    assert lines[5:7] == ["Maintenance is off.", "kie is disabled"]
    assert [line.split() for line in lines[7:10]] == [
        ["name", "state"],
        ["evolink", "enabled"],
        ["kie", "disabled"],
    ]


def test_every_command_takes_the_common_options() -> None:
    group = typer.main.get_command(cli.app)
    commands = [each for one in group.commands.values() for each in leaves(one)]
    assert len(commands) > 15
    for command in commands:
        options = {name for parameter in command.params for name in parameter.opts}
        assert {"--data", "--database", "--json"} <= options, command.name


def leaves(command: Any) -> list[Any]:
    below = getattr(command, "commands", {})
    return [leaf for each in below.values() for leaf in leaves(each)] if below else [command]
