"""Redcar's own topics, and clients that ask for the past: on a real log."""

import asyncio
import json
from pathlib import Path

import pytest

from gateway.driver import load
from gateway.event import event
from gateway.hub.inlet import Publish
from gateway.hub.packets import V5, Ack, Delivery, Filter, Suback, Subscribe
from gateway.hub.properties import Kind, Property
from tests.hub.house import come, drain, house, leave, publish, receive, say_all, take
from tests.hub.peers import Peer, both
from tests.parts import until

CLAIM = load("json").config(driver="json", topics=["plant/{area}/{device}"], allow=["*"], source="{area}/{device}")


def payload(one: Delivery) -> dict[str, object]:
    found: dict[str, object] = json.loads(one.message.payload)
    return found


async def since(peer: Peer, start: str, *filters: str, qos: int = 1) -> list[int]:
    peer.send(Subscribe(1, [Filter(one, qos) for one in filters], {Property.user_property: [("from", start)]}))
    early = []
    while not isinstance(answer := await peer.got(), Suback):
        assert answer is not None
        early.append(answer)  # 3.8.4: messages may come before SUBACK
    peer._got.extendleft(reversed(early))
    return answer.reasons


@both
def test_events_as_cloudevents(version: int, tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path, binding=[CLAIM]) as (_, port):
            peer, _ = await come(port, "c", version, None, clean=True)
            await take(peer, "redcar/events/+/+/reading", qos=1)
            await publish(port, '{"temperature": 4.1}', topic="plant/cellar/air-1")
            (one,) = await receive(peer, 1)
            assert one.message.topic == "redcar/events/cellar/air-1/reading"
            assert one.message.qos == 1
            said = payload(one)
            assert said["type"] == "reading"
            assert said["data"] == {"temperature": 4.1}
            if version == V5:
                assert (one.message.properties or {})[Property.content_type] == "application/cloudevents+json"

    asyncio.run(story())


def test_a_lasting_session_is_owed_events(tmp_path: Path) -> None:
    """A dashboard that is away for a night misses no alarm."""

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            peer, _ = await come(port)
            await take(peer, "redcar/events/#")
            await receive(peer, 0)
            await leave(gateway, peer)
            await gateway.log.store([event("alarm.raised", "cellar/air-1", {"alarm": "warm"}, time=1)])
        async with house(tmp_path) as (_, port):
            peer, present = await come(port)
            assert present
            topics = []
            while "redcar/events/cellar/air-1/alarm.raised" not in topics:
                (one,) = await receive(peer, 1)
                topics.append(one.message.topic)
                peer.send(Ack(Kind.PUBACK, one.id))

    asyncio.run(story())


def test_state_alarms_and_status_are_retained(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path, binding=[CLAIM]) as (gateway, port):
            await publish(port, '{"temperature": 4.1}', '{"humidity": 60}', topic="plant/cellar/air-1")
            raised = event("alarm.raised", "cellar/air-1", {"alarm": "warm", "severity": "high"}, time=0)
            await gateway.log.store([raised])
            await until(lambda: gateway.views.position > gateway.log.head)
            await asyncio.sleep(0.2)  # the broadcast looks after the views
            peer, _ = await come(port, expiry=None)
            await take(peer, "redcar/state/#", "redcar/alarms/#", "redcar/status", qos=0)
            told = {one.message.topic: payload(one) for one in await receive(peer, 3)}
            state = told["redcar/state/cellar/air-1"]
            assert isinstance(state.pop("_time"), str)
            assert state == {"temperature": 4.1, "humidity": 60}
            assert told["redcar/alarms/warm"]["active"]
            assert told["redcar/status"]["status"] == "online"
            await publish(port, '{"temperature": 5}', topic="plant/cellar/air-1")
            (live,) = await receive(peer, 1)
            assert payload(live)["temperature"] == 5
            assert not live.message.retain
            await gateway.log.store([event("alarm.cleared", "cellar/air-1", {"alarm": "warm"}, time=9)])
            (live,) = await receive(peer, 1)
            assert payload(live) == {"active": False, "sources": {}}

    asyncio.run(story())


def test_who_missed_that_an_alarm_was_cleared_hears_it_after_a_restart(tmp_path: Path) -> None:
    """Said for every rule: a dashboard would go on to show as active what it hears nothing more of."""

    async def story() -> None:
        file = tmp_path / "rules.toml"
        file.write_text('[rule.warm]\non = "*"\nwhen = "temperature > 5 °C"\n')
        for n in (1, 2):
            async with house(tmp_path / "data", rules=[str(file)], binding=[CLAIM]) as (_, port):
                peer, _ = await come(port, expiry=None)
                if n == 1:
                    await publish(port, '{"temperature": 9}', '{"temperature": 4}', topic="plant/cellar/air-1")
                    await since(peer, "start", "redcar/events/cellar/air-1/alarm.cleared")
                    await receive(peer, 1)
                await take(peer, "redcar/alarms/#", qos=0)
                (told,) = await receive(peer, 1)
                assert told.message.topic == "redcar/alarms/warm"
                while payload(told)["active"]:  # the views are behind
                    (told,) = await receive(peer, 1)
                assert payload(told)["sources"] == {}

    asyncio.run(story())


