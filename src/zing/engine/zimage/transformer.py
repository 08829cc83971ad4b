"""The S3-DiT: one stream of image and text tokens through modulated blocks.

Source: diffusers 0.42.1 models/transformers/transformer_z_image.py, basic mode; Z-Image
src/zimage/transformer.py. What depends only on the schedule (modulation), the prompt (text
tokens) or the grid (rope) is computed once, outside the loop. Sequences of a batch lie end to
end along one token axis, so nothing is padded beyond the model's own multiple of 32 and nothing
is masked.

Letters: B pictures, C channels, H W latent rows and columns, T tokens, L text tokens, D features.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zing.engine.zimage.config import TransformerConfig
from zing.engine.zimage.layers import (
    FusedLinear,
    Linear,
    Scale,
    attend,
    rms_norm,
    rotate_pairs,
    swiglu,
)

TOKEN_MULTIPLE = 32


class Modulation(NamedTuple):
    """One block's four vectors (D,) for one sigma: learned norms times scales and gates."""

    before_attention: Tensor
    after_attention: Tensor
    before_ffn: Tensor
    after_ffn: Tensor


class Conditioning(NamedTuple):
    """All that a forward takes from its sigma."""

    refiners: list[Modulation]
    layers: list[Modulation]
    final: Tensor


@dataclass(frozen=True)
class Layout:
    """Where the tokens of a batch stand: computed once for a grid and its text lengths.

    rows, columns  the image's tokens, before padding
    text_lengths   padded tokens of each item's text
    image_rope     (B * padded image tokens, 1, d / 2) complex64
    joint_rope     (all tokens of all items, 1, d / 2) complex64, image before text
    """

    rows: int
    columns: int
    text_lengths: tuple[int, ...]
    image_rope: Tensor
    joint_rope: Tensor

    @property
    def image_length(self) -> int:
        """Image tokens of one item, padded."""
        return round_up(self.rows * self.columns)

    @property
    def lengths(self) -> list[int]:
        """All tokens of each item."""
        return [self.image_length + length for length in self.text_lengths]


class Attention(nn.Module):
    """Multi-head attention with normalised, rotated queries and keys."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        dim = config.dim
        self.heads, self.head_dim, self.eps = config.n_heads, config.head_dim, config.qk_eps
        self.qkv = FusedLinear(dim, {"to_q": dim, "to_k": dim, "to_v": dim})
        self.norm_q, self.norm_k = Scale(self.head_dim), Scale(self.head_dim)
        self.to_out = nn.ModuleList([Linear(dim, dim, bias=False)])

    def forward(self, x: Tensor, rope: Tensor, lengths: list[int]) -> Tensor:
        """(T, D) -> (T, D); rope (T, 1, d / 2)."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, self.head_dim))
        weight = torch.stack((self.norm_q.weight, self.norm_k.weight))[:, None]
        qk = rotate_pairs(rms_norm(qkv[:, :2], weight, self.eps), rope[:, None])
        output: Tensor = self.to_out[0](attend(qk[:, 0], qk[:, 1], qkv[:, 2], lengths))
        return output


class FeedForward(nn.Module):
    """SwiGLU without biases."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.w13 = FusedLinear(dim, {"w1": hidden, "w3": hidden})
        self.w2 = Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(T, D) -> (T, D)."""
        output: Tensor = self.w2(swiglu(self.w13(x)))
        return output


