"""The evaluation: prompts drawn by a fixed seed, pictures judged without a network.

A picture counts as right when its nearest render among all objects, colours, backgrounds and
places is the prompted one and, for shapes, the mean colours at the object's centre and at the
border are within 40 of the named ones. Three rows give the scale: renders show what the judge can
do, VAE reconstructions what the VAE can, and then come generated pictures.
"""

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ZImagePipeline
from PIL import Image

from training import scenes, vae
from training.scenes import Scene
from training.vocabulary import COLOUR, COLOURS, EMOJI, OBJECT, POSITIONS, SHAPES

SIZE = scenes.NATIVE_SIZES[0]
STEPS = 8
SEED = 20_000
CLOSE = 40
"""Largest difference of a channel that passes for the named colour, of 255."""

_SMALL = 40  # side of the pictures whose pixels are compared
_BORDER = 8  # width of the strip that shows the background, pixels
_TILE = 120

Say = Callable[[Scene, random.Random], str]


@dataclass(frozen=True)
class Row:
    """One kind of prompt in one language; `say` words a scene."""

    name: str
    language: str
    emoji: bool
    say: Say


def _plain_en(scene: Scene, rng: random.Random) -> str:
    thing, behind = _words(scene, "en")
    return f"a {thing} on a {behind} background"


def _plain_zh(scene: Scene, rng: random.Random) -> str:
    thing, behind = _words(scene, "zh")
    return rng.choice((f"{behind}色背景上的{thing}", f"一个{thing}，{behind}色背景"))


def _unseen_en(scene: Scene, rng: random.Random) -> str:
    thing, behind = _words(scene, "en")
    return rng.choice(
        (
            f"Could you make me a {thing}? The background should be {behind}.",
            f"here we have a {thing} sitting on a {behind} wall",
            f"my kid loves this {thing}, {behind} behind it",
        )
    )


def _unseen_zh(scene: Scene, rng: random.Random) -> str:
    thing, behind = _words(scene, "zh")
    return rng.choice(
        (
            f"能不能给我做一个{thing}，背景要{behind}色的",
            f"这里是{thing}，后面是{behind}色",
            f"孩子喜欢{thing}，{behind}色作背景",
        )
    )


def _words(scene: Scene, language: str) -> tuple[str, str]:
    """Return the object and the background in their first words."""

    def first(concept: Any) -> str:
        word: str = getattr(concept, language)[0]
        return word

    noun, behind = first(OBJECT[scene.object]), first(COLOUR[scene.background or "white"])
    if scene.colour is None:
        return noun, behind
    return f"{first(COLOUR[scene.colour])}{'色的' if language == 'zh' else ' '}{noun}", behind


ROWS = (
    Row("shapes", "en", False, _plain_en),
    Row("shapes", "zh", False, _plain_zh),
    Row("shapes, unseen frames", "en", False, _unseen_en),
    Row("shapes, unseen frames", "zh", False, _unseen_zh),
    Row("emoji", "en", True, _plain_en),
    Row("emoji", "zh", True, _plain_zh),
)


class Judge:
    """Names the scene that a picture shows, by pixel distance to the renders of all candidates."""

    def __init__(self, candidates: Iterable[Scene] | None = None) -> None:
        self.scenes = list(every_scene() if candidates is None else candidates)
        # All renders squared and summed once: distance = |a|^2 - 2ab + |b|^2.
        self._renders = np.stack([_shrunk(scenes.render(scene, SIZE)) for scene in self.scenes])
        self._squares = (self._renders**2).sum(1)

    def nearest(self, picture: Image.Image) -> Scene:
        """Return the scene whose render is nearest."""
        distances = self._squares - 2 * self._renders @ _shrunk(picture)
        return self.scenes[int(distances.argmin())]

    def right(self, picture: Image.Image, scene: Scene) -> bool:
        """Return whether a picture shows the scene."""
        return self.nearest(picture) == scene and (scene.colour is None or colours(picture, scene))


