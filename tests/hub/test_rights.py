"""The ACL: what rules grant, in whole filters; reloaded while clients are connected."""

import asyncio
import os
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import ConfigError
from gateway.hub.access import Access
from gateway.hub.inlet import Publish
from gateway.hub.packets import V5, Ack, Connack, Connect, Delivery, Filter, Suback, Subscribe, Will
from gateway.hub.properties import Kind
from gateway.hub.reasons import Reason
from gateway.hub.rights import covers, load
from gateway.hub.topics import Tree, matches
from gateway.hub.users import add_user, remove_user
from tests.hub.peers import Desk, Peer, enter, farewell, hub_at, knock, say
from tests.parts import until

LEVELS = ["a", "b", "", "$x"]
TOPICS = ["/".join(levels) for size in (1, 2, 3, 4) for levels in product(LEVELS, repeat=size)]
TOPICS.remove("")

filters = st.builds(
    lambda levels, tail: "/".join([*levels, *tail]),
    st.lists(st.sampled_from(["a", "b", "", "+", "$x"]), max_size=3),
    st.sampled_from([[], ["#"], ["a"], ["+"]]),
).filter(bool)


@settings(deadline=None)
@given(filters, filters)
def test_a_filter_is_covered_exactly_if_every_topic_is(grant: str, asked: str) -> None:
    """Brute force over all topics of up to four levels from an alphabet the filters don't exhaust."""
    fresh = ["/".join(("z" if part == "$x" and n else part) for n, part in enumerate(one.split("/"))) for one in TOPICS]
    want = all(matches(grant, one) for one in {*TOPICS, *fresh, "z", "z/z", "a/z", "z/a/z/z"} if matches(asked, one))
    assert covers(grant, asked) == want


@settings(deadline=None)
@given(filters, st.sampled_from(TOPICS))
def test_one_match_is_the_trees(filter: str, topic: str) -> None:
    tree: Tree[str] = Tree()
    tree.put(filter, "x")
    assert matches(filter, topic) == bool(list(tree.filters(topic)))


@pytest.mark.parametrize(
    ("grant", "asked"), [("a/+", "a/#"), ("+", "#"), ("a/#", "#"), ("a/b", "a/+"), ("#", "$SYS/#"), ("+/a", "$SYS/a")]
)
def test_what_is_wider_than_its_grant(grant: str, asked: str) -> None:
    assert not covers(grant, asked)


RULES = """
[[rule]]
users = ["panel"]
subscribe = ["#"]
receive = ["plant/#", "redcar/#"]

[[rule]]
users = ["sensor-*"]
publish = ["plant/%u/#", "by-id/%c"]
"""


