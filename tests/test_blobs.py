"""Pictures' bytes are written once; links open one file, until their time, unchanged."""

import errno
import os
import resource
import string
import time
from pathlib import Path

import obstore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zing import pictures
from zing.blobs import LINK_PATH, MEDIA_TYPES, Blobs, Links
from zing.errors import BadSetting

EXPIRES = 1_760_086_400.0
FILE = "f0123456789abcdef01234567"
KEY = "2025-10-09/a.png"


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    """An empty folder of pictures."""
    return Blobs(tmp_path / "pictures")


@pytest.fixture
def links() -> Links:
    """Links of a service."""
    return Links(b"s" * 32, "https://example.com/")


def name_of(link: str) -> str:
    return link.rpartition("/")[2]


def test_what_is_put_is_there(blobs: Blobs, tmp_path: Path) -> None:
    blobs.put(KEY, b"bytes \x00\xff")
    assert blobs.get(KEY) == b"bytes \x00\xff"
    assert Blobs(tmp_path / "pictures").get(KEY) == b"bytes \x00\xff"


def test_the_folder_is_for_its_owner_alone(blobs: Blobs, tmp_path: Path) -> None:
    assert (tmp_path / "pictures").stat().st_mode & 0o777 == 0o700


def test_a_key_is_written_once(blobs: Blobs) -> None:
    blobs.put(KEY, b"first")
    with pytest.raises(OSError, match="exists"):
        blobs.put(KEY, b"second")
    assert blobs.get(KEY) == b"first"


def test_what_is_not_there_is_none(blobs: Blobs) -> None:
    assert blobs.get("2025-10-09/nothing.png") is None
    assert blobs.get("nothing.png") is None


def test_what_is_deleted_is_gone_and_may_be_deleted_again(blobs: Blobs) -> None:
    blobs.put(KEY, b"bytes")
    blobs.put("2025-10-09/b.png", b"others")
    for _ in range(2):
        blobs.delete([KEY, "2025-10-09/nothing.png"])
    assert blobs.get(KEY) is None
    assert blobs.get("2025-10-09/b.png") == b"others"


def test_deleting_goes_on_past_what_is_gone(blobs: Blobs) -> None:
    blobs.put(KEY, b"bytes")
    blobs.delete(iter(["gone.png", KEY]))
    assert blobs.get(KEY) is None


def test_deleting_goes_on_past_what_cannot_be_deleted(blobs: Blobs, tmp_path: Path) -> None:
    """A folder in a picture's place is one way; a disk with a bad block is another."""
    stuck = "2025-10-09/stuck.png"
    (tmp_path / "pictures" / stuck / "inside").mkdir(parents=True)
    blobs.put(KEY, b"bytes")
    blobs.delete([stuck, KEY])
    assert blobs.get(KEY) is None


