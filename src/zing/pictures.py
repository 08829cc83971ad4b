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
PREVIEW_SIDE_MAX, PREVIEW_BYTES_MAX = 128, 4096
PREVIEW_QUALITIES = (60, 20, 0)  # the lowest takes 128 x 128 pixels of pure noise

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


def fit_preview(pixels: NDArray[np.uint8], plan: Plan) -> NDArray[np.uint8]:
    """The (h, w, 3) pixels of a small copy of what was rendered, cut as the plan says.

    It is scaled only where a side is over PREVIEW_SIDE_MAX; cuts are to whole pixels.
    """
    across, down = pixels.shape[1] / plan.scaled[0], pixels.shape[0] / plan.scaled[1]
    left, right = _cut(plan.box[0] * across, plan.box[2] * across)
    top, bottom = _cut(plan.box[1] * down, plan.box[3] * down)
    cut = np.ascontiguousarray(pixels[top:bottom, left:right])
    longest = max(right - left, bottom - top)
    if longest <= PREVIEW_SIDE_MAX:
        return cut
    size = [max(1, side * PREVIEW_SIDE_MAX // longest) for side in (right - left, bottom - top)]
    return np.asarray(Image.fromarray(cut).resize(size, Image.Resampling.BOX))


def _cut(start: float, end: float) -> tuple[int, int]:
    """The nearest whole pixels, at least one."""
    return round(start), max(round(start) + 1, round(end))


def preview_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """The WebP of a preview's (h, w, 3) pixels, under PREVIEW_BYTES_MAX whatever they show."""
    for quality in PREVIEW_QUALITIES:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "WEBP", quality=quality, method=0)
        if buffer.tell() < PREVIEW_BYTES_MAX:
            break
    return buffer.getvalue()


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
