"""The PEM files of a TLS listener: what a server needs of them, and until when its certificate lasts."""

import re
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.errors import RedcarError

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_VALIDITY = re.compile(rb"\x30[\x1e\x20\x22](?:\x17\x0d|\x18\x0f)\d+Z(?:\x17\x0d|\x18\x0f)(\d+)Z")
"""Not before and not after: the one place in a certificate where two times follow each other (RFC 5280, 4.1.2.5)."""


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
    """When a certificate isn't valid any more; of several in a file, the server's, which comes first.

    Raises OSError, ValueError."""
    text = Path(certificate).read_text()
    der = ssl.PEM_cert_to_DER_cert(text[text.index(_BEGIN) : text.index(_END) + len(_END)])
    found = _VALIDITY.search(der)
    if not found:
        raise ValueError(f"{certificate} doesn't say how long it is valid")
    year = "%y" if len(found[1]) == 12 else "%Y"  # UTCTime, GeneralizedTime
    return datetime.strptime(found[1].decode(), f"{year}%m%d%H%M%S").replace(tzinfo=UTC)
