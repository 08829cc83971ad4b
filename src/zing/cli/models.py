"""`zing models` and `zing doctor`: the checkpoints and the machine."""

import dataclasses
import json
from typing import Annotated

import typer

from zing import models
from zing.cli.options import (
    PLAIN,
    DatabaseOption,
    DataOption,
    DeviceOption,
    JsonOption,
    ModelOption,
    ThreadsOption,
)
from zing.cli.terminal import plain
from zing.config import DATA, DATABASE, DEVICE, MODEL, THREADS, folder, parse_threads

app = typer.Typer(help="Checkpoints on this machine.", **PLAIN)
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
    """Describe a model."""
    description = dataclasses.asdict(models.describe(models.find(name, folder(data))))
    if as_json:
        print(json.dumps(description))
        return
    sizes = description.pop("native_sizes")
    shown = ", ".join(f"{width}x{height}" for width, height in sizes or ())
    description["native_sizes"] = shown or "every size is rendered directly"
    for field, value in description.items():
        print(f"{field:13} {plain(str(value))}")


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


def doctor(
    model: ModelOption = MODEL.default,
    device: DeviceOption = DEVICE.default,
    threads: ThreadsOption = THREADS.default,
    data: DataOption = DATA.default,
    _database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Examine this machine: torch, device, memory, checkpoint."""
    from zing.doctor import examine

    checks = examine(model, folder(data), device, parse_threads(threads))
    ok = all(check.ok for check in checks)
    if as_json:
        print(json.dumps({"ok": ok, "checks": [dataclasses.asdict(check) for check in checks]}))
    else:
        for check in checks:
            print(f"{'ok' if check.ok else 'NOT OK':7} {check.name:11} {plain(check.value)}")
            if not check.ok:
                print(f"        {plain(check.advice)}")
    if not ok:
        raise typer.Exit(1)
