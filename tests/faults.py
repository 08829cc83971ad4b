"""The Nth write, sync, put or send fails, once or from then on: SQLite's I/O error loop for zing.

Each kind of operation is counted where it happens and fails where a plan says so:

- SQLite's own writes and syncs, below SQLite: a file system layer (VFS) before the system's, which
  writes half and says that the disk is full, or says that a sync failed. What SQLite makes of it is
  SQLite's. Its shared memory and its locks are not touched.
- Statements and commits, in the driver: on SQLite the driver's error is raised in its place, on
  PostgreSQL the connection is really cut, so the error is the driver's own. A commit may also be
  done and its answer lost.
- Puts and deletes of obstore at its functions, for what it does inside no Python sees; a put that
  fails leaves half a file as a process that dies does. Syncs of pictures at os.fsync.
- Callbacks at the sockets' reads and writes below the door.

What a real disk does when it is full is in test_faults.py too, on a small file system.
"""

import ctypes
import errno
import os
import socket
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import httpcore2
import obstore
import pytest
from sqlalchemy import Engine, event

from zing.store import Store


class Kind(StrEnum):
    """What can fail. ANSWERED and PUT_DONE took effect: what is lost is the answer."""

    WRITE = "a write of SQLite's files"
    SYNC = "a sync of SQLite's files"
    STATEMENT = "a statement that writes"
    COMMIT = "a commit"
    ANSWERED = "the answer to a commit"
    CONNECT = "a connection to the database"
    PUT = "a put of a picture"
    PUT_DONE = "the answer to a put"
    FSYNC = "a sync of a file of ours"
    DELETE = "a delete of a picture"
    CALL = "a connection to a receiver"
    SEND = "a write to a receiver"
    READ = "a read of a receiver's answer"
    PAGE = "a page of a file system"


# What fails together where a fault stays: a disk that is full or broken, a server that is away.
_TOGETHER = [
    {Kind.WRITE, Kind.PUT},
    {Kind.SYNC, Kind.FSYNC},
    {Kind.STATEMENT, Kind.COMMIT, Kind.CONNECT},
    {Kind.CALL, Kind.SEND},
]


@dataclass(frozen=True)
class Plan:
    """Which operation fails: the Nth of its kind, and where it stays so all after it."""

    kind: Kind
    number: int
    stays: bool = False

    def __str__(self) -> str:
        return f"{self.kind} number {self.number}{' and all after it' if self.stays else ''}"


class Faults:
    """Counts operations by kind and says which fail.

    counts  how many of each kind there were, of all lives or of the one that began last
    struck  where plans have struck: the kind, and the table that was written to
    """

    def __init__(self) -> None:
        self.counts: Counter[Kind] = Counter()
        self.struck: Counter[tuple[Kind, str]] = Counter()
        self.hits = 0
        self._plan: Plan | None = None
        self._lock = threading.Lock()
        self._about = threading.local()

    def begin(self, plan: Plan | None) -> None:
        """Count anew, and fail as planned."""
        with self._lock:
            self.counts.clear()
            self.hits = 0
            self._plan = plan

    def lift(self) -> None:
        """Nothing fails any more."""
        self._plan = None

    @property
    def lasting(self) -> bool:
        """Whether something has failed and fails still."""
        plan = self._plan
        return plan is not None and plan.stays and self.hits > 0

    def about(self, what: str) -> None:
        """What this thread's operations are about now."""
        self._about.what = what

    def strikes(self, kind: Kind) -> bool:
        """Count an operation; whether it fails."""
        with self._lock:
            self.counts[kind] += 1
            if not self._falls(kind):
                return False
            self.hits += 1
            self.struck[kind, getattr(self._about, "what", "")] += 1
            return True

    def _falls(self, kind: Kind) -> bool:
        plan = self._plan
        if plan is None:
            return False
        if kind is plan.kind and self.counts[kind] == plan.number:
            return True
        if not (plan.stays and self.hits):
            return False
        return kind is plan.kind or any({kind, plan.kind} <= each for each in _TOGETHER)


# SQLite's files, below SQLite. The layouts are sqlite3.h's; the whole structs are copied, so that
# what is not named here goes the system's way.

_OK, _FULL, _IOERR_FSYNC, _IOERR_TRUNCATE = 0, 13, 10 | 4 << 8, 10 | 6 << 8
_Write = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
)
_Sync = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
_Truncate = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int64)
_Open = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.c_int,
    ctypes.c_void_p,
)


