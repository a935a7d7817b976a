"""TLS handshakes that fail: each is said in the journal once, with a remedy, whatever event loop runs."""

import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateway.cli import main
from gateway.hub import encode
from gateway.hub.certificates import Unusable, context, ends
from gateway.hub.doors import Door
from gateway.hub.limits import Limits
from gateway.hub.packets import V5, V311, Connack, Connect
from gateway.hub.reasons import Reason
from tests.hub.peers import Desk, Peer, enter, farewell, hub_at, knock, say, until
from tests.hub.test_clients import _mosquitto, ended, run
from tests.parts import need

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
loops = pytest.mark.parametrize("loop", LOOPS)

Story = Callable[[], Coroutine[Any, Any, None]]


def tell(story: Story, loop: str) -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(story())


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ours in tls, a stranger's in other."""
    need("openssl", "openssl")
    folder = tmp_path_factory.mktemp("made")
    for one in ("tls", "other"):
        assert main(["tls", "init", "--folder", str(folder / one)]) == 0
        for name in ("kitchen", "attic"):
            assert main(["tls", "client", name, "--folder", str(folder / one)]) == 0
    _age(folder / "tls")
    return folder


def _age(folder: Path) -> None:
    """client-old and client-young: certificates of ours for yesterday and for tomorrow."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    authority = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    signer = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    now, day = datetime.now(UTC), timedelta(days=1)
    for name, begin, end in (("old", now - 2 * day, now - day), ("young", now + day, now + 2 * day)):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        made = x509.CertificateBuilder(authority.subject, subject, key.public_key(), x509.random_serial_number())
        signed = made.not_valid_before(begin).not_valid_after(end).sign(signer, hashes.SHA256())
        form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        (folder / f"client-{name}.crt").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        (folder / f"client-{name}.key").write_bytes(key.private_bytes(*form))


def listening(folder: Path, mutual: bool = False, **more: Any) -> Door:
    files: dict[str, Any] = {"certificate": "server.crt", "key": "server.key"}
    if mutual:
        files |= {"client_ca": "ca.crt", "client_crl": "revoked.crl"}
    return Door(**(more | {name: str(folder / file) for name, file in files.items()}))


async def come(port: int, trusted: Path, own: Path | None = None, host: str = "localhost") -> Peer:
    """Shake hands; ``own``: certificate and key without their ending."""
    settings = ssl.create_default_context(cafile=str(trusted / "ca.crt"))
    if own:
        settings.load_cert_chain(f"{own}.crt", f"{own}.key")
    return Peer(V5, *await asyncio.open_connection("127.0.0.1", port, ssl=settings, server_hostname=host))


async def turned_away(port: int, trusted: Path, own: Path | None = None, host: str = "localhost") -> None:
    """As most clients do it: a failure is told in an alert, which asyncio's own client keeps to itself."""

    def knock() -> None:
        settings = ssl.create_default_context(cafile=str(trusted / "ca.crt"))
        if own:
            settings.load_cert_chain(f"{own}.crt", f"{own}.key")
        with (
            socket.create_connection(("127.0.0.1", port), 10) as plain,
            settings.wrap_socket(plain, server_hostname=host) as end,
        ):
            end.send(CONNECT)
            if not end.recv(1):  # TLS 1.3 tells the client with its first read
                raise ConnectionResetError

    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.to_thread(knock)


CONNECT = b"\x10\x0d\0\4MQTT\4\2\0\x3c\0\1c"
GET = b"GET /mqtt HTTP/1.1\r\nHost: gateway\r\n\r\n"

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
            port = await hub.listen(door=listening(tls / "tls", mutual))
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
            port = await hub.listen(door=listening(tls / "tls", websocket=web) if safe else Door(websocket=web))
            if wire:
                peer = await knock(port)
                peer.writer.write(wire)
                await peer.reader.read()  # an alert in TLS, or nothing
            else:
                await turned_away(port, tls / "tls")
            await until(lambda: not hub.connections)
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
            port = await hub.listen(door=listening(tls / "tls"))
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
            port = await hub.listen(door=listening(tls / "tls"))
            peer = await knock(port)
            peer.writer.write(_hello()[:size])
            await until(lambda: hub.status().connections == 1)
            assert await peer.reader.read() == b""
            await until(lambda: not hub.connections)
            assert caplog.messages == [
                "127.0.0.1: a client is disconnected: "
                f"no whole CONNECT came in time: 127.0.0.1:{port} is for MQTT in TLS"
            ]

    tell(story, loop)


