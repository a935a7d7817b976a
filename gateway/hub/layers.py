"""What may lie between a socket and MQTT: a protocol to what is below it, a transport to what is above.

    socket -> InTls -> InWebSocket -> Connection        each of the two may be missing

A socket counts from the moment it is opened, and against the time to CONNECT, however many layers lie below MQTT.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

from gateway.hub.websocket import WebSocket

Note = Callable[[str, str], None]
"""Address of a client, and what the operator should know of it."""


class Layer(asyncio.Protocol, asyncio.Transport):
    """Passes everything on. What a layer does differently, it says."""

    def __init__(self, above: asyncio.Protocol, note: Note) -> None:
        super().__init__()
        self._above = above
        self._below: asyncio.Transport
        self._noted = note

    def note(self, sentence: str) -> None:
        """Tell the operator."""
        peer = self._below.get_extra_info("peername") or ["?"]
        self._noted(str(peer[0]), sentence)

    # what is below says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A socket was opened."""
        self._below = cast(asyncio.Transport, transport)
        self._above.connection_made(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came in."""
        self._above.data_received(data)

    def eof_received(self) -> bool | None:
        """The client has nothing more to say."""
        return self._above.eof_received()

    def pause_writing(self) -> None:
        """The socket buffer is full."""
        self._above.pause_writing()

    def resume_writing(self) -> None:
        """The socket buffer has drained."""
        self._above.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone."""
        self._above.connection_lost(error)
        del self._above  # or the two would keep each other in memory

    # what is above does

    def write(self, data: "bytes | bytearray | memoryview[int]") -> None:
        """Send."""
        self._below.write(data)

    def can_write_eof(self) -> bool:
        """Each layer has its own way to say goodbye."""
        return False

    def close(self) -> None:
        """Close once everything is written."""
        self._below.close()

    def abort(self) -> None:
        """Cut it off."""
        self._below.abort()

    def is_closing(self) -> bool:
        """Whether nothing more will be read."""
        return self._below.is_closing()

    def pause_reading(self) -> None:
        """Leave what comes in the socket."""
        self._below.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._below.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """From how many bytes on writing is paused."""
        self._below.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Bytes that aren't sent yet: the layers themselves hold none."""
        return self._below.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Of the socket."""
        return self._below.get_extra_info(name, default)


class InWebSocket(Layer):
    """MQTT in WebSocket frames."""

    def __init__(self, above: asyncio.Protocol, note: Note, origins: Sequence[str], safe: bool, name: str) -> None:
        super().__init__(above, note)
        self._name = name
        self._web = WebSocket(origins, safe)
        self._leaving = False  # we have said goodbye, the client hasn't

    def data_received(self, data: bytes) -> None:
        """Bytes came in."""
        web = self._web
        data = web.receive(data)
        if answer := web.take():
            self._below.write(answer)
        if data:
            self._above.data_received(data)
        if web.closed and not self._below.is_closing():
            if web.why:
                self.note(f"a WebSocket client on {self._name} was turned away: {web.why}")
            self._below.close()

    def write(self, data: "bytes | bytearray | memoryview[int]") -> None:
        """Send in a frame; before the handshake there is nobody to hear it."""
        if self._web.open and not self._web.closed:
            self._below.write(self._web.wrap(bytes(data)))

    def close(self) -> None:
        """Say goodbye in WebSocket's words. Once the client has answered, the socket is closed (RFC 6455, 7.1.1): before, its
        answer would meet a closed socket, an error to it. Whoever doesn't answer is cut off, see ``Connection.check``."""
        goodbye = self._web.farewell()
        if not goodbye:
            self._below.close()
            return
        self._below.write(goodbye)
        self._below.resume_reading()
        self._leaving = True

    def is_closing(self) -> bool:
        """Whether nothing more will be read."""
        return self._leaving or self._below.is_closing()
