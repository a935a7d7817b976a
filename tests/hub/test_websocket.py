"""MQTT inside WebSocket: the handshake, frames however they come, and what isn't let in."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.hub import encode
from gateway.hub.doors import Door
from gateway.hub.limits import Limits
from gateway.hub.packets import Connack, Connect, Disconnect, Ping, Pong
from gateway.hub.websocket import WebSocket
from tests.hub.frames import ACCEPT, frame, shake
from tests.hub.peers import Desk, hub_at
from tests.hub.table import open_stream, parse
from tests.parts import until


def opened() -> WebSocket:
    web = WebSocket()
    assert web.receive(shake()) == b""
    assert web.open
    web.take()
    return web


def test_the_handshake() -> None:
    web = WebSocket()
    assert web.receive(shake() + frame(b"abc")) == b"abc"
    answer = web.take()
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"Sec-WebSocket-Accept: " + ACCEPT in answer
    assert b"Sec-WebSocket-Protocol: mqtt\r\n" in answer  # [MQTT-6.0.0-4]


@pytest.mark.parametrize(
    ("request_line", "fields", "status"),
    [
        ("GET / HTTP/1.1", {"Upgrade": None}, b"426"),
        ("POST / HTTP/1.1", {}, b"426"),
        ("GET / HTTP/1.1", {"Connection": "close"}, b"426"),
        ("GET / HTTP/1.1", {"Sec_WebSocket_Version": "8"}, b"426"),
        ("GET / HTTP/1.1", {"Sec_WebSocket_Protocol": None}, b"400"),  # [MQTT-6.0.0-3]
        ("GET / HTTP/1.1", {"Sec_WebSocket_Protocol": "chat"}, b"400"),
        ("GET / HTTP/1.1", {"Sec_WebSocket_Key": "short"}, b"400"),
        ("GET / HTTP/1.1", {"Origin": "http://evil.example"}, b"403"),
        ("GET / HTTP/1.1", {"Cookie": "x" * 9000}, b"431"),
    ],
)
def test_handshakes_that_are_refused(request_line: str, fields: dict[str, str | None], status: bytes) -> None:
    web = WebSocket(["https://panel.lan"])
    assert web.receive(shake(request_line, **fields)) == b""
    assert web.closed
    assert web.take().split()[1] == status
    assert web.receive(frame(b"x")) == b""


@pytest.mark.parametrize(
    ("origin", "host", "safe", "want"),
    [
        ("http://127.0.0.1:9001", "127.0.0.1:9001", False, True),  # as paho says
        ("http://[::1]:9001", "[::1]:9001", False, True),
        ("http://localhost:9001", "localhost:9001", False, True),
        ("https://gateway.lan:9001", "gateway.lan:9001", True, True),
        ("http://evil.example:9001", "evil.example:9001", False, False),  # a name led to our address afterwards
        ("http://127.0.0.1:8000", "127.0.0.1:9001", False, False),
        ("null", "127.0.0.1:9001", False, False),
        ("null", "", True, False),
    ],
)
def test_programs_that_call_the_host_their_origin(origin: str, host: str, safe: bool, want: bool) -> None:
    web = WebSocket([], safe)
    web.receive(shake(Origin=origin, Host=host))
    assert web.open is want


@pytest.mark.parametrize("origins", [["https://panel.lan"], ["*"]])
def test_pages_on_the_list_come_in(origins: list[str]) -> None:
    web = WebSocket(origins)
    web.receive(shake(Origin="https://panel.lan"))
    assert web.open


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (frame(b"hello", opcode=1), 1003),  # [MQTT-6.0.0-1]
        (b"\x82\x01x", 1002),  # not masked
        (b"\xc2\x81\1\2\3\4x", 1002),  # a reserved bit
        (frame(b"x", opcode=0), 1002),  # a continuation of nothing
        (frame(b"x", fin=False) + frame(b"y"), 1002),
        (frame(b"x" * 126, opcode=9), 1002),
        (frame(b"x", opcode=9, fin=False), 1002),
        (frame(b"x", opcode=11), 1002),
        (frame(b"x", opcode=3), 1002),
    ],
)
def test_frames_that_end_it(wire: bytes, code: int) -> None:
    web = opened()
    web.receive(wire)
    assert web.closed
    assert web.take().endswith(b"\x88\x02" + code.to_bytes(2, "big"))


def test_ping_pong_and_close() -> None:
    web = opened()
    assert web.receive(frame(b"a") + frame(b"are you there", 9) + frame(b"", 10) + frame(b"b")) == b"ab"
    assert web.take() == b"\x8a\x0dare you there"
    web.receive(frame(b"\x03\xe8", 8) + frame(b"late"))
    assert web.take() == b"\x88\x02\x03\xe8"
    assert web.farewell() == b""


@settings(deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 50), st.randoms(use_true_random=False))
def test_frames_however_they_come(parts: list[bytes], step: int, rng: random.Random) -> None:
    """[MQTT-6.0.0-2]: packets needn't be whole in a frame, nor frames in a read."""
    web = opened()
    wire = b""
    for n, part in enumerate(parts):
        last = n == len(parts) - 1
        wire += frame(part, 2 if n == 0 else 0, fin=last, mask=rng.randbytes(4))
    got = b"".join(web.receive(wire[at : at + step]) for at in range(0, len(wire), step))
    assert got == b"".join(parts)
    assert not web.closed
    assert web.take() == b""


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_junk_never_raises(junk: bytes) -> None:
    web = opened()
    web.receive(junk)


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_lengths_of_frames_we_send(size: int) -> None:
    web = opened()
    sent = web.wrap(bytes(size))
    assert len(sent) - size == (2 if size < 126 else 4 if size < 65_536 else 10)


def test_mqtt_in_websocket_and_every_slot_given_back() -> None:
    async def story() -> None:
        async with hub_at(Desk()) as (hub, _):
            port = await hub.listen(Door(websocket=True))
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            packets = encode.encode(Connect("w"), 4) + encode.encode(Ping(), 4)
            writer.write(shake() + frame(packets[:3], fin=False) + frame(packets[3:], 0))
            await reader.readuntil(b"\r\n\r\n")
            got = await reader.readexactly(2 + 4 + 2)
            assert got[:2] == b"\x82\x06"
            assert parse(open_stream(4), got[2:]) == [Connack(), Pong()]
            writer.write(frame(b"", 8))
            assert await reader.read() == b"\x88\x02\x03\xe8"
            writer.close()
            await until(lambda: not hub.connections)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 426 ")
            writer.close()

    asyncio.run(story())


@pytest.mark.parametrize("answers", [True, False])
def test_the_socket_is_closed_after_the_clients_goodbye(answers: bool) -> None:
    """Else the client's Close meets a closed socket, and MQTT.js reports EPIPE after a proper end. Who says none is cut off."""

    async def story() -> None:
        async with hub_at(Desk(), Limits(farewell=30.0 if answers else 0.2)) as (hub, _):
            port = await hub.listen(Door(websocket=True))
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(shake() + frame(encode.encode(Connect("w"), 4) + encode.encode(Disconnect(), 4)))
            await reader.readuntil(b"\r\n\r\n")
            assert (await reader.readexactly(6 + 4))[-4:] == b"\x88\x02\x03\xe8"
            assert not hub.broker.members
            assert len(hub.connections) == 1
            if answers:
                writer.write(frame(b"\x03\xe8", 8))
            assert await reader.read() == b""
            writer.close()
            await until(lambda: not hub.connections)

    asyncio.run(story())