class Block(nn.Module):
    """Attention and feed-forward, each between two norms; modulated or plain."""

    def __init__(self, config: TransformerConfig, *, modulated: bool) -> None:
        super().__init__()
        dim = config.dim
        self.eps = config.norm_eps
        self.attention = Attention(config)
        self.feed_forward = FeedForward(dim, config.ffn_dim)
        self.attention_norm1, self.attention_norm2 = Scale(dim), Scale(dim)
        self.ffn_norm1, self.ffn_norm2 = Scale(dim), Scale(dim)
        if modulated:
            self.adaLN_modulation = nn.ModuleList([Linear(config.adaln_dim, 4 * dim)])

    def forward(self, x: Tensor, by: Modulation, rope: Tensor, lengths: list[int]) -> Tensor:
        """(T, D) -> (T, D)."""
        attended = self.attention(rms_norm(x, by.before_attention, self.eps), rope, lengths)
        x = x + rms_norm(attended, by.after_attention, self.eps)
        fed = self.feed_forward(rms_norm(x, by.before_ffn, self.eps))
        return x + rms_norm(fed, by.after_ffn, self.eps)

    def plain(self) -> Modulation:
        """The learned norms alone."""
        return Modulation(
            self.attention_norm1.weight,
            self.attention_norm2.weight,
            self.ffn_norm1.weight,
            self.ffn_norm2.weight,
        )

    def modulation(self, timestep: Tensor) -> Modulation:
        """The norms for a timestep embedding (1, adaln), multiplied in float32."""
        vectors = self.adaLN_modulation[0](timestep)[0].float().chunk(4)
        factors = (1 + vectors[0], vectors[1].tanh(), 1 + vectors[2], vectors[3].tanh())
        norms = self.plain()
        scaled = [norm.float() * factor for norm, factor in zip(norms, factors, strict=True)]
        return Modulation(*(vector.to(timestep.dtype) for vector in scaled))


class FinalLayer(nn.Module):
    """LayerNorm, one scale, one projection."""

    def __init__(self, config: TransformerConfig, outputs: int) -> None:
        super().__init__()
        self.eps = config.final_eps
        self.linear = Linear(config.dim, outputs)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), Linear(config.adaln_dim, config.dim))

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        """(..., D) -> (..., patch values)."""
        output: Tensor = self.linear(F.layer_norm(x, scale.shape, scale, None, self.eps))
        return output


