"""A broker that already runs, read as a client: a real mosquitto. Each story is told of both clients."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.config import load
from gateway.errors import ConfigError, DeviceRefused, LinkLost
from gateway.hub.inlet import Publish
from gateway.hub.packets import V5, Ack, Connack, Delivery, Suback, Subscribe
from gateway.hub.properties import Kind, Property
from gateway.settings import LogSettings
from gateway.sources.mqtt import Config, Reader
from tests.hub.house import come, house, publish
from tests.hub.peers import Peer, _open, until
from tests.parts import free_port, need
from tests.sources.site import (
    CLAIM,
    Desk,
    Far,
    all_of,
    clients,
    messages,
    mosquitto,
    numbered,
    often,
    reader,
    reading,
    send,
    source,
    tell,
    values,
    ways,
)


@ways
@pytest.mark.parametrize("qos", [1, 2])
def test_nothing_is_missing_over_a_restart_of_ours(
    client: str, protocol: str, loop: str, qos: int, tmp_path: Path
) -> None:
    """At whatever QoS it was published; in order."""

    async def story() -> None:
        port = free_port()
        with mosquitto(tmp_path, port):
            more = {"binding": [CLAIM], "source": [source(port, protocol=protocol, client=client)]}
            async with house(tmp_path / "data", **more) as (gateway, _):
                await reading(gateway)
                await send(port, *numbered(0, 30), qos=qos)
                await until(lambda: gateway.readers[0].received >= 30)
            await send(port, *numbered(30, 60), qos=qos)
            async with house(tmp_path / "data", **more) as (gateway, _):
                found = await all_of(gateway, set(range(60)))
            assert list(dict.fromkeys(found)) == list(range(60))

    tell(story, loop)


@ways
def test_the_acknowledgement_waits_for_the_commit(client: str, protocol: str, loop: str, tmp_path: Path) -> None:
    """An inlet that never commits: the broker still has the message for the next one."""

    async def story() -> None:
        port = free_port()
        own = source(port, protocol=protocol, client=client)
        with mosquitto(tmp_path, port):
            async with house(tmp_path / "data", binding=[CLAIM]) as (gateway, _):
                for number in range(2):
                    never = Desk(commit=False)
                    async with reader(own, never, gateway):
                        if number == 0:
                            await send(port, *numbered(1, 2))
                        await until(lambda never=never: len(never.taken) == 1)  # type: ignore[misc]
                assert not often(tmp_path, "Received PUBACK from redcar-test-site")
                always = Reader(own, gateway.ingest, gateway.log, "test")
                running = asyncio.create_task(always.run())
                assert await all_of(gateway, {1}) == [1]
                await until(lambda: often(tmp_path, "Received PUBACK from redcar-test-site"))
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    tell(story, loop)


@clients
def test_what_could_not_be_stored_comes_again(client: str, tmp_path: Path) -> None:
    """Once is enough for that, it isn't taken for somebody of our name."""

    async def story() -> None:
        port = free_port()
        with mosquitto(tmp_path, port):
            async with house(tmp_path / "data") as (gateway, _):
                desk = Desk()
                made = Reader(source(port, client=client), desk, gateway.log, "test")
                for number in range(5):
                    desk.publish = lambda messages, also=(): failed(desk, messages)  # type: ignore[method-assign]
                    running = asyncio.create_task(made.run())
                    if number == 0:
                        await until(lambda: made.connected)
                        await send(port, "x")
                    with pytest.raises(LinkLost, match="couldn't be stored: it has to send them again"):
                        await asyncio.wait_for(running, 10)
                assert [one.payload for one in desk.taken] == [b"x"] * 5
                assert not often(tmp_path, "Received PUBACK from redcar-test-site")
                desk.full = True
                with pytest.raises(LinkLost, match="not read now: the disk has to take what is here already"):
                    await made.run()

    def failed(desk: Desk, messages: list[Publish]) -> asyncio.Future[None]:
        desk.taken += messages
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(done.set_exception, OSError("no space left"))
        return done

    tell(story)


