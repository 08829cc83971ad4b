"""Our text encoder against transformers' Qwen3, and what diffusers' pipeline makes of it."""

from pathlib import Path

import pytest
import torch
from diffusers import ZImagePipeline
from transformers import Qwen3Model

from tests.parity import difference, load

PROMPTS = ("cat", "一只可爱的猫咪在红色的背景上", "a red circle on a blue background, " * 12)


@pytest.mark.parametrize("length", [1, 9, 70, 500])
def test_features_equal_reference(checkpoint: Path, length: int) -> None:
    ours = load(checkpoint, "text_encoder")
    reference = Qwen3Model.from_pretrained(checkpoint / "text_encoder", dtype=torch.float32).eval()
    ids = torch.randint(0, ours.config.vocab_size, (length,), generator=torch.manual_seed(length))
    with torch.inference_mode():
        expected = reference(ids[None], output_hidden_states=True).hidden_states[-2][0]
        assert difference(ours(ids), expected) < 1e-5


def test_bfloat16_features_stay_near_reference(checkpoint: Path) -> None:
    dtype = torch.bfloat16
    ours = load(checkpoint, "text_encoder", dtype)
    reference = Qwen3Model.from_pretrained(checkpoint / "text_encoder", dtype=dtype).eval()
    ids = torch.arange(40)
    with torch.inference_mode():
        expected = reference(ids[None], output_hidden_states=True).hidden_states[-2][0]
        assert difference(ours(ids), expected) < 2e-2


@pytest.mark.parametrize("prompt", PROMPTS)
def test_real_tokens_alone_equal_the_padded_prompt(builtin: Path, prompt: str) -> None:
    """diffusers pads every prompt to 512 tokens; the features of the real ones are the same."""
    from zing.engine.zimage.pipeline import build

    reference = ZImagePipeline.from_pretrained(builtin, dtype=torch.float32)
    ours = load(builtin, "text_encoder")
    ids = torch.tensor(build(builtin).tokenizer.encode(prompt).ids)
    with torch.inference_mode():
        expected = reference.encode_prompt(prompt, do_classifier_free_guidance=False)[0][0]
        assert difference(ours(ids), expected) < 1e-5
