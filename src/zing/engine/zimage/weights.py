"""Weights from safetensors files into networks: every tensor known, of its shape, or refused.

Nothing is unpickled and nothing in a checkpoint is run. A network is built on the meta device,
its own parameters say which stored tensors it needs, and each is read, converted and placed once.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from zing.engine.zimage.config import Fields, check_plain
from zing.engine.zimage.layers import FusedLinear
from zing.errors import BadCheckpoint

_FLOATS = {"F32", "BF16", "F16"}
_PICKLE_SUFFIXES = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}


@dataclass(frozen=True)
class Part:
    """Which stored tensors of a folder a network reads.

    folder   the part's folder, with its safetensors file or shards
    stem     the file's name without suffix
    optional a prefix that all stored names may carry (a wrapper's)
    unused   stored names that begin so belong to the part; they are never looked at
    """

    folder: Path
    stem: str
    optional: str = ""
    unused: tuple[str, ...] = ()


class Store:
    """The tensors of one part, over all its files, by name."""

    def __init__(self, part: Part, files: ExitStack) -> None:
        self.part = part
        self._where: dict[str, tuple[Any, str, Path]] = {}
        for path in _files(part):
            handle = files.enter_context(_open(path))
            for stored in handle.keys():  # noqa: SIM118 - the handle is no mapping
                self._add(stored, handle, path)

    def names(self) -> set[str]:
        """The tensors that are there, without those that are never read."""
        return {name for name in self._where if not name.startswith(self.part.unused)}

    def shape(self, name: str) -> tuple[int, ...]:
        """The stored shape; raises BadCheckpoint where the type is no float."""
        handle, stored, path = self._where[name]
        lazy = handle.get_slice(stored)
        if lazy.get_dtype() not in _FLOATS:
            raise BadCheckpoint(
                f"{path}: tensor {name} is stored as {lazy.get_dtype()}; F32, BF16, F16 are read."
            )
        return tuple(lazy.get_shape())

    def path(self, name: str) -> Path:
        """The file that holds a tensor."""
        return self._where[name][2]

    def read(self, name: str) -> Tensor:
        """The tensor as it is stored, on the CPU."""
        handle, stored, path = self._where[name]
        try:
            tensor: Tensor = handle.get_tensor(stored)
        except (SafetensorError, OSError) as error:
            raise BadCheckpoint(f"{path}: tensor {name} cannot be read: {error}.") from None
        return tensor

    def _add(self, stored: str, handle: Any, path: Path) -> None:
        name = stored.removeprefix(self.part.optional)
        if name in self._where:
            raise BadCheckpoint(f"{path}: tensor {name} is stored twice.")
        self._where[name] = (handle, stored, path)


def load(network: nn.Module, part: Part, device: torch.device, dtype: torch.dtype) -> None:
    """Fill a network that was built on the meta device from its part of a checkpoint."""
    with ExitStack() as files:
        store = Store(part, files)
        sources = check(network, store)
        for name, stored_names in sources.items():
            # A copy even where nothing is converted: the file's memory map must not stay in use.
            tensors = [store.read(s).to(device, dtype, copy=True) for s in stored_names]
            for stored, tensor in zip(stored_names, tensors, strict=True):
                _check_finite(stored, tensor, store)
            _place(network, name, tensors[0] if len(tensors) == 1 else torch.cat(tensors))


def verify(network: nn.Module, part: Part) -> int:
    """Check the tensors that the network reads: names, shapes, types, every value finite.

    The number of values.
    """
    count = 0
    with ExitStack() as files:
        store = Store(part, files)
        for stored_names in check(network, store).values():
            for stored in stored_names:
                tensor = store.read(stored)
                _check_finite(stored, tensor, store)
                count += tensor.numel()
    return count


def check_part(network: nn.Module, part: Part) -> int:
    """Check names, shapes and types of what the network reads; the number of tensors."""
    with ExitStack() as files:
        return sum(len(names) for names in check(network, Store(part, files)).values())


def check(network: nn.Module, store: Store) -> dict[str, list[str]]:
    """The stored names behind each parameter; raises BadCheckpoint where any does not fit."""
    sources: dict[str, list[str]] = {}
    expected: dict[str, tuple[int, ...]] = {}
    for name, shapes in _parameters(network):
        sources[name] = list(shapes)
        expected |= shapes
    there, where = store.names(), store.part.folder
    for missing in sorted(expected.keys() - there):
        raise BadCheckpoint(f"{where}: tensor {missing} is missing.")
    for extra in sorted(there - expected.keys()):
        raise BadCheckpoint(f"{store.path(extra)}: tensor {extra} does not belong there.")
    for stored, shape in expected.items():
        if store.shape(stored) != shape:
            raise BadCheckpoint(
                f"{store.path(stored)}: tensor {stored} has shape {list(store.shape(stored))}, "
                f"its configuration says {list(shape)}."
            )
    return sources


def _check_finite(name: str, tensor: Tensor, store: Store) -> None:
    """Attention on a CPU can swallow such a value, and a picture would come of it."""
    if not torch.isfinite(tensor).all():
        path = store.path(name)
        raise BadCheckpoint(f"{path}: tensor {name} holds values that are not finite.")


def _parameters(network: nn.Module) -> Iterator[tuple[str, dict[str, tuple[int, ...]]]]:
    """Each parameter with the stored tensors it is made of and their shapes."""
    for module_name, module in network.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            full = f"{module_name}.{name}".lstrip(".")
            if not isinstance(module, FusedLinear):
                yield full, {full: tuple(parameter.shape)}
                continue
            parent = module_name.rpartition(".")[0]
            rows = module.parts.items()
            yield full, {f"{parent}.{p}.{name}": (n, parameter.shape[1]) for p, n in rows}


def _place(network: nn.Module, name: str, tensor: Tensor) -> None:
    owner, _, leaf = name.rpartition(".")
    module = network.get_submodule(owner)
    setattr(module, leaf, nn.Parameter(tensor, requires_grad=False))


def _files(part: Part) -> list[Path]:
    """The part's file, or the shards that its index names, all inside its folder."""
    index = part.folder / f"{part.stem}.safetensors.index.json"
    if index.exists():
        return _shards(index)
    path = part.folder / f"{part.stem}.safetensors"
    if path.exists():
        return [path]
    try:
        others = sorted(part.folder.iterdir())
    except OSError as error:
        raise BadCheckpoint(f"{part.folder} cannot be read: {error.strerror}.") from None
    for other in others:
        if other.suffix in _PICKLE_SUFFIXES:
            raise BadCheckpoint(f"{other} is a pickle; only safetensors files are read.")
    raise BadCheckpoint(f"{path} is missing.")


def _shards(index: Path) -> list[Path]:
    fields = Fields(index)
    names = fields.values.get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(v, str) for v in names.values()):
        raise fields.refuse("weight_map must map tensors to files")
    shards = sorted(set(names.values()))
    for shard in shards:
        plain = Path(shard).name == shard and shard.isprintable()
        if not plain or not shard.endswith(".safetensors"):
            raise fields.refuse(f"{shard!r} is not the name of a safetensors file beside it")
    return [index.parent / shard for shard in shards]


def _open(path: Path) -> Any:
    """The open file; a pickle, a truncated file and a wrong header are told apart."""
    check_plain(path)
    start = b""
    try:
        with path.open("rb") as file:
            start = file.read(10)
        return safe_open(path, framework="pt")
    except OSError as error:
        raise BadCheckpoint(f"{path} cannot be read: {error.strerror or error}.") from None
    except (SafetensorError, ValueError) as error:
        raise BadCheckpoint(_reason(path, start, str(error))) from None


def _reason(path: Path, start: bytes, error: str) -> str:
    if start[:2] == b"PK" or start[:1] in (b"\x80", b"c", b"("):  # zip; protocol 2 up; 0 and 1
        return f"{path} is a pickle under another name; only safetensors files are read."
    if "InvalidHeader" in error or "HeaderTooLarge" in error or "HeaderTooSmall" in error:
        return f"{path} has no valid safetensors header ({error.rpartition(': ')[2]})."
    return f"{path} is truncated or damaged ({error.rpartition(': ')[2]})."
