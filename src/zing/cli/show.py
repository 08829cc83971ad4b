"""`zing show`: what a picture's file says of itself."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from zing.cli.options import DatabaseOption, DataOption, JsonOption
from zing.cli.terminal import plain
from zing.config import DATA, DATABASE
from zing.task import PROMPT_MAX

FileArgument = Annotated[Path, typer.Argument(help="A picture: PNG, JPEG, WebP or AVIF.")]


def show(
    file: FileArgument,
    _data: DataOption = DATA.default,
    _database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Print what a picture's file says of how it was made."""
    from zing.metadata import describe

    facts = {"file": str(file), **dataclasses.asdict(describe(file))}
    if as_json:
        print(json.dumps(facts))
        return
    for name, value in _rows(facts).items():
        print(f"{name:8} {plain(str(value), most=2 * PROMPT_MAX)}")
    if facts["prompt"] is None and facts["source_type"] is None:
        print("The file does not say how it was made.")


def _rows(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts that are there, by the words they are shown under."""
    shown = {
        "file": facts["file"],
        "format": facts["format"],
        "size": f"{facts['width']}x{facts['height']}",
        "bytes": facts["bytes"],
        "prompt": facts["prompt"],
        "seed": facts["seed"],
        "steps": facts["steps"],
        "model": facts["model"],
        "software": facts["software"],
        "source": facts["source_type"],
    }
    return {name: value for name, value in shown.items() if value is not None}
