"""Checkpoints that are not what they should be: one sentence, file and tensor, nothing executed."""

import json
import os
import pickle
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import checkpoints
from zing import models
from zing.engine.local import LocalEngine, verify
from zing.engine.zimage.config import Concept, Group, read_manifest
from zing.errors import BadCheckpoint

TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"
Spoil = Callable[[Path], None]


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    return checkpoints.copy(small, tmp_path / "copy")


def refusal(folder: Path) -> str:
    """The one sentence."""
    message = refusal_text(folder)
    assert "\n" not in message
    return message


def refusal_text(folder: Path) -> str:
    """What is said; loading and verifying refuse alike."""
    with pytest.raises(BadCheckpoint) as loading:
        LocalEngine(folder, "cpu", 1)
    with pytest.raises(BadCheckpoint) as verifying:
        verify(folder)
    assert str(loading.value) == str(verifying.value)
    return str(loading.value)


class Bomb:
    """A pickle that leaves a mark where it is executed."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.mark,)


def test_an_untouched_copy_loads(copy: Path) -> None:
    LocalEngine(copy, "cpu", 1)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_pickle_under_the_right_name_is_not_executed(copy: Path, protocol: int) -> None:
    mark = copy / "executed"
    (copy / TRANSFORMER).write_bytes(pickle.dumps(Bomb(mark), protocol=protocol))
    message = refusal(copy)
    assert TRANSFORMER in message
    assert "pickle" in message
    assert not mark.exists()


def test_torch_archive_under_the_right_name_is_called_a_pickle(copy: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, copy / TRANSFORMER)
    message = refusal(copy)
    assert "pickle" in message
    assert TRANSFORMER in message


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt"])
def test_pickle_under_its_own_name_is_refused(copy: Path, name: str) -> None:
    (copy / TRANSFORMER).unlink()
    mark = copy / "executed"
    (copy / "transformer" / name).write_bytes(pickle.dumps(Bomb(mark)))
    message = refusal(copy)
    assert name in message
    assert "pickle" in message
    assert not mark.exists()


@pytest.mark.parametrize("keep", [0, 4, 8, 100, 0.5, 0.99])
def test_truncated_file_is_refused(copy: Path, keep: float) -> None:
    data = (copy / TRANSFORMER).read_bytes()
    length = keep if keep >= 1 or keep == 0 else len(data) * keep
    (copy / TRANSFORMER).write_bytes(data[: int(length)])
    message = refusal(copy)
    assert TRANSFORMER in message
    assert "truncated" in message or "header" in message


@pytest.mark.parametrize(
    "start",
    [b"\xff" * 8, (2**40).to_bytes(8, "little"), (5).to_bytes(8, "little") + b"{]}{}", b"\0" * 8],
    ids=["length of all ones", "length beyond the file", "no JSON", "length of zero"],
)
def test_wrong_header_is_refused(copy: Path, start: bytes) -> None:
    data = (copy / TRANSFORMER).read_bytes()
    (copy / TRANSFORMER).write_bytes(start + data[len(start) :])
    message = refusal(copy)
    assert TRANSFORMER in message
    assert "header" in message


def retensor(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / TRANSFORMER)
    change(tensors)
    save_file(tensors, folder / TRANSFORMER)


def test_missing_tensor_is_named(copy: Path) -> None:
    retensor(copy, lambda tensors: tensors.pop("layers.1.attention.to_k.weight"))
    assert "tensor layers.1.attention.to_k.weight is missing" in refusal(copy)


def test_extra_tensor_is_named(copy: Path) -> None:
    retensor(
        copy, lambda tensors: tensors.update({"layers.9.attention.to_k.weight": torch.ones(1)})
    )
    message = refusal(copy)
    assert "layers.9.attention.to_k.weight does not belong" in message
    assert TRANSFORMER in message


@pytest.mark.parametrize("name", ["\0evil", "a\n\x1b[2Jb", "encoder.conv_in.weight"])
def test_no_name_hides_an_extra_tensor(copy: Path, name: str) -> None:
    retensor(copy, lambda tensors: tensors.update({name: torch.ones(1)}))
    assert f"tensor {name} does not belong" in refusal_text(copy)


def test_misshapen_tensor_is_named(copy: Path) -> None:
    name = "layers.0.feed_forward.w2.weight"
    retensor(copy, lambda tensors: tensors.update({name: tensors[name].T.contiguous()}))
    message = refusal(copy)
    assert name in message
    assert "[256, 96]" in message
    assert "[96, 256]" in message


def test_tensor_of_whole_numbers_is_named(copy: Path) -> None:
    name = "cap_pad_token"
    retensor(copy, lambda tensors: tensors.update({name: torch.ones(1, 96, dtype=torch.int64)}))
    assert "cap_pad_token is stored as I64" in refusal(copy)


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_values_that_are_not_finite_are_named(copy: Path, value: float) -> None:
    retensor(copy, lambda tensors: tensors["layers.1.attention.to_k.weight"][3].fill_(value))
    assert "layers.1.attention.to_k.weight holds values that are not finite" in refusal(copy)


def rewrite(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


FOREIGN: dict[str, tuple[str, dict[str, object]]] = {
    "another pipeline": ("model_index.json", {"_class_name": "StableDiffusionPipeline"}),
    "another transformer": ("transformer/config.json", {"_class_name": "FluxTransformer2DModel"}),
    "a module of its own": (
        "model_index.json",
        {"transformer": ["evil", "ZImageTransformer2DModel"]},
    ),
    "a class of its own": ("model_index.json", {"vae": ["diffusers", "os.system"]}),
    "a part of its own": ("model_index.json", {"safety": ["evil", "Payload"]}),
    "another encoder": ("text_encoder/config.json", {"architectures": ["LlamaModel"]}),
    "another kind of model": ("text_encoder/config.json", {"model_type": "llama"}),
    "code of its own": ("text_encoder/config.json", {"auto_map": {"AutoModel": "evil.Model"}}),
    "another autoencoder": ("vae/config.json", {"_class_name": "AutoencoderTiny"}),
    "another scheduler": ("scheduler/scheduler_config.json", {"_class_name": "DDIMScheduler"}),
    "dynamic shifting": ("scheduler/scheduler_config.json", {"use_dynamic_shifting": True}),
    "scaled rope": ("text_encoder/config.json", {"rope_scaling": {"type": "yarn"}}),
    "heads that do not fit": ("transformer/config.json", {"n_heads": 7}),
    "a number that is text": ("transformer/config.json", {"dim": "96"}),
    "a number that is none": ("vae/config.json", {"scaling_factor": float("nan")}),
    "layers without end": ("transformer/config.json", {"n_layers": 2**24}),
    "channels without end": ("vae/config.json", {"block_out_channels": [2**40] * 3}),
    "heads without end": ("text_encoder/config.json", {"num_attention_heads": 2**23}),
    "architectures of objects": ("text_encoder/config.json", {"architectures": [{}]}),
    "other training steps": ("scheduler/scheduler_config.json", {"num_train_timesteps": 500}),
    "a shift below zero": ("scheduler/scheduler_config.json", {"shift": -3.0}),
    "groups that do not divide": ("vae/config.json", {"norm_num_groups": 5}),
    "another width of text": ("transformer/config.json", {"cap_feat_dim": 65}),
    "more latents": ("vae/config.json", {"latent_channels": 4}),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_foreign_configuration_is_refused(copy: Path, case: str) -> None:
    name, fields = FOREIGN[case]
    rewrite(copy / name, **fields)
    message = refusal(copy)
    assert name in message or str(copy) in message


@pytest.mark.parametrize(
    "name",
    ["model_index.json", "vae/config.json", "tokenizer/tokenizer.json", TRANSFORMER, "transformer"],
)
def test_missing_file_is_named(copy: Path, name: str) -> None:
    path = copy / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert name in refusal(copy)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_configuration_that_is_no_object_is_refused(copy: Path, content: bytes) -> None:
    (copy / "transformer" / "config.json").write_bytes(content)
    assert "transformer/config.json" in refusal(copy)


@pytest.mark.parametrize("name", ["model_index.json", "vae/config.json", TRANSFORMER])
def test_pipe_in_place_of_a_file_is_refused(copy: Path, name: str) -> None:
    (copy / name).unlink()
    os.mkfifo(copy / name)
    assert f"{name} is no plain file" in refusal(copy)


def test_device_in_place_of_a_file_is_refused(copy: Path) -> None:
    path = copy / "vae" / "config.json"
    path.unlink()
    path.symlink_to("/dev/zero")
    assert "config.json is no plain file" in refusal(copy)


@pytest.mark.parametrize(
    "shard",
    [
        "../vae/x.safetensors",
        "/etc/passwd",
        "shard.bin",
        "",
        "a\0.safetensors",
        "\ud800.safetensors",
    ],
)
def test_index_names_only_files_beside_it(copy: Path, shard: str) -> None:
    index = copy / (TRANSFORMER + ".index.json")
    index.write_text(json.dumps({"weight_map": {"cap_pad_token": shard}}))
    assert "is not the name of a safetensors file beside it" in refusal(copy)


def test_tensor_stored_in_two_shards_is_refused(tmp_path: Path) -> None:
    folder = checkpoints.save(tmp_path / "copy", checkpoints.SHAPES["odd"], shard="40KB")
    shards = sorted((folder / "transformer").glob("*.safetensors"))
    tensors = load_file(shards[1])
    save_file(load_file(shards[0]) | dict([next(iter(tensors.items()))]), shards[0])
    assert "is stored twice" in refusal(folder)


def test_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert "is not a folder" in refusal(file)


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder of a user who is not root, for whom permissions count."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def as_nobody() -> Iterator[None]:
    """The block runs without root's rights."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("name", ["", "transformer", "vae/config.json", TRANSFORMER])
