"""JSON Schemas that several documents need, and short ways to write them."""

from collections.abc import Iterable, Sequence
from typing import Any

from zing.dialects.base import SIDE_MAX, SIDE_MIN
from zing.egress import URL_MAX
from zing.task import SEED_MAX

Json = dict[str, Any]

# A side of SIDE_MIN to SIDE_MAX, and one of at least SIDE_MIN; tests compare both with the numbers.
SIDE = r"(37[6-9]|3[89][0-9]|[4-9][0-9]{2}|1[0-4][0-9]{2}|15[0-2][0-9]|153[0-6])"
LONG_SIDE = r"(37[6-9]|3[89][0-9]|[4-9][0-9]{2}|[1-9][0-9]{3,19})"

TASK_ID = r"^[A-Za-z0-9_.:-]{1,128}$"
TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}$"
NUMBER, NUMBER_OR_NOTHING = "^-?[0-9]{1,10}$", "^(-?[0-9]{1,10})?$"


def ref(name: str) -> Json:
    """The schema of this name among the document's components."""
    return {"$ref": f"#/components/schemas/{name}"}


def said(text: str, schema: Json) -> Json:
    """A schema with a description."""
    return {"description": text, **schema}


def answered(properties: Json, optional: Sequence[str] = ()) -> Json:
    """An object that we write: these members, no other, all there but the optional ones."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def asked(properties: Json, required: Sequence[str] = ()) -> Json:
    """An object that we read: what else is in it is ignored."""
    return {"type": "object", "properties": properties, "required": list(required)}


def string(**rules: Any) -> Json:
    """A text."""
    return {"type": "string", **rules}


def integer(low: int | None = None, high: int | None = None) -> Json:
    """A whole number."""
    limits = {"minimum": low, "maximum": high}
    return {"type": "integer", **{name: each for name, each in limits.items() if each is not None}}


def words(values: Iterable[Any]) -> Json:
    """One of these values."""
    return {"enum": list(dict.fromkeys(values))}


def or_null(schema: Json) -> Json:
    """The same, or null, which says as much as leaving it out."""
    if isinstance(schema.get("type"), str):
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def prompt(limit: int) -> Json:
    """What to draw."""
    text = f"What to draw, in English or Chinese; at most {limit} characters."
    return said(text, string(minLength=1, maxLength=limit))


def callback() -> Json:
    """Where to tell that a task has ended."""
    text = "An https URL that the ended task is sent to; never a private address."
    return said(text, or_null(string(maxLength=URL_MAX, pattern="^(https://.+)?$")))


def seed(low: int = 1) -> Json:
    """The number that makes a picture repeatable."""
    return integer(low, SEED_MAX)


def size(mark: str) -> Json:
    """Width and height in pixels; `mark` is the regular expression of what stands between."""
    text = f"Width and height in pixels, each {SIDE_MIN} to {SIDE_MAX}."
    return said(text, string(pattern=f"^{SIDE}{mark}{SIDE}$"))


def task_id() -> Json:
    """The id of a task."""
    return string(pattern=TASK_ID)


def links() -> Json:
    """Links to pictures."""
    return {"type": "array", "items": string(format="uri")}


def only_when(member: str, values: Sequence[Any], names: Sequence[str]) -> Json:
    """These members are there exactly when another has one of some values."""
    return {
        "if": {"properties": {member: words(values)}},
        "then": {"required": list(names)},
        "else": {"properties": dict.fromkeys(names, False)},
    }