def test_what_rules_grant(tmp_path: Path) -> None:
    file = tmp_path / "acl.toml"
    file.write_text(RULES)
    rights = load(file)
    sensor = rights.of("sensor-1", "c1")
    assert sensor.may_publish("plant/sensor-1/temperature")
    assert not sensor.may_publish("plant/sensor-2/temperature")
    assert sensor.may_publish("by-id/c1")
    assert not sensor.may_publish("by-id/c2")
    assert sensor.may_publish("sensor-1/anything"), "its own tree"
    assert not sensor.may_subscribe("plant/#")
    assert sensor.may_subscribe("sensor-1/#")
    panel = rights.of("panel", "p")
    assert panel.may_subscribe("#")
    assert not panel.may_subscribe("$SYS/#")
    assert panel.may_receive("plant/x")
    assert panel.may_receive("panel/x")
    assert not panel.may_receive("secret/x")
    assert not panel.may_publish("plant/x")
    for wide in ("+", "#", "a/#", "c1/x", ""):
        climber = rights.of("sensor-1", wide)
        assert not any(climber.may_publish(f"by-id/{one}") for one in ("c2", "a/b", wide))
        assert climber.may_publish("plant/sensor-1/temperature")
    nobody = rights.of(None, "c1")
    assert not nobody.may_publish("plant/x")
    assert not nobody.may_publish("/x")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is no rule: nobody could do anything"),
        ("[[rule]]\npublish = ['a/#/b']", "rule[1].publish[1]"),
        ("[[rule]]\npublsh = ['a']", "publsh"),
        ("[[rule]\n", "acl.toml:1"),
    ],
)
def test_faulty_rules_stop_the_start(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "acl.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="acl") as found:
        Access(acl=file)
    assert said in str(found.value)


def test_a_missing_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        Access(acl=tmp_path / "none")


async def come(port: int, user: str, **more: Any) -> Peer:
    return await enter(port, id=f"c-{user}", user=user, password=b"pw", **more)


async def ask(peer: Peer, *filters: str) -> list[int]:
    peer.send(Subscribe(1, [Filter(one, 1) for one in filters]))
    answer = await peer.got()
    assert isinstance(answer, Suback)
    return answer.reasons


def test_rights_at_every_step_and_reloaded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        users, acl = tmp_path / "users", tmp_path / "acl.toml"
        for name in ("panel", "sensor-1", "sensor-2"):
            add_user(users, name, "pw")
        acl.write_text(RULES)
        desk = Desk()
        async with hub_at(desk, access=Access(users, acl=acl)) as (hub, port):
            panel, sensor = await come(port, "panel"), await come(port, "sensor-1")
            assert await ask(panel, "#", "$SYS/#") == [1, Reason.NOT_AUTHORIZED]
            assert await ask(sensor, "#", "plant/#", "sensor-1/#") == [0x87, 0x87, 1]
            sensor.send(say("plant/sensor-2/t"), say("secret", id=2), say("plant/sensor-1/t", id=3, retain=True))
            got = [await sensor.got() for _ in range(3)]
            assert [one.reason for one in got if isinstance(one, Ack)] == [0x87, 0x87, 0]
            told = await panel.got()
            assert isinstance(told, Delivery)
            assert told.message.topic == "plant/sensor-1/t"
            sensor.send(say("sensor-1/own", id=4))
            assert {type(await sensor.got()), type(await sensor.got())} == {Ack, Delivery}
            assert await panel.silent(), "subscribed to #, but may not receive this"

            peer = await knock(port)
            peer.send(Connect("w", V5, user="sensor-2", password=b"pw", will=Will("plant/sensor-1/x", b"")))
            refused = await peer.got()
            assert isinstance(refused, Connack)
            assert refused.reason == Reason.NOT_AUTHORIZED

            acl.write_text(RULES.replace("sensor-*", "sensor-2").replace('["#"]', '["plant/#"]'))
            os.utime(acl, (1, 1))
            await until(lambda: hub.broker.members["c-panel"].held == {})
            assert await ask(panel, "plant/#") == [1]
            assert await panel.silent(), "who published what is retained may not publish it any more"
            sensor.send(say("plant/sensor-1/t", id=5))
            assert await sensor.got() == Ack(Kind.PUBACK, 5, Reason.NOT_AUTHORIZED)

            remove_user(users, "sensor-1")
            assert await farewell(sensor) == Reason.ADMINISTRATIVE_ACTION
        lead = f"add one to {acl}; redcar user rights sensor-1 shows what there is"
        assert f"'c-sensor-1' may not subscribe to '#', nor 1 more: no rule covers it: {lead}" in caplog.text
        assert (
            f"'c-sensor-1' may not publish on 'plant/sensor-2/t': no rule lets user 'sensor-1' publish there: {lead}"
            in (caplog.text)
        )
        assert (
            Publish("plant/sensor-1/t", b"x", 1, True, None, "c-sensor-1", "sensor-1", packet_id=b"\0\3")
            in desk.messages
        )

    asyncio.run(story())


def test_rights_that_become_the_clients_own_are_so_for_those_inside(tmp_path: Path) -> None:
    """Clients with the same rights share what they are known to use rightly; when rules set them apart, they don't."""

    async def story() -> None:
        users, acl = tmp_path / "users", tmp_path / "acl.toml"
        add_user(users, "dev", "pw")
        acl.write_text('[[rule]]\nusers = ["dev"]\npublish = ["plant/#"]\n')
        async with hub_at(Desk(), access=Access(users, acl=acl)) as (hub, port):
            one, two = [await enter(port, V5, id, user="dev", password=b"pw") for id in ("one", "two")]
            acl.write_text('[[rule]]\nusers = ["dev"]\npublish = ["plant/%c/#"]\n')
            os.utime(acl, (1, 1))
            await until(lambda: hub.access.may_publish("dev", "plant/one", "two"))
            one.send(say("plant/one", id=1))
            assert await one.got() == Ack(Kind.PUBACK, 1)
            two.send(say("plant/one", id=1))
            assert await two.got() == Ack(Kind.PUBACK, 1, Reason.NOT_AUTHORIZED)

    asyncio.run(story())


def test_a_file_that_is_half_written_changes_nothing_until_it_is_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A typo mustn't cost sessions their subscriptions, nor messages that 3.1.1 clients are told we have."""

    async def story() -> None:
        users, acl = tmp_path / "users", tmp_path / "acl.toml"
        for name in ("panel", "sensor-1"):
            add_user(users, name, "pw")
        acl.write_text(RULES)
        async with hub_at(Desk(), access=Access(users, acl=acl)) as (hub, port):
            panel, sensor = await come(port, "panel"), await come(port, "sensor-1")
            assert await ask(panel, "#") == [1]
            for n, faulty in enumerate(("", "[[rule", None, RULES.replace('publish = ["plant', 'publish = ["redcar'))):
                caplog.clear()
                if faulty is None:
                    acl.unlink()
                else:
                    acl.write_text(faulty)
                    os.utime(acl, (n, n))
                await until(lambda: f"the rules before still count, until this is corrected: {acl}" in caplog.text)
                sensor.send(say("plant/sensor-1/t", b"%d" % n, id=n + 1))
                told = await panel.got()
                assert isinstance(told, Delivery)
                assert told.message.payload == b"%d" % n
                assert await sensor.got() == Ack(Kind.PUBACK, n + 1)
            acl.write_text(RULES.replace('["#"]', '["plant/+/x"]'))
            await until(lambda: not hub.broker.members["c-panel"].held)

    asyncio.run(story())


def test_without_rules_a_user_has_its_own_tree_and_the_house_everything() -> None:
    access = Access()
    assert access.may_publish("kitchen", "kitchen/lamp") is None
    assert access.may_publish("kitchen", "plant/lamp") == (
        Reason.NOT_AUTHORIZED,
        "no rule lets user 'kitchen' publish there: write a file of rules and name it as access.acl; "
        "redcar user rights kitchen shows what there is",
    )
    assert access.may_subscribe("kitchen", "kitchen/#")
    assert not access.may_subscribe("kitchen", "#")
    assert not access.may_receive("kitchen", "plant/lamp")
    assert access.may_publish(None, "plant/lamp") is None
    assert access.may_subscribe(None, "#")
    access.close()


@pytest.mark.parametrize("how", ["removed", "removed, and another came", "another password"])
def test_who_came_in_by_a_password_that_is_gone_is_cut_off(how: str, tmp_path: Path) -> None:
    """Also the last user, and though another client's CONNECT was the first to see the changed file."""

    async def story() -> None:
        users = tmp_path / "users"
        names = ["kitchen"] if how == "removed" else ["kitchen", "attic"]
        for name in names:
            add_user(users, name, "pw")
        async with hub_at(Desk(), access=Access(users)) as (hub, port):
            kitchen = await come(port, "kitchen")
            others = [await come(port, name) for name in names[1:]]
            if how == "another password":
                add_user(users, "kitchen", "new")
            else:
                remove_user(users, "kitchen")
            if how == "removed, and another came":
                others.append(await come(port, "attic"))
            assert await farewell(kitchen) == Reason.ADMINISTRATIVE_ACTION
            await until(lambda: not hub.access.outdated)
            await until(lambda: len(hub.connections) == len(names) - 1)
            if others:
                assert await others[-1].silent()

    asyncio.run(story())


def test_the_first_user_ends_the_time_without_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        users = tmp_path / "users"
        async with hub_at(Desk(), access=Access(users)) as (_, port):
            somebody = await enter(port)
            add_user(users, "kitchen", "pw")
            assert await farewell(somebody) == Reason.ADMINISTRATIVE_ACTION
            assert "there are users now: it needs a name, or anonymous = true under [access]" in caplog.text
            await come(port, "kitchen")

    asyncio.run(story())
