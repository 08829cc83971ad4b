"""Addresses with a part that a caller writes: whatever stands there, no byte of a file comes out.

Over sockets, with the address as it is written: a client would tidy it up.
"""

import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.edges import connect, request, rest
from tests.servers import Server, ended, new_key, submit
from zing import documents
from zing.blobs import Links
from zing.data import Data

NOTHING = {404, 401, 403}  # 410 only for a link that was one
PREFIXES = ["/f/", "/docs/", "/v1/tasks/", "/v1/tasks/x/../", "/"]
PAGES = ("/", "/docs", "/v1/tasks")
PICTURE = (b"RIFF", b"\x89PNG", b"\xff\xd8\xff", b"ftypavif")

UP = ["../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%252f", "%252e%252e%252f", "..\\", "..%5c"]
UP += [
    "..%255c",
    "..%c0%af",
    "..%e0%80%af",
    "%c0%ae%c0%ae/",
    "..%c1%9c",
    "..;/",
    "..%3b/",
    "....//",
]
UP += ["..././", ".%2e/", "..%00/", "..%0d%0a/", "..%ef%bc%8f", "..%u2215", "%uff0e%uff0e/"]
UP += [".%00./", "..//", "..%2f%2f", "%e2%80%a5/", "..%e2%88%95", "./.././", "x/../../"]
WANTED = ["secret", "zing.db", "first-key", "etc/passwd"]
CLIMBS = [f"{up * depth}{name}" for up in UP for depth in (1, 6) for name in WANTED[::2]]
PLAIN = """
/etc/passwd //etc/passwd ///etc/passwd %2fetc%2fpasswd %2f%2fetc/passwd file:///etc/passwd
file:%2f%2f%2fetc%2fpasswd C:\\Windows\\win.ini C:/Windows/win.ini c%3a%5cboot.ini
\\\\host\\share\\x %5c%5chost%5cshare /proc/self/environ proc/self/environ proc/self/fd/0
/dev/stdin dev/fd/0 /dev/zero CON con.png NUL nul.webp AUX PRN COM1 LPT1.png
secret secret%00.png first-key%00.webp zing.db zing.db-wal pictures pictures/ pictures/.. .
.. ./ ../ ... %2e %2e%2e ~ ~/ ~root/.ssh/id_rsa $HOME ${HOME} $(id) `id` |id ;id %0a %0d%0aX:y %00
* ? ?x # x%0a .git/config .env .htaccess style.css/../../secret style.css%00
kie.json%2f..%2f..%2fsecret http://127.0.0.1/secret http:%2f%2f127.0.0.1%2fsecret //127.0.0.1/secret
@127.0.0.1/secret
""".split()
PAYLOADS = list(
    dict.fromkeys([*CLIMBS, *PLAIN, "a" * 7000, "%2e%2e%2f" * 700, "../" * 2000 + "secret"])
)


def fetch(server: Server, path: str, *headers: str, method: str = "GET") -> tuple[int, bytes]:
    """The status and all that follows it."""
    sent = request(path, "Connection: close", *headers, method=method)
    with connect(int(server.url.rpartition(":")[2])) as peer:
        peer.sendall(sent)
        answer = rest(peer)
    return int(answer.split()[1]), answer


@pytest.fixture(scope="module")
def treasures(server: Server) -> list[bytes]:
    """What stands in files that nobody may read."""
    first = (server.data / "first-key").read_bytes().strip()
    secret = (server.data / "secret").read_bytes().strip()
    return [first, secret, b"SQLite format", b"root:x:", b"PATH=", *PICTURE]


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda text: text[:40])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_no_address_leads_to_a_file(
    prefix: str, payload: str, server: Server, treasures: list[bytes]
) -> None:
    key = f"Authorization: Bearer {server.key}"
    path = prefix + payload
    known = is_page(path)
    for headers in ((), (key,)):
        status, answer = fetch(server, path, *headers)
        assert status in NOTHING or (status == 200 and known), answer[:200]
        assert not any(each in answer for each in treasures)


def is_page(path: str) -> bool:
    """Whether an address is one of the pages that everybody may see, or a list of one's own."""
    return path.partition("?")[0].partition("#")[0].removesuffix("%0a") in PAGES


