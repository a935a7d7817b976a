"""What a message brings along comes with it, and what our own hub would refuse comes, too; by both clients."""

from pathlib import Path
from typing import Any

from gateway.hub.inlet import Publish
from gateway.hub.packets import V5, Ack, Delivery
from gateway.hub.properties import Kind, Property
from tests.brokers import mosquitto
from tests.hub.house import come, house
from tests.hub.peers import Desk, Peer
from tests.parts import free_port, tell, until
from tests.sources.site import messages, reader, reading, source, ways


async def _say(peer: Peer, id: int, message: Publish) -> None:
    peer.send(Delivery(message, id))
    answer = await peer.got()
    assert isinstance(answer, Ack), answer
    assert (answer.kind, answer.id) == (Kind.PUBACK, id)


@ways
def test_what_belongs_to_a_message_comes_with_it(client: str, protocol: str, loop: str, tmp_path: Path) -> None:
    """The retained flag, and in 5.0 the properties that travel."""
    travels: dict[int, Any] = {
        Property.payload_format: 1,
        Property.content_type: "text/plain",
        Property.response_topic: "plant/answer",
        Property.correlation_data: b"\0\1",
        Property.user_property: [("a", "1"), ("a", "2")],
    }

    async def story() -> None:
        port = free_port()
        config = source(port, protocol=protocol, client=client)
        with mosquitto(tmp_path, port):
            peer, _ = await come(port, "device", V5, None, clean=True)
            await _say(peer, 1, Publish("plant/kept", b"old", 1, True))
            async with house(tmp_path / "data") as (gateway, _):
                desk = Desk()
                async with reader(config, desk, gateway):
                    await until(lambda: desk.messages)
                    await _say(
                        peer, 2, Publish("plant/new", b"new", 1, False, {**travels, Property.message_expiry: 90})
                    )
                    await _say(peer, 3, Publish("plant/new", "bär".encode(), 1))
                    await desk.has(3)
            old, new, last = desk.messages
            assert (old.topic, old.payload, old.qos, old.retain, old.properties) == (
                "plant/kept",
                b"old",
                1,
                True,
                None,
            )
            assert (new.topic, new.payload, new.qos, new.retain) == ("plant/new", b"new", 1, False)
            assert (last.topic, last.payload, last.properties) == ("plant/new", "bär".encode(), None)
            if protocol == "5.0":
                assert new.properties is not None
                assert 85 <= new.properties.pop(Property.message_expiry) <= 90
                assert new.properties == travels
            else:
                assert new.properties is None

    tell(story, loop)


@ways
def test_what_our_hub_would_refuse_is_taken_from_a_broker(
    client: str, protocol: str, loop: str, tmp_path: Path
) -> None:
    """It would come again for ever, and everything behind it never."""
    many: dict[int, Any] = {Property.user_property: [(f"name-{n}", "x" * 400) for n in range(100)]}
    deep, long = "plant/" + "a/" * 60 + "z", "plant/" + "x" * 900

    async def story() -> None:
        port = free_port()
        config = source(port, protocol=protocol, client=client)
        with mosquitto(tmp_path, port):
            async with house(tmp_path / "data", source=[config]) as (gateway, _):
                await reading(gateway)
                peer, _ = await come(port, "device", V5, None, clean=True)
                await _say(peer, 1, Publish("plant/many", b"1", 1, False, many))
                await _say(peer, 2, Publish(deep, b"2", 1))
                await _say(peer, 3, Publish(long, b"3", 1))
                await _say(peer, 4, Publish("plant/large", b"4" * 600_000, 1))
                await _say(peer, 5, Publish("plant/last", b"5", 1))
                found = await messages(gateway, 5)
        assert [one["payload"][0] for one in found] == ["1", "2", "3", "4", "5"]
        assert [one["topic"] for one in found[1:3]] == [deep, long]

    tell(story, loop)
