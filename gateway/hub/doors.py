"""One listener with rules of its own: plain or TLS, bare or in WebSocket, and who may come in."""

import asyncio
import logging
import ssl
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from gateway.errors import ConfigError, Fault
from gateway.hub.layers import InWebSocket, Note
from gateway.hub.tls import InTls, Unusable, context

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
        stamp = self._stamp()
        try:
            self.context = context(self.certificate, self.key, self.client_ca, self.client_crl)
        except Unusable as error:
            raise ConfigError([Fault("redcar.toml", 0, "listener", error.problem, error.cure)]) from error
        self.stamp = stamp

    def refresh(self) -> bool:
        """Take renewed files; keep the old ones if the new ones can't be used. Whether somebody may have been shut out."""
        if self.certificate is None or (stamp := self._stamp()) == self.stamp:
            return False
        self.stamp = stamp
        try:
            self.context = context(self.certificate, self.key, self.client_ca, self.client_crl)
        except Unusable as error:
            log.error("%s: the files before still count: %s; %s", self.name, error.problem, error.cure)
            return False
        log.info("%s: renewed certificates are in use from now on", self.name)
        return bool(self.client_ca)

    def dress(self, connection: asyncio.Protocol, note: Note) -> asyncio.Protocol:
        """Put the layers below MQTT that this listener has."""
        if self.websocket:
            connection = InWebSocket(connection, note, self.origins, self.context is not None)
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

    def _stamp(self) -> tuple[int, ...]:
        try:
            states = [Path(one).stat() for one in (self.certificate, self.key, self.client_ca, self.client_crl) if one]
        except OSError:
            return self.stamp
        return tuple(value for state in states for value in (state.st_mtime_ns, state.st_size))
