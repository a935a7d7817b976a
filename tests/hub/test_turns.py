"""What several clients do in one turn of the event loop counts in the order in which it happened."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.hub import encode
from gateway.hub.connection import Connection
from gateway.hub.inlet import Read, Statement
from gateway.hub.listener import Hub
from gateway.hub.packets import V5, V311, Ack, Connack, Connect, Disconnect, Filter, Packet, Suback, Subscribe
from gateway.hub.properties import Kind, Property
from gateway.hub.reasons import Reason
from tests.hub.house import come, house
from tests.hub.peers import Desk, enter, farewell, hub_at, knock, say, until
from tests.hub.test_unwell import payloads

both = pytest.mark.parametrize("version", [V311, V5])


def comes(connection: Connection, *packets: Packet) -> None:
    """A read of its socket in this turn."""
    connection.data_received(b"".join(encode.encode(one, V5) for one in packets))


def of(hub: Hub, client: str) -> Connection:
    (found,) = (one for one in hub.connections if one.session.client_id == client)
    return found


def test_what_a_client_sent_before_it_was_taken_over_does_not_hit_its_successor(tmp_path: Path) -> None:
    """[MQTT-3.1.2-4]: else the packet id that it had at QoS 2 would stay, and another message be taken for that one."""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            await come(port)
            old = of(gateway.hub, "c")
            peer = await knock(port)
            await until(lambda: len(gateway.hub.connections) == 2)
            comes(of(gateway.hub, ""), Connect("c", V5, properties={Property.session_expiry: 3600}))
            comes(old, say(payload=b"old", qos=2))
            assert isinstance(await peer.got(), Connack)
            assert payloads(await gateway.log.read(1)) == ["old"]
        async with house(tmp_path) as (gateway, port):
            peer, present = await come(port)
            assert present
            peer.send(say(payload=b"new", qos=2))
            assert await peer.got() == Ack(Kind.PUBREC, 1)
            assert payloads(await gateway.log.read(1)) == ["old", "new"]

    asyncio.run(story())


@pytest.mark.parametrize("how", ["we end it", "it goes"])
def test_nothing_stays_of_a_session_that_ends_in_the_turn_of_its_last_message(how: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            await (await come(port))[0].close()
            await until(lambda: gateway.hub.status().away == 1)
            peer, present = await come(port, expiry=None)
            assert present
            connection = of(gateway.hub, "c")
            comes(connection, say(qos=2))
            if how == "it goes":
                comes(connection, Disconnect())
            else:
                connection.end(Reason.ADMINISTRATIVE_ACTION, "for a test")
                connection.flush()
            while await peer.got():
                pass
            await come(port, "other")  # its commit is behind
            assert payloads(await gateway.log.read(1)) == ["x"]
            for table in ("session", "qos2"):
                assert await gateway.log.query(f"select * from {table} where client = 'c'") == []

    asyncio.run(story())


def test_nobody_hears_what_it_published_in_the_read_before_it_subscribed() -> None:
    async def story() -> None:
        async with hub_at(Desk()) as (hub, port):
            peer = await enter(port)
            comes(of(hub, "c"), say("a", qos=0))
            comes(of(hub, "c"), Subscribe(1, [Filter("a", 0)]))
            assert isinstance(await peer.got(), Suback)
            assert await peer.silent()

    asyncio.run(story())


class Clumsy(Desk):
    """Fails in a way that nobody foresees."""

    clumsy = True

    def publish(self, reads: list[Read], also: Sequence[Statement] = ()) -> asyncio.Future[None] | None:
        if self.clumsy:
            raise RuntimeError("a mistake of ours")
        return super().publish(reads, also)


@both
def test_what_can_not_be_handed_over_is_sent_again_and_harms_nobody_else(
    version: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        desk = Clumsy()
        async with hub_at(desk) as (_, port):
            other = await enter(port, version, "other")
            peer = await enter(port, version)
            peer.send(say())
            assert await farewell(peer) is None
            desk.clumsy = False
            other.send(say(id=7))
            assert await other.got() == Ack(Kind.PUBACK, 7)
            peer = await enter(port, version)
            peer.send(say())
            assert await peer.got() == Ack(Kind.PUBACK, 1)

    asyncio.run(story())
    assert "a mistake of ours" in str(caplog.records[0].exc_info)
