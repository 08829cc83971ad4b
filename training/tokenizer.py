"""The tokenizer: byte-level BPE learned on captions, saved as the stock Qwen2Tokenizer.

Two traps of it: merges must not cross Chinese characters (each Han character is isolated while
learning, so the stock class gives the same pieces), and <|im_start|> must be declared special.
"""

import json
import random
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from string import ascii_uppercase
from typing import cast

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from training import captions, scenes, vocabulary

VOCABULARY_SIZE = 4096
CAPTIONS = 40_000
UNKNOWN_SHARE = 0.15
"""Share of the captions that name nothing known, and of those with an everyday sentence."""

VOCABULARY_TIMES = 30
"""How often the corpus has every word of the vocabulary, besides those of captions."""

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CLOSING_TOKENS = 5
"""Tokens of the template after a prompt: <|im_end|>, newline, <|im_start|>, assistant, newline."""

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% endif %}"
)


def templated(prompt: str) -> str:
    """Return the text that is tokenized for a prompt, as ZImagePipeline builds it."""
    return f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"


def corpus(count: int, seed: int) -> Iterator[str]:
    """Yield the vocabulary, captions in both languages, and the words of the template."""
    rng = random.Random(f"tokenizer/{seed}")
    yield from _vocabulary() * VOCABULARY_TIMES
    for _ in range(count):
        language = rng.choice(captions.LANGUAGES)
        scene = scenes.Scene() if rng.random() < UNKNOWN_SHARE else scenes.sample(rng)
        text = captions.caption(scene, rng, language)
        if rng.random() < UNKNOWN_SHARE:
            text = captions.long_caption(scene, rng, language, 40)
        yield text + "\nuser\nassistant\nsystem\n"


def _vocabulary() -> list[str]:
    """Return all words of the vocabulary; what every caption may hold is to be few tokens."""
    groups = vocabulary.listed()
    words: list[str] = []
    for concept in chain.from_iterable(groups.values()):
        words += [f" {word}" for word in cast(list[str], concept["en"])]
        words += cast(list[str], concept["zh"])
    return words


def learn(lines: Iterator[str], vocabulary_size: int = VOCABULARY_SIZE) -> Qwen2Tokenizer:
    """Return the tokenizer that BPE learns from lines."""
    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    learner.decoder = decoders.ByteLevel()
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), "isolated"),
            pre_tokenizers.Split(Regex(r"\p{Han}"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        min_frequency=3,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    learner.train_from_iterator(lines, trainer)
    learned = json.loads(learner.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=learned["vocab"],
        merges=[tuple(pair) for pair in learned["merges"]],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=["<|im_start|>"],
        model_max_length=32768,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def train(folder: Path, seed: int) -> None:
    """Learn the tokenizer and save it in `folder`."""
    learn(corpus(CAPTIONS, seed)).save_pretrained(folder)
    fold_case(folder)


def fold_case(folder: Path) -> None:
    """Give each capital letter in a saved tokenizer the id of its small one.

    Merges go by ids and hold no capitals, so CAT is read as cat is. A normaliser would be plainer,
    but transformers sets Qwen2Tokenizer's own; nor does its save_pretrained keep two letters of one
    id: it is done last.
    """
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    ids = content["model"]["vocab"]
    ids |= {letter: ids[letter.lower()] for letter in ascii_uppercase}
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")


def load(folder: Path) -> Tokenizer:
    """Return the saved tokenizer as the plain `tokenizers` object, which is what an engine uses."""
    return Tokenizer.from_file(str(folder / "tokenizer.json"))
