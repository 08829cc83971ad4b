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

from zing import __version__
from zing.config import DATA, DEVICE, MODEL, THREADS, Setting
from zing.errors import BadFile, BadSetting, Refused, ZingError
from zing.task import PROMPT_MAX, SEED_MAX, STEPS_DEFAULT, ImageRequest, Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from zing.engine.base import Order
    from zing.engine.local import LocalEngine
    from zing.task import Picture

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


DataOption = Annotated[Path, _option(DATA, "--data")]
ModelOption = Annotated[str, _option(MODEL, "--model")]
DeviceOption = Annotated[str, _option(DEVICE, "--device")]
ThreadsOption = Annotated[int, _option(THREADS, "--threads")]
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
OutOption = Annotated[Path, typer.Option(help="The folder for the pictures of --from.")]


def main() -> NoReturn:
    """Run the command line; a refusal is one sentence and exit code 2, a failure 1."""
    try:
        app()
    except ZingError as error:
        _complain(error)
        sys.exit(2 if isinstance(error, Refused) else 1)
    sys.exit(0)


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
    out: OutOption = Path(),
    model: ModelOption = MODEL.default,
    device: DeviceOption = DEVICE.default,
    threads: ThreadsOption = 0,
    data: DataOption = Path(DATA.default),
    as_json: JsonOption = False,
) -> None:
    """Draw a picture from a prompt, or one for each line of a file.

    With --from the pictures are DIR/0001.png and so on, and --json prints one object a line.
    """
    if (prompt is None) == (prompts is None):
        raise BadSetting("Give one prompt, or a file of prompts with --from.")
    texts = [prompt] if prompt is not None else _lines(prompts or Path())
    orders = [_order(ImageRequest.parse(text, size, seed, steps)) for text in texts]
    files = _files(orders, output, out if prompts else None)

    from zing import models

    found = models.find(model, data.expanduser())
    with _bar() as bar:
        loading = bar.add_task(f"loading {found.name}", total=None)
        engine = _engine(found.path, device, threads)
        bar.remove_task(loading)
        for order, file in zip(orders, files, strict=True):
            started = time.perf_counter()
            picture = _draw(engine, order, bar)
            _keep(file, picture)
            seconds = round(time.perf_counter() - started, 3)
            _report(_result(order, picture, file, found.name, seconds), as_json)


@models_app.command("list")
def list_models(data: DataOption = Path(DATA.default), as_json: JsonOption = False) -> None:
    """List the models on this machine."""
    from zing import models

    found = models.available(data.expanduser())
    if as_json:
        print(json.dumps([{"name": each.name, "path": str(each.path)} for each in found]))
        return
    for each in found:
        print(f"{each.name:20} {each.path}")


@models_app.command()
def show(
    name: NameArgument, data: DataOption = Path(DATA.default), as_json: JsonOption = False
) -> None:
    """Describe a model."""
    from zing import models

    description = dataclasses.asdict(models.describe(models.find(name, data.expanduser())))
    if as_json:
        print(json.dumps(description, ensure_ascii=False))
        return
    sizes = description.pop("native_sizes")
    shown = ", ".join(f"{width}x{height}" for width, height in sizes or ())
    description["native_sizes"] = shown or "every size is rendered directly"
    for field, value in description.items():
        print(f"{field:13} {value}")


@models_app.command()
def verify(
    name: NameArgument, data: DataOption = Path(DATA.default), as_json: JsonOption = False
) -> None:
    """Read every tensor of a model and check its names, shapes, values and hashes."""
    from zing import models
    from zing.engine import local

    model = models.find(name, data.expanduser())
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
    data: DataOption = Path(DATA.default),
    as_json: JsonOption = False,
) -> None:
    """Examine this machine: torch, device, memory, checkpoint."""
    from zing.doctor import examine

    checks = examine(model, data.expanduser(), device)
    ok = all(check.ok for check in checks)
    if as_json:
        print(json.dumps({"ok": ok, "checks": [dataclasses.asdict(check) for check in checks]}))
    else:
        for check in checks:
            print(f"{'ok' if check.ok else 'NOT OK':7} {check.name:11} {check.value}")
            if not check.ok:
                print(f"        {check.advice}")
    if not ok:
        raise typer.Exit(1)


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise BadFile(f"{path} is not UTF-8 text.") from None
    prompts = [line for line in lines if line.strip()]
    if not prompts:
        raise BadFile(f"{path} holds no prompt.")
    return prompts


def _order(request: ImageRequest) -> Order:
    from zing.engine.base import Order

    return Order(
        prompt=request.prompt,
        width=request.width,
        height=request.height,
        seed=request.seed or random.SystemRandom().randint(1, SEED_MAX),
        steps=request.steps,
    )


def _files(orders: list[Order], output: Path | None, folder: Path | None) -> list[Path]:
    """Where each picture goes, checked before anything is drawn."""
    from zing.pictures import check_path

    if folder is not None:
        if output is not None:
            raise BadSetting("Give --out DIR with --from, not -o.")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadFile(f"{folder} cannot be made: {error.strerror}.") from None
        return [folder / f"{number:04}.png" for number in range(1, len(orders) + 1)]
    file = output or Path(f"zing-{orders[0].seed}.png")
    check_path(file)
    return [file]


def _engine(folder: Path, device: str, threads: int) -> LocalEngine:
    from zing.engine.local import LocalEngine

    return LocalEngine(folder, device, threads)


def _bar() -> Bar:
    """A progress bar on standard error, so that standard output stays for results."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    text = TextColumn("{task.description}", markup=False)
    columns = (text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    return Bar(*columns, console=console, transient=True, disable=not console.is_terminal)


def _draw(engine: LocalEngine, order: Order, bar: Bar) -> Picture:
    """The finished picture; each step moves the bar."""
    shown = bar.add_task(_short(order.prompt), total=order.steps)
    for event in engine.generate(order):
        if isinstance(event, Progress):
            bar.update(shown, completed=event.step)
        else:
            picture = event
    bar.remove_task(shown)
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
        print(json.dumps(result, ensure_ascii=False), flush=True)
        return
    size = f"{result['width']}x{result['height']}"
    print(f"{result['file']}  {size}  seed {result['seed']}  {result['seconds']:.1f} s", flush=True)
    used, total = result["prompt_tokens_used"], result["prompt_tokens"]
    if used < total:
        print(f"The prompt was cut to {used} of its {total} tokens.", file=sys.stderr)


def _short(prompt: str) -> str:
    line = " ".join(prompt.split())
    return line if len(line) <= 30 else line[:29] + "…"


def _complain(error: ZingError) -> None:
    """Say what happened; a program that asked for JSON reads it there too."""
    message = str(error).encode("utf-8", "replace").decode()
    if "--json" in sys.argv:
        print(json.dumps({"error": {"type": type(error).__name__, "message": message}}))
    print(f"zing: {message}", file=sys.stderr)
