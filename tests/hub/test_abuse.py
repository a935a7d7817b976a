"""Many at once, guessers, and clients that put each other out: bounded, and others notice nothing."""

import asyncio
import gc
import ssl
import subprocess
import weakref
from pathlib import Path
from random import Random

import pytest

from gateway.hub.access import Access, Refused
from gateway.hub.burden import heaviest
from gateway.hub.doors import Door
from gateway.hub.guests import Guesses, Guests
from gateway.hub.inlet import Publish
from gateway.hub.limits import Limits
from gateway.hub.packets import V311, Ack, Connack, Connect, Delivery
from gateway.hub.properties import Kind
from gateway.hub.reasons import Reason
from gateway.hub.retained import Retained
from gateway.hub.users import add_user
from gateway.settings import Access as Settled
from tests.hub import fuzz, siege
from tests.hub.house import house
from tests.hub.peers import Desk, Peer, enter, hub_at, knock, say
from tests.parts import need, until


def test_a_short_fuzz() -> None:
    rng = Random(20261121)
    for _ in range(3):
        room = fuzz.Room(rng)
        for _ in range(1500):
            room.step()
        room.close()
        fuzz.websocket(rng)
        assert room.errors > 100


def test_a_short_siege() -> None:
    assert asyncio.run(siege.lay(Random(20261121), 600)) == 600


def test_junk_on_sockets_gives_every_slot_back() -> None:
    async def story() -> None:
        rng = Random(7)
        room = fuzz.Room(rng)
        async with hub_at(Desk()) as (hub, port):
            neighbour = await enter(port, id="neighbour")
            for _ in range(150):
                peer = await knock(port)
                if rng.random() < 0.7:
                    peer.writer.write(rng.choice(fuzz.CONNECTS))
                peer.writer.write(b"".join(room.chunk() for _ in range(5)))
                await asyncio.sleep(0)
                await peer.close()
            await until(lambda: len(hub.connections) == 1)
            assert await neighbour.silent()
            assert set(hub.broker.members) == {"neighbour"}
            assert not hub.guests

    asyncio.run(story())


def test_guests_are_counted_by_address() -> None:
    guests = Guests(Limits(per_address=3, strangers=2), lambda: 0.0)
    assert guests.enter("10.0.0.1") is None
    guests.known("10.0.0.1")
    assert guests.enter("10.0.0.1") is None
    assert guests.enter("10.0.0.1") is None
    assert "not said who they are" in (
        guests.enter("10.0.0.2") or guests.enter("10.0.0.2") or guests.enter("10.0.0.2") or ""
    )
    assert "connected already" in (guests.enter("10.0.0.1") or "")
    for known in (True, False, False, False):
        guests.leave("10.0.0.1", known)
    for _ in range(3):
        guests.leave("10.0.0.2", False)
    assert not guests


def test_arrivals_are_counted_by_address_and_minute() -> None:
    now = 0.0
    guests = Guests(Limits(arrivals=3), lambda: now)

    def arrive(address: str) -> str | None:
        why = guests.enter(address)
        guests.leave(address, known=False)
        return why

    assert [arrive("10.0.0.1") for _ in range(3)] == [None] * 3
    assert "3 connections from this address within a minute" in (arrive("10.0.0.1") or "")
    assert arrive("10.0.0.2") is None
    now = 60.0
    assert [arrive("10.0.0.1") for _ in range(3)] == [None] * 3
    assert arrive("10.0.0.1")


def test_whoever_comes_and_goes_is_turned_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On the wire; loopback, which isn't counted, is taken for another machine."""
    monkeypatch.setattr("gateway.hub.guests.is_loopback", lambda address: False)

    async def story() -> None:
        async with hub_at(Desk(), Limits(arrivals=5)) as (hub, port):
            inside = await enter(port)
            for _ in range(4):
                await (await enter(port, id="other")).close()
            late = await knock(port)
            assert await late.got() is None
            assert await inside.silent()
            await until(lambda: len(hub.connections) == 1)

    asyncio.run(story())
    assert "turned away: 5 connections from this address within a minute: does it come and go" in caplog.text


