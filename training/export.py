"""The export: the trained parts as one checkpoint folder in the diffusers layout, fp16.

diffusers' ZImagePipeline loads it as it is; `zing.json` beside it says what only zing asks: the
sizes it was trained at, the words it knows, its licences and how it was made.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
from transformers import Qwen2Tokenizer, Qwen3Model

from training import scenes, vae, vocabulary
from training.transformer import SHIFT

PARTS = ("scheduler", "text_encoder", "tokenizer", "transformer", "vae")
LIMIT_BYTES = 25_000_000

ABOUT = (
    f"A very small Z-Image that draws {len(vocabulary.EMOJI)} everyday things and "
    f"{len(vocabulary.SHAPES)} shapes in {len(vocabulary.COLOURS)} colours, on plain backgrounds "
    f"and in {len(vocabulary.BACKDROPS)} landscapes, in English and Chinese; other words it does "
    "not know."
)

LICENCES = {
    "checkpoint": "the project's own licence; trained from nothing on pictures drawn by training/",
    "emoji": "training pictures show Noto Color Emoji, Copyright Google LLC, SIL Open Font "
    "License 1.1; the font itself is not part of the checkpoint",
    "words": "the project's own writing",
}


def assemble(work: Path, folder: Path, training: dict[str, Any]) -> int:
    """Write the checkpoint that the finished stages in `work` make; return its size in bytes."""
    decoder = work / "decoder" if (work / "decoder").is_dir() else work / "vae"
    pipeline = ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=SHIFT),
        vae=vae.load(decoder).half(),
        text_encoder=Qwen3Model.from_pretrained(work / "text_encoder", dtype=torch.float16),
        tokenizer=Qwen2Tokenizer.from_pretrained(work / "tokenizer"),
        transformer=ZImageTransformer2DModel.from_pretrained(
            work / "transformer", dtype=torch.float32
        ).half(),
    )
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    pipeline.save_pretrained(fresh)
    _clean(fresh)
    # save_pretrained keeps one letter of each id, see tokenizer.fold_case.
    shutil.copyfile(work / "tokenizer" / "tokenizer.json", fresh / "tokenizer" / "tokenizer.json")
    _write_json(fresh / "zing.json", manifest(fresh, training))
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if total > LIMIT_BYTES:
        raise ValueError(f"the checkpoint has {total} bytes, {LIMIT_BYTES} are allowed")
    return total


def manifest(folder: Path, training: dict[str, Any]) -> dict[str, Any]:
    """Return what zing.json says."""
    return {
        "name": "builtin",
        "version": 1,
        "about": ABOUT,
        "draws_people": False,
        "native_sizes": [list(size) for size in scenes.NATIVE_SIZES],
        "steps": 8,
        "max_sequence_length": 512,
        "vocabulary": vocabulary.listed(),
        "licences": LICENCES,
        "training": {**training, "recipe_sha256": recipe_digest()},
        "sha256": {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
    }


def recipe_digest() -> str:
    """Return a digest of the sources of this folder, judging/ left out: the recipe."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def ship(exported: Path, folder: Path) -> None:
    """Replace the checkpoint in `folder` by an exported one; its card stays as it is."""
    for part in (*PARTS, "model_index.json", "zing.json"):
        old, new = folder / part, exported / part
        if new.is_dir():
            shutil.rmtree(old, ignore_errors=True)
            shutil.copytree(new, old)
        else:
            shutil.copyfile(new, old)


def _clean(folder: Path) -> None:
    """Take out of the configurations where on this machine the parts were loaded from.

    safetensors makes its files readable by their owner alone: everybody may read these.
    """
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o644)
    for path in folder.rglob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            for key in ("_name_or_path", "name_or_path", "is_local", "local_files_only"):
                content.pop(key, None)
            if path.name != "tokenizer.json":
                _write_json(path, content)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
