"""Our own client of a broker: what paho doesn't offer, and the bytes however they come."""

import asyncio
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.hub import encode
from gateway.hub.inlet import Publish
from gateway.hub.packets import V5, V311, Ack, Delivery, Ping, Pong
from gateway.hub.properties import Kind, Property
from gateway.hub.reasons import Reason
from gateway.sources import _own
from gateway.sources._own import Own
from tests.hub.house import house
from tests.hub.peers import Desk, farewell, say
from tests.parts import free_port, until
from tests.sources.far import linked, lost, peer_is_silent
from tests.sources.site import source


def test_topic_aliases(tmp_path: Path) -> None:
    """As many as we have said [MQTT-3.3.2-9]; they end with the connection [MQTT-3.3.2-7]."""

    async def story() -> None:
        async with house(tmp_path / "data") as (gateway, _):
            desk = Desk()
            named: dict[int, Any] = {Property.topic_alias: 3}
            async with linked(gateway, desk, "own", "5.0", prefix="house/") as (peer, asked, running):
                assert asked.properties is not None
                assert asked.properties[Property.topic_alias_maximum] == 64
                peer.send(say("plant/a", b"1", properties=named))
                peer.send(
                    say("", b"2", id=2, properties={**named, Property.content_type: "t"}), say("plant/a", b"3", id=3)
                )
                peer.send(say("plant/b", b"4", id=4, properties=named), say("", b"5", id=5, properties=named))
                await desk.has(5)
                assert [(one.topic, one.payload) for one in desk.messages] == [
                    ("house/plant/a", b"1"),
                    ("house/plant/a", b"2"),
                    ("house/plant/a", b"3"),
                    ("house/plant/b", b"4"),
                    ("house/plant/b", b"5"),
                ]
                assert [one.properties for one in desk.messages] == [
                    None,
                    {Property.content_type: "t"},
                    None,
                    None,
                    None,
                ]
                peer.send(say("", b"6", id=6, properties={Property.topic_alias: 65}))
                assert "topic alias 65: 1 to 64 are accepted" in await lost(running)
                acknowledged = [await peer.got() for _ in range(5)]
                assert acknowledged == [Ack(Kind.PUBACK, id) for id in range(1, 6)]
                assert await farewell(peer) == Reason.TOPIC_ALIAS_INVALID
            async with linked(gateway, desk, "own", "5.0") as (peer, _asked, running):
                peer.send(say("", b"7", id=7, properties=named))
                assert "topic alias 3 stands for nothing yet" in await lost(running)

    asyncio.run(story())


def test_what_a_session_inherits(tmp_path: Path) -> None:
    """Somebody subscribed there under our name before, with an identifier and at QoS 2: it is taken, and acknowledged after the
    commit as QoS 2 asks [MQTT-4.3.3-8] [MQTT-4.3.3-11]."""

    async def story() -> None:
        desk = Desk("hold")
        async with (
            house(tmp_path / "data") as (gateway, _),
            linked(gateway, desk, "own", "5.0") as (peer, _asked, _running),
        ):
            inherited: dict[int, Any] = {Property.subscription_identifier: [5, 6]}
            peer.send(say("plant/a", b"x", 2, 9, properties=inherited))
            await until(lambda: desk.messages)
            assert (desk.messages[0].qos, desk.messages[0].properties) == (2, None)
            assert await peer_is_silent(peer)
            desk.held[0].set_result(None)
            assert await peer.got() == Ack(Kind.PUBREC, 9)
            peer.send(Ack(Kind.PUBREL, 9))
            assert await peer.got() == Ack(Kind.PUBCOMP, 9)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("wire", "words"),
    [
        (b"\x10\x02\0\0", "CONNECT"),
        (b"\x36\x07\0\1a\0\1\0x", "QoS 3"),
        (b"\x30\x05\0\1\xff\0x", "not UTF-8"),
        (b"\0\0", "packet type 0"),
    ],
)
def test_what_is_no_mqtt(wire: bytes, words: str, tmp_path: Path) -> None:
    """The connection ends, with a way out for whoever can't mend the broker."""

    async def story() -> None:
        async with house(tmp_path / "data") as (gateway, _):
            desk = Desk()
            async with linked(gateway, desk, "own", "5.0") as (peer, _asked, running):
                peer.writer.write(encode.encode(say("plant/a", b"before"), V5) + wire)
                said = await lost(running)
                assert said.startswith("it sent what our own client can't read (")
                assert said.endswith('): write client = "paho"')
                assert words in said
                assert [one.payload for one in desk.messages] == [b"before"]

    asyncio.run(story())


MIXED = [
    say("plant/a", b"1"),
    say("plant/a", b"2", id=2),
    say("plant/b", b"3" * 300, id=3, retain=True),
    say("plant/a", b"", 0),
    say("plant/b", b"4" * 20_000, id=4),
    Delivery(Publish("plant/a", b"5", 1), 5, True),
    say("plant/ü", "ü".encode(), 2, 6),
    say("plant/ü", b"", id=7),
    say("plant/b", b"8", id=8),
]


@pytest.mark.parametrize("version", [V311, V5])
@pytest.mark.parametrize("step", [1, 3, 1000, 1_000_000])
@pytest.mark.parametrize("most", [1, 10_000])
def test_however_the_bytes_come(version: int, step: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, in pieces, on the short road and on the long one, with a memory of topics that is too small: the same messages."""
    monkeypatch.setattr(_own, "known_topics", most)
    wire = b"".join(encode.encode(one, version) for one in MIXED)
    protocol = "5.0" if version == V5 else "3.1.1"

    async def story() -> None:
        port = free_port()
        taken: list[Publish] = []
        link = Own(source(port, client="own", protocol=protocol, prefix="p/"), "c", taken.extend, lambda _: None)
        with socket.socket() as end:
            link.connection_made(asyncio.Transport({"socket": end}))
            for at in range(0, len(wire), step):
                link.data_received(wire[at : at + step])
        assert link.over is None
        found = [(one.topic, one.payload, one.qos, one.retain, one.dup, int.from_bytes(one.packet_id)) for one in taken]
        assert found == [
            ("p/" + one.message.topic, one.message.payload, one.message.qos, one.message.retain, one.dup, one.id)
            for one in MIXED
        ]

    asyncio.run(story())


def test_none_of_paho_is_loaded() -> None:
    """Our own client does without, and so does everybody who has no source: it takes a quarter of a second."""
    code = "import sys, gateway.app, gateway.sources._own; sys.exit('paho.mqtt' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_who_is_not_read_is_pinged_all_the_same(tmp_path: Path) -> None:
    """While the disk is behind the broker's answers aren't read, and aren't missed. Our own client: paho's connection ends."""

    async def story() -> None:
        desk = Desk()
        async with (
            house(tmp_path / "data") as (gateway, _),
            linked(gateway, desk, "own", "5.0", keepalive=1) as (peer, _asked, running),
        ):
            desk.full = True
            peer.send(say("plant/a", b"x"))
            assert await peer.got() == Ack(Kind.PUBACK, 1)
            for _ in range(6):
                assert isinstance(await peer.got(), Ping)
                peer.send(Pong())
            assert not running.done()

    asyncio.run(story())
