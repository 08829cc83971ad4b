"""Who listens on a port of this machine, as Linux tells it in /proc; nothing is connected to."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
LISTENS = "0A"  # the state of a socket that listens, as the kernel writes it


@dataclass(frozen=True)
class Listener:
    """A process that listens."""

    pid: int
    command: tuple[str, ...]

    @property
    def is_zing(self) -> bool:
        """Whether it is a `zing serve`."""
        names = [Path(word).name for word in self.command[:3]]
        return "zing" in names and "serve" in self.command


def on(port: int) -> Listener | None:
    """A process that listens on a port; None where there is none that we may look at."""
    wanted = {f"socket:[{inode}]" for inode in _inodes(port)}
    for folder in PROC.glob("[0-9]*") if wanted else ():
        with suppress(OSError):  # it has ended, or is another user's
            if any(str(each.readlink()) in wanted for each in (folder / "fd").iterdir()):
                words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
                return Listener(int(folder.name), tuple(words))
    return None


def _inodes(port: int) -> Iterator[str]:
    """The sockets that listen on a port, whatever the address."""
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (PROC / "net" / name).read_text(encoding="ascii").splitlines()[1:]:
                words = line.split()
                if words[3] == LISTENS and re.search(rf":{port:04X}$", words[1]):
                    yield words[9]
