"""The text encoder: a small Qwen3, taught on captions alone.

Linear probes read the scene from the features of the closing template tokens, so one caption in
English and one in Chinese land on the same features before any picture is drawn; the probes are
thrown away. The features are hidden_states[-2]: the last layer of a Qwen3 is never used by the
pipeline, so of three layers two learn.
"""

import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen3Config, Qwen3Model

from training import captions, scenes, tokenizer
from training.loop import Plan, Slice
from training.optimizer import Rates
from training.scenes import Scene
from training.vocabulary import COLOURS, OBJECTS, POSITIONS, SIZES

PLAN = Plan("text_encoder", 1000, 96, Rates(muon=3e-3, adam=2e-3))

_NAMES: dict[str, list[str | None]] = {
    "object": [thing.name for thing in OBJECTS],
    "background": [None, *(colour.name for colour in COLOURS)],
    "colour": [None, *(colour.name for colour in COLOURS)],
    "position": [position.name for position in POSITIONS],
    "size": [size.name for size in SIZES],
}
"""What the probes tell apart, the last closing token first."""


def config(vocabulary_size: int, hidden: int = 160, layers: int = 3) -> Qwen3Config:
    """Return the configuration of a text encoder of width `hidden`."""
    return Qwen3Config(
        vocab_size=vocabulary_size,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=hidden // 4,
        intermediate_size=hidden * 14 // 5,
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


def lengths(rng: random.Random) -> range:
    """Return the least lengths, in tokens, that the captions of one batch are drawn up to.

    One batch holds one class, for padding costs time: most are as they come (20 tokens), 10 %
    have 33-64, 2 % up to about 120.
    """
    kind = rng.random()
    if kind < 0.02:
        return range(65, 121)
    return range(33, 58) if kind < 0.12 else range(1)


class Captions:
    """Draws scenes with captions and their tokens."""

    def __init__(self, words: Tokenizer) -> None:
        self.words = words

    def tokens(self, text: str) -> list[int]:
        """Return the tokens of a prompt within its template."""
        ids: list[int] = self.words.encode(tokenizer.templated(text)).ids
        return ids

    def describe(self, scene: Scene, rng: random.Random, at_least: int = 0) -> list[int]:
        """Return the tokens of a caption of a scene, at least so many."""
        language = rng.choice(captions.LANGUAGES)
        text = captions.caption(scene, rng, language)
        if at_least:
            text = captions.lengthen(
                text, rng, language, lambda longer: len(self.tokens(longer)) >= at_least
            )
        return self.tokens(text)


class TextEncoderTask:
    """Cross-entropy of the probes."""

    def __init__(self, words: Tokenizer, hidden: int = 160) -> None:
        torch.manual_seed(PLAN.seed)
        self.captions = Captions(words)
        size = -(-words.get_vocab_size() // 64) * 64
        self.encoder = Qwen3Model(config(size, hidden))
        self.trunk = trunk(self.encoder)
        self.probes = nn.ModuleDict(
            {name: nn.Linear(hidden, len(values)) for name, values in _NAMES.items()}
        )
        self.model = nn.ModuleDict({"encoder": self.encoder, "probes": self.probes})
        for weight in (*self.encoder.layers[-1].parameters(), *self.encoder.norm.parameters()):
            weight.requires_grad_(False)

    def is_matrix(self, name: str, weight: Tensor) -> bool:
        """Return whether Muon moves this weight: the matrices of the layers."""
        return ".layers." in name and weight.ndim == 2

    def loss(self, part: Slice) -> tuple[Tensor, dict[str, float]]:
        """Return the summed cross-entropy and how often each probe is right."""
        shortest = lengths(random.Random(part.name()))
        drawn = [self._draw(part.name(sample), shortest) for sample in part.samples]
        tokens = [ids for _, ids in drawn]
        states = features(self.trunk, tokens)
        total = torch.zeros(())
        right = {}
        for place, (name, values) in enumerate(_NAMES.items()):
            at = [len(ids) - 1 - place for ids in tokens]
            guess = self.probes[name](states[torch.arange(len(at)), at])
            target = torch.tensor([values.index(_told(scene, name)) for scene, _ in drawn])
            total = total + functional.cross_entropy(guess, target)
            right[name] = (guess.argmax(1) == target).float().mean().item()
        return total, right

    def _draw(self, seed: str, shortest: range) -> tuple[Scene, list[int]]:
        rng = random.Random(seed)
        scene = scenes.sample(rng)
        return scene, self.captions.describe(scene, rng, rng.choice(shortest))


def _told(scene: Scene, name: str) -> str | None:
    """Return what a caption of the scene says about `name`."""
    if name == "colour" and not scene.colour_said:
        return None
    value: str | None = getattr(scene, name)
    return value


def export(task: TextEncoderTask, average: dict[str, Tensor], folder: Path) -> None:
    """Save the averaged encoder, fp16, as transformers does."""
    with torch.no_grad():
        for name, weight in task.encoder.named_parameters():
            weight.copy_(average[f"encoder.{name}"])
    task.encoder.half().save_pretrained(folder)
    task.encoder.float()
