"""What libraries for microcontrollers do on the wire: PubSubClient, esp-mqtt, and a client in a hurry."""

import asyncio

from gateway.hub import encode
from gateway.hub.inlet import Publish
from gateway.hub.packets import V5, V311, Ack, Connack, Delivery, Pong, Suback, Will
from gateway.hub.properties import Kind
from tests.hub.peers import Desk, both, enter, hub_at, knock, say
from tests.parts import until


def test_pubsubclient() -> None:
    """Arduino: 3.1.1, keep-alive 15 s, QoS 0, packets byte by byte as its loop gets round to it; a will, retained."""

    async def story() -> None:
        desk = Desk("nothing")
        async with hub_at(desk) as (_, port):
            will = Will("tele/node/LWT", b"Offline", 1, True)
            peer = await enter(port, V311, "arduino", keep_alive=15, will=will)
            packets = [
                Delivery(Publish("tele/node/LWT", b"Online", 0, True)),
                Delivery(Publish("tele/node/t", b"21.5")),
            ]
            for byte in b"".join(encode.encode(one, V311) for one in packets):
                peer.writer.write(bytes((byte,)))
                await peer.writer.drain()
            peer.writer.write(encode.PINGREQ)
            assert await peer.got() == Pong()
            assert [(one.topic, one.payload, one.retain) for one in desk.messages] == [
                ("tele/node/LWT", b"Online", True),
                ("tele/node/t", b"21.5", False),
            ]
            # it subscribes with packet id 2 on and answers a message at QoS 1 with PUBACK
            await peer.subscribe("cmnd/node/#")
            other = await enter(port, V5, "other")
            other.send(say("cmnd/node/power", b"on"))
            told = await peer.got()
            assert isinstance(told, Delivery)
            peer.send(Ack(Kind.PUBACK, told.id))
            await peer.close()
            await until(lambda: any(one.payload == b"Offline" for one in desk.messages))

    asyncio.run(story())


@both
def test_esp_mqtt(version: int) -> None:
    """It sends again on a timer, with DUP, in the same connection, what isn't acknowledged after a second; and all that is in
    its outbox after a reconnect."""

    async def story() -> None:
        desk = Desk("hold")
        async with hub_at(desk) as (_, port):
            peer = await enter(port, version, "esp", clean=False)
            peer.send(say("a", b"1", id=101), say("a", b"2", id=102))
            await until(lambda: len(desk.messages) == 2)
            peer.send(Delivery(Publish("a", b"1", 1), 101, True), Delivery(Publish("a", b"2", 1), 102, True))
            assert await peer.silent(), "they are on their way to the disk"
            while desk.held:
                desk.held.popleft().set_result(None)
            assert await peer.got() == Ack(Kind.PUBACK, 101)
            assert await peer.got() == Ack(Kind.PUBACK, 102)
            assert [one.payload for one in desk.messages] == [b"1", b"2"]
            peer.send(say("a", b"3", id=103))
            await until(lambda: len(desk.messages) == 3)
            await peer.close()
            peer = await enter(port, version, "esp", clean=False)
            peer.send(Delivery(Publish("a", b"3", 1), 103, True))
            await until(lambda: len(desk.messages) == 4)
            again = desk.messages[3]
            assert (again.dup, again.packet_id, again.client) == (True, b"\0\x67", "esp"), "ingest knows it by that"
            while desk.held:
                desk.held.popleft().set_result(None)
            assert await peer.got() == Ack(Kind.PUBACK, 103)

    asyncio.run(story())


def test_a_client_in_a_hurry() -> None:
    """CONNECT, SUBSCRIBE and PUBLISH in one packet of TCP, without waiting (Tasmota, ESPHome after a reconnect)."""

    async def story() -> None:
        async with hub_at(Desk()) as (_, port):
            peer = await knock(port, V311)
            wire = "10 0D 0004 4D515454 04 02 000F 0001 6382 06 0001 0001 61 0132 06 0001 61 0001 78"
            peer.writer.write(bytes.fromhex(wire))
            assert await peer.got() == Connack()
            assert await peer.got() == Suback(1, [1])
            assert {type(await peer.got()), type(await peer.got())} == {Ack, Delivery}

    asyncio.run(story())
