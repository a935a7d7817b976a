"""The PEM files of a TLS listener: what a server needs of them, and until when its certificate lasts."""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.errors import RedcarError

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


class Unusable(RedcarError):
    """A file that can't be used for TLS."""

    def __init__(self, problem: str, cure: str) -> None:
        super().__init__(f"{problem}: {cure}")
        self.problem, self.cure = problem, cure


def context(certificate: str, key: str | None, ca: str | None, crl: str | None) -> ssl.SSLContext:
    """What a server needs. Raises Unusable."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # TLS 1.2 and later
    made.options |= ssl.OP_NO_RENEGOTIATION
    locked = []

    def password() -> str:
        locked.append(True)  # or OpenSSL would ask on a terminal that a service doesn't have
        return ""

    what = f"{certificate} with {key or 'the key in it'}"
    try:
        _use(what, made.load_cert_chain, certificate, key, password)
    except Unusable as error:
        if locked:
            cure = "store the key without one: openssl pkey -in OLD -out NEW"
            raise Unusable(f"{what} needs a password", cure) from error
        raise
    if ca:
        _use(ca, made.load_verify_locations, ca)
        made.verify_mode = ssl.CERT_REQUIRED
    if crl:
        _use(crl, made.load_verify_locations, crl)
        made.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return made


def _use(what: str, load: Callable[..., None], *files: Any) -> None:
    try:
        load(*files)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise Unusable(f"{what} don't belong together", "name the key of this certificate") from error
        cure = 'make certificates with "redcar tls init", or convert it'
        raise Unusable(f"{what} can't be used for TLS: it isn't PEM", cure) from error
    except OSError as error:
        cure = 'make certificates with "redcar tls init", or correct the name'
        if isinstance(error, PermissionError):
            cure = "give it to the service's user: sudo chown redcar FILE"
        raise Unusable(f"{what} can't be read ({(error.strerror or str(error)).lower()})", cure) from error


def ends(certificate: str) -> datetime:
    """When a certificate (RFC 5280, 4.1) isn't valid any more; of several in a file, the server's, which comes first.

    Certificate ( tbs ( [0] version, serial, algorithm, issuer, validity ( not before, not after ), ...

    Raises OSError, ValueError."""
    text = Path(certificate).read_text()
    der = ssl.PEM_cert_to_DER_cert(text[text.index(_BEGIN) : text.index(_END) + len(_END)])
    _, at, _ = _part(der, 0)
    _, at, _ = _part(der, at)
    tag, _, end = _part(der, at)
    for _ in range(3 + (tag == 0xA0)):
        _, _, end = _part(der, at)
        at = end
    _, at, _ = _part(der, at)
    _, _, at = _part(der, at)
    tag, start, end = _part(der, at)
    year = "%y" if tag == 0x17 else "%Y"  # UTCTime, GeneralizedTime
    return datetime.strptime(der[start:end].decode(), f"{year}%m%d%H%M%SZ").replace(tzinfo=UTC)


def _part(der: bytes, at: int) -> tuple[int, int, int]:
    """Tag of the part that begins there, where its content begins, and where it ends."""
    size, start = der[at + 1], at + 2
    if size & 0x80:
        more = size & 0x7F
        size, start = int.from_bytes(der[start : start + more], "big"), start + more
    return der[at], start, start + size