def test_guessing_is_paused_for_that_user_from_there_only(tmp_path: Path) -> None:
    async def story() -> None:
        users = tmp_path / "users"
        for name in ("kitchen", "cellar"):
            add_user(users, name, "right")
        access = Access(users, limits=Limits(wrong=3))
        for n in range(5):
            with pytest.raises(Refused) as refused:
                await access.admit("kitchen", b"wrong", "10.0.0.1")
            assert refused.value.reason == (Reason.BAD_USER_OR_PASSWORD if n < 3 else Reason.BANNED)
        with pytest.raises(Refused, match="a minute"):
            await access.admit("kitchen", b"right", "10.0.0.1")
        assert await access.admit("kitchen", b"right", "10.0.0.2") == "kitchen"
        assert await access.admit("cellar", b"right", "10.0.0.1") == "cellar"
        access.close()

    asyncio.run(story())


def test_a_minute_later_it_is_looked_at_again() -> None:
    now = 0.0
    guesses = Guesses(2, lambda: now)
    guesses.wrong("a", "u")
    guesses.wrong("a", "u")
    assert guesses.too_many("a", "u")
    now = 60.0
    assert not guesses.too_many("a", "u")


def test_retained_per_user() -> None:
    retained = Retained(Limits(retained_per_user=2))
    for n in range(4):
        message = Publish(f"a/{n}", b"x", 0, True, None, "c", "u")
        retained.changes([message])
        retained.settle([message])
    assert (len(retained), retained.refused) == (2, 2)
    gone = Publish("a/0", b"", 0, True, None, "c", "u")
    retained.settle([gone])
    retained.settle([Publish("a/9", b"x", 0, True, None, "c", "u")])
    assert len(retained) == 2


def test_a_thousand_clients_after_a_power_cut(tmp_path: Path) -> None:
    """All are let in, all are acknowledged, all is in the log."""

    async def client(port: int, n: int) -> None:
        peer = await knock(port, V311)
        peer.send(Connect(f"device-{n}", V311, keep_alive=60), Delivery(Publish("a", str(n).encode(), 1), 1))
        assert await peer.got() == Connack()
        assert await peer.got() == Ack(Kind.PUBACK, 1)

    async def story() -> None:
        async with house(tmp_path) as (gateway, port):
            await asyncio.gather(*(client(port, n) for n in range(1000)))
            assert gateway.hub.status().clients == 1000
            events = await gateway.log.read(1, limit=5000)
            assert {one.data["payload"] for one in events if one.type == "message"} == {str(n) for n in range(1000)}

    asyncio.run(story())


@pytest.mark.parametrize("made", [True, False])
def test_everybody_with_a_password_of_its_own_after_a_power_cut(made: bool, tmp_path: Path) -> None:
    """Passwords that were made are let in at once; with those that people think up it takes its time, and works."""
    count = 200 if made else 12
    for n in range(count):
        add_user(tmp_path / "users", f"device-{n}", f"secret-{n}", made=made)

    async def client(port: int, n: int) -> None:
        peer = await knock(port, V311)
        hello = Connect(f"device-{n}", V311, keep_alive=60, user=f"device-{n}", password=f"secret-{n}".encode())
        peer.send(hello, Delivery(Publish(f"device-{n}/a", b"x", 1), 1))
        assert await peer.got() == Connack()
        assert await peer.got() == Ack(Kind.PUBACK, 1)

    async def story() -> None:
        async with house(tmp_path, access=Settled(users=str(tmp_path / "users"))) as (gateway, port):
            await asyncio.gather(*(client(port, n) for n in range(count)))
            assert gateway.hub.status().clients == count

    asyncio.run(story())