def test_unreadable_folder_or_file_is_refused(small: Path, unprivileged: Path, name: str) -> None:
    folder = checkpoints.copy(small, unprivileged / "copy")
    (folder / name).chmod(0)
    with as_nobody():
        message = refusal(folder)
    (folder / name).chmod(0o755)
    assert "cannot be read: Permission denied" in message
    assert str(folder) in message


def test_folder_behind_an_unreadable_one_is_refused(small: Path, unprivileged: Path) -> None:
    outer = unprivileged / "outer"
    outer.mkdir()
    checkpoints.copy(small, outer / "copy")
    outer.chmod(0)
    with as_nobody():
        message = refusal(outer / "copy")
        with pytest.raises(BadCheckpoint, match="Permission denied"):
            models.find(str(outer / "copy"), unprivileged)
    outer.chmod(0o755)
    assert "Permission denied" in message


def test_encoder_with_its_language_model_head_loads(copy: Path) -> None:
    """The real checkpoint keeps Qwen3 as a causal language model: `model.` before each name."""
    path = copy / "text_encoder" / "model.safetensors"
    tensors = {f"model.{name}": tensor for name, tensor in load_file(path).items()}
    save_file(tensors | {"lm_head.weight": torch.ones(2, 2)}, path)
    rewrite(copy / "text_encoder" / "config.json", architectures=["Qwen3ForCausalLM"])
    LocalEngine(copy, "cpu", 1)


