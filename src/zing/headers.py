"""What every reply tells browsers: how little they may do with it.

A reply that says so itself, more strictly or otherwise, is left as it is: the pages about the APIs
have a policy of their own.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zing.blobs import LINK_PATH
from zing.hosts import called, host_header, is_address

POLICY = b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
ALWAYS = (
    (b"cache-control", b"no-store"),  # the next user of a browser finds no balance and no prompt
    (b"content-security-policy", POLICY),
    (b"referrer-policy", b"no-referrer"),  # an address may be a picture's link
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
PRIVATE = (*ALWAYS, (b"cross-origin-resource-policy", b"same-origin"))
# Whoever has a link may show its picture on a page of their own.
SHOWN = (*ALWAYS, (b"cross-origin-resource-policy", b"cross-origin"))
HTTPS_ONLY = (b"strict-transport-security", b"max-age=31536000")


class Headed:
    """Adds to every reply the headers that it lacks."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and complete its reply."""

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = message.get("headers", [])
                there = {name for name, _ in own}
                message["headers"] = [*own, *(each for each in _of(scope) if each[0] not in there)]
            await send(message)

        await self._app(scope, receive, headed if scope["type"] == "http" else send)


def _of(scope: Scope) -> tuple[tuple[bytes, bytes], ...]:
    headers = SHOWN if scope["path"].startswith(LINK_PATH) else PRIVATE
    return (*headers, HTTPS_ONLY) if _stays_https(scope) else headers


def _stays_https(scope: Scope) -> bool:
    """Whether a browser shall come by https for a year: by a name that others use too.

    Not by localhost or another name without a dot, or whatever else is served there would be lost.
    """
    if scope["scheme"] != "https":
        return False
    name = called(host_header(scope))
    return "." in name and not name.endswith(".localhost") and not is_address(name)
