"""A checkpoint's configuration files, read into frozen dataclasses and checked.

Field names follow the files (diffusers 0.42 and transformers 5.23); nothing here needs torch. A
checkpoint may be hostile: files must be plain and small, numbers within what a model can be.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zing.errors import BadCheckpoint

CLASSES = {
    "scheduler": "FlowMatchEulerDiscreteScheduler",
    "text_encoder": "Qwen3Model",
    "tokenizer": "Qwen2Tokenizer",
    "transformer": "ZImageTransformer2DModel",
    "vae": "AutoencoderKL",
}
_FILE_BYTES_MAX = 2**24
_WIDTH_MAX, _DEPTH_MAX, _VOCABULARY_MAX, _SIDE_MAX = 2**16, 512, 2**20, 2**13
_SEQUENCE_MIN, _SEQUENCE_MAX = 32, 2**12
_STEPS_MAX = 100
_GROUPS_MAX, _CONCEPTS_MAX, _WORDS_MAX, _WORD_MAX = 16, 2**12, 64, 64

# The same network saved with or without its language-model head, and the same tokenizer's names.
_ALSO = {
    "text_encoder": {"Qwen3Model", "Qwen3ForCausalLM"},
    "tokenizer": {"Qwen2Tokenizer", "Qwen2TokenizerFast"},
}


@dataclass(frozen=True)
class TransformerConfig:
    """The S3-DiT's dimensions; the defaults of the real model are in model.md §2."""

    dim: int
    n_heads: int
    n_layers: int
    n_refiner_layers: int
    in_channels: int
    cap_feat_dim: int
    axes_dims: tuple[int, int, int]
    norm_eps: float
    rope_theta: float
    t_scale: float

    patch_size: int = 2
    # Fixed in diffusers' transformer_z_image.py, not in the file.
    qk_eps: float = 1e-5
    final_eps: float = 1e-6
    t_hidden: int = 1024
    t_frequencies: int = 256

    @property
    def head_dim(self) -> int:
        """Features of one attention head."""
        return self.dim // self.n_heads

    @property
    def ffn_dim(self) -> int:
        """Hidden features of the feed-forward."""
        return int(self.dim / 3 * 8)

    @property
    def adaln_dim(self) -> int:
        """Features of the timestep embedding."""
        return min(self.dim, 256)


@dataclass(frozen=True)
class TextEncoderConfig:
    """The Qwen3 encoder's dimensions."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    rms_norm_eps: float
    rope_theta: float

    @property
    def used_layers(self) -> int:
        """Layers that are run: `hidden_states[-2]` is the output of the last but one."""
        return self.num_hidden_layers - 1


@dataclass(frozen=True)
class VaeConfig:
    """The autoencoder's dimensions, decoder side."""

    block_out_channels: tuple[int, ...]
    layers_per_block: int
    latent_channels: int
    out_channels: int
    norm_num_groups: int
    mid_block_add_attention: bool
    use_post_quant_conv: bool
    scaling_factor: float
    shift_factor: float

    @property
    def factor(self) -> int:
        """Pixels a side for one latent."""
        return int(2 ** (len(self.block_out_channels) - 1))


@dataclass(frozen=True)
class SchedulerConfig:
    """The schedule's constants."""

    shift: float


@dataclass(frozen=True)
class Concept:
    """Something that a prompt can name, with its words in English and in Chinese."""

    name: str
    en: tuple[str, ...]
    zh: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """Concepts of one kind: objects, colours, backgrounds, counts and the like."""

    name: str
    concepts: tuple[Concept, ...]


@dataclass(frozen=True)
class Manifest:
    """zing's own page in a checkpoint, zing.json; empty where there is none.

    native_sizes         the (width, height) it was trained for; none: every size is rendered
    max_sequence_length  tokens of a prompt with its template; Z-Image reads 512
    sha256               (file, hash) of the files that must not change
    about                what it is, in a sentence
    draws_people         false where it declares that it cannot draw people at all
    vocabulary           the words it knows; none: nothing is said of what it knows
    steps                how many it was trained for, where it says
    licences             (what, licence) in words
    """

    native_sizes: tuple[tuple[int, int], ...] = ()
    max_sequence_length: int = 512
    sha256: tuple[tuple[str, str], ...] = ()
    about: str = ""
    draws_people: bool = True
    vocabulary: tuple[Group, ...] = ()
    steps: int | None = None
    licences: tuple[tuple[str, str], ...] = ()


