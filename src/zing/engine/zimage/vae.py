"""The decoder of the autoencoder: latents to pixels. The encoder is never needed.

Source: diffusers 0.42.1 models/autoencoders/vae.py (Decoder), unets/unet_2d_blocks.py,
resnet.py. Activations lie channels last, which the convolutions of CPUs and GPUs prefer.

Letters: B pictures, C channels, H W rows and columns.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zing.engine.zimage.config import VaeConfig
from zing.engine.zimage.layers import Conv2d, GroupNorm, Linear

EPS = 1e-6


class ResnetBlock(nn.Module):
    """Two normalised convolutions and a way past them."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.norm1 = GroupNorm(groups, inputs, EPS)
        self.conv1 = Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = GroupNorm(groups, outputs, EPS)
        self.conv2 = Conv2d(outputs, outputs, 3, padding=1)
        if inputs != outputs:
            self.conv_shortcut = Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W)."""
        h = self.conv1(F.silu(self.norm1(x), inplace=True))
        h = self.conv2(F.silu(self.norm2(h), inplace=True))
        past: Tensor = self.conv_shortcut(x) if hasattr(self, "conv_shortcut") else x
        return h.add_(past)


class SpatialAttention(nn.Module):
    """Single-head attention over all places of the coarsest grid."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.group_norm = GroupNorm(groups, channels, EPS)
        self.to_q = Linear(channels, channels)
        self.to_k = Linear(channels, channels)
        self.to_v = Linear(channels, channels)
        self.to_out = nn.ModuleList([Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        places = self.group_norm(x).flatten(2).transpose(1, 2)
        q, k, v = self.to_q(places), self.to_k(places), self.to_v(places)
        attended = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        output: Tensor = x + self.to_out[0](attended).transpose(1, 2).unflatten(2, x.shape[2:])
        return output


class MiddleBlock(nn.Module):
    """A block, attention where the checkpoint has it, a block."""

    def __init__(self, channels: int, config: VaeConfig) -> None:
        super().__init__()
        groups = config.norm_num_groups
        attentions = range(config.mid_block_add_attention)
        self.resnets = nn.ModuleList([ResnetBlock(channels, channels, groups) for _ in range(2)])
        self.attentions = nn.ModuleList([SpatialAttention(channels, groups) for _ in attentions])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        x = self.resnets[0](x)
        for attention in self.attentions:
            x = attention(x)
        output: Tensor = self.resnets[1](x)
        return output


class Upsampler(nn.Module):
    """Nearest neighbour to twice the size, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, 2 H, 2 W)."""
        output: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return output


class UpBlock(nn.Module):
    """Resnet blocks at one size, then the next size where there is one."""

    def __init__(self, inputs: int, outputs: int, config: VaeConfig, *, last: bool) -> None:
        super().__init__()
        channels = [inputs, *[outputs] * (config.layers_per_block + 1)]
        self.resnets = nn.ModuleList(
            [
                ResnetBlock(before, after, config.norm_num_groups)
                for before, after in pairwise(channels)
            ]
        )
        self.upsamplers = nn.ModuleList([] if last else [Upsampler(outputs)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H or 2 H, W or 2 W)."""
        for layer in (*self.resnets, *self.upsamplers):
            x = layer(x)
        return x


class Decoder(nn.Module):
    """From the coarsest grid to pixels."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        channels = config.block_out_channels[::-1]
        self.conv_in = Conv2d(config.latent_channels, channels[0], 3, padding=1)
        self.mid_block = MiddleBlock(channels[0], config)
        befores = (channels[0], *channels)
        self.up_blocks = nn.ModuleList(
            [
                UpBlock(before, after, config, last=index == len(channels) - 1)
                for index, (before, after) in enumerate(zip(befores, channels, strict=False))
            ]
        )
        self.conv_norm_out = GroupNorm(config.norm_num_groups, channels[-1], EPS)
        self.conv_out = Conv2d(channels[-1], config.out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) latents -> (B, 3, factor H, factor W)."""
        x = self.mid_block(self.conv_in(x))
        for block in self.up_blocks:
            x = block(x)
        output: Tensor = self.conv_out(F.silu(self.conv_norm_out(x), inplace=True))
        return output


class Vae(nn.Module):
    """Latents as the transformer leaves them to pixel values of about -1 to 1."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.config = config
        self.decoder = Decoder(config)
        if config.use_post_quant_conv:
            channels = config.latent_channels
            self.post_quant_conv = Conv2d(channels, channels, 1)

    def decode(self, latents: Tensor) -> Tensor:
        """(B, C, H, W) float32 -> (B, 3, factor H, factor W) in the compute type."""
        dtype = self.decoder.conv_in.weight.dtype
        z = latents.to(dtype) / self.config.scaling_factor + self.config.shift_factor
        if self.config.use_post_quant_conv:
            z = self.post_quant_conv(z)
        pixels: Tensor = self.decoder(z.contiguous(memory_format=torch.channels_last))
        return pixels
