"""The Qwen3 text encoder, prefill only: real tokens in, the last but one hidden state out.

Source: transformers 5.23 models/qwen3/modeling_qwen3.py; diffusers' ZImagePipeline takes
`hidden_states[-2]`, so the last layer, the final norm and the head are never built.

Letters: L tokens, D features, H heads, d features of a head.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zing.engine.zimage.config import TextEncoderConfig
from zing.engine.zimage.layers import Embedding, FusedLinear, Linear, Scale, rms_norm, swiglu


class Attention(nn.Module):
    """Causal attention with grouped key-value heads."""

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.head_dim, self.eps = config.head_dim, config.rms_norm_eps
        self.heads = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.num_key_value_heads,
        )
        q, k, v = (heads * self.head_dim for heads in self.heads)
        self.qkv = FusedLinear(config.hidden_size, {"q_proj": q, "k_proj": k, "v_proj": v})
        self.q_norm, self.k_norm = Scale(self.head_dim), Scale(self.head_dim)
        self.o_proj = Linear(q, config.hidden_size, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(L, D) -> (L, D); cos and sin (L, d)."""
        heads = self.qkv(x).unflatten(-1, (-1, self.head_dim)).transpose(0, 1)
        q, k, v = heads.split(self.heads)
        q = _rotate_halves(rms_norm(q, self.q_norm.weight, self.eps), cos, sin)
        k = _rotate_halves(rms_norm(k, self.k_norm.weight, self.eps), cos, sin)
        attended = F.scaled_dot_product_attention(
            q[None], k[None], v[None], is_causal=True, enable_gqa=True
        )
        output: Tensor = self.o_proj(attended[0].transpose(0, 1).flatten(1))
        return output


class FeedForward(nn.Module):
    """SwiGLU without biases."""

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        hidden = config.intermediate_size
        self.gate_up = FusedLinear(config.hidden_size, {"gate_proj": hidden, "up_proj": hidden})
        self.down_proj = Linear(hidden, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(L, D) -> (L, D)."""
        output: Tensor = self.down_proj(swiglu(self.gate_up(x)))
        return output


class Layer(nn.Module):
    """One decoder layer."""

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.eps = config.rms_norm_eps
        self.self_attn = Attention(config)
        self.mlp = FeedForward(config)
        self.input_layernorm = Scale(config.hidden_size)
        self.post_attention_layernorm = Scale(config.hidden_size)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(L, D) -> (L, D)."""
        x = x + self.self_attn(rms_norm(x, self.input_layernorm.weight, self.eps), cos, sin)
        output: Tensor = x + self.mlp(rms_norm(x, self.post_attention_layernorm.weight, self.eps))
        return output


class TextEncoder(nn.Module):
    """Token ids in, the features that the transformer is conditioned on out."""

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([Layer(config) for _ in range(config.used_layers)])

    def forward(self, ids: Tensor) -> Tensor:
        """(L,) int64 without padding -> (L, D)."""
        x: Tensor = self.embed_tokens(ids)
        cos, sin = (part.to(x.dtype) for part in self._rope(len(ids), x.device))
        for layer in self.layers:
            x = layer(x, cos, sin)
        return x

    def _rope(self, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
        dim = self.config.head_dim
        steps = torch.arange(0, dim, 2, dtype=torch.float32, device=device) / dim
        turns = torch.arange(length, dtype=torch.float32, device=device)[:, None]
        angles = turns * (1.0 / self.config.rope_theta**steps)
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos(), angles.sin()


def _rotate_halves(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (H, L, d) with feature i and i + d / 2 turned together."""
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-high, low), dim=-1) * sin
