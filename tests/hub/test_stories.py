"""Whole stories of real clients against a whole gateway: a password, wildcards, every QoS both ways, what is retained, a will
when the power fails, and a session that is owed what came meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway.app import Gateway
from gateway.hub.doors import Door
from gateway.hub.inlet import Publish
from gateway.hub.packets import V5, Delivery
from gateway.hub.users import add_user
from gateway.settings import Access
from tests.hub.house import come, house, say_all, take
from tests.hub.peers import Peer, both
from tests.hub.programs import ended, run
from tests.parts import PATIENCE, need, until

SENT = {("dev/a/0", 0), ("dev/a/1", 1), ("dev/a/2", 2)}
"""What the client publishes, and gets itself, at that QoS."""


class Witness:
    """Another client of the same user: it sees what the client does, and publishes while that is away."""

    def __init__(self, peer: Peer, port: int) -> None:
        self.peer = peer
        self.port = port

    async def sees(self, topic: str, payload: bytes) -> None:
        """Everything up to a message."""
        while True:
            packet = await self.peer.got()
            assert isinstance(packet, Delivery), packet
            if (packet.message.topic, packet.message.payload) == (topic, payload):
                return

    async def publishes_meanwhile(self) -> None:
        """What the client is owed when it comes back."""
        speaker = await self._speaker()
        await say_all(speaker, "one", "two", topic="dev/late/1", qos=1)
        await say_all(speaker, "three", topic="dev/late/2", qos=2)
        await speaker.close()

    async def has_seen_nothing(self) -> None:
        """What is said now is the first that comes."""
        speaker = await self._speaker()
        await say_all(speaker, "now", topic="dev/a/now")
        await speaker.close()
        packet = await self.peer.got()
        assert isinstance(packet, Delivery), packet
        assert packet.message.topic == "dev/a/now"

    async def _speaker(self) -> Peer:
        speaker, _ = await come(self.port, "speaker", user="dev", password=b"secret", expiry=None, clean=True)
        return speaker


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[tuple[Gateway, Witness]]:
    """A gateway with a user; something is retained."""
    add_user(folder / "users", "dev", "secret", made=True)
    async with house(folder, access=Access(users=str(folder / "users"), anonymous=False)) as (gateway, port):
        witness, _ = await come(port, "witness", user="dev", password=b"secret", expiry=None, clean=True)
        witness.send(Delivery(Publish("dev/kept", b"old", 1, True), 1))
        await witness.got()
        await take(witness, "dev/a/#", "dev/will", qos=0)
        yield gateway, Witness(witness, port)


OWED = ["one", "two", "three"]


@both
def test_paho(version: int, tmp_path: Path) -> None:
    def client(got: list[paho.MQTTMessage], present: list[bool]) -> paho.Client:
        protocol = paho.MQTTv5 if version == V5 else paho.MQTTv311
        clean = None if version == V5 else False
        made = paho.Client(CallbackAPIVersion.VERSION2, "story", clean, protocol=protocol)
        made.username_pw_set("dev", "secret")
        made.will_set("dev/will", b"gone", 1)
        made.on_message = lambda client, data, message: got.append(message)
        made.on_connect = lambda client, data, flags, reason, properties: present.append(flags.session_present)
        return made

    def enter(one: paho.Client, port: int) -> None:
        if version == V5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 3600
            one.connect("127.0.0.1", port, clean_start=False, properties=properties)
        else:
            one.connect("127.0.0.1", port)
        one.loop_start()

    async def story() -> None:
        async with site(tmp_path) as (_, witness):
            got: list[paho.MQTTMessage] = []
            present: list[bool] = []
            first = client(got, present)
            await asyncio.to_thread(enter, first, witness.port)
            await until(lambda: present)
            first.subscribe("dev/#", 2)
            await until(lambda: got)
            assert [(one.topic, one.payload, one.retain) for one in got] == [("dev/kept", b"old", True)]
            for topic, qos in sorted(SENT):
                first.publish(topic, b"x", qos)
            await until(lambda: len(got) == 4)
            assert {(one.topic, one.qos) for one in got[1:]} == SENT
            vanish(first)
            await witness.sees("dev/will", b"gone")
            await witness.publishes_meanwhile()
            got.clear()
            second = client(got, present)
            await asyncio.to_thread(enter, second, witness.port)
            await until(lambda: len(got) >= 4)
            assert present == [False, True]
            assert [one.payload.decode() for one in got if one.topic.startswith("dev/late")] == OWED
            second.disconnect()
            await asyncio.to_thread(second.loop_stop)

    asyncio.run(story())


def settled(gateway: Gateway) -> bool:
    """Nothing is on its way to the client."""
    session = gateway.hub.broker.members["story"].session
    return session is not None and not (session.out._released or session.out._flying or session.out._logged)


def cut(gateway: Gateway) -> None:
    """The network fails under the client."""
    for connection in gateway.hub.connections:
        if connection.session.client_id == "story":
            connection.abort()


def vanish(client: paho.Client) -> None:
    """The power fails: no DISCONNECT."""
    client._thread_terminate = True
    socket = client.socket()
    assert socket is not None
    socket.close()
    client.loop_stop()


@both
def test_aiomqtt(version: int, tmp_path: Path) -> None:
    import aiomqtt

    def client(port: int) -> aiomqtt.Client:
        properties = None
        more: dict[str, Any] = {"clean_session": False}
        if version == V5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 3600
            more = {"clean_start": False}
        protocol = aiomqtt.ProtocolVersion.V5 if version == V5 else aiomqtt.ProtocolVersion.V311
        will = aiomqtt.Will("dev/will", b"gone", 1)
        more |= {"username": "dev", "password": "secret", "properties": properties, "will": will}
        return aiomqtt.Client("127.0.0.1", port, protocol=protocol, identifier="story", **more)

    async def collect(client: aiomqtt.Client, count: int) -> list[aiomqtt.Message]:
        found = []
        async with asyncio.timeout(PATIENCE):
            async for message in client.messages:
                found.append(message)
                if len(found) == count:
                    break
        return found

    async def story() -> None:
        async with site(tmp_path) as (gateway, witness):
            async with client(witness.port) as first:
                await first.subscribe("dev/#", qos=2)
                (kept,) = await collect(first, 1)
                assert (kept.payload, kept.retain) == (b"old", True)
                for topic, qos in sorted(SENT):
                    await first.publish(topic, b"x", qos)
                assert {(str(one.topic), one.qos) for one in await collect(first, 3)} == SENT
                cut(gateway)
                await witness.sees("dev/will", b"gone")
                with pytest.raises(aiomqtt.MqttError):
                    await collect(first, 1)
            await witness.publishes_meanwhile()
            async with client(witness.port) as second:
                late = await collect(second, 4)
                assert [bytes(one.payload).decode() for one in late if str(one.topic).startswith("dev/late")] == OWED
            await until(lambda: gateway.hub.status().away == 1)
            await witness.has_seen_nothing()  # it said goodbye: no will

    asyncio.run(story())


@both
def test_gmqtt(version: int, tmp_path: Path) -> None:
    import gmqtt

    def client(got: list[tuple[str, bytes, int, Any]]) -> Any:
        will = gmqtt.Message("dev/will", b"gone", qos=1)
        more = {"session_expiry_interval": 3600} if version == V5 else {}
        made: Any = gmqtt.Client("story", clean_session=False, will_message=will, **more)
        made.set_auth_credentials("dev", "secret")
        made.set_config({"reconnect_retries": 0})

        def message(client: Any, topic: str, payload: bytes, qos: int, properties: Any) -> int:
            got.append((topic, payload, qos, properties))
            return 0

        made.on_message = message
        return made

    async def story() -> None:
        async with site(tmp_path) as (gateway, witness):
            got: list[tuple[str, bytes, int, Any]] = []
            first = client(got)
            await first.connect("127.0.0.1", witness.port, version=version, keepalive=60)
            first.subscribe("dev/#", qos=2)
            await until(lambda: got)
            assert (got[0][:2], got[0][3]["retain"]) == (("dev/kept", b"old"), 1)
            about = {"content_type": "text/plain", "user_property": ("k", "v")} if version == V5 else {}
            for topic, qos in sorted(SENT):
                first.publish(topic, b"x", qos=qos, **about)
            await until(lambda: len(got) == 4)
            assert {(topic, qos) for topic, _, qos, _ in got[1:]} == SENT
            if version == V5:
                assert all(more["content_type"] == ["text/plain"] for *_, more in got[1:])
                assert all(more["user_property"] == [("k", "v")] for *_, more in got[1:])
            await until(lambda: settled(gateway))
            first._connection._transport.abort()
            await witness.sees("dev/will", b"gone")
            await witness.publishes_meanwhile()
            got.clear()
            second = client(got)
            await second.connect("127.0.0.1", witness.port, version=version, keepalive=60)
            await until(lambda: len(got) >= 4)
            assert [payload.decode() for topic, payload, *_ in got if topic.startswith("dev/late")] == OWED
            await second.disconnect()

    asyncio.run(story())


def test_amqtt(tmp_path: Path) -> None:
    from amqtt.client import MQTTClient

    def client() -> MQTTClient:
        will = {"topic": "dev/will", "message": "gone", "qos": 1, "retain": False}
        return MQTTClient(client_id="story", config={"auto_reconnect": False, "will": will})

    async def collect(client: MQTTClient, count: int) -> list[tuple[str, str, int]]:
        found = []
        for _ in range(count):
            message = await client.deliver_message(timeout_duration=PATIENCE)
            assert message is not None
            found.append((str(message.topic), bytes(message.data or b"").decode(), int(message.qos or 0)))
        return found

    async def story() -> None:
        async with site(tmp_path) as (_, witness):
            uri = f"mqtt://dev:secret@127.0.0.1:{witness.port}"
            first = client()
            await first.connect(uri, cleansession=False)
            assert await first.subscribe([("dev/#", 2)]) == [2]
            assert await collect(first, 1) == [("dev/kept", "old", 1)]
            for topic, qos in sorted(SENT):
                await first.publish(topic, b"x", qos=qos)
            assert {(topic, qos) for topic, _, qos in await collect(first, 3)} == SENT
            handler: Any = first._handler
            handler.writer._writer.transport.abort()
            await witness.sees("dev/will", b"gone")
            await witness.publishes_meanwhile()
            second = client()
            await second.connect(uri, cleansession=False)
            late = await collect(second, 4)
            assert [payload for topic, payload, _ in late if topic.startswith("dev/late")] == OWED
            await second.unsubscribe(["dev/#"])
            await second.disconnect()

    asyncio.run(story())


@both
def test_mosquitto(version: int, tmp_path: Path) -> None:
    """mosquitto_sub holds the session, mosquitto_pub publishes."""

    def command(program: str, port: int, *more: str) -> tuple[str, ...]:
        name = "mqttv5" if version == V5 else "mqttv311"
        own = ("-h", "127.0.0.1", "-p", str(port), "-V", name, "-u", "dev", "-P", "secret")
        return (need(program, "mosquitto-clients"), *own, *more)

    async def story() -> None:
        async with site(tmp_path) as (gateway, witness):
            lasting: tuple[str, ...] = ("-c", "-i", "story", "-q", "2", "-t", "dev/#", "-F", "%t %p %q %r")
            lasting += ("-x", "3600") if version == V5 else ()
            will = ("--will-topic", "dev/will", "--will-payload", "gone", "--will-qos", "1")
            sub = await run(*command("mosquitto_sub", witness.port, *lasting, *will))
            assert sub.stdout is not None
            async with asyncio.timeout(PATIENCE):
                assert await sub.stdout.readline() == b"dev/kept old 1 1\n"
                for topic, qos in sorted(SENT):
                    arguments = ("-t", topic, "-m", "x", "-q", str(qos))
                    await ended(await run(*command("mosquitto_pub", witness.port, *arguments)))
                    assert await sub.stdout.readline() == f"{topic} x {qos} 0\n".encode()
            await until(lambda: settled(gateway))
            sub.kill()
            await sub.wait()
            await witness.sees("dev/will", b"gone")
            await witness.publishes_meanwhile()
            again = command("mosquitto_sub", witness.port, *lasting, "-C", "5")
            out, _ = await ended(await run(*again))
            lines = [line.split() for line in out.splitlines()]
            assert [words[1] for words in lines if words[0].startswith("dev/late")] == OWED

    asyncio.run(story())


@both
@pytest.mark.parametrize("scheme", ["mqtt", "ws"])
def test_mqttjs(scheme: str, version: int, tmp_path: Path, mqttjs: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as (gateway, witness):
            port = witness.port if scheme == "mqtt" else await gateway.hub.listen(Door(websocket=True))
            script = Path(__file__).with_name("mqttjs_story.cjs")
            words = need("node", "nodejs"), script, mqttjs, f"{scheme}://127.0.0.1:{port}/mqtt", str(version)
            out, _ = await ended(await run(*words, "first"))
            told = json.loads(out)
            assert told["got"][0] == ["dev/kept", "old", 1, True]
            assert {(topic, qos) for topic, _, qos, _ in told["got"][1:]} == SENT
            await witness.sees("dev/will", b"gone")
            await witness.publishes_meanwhile()
            out, _ = await ended(await run(*words, "second"))
            told = json.loads(out)
            assert told["present"]
            assert [payload for topic, payload, *_ in told["got"] if topic.startswith("dev/late")] == OWED

    asyncio.run(story())
