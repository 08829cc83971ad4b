"""What a picture's file says of how it was made: written into it, and read again.

`parameters` are lines as AUTOMATIC1111 writes them, which viewers read: the prompt, then a line of
facts. They are a text chunk of a PNG and the EXIF user comment of the others. Beside them XMP says
in the words of IPTC (Photo Metadata 2025.1) that a trained algorithm made it, which, and of what.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from zing import __version__
from zing.errors import BadFile

if TYPE_CHECKING:
    from pathlib import Path

SOFTWARE = f"zing {__version__}"
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
FILE_BYTES_MAX = 2**24  # a PNG of 2048x2048 pixels has 12.6 MB at most
TEXT_BYTES_MAX = 2**15  # the longest prompt takes 20 kB
_PROMPT_MAX, _MODEL_MAX, _LINE_MAX = 4000, 200, 1000
_KINDS = ("PNG", "JPEG", "WEBP", "AVIF")

_EXIF_IFD, _SOFTWARE_TAG, _COMMENT_TAG = 0x8769, 0x0131, 0x9286
_UNICODE = b"UNICODE\0"
_XMP_CHUNK = "XML:com.adobe.xmp"
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_XMP = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="{_RDF}">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="{_IPTC}" xmlns:xmp="http://ns.adobe.com/xap/1.0/">
<Iptc4xmpExt:DigitalSourceType>{SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>
<Iptc4xmpExt:AISystemUsed>%s</Iptc4xmpExt:AISystemUsed>
<Iptc4xmpExt:AIPromptInformation>%s</Iptc4xmpExt:AIPromptInformation>
<xmp:CreatorTool>{SOFTWARE}</xmp:CreatorTool>
</rdf:Description>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""
# What XML 1.0 cannot hold, and the carriage return, which its readers turn into a newline.
_NO_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FACT = re.compile(r'(\w[\w ]*): ("(?:\\.|[^\\"])*"|[^,]*)(?:, |$)')


@dataclass(frozen=True)
class Metadata:
    """How a picture was made; nothing about who asked for it.

    prompt         what was drawn
    prompt_tokens  of the prompt with its template; the model saw `prompt_tokens_used` of them
    """

    prompt: str
    width: int
    height: int
    seed: int
    steps: int
    model: str
    prompt_tokens: int
    prompt_tokens_used: int


@dataclass(frozen=True)
class Description:
    """What a picture's file says; None where it does not.

    format       as Pillow names it: PNG, JPEG, WEBP, AVIF
    source_type  the last word of IPTC's digital source type
    """

    format: str
    width: int
    height: int
    bytes: int
    prompt: str | None = None
    seed: int | None = None
    steps: int | None = None
    model: str | None = None
    prompt_tokens: int | None = None
    prompt_tokens_used: int | None = None
    software: str | None = None
    source_type: str | None = None


def save_options(metadata: Metadata, kind: str) -> dict[str, Any]:
    """What Pillow's `save` takes for this kind of picture, so that the file says all this.

    Any text will do: what XML cannot hold becomes U+FFFD, and too much is cut.
    """
    prompt = _clean(metadata.prompt, _PROMPT_MAX)
    model = _clean(metadata.model, _MODEL_MAX)
    parameters = f"{prompt}\n{_facts_line(metadata, model)}"
    xmp = _XMP % (escape(model), escape(prompt))
    if kind == "PNG":
        chunks = PngInfo()
        chunks.add_itxt("parameters", parameters)
        chunks.add_itxt(_XMP_CHUNK, xmp)
        return {"pnginfo": chunks}
    exif = Image.Exif()
    exif[_SOFTWARE_TAG] = SOFTWARE
    exif.get_ifd(_EXIF_IFD)[_COMMENT_TAG] = _UNICODE + parameters.encode("utf-16-be")
    return {"exif": exif.tobytes(), "xmp": xmp.encode()}


def describe(path: Path) -> Description:
    """What the picture in a file says, by its headers alone: no pixel is decoded.

    Raises BadFile where it is none that zing could have written, or too large to be looked at.
    """
    try:
        if not path.is_file():
            raise BadFile(f"{path} is not a file.")
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size > FILE_BYTES_MAX:
                raise BadFile(f"{path} is larger than {FILE_BYTES_MAX} bytes.")
            return _described(path, file, size)
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror}.") from None


def _described(path: Path, file: BinaryIO, size: int) -> Description:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = Image.open(file, formats=_KINDS)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise BadFile(f"{path} has more pixels than can be looked at.") from None
        except Exception:  # noqa: BLE001 - whatever a hostile file makes of its reader
            known = ", ".join(_KINDS)
            raise BadFile(f"{path} is not a picture that can be read; {known} can.") from None
        facts, source_type = _facts(image.info), _source_type(image.info)
    return Description(image.format or "", *image.size, size, **facts, source_type=source_type)


def _facts_line(metadata: Metadata, model: str) -> str:
    quoted = json.dumps(model, ensure_ascii=False) if re.search(r'[,:\n"]', model) else model
    return (
        f"Steps: {metadata.steps}, Seed: {metadata.seed}, "
        f"Size: {metadata.width}x{metadata.height}, Model: {quoted}, "
        f"Prompt tokens: {metadata.prompt_tokens_used}/{metadata.prompt_tokens}, "
        f"Version: {SOFTWARE}"
    )


def _clean(text: str, most: int) -> str:
    return _NO_XML.sub("\ufffd", text[:most])


def _facts(info: dict[Any, Any]) -> dict[str, Any]:
    """The facts of the parameters' last line, and the prompt that stands before it."""
    prompt, _, line = (_parameters(info) or "").rpartition("\n")
    said = dict(_FACT.findall(line)) if len(line) <= _LINE_MAX else {}
    if not {"Steps", "Seed"} <= said.keys():
        return {}
    used, _, tokens = said.get("Prompt tokens", "").partition("/")
    return {
        "prompt": prompt,
        "seed": _number(said["Seed"]),
        "steps": _number(said["Steps"]),
        "model": _unquoted(said.get("Model")),
        "prompt_tokens": _number(tokens),
        "prompt_tokens_used": _number(used),
        "software": _unquoted(said.get("Version")),
    }


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\d{1,20}", text, re.ASCII) else None


