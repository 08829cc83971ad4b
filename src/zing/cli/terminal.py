"""What a person at a terminal reads: plain lines, refusals, tables, a progress bar."""

from __future__ import annotations

import json
import logging
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from zing import logs

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from typer.exceptions import TyperException


def show(value: Any, as_json: bool, line: str) -> None:
    """Print a result: one JSON value for programs, a line for people."""
    print(json.dumps(value, ensure_ascii=False) if as_json else line, flush=True)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text as columns; no line ends in spaces."""
    shown = [[plain(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in shown
    )


def wrapped(pieces: Iterable[str], columns: int) -> list[str]:
    """The pieces in lines, spaces between; a line is wider than `columns` only by one piece."""
    lines: list[str] = []
    room = 0
    for piece in map(plain, pieces):
        taken = _width(piece)
        if taken < room:
            lines[-1] += f" {piece}"
            room -= taken + 1
        else:
            lines.append(piece)
            room = columns - taken
    return lines


def _width(text: str) -> int:
    """Columns on a terminal, where a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(each) in "FW" else 1 for each in text)


def bar() -> Bar:
    """A progress bar on standard error; standard output stays for results."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    text = TextColumn("{task.description}", markup=False)
    columns = (text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    quiet = not console.is_terminal
    return Bar(*columns, console=console, transient=True, redirect_stdout=False, disable=quiet)


def short(prompt: str) -> str:
    """A prompt in a few words."""
    return plain(" ".join(prompt.split()), most=30)


def plain(text: str, most: int = 400) -> str:
    """Text that is safe on a terminal: one line, no control characters, its middle left out
    where it is longer than `most`.
    """
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
    tail = most // 3
    return shown if len(shown) <= most else f"{shown[: most - tail - 1]}…{shown[-tail:]}"


def complain(kind: str, message: str) -> None:
    """Say what happened; a program that asked for JSON reads it there too."""
    options = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    if "--json" in options:
        print(json.dumps({"error": {"type": kind, "message": message}}), flush=True)
    if logs.is_json():
        logging.getLogger("zing").error(plain(message), extra={"facts": {"error": kind}})
    else:
        print(f"zing: {plain(message)}", file=sys.stderr)


def complain_of_usage(error: TyperException) -> None:
    """One line for a wrong option; the help where nothing was asked for."""
    message = error.format_message()
    if message.startswith("Usage:"):
        print(message, file=sys.stderr)
        return
    complain("BadUsage", f"{message.rstrip('.')}; `zing --help` shows what can be said.")
