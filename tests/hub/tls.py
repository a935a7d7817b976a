"""Certificates, clients and listeners for the tests of TLS."""

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from gateway.hub.doors import Door
from gateway.hub.packets import V5
from tests.hub.peers import Peer


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


async def entered(port: int, folder: Path, own: Path) -> Peer:
    peer = await come(port, folder, own)
    await peer.connect(f"c-{own.name}")
    return peer