class _Methods(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_int),
        ("close", ctypes.c_void_p),
        ("read", ctypes.c_void_p),
        ("write", _Write),
        ("truncate", _Truncate),
        ("sync", _Sync),
        ("rest", ctypes.c_void_p * 13),
    )


class _Layer(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_int),
        ("size_of_file", ctypes.c_int),
        ("path_max", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("open", _Open),
        ("rest", ctypes.c_void_p * 15),
    )


def _sqlite() -> Any:
    """The very library that Python's sqlite3 uses; None where it hides its functions."""
    import _sqlite3

    try:
        found = ctypes.CDLL(_sqlite3.__file__)
        found.sqlite3_vfs_find.restype = ctypes.POINTER(_Layer)
        found.sqlite3_libversion.restype = ctypes.c_char_p
    except AttributeError:
        return None
    same: bool = found.sqlite3_libversion().decode() == sqlite3.sqlite_version
    return found if same else None


def _text(address: int) -> bytes:
    return ctypes.string_at(address)


class Files:
    """A layer before SQLite's own, for the files below a folder that are opened while it stands."""

    def __init__(self, faults: Faults, folder: Path) -> None:
        self._faults = faults
        self._folder = str(folder).encode()
        self._library = _sqlite()
        self._real = self._library.sqlite3_vfs_find(None)
        self._opened = self._real.contents.open
        self._methods: dict[int, tuple[_Methods, _Methods]] = {}
        self._mine = _Layer.from_buffer_copy(self._real.contents)
        self._mine.name = b"faults"
        self._mine.open = _Open(self._open)

    def stand(self) -> None:
        """Be what databases are opened with."""
        assert self._library.sqlite3_vfs_register(ctypes.byref(self._mine), 1) == _OK

    def go(self) -> None:
        """Let databases be opened without it. Those that are open keep it, so it is kept too."""
        assert self._library.sqlite3_vfs_unregister(ctypes.byref(self._mine)) == _OK
        assert self._library.sqlite3_vfs_register(self._real, 1) == _OK
        _GONE.append(self)

    def _open(self, _layer: int, name: int | None, file: Any, flags: int, out: int) -> int:
        real = ctypes.cast(self._real, ctypes.c_void_p).value
        # The very pointer: SQLite goes on using the name after this.
        result: int = self._opened(real, name, file, flags, out)
        methods = file[0]
        if result == _OK and methods and name and _text(name).startswith(self._folder):
            file[0] = ctypes.addressof(self._failing(methods))
        return result

    def _failing(self, address: int) -> _Methods:
        """The methods at an address, but that writes, truncations and syncs may fail."""
        if address not in self._methods:
            real = _Methods.from_address(address)
            mine = _Methods.from_buffer_copy(real)
            mine.write = _Write(self._write(real.write))
            mine.truncate = _Truncate(self._truncate(real.truncate))
            mine.sync = _Sync(self._sync(real.sync))
            self._methods[address] = real, mine
        return self._methods[address][1]

    def _write(self, real: Any) -> Callable[[int, int, int, int], int]:
        def write(file: int, data: int, size: int, at: int) -> int:
            if not self._faults.strikes(Kind.WRITE):
                return int(real(file, data, size, at))
            real(file, data, size // 2, at)  # a disk that fills takes some of it
            return _FULL

        return write

    def _truncate(self, real: Any) -> Callable[[int, int], int]:
        def truncate(file: int, size: int) -> int:
            struck = self._faults.strikes(Kind.WRITE)
            return _IOERR_TRUNCATE if struck else int(real(file, size))

        return truncate

    def _sync(self, real: Any) -> Callable[[int, int], int]:
        def sync(file: int, flags: int) -> int:
            return _IOERR_FSYNC if self._faults.strikes(Kind.SYNC) else int(real(file, flags))

        return sync


# Open files point to their methods until the process ends.
_GONE: list[Files] = []


@contextmanager
def files(faults: Faults, folder: Path) -> Iterator[None]:
    """SQLite databases below a folder that are opened meanwhile can fail; skips if none can."""
    if _sqlite() is None:
        pytest.skip("this Python's SQLite hides the functions of its file system layer")
    layer = Files(faults, folder)
    layer.stand()
    try:
        yield
    finally:
        layer.go()


# The driver.


def attach(faults: Faults, store: Store) -> None:
    """Let what a store writes fail in its driver."""
    engine = store._writer
    for name in ("do_execute", "do_executemany"):
        event.listen(engine, name, _Statements(faults))
    event.listen(engine, "do_connect", _connect(faults))
    _commits(faults, engine)


class _Statements:
    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def __call__(self, cursor: Any, statement: str, _values: object, _context: object) -> None:
        words = statement.split()
        if words[0] not in ("INSERT", "UPDATE", "DELETE"):
            return
        table = words[1] if words[0] == "UPDATE" else words[2]
        self._faults.about(f"{words[0]} {table}")
        _written(cursor.connection, yes=True)
        if self._faults.strikes(Kind.STATEMENT):
            _break(cursor.connection)


def _connect(faults: Faults) -> Callable[..., None]:
    def connect(dialect: Any, *_: object) -> None:
        faults.about("connect")
        if dialect.name == "postgresql" and faults.strikes(Kind.CONNECT):
            raise dialect.dbapi.OperationalError("connection refused")

    return connect


def _commits(faults: Faults, engine: Engine) -> None:
    real = engine.dialect.do_commit

    def commit(pooled: Any) -> None:
        connection = pooled.dbapi_connection
        # What only looked makes nothing durable.
        writes = _written(connection, yes=False)
        if writes and faults.strikes(Kind.COMMIT):
            _break(connection)
        real(pooled)
        if writes and faults.strikes(Kind.ANSWERED):
            _break(connection)
            connection.execute("SELECT 1")

    engine.dialect.do_commit = commit  # type: ignore[method-assign]


_WRITTEN: set[int] = set()


def _written(connection: Any, yes: bool) -> bool:
    """Whether a connection's transaction has written; what is so from now on."""
    before = id(connection) in _WRITTEN
    (_WRITTEN.add if yes else _WRITTEN.discard)(id(connection))
    return before


def _break(connection: Any) -> None:
    """SQLite's error, or a connection that is cut."""
    if isinstance(connection, sqlite3.Connection):
        raise sqlite3.OperationalError("disk I/O error")
    # A socket of our own on the same connection: closing it closes nothing of the driver's.
    line = socket.socket(fileno=os.dup(connection.fileno()))
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
    line.close()


# Pictures.


@contextmanager
def pictures(faults: Faults) -> Iterator[None]:
    """Puts, deletes and syncs of files fail as planned."""
    put, delete, sync = obstore.put, obstore.delete, os.fsync

    def failing_put(store: Any, key: str, data: bytes, **options: Any) -> Any:
        faults.about("picture")
        if faults.strikes(Kind.PUT):
            _half(Path(store.prefix) / f"{key}#1", data)
            raise _error(key, errno.ENOSPC)
        made = put(store, key, data, **options)
        if faults.strikes(Kind.PUT_DONE):
            raise _error(key, errno.EIO)
        return made

    def failing_delete(store: Any, key: str) -> None:
        faults.about("picture")
        if faults.strikes(Kind.DELETE):
            raise _error(key, errno.EIO)
        delete(store, key)

    def failing_sync(handle: int) -> None:
        if faults.strikes(Kind.FSYNC):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(handle)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(obstore, "put", failing_put)
        patch.setattr(obstore, "delete", failing_delete)
        patch.setattr(os, "fsync", failing_sync)
        yield


def _half(path: Path, data: bytes) -> None:
    """What an interrupted put leaves."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data[: len(data) // 2])


def _error(key: str, number: int) -> Exception:
    words = f"{os.strerror(number)} (os error {number})"
    return obstore.exceptions.GenericError(f"Generic LocalFileSystem error: {key}: {words}")


# Callbacks.


@dataclass
class Line(httpcore2.AsyncNetworkBackend):
    """The door's way to sockets, where connecting, sending and reading fail as planned."""

    faults: Faults

    async def connect_tcp(self, *where: Any, **how: Any) -> httpcore2.AsyncNetworkStream:
        self.faults.about("callback")
        if self.faults.strikes(Kind.CALL):
            raise httpcore2.ConnectError("refused") from ConnectionRefusedError()
        return _Stream(await httpcore2.AnyIOBackend().connect_tcp(*where, **how), self.faults)


class _Stream(httpcore2.AsyncNetworkStream):
    def __init__(self, stream: httpcore2.AsyncNetworkStream, faults: Faults) -> None:
        self._stream = stream
        self._faults = faults

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        # What was sent has arrived: its answer is there, and lost.
        data = await self._stream.read(max_bytes, timeout)
        if self._faults.strikes(Kind.READ):
            await self.aclose()
            raise httpcore2.ReadError("reset") from ConnectionResetError()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self._faults.strikes(Kind.SEND):
            await self.aclose()
            raise httpcore2.WriteError("reset") from ConnectionResetError()
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
