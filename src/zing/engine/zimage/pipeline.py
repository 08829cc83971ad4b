"""The pipeline: a prompt is encoded, noise is denoised step by step, latents are decoded.

It keeps what can be computed once: a prompt's text tokens, a grid's layout and a schedule's
conditioning. It knows no size rule beyond its grid; scaling and cutting are the engine's.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from zing.engine.zimage import config as configs
from zing.engine.zimage import preview as previews
from zing.engine.zimage import weights
from zing.engine.zimage.scheduler import euler_step, sigmas
from zing.engine.zimage.text_encoder import TextEncoder
from zing.engine.zimage.tokenizer import Tokenizer
from zing.engine.zimage.transformer import Conditioning, Layout, Transformer
from zing.engine.zimage.vae import Vae
from zing.errors import BadCheckpoint, BadPicture


@dataclass(frozen=True)
class Text:
    """An encoded prompt.

    tokens       (padded L, D), ready for the joint blocks
    total, used  tokens of the prompt with its template, and those that were encoded
    seen         characters of the prompt that were encoded
    """

    tokens: Tensor
    total: int
    used: int
    seen: int


@dataclass(frozen=True)
class Step:
    """One step is done.

    latents   (B, C, H, W) float32
    velocity  (B, C, H, W), the model's of this step
    sigma     of the latents now
    """

    latents: Tensor
    velocity: Tensor
    sigma: Tensor

    @property
    def clean(self) -> Tensor:
        """The estimate of the last latents: one step from here to the end."""
        return self.latents + self.sigma * self.velocity.float()


class Pipeline:
    """A loaded checkpoint."""

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype) -> None:
        networks = build(folder)
        for network, part in networks.with_parts(folder):
            weights.load(network, part, device, dtype)
        self.device, self.dtype = device, dtype
        self.scheduler = networks.scheduler
        self.manifest = networks.manifest
        self.tokenizer = networks.tokenizer
        self.text_encoder = networks.text_encoder.eval()
        self.transformer = networks.transformer.eval()
        self.vae = networks.vae.eval().to(memory_format=torch.channels_last)
        # Each cache holds the parts it needs, not the pipeline: a cycle would keep a dropped
        # model in memory until the garbage collector comes by.
        parts = self.tokenizer, self.text_encoder, self.transformer, self.manifest
        self.encode: Callable[[str], Text] = lru_cache(16)(partial(_encode, *parts))
        self._layout: Callable[..., Layout] = lru_cache(8)(self.transformer.layout)
        schedule = partial(_schedule, self.transformer, self.scheduler.shift, device)
        self._schedule: Callable[[int], list[Conditioning]] = lru_cache(4)(schedule)

    @property
    def multiple(self) -> int:
        """What width and height must be multiples of, in pixels."""
        factor: int = self.vae.config.factor
        return 2 * factor

    def noise(self, width: int, height: int, seed: int) -> Tensor:
        """The noise (1, C, H, W) that a seed names: float32 from a generator of its own on the
        CPU, as diffusers draws it, so that it is the same on every device and in every batch.
        """
        factor, channels = self.vae.config.factor, self.transformer.config.in_channels
        generator = torch.Generator("cpu").manual_seed(seed)
        shape = (1, channels, height // factor, width // factor)
        return torch.randn(shape, generator=generator).to(self.device)

    def denoise(self, noise: Tensor, texts: Sequence[Text], steps: int) -> Iterator[Step]:
        """Yield each step when it is done; stop iterating to cancel.

        noise  (B, C, H, W) float32
        texts  one for each of the B
        """
        latents = noise
        rows, columns = noise.shape[2] // 2, noise.shape[3] // 2
        tokens = [text.tokens for text in texts]
        layout = self._layout(rows, columns, tuple(len(text) for text in tokens))
        falling = sigmas(steps, self.scheduler.shift)
        for step, conditioning in enumerate(self._schedule(steps)):
            with torch.inference_mode():
                model_input = latents.to(self.dtype)
                velocity = self.transformer(model_input, conditioning, tokens, layout)
                latents = euler_step(latents, velocity, falling[step], falling[step + 1])
            yield Step(latents, velocity, falling[step + 1])

    @cached_property
    def preview(self) -> previews.Preview:
        """What draws previews; fitted when it is first asked for."""
        fitted: previews.Preview = previews.fit(self.vae)
        return fitted

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """The pictures (B, H, W, 3) uint8 on the CPU; raises BadPicture where values are not
        finite, as half precision in the wrong place leaves them.
        """
        pixels = self.vae.decode(latents).float()
        if not torch.isfinite(pixels).all():
            raise BadPicture
        pixels = pixels.mul_(0.5).add_(0.5).clamp_(0, 1).mul_(255).round_()
        return pixels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu()


@torch.inference_mode()
def _encode(
    tokenizer: Tokenizer,
    text_encoder: TextEncoder,
    transformer: Transformer,
    manifest: configs.Manifest,
    prompt: str,
) -> Text:
    """The text of one prompt, before the step loop."""
    tokens = tokenizer.encode(prompt, manifest.max_sequence_length)
    device = text_encoder.embed_tokens.weight.device
    features = text_encoder(torch.tensor(tokens.ids, device=device))
    return Text(transformer.text_tokens(features), tokens.total, len(tokens.ids), tokens.seen)


@torch.inference_mode()
def _schedule(
    transformer: Transformer, shift: float, device: torch.device, steps: int
) -> list[Conditioning]:
    """The conditioning of each step."""
    return [transformer.conditioning(sigma) for sigma in sigmas(steps, shift).to(device)[:-1]]


@dataclass(frozen=True)
class Networks:
    """A checkpoint's parts, the networks still without weights (on the meta device)."""

    scheduler: configs.SchedulerConfig
    manifest: configs.Manifest
    tokenizer: Tokenizer
    text_encoder: TextEncoder
    transformer: Transformer
    vae: Vae

    def with_parts(self, folder: Path) -> list[tuple[nn.Module, weights.Part]]:
        """Each network beside the files it is filled from."""
        used = self.text_encoder.config.used_layers
        unused = (f"layers.{used}.", "norm.weight", "lm_head.weight")
        return [
            (
                self.text_encoder,
                weights.Part(folder / "text_encoder", "model", "model.", unused),
            ),
            (
                self.transformer,
                weights.Part(folder / "transformer", "diffusion_pytorch_model"),
            ),
            (
                self.vae,
                weights.Part(
                    folder / "vae",
                    "diffusion_pytorch_model",
                    unused=("encoder.", "quant_conv."),
                ),
            ),
        ]


def build(folder: Path) -> Networks:
    """The parts of a checkpoint folder after every check that needs no weights."""
    if not folder.is_dir():
        raise BadCheckpoint(f"{folder} is not a folder.")
    configs.read_index(folder)
    text_encoder = configs.read_text_encoder(folder)
    transformer = configs.read_transformer(folder)
    vae = configs.read_vae(folder)
    if transformer.cap_feat_dim != text_encoder.hidden_size:
        raise BadCheckpoint(f"{folder}: cap_feat_dim is not the text encoder's hidden_size.")
    if transformer.in_channels != vae.latent_channels:
        raise BadCheckpoint(f"{folder}: in_channels is not the VAE's latent_channels.")
    tokenizer = Tokenizer(folder / "tokenizer" / "tokenizer.json", text_encoder.vocab_size)
    with torch.device("meta"):
        return Networks(
            scheduler=configs.read_scheduler(folder),
            manifest=configs.read_manifest(folder, 2 * vae.factor),
            tokenizer=tokenizer,
            text_encoder=TextEncoder(text_encoder),
            transformer=Transformer(transformer),
            vae=Vae(vae),
        )
