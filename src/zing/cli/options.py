"""The options that several commands share."""

from typing import Annotated, Any

import typer

from zing.config import DATA, DATABASE, DEVICE, MODEL, THREADS, Setting

# Plain text on every terminal; a group without a command shows its help.
PLAIN: dict[str, Any] = {
    "rich_markup_mode": None,
    "add_completion": False,
    "no_args_is_help": True,
}


def option(setting: Setting, name: str) -> Any:
    """The option of a setting, its variable included."""
    return typer.Option(name, envvar=setting.variable, help=setting.help)


DataOption = Annotated[str, option(DATA, "--data")]
# Every command takes it, so that one line of options fits all; some need no database.
DatabaseOption = Annotated[str, option(DATABASE, "--database")]
ModelOption = Annotated[str, option(MODEL, "--model")]
DeviceOption = Annotated[str, option(DEVICE, "--device")]
ThreadsOption = Annotated[str, option(THREADS, "--threads")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