def test_the_figures_that_dashboards_expect(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as (_, port):
            peer, _ = await come(port, expiry=None)
            await take(peer, "$SYS/broker/clients/#", "$SYS/broker/version", qos=0)
            told = {one.message.topic: one.message.payload for one in await receive(peer, 7)}
            assert told["$SYS/broker/clients/connected"] == b"1"
            assert told["$SYS/broker/version"].startswith(b"redcar ")
            other, _ = await come(port, "other", expiry=None)
            await take(other, "#", "+/+", "+/+/+", qos=0)
            assert await other.silent(), "neither $SYS nor our own tree: who wants it asks for redcar/#"

    asyncio.run(story())


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_stored_messages_then_live_ones_without_a_seam(qos: int, tmp_path: Path) -> None:
    """While they are replayed, more come in."""

    async def story() -> None:
        async with house(tmp_path) as (_, port):
            other, _ = await come(port, "other", expiry=None)
            texts = [str(n) for n in range(1200)]
            await say_all(other, *texts[:700])
            peer, _ = await come(port, expiry=None)
            assert await since(peer, "start", "a", qos=qos) == [qos]
            saying = asyncio.create_task(say_all(other, *texts[700:]))
            assert await drain(peer, 1200) == texts
            await saying
            assert await peer.silent()

    asyncio.run(story())


def test_from_an_offset_and_from_a_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            await publish(port, "1", "2", "3")
            events = [one for one in await gateway.log.read(1) if one.type == "message"]
            for start, want in ((str(events[1].offset), 2), ("-1h", 3), ("1h", 3), ("2020-01-01T00:00:00Z", 3)):
                peer, _ = await come(port, f"c{want}{start[:3]}".replace("+", ""), expiry=None)
                await since(peer, start, "a")
                assert await drain(peer, want) == ["1", "2", "3"][-want:]
                assert await peer.silent()
            peer, _ = await come(port, expiry=None)
            assert await since(peer, "yesterday", "a") == [0x83]
            cure = """write e.g. "4711", "start", "2h" or "2026-11-21T06:00Z\""""
            problem = (
                f"asks for the past in a way that isn't understood: from = 'yesterday' is no offset and no time: {cure}"
            )
            assert f"client 'c' {problem}" in caplog.text
            assert await since(peer, "start", "$share/g/a") == [0x83]
            assert "may not subscribe to '$share/g/a': a group has no past: leave out from, or $share" in caplog.text
            await since(peer, "2999-01-01T00:00:00Z", "a")
            assert await peer.silent()

    asyncio.run(story())


def test_a_replay_repeats_nothing_of_other_subscriptions(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as (_, port):
            peer, _ = await come(port)
            await take(peer, "a")
            await publish(port, "a1", topic="a")
            await publish(port, "b1", topic="b")
            assert await drain(peer, 1) == ["a1"]
            assert await peer.silent()
            await since(peer, "start", "b")
            # b1 was claimed by nobody, so it is stored
            assert await drain(peer, 1) == ["b1"]
            await publish(port, "a2", topic="a")
            await publish(port, "b2", topic="b")
            assert await drain(peer, 2) == ["a2", "b2"]
            assert await peer.silent()

    asyncio.run(story())


@both
def test_asking_on_a_topic(version: int, tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as (_, port):
            await publish(port, "1", "2")
            peer, _ = await come(port, "c", version, None, clean=True)
            peer.send(Delivery(Publish("redcar/replay/x", b'{"filter": "a", "from": "start", "qos": 1}', 1), 1))
            assert await peer.got() == Ack(Kind.PUBACK, 1)
            (told,) = await receive(peer, 1)
            assert told.message.topic == "redcar/replay/x"
            assert payload(told)["filter"] == "a"
            assert await drain(peer, 2) == ["1", "2"]
            await publish(port, "3")
            assert await drain(peer, 1) == ["3"]
            for wrong in (b"no json", b'{"filter": "a/#/b"}', b'{"filter": "a", "from": "tomorrow"}', b'{"qos": 3}'):
                peer.send(Delivery(Publish("redcar/replay/x", wrong)))
                (told,) = await receive(peer, 1)
                assert "problem" in payload(told)

    asyncio.run(story())
