"""What several clients do in one turn of the event loop counts in the order in which it happened."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.hub import encode
from gateway.hub.connection import Connection
from gateway.hub.inlet import Publish, Read, Statement
from gateway.hub.listener import Hub
from gateway.hub.packets import V5, Ack, Connack, Connect, Disconnect, Filter, Packet, Suback, Subscribe, Will
from gateway.hub.properties import Kind, Property
from gateway.hub.reasons import Reason
from tests.hub.house import come, house, payloads, receive
from tests.hub.peers import Desk, both, enter, farewell, hub_at, knock, say
from tests.parts import until
from tests.store.disk import fail_once


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


@both
@pytest.mark.parametrize("stored", [True, False])
def test_what_a_disk_refused_from_many_at_once_is_stored_once(version: int, stored: bool, tmp_path: Path) -> None:
    """Each is told by the same failure, and each sends again: at QoS 2 with the packet id that is known [MQTT-4.3.3-10]."""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            listener = await enter(port, version, "listener")
            await listener.subscribe("#", qos=2)
            peers = [(await come(port, f"c{qos}", version))[0] for qos in (0, 1, 2)]
            failed = fail_once(gateway.log, stored=stored)
            for qos in (0, 1, 2):
                connection = of(gateway.hub, f"c{qos}")
                connection.data_received(encode.encode(say("a", b"%d" % qos, qos), version))
            for peer in peers[1:]:
                await farewell(peer)
            assert failed.is_set()
            assert await peers[0].silent()
            for qos, answer in ((1, Kind.PUBACK), (2, Kind.PUBREC)):
                peer, present = await come(port, f"c{qos}", version)
                assert present
                peer.send(replace(say("a", b"%d" % qos, qos), dup=True))
                assert await peer.got() == Ack(answer, 1)
            assert payloads(await gateway.log.read(1)) == ["1", "2"]  # at QoS 0 nobody durable is owed it
            got = [one.message.payload for one in await receive(listener, 4)]
            assert got == [b"0", b"1", b"2", b"1"]  # at QoS 1 those who are there may see it twice
            assert await listener.silent()

    asyncio.run(story())


@both
def test_a_will_comes_after_what_its_client_said_in_the_same_turn(version: int, tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            listener = await enter(port, version, "listener")
            await listener.subscribe("#")
            await enter(port, version, will=Will("a", b"will", 1))
            connection = of(gateway.hub, "c")
            connection.data_received(encode.encode(say("a", b"said"), version))
            connection.end(Reason.ADMINISTRATIVE_ACTION, "for a test")
            connection.flush()
            assert [one.message.payload for one in await receive(listener, 2)] == [b"said", b"will"]
            assert payloads(await gateway.log.read(1)) == ["said", "will"]

    asyncio.run(story())


@both
def test_what_came_in_the_turn_in_which_the_hub_closes_is_acknowledged(version: int) -> None:
    async def story() -> None:
        async with hub_at(Desk()) as (hub, port):
            peer = await enter(port, version)
            of(hub, "c").data_received(encode.encode(say(), version))
            await hub.close()
            assert await peer.got() == Ack(Kind.PUBACK, 1)

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


def test_what_fails_while_one_is_acknowledged_leaves_the_others_theirs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        desk = Desk("hold")
        async with hub_at(desk) as (hub, port):
            peers = [await enter(port, id=f"c{n}") for n in range(3)]
            for n in range(3):
                comes(of(hub, f"c{n}"), say("a", qos=int(n > 0)))
            show = hub.retained.settle

            def clumsy(messages: list[Publish]) -> None:
                monkeypatch.setattr(hub.retained, "settle", show)
                raise RuntimeError("a mistake of ours")

            monkeypatch.setattr(hub.retained, "settle", clumsy)  # at QoS 0, which is shown at once
            await until(lambda: desk.held)
            monkeypatch.setattr(hub.retained, "settle", clumsy)  # at QoS 1, when it is on the disk
            desk.held.popleft().set_result(None)
            assert await peers[0].silent()
            desk.commit = "at once"
            peers[0].send(say("a", id=9))
            for peer, id in zip(peers, (9, 1, 1), strict=True):
                assert await peer.got() == Ack(Kind.PUBACK, id)

    asyncio.run(story())
    assert [str(one.exc_info).count("a mistake of ours") for one in caplog.records] == [1, 1]
