"""`zing callbacks` on a data folder, without a server beside it."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.receivers import Authority, Certificate, Receiver, answer, only_loopback
from tests.requests import compact
from zing import cli, queue
from zing.cli.opened import opened
from zing.dialects import evolink
from zing.errors import BadCallback, BadSetting, UnknownKey, UnknownTask
from zing.service import Asking
from zing.store import outbox
from zing.store.outbox import Bounds, Hands, Record
from zing.task import Attempt, DeliveryState, ImageRequest

URL = "https://hooks.example.com/done?token=hunter2"


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs a command in this process; its exit status and what it printed."""

    def run(*arguments: str) -> tuple[int, str]:
        command = [*arguments, "--data", str(tmp_path / "data")]
        code = cli.app(command, standalone_mode=False, prog_name="zing")
        return code or 0, capsys.readouterr().out

    return run


@pytest.fixture
def zing(run: Callable[..., tuple[int, str]]) -> Callable[..., Any]:
    """What a command printed as JSON."""
    return lambda *arguments: json.loads(run(*arguments, "--json")[1])


@pytest.fixture
def shop(zing: Callable[..., Any]) -> dict[str, str]:
    """A key with credits."""
    made: dict[str, str] = zing("keys", "create", "shop", "--credits", "1")
    return made


@pytest.fixture
def task_id(tmp_path: Path, shop: dict[str, str]) -> str:
    """A task of the shop's that was cancelled, whose callback was tried once."""
    return owed(tmp_path, shop["key"])


def owed(tmp_path: Path, key: str) -> str:
    with opened(str(tmp_path / "data"), "") as service:
        asked = ImageRequest("a red circle", 512, 512, callback_url=URL)
        view = service.submit(Asking(service.authenticate(key), evolink, asked, {})).view
        assert view is not None
        now = service.clock()

        def act(tx: Any) -> None:
            queue.cancel(tx, view.task.public_id, None, now)
            (due,) = outbox.due(tx, now, 1, Hands(Bounds()))
            (held,) = outbox.claim(tx, {due.id: None}, now, now + 15)
            made = Record(held, Attempt(1, now, 0.25, 503, ""), DeliveryState.EXHAUSTED, now)
            outbox.record(tx, [made])

        service.store.write(act)
    return view.task.public_id


def test_callbacks_are_listed_by_state_and_by_key(
    zing: Any, shop: dict[str, str], task_id: str, tmp_path: Path
) -> None:
    other = zing("keys", "create", "other", "--credits", "1")
    newer = owed(tmp_path, other["key"])
    assert [each["task"] for each in zing("callbacks", "list")] == [newer, task_id]
    assert [each["task"] for each in zing("callbacks", "list", "--limit", "1")] == [newer]
    assert [each["task"] for each in zing("callbacks", "list", "--key", "shop")] == [task_id]
    assert zing("callbacks", "list", "--state", "due") == []
    assert len(zing("callbacks", "list", "--state", "exhausted")) == 2
    with pytest.raises(UnknownKey):
        zing("callbacks", "list", "--key", "nobody")


def test_a_callback_is_shown_with_its_attempts_and_without_the_urls_query(
    zing: Any, shop: dict[str, str], task_id: str
) -> None:
    shown = zing("callbacks", "show", task_id)
    assert zing("callbacks", "show", shown["id"]) == shown
    assert shown["url"] == "https://hooks.example.com/done?…"
    assert (shown["host"], shown["state"]) == ("hooks.example.com", "exhausted")
    assert (shown["account"], shown["dialect"]) == (shop["account"], "evolink")
    (attempt,) = shown["attempts"]
    assert (attempt["number"], attempt["status"], attempt["took_s"]) == (1, 503, 0.25)
    with pytest.raises(UnknownTask, match="no callback 'msg_none'"):
        zing("callbacks", "show", "msg_none")


def test_a_callback_is_made_due_again(zing: Any, task_id: str) -> None:
    (again,) = zing("callbacks", "resend", task_id)
    assert (again["state"], again["attempt"], again["ended_at"]) == ("due", 0, None)
    assert again["next_at"] <= time.time()
    assert [each["number"] for each in zing("callbacks", "show", task_id)["attempts"]] == [1]
    with pytest.raises(UnknownTask):
        zing("callbacks", "resend", task_id, "msg_none")


def test_where_one_is_unknown_nothing_is_sent_again(zing: Any, task_id: str) -> None:
    with pytest.raises(UnknownTask):
        zing("callbacks", "resend", task_id, "msg_none")
    assert zing("callbacks", "show", task_id)["state"] == "exhausted"


def test_a_person_reads_tables(run: Any, task_id: str) -> None:
    _, listed = run("callbacks", "list")
    titles, row = (line.split() for line in listed.splitlines())
    assert titles == ["id", "state", "attempt", "host", "task"]
    assert row[1:] == ["exhausted", "1", "hooks.example.com", task_id]
    _, shown = run("callbacks", "show", task_id)
    assert shown.splitlines()[-1].split() == ["1", "0.25", "s", "It", "answered", "503."]
    assert "hunter2" not in listed + shown


