"""MQTT in TLS: records in, bytes out, and who wasn't let in, why, and what would help.

OpenSSL does the work, in memory; the event loop has its own way of doing so, which says nothing when a handshake fails,
lets a half-open one stand uncounted, and differs between asyncio and uvloop.
"""

import asyncio
import ssl
from typing import Any

from gateway.hub.layers import Layer, Note
from gateway.hub.strangers import stranger

_RECORD = 16_384  # most that one holds (RFC 8446, 5.1)

_NEW_ONE = "make it another: redcar tls client NAME"
_CLOCKS = "look at the clocks of both machines"

_UNFIT = {  # X509_V_ERR_...: what is wrong with the certificate that a client showed
    3: ("no list of revoked certificates fits the CA of its certificate", "put the lists of all CAs into client_crl"),
    9: ("its certificate isn't valid yet", _CLOCKS),
    10: ("its certificate has expired", f"{_NEW_ONE}, or {_CLOCKS}"),
    12: ("the list of revoked certificates has expired", "make it anew: redcar tls revoke, or your CA's own way"),
    18: ("its certificate is signed by itself", _NEW_ONE),
    19: ("its certificate is of a CA that client_ca doesn't hold", _NEW_ONE),
    20: ("its certificate is of a CA that client_ca doesn't hold", _NEW_ONE),
    21: ("its certificate is of a CA that client_ca doesn't hold", _NEW_ONE),
    23: ("its certificate is revoked", f"if it may come in again, {_NEW_ONE}"),
    26: ("its certificate isn't one for clients", _NEW_ONE),
}

_TRUST = "give it the CA's certificate, tls/ca.crt (mosquitto_pub --cafile)"
_NAMES = "connect to a name that redcar tls init printed, or add yours: redcar tls init --name NAME"

_REASONS = {  # OpenSSL's names of what went wrong -> problem, cure
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": ("it shows no certificate", "give it one: redcar tls client NAME"),
    "UNSUPPORTED_PROTOCOL": (
        "it speaks a TLS older than 1.2",
        "update it, or give it a listener of its own without TLS",
    ),
    "VERSION_TOO_LOW": ("it speaks a TLS older than 1.2", "update it, or give it a listener of its own without TLS"),
    "TLSV1_ALERT_PROTOCOL_VERSION": ("it speaks a TLS older than 1.2", "update it"),
    "WRONG_VERSION_NUMBER": ("it doesn't speak TLS", "see which program there uses this port"),
    "NO_SHARED_CIPHER": ("it knows no cipher that we accept", "update it"),
    "TLSV1_ALERT_UNKNOWN_CA": ("it doesn't know the CA of our certificate", _TRUST),
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": ("it doesn't accept our certificate", f"{_TRUST}, and {_NAMES}"),
    "SSLV3_ALERT_BAD_CERTIFICATE": ("it doesn't accept our certificate", f"{_NAMES}, and {_TRUST}"),
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": ("it can't use our certificate", "make one with redcar tls init"),
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": (
        "it says that our certificate isn't valid now",
        f"delete server.crt and run redcar tls init, or {_CLOCKS}",
    ),
}
_LEFT = f"it went away in the midst of the handshake: if it doesn't trust us, {_TRUST}, and {_NAMES}"


def explain(error: ssl.SSLError) -> str:
    """A failed handshake in words: the problem, and what would help."""
    if isinstance(error, ssl.SSLCertVerificationError):
        known = _UNFIT.get(error.verify_code)
        problem, cure = known or (f"its certificate isn't accepted ({error.verify_message})", _NEW_ONE)
    else:
        reason = error.reason or str(error)
        problem, cure = _REASONS.get(reason, (reason.lower().replace("_", " "), "look at the client's TLS settings"))
    return f"{problem}: {cure}"


class InTls(Layer):
    """MQTT, or WebSocket, in TLS records."""

    def __init__(self, above: asyncio.Protocol, note: Note, context: ssl.SSLContext, name: str) -> None:
        super().__init__(above, note)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        self._name = name
        self._begun = self._shaken = self._over = False

    def data_received(self, data: bytes) -> None:
        """Records came in, or parts of them."""
        if self._over:
            return
        if not self._begun:
            self._begun = True
            if why := stranger(data[0], "TLS"):
                self._fail(why)
                return
        self._in.write(data)
        try:
            if not self._shaken:
                self._tls.do_handshake()
                self._shaken = True
            plain, ended = self._read()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as error:
            self._flush()  # an alert tells the client
            self._fail(explain(error))
            return
        self._flush()
        if plain:
            self._above.data_received(plain)
        if ended:
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone."""
        if self._begun and not (self._shaken or self._over):
            self._fail(_LEFT)
        super().connection_lost(error)

    def write(self, data: "bytes | bytearray | memoryview[int]") -> None:
        """Send encrypted; before the handshake there is nobody to hear it."""
        if self._shaken and not self._over:
            rest = memoryview(data)
            while rest:
                rest = rest[self._tls.write(rest) :]
            self._flush()

    def close(self) -> None:
        """Say goodbye in TLS's words, then close."""
        if self._shaken and not self._over:
            try:
                self._tls.unwrap()
            except ssl.SSLError:
                pass  # it wants the other's goodbye, for which nobody waits
            self._flush()
        self._over = True
        self._below.close()

    def abort(self) -> None:
        """Cut it off."""
        self._over = True
        self._below.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Of the socket, and the certificate that the client showed."""
        return self._tls.getpeercert() if name == "peercert" else super().get_extra_info(name, default)

    def _read(self) -> tuple[bytes, bool]:
        """What there is, and whether that was all."""
        found = []
        try:
            while part := self._tls.read(_RECORD):
                found.append(part)
        except ssl.SSLWantReadError:
            return b"".join(found), False
        return b"".join(found), True

    def _flush(self) -> None:
        if self._out.pending:
            self._below.write(self._out.read())

    def _fail(self, why: str) -> None:
        self._over = True
        self.note(f"TLS on {self._name} failed: {why}")
        self._below.close()
