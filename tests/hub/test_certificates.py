"""Certificates of clients: whose they are, when they are revoked; those of the server: usable, and until when."""

import asyncio
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.hub import encode
from gateway.hub.certificates import Unusable, context, ends
from gateway.hub.packets import V311
from gateway.hub.reasons import Reason
from tests.hub.peers import Desk, farewell, hub_at, say
from tests.hub.programs import Paho
from tests.hub.tls import CONNECT, entered, listening, turned_away
from tests.parts import loops, tell, until


@loops
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_resumed_session_is_the_same_user(newest: ssl.TLSVersion, loop: str, tls: Path) -> None:
    """Microcontrollers save the second handshake; the certificate isn't sent again then."""

    async def story() -> None:
        desk = Desk()
        async with hub_at(desk) as (hub, _):
            port = await hub.listen(listening(tls / "tls", mutual=True))
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
        desk = Desk()
        async with hub_at(desk) as (hub, _):
            port = await hub.listen(listening(tls / "tls", mutual=True, websocket=True))
            client = Paho(V311, "c", "websockets")
            own = tls / "tls" / "client-attic"
            client.client.tls_set(str(tls / "tls" / "ca.crt"), f"{own}.crt", f"{own}.key")
            await client.enter(port, "localhost")
            client.client.publish("attic/a", b"x", 1)
            await until(lambda: desk.messages)
            assert desk.messages[0].user == "attic"
            await client.leave()

    asyncio.run(story())


@loops
def test_a_revoked_certificate_lets_in_no_more(
    loop: str, tls: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        folder = shutil.copytree(tls / "tls", tmp_path / "tls")
        for end in ("crt", "key"):
            shutil.copy(folder / f"client-kitchen.{end}", tmp_path / f"stolen.{end}")
        async with hub_at(Desk()) as (hub, _):
            port = await hub.listen(listening(folder, mutual=True))
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


def test_revoking_what_nobody_has(tls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(tls / "tls", tmp_path / "tls")
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
