"""Picture bytes through obstore, each written once, and the signed links that open them.

A link holds all that is needed to check it: the file's id, when it ends and a signature. So it
needs no key, cannot be guessed and cannot be made to live longer.
"""

import hashlib
import hmac
import logging
import math
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import obstore
from obstore.store import LocalStore

from zing.errors import BadSetting

MEDIA_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".avif": "image/avif",
}
LINK_PATH = "/f/"
_NUMBER = re.compile(r"\(os error (\d+)\)", re.ASCII)  # how obstore words the system's errors
_LINK = re.compile(r"([a-z0-9_]{4,40})-([0-9]{9,11})-([0-9a-f]{32})(\.[a-z]{3,4})", re.ASCII)

log = logging.getLogger(__name__)


class Blobs:
    """The bytes of pictures, in a folder."""

    def __init__(self, folder: Path) -> None:
        try:
            self._store = LocalStore(str(folder.absolute()), mkdir=True)
            folder.chmod(0o700)
        except (OSError, obstore.exceptions.BaseError):
            raise BadSetting(f"{folder} cannot be made for the pictures.") from None
        self._folder = folder.absolute()

    @property
    def folder(self) -> Path:
        """Where they are."""
        return self._folder

    def put(self, key: str, data: bytes) -> None:
        """Keep bytes under a new key; they are on the disk when this returns.

        Raises OSError, with the system's number where there is one.
        """
        try:
            obstore.put(self._store, key, data, mode="create")
        except obstore.exceptions.BaseError as error:
            raise _system_error(str(error).splitlines()[0]) from None
        path = self._folder / key
        for each in (path, *path.relative_to(self._folder).parents):
            _sync(self._folder / each)

    def get(self, key: str) -> bytes | None:
        """The bytes of a key; None where there are none."""
        try:
            return bytes(obstore.get(self._store, key).bytes())
        except FileNotFoundError:
            return None

    def part(self, key: str, start: int, end: int) -> bytes | None:
        """The bytes of a key from one place to before another; None where there are none."""
        try:
            return bytes(obstore.get_range(self._store, key, start=start, end=end))
        except FileNotFoundError:
            return None

    def delete(self, keys: Iterable[str]) -> None:
        """Remove the bytes of these keys; it is fine where they are gone already.

        What cannot be removed stays and keeps no other from being removed: as bytes of nobody it
        is tried again.
        """
        for key in keys:
            try:
                obstore.delete(self._store, key)
            except FileNotFoundError:
                continue
            except obstore.exceptions.BaseError as error:
                log.warning("%s cannot be removed: %s", key, str(error).splitlines()[0])

    def written_before(self, time: float) -> Iterator[list[str]]:
        """The keys of everything written before a time (UTC seconds), some at a time."""
        for batch in obstore.list(self._store, chunk_size=500):
            moment = datetime.fromtimestamp(time, UTC)
            yield [each["path"] for each in batch if each["last_modified"] < moment]

    def remove_cut(self, time: float) -> None:
        """Remove what interrupted puts left before a time: files `NAME#1`, which nobody lists."""
        for path in self._folder.rglob("*#*"):
            with suppress(OSError):  # it was whole just now, or stays until the next time
                if path.stat().st_mtime < time:
                    path.unlink()


class Links:
    """Signs and checks links to files; `origin` is what every link starts with."""

    def __init__(self, secret: bytes, origin: str) -> None:
        self._key = hmac.digest(secret, b"links", "sha256")
        self.origin = origin.rstrip("/")

    def sign(self, file_id: str, expires_at: float, suffix: str) -> str:
        """The link to a file until it ends."""
        ends = str(math.ceil(expires_at))
        signature = self._signature(file_id, ends, suffix)
        return f"{self.origin}{LINK_PATH}{file_id}-{ends}-{signature}{suffix}"

    def check(self, name: str) -> tuple[str, int] | None:
        """The file's id and the link's end (UTC seconds) where the signature is ours."""
        match = _LINK.fullmatch(name)
        if match is None:
            return None
        file_id, ends, signature, suffix = match.groups()
        if not hmac.compare_digest(signature, self._signature(file_id, ends, suffix)):
            return None
        return file_id, int(ends)

    def _signature(self, file_id: str, ends: str, suffix: str) -> str:
        message = f"{file_id}-{ends}{suffix}".encode()
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()[:32]


def _system_error(text: str) -> OSError:
    number = _NUMBER.search(text)
    return OSError(int(number[1]), text) if number else OSError(text)


def _sync(path: Path) -> None:
    """A row that points to a picture is durable at once, so the picture must be too."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
