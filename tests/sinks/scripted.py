"""A broker that does what a test tells it, byte by byte: late, wrong and missing answers that no real one gives on demand."""

import asyncio
from collections.abc import Callable

from gateway.sinks import mqtt
from tests.sinks.receivers import Broker, open_sink


def puback(packet_id: int, code: int = 0) -> bytes:
    """As 5.0 has it; 3.1.1 knows no code."""
    return (
        b"\x40\x03" + packet_id.to_bytes(2, "big") + bytes([code])
        if code
        else b"\x40\x02" + packet_id.to_bytes(2, "big")
    )


def connack(code: int = 0, properties: bytes = b"", protocol: str = "5.0") -> bytes:
    """The answer to CONNECT."""
    body = bytes([0, code]) + (bytes([len(properties)]) + properties if protocol == "5.0" else b"")
    return bytes([0x20, len(body)]) + body


class Scripted:
    """Listens on ``port``. ``answer`` says what to send for a PUBLISH: it is given its number from 0 and its packet id."""

    def __init__(self, answer: Callable[[int, int], bytes | None] | None = None, welcome: bytes | None = None) -> None:
        self.port = 0
        self.publishes: list[bytes] = []
        self.connects = 0
        self.most_unanswered = 0
        self.deaf = False
        self.hang_up_after: int | None = None
        self._unanswered: set[int] = set()
        self._answer = answer or (lambda _, packet_id: puback(packet_id))
        self._welcome = connack() if welcome is None else welcome
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> "Scripted":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    def say(self, wire: bytes) -> None:
        """Something nobody asked for."""
        self._writers[-1].write(wire)

    def cut(self) -> None:
        """Drop all connections without a word."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            while True:
                kind, body = await self._packet(reader)
                if self.deaf:
                    continue
                if kind >> 4 == 1:
                    self.connects += 1
                    self._unanswered.clear()
                    writer.write(self._welcome)
                elif kind >> 4 == 3:
                    self._published(body, writer)
                    if len(self.publishes) == self.hang_up_after:
                        await writer.drain()
                        break
                elif kind >> 4 == 12:
                    writer.write(b"\xd0\x00")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    @staticmethod
    async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
        kind, length, shift = (await reader.readexactly(1))[0], 0, 0
        while True:
            (byte,) = await reader.readexactly(1)
            length |= (byte & 127) << shift
            if byte < 128:
                return kind, await reader.readexactly(length)
            shift += 7

    def _published(self, body: bytes, writer: asyncio.StreamWriter) -> None:
        topic = int.from_bytes(body[:2], "big")
        packet_id = int.from_bytes(body[2 + topic : 4 + topic], "big")
        self._unanswered.add(packet_id)
        self.most_unanswered = max(self.most_unanswered, len(self._unanswered))
        self.publishes.append(body)
        if answer := self._answer(len(self.publishes) - 1, packet_id):
            self._unanswered.discard(packet_id)
            writer.write(answer)


def sink_to(broker: Scripted | Broker, **settings: object) -> mqtt.Sink:
    made = open_sink("mqtt", host="127.0.0.1", port=broker.port, **settings)
    assert isinstance(made, mqtt.Sink)
    return made


def is_over(sink: mqtt.Sink) -> bool:
    return sink._connection is not None and sink._connection.over is not None