def colours(picture: Image.Image, scene: Scene) -> bool:
    """Return whether the centre and the border have the named colours."""
    pixels = np.asarray(picture, dtype=np.float32)
    height, width = pixels.shape[:2]
    middle = pixels[height // 2 - 8 : height // 2 + 8, width // 2 - 8 : width // 2 + 8]
    border = np.concatenate(
        [
            part.reshape(-1, 3)
            for part in (
                pixels[:_BORDER], pixels[-_BORDER:], pixels[:, :_BORDER], pixels[:, -_BORDER:]
            )
        ]
    )  # fmt: skip
    named = COLOUR[scene.colour or "white"].rgb, COLOUR[scene.background or "white"].rgb
    seen = middle.reshape(-1, 3).mean(0), border.mean(0)
    return all(np.abs(a - np.array(b)).max() <= CLOSE for a, b in zip(seen, named, strict=True))


def prompts(row: Row, count: int) -> list[tuple[Scene, str]]:
    """Return the scenes and prompts of a row, the same for every checkpoint."""
    rng = random.Random(f"{SEED}/{row.name}/{row.language}")
    drawn = []
    for _ in range(count):
        if row.emoji:
            scene = Scene(rng.choice(EMOJI).name, background=rng.choice(COLOURS).name)
        else:
            colour, behind = rng.sample(COLOURS, 2)
            scene = Scene(rng.choice(SHAPES).name, colour.name, True, behind.name)
        drawn.append((scene, row.say(scene, rng)))
    return drawn


def report(checkpoint: Path, count: int, folder: Path) -> None:
    """Judge a checkpoint on `count` prompts a row: print figures, write sheets into `folder`."""
    pipeline = load(checkpoint)
    judge = Judge()
    figures: dict[str, Any] = {"checkpoint": checkpoint.name, "prompts": count}
    for row in ROWS:
        drawn = prompts(row, count)
        wanted = [scene for scene, _ in drawn]
        pictures = [generate(pipeline, text, SEED + k) for k, (_, text) in enumerate(drawn)]
        kinds = {
            "renders": [
                scenes.render(scene, SIZE, random.Random(k)) for k, scene in enumerate(wanted)
            ],
            "reconstructed": reconstruct(pipeline.vae, wanted),
            "generated": pictures,
        }
        for kind, shown in kinds.items():
            right = [
                judge.right(picture, scene) for picture, scene in zip(shown, wanted, strict=True)
            ]
            figures[f"{row.name} {row.language} {kind}"] = sum(right)
            print(f"{row.name} {row.language}  {kind}  {sum(right)} of {count} right", flush=True)
        sheet = folder / f"sheet-{row.name.replace(', ', '-').replace(' ', '-')}-{row.language}.png"
        contact_sheet(pictures, right, sheet)
        print(f"  {sheet}", flush=True)
    print(json.dumps(figures))


def load(checkpoint: Path) -> Any:
    """Return the pipeline of diffusers in float32."""
    pipeline = ZImagePipeline.from_pretrained(checkpoint, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generate(pipeline: Any, prompt: str, seed: int, size: scenes.Size = SIZE) -> Image.Image:
    """Return one picture as the service would make it: 8 steps, no guidance."""
    picture: Image.Image = pipeline(
        prompt,
        width=size[0],
        height=size[1],
        num_inference_steps=STEPS,
        guidance_scale=0.0,
        generator=torch.Generator().manual_seed(seed),
    ).images[0]
    return picture


def reconstruct(model: Any, wanted: list[Scene]) -> list[Image.Image]:
    """Return renders through the VAE and back."""
    made = []
    for k, scene in enumerate(wanted):
        picture = vae.tensor([scenes.pixels(scene, SIZE, random.Random(k))])
        with torch.no_grad():
            back = model.decoder(vae.encode(model, picture))[0]
        pixels = ((back.permute(1, 2, 0) + 1) * 127.5).round().clamp(0, 255).byte()
        made.append(Image.fromarray(pixels.numpy()))
    return made


def contact_sheet(pictures: list[Image.Image], right: list[bool], path: Path) -> None:
    """Write all pictures as one, the wrong ones framed in red."""
    columns = 10
    sheet = Image.new("RGB", (columns * _TILE, -(-len(pictures) // columns) * _TILE), "white")
    for k, (picture, fine) in enumerate(zip(pictures, right, strict=True)):
        tile = Image.new("RGB", (_TILE, _TILE), "white" if fine else "red")
        tile.paste(picture.resize((_TILE - 8, _TILE - 8), Image.Resampling.LANCZOS), (4, 4))
        sheet.paste(tile, (k % columns * _TILE, k // columns * _TILE))
    sheet.save(path)


def every_scene() -> Iterable[Scene]:
    """Yield all scenes of mid size with a named background."""
    objects = [Scene(s.name, c.name) for s in SHAPES for c in COLOURS]
    objects += [Scene(emoji.name) for emoji in EMOJI]
    for thing in objects:
        for behind in COLOURS:
            if behind.name == thing.colour:
                continue
            for position in POSITIONS:
                yield replace(thing, background=behind.name, position=position.name)


def _shrunk(picture: Image.Image) -> np.ndarray:
    small = picture.convert("RGB").resize((_SMALL, _SMALL), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32).ravel() / 255
