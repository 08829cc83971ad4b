"""`python -m training`: makes the built-in checkpoint, or goes on where it was stopped."""

import argparse
import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILTIN = ROOT / "src" / "zing" / "engine" / "builtin"
WORK = ROOT / "build" / "training"
JUDGE = ROOT / "training" / "judging" / "weights"
"""The committed judge, which measures where the work folder has none."""
STAGE_NAMES = ("tokenizer", "text_encoder", "vae", "transformer", "decoder", "export")

ENVIRONMENT = {
    # One thread a rank, see ranks.py.
    "OMP_NUM_THREADS": "1",
    # glibc else gives big tensors back to the kernel after every use: a third of the time.
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_TOP_PAD_": "100000000",
    # Our own progress lines are enough, and nothing is looked up.
    "HF_HUB_OFFLINE": "1",
    "TQDM_DISABLE": "1",
    "DIFFUSERS_VERBOSITY": "error",
    "TRANSFORMERS_VERBOSITY": "error",
}


def main() -> None:
    """Run what the command line asks for."""
    options = _parser().parse_args()
    work = {"evaluate": _evaluate, "sheet": _sheet, "card": _card, "ship": _ship}.get(
        options.stage, _train
    )
    work(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description="Make the built-in checkpoint. Without a STAGE all of them run in their order; "
        "a finished one is skipped, a stopped one goes on from its last saved state. With an empty "
        "work folder training starts from the weights of the committed checkpoint.",
    )
    parser.add_argument(
        "stage", nargs="?", metavar="STAGE",
        choices=(*STAGE_NAMES, "judge", "evaluate", "sheet", "card", "ship"),
        help="one of %(choices)s",
    )  # fmt: skip
    parser.add_argument("--work", type=Path, default=WORK, help="folder of states and results")
    parser.add_argument(
        "--fresh", action="store_true",
        help="forget the work folder (of a STAGE: its part) and start from nothing",
    )  # fmt: skip
    parser.add_argument(
        "--ranks", type=int, default=min(2, os.cpu_count() or 1),
        help="processes that train, one core each (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--steps", type=int, help="steps of the stages, instead of the recipe's")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (default 0)")
    parser.add_argument(
        "--vae",
        type=Path,
        help="judge: a trained VAE to learn from (default: the work folder's, else the built-in's)",
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        help="evaluate, sheet, card: the folder to judge (default: the export, else the built-in)",
    )
    parser.add_argument("--prompts", type=int, default=500, help="evaluate: how many a row")
    return parser


def _train(options: argparse.Namespace) -> None:
    from training import sprites, stages

    sprites.font_path()
    names = [options.stage] if options.stage else list(STAGE_NAMES)
    if options.fresh:
        _forget(options.work, names)
    start = _start(options)
    run = stages.Run(
        options.work, start, options.seed, options.ranks, options.steps, _trained_vae(options)
    )
    for name in names:
        if run.done(name) and name != "export":
            print(f"{name}  is done", flush=True)
            continue
        stages.train(run, name)


def _start(options: argparse.Namespace) -> Path | None:
    """Return the checkpoint that this work folder started from; a new one decides for good."""
    origin = options.work / "origin"
    if not origin.is_file() or (options.fresh and options.stage is None):
        known = (BUILTIN / "model_index.json").is_file() and not options.fresh
        options.work.mkdir(parents=True, exist_ok=True)
        origin.write_text("builtin" if known else "nothing", encoding="utf-8")
    built_in = origin.read_text(encoding="utf-8") == "builtin" and not options.fresh
    return BUILTIN if built_in else None


def _trained_vae(options: argparse.Namespace) -> Path | None:
    """Return the VAE that the judge learns from: the one named, else the best one made."""
    if options.vae is not None:
        named: Path = options.vae
        return named
    made = [options.work / "decoder", options.work / "vae", BUILTIN / "vae"]
    return next((folder for folder in made if folder.is_dir()), None)


def _forget(work: Path, names: list[str]) -> None:
    for name in names:
        shutil.rmtree(work / name, ignore_errors=True)
        (work / f"{name}.safetensors").unlink(missing_ok=True)


def _evaluate(options: argparse.Namespace) -> None:
    from training.judging import evaluate

    options.work.mkdir(parents=True, exist_ok=True)
    desks = evaluate.Desks(_judged(options), _judge(options), options.ranks)
    evaluate.report(desks, options.work, options.prompts)


def _sheet(options: argparse.Namespace) -> None:
    from training.judging import judge, sheet

    sheet.write(_judged(options), judge.load(_judge(options)))


def _card(options: argparse.Namespace) -> None:
    from training.judging import card

    print(card.write(_judged(options), options.work / "evaluation.json"))


def _ship(options: argparse.Namespace) -> None:
    from training import export

    export.ship(options.work / "export", BUILTIN)
    if _judge(options) != JUDGE:
        shutil.copytree(_judge(options), JUDGE, dirs_exist_ok=True)
    print(f"{BUILTIN} is the exported checkpoint now; measure it: evaluate, sheet, card")


def _judge(options: argparse.Namespace) -> Path:
    """Return the folder of the judge: the one of the work folder, else the committed one."""
    made: Path = options.work / "judge"
    return made if (made / "judge.json").is_file() else JUDGE


def _judged(options: argparse.Namespace) -> Path:
    """Return the checkpoint to judge, and say which."""
    made: Path = options.work / "export"
    checkpoint: Path = options.checkpoint or (made if made.is_dir() else BUILTIN)
    print(f"judging {checkpoint}", flush=True)
    return checkpoint


if __name__ == "__main__":
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        command = [sys.executable, "-m", "training", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **ENVIRONMENT})
    try:
        main()
    except FileNotFoundError as missing:
        sys.exit(str(missing))
