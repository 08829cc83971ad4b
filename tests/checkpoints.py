"""Random small checkpoints in the diffusers layout, made by the reference classes themselves."""

from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile, copytree

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from transformers import AutoTokenizer, Qwen3Config, Qwen3Model

BUILTIN = Path(__file__).parent.parent / "src" / "zing" / "engine" / "builtin"


@dataclass(frozen=True)
class Shape:
    """The dimensions of a random checkpoint; the defaults are small and odd on purpose."""

    dim: int = 96
    heads: int = 3
    axes: tuple[int, int, int] = (8, 12, 12)
    layers: int = 3
    refiners: int = 2
    channels: tuple[int, ...] = (8, 16, 24)
    groups: int = 4
    vae_attention: bool = True
    post_quant_conv: bool = True
    hidden: int = 64
    encoder_layers: int = 3
    q_heads: int = 6
    kv_heads: int = 2
    head_dim: int = 16
    latents: int = 16
    rope_theta: float = 1e6


SHAPES = {
    "odd": Shape(),
    "wide": Shape(
        dim=288,
        heads=4,
        axes=(16, 28, 28),
        layers=2,
        refiners=1,
        channels=(8, 16, 32, 32),
        vae_attention=False,
        post_quant_conv=False,
        hidden=48,
        encoder_layers=2,
        q_heads=4,
        kv_heads=4,
        head_dim=24,
        latents=4,
        rope_theta=1e4,
    ),
}


def transformer(shape: Shape) -> ZImageTransformer2DModel:
    """The reference transformer with random weights."""
    return _randomized(
        ZImageTransformer2DModel(
            in_channels=shape.latents,
            dim=shape.dim,
            n_layers=shape.layers,
            n_refiner_layers=shape.refiners,
            n_heads=shape.heads,
            n_kv_heads=shape.heads,
            cap_feat_dim=shape.hidden,
            axes_dims=list(shape.axes),
            axes_lens=[1024, 128, 128],
        )
    )


def text_encoder(shape: Shape, vocab_size: int) -> Qwen3Model:
    """The reference encoder with random weights."""
    return _randomized(
        Qwen3Model(
            Qwen3Config(
                vocab_size=vocab_size,
                hidden_size=shape.hidden,
                intermediate_size=shape.hidden * 2,
                num_hidden_layers=shape.encoder_layers,
                num_attention_heads=shape.q_heads,
                num_key_value_heads=shape.kv_heads,
                head_dim=shape.head_dim,
                rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
            )
        )
    )


def vae(shape: Shape) -> AutoencoderKL:
    """The reference autoencoder with random weights."""
    levels = len(shape.channels)
    return _randomized(
        AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=shape.channels,
            layers_per_block=1,
            latent_channels=shape.latents,
            norm_num_groups=shape.groups,
            mid_block_add_attention=shape.vae_attention,
            use_quant_conv=shape.post_quant_conv,
            use_post_quant_conv=shape.post_quant_conv,
            scaling_factor=0.3611,
            shift_factor=0.1159,
        )
    )


def save(
    folder: Path, shape: Shape, dtype: torch.dtype = torch.float32, shard: str = "1GB"
) -> Path:
    """A whole checkpoint in `folder`, stored as `dtype`, in shards of at most `shard`."""
    tokenizer = AutoTokenizer.from_pretrained(BUILTIN / "tokenizer")
    torch.manual_seed(len(shape.channels))
    pipeline = ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(shape).to(dtype),
        text_encoder=text_encoder(shape, len(tokenizer)).to(dtype),
        tokenizer=tokenizer,
        transformer=transformer(shape).to(dtype),
    )
    pipeline.save_pretrained(folder, max_shard_size=shard)
    # Saved again, a tokenizer keeps one letter of each id; the built-in one reads A as a.
    copyfile(BUILTIN / "tokenizer" / "tokenizer.json", folder / "tokenizer" / "tokenizer.json")
    return folder


def copy(source: Path, folder: Path) -> Path:
    """A copy of a checkpoint that a test may spoil."""
    return Path(copytree(source, folder))


def _randomized(network: torch.nn.Module) -> torch.nn.Module:
    """Weights that keep a signal's size and leave no parameter at zero or one."""
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1 and "pad_token" not in name:
            scale = parameter[0].numel() ** -0.5
            torch.nn.init.normal_(parameter, std=scale)
        elif name.endswith("weight"):
            torch.nn.init.normal_(parameter, mean=1.0, std=0.1)
        else:
            torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()
