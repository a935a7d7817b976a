"""Certificates, clients and listeners for the tests of TLS."""

import asyncio
import shutil
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.hub.doors import Door
from gateway.hub.packets import V5, Connack, Connect
from tests.hub.peers import Peer
from tests.parts import need


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


async def entered(port: int, folder: Path, own: Path) -> Peer:
    peer = await come(port, folder, own)
    peer.send(Connect(f"c-{own.name}", V5))
    answer = await peer.got()
    assert isinstance(answer, Connack)
    assert answer.reason == 0
    return peer


@contextmanager
def copied(folder: Path, to: Path) -> Iterator[Path]:
    shutil.copytree(folder / "tls", to)
    yield to