class Fields:
    """A JSON object whose fields are taken by name and type; what does not fit is refused."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values = _read_object(path)
        if "auto_map" in self.values:
            raise self.refuse("auto_map names code, and no code of a checkpoint is run")

    def refuse(self, reason: str) -> BadCheckpoint:
        """The refusal that names this file."""
        return BadCheckpoint(f"{self.path}: {reason}.")

    def integer(self, name: str, default: int | None = None, most: int = _WIDTH_MAX) -> int:
        """A whole number from 1 to `most`."""
        value = self.values.get(name, default)
        if type(value) is not int or not 0 < value <= most:
            raise self.refuse(f"{name} must be a whole number from 1 to {most}, not {value!r}")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number."""
        value = self.values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refuse(f"{name} must be a number, not {value!r}")
        if not abs(value) < 1e12:
            raise self.refuse(f"{name} must be a finite number, not {value!r}")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """true or false."""
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            raise self.refuse(f"{name} must be true or false, not {value!r}")
        return value

    def integers(self, name: str) -> tuple[int, ...]:
        """A short list of whole numbers above zero."""
        value = self.values.get(name)
        if not isinstance(value, list) or not 0 < len(value) <= 8:
            raise self.refuse(f"{name} must be a short list, not {value!r}")
        if not all(type(item) is int and 0 < item <= _WIDTH_MAX for item in value):
            raise self.refuse(f"{name} must be whole numbers above 0, not {value!r}")
        return tuple(value)

    def must_be(self, name: str, expected: Any) -> None:
        """Refuse a field that is there and says something that the engine does not do."""
        value = self.values.get(name, expected)
        if value != expected:
            raise self.refuse(f"{name} must be {expected!r}, not {value!r}")


def read_index(folder: Path) -> None:
    """Check that model_index.json names the five classes of Z-Image and no others."""
    fields = Fields(folder / "model_index.json")
    fields.must_be("_class_name", "ZImagePipeline")
    parts = {k: v for k, v in fields.values.items() if not k.startswith("_")}
    for part, expected in CLASSES.items():
        if part not in parts:
            raise fields.refuse(f"the part {part} is missing")
        _check_class(fields, part, parts[part], _ALSO.get(part, {expected}))
    extra = sorted(set(parts) - set(CLASSES))
    if extra:
        raise fields.refuse(f"{extra[0]} is no part of a Z-Image checkpoint")


def read_transformer(folder: Path) -> TransformerConfig:
    """The configuration in transformer/config.json."""
    fields = Fields(folder / "transformer" / "config.json")
    fields.must_be("_class_name", CLASSES["transformer"])
    fields.must_be("all_patch_size", [2])
    fields.must_be("all_f_patch_size", [1])
    fields.must_be("qk_norm", True)
    fields.must_be("siglip_feat_dim", None)
    dim, heads = fields.integer("dim"), fields.integer("n_heads")
    axes = fields.integers("axes_dims")
    if len(axes) != 3 or dim != heads * sum(axes) or any(axis % 2 for axis in axes):
        raise fields.refuse(f"three even axes_dims must add up to dim / n_heads, not {list(axes)}")
    return TransformerConfig(
        dim=dim,
        n_heads=heads,
        n_layers=fields.integer("n_layers", most=_DEPTH_MAX),
        n_refiner_layers=fields.integer("n_refiner_layers", most=_DEPTH_MAX),
        in_channels=fields.integer("in_channels"),
        cap_feat_dim=fields.integer("cap_feat_dim"),
        axes_dims=(axes[0], axes[1], axes[2]),
        norm_eps=fields.number("norm_eps", 1e-5),
        rope_theta=fields.number("rope_theta", 256.0),
        t_scale=fields.number("t_scale", 1000.0),
    )


