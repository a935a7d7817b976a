"""One listener with rules of its own: plain or TLS, bare or in WebSocket, and who may come in."""

import asyncio
import logging
import ssl
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from gateway.errors import ConfigError, Fault
from gateway.hub.layers import InWebSocket, Note
from gateway.hub.tls import InTls

log = logging.getLogger("redcar.hub")


class Door(Struct, kw_only=True):
    """Where clients come in.

    certificate, key  PEM files: TLS. A changed file counts for the next client
    client_ca         only clients with a certificate signed by it come in; its common name is the user
    client_crl        those of them that don't any more
    websocket         MQTT inside WebSocket; ``origins``: of web pages that may connect
    anonymous         let clients in without a name; never from beyond loopback
    """

    address: str = "127.0.0.1"
    port: int = 0
    certificate: str | None = None
    key: str | None = None
    client_ca: str | None = None
    client_crl: str | None = None
    websocket: bool = False
    origins: Sequence[str] = ()
    anonymous: bool = True
    context: ssl.SSLContext | None = None
    stamp: tuple[int, ...] = ()

    def prepare(self) -> None:
        """Get ready for TLS, if it speaks that. Raises ConfigError for files that can't be used."""
        if self.certificate is None:
            return
        try:
            self.context, self.stamp = self._made(), self._stamp()
        except (OSError, ValueError) as error:
            problem = f"{self._files} can't be used for TLS ({error})"
            cure = 'make certificates with "redcar tls init", and let the service\'s user read them'
            raise ConfigError([Fault("redcar.toml", 0, "listener", problem, cure)]) from error

    def refresh(self) -> bool:
        """Take renewed files; keep the old ones if the new ones can't be used. Whether somebody may have been shut out."""
        if self.context is None or (stamp := self._stamp()) == self.stamp:
            return False
        self.stamp = stamp
        try:
            self.context = self._made()
        except (OSError, ValueError) as error:
            log.error("%s can't be used (%s): those before still are; renew them", self._files, error)
            return False
        log.info("%s: renewed, in use from now on", self._files)
        return bool(self.client_ca)

    def dress(self, connection: asyncio.Protocol, note: Note) -> asyncio.Protocol:
        """Put the layers below MQTT that this listener has."""
        if self.websocket:
            connection = InWebSocket(connection, note, self.origins)
        if self.context:
            connection = InTls(connection, note, self.context, self.name)
        return connection

    @property
    def name(self) -> str:
        """Address and port, as people write them."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @property
    def spoken(self) -> str:
        """What clients have to speak."""
        return "MQTT" + " in WebSocket" * self.websocket + " in TLS" * bool(self.certificate)

    @property
    def _files(self) -> str:
        return ", ".join(one for one in (self.certificate, self.key, self.client_ca, self.client_crl) if one)

    def _made(self) -> ssl.SSLContext:
        assert self.certificate
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # TLS 1.2 and later
        context.options |= ssl.OP_NO_RENEGOTIATION
        # a key with a password: an error, instead of a question on a terminal that a service doesn't have
        context.load_cert_chain(self.certificate, self.key or self.certificate, password=lambda: "")
        if self.client_ca:
            context.load_verify_locations(self.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        if self.client_crl:
            context.load_verify_locations(self.client_crl)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        return context

    def _stamp(self) -> tuple[int, ...]:
        try:
            states = [Path(one).stat() for one in (self.certificate, self.key, self.client_ca, self.client_crl) if one]
        except OSError:
            return self.stamp
        return tuple(value for state in states for value in (state.st_mtime_ns, state.st_size))
