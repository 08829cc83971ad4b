"""Pixels to pictures: scaled and cut to the size asked for, and encoded as a file."""

from __future__ import annotations

import hashlib
import io
import os
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
from PIL import Image

from zing.errors import BadFile
from zing.metadata import save_options

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zing.metadata import Metadata
    from zing.sizes import Plan

_NAME_BYTES_MAX = 255

# Measured: docs/decisions/0010-pictures.md. AVIF takes one thread: others are encoded beside it.
FORMATS: dict[str, tuple[str, dict[str, int]]] = {
    ".png": ("PNG", {"compress_level": 1, "compress_type": zlib.Z_RLE}),
    ".jpg": ("JPEG", {"quality": 95}),
    ".jpeg": ("JPEG", {"quality": 95}),
    ".webp": ("WEBP", {"quality": 90, "method": 0}),
    ".avif": ("AVIF", {"quality": 85, "speed": 10, "max_threads": 1}),
}


def fit(pixels: NDArray[np.uint8], plan: Plan) -> NDArray[np.uint8]:
    """The (H, W, 3) pixels scaled by Lanczos and cut as the plan says; never stretched."""
    left, top, right, bottom = plan.box
    if plan.scaled == plan.render:
        return np.ascontiguousarray(pixels[top:bottom, left:right])
    scaled = Image.fromarray(pixels).resize(plan.scaled, Image.Resampling.LANCZOS)
    return np.asarray(scaled.crop(plan.box))


def encode(
    pixels: NDArray[np.uint8], suffix: str = ".png", metadata: Metadata | None = None
) -> bytes:
    """The file's bytes for (H, W, 3) pixels in the format of a suffix in FORMATS.

    metadata  what the file says of how it was made; the pixels are the same without
    """
    kind, options = FORMATS[suffix]
    said = {} if metadata is None else save_options(metadata, kind)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options, **said)
    return buffer.getvalue()


def sha256(pixels: NDArray[np.uint8]) -> str:
    """The hash of the pixels themselves, whatever the format they are kept in."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def sha256_bytes(data: bytes) -> str:
    """The hash of a file's bytes."""
    return hashlib.sha256(data).hexdigest()


def check_path(path: Path) -> None:
    """Refuse, before anything is drawn, a file that could not be written."""
    if path.suffix.lower() not in FORMATS:
        known = ", ".join(FORMATS)
        raise BadFile(f"{path}: the format {path.suffix or '(none)'} is unknown; use {known}.")
    if not os.path.isdir(path.parent):  # noqa: PTH112 - Path.is_dir raises where it may not look
        raise BadFile(f"{path}: the folder {path.parent} is not there.")
    folder = os.path.isdir(path)  # noqa: PTH112
    long = len(os.fsencode(path.name)) > _NAME_BYTES_MAX
    if folder or long or not os.access(path.parent, os.W_OK):
        raise BadFile(f"{path} cannot be written.")


def write(path: Path, pixels: NDArray[np.uint8], metadata: Metadata | None = None) -> None:
    """Write the picture; the file is there whole or not at all, whatever interrupts."""
    data = encode(pixels, path.suffix.lower(), metadata)
    partial = path.with_name(f".zing-{uuid4().hex}")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        raise BadFile(f"{path} cannot be written: {error.strerror}.") from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