# zing callbacks secret


def test_the_secret_is_the_accounts_until_it_is_rotated(zing: Any, shop: dict[str, str]) -> None:
    zing("keys", "create", "second", "--account", shop["account"])
    first = zing("callbacks", "secret", "shop")
    assert first == zing("callbacks", "secret", "second")
    assert (first["account"], first["old_secret"]) == (shop["account"], None)
    rotated = zing("callbacks", "secret", "shop", "--rotate")
    assert rotated["secret"] != first["secret"]
    assert rotated["old_secret"] == first["secret"]
    assert zing("callbacks", "secret", "shop") == rotated
    zing("keys", "create", "stranger")
    assert zing("callbacks", "secret", "stranger")["secret"] not in {
        first["secret"],
        rotated["secret"],
    }


def test_a_script_reads_nothing_but_the_secret(run: Any, zing: Any, shop: dict[str, str]) -> None:
    zing("callbacks", "secret", "shop", "--rotate")
    code, printed = run("callbacks", "secret", "shop")
    assert (code, printed) == (0, zing("callbacks", "secret", "shop")["secret"] + "\n")


# zing callbacks test


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Certificate:
    return authority.certificate("127.0.0.1")


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch, authority: Authority) -> Iterator[Any]:
    """This machine, as a host of the operator's own network."""
    monkeypatch.setenv("ZING_CALLBACK_PRIVATE", "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.folder / "ca.pem"))
    with only_loopback() as tried:
        yield tried


@pytest.mark.parametrize("dialect", ["evolink", "kie"])
def test_a_sample_is_signed_and_in_the_words_of_its_dialect(
    zing: Any, shop: dict[str, str], at_home: Any, certificate: Certificate, dialect: str
) -> None:
    with Receiver(answer(204), certificate) as receiver:
        url = f"{receiver.url}/done"
        facts = zing("callbacks", "test", url, "--key", "shop", "--dialect", dialect)
    assert (facts["taken"], facts["status"], facts["error"]) == (True, 204, "")
    (sent,) = receiver.requests
    text = zing("callbacks", "secret", "shop")["secret"]
    body = Webhook(text).verify(sent.body, sent.headers)
    assert sent.headers["webhook-id"] == facts["id"]
    assert sent.body == compact(body)  # the bytes that a server sends
    assert ("x-webhook-signature" in sent.headers) == (dialect == "kie")
    if dialect == "kie":
        assert (body["code"], body["data"]["state"]) == (200, "success")
        param = json.loads(body["data"]["param"])
        assert param == {
            "model": "z-image",
            "input": {"prompt": "a red circle", "aspect_ratio": "1:1"},
        }
    else:
        assert body["status"] == "completed"
        assert len(body["results"]) == 1


def test_a_sample_leaves_no_callback_behind(
    zing: Any, shop: dict[str, str], at_home: Any, certificate: Certificate
) -> None:
    with Receiver(certificate=certificate) as receiver:
        zing("callbacks", "test", f"{receiver.url}/", "--key", "shop")
    assert zing("callbacks", "list") == []
    assert zing("credits", "show", "shop")["available"] == 1


def test_a_sample_that_was_not_taken_is_exit_status_1(
    run: Any, zing: Any, shop: dict[str, str], at_home: Any, certificate: Certificate
) -> None:
    with Receiver(answer(500), certificate) as receiver:
        url = f"{receiver.url}/?token=hunter2"
        assert zing("callbacks", "test", url, "--key", "shop")["taken"] is False
        code, line = run("callbacks", "test", url, "--key", "shop")
    assert code == 1
    assert line.startswith("It was not taken, after 0.")
    assert line.endswith("It answered 500.\n")
    code, line = run("callbacks", "test", url, "--key", "shop")  # nobody listens there now
    assert code == 1
    assert "refused the connection" in line
    assert "hunter2" not in line


def test_a_sample_goes_nowhere_that_no_callback_goes(
    run: Any, shop: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with only_loopback():
        for url in ("http://127.0.0.1/", "https://127.0.0.1/", "https://a.example:22/", "x"):
            with pytest.raises(BadCallback):
                run("callbacks", "test", url, "--key", "shop")
        code, line = run("callbacks", "test", "https://proxy.kie.ai/", "--key", "shop")
        assert code == 1
        assert "The operator forbids" in line
        monkeypatch.setenv("ZING_CALLBACK_PORTS", "all")
        with pytest.raises(BadSetting):
            run("callbacks", "test", URL, "--key", "shop")


def test_a_sample_needs_a_key_that_is_there(run: Any, at_home: Any) -> None:
    with pytest.raises(UnknownKey):
        run("callbacks", "test", "https://127.0.0.1:1/", "--key", "nobody")
