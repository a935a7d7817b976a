"""One listener with rules of its own: plain or TLS, bare or in WebSocket, and who may come in."""

import asyncio
import logging
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from gateway.errors import ConfigError, Fault
from gateway.hub.certificates import Unusable, context, ends
from gateway.hub.layers import InWebSocket, Note
from gateway.hub.tls import InTls

_DAY = 86_400_000_000  # µs
_SOON = 30  # days

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
    looked: int = -1

    def prepare(self) -> None:
        """Get ready for TLS, if it speaks that. Raises ConfigError for files that can't be used."""
        if self.certificate is None:
            return
        try:
            self._load(self.certificate)
        except Unusable as error:
            raise ConfigError([Fault("redcar.toml", 0, "listener", error.problem, error.cure)]) from error

    def refresh(self, now: int) -> bool:
        """Take renewed files; keep the old ones if the new ones can't be used. Whether somebody may have been shut out.

        now  wall clock: a certificate that ends soon is said once a day"""
        if self.certificate is None:
            return False
        if (day := now // _DAY) != self.looked:
            self.looked = day
            self._look(self.certificate, datetime.fromtimestamp(now / 1e6, UTC))
        if self._stamp() == self.stamp:
            return False
        try:
            self._load(self.certificate)
        except Unusable as error:
            log.error("%s: the files before still count: %s; %s", self.name, error.problem, error.cure)
            return False
        log.info("%s: renewed certificates are in use from now on", self.name)
        self.looked = -1
        return bool(self.client_ca)

    def dress(self, connection: asyncio.Protocol, note: Note) -> asyncio.Protocol:
        """Put the layers below MQTT that this listener has."""
        if self.websocket:
            connection = InWebSocket(connection, note, self.origins, self.context is not None, self.name)
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

    def _load(self, certificate: str) -> None:
        """Raises Unusable."""
        self.stamp = self._stamp()
        self.context = context(certificate, self.key, self.client_ca, self.client_crl)

    def _look(self, certificate: str, now: datetime) -> None:
        try:
            end = ends(certificate)
        except (OSError, ValueError):
            return  # that it can't be used is said elsewhere
        days, cure = (end - now).days, "delete it and run redcar tls init, or renew it your way"
        if days < 0:
            log.error("%s: %s has ended on %s: clients turn away: %s", self.name, certificate, end.date(), cure)
        elif days < _SOON:
            log.warning("%s: %s ends in %d days, then clients turn away: %s", self.name, certificate, days, cure)

    def _stamp(self) -> tuple[int, ...]:
        try:
            states = [Path(one).stat() for one in (self.certificate, self.key, self.client_ca, self.client_crl) if one]
        except OSError:
            return self.stamp
        return tuple(value for state in states for value in (state.st_mtime_ns, state.st_size))
