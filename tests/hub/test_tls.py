"""TLS handshakes that fail: each is said in the journal once, with a remedy, whatever event loop runs."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from gateway.hub.doors import Door
from gateway.hub.limits import Limits
from gateway.hub.packets import V5, V311
from tests.hub.peers import Desk, enter, hub_at, knock
from tests.hub.programs import Paho, ended, mosquitto, run
from tests.hub.tls import CONNECT, GET, listening, turned_away
from tests.parts import loops, need, tell, until

FAILED = [
    (
        "our CA unknown",
        False,
        "other",
        None,
        "localhost",
        "it doesn't know the CA of our certificate: give it the CA's",
    ),
    ("another name", False, "tls", None, "hub.lan", "it doesn't accept our certificate: connect to a name that redcar"),
    ("none shown", True, "tls", None, "localhost", "it shows no certificate: give it one: redcar tls client NAME"),
    ("of another CA", True, "tls", "other/client-kitchen", "localhost", "is of a CA that client_ca doesn't hold: make"),
    ("expired", True, "tls", "tls/client-old", "localhost", "its certificate has expired: make it another: redcar tls"),
    ("not yet valid", True, "tls", "tls/client-young", "localhost", "isn't valid yet: look at the clocks of both"),
    ("a server's", True, "tls", "tls/server", "localhost", "its certificate isn't one for clients: make it another"),
]


@loops
@pytest.mark.parametrize(("case", "mutual", "trusted", "own", "host", "said"), FAILED, ids=[row[0] for row in FAILED])
def test_certificates(
    case: str,
    mutual: bool,
    trusted: str,
    own: str | None,
    host: str,
    said: str,
    loop: str,
    tls: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        async with hub_at(Desk()) as (hub, _):
            port = await hub.listen(listening(tls / "tls", mutual))
            await turned_away(port, tls / trusted, tls / own if own else None, host)
            await until(lambda: not hub.connections)
            assert caplog.messages[0].startswith(f"127.0.0.1: TLS on 127.0.0.1:{port} failed: ")
            assert said in caplog.messages[0]
            assert len(caplog.messages) == 1
            assert hub.status().connects == 0

    tell(story, loop)


STRANGERS = [
    ("MQTT where TLS is spoken", True, False, CONNECT, "failed: it speaks MQTT without TLS: let it use TLS (mosq"),
    ("HTTP where TLS is spoken", True, False, GET, "failed: it speaks HTTP without TLS: let it use wss:// instead"),
    ("junk where TLS is spoken", True, False, b"\0\1\2\3\4\5\6", "failed: it doesn't speak TLS: see which"),
    ("TLS where MQTT is spoken", False, False, None, "it speaks TLS, this listener doesn't: name a certificate there"),
    ("HTTP where MQTT is spoken", False, False, GET, "it speaks HTTP, this listener MQTT alone: write websocket ="),
    ("TLS where WebSocket is spoken", False, True, None, "it speaks TLS, this listener doesn't: name a certificate"),
    ("MQTT where WebSocket is spoken", False, True, CONNECT, "it speaks MQTT without WebSocket: let it use ws://"),
]


@loops
@pytest.mark.parametrize(("case", "safe", "web", "wire", "said"), STRANGERS, ids=[row[0] for row in STRANGERS])
def test_who_speaks_something_else(
    case: str,
    safe: bool,
    web: bool,
    wire: bytes | None,
    said: str,
    loop: str,
    tls: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        async with hub_at(Desk()) as (hub, _):
            port = await hub.listen(listening(tls / "tls", websocket=web) if safe else Door(websocket=web))
            if wire:
                peer = await knock(port)
                peer.writer.write(wire)
                await peer.reader.read()  # an alert in TLS, or nothing
            else:
                await turned_away(port, tls / "tls")
            await until(lambda: not hub.connections)
            assert hub.status().connects == 0
            assert len(caplog.messages) == 1, caplog.messages
            assert caplog.messages[0].startswith("127.0.0.1: ")
            assert said in caplog.messages[0]
            if not safe and not web:
                assert (await enter(port)).version == V5, "others don't notice"

    tell(story, loop)


@loops
def test_a_tls_of_yore(loop: str, tls: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with hub_at(Desk()) as (hub, _):
            port = await hub.listen(listening(tls / "tls"))
            old = ("-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0")
            await ended(await run(need("openssl", "openssl"), "s_client", "-connect", f"127.0.0.1:{port}", *old), 1)
            await until(lambda: caplog.messages)
            assert "it speaks a TLS older than 1.2: update it, or give it" in caplog.messages[0]

    tell(story, loop)


@loops
@pytest.mark.parametrize("size", [0, 1, 100])
def test_a_handshake_that_stops_is_reaped_and_counted_meanwhile(
    size: int, loop: str, tls: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with hub_at(Desk(), Limits(connect_within=0.2)) as (hub, _):
            port = await hub.listen(listening(tls / "tls"))
            peer = await knock(port)
            peer.writer.write(_hello()[:size])
            await until(lambda: hub.status().connections == 1)
            assert await peer.reader.read() == b""
            await until(lambda: not hub.connections)
            assert caplog.messages == [
                f"127.0.0.1: a client on 127.0.0.1:{port} is disconnected: "
                "no whole CONNECT came in time: this listener is for MQTT in TLS"
            ]

    tell(story, loop)


@loops
def test_who_leaves_in_the_midst_of_it(loop: str, tls: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with hub_at(Desk()) as (hub, _):
            port = await hub.listen(listening(tls / "tls"))
            await (await knock(port)).close()  # a look whether the port is open says nothing
            peer = await knock(port)
            peer.writer.write(_hello())
            assert await peer.reader.read(1)
            await peer.close()
            await until(lambda: not hub.connections)
            assert len(caplog.messages) == 1
            assert "it went away in the midst of the handshake: if it doesn't trust us" in caplog.messages[0]

    tell(story, loop)


def _hello() -> bytes:
    out = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


@loops
def test_many_failures_are_one_line(loop: str, tls: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with hub_at(Desk()) as (hub, _):
            port = await hub.listen(listening(tls / "tls"))
            for _ in range(200):
                end = socket.create_connection(("127.0.0.1", port))
                end.send(CONNECT)
                end.close()
                await asyncio.sleep(0)
            await until(lambda: hub.status().refused == 200)
            assert len(caplog.messages) == 1

    tell(story, loop)


@loops
def test_mosquitto_hears_that_it_needs_a_certificate(loop: str, tls: Path) -> None:
    async def story() -> None:
        async with hub_at(Desk()) as (hub, _):
            port = await hub.listen(listening(tls / "tls", mutual=True))
            own: tuple[str, ...] = ("--cafile", str(tls / "tls" / "ca.crt"), "-t", "kitchen/a", "-m", "x", "-q", "1")
            pub = await run(*mosquitto("mosquitto_pub", port, V5, *own))
            _, said = await asyncio.wait_for(pub.communicate(), 30)
            assert pub.returncode
            assert said, "not without a word"
            kitchen = str(tls / "tls" / "client-kitchen")
            own += ("--cert", f"{kitchen}.crt", "--key", f"{kitchen}.key")
            await ended(await run(*mosquitto("mosquitto_pub", port, V5, *own)))

    tell(story, loop)


@loops
@pytest.mark.parametrize("web", [False, True])
def test_large_packets_both_ways(web: bool, loop: str, tls: Path) -> None:
    """Many records per packet, and many packets per record."""

    async def story() -> None:
        desk = Desk()
        async with hub_at(desk) as (hub, _):
            port = await hub.listen(listening(tls / "tls", websocket=web))
            client = Paho(V311, "c", "websockets" if web else "tcp")
            client.client.tls_set(str(tls / "tls" / "ca.crt"))
            await client.enter(port, "localhost")
            client.client.subscribe("big/#", 1)
            await until(lambda: client.said)
            sent = [bytes((n % 256,)) * size for n, size in enumerate([1, 16_384, 200_000] + [10] * 500)]
            for one in sent:
                client.client.publish("big/x", one, 1)
            await until(lambda: len(client.got) == len(sent))
            assert [one.payload for one in client.got] == sent
            await client.leave()

    tell(story, loop)
