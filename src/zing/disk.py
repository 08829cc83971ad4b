"""How much room there is in a folder's file system, and whether anything may be written there."""

import os
from dataclasses import dataclass
from pathlib import Path

MIB = 2**20
FILES_FLOOR = 100  # names that stay free on a file system that counts them
FLOOR = 16 * MIB  # with less the service is not ready: some pictures, and the database's log


@dataclass(frozen=True)
class Room:
    """What a folder has: bytes that may still be written, and why not where none may."""

    free: int
    trouble: str = ""

    @property
    def ok(self) -> bool:
        """Whether there is enough."""
        return not self.trouble and self.free >= FLOOR


def room(folder: Path) -> Room:
    """The room in a folder, or where it is not there yet, in the one that it would be made in."""
    try:
        place = existing(folder)
        found = os.statvfs(place)
        free = found.f_bavail * found.f_frsize
    except OSError as error:
        return Room(0, f"cannot be looked at: {error.strerror}")
    if found.f_flag & os.ST_RDONLY or not os.access(place, os.W_OK | os.X_OK):
        return Room(free, "cannot be written")
    if found.f_files and found.f_favail < FILES_FLOOR:
        return Room(free, "has no room for another file")
    return Room(free)


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(each for each in (path, *path.absolute().parents) if os.path.lexists(each))
