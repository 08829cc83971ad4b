"""Fields that are read strictly: each of one kind, within bounds, and no other is taken.

A kind reads a value of JSON or the text of a query, and says the same as a JSON Schema. It raises
ValueError where a value is none of it; `read` makes the refusal, which names the field.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from zing.errors import BadField, BadSetting
from zing.rates import Rate
from zing.task import parse_credits

Json = dict[str, Any]

_NUMBER = re.compile(r"-?\d{1,20}(\.\d{1,9})?", re.ASCII)
CREDITS_MAX = 10**12


class Kind(Protocol):
    """What a field may be."""

    @property
    def words(self) -> str:
        """What it must be, after `must be`."""

    @property
    def schema(self) -> Json:
        """The same as a JSON Schema."""

    def read(self, said: Any) -> Any:
        """What a value means; raises ValueError."""

    def of_text(self, text: str) -> Any:
        """What a text in a query means; raises ValueError."""


@dataclass(frozen=True)
class Whole:
    """A whole number."""

    low: int
    high: int

    @property
    def words(self) -> str:
        """What it must be."""
        return f"a whole number from {self.low} to {self.high}"

    @property
    def schema(self) -> Json:
        """The same as a JSON Schema."""
        return {"type": "integer", "minimum": self.low, "maximum": self.high}

    def read(self, said: Any) -> int:
        """The number; true, "7" and 7.0 are none."""
        if type(said) is int and self.low <= said <= self.high:
            return said
        raise ValueError

    def of_text(self, text: str) -> int:
        """The number in a text."""
        return self.read(int(text)) if re.fullmatch(r"-?\d{1,20}", text, re.ASCII) else _no()


@dataclass(frozen=True)
class Number:
    """A number with or without a fraction."""

    low: float
    high: float

    @property
    def words(self) -> str:
        """What it must be."""
        return f"a number from {self.low:.12g} to {self.high:.12g}"

    @property
    def schema(self) -> Json:
        """The same as a JSON Schema."""
        return {"type": "number", "minimum": self.low, "maximum": self.high}

    def read(self, said: Any) -> float:
        """The number."""
        if type(said) in (int, float) and self.low <= said <= self.high:
            return float(said)
        raise ValueError

    def of_text(self, text: str) -> float:
        """The number in a text."""
        return self.read(float(text)) if _NUMBER.fullmatch(text) else _no()


@dataclass(frozen=True)
class Line:
    """A line of text."""

    least: int
    most: int

    @property
    def words(self) -> str:
        """What it must be."""
        return f"a text of {self.least} to {self.most} printable characters"

    @property
    def schema(self) -> Json:
        """The same as a JSON Schema, as far as one can tell what is printable."""
        return {
            "type": "string",
            "minLength": self.least,
            "maxLength": self.most,
            "pattern": r"^[^\u0000-\u001f\u007f]*$",
        }

    def read(self, said: Any) -> str:
        """The text; what no terminal shows is not taken."""
        if isinstance(said, str) and self.least <= len(said) <= self.most and said.isprintable():
            return said
        raise ValueError

    def of_text(self, text: str) -> str:
        """The same."""
        return self.read(text)


@dataclass(frozen=True)
class Shaped:
    """A text in the shape of a regular expression, such as an id."""

    pattern: str
    what: str

    @property
    def words(self) -> str:
        """What it must be."""
        return self.what

    @property
    def schema(self) -> Json:
        """The same as a JSON Schema."""
        return {"type": "string", "pattern": f"^{self.pattern}$"}

    def read(self, said: Any) -> str:
        """The text."""
        if isinstance(said, str) and re.fullmatch(self.pattern, said, re.ASCII):
            return said
        raise ValueError

    def of_text(self, text: str) -> str:
        """The same."""
        return self.read(text)


@dataclass(frozen=True)
class Choice:
    """One of some words."""

    of: Sequence[str]

    @property
    def words(self) -> str:
        """What it must be."""
        return f"one of {', '.join(self.of)}"

    @property
    def schema(self) -> Json:
        """The same as a JSON Schema."""
        return {"enum": list(self.of)}

    def read(self, said: Any) -> str:
        """The word."""
        if isinstance(said, str) and said in self.of:
            return said
        raise ValueError

    def of_text(self, text: str) -> str:
        """The same."""
        return self.read(text)


@dataclass(frozen=True)
class Some:
    """A list of values of a kind, none twice."""

    kind: Kind
    least: int
    most: int

    @property
    def words(self) -> str:
        """What it must be."""
        return f"a list of {self.least} to {self.most}, none twice, each {self.kind.words}"

    @property
    def schema(self) -> Json:
        """The same as a JSON Schema."""
        bounds = {"minItems": self.least, "maxItems": self.most, "uniqueItems": True}
        return {"type": "array", "items": self.kind.schema, **bounds}

    def read(self, said: Any) -> list[Any]:
        """The values."""
        if not isinstance(said, list) or not self.least <= len(said) <= self.most:
            raise ValueError
        values = [self.kind.read(each) for each in said]
        return values if len(set(values)) == len(values) else _no()

    def of_text(self, text: str) -> list[Any]:
        """The values, with commas between."""
        return self.read(text.split(","))


@dataclass(frozen=True)
class Credits:
    """Credits as micro-credits: a JSON number, or a text such as "0.026" where that is exact.

    least  micro-credits
    """

    least: int = 0

    @property
    def words(self) -> str:
        """What it must be."""
        text = "credits, such as 12 or 0.026, with at most 6 digits behind the point"
        return f"more than nothing: {text}" if self.least > 0 else text

    @property
    def schema(self) -> Json:
        """The same as a JSON Schema."""
        sign = "-?" if self.least < 0 else ""
        number: Json = {"type": "number", "exclusiveMaximum": CREDITS_MAX}
        if self.least < 0:
            number["exclusiveMinimum"] = -CREDITS_MAX
        elif self.least > 0:
            number["exclusiveMinimum"] = 0
        else:
            number["minimum"] = 0
        text = {"type": "string", "pattern": rf"^{sign}[0-9]{{1,12}}(\.[0-9]{{1,6}})?$"}
        return {"anyOf": [number, text]}

    def read(self, said: Any) -> int:
        """The micro-credits."""
        if type(said) in (int, float) and abs(said) < CREDITS_MAX:
            said = f"{Decimal(str(said)):f}"
        if not isinstance(said, str):
            raise ValueError
        micro = self._signed(said)
        return micro if micro >= self.least else _no()

    def _signed(self, text: str) -> int:
        sign = -1 if text.startswith("-") and self.least < 0 else 1
        try:
            return sign * parse_credits(text[1:] if sign < 0 else text)
        except BadSetting:
            raise ValueError from None

    def of_text(self, text: str) -> int:
        """The same."""
        return self.read(text)


@dataclass(frozen=True)
class Often:
    """A rate such as 20/10."""

    @property
    def words(self) -> str:
        """What it must be."""
        return "a rate such as 20/10, for 20 in 10 seconds"

    @property
    def schema(self) -> Json:
        """The same as a JSON Schema; within which bounds it cannot say."""
        return {"type": "string", "pattern": r"^[0-9]{1,7}/[0-9]{1,5}(\.[0-9]{1,3})?$"}

    def read(self, said: Any) -> Rate:
        """The rate."""
        try:
            return Rate.parse(said) if isinstance(said, str) else _no()
        except BadSetting:
            raise ValueError from None

    def of_text(self, text: str) -> Rate:
        """The same."""
        return self.read(text)


@dataclass(frozen=True)
class Field:
    """A field.

    text      what it is, for people
    empty     null is taken, and means none
    sample    a value to show
    """

    kind: Kind
    text: str
    required: bool = False
    empty: bool = False
    sample: Any = None

    def read(self, said: Any) -> Any:
        """What a value of JSON means; raises ValueError."""
        return None if said is None and self.empty else self.kind.read(said)


Fields = Mapping[str, Field]


def of_object(said: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
    """What the members of a JSON object mean, of those that are there; raises BadField."""
    _check_names(said, fields)
    return {name: _read(fields[name], name, each, False) for name, each in said.items()}


def of_query(said: Sequence[tuple[str, str]], fields: Fields) -> dict[str, Any]:
    """What the parameters of a query mean, of those that are there; raises BadField."""
    names = dict(said)
    _check_names(names, fields)
    if len(names) != len(said):
        raise BadField("A parameter comes twice.")
    return {name: _read(fields[name], name, each, True) for name, each in names.items()}


def _check_names(said: Mapping[str, Any], fields: Fields) -> None:
    for name in said:
        if name not in fields:
            known = f"{', '.join(fields)} can be" if fields else "nothing can be"
            raise BadField(f"There is no field {name[:40]!r} here: {known} said.", field=name[:40])
    for name, each in fields.items():
        if each.required and name not in said:
            raise BadField(f"{name} is missing: it must be {each.kind.words}.", field=name)


def _read(field: Field, name: str, said: Any, from_query: bool) -> Any:
    try:
        return field.kind.of_text(said) if from_query else field.read(said)
    except ValueError:
        none = ", or null" if field.empty and not from_query else ""
        raise BadField(f"{name} must be {field.kind.words}{none}.", field=name) from None


def _no() -> Any:
    raise ValueError
