"""$SYS: what dashboards made for mosquitto ask for, beside mosquitto itself; true figures; and who may see them."""

import asyncio
from math import exp
from pathlib import Path

import pytest

from gateway.hub.packets import V5, V311, Delivery, Filter, Ping, Pong, Suback, Subscribe
from gateway.hub.properties import Properties, Property
from gateway.hub.reasons import Reason
from gateway.rates import Load
from gateway.settings import Access
from tests.brokers import mosquitto
from tests.hub.house import come, house, leave, publish, take
from tests.hub.peers import Peer
from tests.hub.programs import run
from tests.parts import free_port, need

LEFT_OUT = {"heap/current", "heap/maximum", "publish/bytes/received", "publish/bytes/sent", "clients/expired"}
ROOT = "$SYS/broker/"


async def shown(peer: Peer) -> dict[str, str]:
    """What is retained below $SYS."""
    peer.send(Subscribe(7, [Filter("$SYS/#", 0)]))
    assert isinstance(await peer.got(), Suback)
    peer.send(Ping())
    found = {}
    while isinstance(packet := await peer.got(), Delivery):
        assert packet.message.retain
        found[packet.message.topic.removeprefix(ROOT)] = packet.message.payload.decode()
    assert isinstance(packet, Pong)
    return found


def test_the_figures_are_true(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            away, _ = await come(port, "away")
            await take(away, "a/#")
            await leave(gateway, away)
            here, _ = await come(port, "here", V311, None)
            await take(here, "$share/g/a/#", "b/#", qos=0)
            await publish(port, "1", "2", "3", topic="a/x")
            for _ in range(3):
                assert isinstance(await here.got(), Delivery)
            panel, _ = await come(port, "panel", V5, None)
            told = await shown(panel)
            assert told["version"].startswith("redcar ")
            assert told["uptime"].endswith(" seconds")
            want = {
                "clients/connected": 2,
                "clients/active": 2,
                "clients/disconnected": 1,
                "clients/inactive": 1,
                "clients/total": 3,
                "clients/maximum": 2,
                "messages/received": 3,
                "messages/sent": 3,
                "publish/messages/dropped": 0,
                "subscriptions/count": 4,
                "shared_subscriptions/count": 1,
                "store/messages/count": gateway.log.head,
                "store/messages/bytes": gateway.log.path.stat().st_size,
            }
            assert {name: told[name] for name in want} == {name: str(value) for name, value in want.items()}
            assert int(told["bytes/received"]) > 100
            assert int(told["bytes/sent"]) > 60
            assert float(told["load/messages/received/1min"]) > float(told["load/messages/received/15min"]) > 0

    asyncio.run(story())


def test_all_of_mosquitto_s_topics_that_we_can_answer(tmp_path: Path) -> None:
    async def story() -> None:
        other = free_port()
        with mosquitto(tmp_path, other, "allow_anonymous true", "sys_interval 1"):
            more = ("-t", "$SYS/broker/#", "-F", "%t", "-W", "4")
            sub = await run(need("mosquitto_sub", "mosquitto-clients"), "-h", "127.0.0.1", "-p", str(other), *more)
            out, _ = await sub.communicate()
        theirs = {line.removeprefix(ROOT) for line in out.decode().splitlines()}
        async with house(tmp_path / "data") as (_, port):
            panel, _ = await come(port, "panel", V5, None)
            ours = await shown(panel)
        assert len(theirs) > 30
        loads = {f"load/sockets/{minutes}min" for minutes in (1, 5, 15)}
        assert theirs - ours.keys() <= LEFT_OUT | loads

    asyncio.run(story())


def test_a_user_needs_a_rule_that_names_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from gateway.hub.users import add_user

    async def story() -> None:
        add_user(tmp_path / "users", "panel", "pw")
        add_user(tmp_path / "users", "grafana", "pw")
        acl = tmp_path / "acl.toml"
        acl.write_text('[[rule]]\nsubscribe = ["#"]\n[[rule]]\nusers = ["grafana"]\nsubscribe = ["$SYS/#"]\n')
        access = Access(users=str(tmp_path / "users"), acl=str(acl))
        async with house(tmp_path / "data", access=access) as (_, port):
            panel, _ = await come(port, "panel", V5, None, user="panel", password=b"pw")
            panel.send(Subscribe(1, [Filter("$SYS/#", 0), Filter("#", 0)]))
            answer = await panel.got()
            assert isinstance(answer, Suback)
            assert answer.reasons == [Reason.NOT_AUTHORIZED, 0]
            assert await panel.silent(), "# brings none of them [MQTT-4.7.2-1]"
            past: Properties = {Property.user_property: [("from", "start")]}
            panel.send(Subscribe(2, [Filter("redcar/#", 0)], past))
            answer = await panel.got()
            assert isinstance(answer, Suback)
            assert answer.reasons == [Reason.NOT_AUTHORIZED]
            for filter in ("$SYS/#", "redcar/#"):
                lead = f"no rule covers it: add one to {acl}; redcar user rights panel shows what there is"
                assert f"client 'panel' may not subscribe to {filter!r}: {lead}" in caplog.text
            grafana, _ = await come(port, "grafana", V5, None, user="grafana", password=b"pw")
            assert (await shown(grafana))["clients/connected"] == "2"

    asyncio.run(story())


def test_loads_fade() -> None:
    load = Load(0.0)
    total = 0
    for second in range(10, 3601, 10):
        total += 20  # two a second
        load.look(total, float(second))
    assert load.averages[1] == pytest.approx(120)
    assert load.averages[15] == pytest.approx(120 * (1 - exp(-4)))
    load.look(total, 3660.0)
    assert load.averages[1] == pytest.approx(120 / exp(1))
    load.look(total, 3660.0)
