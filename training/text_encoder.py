"""The text encoder: a small Qwen3, taught on captions alone.

Linear probes read the scene from the features of the closing template tokens, so one caption in
English and one in Chinese land on the same features before any picture is drawn; the probes stay
behind, with the state of the stage. The features are hidden_states[-2]: the last layer of a Qwen3
is never used by the pipeline, so of four layers three learn.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen3Config, Qwen3Model

from training import captions, scenes, state, tokenizer
from training.loop import Plan, Slice
from training.optimizer import Rates
from training.scenes import Scene, Thing
from training.vocabulary import (
    BACKGROUNDS,
    COLOURS,
    COUNTS,
    OBJECTS,
    POSITIONS,
    RELATIONS,
    SIZES,
    Shape,
)

PLAN = Plan("text_encoder", 6400, 128, Rates(muon=3e-3, adam=2e-3), average=0.995)

SHORT = range(1, 33)
LONGER = (range(33, 65), *(range(start, start + 32) for start in range(65, 320, 32)))
"""How many tokens captions have: a caption is padded to a multiple of 32."""

UNKNOWN_SHARE = 0.06
"""Share of the captions that name nothing known."""

LONG_SHARE = 0.2
"""Share of the batches that are long whatever `spans` says: they are hard, and few for pictures."""

BATCH_TOKENS = 8192
"""Of long captions a batch takes fewer, for the time."""

_THINGS: tuple[str | None, ...] = (None, *(thing.name for thing in OBJECTS))
_COLOURS: tuple[str | None, ...] = (None, *(colour.name for colour in COLOURS))


@dataclass(frozen=True)
class Probe:
    """Tells apart `values`, read from the closing token `place` places before the last one."""

    place: int
    values: tuple[str | int | None, ...]
    of: Callable[[Scene], str | int | None]


PROBES = {
    "object": Probe(0, _THINGS, lambda scene: _thing(scene, 0)),
    "background": Probe(
        1, (None, *(concept.name for concept in BACKGROUNDS)), lambda scene: scene.background
    ),
    "colour": Probe(2, _COLOURS, lambda scene: _colour(scene, 0)),
    "second colour": Probe(2, _COLOURS, lambda scene: _colour(scene, 1)),
    "count": Probe(3, COUNTS, lambda scene: scene.count),
    "position": Probe(3, tuple(c.name for c in POSITIONS), lambda scene: scene.position),
    "size": Probe(3, tuple(c.name for c in SIZES), lambda scene: scene.size),
    "relation": Probe(3, (None, *(c.name for c in RELATIONS)), lambda scene: scene.relation),
    "second": Probe(4, _THINGS, lambda scene: _thing(scene, 1)),
}


def _thing(scene: Scene, k: int) -> str | None:
    return scene.things[k].object if k < len(scene.things) else None


def _colour(scene: Scene, k: int) -> str | None:
    return scene.things[k].colour if k < len(scene.things) else None


def config(vocabulary_size: int, hidden: int = 160, layers: int = 4) -> Qwen3Config:
    """Return the configuration of a text encoder of width `hidden`."""
    return Qwen3Config(
        vocab_size=vocabulary_size,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=hidden // 4,
        intermediate_size=hidden * 12 // 5,
        max_position_embeddings=4096,
        rope_parameters={"rope_theta": 10000.0, "rope_type": "default"},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )


def trunk(encoder: Any) -> Any:
    """Return the part of the encoder that is used: its output is the encoder's hidden_states[-2].

    It shares the weights, without the last layer and the last norm.
    """
    layers = encoder.layers[:-1]
    used = Qwen3Model(config(encoder.config.vocab_size, encoder.config.hidden_size, len(layers)))
    used.embed_tokens, used.layers, used.norm = encoder.embed_tokens, layers, nn.Identity()
    return used


def features(trunk: Any, tokens: list[list[int]]) -> Tensor:
    """Return the features of captions as (B, L, C), padded at the right.

    The encoder is causal, so what stands in the padding does not matter.
    """
    rows = [torch.tensor(row) for row in tokens]
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    states: Tensor = trunk(input_ids=ids, use_cache=False).last_hidden_state
    return states


def spans(rng: random.Random) -> range:
    """Return how many tokens the captions of one batch have.

    One batch holds one class, for padding costs time: 84 % are as short as captions mostly are.
    """
    kind = rng.random()
    if kind < 0.06:
        return rng.choice(LONGER[1:])
    return LONGER[0] if kind < 0.16 else SHORT


class Captions:
    """Draws captions of scenes and their tokens."""

    def __init__(self, words: Tokenizer) -> None:
        self.words = words

    def tokens(self, text: str) -> list[int]:
        """Return the tokens of a prompt within its template."""
        ids: list[int] = self.words.encode(tokenizer.templated(text)).ids
        return ids

    def describe(self, scene: Scene, rng: random.Random, span: range = SHORT) -> list[int]:
        """Return the tokens of a caption of a scene, so many as `span` holds."""
        language = rng.choice(captions.LANGUAGES)
        while True:
            text = captions.caption(scene, rng, language)
            if span.start > 1:
                text = captions.lengthen(
                    text, rng, language, lambda longer: len(self.tokens(longer)) >= span.start
                )
            ids = self.tokens(text)
            if len(ids) in span:
                return ids


class TextEncoderTask:
    """Cross-entropy of the probes."""

    def __init__(self, words: Tokenizer, hidden: int = 160) -> None:
        torch.manual_seed(PLAN.seed)
        self.captions = Captions(words)
        size = -(-words.get_vocab_size() // 64) * 64
        self.encoder = Qwen3Model(config(size, hidden))
        self.trunk = trunk(self.encoder)
        self.probes = nn.ModuleDict(
            {name: nn.Linear(hidden, len(probe.values)) for name, probe in PROBES.items()}
        )
        self.model = nn.ModuleDict({"encoder": self.encoder, "probes": self.probes})
        for weight in (*self.encoder.layers[-1].parameters(), *self.encoder.norm.parameters()):
            weight.requires_grad_(False)

    def is_matrix(self, name: str, weight: Tensor) -> bool:
        """Return whether Muon moves this weight: the matrices of the layers."""
        return ".layers." in name and weight.ndim == 2

    def loss(self, part: Slice) -> tuple[Tensor, dict[str, float]]:
        """Return the summed cross-entropy and how often each probe is right."""
        rng = random.Random(part.name())
        span = rng.choice(LONGER[1:]) if rng.random() < LONG_SHARE else spans(rng)
        samples = part.samples[: BATCH_TOKENS // (span.stop - 1)]
        drawn = [self._draw(part.name(sample), span) for sample in samples]
        guesses = self.guesses([tokens for _, tokens in drawn])
        total = torch.zeros(())
        right = {}
        for name, probe in PROBES.items():
            wanted = torch.tensor([probe.values.index(probe.of(scene)) for scene, _ in drawn])
            total = total + functional.cross_entropy(guesses[name], wanted)
            right[name] = (guesses[name].argmax(1) == wanted).float().mean().item()
        return total, right

    def guesses(self, tokens: list[list[int]]) -> dict[str, Tensor]:
        """Return the logits (B, values) of every probe."""
        with torch.autocast("cpu", torch.bfloat16):
            states = features(self.trunk, tokens).float()
        rows = torch.arange(len(tokens))
        last = torch.tensor([len(ids) - 1 for ids in tokens])
        return {
            name: self.probes[name](states[rows, last - probe.place])
            for name, probe in PROBES.items()
        }

    def _draw(self, seed: str, span: range) -> tuple[Scene, list[int]]:
        rng = random.Random(seed)
        scene = Scene() if rng.random() < UNKNOWN_SHARE else scenes.sample(rng)
        return scene, self.captions.describe(scene, rng, span)


def export(task: TextEncoderTask, average: dict[str, Tensor], folder: Path) -> None:
    """Save the averaged encoder, fp16, as transformers does."""
    with torch.no_grad():
        for name, weight in task.encoder.named_parameters():
            weight.copy_(average[f"encoder.{name}"])
    task.encoder.half().save_pretrained(folder)
    task.encoder.float()


Say = Callable[[Scene, random.Random, str], str]

KINDS: dict[str, Say] = {
    "training": captions.caption,
    "unseen": captions.unseen_caption,
    "long": lambda scene, rng, language: captions.long_caption(
        scene, rng, language, rng.randint(40, 200), unseen=True
    ),
    "held out": captions.caption,
}
"""What `accuracy` measures: wording of training, wording that it never shows, one thing among 40 to
200 unseen words, and combinations of object, background and count that training never shows."""


def restore(folder: Path) -> TextEncoderTask:
    """Return the stage with its averaged weights, probes too, from a work folder."""
    saved = state.load(folder / "text_encoder.safetensors")
    if saved is None:
        raise FileNotFoundError(f"{folder} has no state of the text encoder")
    hidden = saved.average["probes.object.weight"].shape[1]
    task = TextEncoderTask(tokenizer.load(folder / "tokenizer"), hidden)
    state.restore(dict(task.model.named_parameters()), saved.average)
    return task


def accuracy(folder: Path, kind: str, count: int = 1000) -> dict[str, dict[str, float]]:
    """Print and return how often the probes are right for one of KINDS, by language."""
    task = restore(folder)
    found: dict[str, dict[str, float]] = {}
    for language in captions.LANGUAGES:
        found[language] = _shares(task, kind, language, count)
        shown = "  ".join(f"{name} {share:.3f}" for name, share in found[language].items())
        print(f"{kind}  {language}  {shown}", flush=True)
    return found


def _shares(task: TextEncoderTask, kind: str, language: str, count: int) -> dict[str, float]:
    rights: dict[str, list[Tensor]] = {name: [] for name in (*PROBES, "all")}
    for k in range(0, count, 100):
        drawn = [asked(kind, language, k + i) for i in range(min(100, count - k))]
        for name, right in _rights(task, drawn).items():
            rights[name].append(right)
    return {name: torch.cat(each).float().mean().item() for name, each in rights.items()}


@torch.no_grad()
def _rights(task: TextEncoderTask, drawn: list[tuple[Scene, str]]) -> dict[str, Tensor]:
    """Return which captions each probe reads right; `all`: those that all of them do."""
    guesses = task.guesses([task.captions.tokens(text) for _, text in drawn])
    rights = {}
    for name, probe in PROBES.items():
        wanted = torch.tensor([probe.values.index(probe.of(scene)) for scene, _ in drawn])
        rights[name] = guesses[name].argmax(1) == wanted
    return rights | {"all": torch.stack(list(rights.values())).all(0)}


def asked(kind: str, language: str, k: int) -> tuple[Scene, str]:
    """Return a scene and its caption for the evaluation, never one that training drew."""
    rng = random.Random(f"accuracy/{kind}/{language}/{k}")
    fits = {"long": _is_single, "held out": scenes.held_out}.get(kind, lambda _: True)
    while not fits(scene := _any(rng) if kind == "held out" else scenes.sample(rng)):
        pass
    return scene, KINDS[kind](scene, rng, language)


def _is_single(scene: Scene) -> bool:
    """Return whether there is one thing, where and as large as things mostly are."""
    return scene.things != () and scene == Scene(scene.things[:1], background=scene.background)


def _any(rng: random.Random) -> Scene:
    """Return a scene of one kind of thing, of a combination that may be held out."""
    thing = rng.choice(OBJECTS)
    colour = rng.choice(COLOURS).name if isinstance(thing, Shape) else None
    behind = rng.choice([concept.name for concept in BACKGROUNDS if concept.name != colour])
    return Scene((Thing(thing.name, colour),), rng.choice(COUNTS), None, behind)
