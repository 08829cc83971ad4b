"""`zing generate`: pictures without a server."""

from __future__ import annotations

import dataclasses
import json
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zing import models
from zing.cli.options import (
    DatabaseOption,
    DataOption,
    DeviceOption,
    JsonOption,
    ModelOption,
    ThreadsOption,
)
from zing.cli.terminal import bar, plain, short
from zing.config import DATA, DATABASE, DEVICE, MODEL, THREADS, folder, parse_threads
from zing.engine.base import Order
from zing.engine.vocabulary import told
from zing.errors import BadFile, BadSetting, Refused
from zing.task import PROMPT_MAX, SEED_MAX, STEPS_DEFAULT, ImageRequest, Progress

if TYPE_CHECKING:
    from zing.engine.local import LocalEngine
    from zing.metadata import Metadata
    from zing.task import Picture

PROMPTS_BYTES_MAX = 2**24

PromptArgument = Annotated[
    str | None, typer.Argument(help=f"What to draw, 1 to {PROMPT_MAX} characters.")
]
SizeOption = Annotated[str, typer.Option(help="A ratio such as 16:9, or WIDTHxHEIGHT.")]
SeedOption = Annotated[str | None, typer.Option(help=f"1 to {SEED_MAX}; random if not given.")]
StepsOption = Annotated[str, typer.Option(help="Denoising steps.")]
OutputOption = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="The file: .png, .jpg, .webp or .avif."),
]
FromOption = Annotated[Path | None, typer.Option("--from", help="A file with a prompt a line.")]
NoMetadataOption = Annotated[
    bool, typer.Option("--no-metadata", help="Leave out of the file how it was made.")
]
OutOption = Annotated[
    Path | None, typer.Option(help="The folder for the pictures of --from; here if not given.")
]


def generate(
    prompt: PromptArgument = None,
    size: SizeOption = "1:1",
    seed: SeedOption = None,
    steps: StepsOption = str(STEPS_DEFAULT),
    output: OutputOption = None,
    prompts: FromOption = None,
    out: OutOption = None,
    no_metadata: NoMetadataOption = False,
    model: ModelOption = MODEL.default,
    device: DeviceOption = DEVICE.default,
    threads: ThreadsOption = THREADS.default,
    data: DataOption = DATA.default,
    _database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Draw a picture from a prompt, or one for each line of a file.

    The file says how it was made, and `zing show FILE` prints it.
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
        _keep(file, picture, None if no_metadata else _metadata(order, picture, found.name))
        seconds = round(time.perf_counter() - started, 3)
        result = _result(order, picture, file, found.name, seconds)
        if as_json:
            print(json.dumps(result), flush=True)
        else:
            _report(result, model)


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
    with bar() as shown_bar:
        shown_bar.add_task(f"loading {plain(model.name)}", total=None)
        from zing.engine.local import LocalEngine

        return LocalEngine(model.path, device, threads)


def _draw(engine: LocalEngine, order: Order) -> Picture:
    """The finished picture; each step moves the bar."""
    with bar() as shown_bar:
        shown = shown_bar.add_task(short(order.prompt), total=order.steps)
        for event in engine.generate(order):
            if isinstance(event, Progress):
                shown_bar.update(shown, completed=event.step)
            else:
                picture = event
    return picture


def _asked(order: Order) -> dict[str, Any]:
    """What makes the picture, by name."""
    asked = dataclasses.asdict(order)
    del asked["previews"]  # nobody sees any here
    return asked


def _metadata(order: Order, picture: Picture, model: str) -> Metadata:
    from zing.metadata import Metadata

    return Metadata(
        **_asked(order),
        model=model,
        prompt_tokens=picture.prompt_tokens,
        prompt_tokens_used=picture.prompt_tokens_used,
    )


def _keep(file: Path, picture: Picture, metadata: Metadata | None) -> None:
    from zing.pictures import write

    write(file, picture.pixels, metadata)


def _result(
    order: Order, picture: Picture, file: Path, model: str, seconds: float
) -> dict[str, Any]:
    from zing.pictures import sha256

    return {
        "file": str(file),
        "model": model,
        **_asked(order),
        "rendered": list(picture.rendered),
        "prompt_tokens": picture.prompt_tokens,
        "prompt_tokens_used": picture.prompt_tokens_used,
        "understood": picture.understood,
        "sha256": sha256(picture.pixels),
        "seconds": seconds,
    }


def _report(result: dict[str, Any], model: str) -> None:
    """A line for the picture and one for what was understood; on standard error what was not."""
    size = f"{result['width']}x{result['height']}"
    print(
        f"{plain(result['file'])}  {size}  seed {result['seed']}  {result['seconds']:.1f} s",
        flush=True,
    )
    used, total = result["prompt_tokens_used"], result["prompt_tokens"]
    if used < total:
        print(f"The prompt was cut to {used} of its {total} tokens.", file=sys.stderr)
    understood = result["understood"]
    if understood:
        print(f"  {told(understood, model)}", flush=True)
    elif understood is not None:
        words = plain(told(understood, model))
        print(f"{words[0].upper()}{words[1:]}.", file=sys.stderr)