def _unquoted(value: str | None) -> str | None:
    try:
        return str(json.loads(value)) if value and value.startswith('"') else value
    except ValueError:
        return value


def _parameters(info: dict[Any, Any]) -> str | None:
    """A PNG's text chunk, or the user comment of EXIF."""
    text, exif = info.get("parameters"), info.get("exif")
    if isinstance(text, str):
        return text if len(text) <= TEXT_BYTES_MAX else None
    if not isinstance(exif, bytes) or len(exif) > TEXT_BYTES_MAX:
        return None
    try:
        return _user_comment(exif)
    except Exception:  # noqa: BLE001 - EXIF that cannot be read says nothing
        return None


def _user_comment(data: bytes) -> str | None:
    exif = Image.Exif()
    exif.load(data)
    comment = exif.get_ifd(_EXIF_IFD).get(_COMMENT_TAG)
    if not isinstance(comment, bytes) or not comment.startswith(_UNICODE):
        return None
    order = "utf-16-le" if exif.endian == "<" else "utf-16-be"
    return comment.removeprefix(_UNICODE).decode(order, "replace")


def _source_type(info: dict[Any, Any]) -> str | None:
    """The last word of the digital source type in the XMP; no entity of it is ever expanded."""
    xmp = info.get("xmp")
    if not isinstance(xmp, bytes) or len(xmp) > TEXT_BYTES_MAX:
        return None
    text = xmp.decode(errors="replace").strip("\0 \n")
    if "<!DOCTYPE" in text:
        return None
    try:
        elements = ElementTree.fromstring(text).iter()
    except ElementTree.ParseError:
        return None
    name = f"{{{_IPTC}}}DigitalSourceType"
    for each in elements:
        address = each.text if each.tag == name else each.get(name)
        if address:
            return address.strip().rpartition("/")[2]
    return None