@pytest.mark.parametrize("payload", [*PLAIN, *CLIMBS[:40]], ids=lambda text: text[:40])
@pytest.mark.parametrize(
    ("method", "suffix"), [("GET", "/events"), ("POST", "/cancel"), ("DELETE", "")]
)
def test_no_task_is_found_by_an_odd_id(
    method: str, suffix: str, payload: str, server: Server
) -> None:
    path = f"/v1/tasks/{payload.partition('?')[0].partition('#')[0]}{suffix}"
    status, _ = fetch(server, path, f"Authorization: Bearer {server.key}", method=method)
    assert status in NOTHING | {405}, path
    assert fetch(server, path, method=method)[0] in NOTHING | {405}


def test_an_address_that_is_too_long_is_refused(server: Server) -> None:
    for path in ("/f/" + "a" * 8190, "/f/" + "../" * 10_000):
        assert fetch(server, path)[0] in (404, 414)


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics", *documents.PATHS])
def test_a_line_break_after_an_address_makes_no_error(path: str, server: Server) -> None:
    assert fetch(server, f"{path}%0a")[0] == 200
    assert fetch(server, f"{path}%0a%0a")[0] == 404


# Links


class Drawn:
    """A picture: its link's parts, and where its bytes are."""

    def __init__(self, server: Server) -> None:
        self.task = submit(server)
        (link,) = ended(server, self.task)["results"]
        self.path = link.removeprefix(server.url)
        name, _, suffix = self.path.removeprefix("/f/").rpartition(".")
        self.file, self.ends, self.signature = name.split("-")
        self.suffix = f".{suffix}"
        with sqlite3.connect(f"file:{server.data}/zing.db?mode=ro", uri=True) as opened:
            query = "SELECT i.id, blob_key FROM file, installation i WHERE file.id = ?"
            folder, key = opened.execute(query, (self.file,)).fetchone()
        self.blob = server.data / "pictures" / folder / key

    def link(self, **parts: str) -> str:
        """The path of its link with other parts."""
        shown = {"file": self.file, "ends": self.ends, "signature": self.signature}
        shown |= {"suffix": self.suffix} | parts
        return "/f/{file}-{ends}-{signature}{suffix}".format(**shown)


@pytest.fixture(scope="module")
def drawn(server: Server) -> Drawn:
    return Drawn(server)


@pytest.fixture(scope="module")
def links(server: Server) -> Links:
    """Makes links as the service does."""
    return Links(Data(server.data).secret(), "")


def test_its_own_link_opens_a_picture(server: Server, drawn: Drawn) -> None:
    status, answer = fetch(server, drawn.path)
    assert status == 200
    assert answer.endswith(drawn.blob.read_bytes())


def forged(drawn: Drawn, other: Drawn) -> Iterator[str]:
    """Links that nobody signed."""
    end, sign = int(drawn.ends), drawn.signature
    yield from (drawn.link(ends=str(end + more)) for more in (1, -1, 86_400, 10**9))
    yield from (drawn.link(ends=word) for word in ("0", "9" * 11, "-1", f"0{end}", f"{end}.0", ""))
    yield from (
        drawn.link(ends=word) for word in ("1e10", "%ef%bc%91" * 10, f"+{end}", f"%20{end}")
    )
    yield from (drawn.link(suffix=word) for word in (".png", ".jpg", ".avif", ".WEBP", ".svg", ""))
    yield from (
        drawn.link(suffix=f"{drawn.suffix}{word}") for word in ("%00", "%00.png", "/", "/..", ";a")
    )
    yield from (drawn.link(suffix=word) for word in (".html", ".webp.webp", ".webp%20", ".webp%0a"))
    yield from (
        drawn.link(signature=word) for word in ("", "0" * 32, sign.upper(), sign[:-1], sign * 2)
    )
    yield from (drawn.link(signature=f"{sign}{word}") for word in ("0", "%00", "%20", "-", "%0a"))
    yield drawn.link(signature=sign[:31] + ("0" if sign[31] != "0" else "1"))
    yield drawn.link(signature=other.signature)
    yield drawn.link(file=other.file)
    yield drawn.link(file=other.file, ends=other.ends)
    yield from (drawn.link(file=word) for word in ("", "f", drawn.file[:-1], drawn.file.upper()))
    yield from (
        drawn.link(file=word) for word in ("../secret", "..%2fsecret", "*", "%25", "_" * 25)
    )
    yield from (drawn.path.replace("/f/", word) for word in ("/F/", "/f//", "/files/", "/f/./f/"))
    yield from (drawn.path.replace("/f/", word) for word in ("/f/%2e/", "/f%2f%2f", "/f/x/../"))


