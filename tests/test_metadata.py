"""What a picture's file says of how it was made, in every format, whatever the prompt holds."""

import io
import json
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, PngImagePlugin

from zing import metadata, pictures
from zing.errors import BadFile
from zing.metadata import FILE_BYTES_MAX, SOFTWARE, SOURCE_TYPE, Description, Metadata, describe
from zing.task import PROMPT_MAX, SEED_MAX, check_prompt

PIXELS = np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8)
PROMPT = '一只可爱的猫咪 🐱, a <red> & "blue" cat\'s hat'
MADE = Metadata(PROMPT, 64, 48, 7, 8, "builtin", 30, 29)
SUFFIXES = sorted({kind: suffix for suffix, (kind, _) in pictures.FORMATS.items()}.values())
IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"


def said(made: Metadata, suffix: str) -> dict[str, Any]:
    """What stands in the headers of a picture that says this."""
    with Image.open(io.BytesIO(pictures.encode(PIXELS, suffix, made))) as image:
        return dict(image.info)


def xmp(made: Metadata, suffix: str) -> dict[str, str | None]:
    """The XMP's properties, by an XML parser that forgives nothing."""
    about = ElementTree.fromstring(said(made, suffix)["xmp"])[0][0]
    return {each.tag: each.text for each in about}


def shown(data: bytes, folder: Path) -> Description:
    path = folder / "a picture"
    path.write_bytes(data)
    return describe(path)


def holds(text: str) -> str:
    """The text as an XML 1.0 reader gives it back, by the standard's list of characters."""
    return "".join(each if in_xml(each) else "\ufffd" for each in text)


def in_xml(character: str) -> bool:
    code = ord(character)
    ranges = ((0x20, 0xD7FF), (0xE000, 0xFFFD), (0x10000, 0x10FFFF))
    return character in "\t\n" or any(low <= code <= high for low, high in ranges)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_is_read_again(suffix: str, tmp_path: Path) -> None:
    data = pictures.encode(PIXELS, suffix, MADE)
    assert shown(data, tmp_path) == Description(
        format=pictures.FORMATS[suffix][0],
        width=64,
        height=48,
        bytes=len(data),
        prompt=PROMPT,
        seed=7,
        steps=8,
        model="builtin",
        prompt_tokens=30,
        prompt_tokens_used=29,
        software=SOFTWARE,
        source_type="trainedAlgorithmicMedia",
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_xmp_says_in_iptcs_words_that_it_is_machine_made(suffix: str) -> None:
    assert xmp(MADE, suffix) == {
        f"{IPTC}DigitalSourceType": SOURCE_TYPE,
        f"{IPTC}AISystemUsed": "builtin",
        f"{IPTC}AIPromptInformation": PROMPT,
        "{http://ns.adobe.com/xap/1.0/}CreatorTool": SOFTWARE,
    }


def test_a_png_has_the_parameters_that_viewers_read() -> None:
    prompt, _, line = said(MADE, ".png")["parameters"].rpartition("\n")
    assert prompt == PROMPT
    assert dict(fact.split(": ") for fact in line.split(", ")) == {
        "Steps": "8",
        "Seed": "7",
        "Size": "64x48",
        "Model": "builtin",
        "Prompt tokens": "29/30",
        "Version": SOFTWARE,
    }


@pytest.mark.parametrize("suffix", [each for each in SUFFIXES if each != ".png"])
def test_the_others_have_them_as_the_user_comment_of_big_endian_exif(suffix: str) -> None:
    exif = said(MADE, suffix)["exif"].removeprefix(b"Exif\0\0")
    assert exif.startswith(b"MM\0*")
    assert b"UNICODE\0" + said(MADE, ".png")["parameters"].encode("utf-16-be") in exif


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_pixels_are_the_same_with_and_without(suffix: str) -> None:
    bare, full = (
        np.asarray(Image.open(io.BytesIO(pictures.encode(PIXELS, suffix, made))))
        for made in (None, MADE)
    )
    assert pictures.sha256(bare) == pictures.sha256(full)


def test_pictures_say_nothing_unless_they_are_told_to(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        found = shown(pictures.encode(PIXELS, suffix), tmp_path)
        assert found == Description(found.format, 64, 48, found.bytes)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("letter", ["猫", "🐱", "&", "\u202e", "a"])
def test_the_longest_prompt_fits(suffix: str, letter: str, tmp_path: Path) -> None:
    made = replace(MADE, prompt=letter * PROMPT_MAX)
    assert shown(pictures.encode(PIXELS, suffix, made), tmp_path).prompt == made.prompt
    assert xmp(made, suffix)[f"{IPTC}AIPromptInformation"] == made.prompt


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_too_much_text_is_cut_and_fails_no_picture(suffix: str, tmp_path: Path) -> None:
    made = replace(MADE, prompt="&🐱" * 100_000, model='"\\' * 10_000)
    found = shown(pictures.encode(PIXELS, suffix, made), tmp_path)
    assert found.prompt
    assert made.prompt.startswith(found.prompt)
    assert made.model.startswith(found.model or "?")
    assert (found.seed, found.source_type) == (7, "trainedAlgorithmicMedia")


ANYTHING = st.characters(exclude_categories=[])  # lone surrogates and controls as well
TEXTS = st.text(ANYTHING, max_size=60) | st.text("\0\r\n\t\ud800\ufffe\uffff\u202e<&>]\"',:\\a")
LINES = st.sampled_from(["Steps: 3, Seed: 4, Model: x", "Negative prompt: y", "]]>", "<!--", "%s"])


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SUFFIXES), TEXTS | LINES, TEXTS | LINES, st.integers(1, SEED_MAX))
def test_any_text_comes_back_as_xml_holds_it(
    suffix: str, prompt: str, model: str, seed: int
) -> None:
    made = replace(MADE, prompt=prompt, model=model, seed=seed)
    info = said(made, suffix)
    assert metadata._facts(info) == {
        "prompt": holds(prompt),
        "seed": seed,
        "steps": 8,
        "model": holds(model),
        "prompt_tokens": 30,
        "prompt_tokens_used": 29,
        "software": SOFTWARE,
    }
    found = xmp(made, suffix)
    assert (found[f"{IPTC}AIPromptInformation"] or "") == holds(prompt)
    assert (found[f"{IPTC}AISystemUsed"] or "") == holds(model)