@ways
def test_a_full_inlet_stops_the_reading(client: str, protocol: str, loop: str, tmp_path: Path) -> None:
    """Until there is room again; nothing is missing, and the connection lasts."""

    async def story() -> None:
        port = free_port()
        count, size = 400, 5_000
        config = source(port, protocol=protocol, client=client, qos=0)
        with mosquitto(tmp_path, port):
            async with house(tmp_path / "data") as (gateway, _):
                desk = Desk()
                desk.full = True  # notices it only once it has got something
                made = Reader(config, desk, gateway.log, "test")
                desk.full = False
                running = asyncio.create_task(made.run())
                await until(lambda: made.connected)
                desk.full = True
                await send(port, *(f"{n:{size}}" for n in range(count)))
                await until(lambda: desk.taken)
                await asyncio.sleep(0.2)
                paused = len(desk.taken)
                await asyncio.sleep(0.2)
                assert paused == len(desk.taken) < count
                desk.full = False
                made.room()
                await until(lambda: len(desk.taken) == count)
                assert [int(one.payload) for one in desk.taken] == list(range(count))
                assert often(tmp_path, "as redcar-test-site") == 1
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    tell(story, loop)


@clients
def test_the_gateway_says_when_there_is_room(client: str, tmp_path: Path) -> None:
    """Its clients and its sources are told alike, again and again."""

    async def story() -> None:
        port = free_port()
        small = LogSettings(queue=20_000)
        with mosquitto(tmp_path, port):
            own = source(port, client=client, protocol="5.0")
            async with house(tmp_path / "data", source=[own], log=small) as (gateway, hub):
                await reading(gateway)
                told, tell = [0], gateway.ingest.on_room

                def room() -> None:
                    told[0] += 1
                    tell()

                gateway.ingest.on_room = room
                texts = [f"{n:3000}" for n in range(200)]
                await asyncio.gather(send(port, *texts), publish(hub, *texts[:100], topic="own"))
                found = await messages(gateway, 300)
                assert [one["payload"] for one in found if one["topic"] != "own"] == texts
                assert told[0] > 1

    tell(story)


@ways
def test_a_broker_that_has_lost_our_session(client: str, protocol: str, loop: str, tmp_path: Path) -> None:
    """It restarts without persistence: we subscribe again, and say that something may be missing."""

    async def story() -> None:
        port = free_port()
        own = source(port, protocol=protocol, client=client)
        async with house(tmp_path / "data", binding=[CLAIM], source=[own]) as (gateway, _):
            for n in range(2):
                with mosquitto(tmp_path, port):
                    await reading(gateway)
                    await send(port, *numbered(n, n + 1))
                    await all_of(gateway, {n})
                await until(lambda: not gateway.readers[0].connected)
            gaps = [one.data for one in await gateway.log.read(1) if one.type == "gap"]
            assert gaps == [{"reason": "session_lost", "count": 0, "consumer": "site"}]

    tell(story, loop)


@ways
def test_a_broker_that_has_kept_it(client: str, protocol: str, loop: str, tmp_path: Path) -> None:
    """It restarts with persistence; what it had for us comes, and nothing is said to be missing."""

    async def story() -> None:
        port = free_port()
        keeping = ("allow_anonymous true", "persistence true", f"persistence_location {tmp_path}/")
        own = source(port, protocol=protocol, client=client)
        with mosquitto(tmp_path, port, *keeping):
            async with house(tmp_path / "data", binding=[CLAIM], source=[own]) as (gateway, _):
                await reading(gateway)
            await send(port, *numbered(0, 20))
        async with house(tmp_path / "data", binding=[CLAIM], source=[own]) as (gateway, _):
            for lo in (20, 40):
                with mosquitto(tmp_path, port, *keeping):
                    await reading(gateway)
                    await send(port, *numbered(lo, lo + 20))
                    await all_of(gateway, set(range(lo + 20)))
                await until(lambda: not gateway.readers[0].connected)
            found = await values(gateway)
            assert list(dict.fromkeys(found)) == list(range(60))
            assert not [one for one in await gateway.log.read(1) if one.type == "gap"]

    tell(story, loop)


