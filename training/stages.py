"""The stages of the recipe in their order, each of which starts from what lies in the work folder.

A stage writes `<stage>.safetensors` while it trains (its state, see state.py) and the folder
`<stage>/` when it is done, in the layout of its part of the checkpoint.
"""

import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ZImageTransformer2DModel
from transformers import Qwen3Model

from training import export, latents, ranks, state, text_encoder, tokenizer, transformer, vae
from training.judging import judge, lessons
from training.loop import Loop, Plan, Rank, Task
from training.text_encoder import Captions, TextEncoderTask
from training.vae import VaeTask

PLANS = {
    plan.stage: plan for plan in (text_encoder.PLAN, vae.PLAN, transformer.PLAN, vae.DECODER_PLAN)
}

TAKEN = ("tokenizer", "text_encoder", "vae")
"""The parts that a run which goes on from a checkpoint does not train."""

_JUDGES = {"judge": lessons.PLAN}  # learn too, but are no part of the checkpoint


@dataclass(frozen=True)
class Run:
    """What the command line says.

    start  a checkpoint whose weights a stage without a state starts from; None: from nothing
    steps  instead of the plan's, for the stages that learn
    vae    a trained VAE, through which half of the judge's pictures go
    """

    work: Path
    start: Path | None = None
    seed: int = 0
    ranks: int = 2
    steps: int | None = None
    vae: Path | None = None

    def plan(self, stage: str) -> Plan:
        """Return the plan of a stage as this run wants it."""
        plan = replace((PLANS | _JUDGES)[stage], seed=self.seed)
        return replace(plan, steps=self.steps) if self.steps else plan

    def done(self, stage: str) -> bool:
        """Return whether the work folder has the result of a stage."""
        if stage not in PLANS | _JUDGES or (self.start and stage in TAKEN):
            return (self.work / stage).is_dir()
        progress = state.progress(self.work / f"{stage}.safetensors")
        finished = progress is not None and progress.step >= self.plan(stage).steps
        return finished and (self.work / stage).is_dir()


def train(run: Run, stage: str) -> None:
    """Run one stage to its end, from wherever it is."""
    run.work.mkdir(parents=True, exist_ok=True)
    _earlier(run)  # noted before a shipped checkpoint replaces the one that it tells of
    STAGES[stage](run)


def _taken(run: Run, part: str) -> bool:
    """Take a part of the checkpoint that this run goes on from as it is; whether there is one.

    Another tokenizer, text encoder or VAE would make what the transformer has learned worthless.
    """
    if run.start is None:
        return False
    shutil.copytree(run.start / part, run.work / part, dirs_exist_ok=True)
    return True


def _tokenizer(run: Run) -> None:
    if not _taken(run, "tokenizer"):
        tokenizer.train(run.work / "tokenizer", run.seed)


def _text_encoder(run: Run) -> None:
    if not _taken(run, "text_encoder"):
        ranks.run(run.ranks, _train_text_encoder, run)


def _train_text_encoder(rank: Rank, run: Run) -> None:
    task = TextEncoderTask(tokenizer.load(run.work / "tokenizer"))
    loop = _loop(run, "text_encoder", task, rank)
    if rank.index == 0:
        text_encoder.export(task, loop.average, run.work / "text_encoder")


def _vae(run: Run) -> None:
    if not _taken(run, "vae"):
        ranks.run(run.ranks, _train_vae, run)


def _train_vae(rank: Rank, run: Run) -> None:
    task = VaeTask(run.plan("vae"))
    loop = _loop(run, "vae", task, rank)
    if rank.index == 0:
        _take(task.model, loop)
        vae.measure(task.model, run.seed)
        _save(task.model, run.work / "vae")


def _decoder(run: Run) -> None:
    ranks.run(run.ranks, _train_decoder, run)


def _train_decoder(rank: Rank, run: Run) -> None:
    task = VaeTask(run.plan("decoder"), decoder_only=True)
    model: Any = task.model
    frozen = vae.load(run.work / "vae")
    _start_from(model, frozen)
    model.register_to_config(
        shift_factor=frozen.config.shift_factor, scaling_factor=frozen.config.scaling_factor
    )
    loop = _loop(run, "decoder", task, rank)
    if rank.index == 0:
        _take(model, loop)
        _save(model, run.work / "decoder")


