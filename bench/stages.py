"""A picture's stages, ours and diffusers', on the same checkpoint with the same work.

Both render the full size: native sizes are set aside. A stage is a function from the one before.
"""

import io
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from zing import pictures
from zing.engine.zimage.pipeline import Pipeline

STEPS = 8


class Stages(Protocol):
    """The four stages of a picture."""

    def encode(self, prompt: str) -> Any:
        """The prompt's features."""

    def denoise(self, text: Any, side: int, seed: int) -> Any:
        """The latents of a square picture after eight steps."""

    def decode(self, latents: Any) -> Any:
        """Its pixels, uint8."""

    def picture(self, pixels: Any) -> bytes:
        """The PNG file's bytes."""


class Ours:
    """zing's engine; it writes PNG at level 1."""

    def __init__(self, folder: Path) -> None:
        self.pipeline = Pipeline(folder, torch.device("cpu"), torch.float32)

    def encode(self, prompt: str) -> Any:
        """The prompt's tokens after the context refiner."""
        return self.pipeline.encode(prompt)

    def denoise(self, text: Any, side: int, seed: int) -> Any:
        """The latents after eight steps."""
        *_, last = self.pipeline.denoise(self.pipeline.noise(side, side, seed), [text], STEPS)
        return last.latents

    def decode(self, latents: Any) -> Any:
        """(H, W, 3) uint8."""
        return self.pipeline.decode(latents)[0].numpy()

    def picture(self, pixels: Any) -> bytes:
        """The PNG file's bytes."""
        return pictures.encode(pixels)


class Diffusers:
    """diffusers' ZImagePipeline as its documentation calls it; Pillow's default PNG."""

    def __init__(self, folder: Path) -> None:
        from diffusers import ZImagePipeline

        self.pipeline = ZImagePipeline.from_pretrained(folder, dtype=torch.float32)
        self.pipeline.set_progress_bar_config(disable=True)

    @torch.no_grad()
    def encode(self, prompt: str) -> Any:
        """The prompt's features of the real tokens; 512 are computed."""
        return self.pipeline.encode_prompt(prompt, do_classifier_free_guidance=False)[0]

    def denoise(self, text: Any, side: int, seed: int) -> Any:
        """The latents after eight steps."""
        return self.pipeline(
            prompt_embeds=text,
            width=side,
            height=side,
            num_inference_steps=STEPS,
            guidance_scale=0.0,
            generator=torch.Generator("cpu").manual_seed(seed),
            output_type="latent",
        ).images

    @torch.no_grad()
    def decode(self, latents: Any) -> Any:
        """A PIL image."""
        vae = self.pipeline.vae
        scaled = latents / vae.config.scaling_factor + vae.config.shift_factor
        decoded = vae.decode(scaled, return_dict=False)[0]
        return self.pipeline.image_processor.postprocess(decoded, output_type="pil")[0]

    def picture(self, pixels: Any) -> bytes:
        """The PNG file's bytes."""
        buffer = io.BytesIO()
        pixels.save(buffer, "PNG")
        return buffer.getvalue()


def same(ours: Any, reference: Any) -> bool:
    """Whether 99.9 % of the bytes are within one level: a fast wrong picture does not count."""
    apart = np.abs(np.asarray(ours).astype(int) - np.asarray(reference).astype(int))
    return bool((apart <= 1).mean() >= 0.999)