def read_text_encoder(folder: Path) -> TextEncoderConfig:
    """The configuration in text_encoder/config.json."""
    fields = Fields(folder / "text_encoder" / "config.json")
    fields.must_be("model_type", "qwen3")
    named = fields.values.get("architectures", [CLASSES["text_encoder"]])
    if not isinstance(named, list) or not all(n in _ALSO["text_encoder"] for n in map(str, named)):
        raise fields.refuse(f"architectures must be Qwen3Model, not {named!r}")
    fields.must_be("hidden_act", "silu")
    fields.must_be("attention_bias", False)
    fields.must_be("use_sliding_window", False)
    heads, kv_heads = fields.integer("num_attention_heads"), fields.integer("num_key_value_heads")
    layers = fields.integer("num_hidden_layers", most=_DEPTH_MAX)
    hidden = fields.integer("hidden_size")
    head_dim = fields.integer("head_dim", max(hidden // heads, 1))
    if heads % kv_heads or layers < 2 or head_dim % 2:
        raise fields.refuse("heads must divide by key-value heads, head_dim by 2, layers be 2 up")
    return TextEncoderConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        intermediate_size=fields.integer("intermediate_size"),
        vocab_size=fields.integer("vocab_size", most=_VOCABULARY_MAX),
        rms_norm_eps=fields.number("rms_norm_eps", 1e-6),
        rope_theta=_rope_theta(fields),
    )


def read_vae(folder: Path) -> VaeConfig:
    """The configuration in vae/config.json."""
    fields = Fields(folder / "vae" / "config.json")
    fields.must_be("_class_name", CLASSES["vae"])
    fields.must_be("act_fn", "silu")
    fields.must_be("out_channels", 3)
    fields.must_be("latents_mean", None)
    channels = fields.integers("block_out_channels")
    fields.must_be("up_block_types", ["UpDecoderBlock2D"] * len(channels))
    groups = fields.integer("norm_num_groups", 32)
    if any(channel % groups for channel in channels):
        raise fields.refuse(f"block_out_channels must divide by {groups} groups")
    return VaeConfig(
        block_out_channels=channels,
        layers_per_block=fields.integer("layers_per_block", 1, most=16),
        latent_channels=fields.integer("latent_channels"),
        out_channels=3,
        norm_num_groups=groups,
        mid_block_add_attention=fields.flag("mid_block_add_attention", True),
        use_post_quant_conv=fields.flag("use_post_quant_conv", True),
        scaling_factor=fields.number("scaling_factor"),
        shift_factor=fields.number("shift_factor", 0.0),
    )


def read_scheduler(folder: Path) -> SchedulerConfig:
    """The configuration in scheduler/scheduler_config.json; only the static shift is known."""
    fields = Fields(folder / "scheduler" / "scheduler_config.json")
    fields.must_be("_class_name", CLASSES["scheduler"])
    fields.must_be("shift_terminal", None)
    fields.must_be("num_train_timesteps", 1000)
    for name in (
        "use_dynamic_shifting",
        "use_karras_sigmas",
        "use_exponential_sigmas",
        "use_beta_sigmas",
        "invert_sigmas",
        "stochastic_sampling",
    ):
        fields.must_be(name, False)
    shift = fields.number("shift", 1.0)
    if shift <= 0:
        raise fields.refuse(f"shift must be above 0, not {shift}")
    return SchedulerConfig(shift=shift)


def read_manifest(folder: Path, multiple: int) -> Manifest:
    """The manifest in zing.json; sizes in it must be multiples of `multiple`."""
    path = folder / "zing.json"
    if not path.exists():
        return Manifest()
    fields = Fields(path)
    sizes = fields.values.get("native_sizes") or []
    if not isinstance(sizes, list) or not all(_is_size(size, multiple) for size in sizes):
        raise fields.refuse(
            f"native_sizes must be [width, height] pairs of multiples of {multiple}"
        )
    hashes = fields.values.get("sha256") or {}
    if not isinstance(hashes, dict) or not all(isinstance(v, str) for v in hashes.values()):
        raise fields.refuse("sha256 must map a file's name to its hash")
    if not all(name.isprintable() for name in hashes):
        raise fields.refuse("sha256 names a file that no file can be named")
    about = fields.values.get("about", "")
    longest = fields.integer("max_sequence_length", 512, most=_SEQUENCE_MAX)
    if longest < _SEQUENCE_MIN:
        raise fields.refuse(f"max_sequence_length must be {_SEQUENCE_MIN} or more, not {longest}")
    steps = None if fields.values.get("steps") is None else fields.integer("steps", most=_STEPS_MAX)
    return Manifest(
        native_sizes=tuple((width, height) for width, height in sizes),
        max_sequence_length=longest,
        sha256=tuple(sorted(hashes.items())),
        about=about if isinstance(about, str) else "",
        draws_people=fields.flag("draws_people", True),
        vocabulary=_vocabulary(fields),
        steps=steps,
        licences=_texts(fields.values.get("licences")),
    )


def read_plain(path: Path, most: int = _FILE_BYTES_MAX) -> bytes:
    """A plain file's bytes; a pipe, a device and a file above `most` bytes are refused."""
    check_plain(path)
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise BadCheckpoint(f"{path} cannot be read: {error.strerror}.") from None
    if len(data) > most:
        raise BadCheckpoint(f"{path} is larger than {most} bytes.")
    return data


def check_plain(path: Path) -> None:
    """Refuse a path that is no plain file."""
    try:
        plain, there = path.is_file(), path.exists()
    except OSError as error:
        raise BadCheckpoint(f"{path} cannot be read: {error.strerror}.") from None
    if not plain:
        raise BadCheckpoint(f"{path} is {'no plain file' if there else 'missing'}.")


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(read_plain(path))
    except (ValueError, RecursionError):
        raise BadCheckpoint(f"{path} is not JSON.") from None
    if not isinstance(value, dict):
        raise BadCheckpoint(f"{path} is not a JSON object.")
    return value


def _check_class(fields: Fields, part: str, value: Any, expected: set[str]) -> None:
    known = [[library, name] for library in ("diffusers", "transformers") for name in expected]
    if value not in known:
        raise fields.refuse(f"{part} must be {' or '.join(sorted(expected))}, not {value!r}")


def _rope_theta(fields: Fields) -> float:
    """Rope's base, where transformers 5 keeps it or where 4 did; scaled ropes are refused."""
    fields.must_be("rope_scaling", None)
    rope = fields.values.get("rope_parameters") or {}
    if not isinstance(rope, dict) or rope.get("rope_type", "default") != "default":
        raise fields.refuse("only rope_type 'default' is known")
    fields.values.setdefault("rope_theta", rope.get("rope_theta"))
    return fields.number("rope_theta")


def _vocabulary(fields: Fields) -> tuple[Group, ...]:
    """The vocabulary, each kind of words with its concepts; empty where there is none."""
    named = fields.values.get("vocabulary") or {}
    if not isinstance(named, dict) or len(named) > _GROUPS_MAX:
        raise fields.refuse(f"vocabulary must map at most {_GROUPS_MAX} kinds of words to lists")
    groups = []
    for name, listed in named.items():
        if not _is_word(name) or not isinstance(listed, list) or len(listed) > _CONCEPTS_MAX:
            raise fields.refuse(
                f"vocabulary must map a kind of words to a list of at most {_CONCEPTS_MAX} of them"
            )
        concepts = [_concept(fields, f"{name}[{k}]", each) for k, each in enumerate(listed)]
        groups.append(Group(name, tuple(concepts)))
    return tuple(group for group in groups if group.concepts)


def _concept(fields: Fields, place: str, value: Any) -> Concept:
    if not isinstance(value, dict) or not _is_word(value.get("name")):
        raise fields.refuse(f"vocabulary.{place} must be an object with a name")
    words = {language: value.get(language) or [] for language in ("en", "zh")}
    for language, listed in words.items():
        if not isinstance(listed, list) or len(listed) > _WORDS_MAX:
            raise fields.refuse(
                f"vocabulary.{place}.{language} must be a list of at most {_WORDS_MAX} words"
            )
        if not all(map(_is_word, listed)):
            raise fields.refuse(
                f"vocabulary.{place}.{language} must hold words of 1 to {_WORD_MAX} characters"
            )
    return Concept(value["name"], tuple(words["en"]), tuple(words["zh"]))


def _is_word(value: Any) -> bool:
    """Whether a value is a short text that can be shown on one line, with a letter or digit."""
    return (
        isinstance(value, str)
        and len(value) <= _WORD_MAX
        and value.isprintable()
        and any(map(str.isalnum, value))
    )


def _texts(value: Any) -> tuple[tuple[str, str], ...]:
    """The pairs of texts of an object; what is none of these is left out, as it is only shown."""
    pairs = value.items() if isinstance(value, dict) else ()
    return tuple((name, text) for name, text in pairs if isinstance(text, str))


def _is_size(size: Any, multiple: int) -> bool:
    return (
        isinstance(size, list)
        and len(size) == 2
        and all(type(side) is int and 0 < side <= _SIDE_MAX for side in size)
        and all(side % multiple == 0 for side in size)
    )
