"""A service that asks for no key: for this machine alone, and not for other sites' pages.

Whoever can connect may draw then. A browser on this machine can, whatever page it shows, so what a
page of another site sends is refused, by what browsers say of every request and no page can change.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from zing import config, hosts, origins
from zing.blobs import LINK_PATH
from zing.config import ALLOWED_HOSTS, AUTH, CORS, HOST, PUBLIC_URL, TRUSTED_PROXIES
from zing.errors import BadSetting
from zing.hosts import HEALTH, Hosts, host_header, is_address, refused

OURS = (b"same-origin", b"none")  # none: a person typed it in
_PROXIED = f"No key is asked for here ({AUTH.variable}=off), so no proxy may stand before it."
_FOREIGN = (
    f"No key is asked for here ({AUTH.variable}=off), so pages of other sites may not call; "
    f"{CORS.variable} names those that may."
)
FORWARDED = (b"forwarded", b"via", b"x-forwarded-for", b"x-real-ip")


def read(listening: str, local: bool, answered: Hosts | None) -> bool:
    """Whether no key is asked for; raises BadSetting where others than this machine could come.

    listening  the host that is listened on, in the operator's words
    local      whether nobody but this machine reaches it
    answered   the names that are answered by
    """
    if config.choice(AUTH, "on", "off") == "on":
        return False
    if not local:
        raise _refusal(f"{listening} is reached by others; listen on {HOST.default}")
    if config.read(TRUSTED_PROXIES) or not _is_local(config.read(PUBLIC_URL)):
        names = f"{TRUSTED_PROXIES.variable} and {PUBLIC_URL.variable}"
        raise _refusal(f"a proxy lets others in; leave {names} empty")
    if answered is None:
        raise _refusal(f"{ALLOWED_HOSTS.variable}=* lets every site in; name hosts")
    if origins.ANY in origins.read():
        raise _refusal(f"{CORS.variable}=* lets every site in; name origins")
    return True


class OwnPages:
    """Refuses what comes from pages of other sites than these origins', or through a proxy."""

    def __init__(self, app: ASGIApp, allowed: tuple[str, ...]) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it; pictures by their links and /healthz stay open."""
        why = ""
        if scope["type"] == "http" and not scope["path"].startswith((LINK_PATH, HEALTH)):
            why = self._why(scope)
        await (refused(why) if why else self._app)(scope, receive, send)

    def _why(self, scope: Scope) -> str:
        """Why a request is refused; empty where it is not."""
        headers = dict(scope["headers"])
        if any(name in headers for name in FORWARDED):
            return _PROXIED
        return "" if self._is_ours(scope, headers) else _FOREIGN

    def _is_ours(self, scope: Scope, headers: dict[bytes, bytes]) -> bool:
        origin = headers.get(b"origin", b"").decode("latin-1").lower()
        if origin:
            return origin in (_own(scope), *self._allowed)
        return headers.get(b"sec-fetch-site", OURS[0]) in OURS or _is_visit(scope, headers)


def _own(scope: Scope) -> str:
    """The origin that a page of the service itself has."""
    return f"{scope['scheme']}://{host_header(scope).decode('latin-1').lower()}"


def _is_visit(scope: Scope, headers: dict[bytes, bytes]) -> bool:
    """Whether a person followed a link to here: the page with the link sees nothing of it."""
    to = (headers.get(b"sec-fetch-mode"), headers.get(b"sec-fetch-dest"))
    return scope["method"] == "GET" and to == (b"navigate", b"document")


def _is_local(url: str) -> bool:
    """Whether a public URL is none, or one of this machine."""
    host = hosts.of(url)
    if is_address(host):
        return host == "::1" or host.startswith("127.")
    return not url or host == "localhost" or host.endswith(".localhost")


def _refusal(why: str) -> BadSetting:
    return BadSetting(
        f"{AUTH.variable}=off is for this machine alone: {why}, or set {AUTH.variable}=on."
    )
