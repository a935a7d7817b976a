"""One listener with rules of its own: plain or TLS, bare or in WebSocket, and who may come in."""

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from msgspec import Struct

from gateway.errors import ConfigError, Fault
from gateway.hub.websocket import WebSocket

log = logging.getLogger("redcar.hub")


class Door(Struct, kw_only=True):
    """Where clients come in.

    certificate, key  PEM files: TLS. A changed file counts for the next client
    client_ca         only clients with a certificate signed by it come in; its common name is the user
    websocket         MQTT inside WebSocket; ``origins``: of web pages that may connect
    anonymous         let clients in without a name; never from beyond loopback
    """

    address: str = "127.0.0.1"
    port: int = 0
    certificate: str | None = None
    key: str | None = None
    client_ca: str | None = None
    websocket: bool = False
    origins: Sequence[str] = ()
    anonymous: bool = True
    context: ssl.SSLContext | None = None
    stamp: tuple[int, ...] = ()

    def prepare(self) -> ssl.SSLContext | None:
        """What TLS needs; None: plain. Raises ConfigError for files that can't be used."""
        if self.certificate is None:
            return None
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate, self.key or self.certificate)
            if self.client_ca:
                context.load_verify_locations(self.client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ValueError) as error:
            problem = f"{self.certificate} can't be used for TLS ({error})"
            cure = 'make certificates with "redcar tls init", and let the service\'s user read them'
            raise ConfigError([Fault("redcar.toml", 0, "listener", problem, cure)]) from error
        self.context, self.stamp = context, self._stamp()
        return context

    def refresh(self) -> None:
        """Take renewed files; keep the old ones if the new ones can't be used."""
        if self.context is None or (stamp := self._stamp()) == self.stamp:
            return
        self.stamp = stamp
        try:
            self.context.load_cert_chain(cast(str, self.certificate), self.key or self.certificate)
            log.info("%s is used from now on", self.certificate)
        except (OSError, ValueError) as error:
            log.error("%s can't be used (%s): the one before still is; renew it", self.certificate, error)

    def _stamp(self) -> tuple[int, ...]:
        try:
            states = [Path(one).stat() for one in (self.certificate, self.key) if one]
        except OSError:
            return self.stamp
        return tuple(value for state in states for value in (state.st_mtime_ns, state.st_size))


class Wrapped(asyncio.Protocol):
    """MQTT inside WebSocket on a socket: ``inner`` speaks MQTT and sees none of it."""

    def __init__(self, inner: asyncio.Protocol, origins: Sequence[str], note: Callable[[str, str], None]) -> None:
        self._inner = inner
        self._note = note
        self._web = WebSocket(origins)
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A socket was opened."""
        self._transport = cast(asyncio.Transport, transport)
        self._inner.connection_made(Facade(self._transport, self._web))

    def data_received(self, data: bytes) -> None:
        """Bytes came in."""
        web = self._web
        data = web.receive(data, self._transport.write)
        if data:
            self._inner.data_received(data)
        if web.closed and not self._transport.is_closing():
            if web.why:
                peer = self._transport.get_extra_info("peername") or ["?"]
                self._note(str(peer[0]), f"a WebSocket client was turned away: {web.why}")
            self._transport.close()

    def eof_received(self) -> bool | None:
        """The client has nothing more to say."""
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        """The socket buffer is full."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """The socket buffer has drained."""
        self._inner.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone."""
        self._inner.connection_lost(error)


class Facade(asyncio.Transport):
    """A transport that frames what is written."""

    def __init__(self, transport: asyncio.Transport, web: WebSocket) -> None:
        super().__init__()
        self._transport = transport
        self._web = web

    def write(self, data: "bytes | bytearray | memoryview[int]") -> None:
        """Send in a frame; before the handshake there is nobody to hear it."""
        if self._web.open and not self._web.closed:
            self._transport.write(self._web.wrap(bytes(data)))

    def close(self) -> None:
        """Say goodbye in WebSocket's words, then close."""
        self._transport.write(self._web.farewell())
        self._transport.close()

    def can_write_eof(self) -> bool:
        """It closes in WebSocket's way."""
        return False

    def abort(self) -> None:
        """As the transport does; so are the others."""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Likewise."""
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        """Likewise."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Likewise."""
        self._transport.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Likewise."""
        self._transport.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Likewise."""
        return self._transport.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Likewise."""
        return self._transport.get_extra_info(name, default)
