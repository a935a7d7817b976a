"""Listeners with rules of their own: TLS, client certificates, IPv6, several at once."""

import asyncio
import shutil
import ssl
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.errors import ConfigError
from gateway.hub.doors import Door
from gateway.hub.packets import V5, Connack, Connect
from gateway.hub.reasons import Reason
from tests.hub.peers import Desk, Peer, enter, hub_at, knock, say
from tests.hub.test_clients import _mosquitto, ended, run
from tests.parts import need


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What redcar tls makes."""
    need("openssl", "openssl")
    folder = tmp_path_factory.mktemp("tls")
    assert main(["tls", "init", "--folder", str(folder), "--name", "gateway.lan"]) == 0
    assert main(["tls", "client", "kitchen", "--folder", str(folder)]) == 0
    return folder


def server(folder: Path, **more: Any) -> Door:
    return Door(certificate=str(folder / "server.crt"), key=str(folder / "server.key"), **more)


async def over_tls(port: int, folder: Path, user: str | None = None, host: str = "localhost") -> Peer:
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    if user:
        context.load_cert_chain(folder / f"client-{user}.crt", folder / f"client-{user}.key")
    return Peer(V5, *await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=host))


def test_mosquitto_over_tls(tls: Path) -> None:
    async def story() -> None:
        desk = Desk()
        async with hub_at(desk) as (hub, _):
            port = await hub.listen(door=server(tls))
            own = ("--cafile", str(tls / "ca.crt"), "-t", "a", "-m", "x", "-q", "1")
            await ended(await run(*_mosquitto("mosquitto_pub", port, V5, *own)))
            assert [one.payload for one in desk.messages] == [b"x"]

    asyncio.run(story())


@pytest.mark.parametrize("host", ["localhost", "gateway.lan", "127.0.0.1"])
def test_the_certificate_fits_the_names_asked_for(host: str, tls: Path) -> None:
    async def story() -> None:
        async with hub_at(Desk()) as (hub, _):
            peer = await over_tls(await hub.listen(door=server(tls)), tls, host=host)
            peer.send(Connect("c", V5))
            assert isinstance(await peer.got(), Connack)

    asyncio.run(story())


def test_a_client_certificate_is_the_user(tls: Path) -> None:
    async def story() -> None:
        desk = Desk()
        async with hub_at(desk) as (hub, _):
            port = await hub.listen(door=server(tls, client_ca=str(tls / "ca.crt")))
            peer = await over_tls(port, tls, "kitchen")
            peer.send(Connect("c", V5), say("kitchen/a"))
            assert isinstance(await peer.got(), Connack)
            await peer.got()
            assert desk.messages[0].user == "kitchen"
            liar = await over_tls(port, tls, "kitchen")
            liar.send(Connect("d", V5, user="cellar"))
            answer = await liar.got()
            assert isinstance(answer, Connack)
            assert answer.reason == Reason.BAD_USER_OR_PASSWORD
            before = hub.status().connects
            try:  # TLS 1.3 tells the client at its first read, or closes
                stranger = await over_tls(port, tls)
                stranger.send(Connect("e", V5))
                assert await stranger.reader.read(1) == b""
            except (ssl.SSLError, ConnectionError):
                pass
            assert hub.status().connects == before

    asyncio.run(story())


def test_plain_bytes_at_a_tls_door_and_the_other_way_round(tls: Path) -> None:
    async def story() -> None:
        async with hub_at(Desk()) as (hub, plain):
            port = await hub.listen(door=server(tls))
            peer = await knock(port)
            peer.send(Connect("c", V5))
            await peer.reader.read()  # an alert in TLS, or nothing
            assert hub.status().connects == 0
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await over_tls(plain, tls)
            assert (await enter(plain)).version == V5

    asyncio.run(story())


def test_a_renewed_certificate_counts_at_once(tls: Path, tmp_path: Path) -> None:
    async def story() -> None:
        folder = tmp_path / "tls"
        shutil.copytree(tls, folder)
        async with hub_at(Desk()) as (hub, _):
            port = await hub.listen(door=server(folder))
            serials = []
            for _ in range(2):
                peer = await over_tls(port, folder)
                serials.append(peer.writer.get_extra_info("peercert")["serialNumber"])
                (folder / "server.crt").unlink()
                assert main(["tls", "init", "--folder", str(folder)]) == 0
                hub.doors[-1].refresh(0)
            assert serials[0] != serials[1]
            (folder / "server.crt").write_text("no certificate")
            hub.doors[-1].refresh(0)
            await over_tls(port, folder)

    asyncio.run(story())


def test_a_certificate_that_is_missing_stops_the_start(tmp_path: Path) -> None:
    async def story() -> None:
        async with hub_at(Desk()) as (hub, _):
            with pytest.raises(ConfigError, match="redcar tls init"):
                await hub.listen(door=server(tmp_path))

    asyncio.run(story())


def test_ipv6_and_a_door_that_wants_names() -> None:
    async def story() -> None:
        async with hub_at(Desk()) as (hub, _):
            port = await hub.listen(door=Door(address="::1", anonymous=False))
            peer = Peer(V5, *await asyncio.open_connection("::1", port))
            peer.send(Connect("c", V5))
            answer = await peer.got()
            assert isinstance(answer, Connack)
            assert answer.reason == Reason.NOT_AUTHORIZED

    asyncio.run(story())