def test_everybody_by_tls_after_a_power_cut(tmp_path: Path) -> None:
    openssl = need("openssl", "openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    kind = ("-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=localhost")
    subprocess.run([openssl, "req", *kind, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    trusting = ssl.create_default_context(cafile=str(certificate))

    async def client(port: int, n: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="localhost")
        peer = Peer(V311, reader, writer)
        peer.send(Connect(f"device-{n}", V311, keep_alive=60), Delivery(Publish("a", b"x", 1), 1))
        assert await peer.got() == Connack()
        assert await peer.got() == Ack(Kind.PUBACK, 1)

    async def story() -> None:
        async with house(tmp_path) as (gateway, _):
            port = await gateway.hub.listen(Door(certificate=str(certificate), key=str(key)))
            await asyncio.gather(*(client(port, n) for n in range(200)))
            assert gateway.hub.status().clients == 200

    asyncio.run(story())


def test_two_of_one_client_id_in_a_loop(caplog: pytest.LogCaptureFixture) -> None:
    """They put each other out; nobody else notices, nothing is left of them, and the journal names them without being flooded."""

    async def story() -> None:
        async with hub_at(Desk()) as (hub, port):
            neighbour = await enter(port, id="neighbour")
            for _ in range(100):
                await enter(port, id="twin")
            await until(lambda: len(hub.connections) == 2)
            assert await neighbour.silent()
            assert hub.status().refused == 99

    asyncio.run(story())
    said = (
        "client 'twin' is disconnected: another connection came with this client id: if it isn't the same device, give"
    )
    assert 1 <= caplog.text.count(said) <= 10


def test_who_weighs_most_goes_first() -> None:
    weights = {"a": 10, "b": 50, "c": 30}
    assert heaviest(weights, 90) == []
    assert heaviest(weights, 40) == ["b"]
    assert heaviest(weights, 39) == ["b", "c"]
    assert heaviest(weights, 0) == ["b", "c", "a"]


@pytest.mark.parametrize("wire", [b"\x30\x90\x4e\0\1a" + bytes(9_990), None])
def test_what_all_clients_make_us_hold_is_bounded(wire: bytes | None, caplog: pytest.LogCaptureFixture) -> None:
    """Half packets, and QoS 2 messages that are never released. Those who hold most go; the neighbour stays."""
    caplog.set_level("WARNING")

    async def story() -> None:
        async with hub_at(Desk(), Limits(held=50_000)) as (hub, port):
            neighbour = await enter(port, V311, "neighbour")
            enemies = [await enter(port, V311, f"enemy-{n}") for n in range(8)]
            for enemy in enemies:
                if wire:
                    enemy.writer.write(wire)
                else:
                    enemy.send(*(say(qos=2, id=id) for id in range(1, 90)))
            await until(lambda: len(hub.connections) < 9)
            await until(lambda: sum(one.weight for one in hub.connections) <= 50_000)
            assert await neighbour.silent()
            assert len(hub.connections) >= 5, "no more than have to go"

    asyncio.run(story())
    assert "bytes, and all clients too many: if they are yours, raise held under [limits]" in caplog.text


def test_topics_known_for_a_client_go_with_it(tmp_path: Path) -> None:
    """Where rules are by client id, each client has its own; what it leaves behind would never end."""
    acl = tmp_path / "acl.toml"
    acl.write_text('[[rule]]\nusers = [""]\npublish = ["%c/#"]\n')

    async def story() -> None:
        async with hub_at(Desk(), access=Access(acl=acl)) as (hub, port):
            for n in range(5):
                peer = await enter(port, id=f"c{n}")
                peer.send(say(f"c{n}/a"))
                assert isinstance(await peer.got(), Ack)
                assert len(hub.access._known) == 1
                await peer.close()
                await until(lambda: not hub.connections)
                gc.collect()
            assert len(hub.access._known) == 0

    asyncio.run(story())


@pytest.mark.parametrize("websocket", [False, True])
@pytest.mark.parametrize("wire", [b"\x10\xff\xff\x7f", b"\x30\x05\0\3a", fuzz.CONNECTS[0] + b"\0\0", fuzz.CONNECTS[0]])
def test_whoever_goes_leaves_nothing_behind(wire: bytes, websocket: bool) -> None:
    """The garbage collector comes round rarely; half a packet that waits for it is memory that an enemy fills."""

    async def story() -> None:
        async with hub_at(Desk()) as (hub, port):
            port = await hub.listen(Door(websocket=True)) if websocket else port
            peer = await knock(port)
            if websocket:
                ask = "GET /mqtt HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                ask += "Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
                peer.writer.write(ask.encode() + bytes((0x82, 0x80 | len(wire))) + bytes(4) + wire)
            else:
                peer.writer.write(wire)
            await until(lambda: hub.connections)
            (connection,) = hub.connections
            gone = weakref.ref(connection)
            del connection
            peer.writer.close()
            await until(lambda: not hub.connections)
            await until(lambda: gone() is None)

    gc.collect()
    gc.disable()
    try:
        asyncio.run(story())
    finally:
        gc.enable()
