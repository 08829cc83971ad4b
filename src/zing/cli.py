"""The command `zing`. Heavy imports wait until a command needs them, so `--help` is quick."""

from __future__ import annotations

import dataclasses
import json
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.exceptions import TyperException

from zing import __version__, models
from zing.config import DATA, DEVICE, MODEL, THREADS, Setting, folder, parse_threads
from zing.engine.base import Order
from zing.errors import BadFile, BadSetting, Refused, ZingError
from zing.task import PROMPT_MAX, SEED_MAX, STEPS_DEFAULT, ImageRequest, Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from zing.engine.local import LocalEngine
    from zing.task import Picture

PROMPTS_BYTES_MAX = 2**24

PLAIN = {"rich_markup_mode": None, "add_completion": False, "no_args_is_help": True}
app = typer.Typer(
    help="zing: a self-hosted Z-Image-Turbo service.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    **PLAIN,  # type: ignore[arg-type]
)
models_app = typer.Typer(help="Checkpoints on this machine.", **PLAIN)  # type: ignore[arg-type]
app.add_typer(models_app, name="models")


def _option(setting: Setting, name: str) -> Any:
    return typer.Option(name, envvar=setting.variable, help=setting.help)


DataOption = Annotated[str, _option(DATA, "--data")]
ModelOption = Annotated[str, _option(MODEL, "--model")]
DeviceOption = Annotated[str, _option(DEVICE, "--device")]
ThreadsOption = Annotated[str, _option(THREADS, "--threads")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
NameArgument = Annotated[str, typer.Argument(help="A model's name or folder.")]

PromptArgument = Annotated[
    str | None, typer.Argument(help=f"What to draw, 1 to {PROMPT_MAX} characters.")
]
SizeOption = Annotated[str, typer.Option(help="A ratio such as 16:9, or WIDTHxHEIGHT.")]
SeedOption = Annotated[str | None, typer.Option(help=f"1 to {SEED_MAX}; random if not given.")]
StepsOption = Annotated[str, typer.Option(help="Denoising steps.")]
OutputOption = Annotated[
    Path | None, typer.Option("-o", "--output", help="The file to write: .png, .jpg or .webp.")
]
FromOption = Annotated[Path | None, typer.Option("--from", help="A file with a prompt a line.")]
OutOption = Annotated[
    Path | None, typer.Option(help="The folder for the pictures of --from; here if not given.")
]


def main() -> NoReturn:
    """Run the command line; a refusal is one sentence and exit code 2, a failure 1."""
    try:
        code = app(standalone_mode=False, prog_name="zing")
    except ZingError as error:
        _complain(type(error).__name__, str(error))
        sys.exit(2 if isinstance(error, Refused) else 1)
    except TyperException as error:
        _complain_of_usage(error)
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


@app.command()
def generate(
    prompt: PromptArgument = None,
    size: SizeOption = "1:1",
    seed: SeedOption = None,
    steps: StepsOption = str(STEPS_DEFAULT),
    output: OutputOption = None,
    prompts: FromOption = None,
    out: OutOption = None,
    model: ModelOption = MODEL.default,
    device: DeviceOption = DEVICE.default,
    threads: ThreadsOption = THREADS.default,
    data: DataOption = DATA.default,
    as_json: JsonOption = False,
) -> None:
    """Draw a picture from a prompt, or one for each line of a file.

    With --from the pictures are DIR/0001.png and so on, and --json prints one object a line.
    """
    if (prompt is None) == (prompts is None):
        raise BadSetting("Give one prompt, or a file of prompts with --from.")
    if (out if prompts is None else output) is not None:
        raise BadSetting("-o FILE goes with one prompt, --out DIR with --from.")
    cores = parse_threads(threads)
    found = models.find(model, folder(data))
    if prompt is not None:
        orders = [_order(ImageRequest.parse(prompt, size, seed, steps))]
        files = _checked([output or Path(f"zing-{orders[0].seed}.png")])
    else:
        orders = [_order(each) for each in _requests(prompts or Path(), size, seed, steps)]
        files = _numbered(out or Path(), len(orders))
    engine = _load(found, device, cores)
    for order, file in zip(orders, files, strict=True):
        started = time.perf_counter()
        picture = _draw(engine, order)
        _keep(file, picture)
        seconds = round(time.perf_counter() - started, 3)
        _report(_result(order, picture, file, found.name, seconds), as_json)


@models_app.command("list")
def list_models(data: DataOption = DATA.default, as_json: JsonOption = False) -> None:
    """List the models on this machine."""
    found = models.available(folder(data))
    if as_json:
        print(json.dumps([{"name": each.name, "path": str(each.path)} for each in found]))
        return
    for each in found:
        print(f"{_plain(each.name):20} {_plain(str(each.path))}")


@models_app.command()
def show(name: NameArgument, data: DataOption = DATA.default, as_json: JsonOption = False) -> None:
    """Describe a model."""
    description = dataclasses.asdict(models.describe(models.find(name, folder(data))))
    if as_json:
        print(json.dumps(description))
        return
    sizes = description.pop("native_sizes")
    shown = ", ".join(f"{width}x{height}" for width, height in sizes or ())
    description["native_sizes"] = shown or "every size is rendered directly"
    for field, value in description.items():
        print(f"{field:13} {_plain(str(value))}")


@models_app.command()
def verify(
    name: NameArgument = MODEL.default, data: DataOption = DATA.default, as_json: JsonOption = False
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


@app.command()
def doctor(
    model: ModelOption = MODEL.default,
    device: DeviceOption = DEVICE.default,
    threads: ThreadsOption = THREADS.default,
    data: DataOption = DATA.default,
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
            print(f"{'ok' if check.ok else 'NOT OK':7} {check.name:11} {_plain(check.value)}")
            if not check.ok:
                print(f"        {_plain(check.advice)}")
    if not ok:
        raise typer.Exit(1)


def _requests(path: Path, size: str, seed: str | None, steps: str) -> list[ImageRequest]:
    """The request of each line that is not blank; a refusal names its line."""
    requests = []
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            requests.append(ImageRequest.parse(line.removesuffix("\r"), size, seed, steps))
        except Refused as error:
            raise type(error)(f"{path}, line {number}: {error}") from None
    if not requests:
        raise BadFile(f"{path} holds no prompt.")
    return requests


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(PROMPTS_BYTES_MAX + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise BadFile(f"{path} is not UTF-8 text.") from None
    if len(data) > PROMPTS_BYTES_MAX:
        raise BadFile(f"{path} is larger than {PROMPTS_BYTES_MAX} bytes.")
    return text


def _order(request: ImageRequest) -> Order:
    return Order(
        prompt=request.prompt,
        width=request.width,
        height=request.height,
        seed=request.seed or random.SystemRandom().randint(1, SEED_MAX),
        steps=request.steps,
    )


def _numbered(out: Path, count: int) -> list[Path]:
    """DIR/0001.png and so on, in a folder that is made where it is not there."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadFile(f"{out} cannot be made: {error.strerror}.") from None
    return _checked([out / f"{number:04}.png" for number in range(1, count + 1)])


def _checked(files: list[Path]) -> list[Path]:
    """The files, each one that could be written; told before anything is drawn."""
    from zing.pictures import check_path

    for file in files:
        check_path(file)
    return files


def _load(model: models.Model, device: str, threads: int) -> LocalEngine:
    """The engine; torch is loaded here, behind the bar."""
    with _bar() as bar:
        bar.add_task(f"loading {_plain(model.name)}", total=None)
        from zing.engine.local import LocalEngine

        return LocalEngine(model.path, device, threads)


def _bar() -> Bar:
    """A progress bar on standard error; standard output stays for results."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    text = TextColumn("{task.description}", markup=False)
    columns = (text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    quiet = not console.is_terminal
    return Bar(*columns, console=console, transient=True, redirect_stdout=False, disable=quiet)


def _draw(engine: LocalEngine, order: Order) -> Picture:
    """The finished picture; each step moves the bar."""
    with _bar() as bar:
        shown = bar.add_task(_short(order.prompt), total=order.steps)
        for event in engine.generate(order):
            if isinstance(event, Progress):
                bar.update(shown, completed=event.step)
            else:
                picture = event
    return picture


def _keep(file: Path, picture: Picture) -> None:
    from zing.pictures import write

    write(file, picture.pixels)


def _result(
    order: Order, picture: Picture, file: Path, model: str, seconds: float
) -> dict[str, Any]:
    from zing.pictures import sha256

    return {
        "file": str(file),
        "model": model,
        **dataclasses.asdict(order),
        "rendered": list(picture.rendered),
        "prompt_tokens": picture.prompt_tokens,
        "prompt_tokens_used": picture.prompt_tokens_used,
        "sha256": sha256(picture.pixels),
        "seconds": seconds,
    }


def _report(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(result), flush=True)
        return
    size = f"{result['width']}x{result['height']}"
    print(
        f"{_plain(result['file'])}  {size}  seed {result['seed']}  {result['seconds']:.1f} s",
        flush=True,
    )
    used, total = result["prompt_tokens_used"], result["prompt_tokens"]
    if used < total:
        print(f"The prompt was cut to {used} of its {total} tokens.", file=sys.stderr)


def _short(prompt: str) -> str:
    return _plain(" ".join(prompt.split()), most=30)


def _plain(text: str, most: int = 400) -> str:
    """Text that is safe on a terminal: one line, no control characters, its middle left out
    where it is longer than `most`.
    """
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
    tail = most // 3
    return shown if len(shown) <= most else f"{shown[: most - tail - 1]}…{shown[-tail:]}"


def _complain(kind: str, message: str) -> None:
    """Say what happened; a program that asked for JSON reads it there too."""
    options = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    if "--json" in options:
        print(json.dumps({"error": {"type": kind, "message": message}}), flush=True)
    print(f"zing: {_plain(message)}", file=sys.stderr)


def _complain_of_usage(error: TyperException) -> None:
    """One line for a wrong option; the help where nothing was asked for."""
    message = error.format_message()
    if message.startswith("Usage:"):
        print(message, file=sys.stderr)
        return
    _complain("BadUsage", f"{message.rstrip('.')}; `zing --help` shows what can be said.")