TAKEN = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(SUFFIXES), st.text(TAKEN | st.sampled_from("\n\t"), max_size=200))
def test_a_prompt_that_is_taken_comes_back_as_it_was(suffix: str, text: str) -> None:
    prompt = check_prompt(f"a {text} cat")
    assert metadata._facts(said(replace(MADE, prompt=prompt), suffix))["prompt"] == prompt


# What others wrote.


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks: bytes, size: tuple[int, int] = (8, 8)) -> bytes:
    """The headers of a PNG without its pixels."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IDAT", b"")


def png_xmp(text: str) -> bytes:
    return png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + text.encode()))


FOREIGN = "a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, Seed: 5, Size: 8x8, Model: x-y"


def test_what_other_programs_wrote_into_a_png_is_shown(tmp_path: Path) -> None:
    data = png(chunk(b"tEXt", b"parameters\0" + FOREIGN.encode()))
    found = shown(data, tmp_path)
    assert (found.prompt, found.seed) == ("a cat\nNegative prompt: dog", 5)
    assert (found.model, found.prompt_tokens, found.source_type) == ("x-y", None, None)


@pytest.mark.parametrize(("order", "encoding"), [("<", "utf-16-le"), (">", "utf-16-be")])
def test_exif_is_read_in_either_byte_order(order: str, encoding: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.endian = order
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + FOREIGN.encode(encoding)
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "JPEG", exif=exif.tobytes())
    assert shown(buffer.getvalue(), tmp_path).seed == 5


def test_more_text_than_a_picture_of_ours_has_is_not_read(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + (" " * 20_000 + FOREIGN).encode("utf-16-be")
    xmp = metadata.save_options(MADE, "JPEG")["xmp"] + b" " * 2**15
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "JPEG", exif=exif.tobytes(), xmp=xmp)
    found = shown(buffer.getvalue(), tmp_path)
    assert (found.format, found.seed, found.source_type) == ("JPEG", None, None)


SOURCE = f'xmlns:p="{IPTC.strip("{}")}" xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'


@pytest.mark.parametrize(
    ("text", "source_type"),
    [
        (f"<a {SOURCE}><p:DigitalSourceType> http://x/y/one\n</p:DigitalSourceType></a>", "one"),
        (f'<a {SOURCE}><rdf:Description p:DigitalSourceType="http://x/two"/></a>', "two"),
        (f"<a {SOURCE}><p:DigitalSourceType/></a>", None),
        (f"<!DOCTYPE a [<!ENTITY e 'x'>]><a {SOURCE} p:DigitalSourceType='&e;'/>", None),
        ("<a>" * 10_000, None),
        ("<a>" * 4_000 + "</a>" * 4_000, None),
        ("no XML", None),
        ("", None),
    ],
)
def test_foreign_xmp_is_read_with_care(text: str, source_type: str | None, tmp_path: Path) -> None:
    assert shown(png_xmp(text), tmp_path).source_type == source_type


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a cat",
        "a cat\nSteps: 8",
        "a cat\nSteps: 8, Seed: 7" + ", a: b" * 1000,
        "Seed: 7, Steps: 8\n",
        "x" * 40_000 + "\nSteps: 8, Seed: 7",
    ],
)
def test_a_file_that_does_not_say_how_it_was_made_says_nothing(text: str, tmp_path: Path) -> None:
    found = shown(png(chunk(b"tEXt", b"parameters\0" + text.encode())), tmp_path)
    assert (found.prompt, found.seed, found.steps) == (None, None, None)


def test_numbers_that_are_none_are_left_out(tmp_path: Path) -> None:
    text = 'a cat\nSteps: ٨, Seed: -1, Model: "x'
    found = shown(png(chunk(b"iTXt", b"parameters\0\0\0\0\0" + text.encode())), tmp_path)
    assert (found.prompt, found.steps, found.seed, found.model) == ("a cat", None, None, '"x')


# What is no picture, or one that means harm.


def test_no_pixel_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*_: object) -> None:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load_end", decode)
    for suffix in SUFFIXES:
        assert shown(pictures.encode(PIXELS, suffix, MADE), tmp_path).prompt == PROMPT


def saved(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, kind)
    return buffer.getvalue()


BOMB = zlib.compress(bytes(2**24), 9)
HOSTILE: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "text": lambda: b"no picture\n",
    "half a header": lambda: png()[:20],
    "a format that zing does not write": lambda: saved("GIF"),
    "another": lambda: saved("TIFF"),
    "more pixels than memory": lambda: png(size=(2**31 - 1, 2**31 - 1)),
    "many pixels": lambda: png(size=(10_000, 10_000)),
    "no pixels": lambda: png(size=(0, 8)),
    "text that grows": lambda: png(chunk(b"iTXt", b"parameters\0\1\0\0\0" + BOMB)),
    "texts that grow": lambda: png(chunk(b"zTXt", b"parameters\0\0" + BOMB)),
    "too many bytes": lambda: png() + bytes(FILE_BYTES_MAX),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_no_picture_is_refused(case: str, tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="a picture"):
        shown(HOSTILE[case](), tmp_path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("", "nothing", "pipe", "\0", "x" * 300):
        with pytest.raises(BadFile):
            describe(tmp_path / name)


def exif_of_entries() -> bytes:
    """EXIF whose two thousand entries each claim the same bytes."""
    entries = b"".join(struct.pack(">HHII", tag, 7, 20_000, 0) for tag in range(2000))
    return b"MM\0*\0\0\0\x08" + struct.pack(">H", 2000) + entries + bytes(4)


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"MM",
        b"MM\0*\0\0\0\x08\0\1\x87\x69\0\4\0\0\0\1\0\0\0\x08",  # a folder inside itself
        exif_of_entries(),
        b"MM\0*\0\0\0\x08" + bytes(2**16),
    ],
)
def test_exif_that_cannot_be_read_says_nothing(exif: bytes, tmp_path: Path) -> None:
    found = shown(png(chunk(b"eXIf", exif)), tmp_path)
    assert (found.width, found.prompt) == (8, None)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(SUFFIXES),
    st.lists(st.tuples(st.integers(0, 2**11), st.binary(min_size=1, max_size=4)), max_size=8),
    st.none() | st.integers(0, 2**12),
)
def test_a_damaged_file_is_described_or_refused(
    tmp_path_factory: pytest.TempPathFactory,
    suffix: str,
    damage: list[tuple[int, bytes]],
    end: int | None,
) -> None:
    data = bytearray(DAMAGED[suffix])
    for place, new in damage:
        data[place : place + len(new)] = new
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(data[:end])
    try:
        found = describe(path)
    except BadFile:
        return
    json.dumps(found.__dict__).encode()


DAMAGED = {suffix: pictures.encode(PIXELS[:8, :8], suffix, MADE) for suffix in SUFFIXES}
