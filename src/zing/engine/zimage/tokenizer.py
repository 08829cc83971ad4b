"""Prompts to token ids: the chat template around the user's text. No torch.

The template is Qwen's for one user message with a generation prompt and thinking enabled, which
leaves no think block (model.md §3); it is written here, so no template of a checkpoint is run.
"""

from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer as Bpe

from zing.errors import BadCheckpoint, BadPrompt

START, END = "<|im_start|>", "<|im_end|>"
HEAD = f"{START}user\n"
TAIL = f"{END}\n{START}assistant\n"


@dataclass(frozen=True)
class Tokens:
    """A prompt's token ids with the template, and how many there were before any cut."""

    ids: list[int]
    total: int


class Tokenizer:
    """The checkpoint's tokenizer."""

    def __init__(self, path: Path, vocab_size: int) -> None:
        self._bpe = _read(path)
        # A truncation or padding stored in the file is not ours: the cut below keeps the tail.
        self._bpe.no_truncation()
        self._bpe.no_padding()
        highest = max(self._bpe.get_vocab().values(), default=0)
        if highest >= vocab_size:
            raise BadCheckpoint(
                f"{path}: token id {highest}, but the text encoder knows {vocab_size} tokens."
            )
        added = self._bpe.get_added_tokens_decoder().values()
        self._control = sorted(token.content for token in added)
        for token in (START, END):
            if token not in self._control:
                raise BadCheckpoint(f"{path}: the control token {token} is missing.")

    def encode(self, prompt: str, max_tokens: int = 512) -> Tokens:
        """The ids that the text encoder reads, at most `max_tokens`.

        A longer prompt loses the end of the user's text; the template's tail always stays.
        """
        for token in self._control:
            if token in prompt:
                raise BadPrompt(
                    f"The prompt holds the control token {token}; write it another way."
                )
        ids = self._encode(HEAD + prompt + TAIL)
        if len(ids) <= max_tokens:
            return Tokens(ids, len(ids))
        tail = self._encode(TAIL)
        return Tokens(ids[: max_tokens - len(tail)] + tail, len(ids))

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._bpe.encode(text, add_special_tokens=False).ids
        return ids


def _read(path: Path) -> Bpe:
    if not path.is_file():
        raise BadCheckpoint(f"{path} is missing.")
    try:
        return Bpe.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - tokenizers raises bare Exception
        reason = str(error).splitlines()[0]
        raise BadCheckpoint(f"{path} is not a tokenizer that can be read: {reason}.") from None
