"""`zing models`: the checkpoints on this machine."""

import dataclasses
import json
import shutil
from collections.abc import Iterable, Sequence
from typing import Annotated

import typer

from zing import models
from zing.cli.options import (
    PLAIN,
    DatabaseOption,
    DataOption,
    JsonOption,
)
from zing.cli.terminal import plain, wrapped
from zing.config import DATA, DATABASE, MODEL, folder
from zing.engine.zimage.config import Concept

app = typer.Typer(help="Checkpoints on this machine.", **PLAIN)
COLUMNS_MAX, LABEL = 100, 14
FACTS = ("name", "path", "sha256", "multiple", "bytes", "about", "native_sizes")
DIRECTLY = "every size is rendered directly"
NEAREST = "- any other size is the nearest of these, scaled and cut"
NameArgument = Annotated[str, typer.Argument(help="A model's name or folder.")]


@app.command("list")
def list_models(
    data: DataOption = DATA.default,
    _database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """List the models on this machine."""
    found = models.available(folder(data))
    if as_json:
        print(json.dumps([{"name": each.name, "path": str(each.path)} for each in found]))
        return
    for each in found:
        print(f"{plain(each.name):20} {plain(str(each.path))}")


@app.command()
def show(
    name: NameArgument,
    data: DataOption = DATA.default,
    _database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Describe a model: what it draws and the words it knows, where it says so."""
    found = models.describe(models.find(name, folder(data)))
    if as_json:
        print(json.dumps(dataclasses.asdict(found)))
    elif found.vocabulary is None:
        _show_facts(found)
    else:
        _show_card(found, found.vocabulary)


def _show_facts(model: models.Description) -> None:
    facts = {name: getattr(model, name) for name in FACTS}
    facts["native_sizes"] = ", ".join(_sizes(model)) or DIRECTLY
    for name, value in facts.items():
        print(f"{name:13} {plain(str(value))}")


def _show_card(model: models.Description, vocabulary: models.Vocabulary) -> None:
    """The short of a model's card, as wide as the terminal at most."""
    columns = min(COLUMNS_MAX, shutil.get_terminal_size().columns)
    rows = [
        *((f"{len(listed)} {kind}", _words(listed)) for kind, listed in vocabulary.items()),
        ("every word", [f"zing models show {model.name} --json"]),
        ("languages", _listed(model.languages)),
        ("native sizes", _native(model)),
        ("steps", [str(model.steps)] if model.steps else []),
        ("files", [f"{model.bytes / 1e6:.1f} MB"]),
        *(("licence", f"{what}: {licence}".split()) for what, licence in model.licences.items()),
        ("card", [model.card] if model.card else []),
        ("path", [model.path]),
        ("sha256", [model.sha256]),
    ]
    for line in wrapped(f"{model.name}: {model.about}".split(), columns):
        print(line)
    for label, pieces in rows:
        for number, line in enumerate(wrapped(pieces, columns - LABEL - 1)):
            print(f"{'' if number else label:{LABEL}} {line}")


def _words(concepts: Iterable[Concept]) -> list[str]:
    """Each concept by its first word of each language."""
    return _listed([" ".join([*each.en[:1], *each.zh[:1]]) for each in concepts])


def _native(model: models.Description) -> list[str]:
    sizes = _listed(_sizes(model))
    return [*sizes, *NEAREST.split()] if sizes else DIRECTLY.split()


def _sizes(model: models.Description) -> list[str]:
    return [f"{width}x{height}" for width, height in model.native_sizes or ()]


def _listed(pieces: Sequence[str]) -> list[str]:
    """The pieces with a comma after each but the last."""
    return [f"{piece}," for piece in pieces[:-1]] + list(pieces[-1:])


@app.command()
def verify(
    name: NameArgument = MODEL.default,
    data: DataOption = DATA.default,
    _database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Check every value that zing reads of a model, and the hashes that it records."""
    from zing.engine import local

    model = models.find(name, folder(data))
    values = local.verify(model.path)
    compared = models.verify_files(model)
    if as_json:
        found = {"name": model.name, "path": str(model.path), "ok": True}
        print(json.dumps(found | {"values": values, "files_compared": compared}))
        return
    print(f"{model.name} is sound: {values / 1e6:.1f} M values, {compared} files as recorded.")
