"""Pixels to files and to the size asked for."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zing import pictures
from zing.errors import BadFile
from zing.sizes import plan

PIXELS = np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def test_png_keeps_every_pixel(tmp_path: Path) -> None:
    pictures.write(tmp_path / "a.png", PIXELS)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), PIXELS)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("suffix", "kind"), [(".jpg", "JPEG"), (".JPEG", "JPEG"), (".webp", "WEBP"), (".avif", "AVIF")]
)
def test_format_follows_the_suffix(tmp_path: Path, suffix: str, kind: str) -> None:
    path = tmp_path / f"a{suffix}"
    pictures.check_path(path)
    pictures.write(path, PIXELS)
    with Image.open(path) as image:
        assert (image.format, image.size) == (kind, (64, 48))


@pytest.mark.parametrize("suffix", pictures.FORMATS)
@pytest.mark.parametrize("size", [(376, 1536), (1536, 376), (377, 999), (1535, 1025), (1, 1)])
def test_any_size_keeps_its_look_in_every_format(suffix: str, size: tuple[int, int]) -> None:
    width, height = size
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    pixels = np.stack([across, down, 255 - across], axis=-1).astype(np.uint8)
    with Image.open(io.BytesIO(pictures.encode(pixels, suffix))) as image:
        assert image.size == size
        seen = np.asarray(image.convert("RGB"))
    assert np.abs(seen.astype(int) - pixels).mean() < 3


@pytest.mark.parametrize("name", ["a.gif", "a", "nowhere/a.png", "folder.png"])
def test_unwritable_file_is_refused_before_drawing(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(BadFile):
        pictures.check_path(tmp_path / name)


def test_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(BadFile, match=r"a\.png cannot be written"):
        pictures.write(tmp_path / "a.png", PIXELS)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_scaling_keeps_a_circle_round() -> None:
    """A disc in the middle of a native picture is as wide as high after scaling and cutting."""
    rows, columns = np.mgrid[:160, :160]
    disc = ((rows - 79.5) ** 2 + (columns - 79.5) ** 2 < 40**2)[..., None]
    pixels = np.where(disc, np.uint8(255), np.uint8(0)).repeat(3, axis=2)
    fitted = pictures.fit(pixels, plan((1000, 600), 32, ((160, 160),)))
    assert fitted.shape == (600, 1000, 3)
    bright = fitted[..., 0] > 127
    height, width = bright.any(axis=1).sum(), bright.any(axis=0).sum()
    assert abs(int(height) - int(width)) <= 2
    centre = [np.flatnonzero(bright.any(axis=axis)).mean() for axis in (0, 1)]
    assert centre == pytest.approx([499.5, 299.5], abs=1.5)


def test_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: pictures.write(tmp_path / "a.png", PIXELS), range(40)))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), PIXELS)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_interrupted_write_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        pictures.write(tmp_path / "a.png", PIXELS)
    assert list(tmp_path.iterdir()) == []


def test_file_is_readable_as_others_are(tmp_path: Path) -> None:
    pictures.write(tmp_path / "a.png", PIXELS)
    (tmp_path / "b").touch()
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_hash_is_of_the_pixels() -> None:
    assert pictures.sha256(PIXELS) == pictures.sha256(PIXELS.copy(order="F"))
    assert pictures.sha256(PIXELS) != pictures.sha256(PIXELS[::-1])


@pytest.mark.parametrize("most", [256, 2])
@pytest.mark.parametrize("size", [(128, 128), (40, 22), (1, 1)])
def test_a_preview_is_a_webp_under_4_kb_whatever_it_shows(size: tuple[int, int], most: int) -> None:
    noise = np.random.default_rng(1).integers(0, most, (*reversed(size), 3), dtype=np.uint8)
    data = pictures.preview_bytes(noise * np.uint8(255 // (most - 1)))
    assert len(data) < 4096
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size) == ("WEBP", size)


@pytest.mark.parametrize(
    ("size", "native", "frame", "expected"),
    [
        ((1280, 720), ((320, 192),), (40, 24), (40, 22)),
        ((2048, 1024), (), (256, 128), (128, 64)),
        ((1020, 1020), (), (128, 128), (128, 128)),
        ((64, 2048), ((128, 512),), (16, 64), (2, 64)),
    ],
)
def test_a_preview_is_cut_as_its_picture(
    size: tuple[int, int],
    native: tuple[tuple[int, int], ...],
    frame: tuple[int, int],
    expected: tuple[int, int],
) -> None:
    pixels = np.zeros((frame[1], frame[0], 3), np.uint8)
    fitted = pictures.fit_preview(pixels, plan(size, 16, native))
    assert fitted.shape == (expected[1], expected[0], 3)


def test_a_preview_shows_the_middle() -> None:
    """What stands in the middle of the picture stands in the middle of its preview."""
    pixels = np.zeros((24, 40, 3), np.uint8)
    pixels[10:14, 18:22] = 255
    fitted = pictures.fit_preview(pixels, plan((1280, 720), 32, ((320, 192),)))[..., 0]
    assert [np.flatnonzero(fitted.any(axis=axis)).mean() for axis in (0, 1)] == [19.5, 10.5]
