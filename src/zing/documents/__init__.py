"""The APIs described: an OpenAPI 3.1 document for each dialect and for the admin API, and pages.

The admin API is no part of `/openapi.json`, which is for those who ask for pictures.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources

from zing import admin_api, dialects
from zing.dialects.base import Dialect
from zing.documents import admin, evolink, kie, page, tensorslab, zimageturbo
from zing.documents.base import Api, document
from zing.documents.schemas import Json

APIS: dict[str, Callable[[Dialect], Api]] = {
    dialects.evolink.NAME: evolink.api,
    dialects.kie.NAME: kie.api,
    dialects.tensorslab.NAME: tensorslab.api,
    dialects.zimageturbo.NAME: zimageturbo.api,
}
ADMIN = admin_api.NAME
HTML, JSON, CSS = "text/html", "application/json", "text/css"
PATHS: tuple[str, ...] = (
    "/docs",
    page.STYLE,
    *(f"/docs/{name}{suffix}" for name in (*APIS, ADMIN) for suffix in ("", ".json")),
    "/openapi.json",
)
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class Library:
    """What is described, by path; made when it is first asked for."""

    spoken: Sequence[Dialect]
    origin: str

    def read(self, path: str) -> tuple[str, str]:
        """The media type and the text at one of `PATHS`."""
        return self._texts[path.removesuffix("\n")]  # with which Starlette's routes match too

    @cached_property
    def documents(self) -> dict[str, Json]:
        """The document of each dialect, by its name."""
        return {each.NAME: document(APIS[each.NAME](each), self.origin) for each in self.spoken}

    @cached_property
    def _texts(self) -> dict[str, tuple[str, str]]:
        described = {**self.documents, ADMIN: admin.document(self.origin)}
        texts = {
            "/docs": (HTML, page.index(described, self.origin)),
            page.STYLE: (CSS, resources.files(__name__).joinpath("style.css").read_text("utf-8")),
            "/openapi.json": (JSON, _text(merged(self.documents, self.origin))),
        }
        for name, each in described.items():
            texts[f"/docs/{name}"] = HTML, page.reference(name, each)
            texts[f"/docs/{name}.json"] = JSON, _text(each)
        return texts


def merged(documents: dict[str, Json], origin: str) -> Json:
    """One document of all; the names of components begin with their dialect's."""
    whole: Json = {
        "openapi": "3.1.0",
        "info": {"title": "zing", "description": "Z-Image-Turbo behind four APIs."},
        "servers": [{"url": origin}],
        "tags": [],
        "paths": {},
        "components": {},
    }
    for name, each in documents.items():
        whole["info"]["version"] = each["info"]["version"]
        renamed = _renamed(each, f"{name}_")
        whole["tags"] += renamed["tags"]
        whole["paths"] |= renamed["paths"]
        for kind, components in renamed["components"].items():
            whole["components"].setdefault(kind, {}).update(components)
    return whole


def _renamed(one: Json, prefix: str) -> Json:
    """A document with this before the name of each of its components."""
    pattern = r'"#/components/(\w+)/([\w-]+)"'
    renamed: Json = json.loads(re.sub(pattern, rf'"#/components/\1/{prefix}\2"', _text(one)))
    renamed["components"] = {
        kind: {f"{prefix}{name}": each for name, each in components.items()}
        for kind, components in renamed["components"].items()
    }
    for path in renamed["paths"].values():
        for operation in path.values():
            operation["security"] = [{f"{prefix}key": []}]
    return renamed


def _text(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)
