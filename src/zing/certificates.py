"""Certificates for https: whether a pair of files works, and until when."""

import ssl
from pathlib import Path

from zing.errors import BadSetting

DAY_S = 86_400.0


def load(certificate: str, key: str) -> ssl.SSLContext:
    """What serves with this certificate and key; raises BadSetting where they cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for name in (certificate, key):
        try:
            Path(name).read_bytes()
        except OSError as error:
            raise BadSetting(f"{name} cannot be read: {error.strerror}.") from None
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise BadSetting(f"The certificate {certificate} cannot be used: {error}.") from None
    return context


def ends_at(certificate: str, key: str) -> float:
    """When the certificate ends (UTC seconds).

    Raises BadSetting where it cannot be used, or is not in force by the clock. A handshake in
    memory tells it, as Python's library reads no certificate but a peer's that it trusts.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the certificate itself is trusted
    server = load(certificate, key)
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
