"""The data folder: what zing keeps on this machine, readable by its owner alone."""

import logging
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from zing.errors import BadSetting

SECRET_BYTES = 32
OTHERS = 0o077  # the bits of a mode that are for others than the owner
_SECRET = re.compile(rf"[0-9a-f]{{{2 * SECRET_BYTES}}}")
_OURS = re.compile(r"secret|first-key|models|pictures|zing\.db.*|lost\+found|\..*-[0-9a-f]{16}")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Data:
    """The places in a data folder."""

    root: Path

    @property
    def database(self) -> Path:
        """The SQLite database that is used where no other is named."""
        return self.root.absolute() / "zing.db"

    @property
    def pictures(self) -> Path:
        """The folder of the pictures."""
        return self.root / "pictures"

    @property
    def first_key(self) -> Path:
        """The file with the key that the first start made."""
        return self.root / "first-key"

    @property
    def private(self) -> list[tuple[Path, int]]:
        """What is for its owner alone, the folder first, each with its mode."""
        files = [self.root / "secret", self.first_key, *self.root.glob(f"{self.database.name}*")]
        return [(self.root, 0o700), (self.pictures, 0o700), *((each, 0o600) for each in files)]

    def make(self) -> None:
        """Make the folder, for its owner alone; what of zing's others may open is closed.

        A folder that holds other things too stays as open as it is: who may open those is not for
        zing to say. Raises BadSetting where it cannot be written.
        """
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(self.root, os.W_OK | os.X_OK):
                raise BadSetting(f"{self.root} cannot be written; choose another with --data.")
            ours = self._is_ours()
        except OSError as error:
            raise BadSetting(f"{self.root} cannot be made: {error.strerror}.") from None
        for path, _ in self.private if ours else self.private[1:]:
            _close(path)
        if not ours and self.root.stat().st_mode & OTHERS:
            log.warning("others may open %s, which holds other things than zing's too", self.root)

    def _is_ours(self) -> bool:
        """Whether the folder holds nothing but what is zing's."""
        return all(_OURS.fullmatch(each.name) for each in self.root.iterdir())

    def secret_is_damaged(self) -> bool:
        """Whether there is a secret and it is none that was made here."""
        path = self.root / "secret"
        return path.is_file() and not _SECRET.fullmatch(_read(path))

    def secret(self) -> bytes:
        """The secret that keys and links are checked with; made at the first call.

        Whoever changes it ends every key and every link.
        """
        path = self.root / "secret"
        try:
            write_once(path, secrets.token_hex(SECRET_BYTES) + "\n")
            text = _read(path)
        except OSError as error:
            raise BadSetting(f"{path} cannot be read: {error.strerror}.") from None
        if not _SECRET.fullmatch(text):
            raise BadSetting(f"{path} is damaged; put back the one that was there.")
        return bytes.fromhex(text)


def _close(path: Path) -> None:
    """Take from others what they may do with a file or folder, where there is one.

    What a link leads to, which may be more than zing's, stays as it is.
    """
    facts = None if path.is_symlink() or not path.exists() else path.stat()
    if facts is None or not facts.st_mode & OTHERS:
        return
    try:
        path.chmod(facts.st_mode & 0o700)
    except OSError as error:
        log.warning("others may open %s, and it cannot be closed: %s", path, error.strerror)
    else:
        log.warning("others could open %s; it is closed now", path)


def _read(path: Path) -> str:
    return path.read_text(encoding="ascii", errors="replace").strip()


def replace(path: Path, text: str) -> None:
    """Write a file (0600) that is there whole or not at all."""
    with _written(path, text) as partial:
        partial.replace(path)


def write_once(path: Path, text: str) -> None:
    """The same where no such file is there; another one that is there stays."""
    with _written(path, text) as partial, suppress(FileExistsError):
        os.link(partial, path)


@contextmanager
def _written(path: Path, text: str) -> Iterator[Path]:
    """A file beside `path` with this text on the disk; removed at the end."""
    partial = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield partial
    finally:
        partial.unlink(missing_ok=True)