@loops
def test_who_leaves_in_the_midst_of_it(loop: str, tls: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with hub_at(Desk()) as (hub, _):
            port = await hub.listen(door=listening(tls / "tls"))
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
            port = await hub.listen(door=listening(tls / "tls"))
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
            port = await hub.listen(door=listening(tls / "tls", mutual=True))
            own: tuple[str, ...] = ("--cafile", str(tls / "tls" / "ca.crt"), "-t", "kitchen/a", "-m", "x", "-q", "1")
            pub = await run(*_mosquitto("mosquitto_pub", port, V5, *own))
            _, said = await asyncio.wait_for(pub.communicate(), 30)
            assert pub.returncode
            assert said, "not without a word"
            kitchen = str(tls / "tls" / "client-kitchen")
            own += ("--cert", f"{kitchen}.crt", "--key", f"{kitchen}.key")
            await ended(await run(*_mosquitto("mosquitto_pub", port, V5, *own)))

    tell(story, loop)


@loops
@pytest.mark.parametrize("web", [False, True])
def test_large_packets_both_ways(web: bool, loop: str, tls: Path) -> None:
    """Many records per packet, and many packets per record."""

    async def story() -> None:
        import paho.mqtt.client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        desk = Desk()
        async with hub_at(desk) as (hub, _):
            port = await hub.listen(door=listening(tls / "tls", websocket=web))
            client = paho.Client(CallbackAPIVersion.VERSION2, transport="websockets" if web else "tcp")
            client.tls_set(str(tls / "tls" / "ca.crt"))
            got: list[bytes] = []
            client.on_message = lambda client, data, message: got.append(bytes(message.payload))
            client.on_connect = lambda client, *_: client.subscribe("big/#", 1)
            client.connect_async("localhost", port)
            client.loop_start()
            try:
                await until(lambda: hub.status().subscriptions == 1)
                sent = [bytes((n % 256,)) * size for n, size in enumerate([1, 16_384, 200_000] + [10] * 500)]
                for one in sent:
                    client.publish("big/x", one, 1)
                await until(lambda: len(got) == len(sent))
                assert got == sent
            finally:
                client.disconnect()
                await asyncio.to_thread(client.loop_stop)

    tell(story, loop)


@loops
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_resumed_session_is_the_same_user(newest: ssl.TLSVersion, loop: str, tls: Path) -> None:
    """Microcontrollers save the second handshake; the certificate isn't sent again then."""

    async def story() -> None:
        desk = Desk()
        async with hub_at(desk) as (hub, _):
            port = await hub.listen(door=listening(tls / "tls", mutual=True))
            settings = ssl.create_default_context(cafile=str(tls / "tls" / "ca.crt"))
            settings.load_cert_chain(tls / "tls" / "client-kitchen.crt", tls / "tls" / "client-kitchen.key")
            settings.maximum_version = newest

            def visit(session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool | None]:
                with (
                    socket.create_connection(("127.0.0.1", port), 10) as plain,
                    settings.wrap_socket(plain, server_hostname="localhost", session=session) as end,
                ):
                    end.send(CONNECT + encode.encode(say("kitchen/a"), V311))
                    wire = b""
                    while len(wire) < 8:
                        wire += end.recv(100)
                    assert wire == b"\x20\2\0\0\x40\2\0\1"
                    return end.session, end.session_reused

            session, _ = await asyncio.to_thread(visit, None)
            _, reused = await asyncio.to_thread(visit, session)
            assert reused
            assert [one.user for one in desk.messages] == ["kitchen", "kitchen"]

    tell(story, loop)


def test_a_certificate_is_the_user_inside_websocket_too(tls: Path) -> None:
    async def story() -> None:
        import paho.mqtt.client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        desk = Desk()
        async with hub_at(desk) as (hub, _):
            port = await hub.listen(door=listening(tls / "tls", mutual=True, websocket=True))
            client = paho.Client(CallbackAPIVersion.VERSION2, transport="websockets")
            own = tls / "tls" / "client-attic"
            client.tls_set(str(tls / "tls" / "ca.crt"), f"{own}.crt", f"{own}.key")
            client.connect_async("localhost", port)
            client.loop_start()
            try:
                client.publish("attic/a", b"x", 1)
                await until(lambda: desk.messages)
                assert desk.messages[0].user == "attic"
            finally:
                client.disconnect()
                await asyncio.to_thread(client.loop_stop)

    asyncio.run(story())


@contextmanager
def copied(folder: Path, to: Path) -> Iterator[Path]:
    shutil.copytree(folder / "tls", to)
    yield to


@loops
def test_a_revoked_certificate_lets_in_no_more(
    loop: str, tls: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        with copied(tls, tmp_path / "tls") as folder:
            for end in ("crt", "key"):
                shutil.copy(folder / f"client-kitchen.{end}", tmp_path / f"stolen.{end}")
            async with hub_at(Desk()) as (hub, _):
                port = await hub.listen(door=listening(folder, mutual=True))
                thief = await entered(port, folder, tmp_path / "stolen")
                attic = await entered(port, folder, folder / "client-attic")
                assert main(["tls", "revoke", "kitchen", "--folder", str(folder)]) == 0
                assert await farewell(thief) == Reason.ADMINISTRATIVE_ACTION
                assert await farewell(attic) == Reason.ADMINISTRATIVE_ACTION
                caplog.clear()
                await turned_away(port, folder, tmp_path / "stolen")
                assert [one for one in caplog.messages if "its certificate is revoked: if it may come in again" in one]
                await entered(port, folder, folder / "client-attic")
                assert main(["tls", "client", "kitchen", "--folder", str(folder)]) == 0
                await entered(port, folder, folder / "client-kitchen")
                await turned_away(port, folder, tmp_path / "stolen")

    tell(story, loop)


async def entered(port: int, folder: Path, own: Path) -> Peer:
    peer = await come(port, folder, own)
    peer.send(Connect(f"c-{own.name}", V5))
    answer = await peer.got()
    assert isinstance(answer, Connack)
    assert answer.reason == 0
    return peer


def test_revoking_what_nobody_has(tls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with copied(tls, tmp_path / "tls") as folder:
        assert main(["tls", "revoke", "cellar", "--folder", str(folder)]) == 1
        assert "holds no certificate of cellar that isn't revoked already" in capsys.readouterr().err


def test_files_that_are_no_use(tls: Path, tmp_path: Path) -> None:
    ours, other = tls / "tls", tls / "other"
    junk = tmp_path / "junk.crt"
    junk.write_text("no certificate")
    locked = tmp_path / "locked.key"
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key((ours / "server.key").read_bytes(), None)
    secret = serialization.BestAvailableEncryption(b"pw")
    locked.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret))
    server, own = str(ours / "server.crt"), str(ours / "server.key")
    table = [
        ((server, str(other / "server.key"), None, None), "don't belong together: name the key of this certificate"),
        ((str(junk), None, None, None), "can't be used for TLS: it isn't PEM: make certificates with \"redcar tls in"),
        ((server, str(tmp_path / "none"), None, None), "can't be read (no such file or directory): make certificates"),
        ((server, str(locked), None, None), "needs a password: store the key without one: openssl pkey -in OLD -out"),
        ((server, own, str(junk), None), "junk.crt can't be used for TLS: it isn't PEM"),
        ((server, own, str(ours / "ca.crt"), str(junk)), "junk.crt can't be used for TLS: it isn't PEM"),
    ]
    for files, said in table:
        with pytest.raises(Unusable) as caught:
            context(*files)
        assert said in str(caught.value)


@pytest.mark.parametrize("years", [1, 30])
def test_until_when_a_certificate_lasts(years: int, tmp_path: Path) -> None:
    """Up to 2049 in two digits, later in four (RFC 5280, 4.1.2.5)."""
    from cryptography import x509

    file = tmp_path / "x.crt"
    one = (
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        str(tmp_path / "key"),
        "-out",
        str(file),
    )
    subprocess.run([*one, "-days", str(365 * years), "-subj", "/CN=x"], check=True, capture_output=True)
    assert ends(str(file)) == x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc


def test_a_certificate_that_ends_soon_is_said_once_a_day(tls: Path, caplog: pytest.LogCaptureFixture) -> None:
    door = listening(tls / "tls")
    door.prepare()
    end = ends(str(door.certificate))
    day = 86_400_000_000
    last = int(end.timestamp() * 1e6)
    for now in (last - 31 * day, last - 20 * day, last - 20 * day + 1, last - 19 * day, last + 1):
        door.refresh(now)
    cure = "delete it and run redcar tls init, or renew it your way"
    assert caplog.messages == [
        f"127.0.0.1:0: {door.certificate} ends in 20 days, then clients turn away: {cure}",
        f"127.0.0.1:0: {door.certificate} ends in 19 days, then clients turn away: {cure}",
        f"127.0.0.1:0: {door.certificate} has ended on {end.date()}: clients turn away: {cure}",
    ]
