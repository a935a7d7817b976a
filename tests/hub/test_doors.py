"""Listeners with rules of their own: TLS, client certificates, IPv6, several at once."""

import asyncio
import shutil
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.errors import ConfigError
from gateway.hub.doors import Door
from gateway.hub.packets import V5, Connack, Connect
from gateway.hub.reasons import Reason
from tests.hub.peers import Desk, Peer, hub_at, say
from tests.hub.programs import ended, mosquitto, run
from tests.hub.tls import come, listening


def test_mosquitto_over_tls(tls: Path) -> None:
    async def story() -> None:
        desk = Desk()
        async with hub_at(desk) as (hub, _):
            port = await hub.listen(listening(tls / "tls"))
            own = ("--cafile", str(tls / "tls" / "ca.crt"), "-t", "a", "-m", "x", "-q", "1")
            await ended(await run(*mosquitto("mosquitto_pub", port, V5, *own)))
            assert [one.payload for one in desk.messages] == [b"x"]

    asyncio.run(story())


@pytest.mark.parametrize("host", ["localhost", "gateway.lan", "127.0.0.1"])
def test_the_certificate_fits_the_names_asked_for(host: str, tls: Path) -> None:
    async def story() -> None:
        async with hub_at(Desk()) as (hub, _):
            peer = await come(await hub.listen(listening(tls / "tls")), tls / "tls", host=host)
            peer.send(Connect("c", V5))
            assert isinstance(await peer.got(), Connack)

    asyncio.run(story())


def test_a_client_certificate_is_the_user(tls: Path) -> None:
    async def story() -> None:
        desk = Desk()
        async with hub_at(desk) as (hub, _):
            port = await hub.listen(listening(tls / "tls", mutual=True))
            peer = await come(port, tls / "tls", tls / "tls" / "client-kitchen")
            peer.send(Connect("c", V5), say("kitchen/a"))
            assert isinstance(await peer.got(), Connack)
            await peer.got()
            assert desk.messages[0].user == "kitchen"
            liar = await come(port, tls / "tls", tls / "tls" / "client-kitchen")
            liar.send(Connect("d", V5, user="cellar"))
            answer = await liar.got()
            assert isinstance(answer, Connack)
            assert answer.reason == Reason.BAD_USER_OR_PASSWORD

    asyncio.run(story())


def test_a_renewed_certificate_counts_at_once(tls: Path, tmp_path: Path) -> None:
    async def story() -> None:
        folder = shutil.copytree(tls / "tls", tmp_path / "tls")
        async with hub_at(Desk()) as (hub, _):
            port = await hub.listen(listening(folder))
            serials = []
            for _ in range(2):
                peer = await come(port, folder)
                serials.append(peer.writer.get_extra_info("peercert")["serialNumber"])
                (folder / "server.crt").unlink()
                assert main(["tls", "init", "--folder", str(folder)]) == 0
                hub.doors[-1].refresh(0)
            assert serials[0] != serials[1]
            (folder / "server.crt").write_text("no certificate")
            hub.doors[-1].refresh(0)
            await come(port, folder)

    asyncio.run(story())


def test_a_certificate_that_is_missing_stops_the_start(tmp_path: Path) -> None:
    async def story() -> None:
        async with hub_at(Desk()) as (hub, _):
            with pytest.raises(ConfigError, match="redcar tls init"):
                await hub.listen(listening(tmp_path))

    asyncio.run(story())


def test_ipv6_and_a_door_that_wants_names() -> None:
    async def story() -> None:
        async with hub_at(Desk()) as (hub, _):
            port = await hub.listen(Door(address="::1", anonymous=False))
            peer = Peer(V5, *await asyncio.open_connection("::1", port))
            peer.send(Connect("c", V5))
            answer = await peer.got()
            assert isinstance(answer, Connack)
            assert answer.reason == Reason.NOT_AUTHORIZED

    asyncio.run(story())
