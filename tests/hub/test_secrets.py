"""No password, key or payload ever stands in the journal, whatever fails."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from gateway.hub import encode, refusals, users
from gateway.hub.doors import Door
from gateway.hub.packets import V5, V311, Connack, Connect, Filter, Subscribe, Will
from gateway.hub.properties import Property
from gateway.hub.users import add_user
from tests.hub.frames import frame, shake
from tests.hub.peers import Desk, Peer, hub_at, knock, say
from tests.parts import until

SECRET = "hunter2-canary"
WIRE = SECRET.encode()


async def attempt(port: int, wire: bytes) -> None:
    peer = await knock(port)
    peer.writer.write(wire)
    while await peer.reader.read(65_536):
        pass


def test_the_journal_holds_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(users, "_N", 16)
    monkeypatch.setattr(refusals, "_LINES", 100)
    caplog.set_level(logging.DEBUG)
    add_user(tmp_path / "users", "kitchen", SECRET)

    def connect(version: int, user: str | None, **more: Any) -> bytes:
        return encode.encode(Connect("c", version, user=user, password=WIRE, **more), version)

    async def story() -> None:
        async with hub_at(Desk(), users=tmp_path / "users") as (hub, port):
            web = await hub.listen(Door(websocket=True))
            known = connect(V5, "kitchen")
            wires = [
                (port, connect(V5, "nobody")),  # no such user
                (port, connect(V311, "kitchen").replace(WIRE, WIRE[:-1] + b"!")),  # a wrong password
                (port, connect(V5, "kitchen", will=Will("redcar/x", WIRE))),  # a will where it may not go
                (port, connect(V5, "kitchen", properties={Property.authentication_method: "x"})),
                (port, known + known),  # a second CONNECT
                (port, known[:-1] + b"\0"),  # one byte of it spoilt
                (port, b"\x11" + known[1:]),
                (port, known + b"\x30\xff\xff\xff\xff" + WIRE),
                (web, shake("GET /mqtt?token=hunter2-canary HTTP/1.1", Origin="http://evil.example")),
                (web, shake("GET /mqtt HTTP/1.1", Authorization=f"Basic {SECRET}", Sec_WebSocket_Protocol="chat")),
                (web, shake() + frame(WIRE, opcode=1)),
            ]
            for where, wire in wires:
                await attempt(where, wire)
            inside: Peer = await knock(port)
            inside.send(Connect("d", V5, user="kitchen", password=WIRE))
            assert isinstance(await inside.got(), Connack)
            inside.send(say("elsewhere", WIRE), Subscribe(2, [Filter("#", 0)]))
            await until(lambda: "may not subscribe" in caplog.text)
            assert hub.status().refused >= len(wires)

    asyncio.run(story())
    assert len(caplog.messages) >= 8
    said = "\n".join(caplog.messages)
    assert "canary" not in said
    assert "hunter2" not in said
