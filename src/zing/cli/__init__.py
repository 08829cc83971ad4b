"""The command `zing`. Heavy imports wait until a command needs them, so `--help` is quick."""

import logging
import sys
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from zing import __version__, logs
from zing.cli import (
    accounts,
    audit,
    callbacks,
    credits,
    db,
    dialects,
    doctor,
    generate,
    keys,
    log,
    maintenance,
    models,
    server,
    show,
    tasks,
)
from zing.cli.options import PLAIN
from zing.cli.terminal import complain, complain_of_usage
from zing.errors import Refused, ZingError

app = typer.Typer(
    help="zing: a self-hosted Z-Image-Turbo service.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    **PLAIN,
)
app.command()(server.serve)
app.command()(generate.generate)
app.command()(show.show)
app.add_typer(keys.app, name="keys")
app.add_typer(accounts.app, name="accounts")
app.add_typer(credits.app, name="credits")
app.add_typer(tasks.app, name="tasks")
app.add_typer(callbacks.app, name="callbacks")
app.add_typer(maintenance.app, name="maintenance")
app.add_typer(dialects.app, name="dialects")
app.add_typer(db.app, name="db")
app.add_typer(models.app, name="models")
app.command()(log.log)
app.command()(doctor.doctor)
app.command()(audit.audit)
app.command()(server.work)


def main() -> NoReturn:
    """Run the command line; a refusal is one sentence and exit code 2, a failure 1."""
    try:
        logs.set_up("zing", logging.WARNING)
        code = app(standalone_mode=False, prog_name="zing")
    except ZingError as error:
        complain(type(error).__name__, str(error))
        sys.exit(2 if isinstance(error, Refused) else 1)
    except TyperException as error:
        complain_of_usage(error)
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


@app.callback(invoke_without_command=True)
def zing(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Draw pictures with Z-Image-Turbo on your own machine."""
    if version:
        print(f"zing {__version__}")
        raise typer.Exit
