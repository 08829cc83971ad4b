"""Prompts to token ids: the chat template around the user's text. No torch.

The template is Qwen's for one user message with a generation prompt and thinking enabled, which
leaves no think block (model.md §3); it is written here, so no template of a checkpoint is run.
"""

from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer as Bpe
from tokenizers.models import BPE

from zing.engine.zimage.config import read_plain
from zing.errors import BadCheckpoint, BadPrompt

START, END = "<|im_start|>", "<|im_end|>"
HEAD = f"{START}user\n"
TAIL = f"{END}\n{START}assistant\n"

_BYTES_MAX = 2**26


@dataclass(frozen=True)
class Tokens:
    """A prompt's token ids with the template, and how many there were before any cut.

    seen  characters of the prompt that the ids stand for
    """

    ids: list[int]
    total: int
    seen: int


class Tokenizer:
    """The checkpoint's tokenizer."""

    def __init__(self, path: Path, vocab_size: int) -> None:
        self._bpe = _read(path)
        if getattr(self._bpe.model, "dropout", None):
            raise BadCheckpoint(f"{path}: dropout would give one prompt many readings.")
        # A truncation or padding stored in the file is not ours: the cut below keeps the tail.
        self._bpe.no_truncation()
        self._bpe.no_padding()
        highest = max(self._bpe.get_vocab().values(), default=0)
        if highest >= vocab_size:
            raise BadCheckpoint(
                f"{path}: token id {highest}, but the text encoder knows {vocab_size} tokens."
            )
        self._control = self._bpe.get_added_tokens_decoder()
        for token in (START, END):
            if self._bpe.token_to_id(token) not in self._control:
                raise BadCheckpoint(f"{path}: the control token {token} is missing.")
        self._template = self._controls(self._encode(HEAD + TAIL))

    def encode(self, prompt: str, max_tokens: int = 512) -> Tokens:
        """The ids that the text encoder reads, at most `max_tokens`.

        A longer prompt loses the end of the user's text; the template's tail always stays.
        """
        encoding = self._bpe.encode(HEAD + prompt + TAIL, add_special_tokens=False)
        ids: list[int] = encoding.ids
        # By ids, not by text: a normaliser may turn harmless text into a control token.
        if self._controls(ids) != self._template:
            raise BadPrompt("The prompt holds a control token of the model; write it another way.")
        if len(ids) <= max_tokens:
            return Tokens(ids, len(ids), len(prompt))
        tail = self._encode(TAIL)
        kept = max_tokens - len(tail)
        seen = max(0, encoding.offsets[kept - 1][1] - len(HEAD))
        return Tokens(ids[:kept] + tail, len(ids), min(seen, len(prompt)))

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._bpe.encode(text, add_special_tokens=False).ids
        return ids

    def _controls(self, ids: list[int]) -> list[int]:
        return [token for token in ids if token in self._control]


def _read(path: Path) -> Bpe:
    """The tokenizer of a file, tried once: what it cannot encode now it never could."""
    data = read_plain(path, most=_BYTES_MAX)
    try:
        bpe = Bpe.from_str(data.decode())
        bpe.encode(HEAD + TAIL)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - bare Exception, and panics beyond it
        reason = next(iter(str(error).splitlines()), "")
        raise BadCheckpoint(f"{path} is not a tokenizer that can be read: {reason}.") from None
    if not isinstance(bpe.model, BPE):
        raise BadCheckpoint(f"{path} is not a byte-pair tokenizer.")
    return bpe
