"""Clients people use: what mosquitto's, paho and MQTT.js hear of it. Whole stories of these and others: ``test_stories.py``."""

import asyncio
import json
from pathlib import Path

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway.hub.doors import Door
from gateway.hub.packets import V5
from gateway.hub.properties import Property
from tests.hub.peers import Desk, both, hub_at
from tests.hub.programs import Paho, ended, mosquitto, run
from tests.parts import need, until

# mosquitto_pub and mosquitto_sub: what the documentation of devices shows first


@both
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_mosquitto_there_and_back(version: int, qos: int) -> None:
    async def story() -> None:
        desk = Desk()
        async with hub_at(desk) as (hub, port):
            sub = await run(*mosquitto("mosquitto_sub", port, version, "-t", "a/#", "-q", str(qos), "-C", "2", "-v"))
            await until(lambda: hub.status().subscriptions)
            for topic, text in (("a/b", "one"), ("b", "other"), ("a", "two")):
                arguments = ("-t", topic, "-m", text, "-q", str(qos))
                await ended(await run(*mosquitto("mosquitto_pub", port, version, *arguments)))
            assert await ended(sub) == ("a/b one\na two\n", "")
            assert [one.qos for one in desk.messages] == [qos] * 3

    asyncio.run(story())


@both
def test_mosquitto_pub_ends_only_after_the_commit(version: int) -> None:
    async def story() -> None:
        desk = Desk("hold")
        async with hub_at(desk) as (_, port):
            pub = await run(*mosquitto("mosquitto_pub", port, version, "-t", "a", "-m", "x", "-q", "1"))
            await until(lambda: desk.held)
            probe = await run(*mosquitto("mosquitto_pub", port, version, "-t", "b", "-m", "x", "-q", "0"))
            await ended(probe)
            assert pub.returncode is None
            desk.held.popleft().set_result(None)
            await ended(pub)

    asyncio.run(story())


@both
def test_mosquitto_sub_gets_what_is_retained(version: int) -> None:
    async def story() -> None:
        async with hub_at(Desk()) as (hub, port):
            retain = ("-t", "a/b", "-m", "kept", "-q", "1", "-r")
            await ended(await run(*mosquitto("mosquitto_pub", port, version, *retain)))
            more = ("-t", "+/b", "-C", "1", "-F", "%t %p %r")
            assert await ended(await run(*mosquitto("mosquitto_sub", port, version, *more))) == ("a/b kept 1\n", "")
            await ended(await run(*mosquitto("mosquitto_pub", port, version, "-t", "a/b", "-n", "-r", "-q", "1")))
            assert len(hub.retained) == 0

    asyncio.run(story())


def test_mosquitto_5_0_properties() -> None:
    async def story() -> None:
        desk = Desk()
        async with hub_at(desk) as (hub, port):
            more = ("-t", "a", "-C", "1", "-F", "%p %C %R %P", "-D", "subscribe", "subscription-identifier", "7")
            sub = await run(*mosquitto("mosquitto_sub", port, V5, *more))
            await until(lambda: hub.status().subscriptions)
            own = ("user-property", "k", "v"), ("content-type", "text/plain"), ("response-topic", "r")
            arguments = [word for one in own for word in ("-D", "publish", *one)]
            await ended(await run(*mosquitto("mosquitto_pub", port, V5, "-t", "a", "-m", "x", "-q", "1", *arguments)))
            assert await ended(sub) == ("x text/plain r k:v\n", "")
            assert desk.messages[0].properties == {
                Property.user_property: [("k", "v")],
                Property.content_type: "text/plain",
                Property.response_topic: "r",
            }

    asyncio.run(story())


def test_mosquitto_hears_why_it_may_not() -> None:
    async def story() -> None:
        async with hub_at(Desk()) as (_, port):
            own = ("-t", "redcar/x", "-m", "x", "-q", "1")
            _, said = await ended(await run(*mosquitto("mosquitto_pub", port, V5, *own)))
            assert "Not authorized" in said

    asyncio.run(story())


# paho: what Python programs use, and our own forwarder


@both
def test_paho(version: int) -> None:
    async def story() -> None:
        desk = Desk("hold")
        async with hub_at(desk) as (_, port):
            listener, device = Paho(version, "listener"), Paho(version, "device")
            await listener.enter(port)
            await device.enter(port)
            listener.client.subscribe([("a/#", 1), ("b", 0)])
            await until(lambda: listener.said)
            for number in range(50):
                device.client.publish(f"a/{number}", b"x" * number * 10, qos=number % 3)
            await until(lambda: len(desk.messages) >= 20)
            assert listener.got == [] or listener.got[0].qos == 0
            assert device.said == [("puback", "Success")] * len(device.said)
            desk.commit = "at once"
            while desk.held:
                desk.held.popleft().set_result(None)
            await until(lambda: len(listener.got) == 50 and len(device.said) == 50)
            for qos in (0, 1, 2):
                numbers = [int(one.topic[2:]) for one in listener.got if int(one.topic[2:]) % 3 == qos]
                assert numbers == list(range(qos, 50, 3)), "in the order published"
            assert {one.qos for one in listener.got} == {0, 1}
            await device.leave()
            await listener.leave()

    asyncio.run(story())


def test_paho_5_0_hears_every_reason() -> None:
    async def story() -> None:
        async with hub_at(Desk()) as (hub, port):
            device = Paho(V5, "device")
            await device.enter(port)
            properties = Properties(PacketTypes.PUBLISH)
            properties.UserProperty = [("a", "1"), ("a", "2")]
            properties.CorrelationData = b"\0\1"
            properties.MessageExpiryInterval = 60
            device.client.subscribe("a")
            await until(lambda: device.said)
            device.said.clear()
            device.client.publish("a", b"x", 1, properties=properties)
            device.client.publish("$SYS/x", b"x", 1)
            await until(lambda: len(device.said) == 2 and device.got)
            assert device.said == [("puback", "Success"), ("puback", "Not authorized")]
            found = device.got[0].properties
            assert found is not None
            assert vars(found)["UserProperty"] == [("a", "1"), ("a", "2")]
            assert vars(found)["CorrelationData"] == b"\0\1"
            device.said.clear()
            await hub.close()
            await until(lambda: device.said)
            assert device.said[0] == ("bye", "Server shutting down")
            await device.leave()

    asyncio.run(story())


# MQTT.js: MQTTX, MQTT Explorer, Node-RED, Zigbee2MQTT


@both
@pytest.mark.parametrize("scheme", ["mqtt", "ws"])
def test_mqttjs(scheme: str, version: int, mqttjs: Path) -> None:
    async def story() -> None:
        desk = Desk()
        async with hub_at(desk) as (hub, port):
            if scheme == "ws":
                port = await hub.listen(Door(websocket=True))
            script = Path(__file__).with_name("mqttjs.cjs")
            url = f"{scheme}://127.0.0.1:{port}/mqtt"
            out, _ = await ended(await run(need("node", "nodejs"), script, mqttjs, url, str(version)))
            told = json.loads(out)
            mark = "v" if version == V5 else None
            assert told["granted"] == [2]
            assert told["got"] == [
                ["js/0", "x" * 300, 0, False, mark],
                ["js/1", "x" * 300, 1, False, mark],
                ["js/2", "x" * 300, 2, False, mark],
                ["js/kept", "old", 1, True, None],
                ["js/unicode/°", "ä", 1, False, None],
            ]
            first = desk.messages[0]
            assert (first.topic, first.payload, first.qos, first.retain) == ("js/kept", b"old", 1, True)

    asyncio.run(story())
