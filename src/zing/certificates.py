"""The certificate that https is served with: taken up again when its files have changed, and until
when it is good.
"""

import logging
import ssl
from pathlib import Path

from zing.errors import BadSetting

ALPN = ["http/1.1"]

log = logging.getLogger(__name__)

Stamp = tuple[tuple[int, int, int], ...]


class Certificate:
    """A certificate and its key, both PEM files; `context` serves whatever they held last."""

    def __init__(self, certificate: str, key: str) -> None:
        self._files = (certificate, key)
        self._stamp = self._now()
        self.context = _context(*self._files)

    def renew(self) -> None:
        """Take the files up where they have changed; a pair that cannot be used is told once.

        Connections that are open go on as they are.
        """
        now = self._now()
        if now == self._stamp:
            return
        self._stamp = now
        try:
            _context(*self._files)  # a bad pair would leave the one in use half changed
            self.context.load_cert_chain(*self._files, password=_no_passphrase)
        except BadSetting as error:
            log.warning("the certificate before is still served: %s", error)
        else:
            log.info("the certificate in %s is served from now on", self._files[0])

    def _now(self) -> Stamp:
        return tuple(_stamp(Path(each)) for each in self._files)


def ends_at(certificate: str, key: str) -> float:
    """When the certificate ends (UTC seconds).

    Raises BadSetting where it cannot be used, or is not in force by the clock. A handshake in
    memory tells it, as Python's library reads no certificate but a peer's that it trusts.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the certificate itself is trusted
    server = _context(certificate, key)
    client.load_verify_locations(certificate)
    try:
        peer = _shake_hands(server, client)
    except ssl.SSLError as error:
        why = getattr(error, "verify_message", "") or error.reason or error
        raise BadSetting(f"The certificate {certificate} cannot be used: {why}.") from None
    return ssl.cert_time_to_seconds(str(peer["notAfter"]))


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, object]:
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(down, up)
    answering = server.wrap_bio(up, down, server_side=True)
    for each in (asking, answering, asking):
        try:
            each.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return dict(asking.getpeercert() or {})


def _context(certificate: str, key: str) -> ssl.SSLContext:
    """A context for TLS 1.2 and 1.3; raises BadSetting where the files cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(ALPN)
    try:
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except FileNotFoundError:
        missing = key if Path(certificate).exists() else certificate
        raise BadSetting(f"The certificate cannot be used: {missing} is not there.") from None
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise BadSetting(f"The certificate {certificate} cannot be used: {_why(error)}.") from None
    return context


def _no_passphrase() -> str:
    """Without this, OpenSSL would ask for it on the terminal."""
    raise BadSetting(
        "The certificate's key has a passphrase, which nobody can type in here; write it without "
        "one by `openssl pkey -in KEY -out NEW` and keep that file readable by its owner alone."
    )


def _why(error: OSError | ValueError) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    if reason == "KEY_VALUES_MISMATCH":
        return "the key is of another certificate"
    return f"it or its key is no PEM file that can be read ({reason})"


def _stamp(path: Path) -> tuple[int, int, int]:
    """What changes with a file, also where it is a link to the newest of many."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_ino, found.st_size)