@ways
def test_two_of_one_name_are_told_apart(
    client: str, protocol: str, loop: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They put each other out; after three times within a minute we say so and leave the field."""

    async def story() -> None:
        port = free_port()
        with mosquitto(tmp_path, port):
            own = source(port, client_id="twin", protocol=protocol, client=client)
            async with house(tmp_path / "data", source=[own]) as (gateway, _):
                async with asyncio.timeout(30):
                    while "give this source another client_id" not in caplog.text:
                        await reading(gateway)
                        peer, _present = await come(port, "twin")
                        await until(lambda: not gateway.readers[0].connected)
                        await peer.close()

    caplog.set_level(logging.INFO)
    tell(story, loop)
    assert "somebody else is connected there as twin, and we put each other out" in caplog.text


@ways
def test_a_stand_by_gateway_shares_the_work(client: str, protocol: str, loop: str, tmp_path: Path) -> None:
    """Each message goes to one of them; when one is gone, all go to the other."""

    async def story() -> None:
        port = free_port()
        wanted: dict[str, Any] = {"topics": ["$share/redcar/plant/#"], "protocol": protocol, "client": client}
        first, second = source(port, client_id="first", **wanted), source(port, client_id="second", **wanted)
        with mosquitto(tmp_path, port):
            async with house(tmp_path / "second", binding=[CLAIM], source=[second]) as (stays, _):
                await reading(stays)
                async with house(tmp_path / "first", binding=[CLAIM], source=[first]) as (leaves, _):
                    await reading(leaves)
                    await send(port, *numbered(0, 40))
                    async with asyncio.timeout(10):
                        while len(both := await values(leaves) + await values(stays)) < 40:
                            await asyncio.sleep(0.02)
                    assert sorted(both) == list(range(40))
                    assert await values(leaves)
                    assert await values(stays)
                if protocol == "5.0":  # the session of the one that left ends, so that nothing goes there any more
                    peer, _ = await come(port, "first", expiry=0, clean=True)
                else:
                    peer, _ = await come(port, "first", 4, clean=True)
                await peer.close()
                await send(port, *numbered(40, 60))
                assert set(range(40, 60)) <= set(await all_of(stays, set(range(40, 60))))

    tell(story, loop)


@clients
def test_several_brokers_at_once(client: str, tmp_path: Path) -> None:
    """Told apart by their prefix; the one that is away doesn't hold up the other."""

    async def story() -> None:
        here, there, nowhere = free_port(), free_port(), free_port()
        (tmp_path / "there").mkdir()
        own = [
            source(here, name="house", prefix="house/", client=client),
            source(there, name="barn", prefix="barn/", client=client),
            source(nowhere, name="nowhere", client=client),
        ]
        with mosquitto(tmp_path, here), mosquitto(tmp_path / "there", there):
            async with house(tmp_path / "data", source=own) as (gateway, _):
                await until(lambda: [one.connected for one in gateway.readers] == [True, True, False])
                await send(here, "1", "2")
                await send(there, "3", "4")
                found = [(one["topic"], one["client"], one["payload"]) for one in await messages(gateway, 4)]
        topic = "plant/cellar/air-1"
        assert sorted(found) == [
            (f"barn/{topic}", "barn@127.0.0.1", "3"),
            (f"barn/{topic}", "barn@127.0.0.1", "4"),
            (f"house/{topic}", "house@127.0.0.1", "1"),
            (f"house/{topic}", "house@127.0.0.1", "2"),
        ]

    tell(story)


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
                    await until(lambda: desk.taken)
                    await _say(
                        peer, 2, Publish("plant/new", b"new", 1, False, {**travels, Property.message_expiry: 90})
                    )
                    await _say(peer, 3, Publish("plant/new", "bär".encode(), 1))
                    await until(lambda: len(desk.taken) == 3)
            old, new, last = desk.taken
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


@ways
def test_nobody_there_and_nobody_welcome(client: str, protocol: str, loop: str, tmp_path: Path) -> None:
    async def story() -> None:
        port = free_port()
        need("mosquitto_passwd", "mosquitto")
        secret = tmp_path / "secret"
        secret.write_text("wrong\n")
        own: dict[str, Any] = {"protocol": protocol, "client": client}
        async with house(tmp_path / "data") as (gateway, _):

            async def refused(**more: Any) -> str:
                with pytest.raises((LinkLost, DeviceRefused)) as found:
                    await Reader(source(port, **own, **more), gateway.ingest, gateway.log, "test").run()
                assert isinstance(found.value, DeviceRefused) == ("listens" not in str(found.value))
                return str(found.value)

            assert await refused() == f"127.0.0.1:{port}: nobody listens there: is the broker running?"
            passwords = tmp_path / "passwords"
            passwords.touch()
            made = await asyncio.create_subprocess_exec("mosquitto_passwd", "-b", str(passwords), "anna", "right")
            assert await made.wait() == 0
            with mosquitto(tmp_path, port, f"password_file {passwords}", "allow_anonymous false"):
                assert "check username, password_file" in await refused()
                named = {"username": "anna", "password_file": str(secret)}
                assert "user anna" in (text := await refused(**named))
                assert "check username" in text
                assert "password_file: " in await refused(username="anna", password_file=str(tmp_path / "none"))
                secret.write_text("right\n")
                async with reader(source(port, **own, **named), Desk(), gateway):
                    pass

    tell(story, loop)
    assert not _open


@clients
def test_a_wrong_password_is_said_with_its_cure(client: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        port = free_port()
        (tmp_path / "passwords").write_text("")
        with mosquitto(tmp_path, port, f"password_file {tmp_path / 'passwords'}", "allow_anonymous false"):
            async with house(tmp_path / "data", source=[source(port, client=client, username="anna")]):
                await until(lambda: "check username, password_file" in caplog.text)

    tell(story)
    assert "nothing comes from there until that is done; trying again every 5 min" in caplog.text


REFUSED = [
    (0x80, "it doesn't let us subscribe to plant/#: check its access list"),
    (0x87, "it doesn't let us subscribe to plant/#: check its access list"),
    (0x9E, "it has no shared subscriptions: take $share/.../ out of plant/#"),
    (0xA2, "it has no wildcards: name the topics instead of plant/#"),
]


@ways
@pytest.mark.parametrize(("code", "said"), REFUSED)
def test_a_refused_subscription(client: str, protocol: str, loop: str, code: int, said: str, tmp_path: Path) -> None:
    """[MQTT-3.9.3-1]: a code per filter; 3.1.1 has one that means no."""
    code, said = (code, said) if protocol == "5.0" else (0x80, REFUSED[0][1])

    async def story() -> None:
        async with house(tmp_path / "data") as (gateway, _), Far(protocol) as far:
            own = source(far.port, protocol=protocol, client=client, topics=["a", "plant/#"])
            running = asyncio.create_task(Reader(own, gateway.ingest, gateway.log, "test").run())
            peer, _asked = await far.meet()
            wanted = await peer.got()
            assert isinstance(wanted, Subscribe)
            peer.send(Suback(wanted.id, [1, code]))
            with pytest.raises(DeviceRefused) as found:
                await asyncio.wait_for(running, 10)
            assert str(found.value) == f"127.0.0.1:{far.port}: {said}"

    tell(story, loop)


@ways
def test_less_than_we_asked_for_is_said(
    client: str, protocol: str, loop: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with house(tmp_path / "data") as (gateway, _), Far(protocol) as far:
            made = Reader(source(far.port, protocol=protocol, client=client), gateway.ingest, gateway.log, "test")
            running = asyncio.create_task(made.run())
            peer, _asked = await far.meet()
            wanted = await peer.got()
            assert isinstance(wanted, Subscribe)
            peer.send(Suback(wanted.id, [0]))
            await until(lambda: made.connected)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    tell(story, loop)
    assert "gives plant/# at QoS 0 only: what comes while we are away is lost" in caplog.text


CONNACKS = [
    ("3.1.1", 2, "it doesn't accept the client id redcar-test-site: set client_id to one that it does"),
    ("3.1.1", 3, "it doesn't take connections now: Server unavailable"),
    ("3.1.1", 4, "it doesn't accept user (none) with this password: check username and password_file"),
    ("3.1.1", 5, "it doesn't let user (none) in: check username, password_file and its access list"),
    ("5.0", 0x84, "it doesn't speak MQTT 5.0: change protocol"),
    ("5.0", 0x85, "it doesn't accept the client id redcar-test-site: set client_id to one that it does"),
    ("5.0", 0x86, "it doesn't accept user (none) with this password: check username and password_file"),
    ("5.0", 0x88, "it doesn't take connections now: Server unavailable"),
    ("5.0", 0x8A, "it has banned us: ask those who run it"),
    ("5.0", 0x97, "it doesn't take connections now: Quota exceeded"),
]


@clients
@pytest.mark.parametrize(("protocol", "code", "said"), CONNACKS)
def test_refused_at_the_door(client: str, protocol: str, code: int, said: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path / "data") as (gateway, _), Far(protocol) as far:
            own = source(far.port, protocol=protocol, client=client)
            running = asyncio.create_task(Reader(own, gateway.ingest, gateway.log, "test").run())
            await far.meet(Connack(False, code))
            with pytest.raises((DeviceRefused, LinkLost)) as found:
                await asyncio.wait_for(running, 10)
            assert str(found.value) == f"127.0.0.1:{far.port}: {said}"
            assert isinstance(found.value, LinkLost) == ("now" in said)

    tell(story)


# TLS


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of ours, for localhost, and a client's."""
    need("openssl", "openssl")
    folder = tmp_path_factory.mktemp("tls")
    assert main(["tls", "init", "--folder", str(folder)]) == 0
    assert main(["tls", "client", "kitchen", "--folder", str(folder)]) == 0
    return folder


@ways
def test_tls(client: str, protocol: str, loop: str, tls: Path, tmp_path: Path) -> None:
    async def story() -> None:
        port, plain = free_port(), free_port()
        lines = [f"certfile {tls}/server.crt", f"keyfile {tls}/server.key", f"cafile {tls}/ca.crt"]
        lines += ["require_certificate true", "use_identity_as_username true"]
        lines += [f"listener {port} 127.0.0.2", *lines, f"listener {plain} 127.0.0.1"]
        files = {name: str(tls / file) for name, file in {"ca": "ca.crt", **OWN}.items()}
        own: dict[str, Any] = {"host": "localhost", "tls": True, "protocol": protocol, "client": client}
        with mosquitto(tmp_path, port, "allow_anonymous true", *lines):
            async with house(tmp_path / "data", binding=[CLAIM]) as (gateway, _):
                good = source(port, **own, **files)
                made = Reader(good, gateway.ingest, gateway.log, "test")
                running = asyncio.create_task(made.run())
                await until(lambda: made.connected or running.done())
                await send(plain, *numbered(0, 200))
                assert await all_of(gateway, set(range(200))) == list(range(200))
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                assert often(tmp_path, "u'kitchen'")

                async def refused(kind: Any, words: str, **more: Any) -> None:
                    config = source(**{"port": port, **own, **files, **more})
                    made = Reader(config, gateway.ingest, gateway.log, "test")
                    with pytest.raises(kind, match=words):
                        await asyncio.wait_for(made.run(), 20)

                await refused(DeviceRefused, "isn't to be trusted .*: set ca to the file of the authority", ca=None)
                await refused(DeviceRefused, "is for another (name|address): set host to the name", host="127.0.0.2")
                await refused(LinkLost, "it doesn't take up TLS .*: is that its port for TLS?", port=plain)
                await refused(DeviceRefused, "ca: .*: name a PEM file", ca=str(tls / "none.crt"))
                wanted = "(want a certificate of ours|wants a certificate that it accepts).* set certificate and key"
                await refused((DeviceRefused, LinkLost), wanted, certificate=None, key=None)

    tell(story, loop)


OWN = {"certificate": "client-kitchen.crt", "key": "client-kitchen.key"}


# The configuration

TABLE = '[[source]]\nname = "site"\nhost = "broker.lan"\n'
TOPICS = 'topics = ["plant/#"]\n'


def test_in_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "redcar.toml"
    file.write_text(TABLE + TOPICS)
    (made,) = load(file).source
    assert isinstance(made, Config)
    assert (made.where, made.qos, made.client) == ("broker.lan:1883", 1, "paho")
    file.write_text(TABLE + TOPICS + 'client = "own"\n')
    (made,) = load(file).source
    assert isinstance(made, Config)
    assert made.client == "own"


def test_secrets_are_nobody_elses_business(tmp_path: Path) -> None:
    for name in ("password", "key", "crt"):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o644)
    file = tmp_path / "redcar.toml"
    named = 'username = "anna"\npassword_file = "password"\ntls = true\ncertificate = "crt"\nkey = "key"\n'
    file.write_text(TABLE + TOPICS + named)
    with pytest.raises(ConfigError) as found:
        load(file)
    assert [(fault.place, fault.problem) for fault in found.value.faults] == [
        ("source[1].password_file", "everybody can read 'password'"),
        ("source[1].key", "everybody can read 'key'"),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("prt = 5", "source[1].prt: nobody knows this name: did you mean port?"),
        ('client = "ownn"', "source[1].client: 'ownn' isn't a choice here: did you mean own?"),
        ('client = "mosquitto"', 'source[1].client: \'mosquitto\' isn\'t a choice here: write "paho" or "own"'),
        ('topics = ["a/#/b"]', "source[1].topics[1]: # isn't last in 'a/#/b'"),
    ],
)
def test_faults_in_the_configuration(line: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "redcar.toml"
    file.write_text(TABLE + (line if "topics" in line else TOPICS + line) + "\n")
    with pytest.raises(ConfigError) as found:
        load(file)
    assert said in str(found.value)
