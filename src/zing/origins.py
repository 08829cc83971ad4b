"""CORS: which other sites' pages may call the service from a browser. None unless named.

A page needs a key like everybody else. Cookies play no part in it: there are none.
"""

import re

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from zing import config
from zing.config import CORS
from zing.errors import BadSetting

ANY = "*"
METHODS = ("GET", "HEAD", "POST", "DELETE")
# The headers of replies that a page may read besides those that every page may.
EXPOSED = (
    "ETag",
    "Idempotency-Replayed",
    "Preference-Applied",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "X-Request-Id",
    "X-Zing-Prompt-Extend",
    "X-Zing-Prompt-Tokens",
    "X-Zing-Prompt-Words",
)
_ORIGIN = re.compile(r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", re.ASCII)


def read() -> tuple[str, ...]:
    """The origins that the settings name; raises BadSetting."""
    words = [word.strip() for word in config.read(CORS).split(",")]
    return tuple(_origin(word) for word in words if word)


def shared(app: ASGIApp, origins: tuple[str, ...]) -> ASGIApp:
    """The application for these origins' pages too; as it was where there are none.

    Any request header may be sent: the SDKs that run in browsers have headers of their own.
    """
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=METHODS,
        allow_headers=(ANY,),
        expose_headers=EXPOSED,
    )


def _origin(word: str) -> str:
    """An origin as browsers write it."""
    origin = word.lower().removesuffix("/")
    if origin != ANY and not _ORIGIN.fullmatch(origin):
        raise BadSetting(
            f"{CORS.variable}: {word!r} is no origin; write such as https://shop.example.com, "
            "or * for every site."
        )
    return origin
