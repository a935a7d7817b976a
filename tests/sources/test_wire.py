"""What brokers do that mosquitto doesn't, said packet by packet; told of both clients where both can it."""

import asyncio
from pathlib import Path
from typing import Any

from gateway.hub.inlet import Publish
from gateway.hub.packets import V5, V311, Ack, Connack, Delivery, Disconnect, Ping, Pong
from gateway.hub.properties import Kind, Property
from gateway.hub.reasons import Reason
from gateway.sinks import _paho
from gateway.sources import _own, mqtt
from gateway.sources.mqtt import Reader
from tests.hub.house import house
from tests.hub.peers import Desk, say
from tests.parts import tell
from tests.sources.far import Far, linked, lost, peer_is_silent
from tests.sources.site import clients, source, ways


@ways
def test_who_we_say_we_are(client: str, protocol: str, loop: str, tmp_path: Path) -> None:
    """A session that lasts [MQTT-3.1.2-4]; in 5.0 for how long, and how much may be in flight."""

    async def story() -> None:
        secret = tmp_path / "secret"
        secret.write_text("pässword\n")
        more: dict[str, Any] = {
            "username": "anna",
            "password_file": str(secret),
            "keepalive": 77,
            "window": 50,
            "expiry": 3600,
        }
        async with (
            house(tmp_path / "data") as (gateway, _),
            linked(gateway, Desk(), client, protocol, **more) as (_peer, asked, _running),
        ):
            assert (asked.client_id, asked.clean, asked.keep_alive) == ("redcar-test-site", False, 77)
            assert (asked.user, asked.password, asked.will) == ("anna", "pässword".encode(), None)
            if protocol == "5.0":
                assert asked.version == V5
                assert asked.properties is not None
                assert asked.properties[Property.session_expiry] == 3600
                assert asked.properties[Property.receive_maximum] == 50
            else:
                assert asked.version == V311

    tell(story, loop)


@ways
def test_acknowledged_in_the_order_they_came(client: str, protocol: str, loop: str, tmp_path: Path) -> None:
    """Whatever is on the disk first [MQTT-4.6.0-2]; QoS 0 is owed nothing."""

    async def story() -> None:
        desk = Desk("hold")
        async with (
            house(tmp_path / "data") as (gateway, _),
            linked(gateway, desk, client, protocol) as (peer, _asked, _running),
        ):
            for n in range(3):
                peer.send(
                    say("plant/a", b"x", id=10 * n + 2), say("plant/a", b"x", id=10 * n + 1), say("plant/a", b"", 0)
                )
                await desk.has(3 * n + 3)
            for future in reversed(list(desk.held)[1:]):
                future.set_result(None)
            assert await peer_is_silent(peer)
            desk.held[0].set_result(None)
            got = [await peer.got() for _ in range(6)]
            assert got == [Ack(Kind.PUBACK, id) for id in (2, 1, 12, 11, 22, 21)]

    tell(story, loop)


@ways
def test_a_repeat_says_so(client: str, protocol: str, loop: str, tmp_path: Path) -> None:
    """The memory of repeats needs the DUP flag and the packet id."""

    async def story() -> None:
        desk = Desk()
        async with (
            house(tmp_path / "data") as (gateway, _),
            linked(gateway, desk, client, protocol) as (peer, _asked, _running),
        ):
            peer.send(say("plant/a", b"x", id=7), Delivery(Publish("plant/a", b"x", 1), 7, True))
            await desk.has(2)
        assert [(int.from_bytes(one.packet_id), one.dup, one.client) for one in desk.messages] == [
            (7, False, "site@127.0.0.1"),
            (7, True, "site@127.0.0.1"),
        ]

    tell(story, loop)


@ways
def test_a_broker_that_falls_silent(client: str, protocol: str, loop: str, tmp_path: Path) -> None:
    """It is asked [MQTT-3.1.2-20], and left when it doesn't answer."""

    async def story() -> None:
        async with (
            house(tmp_path / "data") as (gateway, _),
            linked(gateway, Desk(), client, protocol, keepalive=1) as (peer, _asked, running),
        ):
            for _ in range(2):
                assert isinstance(await peer.got(), Ping)
                peer.send(Pong())
            assert not running.done()
            assert await lost(running) == "the receiver doesn't answer any more"

    tell(story, loop)


@clients
def test_the_brokers_keep_alive_counts(client: str, tmp_path: Path) -> None:
    """[MQTT-3.1.2-21]."""

    async def story() -> None:
        async with house(tmp_path / "data") as (gateway, _):
            answer = Connack(properties={Property.server_keep_alive: 1})
            async with linked(gateway, Desk(), client, "5.0", answer, keepalive=600) as (peer, _asked, _running):
                assert isinstance(await peer.got(), Ping)

    asyncio.run(story())


@clients
def test_the_brokers_last_words(client: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path / "data") as (gateway, _):
            for last, words in (
                (Disconnect(Reason.SERVER_SHUTTING_DOWN), "the receiver ended the connection: Server shutting down"),
                (
                    Disconnect(Reason.QUOTA_EXCEEDED, {Property.reason_string: "not so much"}),
                    "the receiver ended the connection: not so much",
                ),
            ):
                async with linked(gateway, Desk(), client, "5.0") as (peer, _asked, running):
                    peer.send(last)
                    assert await lost(running) == words

    asyncio.run(story())


@ways
def test_an_answer_that_never_comes(client: str, protocol: str, loop: str, tmp_path: Path, monkeypatch: Any) -> None:
    async def story() -> None:
        async with house(tmp_path / "data") as (gateway, _), Far(protocol) as far:
            made = Reader(source(far.port, client=client, protocol=protocol), Desk(), gateway.log, "test")
            assert await lost(asyncio.create_task(made.run())) == "no answer"
            running = asyncio.create_task(made.run())
            await far.meet()
            await far.meet()
            assert await lost(running) == "no answer to SUBSCRIBE"

    for module in (_paho, _own, mqtt):
        monkeypatch.setattr(module, "answer_within", 0.3)
    tell(story, loop)
