"""Checkpoints on disk: find them by name, describe them, verify them. No torch."""

import hashlib
import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from zing.engine.zimage import config as configs
from zing.engine.zimage.config import Concept
from zing.errors import BadCheckpoint, UnknownModel
from zing.sizes import Size

BUILTIN = "builtin"
CARD = "README.md"
LANGUAGES = {"en": "English", "zh": "Chinese"}

Vocabulary = dict[str, tuple[Concept, ...]]


@dataclass(frozen=True)
class Model:
    """A checkpoint folder and the name people call it by."""

    name: str
    path: Path


@dataclass(frozen=True)
class Description:
    """What `zing models show` says.

    sha256        one hash over the names and hashes of the files in the checkpoint's own folders
    native_sizes  None where every size is rendered directly
    vocabulary    the words it knows by their kinds, None where it has no list; languages of these
    steps         how many it was trained for; None where it does not say
    licences      what, and its licence in words
    card          the page about it in its folder; None where there is none
    """

    name: str
    path: str
    sha256: str
    native_sizes: tuple[Size, ...] | None
    multiple: int
    bytes: int
    about: str
    vocabulary: Vocabulary | None
    languages: tuple[str, ...]
    steps: int | None
    licences: dict[str, str]
    card: str | None


def builtin() -> Model:
    """The model that comes with zing."""
    return Model(BUILTIN, Path(str(files("zing.engine").joinpath(BUILTIN))))


def find(name: str, data: Path) -> Model:
    """The model of a name, or of a folder's path.

    Raises UnknownModel, and BadCheckpoint where the folder may not be looked at.
    """
    for model in available(data):
        if model.name == name:
            return model
    path = Path(os.path.expanduser(name))  # noqa: PTH111 - leaves an unknown ~user as it is
    try:
        if path.is_dir():
            return Model(path.resolve().name, path.resolve())
    except OSError as error:
        raise BadCheckpoint(f"{path} cannot be read: {error.strerror}.") from None
    names = ", ".join(model.name for model in available(data))
    raise UnknownModel(f"There is no model {name!r}: it is neither a folder nor one of {names}.")


def available(data: Path) -> list[Model]:
    """The built-in model and those in the data folder's `models`."""
    try:
        found = sorted((data / "models").iterdir())
    except OSError:
        found = []
    # os.path: what may not be looked at is left out, not an error for every other model.
    kept = [path for path in found if os.path.isfile(path / "model_index.json")]  # noqa: PTH113
    return [builtin(), *(Model(path.name, path) for path in kept if path.name != BUILTIN)]


def describe(model: Model) -> Description:
    """A model's description; reads every file once for its hash."""
    configs.read_index(model.path)
    multiple = 2 * configs.read_vae(model.path).factor
    manifest = configs.read_manifest(model.path, multiple)
    vocabulary = {group.name: group.concepts for group in manifest.vocabulary}
    total, paths = hashlib.sha256(), checkpoint_files(model.path)
    for path in paths:
        total.update(f"{file_sha256(path)}  {_relative(path, model.path)}\n".encode())
    return Description(
        name=model.name,
        path=str(model.path),
        sha256=total.hexdigest(),
        native_sizes=manifest.native_sizes or None,
        multiple=multiple,
        bytes=sum(path.stat().st_size for path in paths),
        about=manifest.about,
        vocabulary=vocabulary or None,
        languages=_languages(vocabulary),
        steps=manifest.steps,
        licences=dict(manifest.licences),
        card=_card(model.path),
    )


def draws_people(model: Model) -> bool:
    """Whether a model may draw people; only its manifest can say that it does not."""
    multiple = 2 * configs.read_vae(model.path).factor
    return configs.read_manifest(model.path, multiple).draws_people


def verify_files(model: Model) -> int:
    """Compare files with the hashes in the manifest; how many were compared."""
    multiple = 2 * configs.read_vae(model.path).factor
    recorded = configs.read_manifest(model.path, multiple).sha256
    for name, expected in recorded:
        path = model.path / name
        if not path.resolve().is_relative_to(model.path.resolve()):
            raise BadCheckpoint(f"{path} is missing.")
        configs.check_plain(path)
        if file_sha256(path) != expected:
            raise BadCheckpoint(f"{path} is not the file that the manifest names: another sha256.")
    return len(recorded)


def checkpoint_files(folder: Path) -> list[Path]:
    """The files that make a checkpoint, sorted; a card or a picture beside them is none."""
    kinds = {".safetensors", ".json", ".jinja", ".txt"}
    folders = [folder, *(folder / part for part in configs.CLASSES)]
    try:
        paths = sorted(path for each in folders for path in each.iterdir() if path.suffix in kinds)
    except OSError as error:
        raise BadCheckpoint(f"{error.filename} cannot be read: {error.strerror}.") from None
    for path in paths:
        configs.check_plain(path)
    return paths


def file_sha256(path: Path) -> str:
    """The hash of one file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadCheckpoint(f"{path} cannot be read: {error.strerror}.") from None


def _languages(vocabulary: Vocabulary) -> tuple[str, ...]:
    """The languages that the words are of."""
    concepts = [concept for listed in vocabulary.values() for concept in listed]
    return tuple(
        name
        for language, name in LANGUAGES.items()
        if any(getattr(concept, language) for concept in concepts)
    )


def _card(folder: Path) -> str | None:
    path = folder / CARD
    return str(path) if os.path.isfile(path) else None  # noqa: PTH113


def _relative(path: Path, folder: Path) -> str:
    """The name inside the checkpoint; bytes that are no UTF-8 stay apart from all others."""
    return os.fsencode(path.relative_to(folder).as_posix()).decode(errors="backslashreplace")