def test_no_forged_link_opens_a_picture(
    server: Server, drawn: Drawn, treasures: list[bytes]
) -> None:
    tried = list(forged(drawn, Drawn(server)))
    assert len(tried) > 50
    for path in tried:
        status, answer = fetch(server, path)
        assert status == 404, path
        assert not any(each in answer for each in treasures)


def test_no_guessed_link_opens_a_picture(server: Server, drawn: Drawn) -> None:
    pick = random.Random(7)  # the same guesses each time
    for _ in range(100):
        guess = f"{pick.getrandbits(128):032x}"
        assert fetch(server, drawn.link(signature=guess))[0] == 404
        named = f"f{pick.getrandbits(96):024x}"
        assert fetch(server, drawn.link(file=named, signature=guess))[0] == 404


def test_a_link_of_another_services_secret_opens_nothing(server: Server, drawn: Drawn) -> None:
    other = Links(b"s" * 32, "")
    assert fetch(server, other.sign(drawn.file, int(drawn.ends), drawn.suffix))[0] == 404


def test_a_link_whose_time_is_over_says_so(
    server: Server, drawn: Drawn, links: Links, treasures: list[bytes]
) -> None:
    for end in (1_000_000_000, time.time() - 2):
        status, answer = fetch(server, links.sign(drawn.file, end, drawn.suffix))
        assert status == 410
        assert not any(each in answer for each in treasures)


def test_a_signature_does_not_outlive_the_file(server: Server, drawn: Drawn, links: Links) -> None:
    """Were the secret known: an id that is none opens nothing, whatever it looks like."""
    for name in ("f" + "0" * 24, "secret", "first_key", "zing", "a" * 40):
        assert fetch(server, links.sign(name, time.time() + 1000, ".webp"))[0] == 410


def test_the_link_of_a_picture_that_was_deleted_says_so(server: Server) -> None:
    gone = Drawn(server)
    with sqlite3.connect(server.data / "zing.db") as opened:
        opened.execute("UPDATE file SET deleted_at = 1 WHERE id = ?", (gone.file,))
    assert fetch(server, gone.path)[0] == 410


@pytest.mark.parametrize(
    "target",
    [
        "/etc/passwd",
        "/dev/zero",
        "/proc/self/environ",
        "secret",
        "first-key",
        "zing.db",
        "picture",
        "folder",
        "nothing",
        "itself",
    ],
)
def test_a_link_in_a_pictures_place_is_not_followed(
    target: str, server: Server, drawn: Drawn, treasures: list[bytes], tmp_path: Path
) -> None:
    kept = drawn.blob.read_bytes()
    (tmp_path / "picture").write_bytes(kept)
    to = {"picture": tmp_path / "picture", "folder": tmp_path, "itself": drawn.blob}
    to["nothing"] = tmp_path / "nothing"
    drawn.blob.unlink()
    drawn.blob.symlink_to(to.get(target, server.data / target))
    try:
        status, answer = fetch(server, drawn.path)
    finally:
        drawn.blob.unlink()
        drawn.blob.write_bytes(kept)
    assert status == 410
    assert not any(each in answer for each in treasures)
    assert fetch(server, drawn.path)[0] == 200


def test_a_folder_of_pictures_that_is_a_link_is_not_followed(
    server: Server, drawn: Drawn, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    drawn.blob.parent.rename(moved)
    drawn.blob.parent.symlink_to(moved)
    try:
        assert fetch(server, drawn.path)[0] == 410
    finally:
        drawn.blob.parent.unlink()
        moved.rename(drawn.blob.parent)


def test_anothers_task_is_none(server: Server, drawn: Drawn) -> None:
    key = f"Authorization: Bearer {new_key(server)}"
    for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("DELETE", "")):
        status, answer = fetch(server, f"/v1/tasks/{drawn.task}{path}", key, method=method)
        assert status == 404
        assert drawn.file.encode() not in answer


def test_there_are_as_many_cases_as_were_asked_for() -> None:
    assert len(PAYLOADS) * len(PREFIXES) >= 250