class TimestepEmbedder(nn.Module):
    """A sinusoid and two linear layers."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.frequencies = config.t_frequencies
        self.mlp = nn.Sequential(
            Linear(config.t_frequencies, config.t_hidden),
            nn.SiLU(),
            Linear(config.t_hidden, config.adaln_dim),
        )

    def forward(self, t: Tensor) -> Tensor:
        """(N,) float32, already times t_scale -> (N, adaln)."""
        half = self.frequencies // 2
        exponents = -math.log(10000) * torch.arange(half, dtype=torch.float32, device=t.device)
        angles = t[:, None] * torch.exp(exponents / half)
        wave = torch.cat((angles.cos(), angles.sin()), dim=-1)
        output: Tensor = self.mlp(wave.to(self.mlp[0].weight.dtype))
        return output


class Transformer(nn.Module):
    """Latents, text tokens and a sigma in; the velocity from noise to picture out."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        dim, values = config.dim, config.patch_size**2 * config.in_channels
        layers, refiners = range(config.n_layers), range(config.n_refiner_layers)
        self.all_x_embedder = nn.ModuleDict({"2-1": Linear(values, dim)})
        self.all_final_layer = nn.ModuleDict({"2-1": FinalLayer(config, values)})
        self.noise_refiner = nn.ModuleList([Block(config, modulated=True) for _ in refiners])
        self.context_refiner = nn.ModuleList([Block(config, modulated=False) for _ in refiners])
        self.t_embedder = TimestepEmbedder(config)
        self.cap_embedder = nn.ModuleList(
            [Scale(config.cap_feat_dim), Linear(config.cap_feat_dim, dim)]
        )
        self.x_pad_token = nn.Parameter(torch.empty(1, dim))
        self.cap_pad_token = nn.Parameter(torch.empty(1, dim))
        self.layers = nn.ModuleList([Block(config, modulated=True) for _ in layers])

    def text_tokens(self, features: Tensor) -> Tensor:
        """The text's tokens, (padded L, D), from the encoder's features (L, cap_feat_dim)."""
        norm, project = self.cap_embedder
        x = project(rms_norm(features, norm.weight, self.config.norm_eps))
        padded = round_up(len(x))
        x = torch.cat((x, self.cap_pad_token.expand(padded - len(x), -1)))
        rope = self._rope(_text_positions(padded))
        for block in self.context_refiner:
            x = block(x, block.plain(), rope, [padded])
        return x

    def layout(self, rows: int, columns: int, text_lengths: tuple[int, ...]) -> Layout:
        """The layout of a batch of rows x columns token grids with these padded text lengths."""
        image, joint = [], []
        for length in text_lengths:
            positions = _image_positions(rows, columns, length)
            image.append(positions)
            joint += [positions, _text_positions(length)]
        ropes = self._rope(torch.cat(image)), self._rope(torch.cat(joint))
        return Layout(rows, columns, text_lengths, *ropes)

    def conditioning(self, sigma: Tensor) -> Conditioning:
        """What every block and the final layer take from a sigma, () float32.

        One sigma at a time, because a row of a larger product may differ in its last bit.
        """
        timestep = sigma.reshape(1) * 1000
        t = self.t_embedder((1000 - timestep) / 1000 * self.config.t_scale)
        final = 1 + self.all_final_layer["2-1"].adaLN_modulation(t)[0]
        return Conditioning(
            [block.modulation(t) for block in self.noise_refiner],
            [block.modulation(t) for block in self.layers],
            final,
        )

    def forward(
        self, latents: Tensor, by: Conditioning, texts: Sequence[Tensor], layout: Layout
    ) -> Tensor:
        """The velocity (B, C, H, W) at `latents`; texts are B tensors (padded L_i, D)."""
        x = self.all_x_embedder["2-1"](_patches(latents))
        x = self._padded(x, layout).flatten(0, 1)
        image_lengths = [layout.image_length] * len(texts)
        for block, modulation in zip(self.noise_refiner, by.refiners, strict=True):
            x = block(x, modulation, layout.image_rope, image_lengths)

        items = zip(x.split(image_lengths), texts, strict=True)
        x = torch.cat([tokens for item in items for tokens in item])
        for block, modulation in zip(self.layers, by.layers, strict=True):
            x = block(x, modulation, layout.joint_rope, layout.lengths)

        tokens = layout.rows * layout.columns
        image = torch.stack([item[:tokens] for item in x.split(layout.lengths)])
        return _picture(self.all_final_layer["2-1"](image, by.final), layout)

    def _padded(self, x: Tensor, layout: Layout) -> Tensor:
        missing = layout.image_length - x.shape[1]
        if not missing:
            return x
        return torch.cat((x, self.x_pad_token.expand(len(x), missing, -1)), dim=1)

    def _rope(self, positions: Tensor) -> Tensor:
        """The turn of each feature pair, (T, 1, d / 2) complex64, for positions (T, 3)."""
        turns = []
        for axis, dim in enumerate(self.config.axes_dims):
            steps = torch.arange(0, dim, 2, dtype=torch.float64) / dim
            angles = torch.outer(positions[:, axis].double(), self.config.rope_theta**-steps)
            turns.append(angles.float())
        angle = torch.cat(turns, dim=-1)[:, None]
        return torch.polar(torch.ones_like(angle), angle).to(self.x_pad_token.device)


def round_up(tokens: int) -> int:
    """The next multiple of 32 tokens, the grain that the model was trained with."""
    return -(-tokens // TOKEN_MULTIPLE) * TOKEN_MULTIPLE


def _text_positions(length: int) -> Tensor:
    positions = torch.zeros(length, 3, dtype=torch.int64)
    positions[:, 0] = torch.arange(1, length + 1)
    return positions


def _image_positions(rows: int, columns: int, text_length: int) -> Tensor:
    """(padded T, 3): the frame follows the text; pads stand at the origin."""
    positions = torch.zeros(round_up(rows * columns), 3, dtype=torch.int64)
    grid = positions[: rows * columns].view(rows, columns, 3)
    grid[..., 0] = text_length + 1
    grid[..., 1] = torch.arange(rows)[:, None]
    grid[..., 2] = torch.arange(columns)
    return positions


def _patches(latents: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H / 2 * W / 2, 2 * 2 * C), the channel fastest."""
    x = latents.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
    return x.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def _picture(values: Tensor, layout: Layout) -> Tensor:
    """The inverse of `_patches`."""
    x = values.unflatten(2, (2, 2, -1)).unflatten(1, (layout.rows, layout.columns))
    return x.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)