def test_cut_puts_go_on_being_removed_past_one_that_cannot_be(blobs: Blobs, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    (folder / "a.png#1").mkdir()
    (folder / "b.png#1").write_bytes(b"ha")
    blobs.remove_cut(time.time() + 60)
    assert [each.name for each in folder.iterdir()] == ["a.png#1"]


def test_bytes_that_cannot_be_written_are_an_os_error(blobs: Blobs, tmp_path: Path) -> None:
    """A worker fails the task for it and lives on."""
    (tmp_path / "pictures" / "2025-10-09").write_text("not a folder")
    with pytest.raises(OSError, match=r"."):
        blobs.put(KEY, b"bytes")


def test_an_error_of_the_system_keeps_its_number(blobs: Blobs) -> None:
    """By which a full disk is told from a broken one."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large") as refused:
            blobs.put(KEY, bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert refused.value.errno == errno.EFBIG
    blobs.put("2025-10-09/b.png", bytes(2000))


def test_what_is_old_is_listed_and_what_is_new_is_not(blobs: Blobs, tmp_path: Path) -> None:
    now = time.time()
    for age in (0, 100, 200):
        blobs.put(f"{age}/a.png", b"bytes")
        os.utime(tmp_path / "pictures" / str(age) / "a.png", (now - age, now - age))
    old = [key for batch in blobs.written_before(now - 150) for key in batch]
    assert old == ["200/a.png"]
    old = [key for batch in blobs.written_before(now - 50) for key in batch]
    assert sorted(old) == ["100/a.png", "200/a.png"]


def test_many_are_listed_some_at_a_time(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "pictures")
    for number in range(1100):
        (tmp_path / "pictures" / f"{number:04}.png").touch()
    batches = list(blobs.written_before(time.time() + 60))
    assert sorted(key for batch in batches for key in batch) == [f"{n:04}.png" for n in range(1100)]
    assert max(map(len, batches)) <= 500


def test_an_empty_folder_lists_nothing(blobs: Blobs) -> None:
    assert [key for batch in blobs.written_before(time.time()) for key in batch] == []


def test_keys_cannot_leave_the_folder(blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    for key in ("../secret", "a/../../secret", "/../secret"):
        try:
            assert blobs.get(key) is None
        except (OSError, ValueError, obstore.exceptions.BaseError):
            continue


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(BadSetting, match="pictures"):
            Blobs(folder)


def test_a_link_says_where_and_is_checked(links: Links) -> None:
    link = links.sign(FILE, EXPIRES, ".webp")
    assert link.startswith(f"https://example.com{LINK_PATH}{FILE}-{EXPIRES:.0f}-")
    assert link.endswith(".webp")
    assert links.check(name_of(link)) == (FILE, int(EXPIRES))


def test_a_link_lives_no_shorter_than_its_file(links: Links) -> None:
    assert links.check(name_of(links.sign(FILE, EXPIRES + 0.001, ".png"))) == (
        FILE,
        int(EXPIRES) + 1,
    )


def test_the_same_file_has_the_same_link(links: Links) -> None:
    assert links.sign(FILE, EXPIRES, ".png") == links.sign(FILE, EXPIRES, ".png")


def test_a_link_changed_in_any_character_is_none(links: Links) -> None:
    name = name_of(links.sign(FILE, EXPIRES, ".png"))
    letters = string.digits + string.ascii_letters + "-_.%/ \n\0é٤"
    for place, letter in enumerate(name):
        for other in letters:
            if other != letter:
                changed = name[:place] + other + name[place + 1 :]
                assert links.check(changed) is None, changed
        assert links.check(name[:place] + name[place + 1 :]) is None
        assert links.check(name[:place] + "0" + name[place:]) is None


def test_a_link_of_another_secret_is_none(links: Links) -> None:
    other = Links(b"t" * 32, "https://example.com")
    assert links.check(name_of(other.sign(FILE, EXPIRES, ".png"))) is None


def test_the_parts_of_two_links_do_not_make_a_third(links: Links) -> None:
    one = name_of(links.sign(FILE, EXPIRES, ".png")).split("-")
    other = name_of(links.sign("f" + "9" * 24, EXPIRES + 60, ".png")).split("-")
    for place in range(3):
        mixed = [*one[:place], other[place], *one[place + 1 :]]
        assert links.check("-".join(mixed)) is None


def test_a_link_to_another_kind_of_file_is_none(links: Links) -> None:
    name = name_of(links.sign(FILE, EXPIRES, ".png"))
    assert links.check(name.replace(".png", ".webp")) is None


@pytest.mark.parametrize("suffix", MEDIA_TYPES)
def test_every_kind_of_picture_can_be_linked(links: Links, suffix: str) -> None:
    assert links.check(name_of(links.sign(FILE, EXPIRES, suffix))) is not None


def test_every_format_has_its_media_type() -> None:
    assert MEDIA_TYPES.keys() == pictures.FORMATS.keys()
    assert all(kind.startswith("image/") for kind in MEDIA_TYPES.values())


@given(st.text())
def test_no_text_is_a_link(name: str) -> None:
    assert Links(b"s" * 32, "").check(name) is None