def _transformer(run: Run) -> None:
    ranks.run(run.ranks, _train_transformer, run)


def _train_transformer(rank: Rank, run: Run) -> None:
    frozen = vae.load(run.work / "vae")
    latents.prepare(frozen, run.work / "latents", run.seed, rank)
    ranks.wait()
    encoder = Qwen3Model.from_pretrained(run.work / "text_encoder", dtype=torch.float32)
    torch.manual_seed(run.seed)
    model = transformer.build(encoder.config.hidden_size)
    transformer.initialise(model)
    if run.start is not None:
        _start_from(model, ZImageTransformer2DModel.from_pretrained(run.start / "transformer"))
    captions = Captions(tokenizer.load(run.work / "tokenizer"))
    drawn = latents.load(run.work / "latents", run.seed)
    task = transformer.TransformerTask(model, encoder, captions, drawn)
    loop = _loop(run, "transformer", task, rank)
    if rank.index == 0:
        _take(model, loop)
        _save(model, run.work / "transformer")


def _judge(run: Run) -> None:
    ranks.run(run.ranks, _train_judge, run)


def _train_judge(rank: Rank, run: Run) -> None:
    stock = None
    if run.vae is not None:
        if rank.index == 0:
            lessons.prepare(run.work / "judge-stock", run.vae, run.seed)
        ranks.wait()
        stock = lessons.prepare(run.work / "judge-stock", run.vae, run.seed)
    task = lessons.JudgeTask(run.plan("judge"), stock)
    loop = _loop(run, "judge", task, rank)
    if rank.index == 0:
        _take(task.judge, loop)
        task.judge.half().float()  # as it is kept
        report = lessons.examine(task.judge, run.seed, run.vae, lessons.EXAMINED)
        judge.save(task.judge, run.work / "judge", report)
        print(f"judge  {report}", flush=True)


def _export(run: Run) -> None:
    earlier = _earlier(run)
    stages: dict[str, dict[str, float]] = {}
    for stage in PLANS:
        done = state.progress(run.work / f"{stage}.safetensors") or state.Progress()
        before = earlier.get(stage, {"steps": 0, "samples": 0, "minutes": 0})
        stages[stage] = {
            "steps": before["steps"] + done.step,
            "samples": before["samples"] + done.samples,
            "minutes": round(before["minutes"] + done.seconds / 60, 1),
        }
    total = export.assemble(run.work, run.work / "export", {"seed": run.seed, "stages": stages})
    print(f"export  {run.work / 'export'}  {total / 1e6:.1f} MB", flush=True)


def _earlier(run: Run) -> dict[str, dict[str, float]]:
    """Return how long the stages of the checkpoint that this run goes on from were trained."""
    kept = run.work / "earlier.json"
    if run.start is not None and not kept.is_file():
        manifest = json.loads((run.start / "zing.json").read_text(encoding="utf-8"))
        kept.write_text(json.dumps(manifest["training"]["stages"]), encoding="utf-8")
    if not kept.is_file():
        return {}
    earlier: dict[str, dict[str, float]] = json.loads(kept.read_text(encoding="utf-8"))
    return earlier


def _loop(run: Run, stage: str, task: Task, rank: Rank) -> Loop:
    """Train, and return the loop with its averaged weights."""
    loop = Loop(run.plan(stage), task, run.work, rank)
    if rank.index == 0:
        signal.signal(signal.SIGTERM, loop.stop)
        signal.signal(signal.SIGINT, loop.stop)
    loop.run()
    return loop


def _start_from(model: Any, other: Any) -> None:
    try:
        model.load_state_dict(other.float().state_dict())
    except RuntimeError as error:
        raise ValueError("the checkpoint to start from is another model: say --fresh") from error


def _take(model: torch.nn.Module, loop: Loop) -> None:
    """Give the model its averaged weights."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(loop.average[name])


def _save(model: AutoencoderKL | ZImageTransformer2DModel, folder: Path) -> None:
    model.to(memory_format=torch.contiguous_format).save_pretrained(folder)


STAGES: dict[str, Callable[[Run], None]] = {
    "tokenizer": _tokenizer,
    "text_encoder": _text_encoder,
    "vae": _vae,
    "transformer": _transformer,
    "decoder": _decoder,
    "export": _export,
    "judge": _judge,
}
"""In their order. `decoder` needs only `vae` and may run beside `transformer`; `judge` nothing."""
