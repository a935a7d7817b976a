"""Who isn't let in by a broker, or gets less than it wants, is told why and what to do; by both clients, and by the checker."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.config import load
from gateway.errors import ConfigError, DeviceRefused, LinkLost
from gateway.hub.packets import Connack, Suback, Subscribe
from gateway.sinks._broker import unreached
from gateway.sources.mqtt import Config, Reader
from tests.brokers import mosquitto, often
from tests.hub.house import house
from tests.hub.peers import Desk, _open
from tests.parts import free_port, need, stop, tell, until
from tests.sources.far import Far
from tests.sources.site import CLAIM, all_of, clients, numbered, reader, send, source, ways


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

    asyncio.run(story())
    assert "nothing comes from there until that is done; trying again every 5 min" in caplog.text


def test_a_name_that_nobody_knows() -> None:
    error = unreached(source(1883, host="broker.lan"), socket.gaierror(-2, "Name or service not known"))
    assert str(error) == "broker.lan:1883: name or service not known: check host, and this machine's DNS"
    assert error.retry


def test_the_status_says_which_source_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def story() -> None:
        async def said() -> str:
            await asyncio.to_thread(main, ["status", "--data", str(tmp_path / "data")])
            return capsys.readouterr().out

        async with Far("5.0") as far:
            port = free_port()
            both = [source(far.port, name="far"), source(port, name="none")]
            async with house(tmp_path / "data", source=both) as (gateway, _):
                await far.subscribed()
                await until(lambda: gateway.readers[0].connected and gateway.readers[1].problem)
                text = await said()
                assert "source    far: connected\n" in text
                assert f"source    none: 127.0.0.1:{port}: nobody listens there: is the broker running?\n" in text
                assert text.endswith("health    the log is well\n")

    asyncio.run(story())


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
            await stop(running)

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

    asyncio.run(story())


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
                await stop(running)
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
                bare = dict.fromkeys(("ca", "certificate", "key"), None)
                await refused(LinkLost, "broke off before it answered: is that its port for TLS", tls=False, **bare)
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
        ('tls = true\nca = "none.crt"', "source[1].ca: 'none.crt' can't be found: correct its name"),
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
