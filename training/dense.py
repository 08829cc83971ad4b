"""The transformer's forward for a batch of one size and one text length, all of it dense.

The same numbers as diffusers' ZImageTransformer2DModel, whose weights it uses: that one takes
lists and pads and stacks them again for every call. Rope is real arithmetic on halves of each
feature pair, queries and keys are turned together.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

MULTIPLE = 32
"""Tokens that texts and pictures are padded to a multiple of."""


def forward(model: Any, noisy: Tensor, times: Tensor, texts: Tensor, lengths: Tensor) -> Tensor:
    """Return clean - noise for latents.

    noisy    (B, C, H, W)
    times    (B,), 0 is noise
    texts    (B, L, D) features, L a multiple of 32; what stands behind a text does not matter
    lengths  (B,) tokens of each text
    """
    rows, columns = noisy.shape[2] // 2, noisy.shape[3] // 2
    length = texts.shape[1]
    image_turn, text_turn = _turns(model, rows, columns, length)
    t = model.t_embedder(times * model.t_scale)
    x = _image_tokens(model, noisy)
    for block in model.noise_refiner:
        x = _block(block, x, image_turn, block.adaLN_modulation(t))
    text = model.cap_embedder(texts)
    beyond = torch.arange(length) >= lengths[:, None]
    text = torch.where(beyond[..., None], model.cap_pad_token.to(text.dtype), text)
    for block in model.context_refiner:
        text = _block(block, text, text_turn, None)
    x = torch.cat((x, text.to(x.dtype)), dim=1)
    turn = torch.cat((image_turn, text_turn), dim=1)
    for block in model.layers:
        x = _block(block, x, turn, block.adaLN_modulation(t))
    final = model.all_final_layer["2-1"]
    scale = 1 + final.adaLN_modulation(t)
    x = final.norm_final(x[:, : rows * columns].float()) * scale[:, None]
    return _picture(final.linear(x), rows, columns)


def _image_tokens(model: Any, noisy: Tensor) -> Tensor:
    batch = len(noisy)
    x = noisy.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 2, 4, 3, 5, 1)
    x = model.all_x_embedder["2-1"](x.reshape(batch, -1, 4 * noisy.shape[1]))
    missing = -x.shape[1] % MULTIPLE
    if not missing:
        return x
    return torch.cat((x, model.x_pad_token.to(x.dtype).expand(batch, missing, -1)), dim=1)


def _picture(values: Tensor, rows: int, columns: int) -> Tensor:
    x = values.unflatten(2, (2, 2, -1)).unflatten(1, (rows, columns))
    return x.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)


def _block(block: Any, x: Tensor, turn: Tensor, modulation: Tensor | None) -> Tensor:
    if modulation is None:
        x = x + block.attention_norm2(_attend(block.attention, block.attention_norm1(x), turn))
        return x + block.ffn_norm2(_feed(block.feed_forward, block.ffn_norm1(x)))
    vectors = modulation[:, None].chunk(4, dim=2)
    attended = _attend(block.attention, block.attention_norm1(x) * (1 + vectors[0]), turn)
    x = x + vectors[1].tanh() * block.attention_norm2(attended)
    fed = _feed(block.feed_forward, block.ffn_norm1(x) * (1 + vectors[2]))
    return x + vectors[3].tanh() * block.ffn_norm2(fed)


def _feed(layer: Any, x: Tensor) -> Tensor:
    fed: Tensor = layer.w2(functional.silu(layer.w1(x)) * layer.w3(x))
    return fed


def _attend(layer: Any, x: Tensor, turn: Tensor) -> Tensor:
    query, key, value = (
        project(x).unflatten(2, (layer.heads, -1))
        for project in (layer.to_q, layer.to_k, layer.to_v)
    )
    query, key = _turned(layer.norm_q(query), turn), _turned(layer.norm_k(key), turn)
    # The fused attention of a CPU is several times slower than this in bfloat16.
    scores = query.transpose(1, 2) @ key.permute(0, 2, 3, 1) * query.shape[3] ** -0.5
    seen = scores.softmax(3).to(value.dtype) @ value.transpose(1, 2)
    out: Tensor = layer.to_out[0](seen.transpose(1, 2).flatten(2))
    return out


def _turned(x: Tensor, turn: Tensor) -> Tensor:
    """Turn pairs of features; turn (2, T, 1, D) holds the cosines and the signed sines."""
    swapped = x.unflatten(3, (-1, 2)).flip(4).flatten(3)
    return x * turn[0].to(x.dtype) + swapped * turn[1].to(x.dtype)


@cache
def _turns(model: Any, rows: int, columns: int, length: int) -> tuple[Tensor, Tensor]:
    """Return the turns of the picture's tokens and of the text's."""
    image = torch.zeros(rows * columns + -rows * columns % MULTIPLE, 3, dtype=torch.int64)
    grid = image[: rows * columns].view(rows, columns, 3)
    grid[..., 0] = length + 1
    grid[..., 1] = torch.arange(rows)[:, None]
    grid[..., 2] = torch.arange(columns)
    text = torch.zeros(length, 3, dtype=torch.int64)
    text[:, 0] = torch.arange(1, length + 1)
    return _turn(model, image), _turn(model, text)


def _turn(model: Any, positions: Tensor) -> Tensor:
    turn = model.rope_embedder(positions)
    cosines = turn.real.repeat_interleave(2, 1)
    sines = torch.stack((-turn.imag, turn.imag), dim=2).flatten(1)
    return torch.stack((cosines, sines))[:, :, None]