@pytest.mark.parametrize(
    "sizes", ["160x160", [[160]], [[160, 161]], [[0, 160]], [["160", "160"]], [[2**40, 2**40]]]
)
def test_manifest_with_bad_sizes_is_refused(copy: Path, sizes: object) -> None:
    (copy / "zing.json").write_text(json.dumps({"native_sizes": sizes}))
    assert "native_sizes" in refusal(copy)


@pytest.mark.parametrize("longest", [0, 1, 31, 2**40, "64"])
def test_manifest_with_no_room_for_a_prompt_is_refused(copy: Path, longest: object) -> None:
    (copy / "zing.json").write_text(json.dumps({"max_sequence_length": longest}))
    assert "max_sequence_length" in refusal(copy)


CAT = {"name": "cat", "en": ["cat"], "zh": ["猫"]}


@pytest.mark.parametrize(
    ("vocabulary", "said"),
    [
        ("cat", "kinds of words"),
        (["cat"], "kinds of words"),
        ({f"kind {number}": [] for number in range(17)}, "at most 16 kinds"),
        ({"": [CAT]}, "a kind of words"),
        ({"a\nb": [CAT]}, "a kind of words"),
        ({"objects": "cat"}, "a list of at most"),
        ({"objects": [CAT] * 4097}, "a list of at most 4096"),
        ({"objects": [CAT, "cat"]}, r"objects\[1\] must be an object with a name"),
        ({"objects": [{"en": ["cat"]}]}, r"objects\[0\] must be an object with a name"),
        ({"objects": [{"name": 7}]}, "with a name"),
        ({"objects": [CAT | {"en": "cat"}]}, r"objects\[0\].en must be a list"),
        ({"objects": [CAT | {"zh": ["猫"] * 65}]}, "zh must be a list of at most 64"),
        ({"objects": [CAT | {"en": ["x" * 65]}]}, "words of 1 to 64"),
        ({"objects": [CAT | {"en": [7]}]}, "words of 1 to 64"),
        ({"objects": [CAT | {"en": [""]}]}, "words of 1 to 64"),
        ({"objects": [CAT | {"en": ["--"]}]}, "words of 1 to 64"),
        ({"objects": [CAT | {"zh": ["\x1b[2J"]}]}, "words of 1 to 64"),
    ],
)
def test_manifest_with_a_bad_vocabulary_is_refused(
    copy: Path, vocabulary: object, said: str
) -> None:
    (copy / "zing.json").write_text(json.dumps({"vocabulary": vocabulary}))
    message = refusal(copy)
    assert "zing.json: vocabulary" in message
    assert re.search(said, message)


@pytest.mark.parametrize("vocabulary", [None, {}, {"objects": []}])
def test_manifest_without_words_has_no_vocabulary(copy: Path, vocabulary: object) -> None:
    (copy / "zing.json").write_text(json.dumps({"vocabulary": vocabulary}))
    assert read_manifest(copy, 1).vocabulary == ()


def test_manifest_names_words_of_each_kind(copy: Path) -> None:
    listed = {"objects": [CAT], "colours": [], "dances": [{"name": "tango", "more": 1}]}
    (copy / "zing.json").write_text(json.dumps({"vocabulary": listed}))
    assert read_manifest(copy, 1).vocabulary == (
        Group("objects", (Concept("cat", ("cat",), ("猫",)),)),
        Group("dances", (Concept("tango", (), ()),)),
    )


@pytest.mark.parametrize("steps", [0, -8, 101, "8", 8.0, True])
def test_manifest_with_bad_steps_is_refused(copy: Path, steps: object) -> None:
    (copy / "zing.json").write_text(json.dumps({"steps": steps}))
    assert "steps must be a whole number" in refusal(copy)
