"""How to reach an MQTT broker, and what it means when that fails: who can act, and what to do."""

import re
import socket
import ssl
from pathlib import Path
from typing import Annotated, Literal, Protocol

from msgspec import Meta, Struct

from gateway.errors import SinkRefused, SinkUnavailable
from gateway.settings import FilePath
from gateway.sink import Subscription

Host = Annotated[str, Meta(min_length=1, description="name or address of the broker", examples=["broker.lan"])]
Port = Annotated[int, Meta(ge=1, le=65535, description="its TCP port; usually 1883, and 8883 with TLS")]
Version = Annotated[Literal["5.0", "3.1.1"], Meta(description="MQTT version")]
User = Annotated[str | None, Meta(description="user known to the broker")]
PasswordFile = Annotated[FilePath | None, Meta(description="file with the password; read at each connect")]
Encrypt = Annotated[bool, Meta(description="encrypt; the broker's certificate is always checked")]
Authority = Annotated[FilePath | None, Meta(description="file of the authority to trust instead of the system's")]
Certificate = Annotated[FilePath | None, Meta(description="file of our certificate, if the broker asks for one")]
CertificateKey = Annotated[FilePath | None, Meta(description="file of the key that belongs to certificate")]
KeepAlive = Annotated[int, Meta(ge=5, le=65535, description="seconds of silence after which to ping")]
"""What a sink and a source say of a broker alike. Types and not a base: a Struct with fields has one base with fields."""


class Remote(Protocol):
    """What the settings of a broker, and who we are there, have in common."""

    host: str
    port: int
    protocol: Literal["5.0", "3.1.1"]
    client_id: str | None
    username: str | None
    password_file: str | None
    tls: bool
    ca: str | None
    certificate: str | None
    key: str | None
    keepalive: int

    @property
    def where(self) -> str:
        """How messages name it."""


class Reached:
    """What the settings of a broker do alike; a base without fields."""

    __slots__ = ()

    def __post_init__(self: Remote) -> None:
        """Raises ValueError for settings that don't go together."""
        if not self.tls and (self.ca or self.certificate):
            raise ValueError("ca, certificate: they are used with TLS only: add tls = true")
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate, key: they belong together: give both or none")
        if self.password_file and self.username is None:
            raise ValueError("password_file: a password without a user: add username")

    @property
    def where(self: Remote) -> str:
        """How messages name it."""
        return f"{self.host}:{self.port}"


class Broker(Reached, Subscription, kw_only=True):
    """A broker, and who we are there."""

    host: Host
    port: Port = 1883
    protocol: Version = "5.0"
    client_id: Annotated[str | None, Meta(description="left out: redcar- and the gateway's name")] = None
    username: User = None
    password_file: PasswordFile = None
    tls: Encrypt = False
    ca: Authority = None
    certificate: Certificate = None
    key: CertificateKey = None
    keepalive: KeepAlive = 30


class Answer(Struct):
    """What a broker said to CONNECT; code 0: welcome. ``present``: it has kept our session."""

    code: int
    text: str
    present: bool = False
    receive_maximum: int = 65_535
    largest_packet: int = 268_435_455
    most_qos: int = 2


answer_within = 10.0
"""Seconds from a request to its answer."""

silent = "the receiver doesn't answer any more"
broke_off = "the connection broke off"
sent_away = "the receiver ended the connection: {text}"
"""Why a connection ended."""

taken_over = 0x8E
minute = 60.0
tolerated = 3
"""Connections lost to another client of our name within a minute, before we leave the field to it."""


def password(broker: Remote) -> str | None:
    """What the file says now. Raises SinkRefused if it can't be read."""
    file = broker.password_file
    try:
        return Path(file).read_text().rstrip("\r\n") if file else None
    except (OSError, UnicodeDecodeError) as error:
        raise SinkRefused(f"password_file: {error}: name a file that Redcar may read") from error


def trust(broker: Remote) -> ssl.SSLContext:
    """Whose certificates we believe, and our own. Reads files; raises SinkRefused if one can't be used."""
    try:
        context = ssl.create_default_context(cafile=broker.ca)
    except OSError as error:
        raise SinkRefused(f"ca: {broker.ca}: {error.strerror}: name a PEM file of certificates") from error
    if broker.certificate:
        try:
            context.load_cert_chain(broker.certificate, broker.key)
        except OSError as error:
            files = f"{broker.certificate} and {broker.key}"
            raise SinkRefused(f"certificate, key: {files}: {error.strerror}: name PEM files that match") from error
    return context


class HungUp(ConnectionError):
    """It ended the connection before it had answered CONNECT."""


not_yet_valid = 9
certificate_faults = {
    10: "has expired: it must be renewed there, or this machine's clock is wrong",
    62: "is for another name: set host to the name that stands in it",
    64: "is for another address: set host to the name that stands in it",
}
"""OpenSSL's verify codes, as far as the cure isn't to set ``ca``."""

_about_ours = re.compile("ALERT.*(CERTIFICATE|UNKNOWN_CA)")
"""OpenSSL's reason when the broker is the one who doesn't trust."""


def unreached(broker: Remote, error: OSError) -> SinkUnavailable | SinkRefused:
    """Nobody there, or not whom we expected."""
    where = broker.where
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code == not_yet_valid:
            return SinkUnavailable(f"{where}: its certificate isn't valid yet: is this machine's clock right?")
        untrusted = f"isn't to be trusted ({error.verify_message}): set ca to the file of the authority that signed it"
        return SinkRefused(f"{where}: its certificate {certificate_faults.get(error.verify_code, untrusted)}")
    if isinstance(error, HungUp) and broker.tls:  # TLS 1.3: our certificate is looked at after the handshake
        certificate = "accept our certificate" if broker.certificate else "want a certificate of ours"
        return SinkUnavailable(
            f"{where}: {error} after the TLS handshake: does it {certificate}? set certificate and key"
        )
    if isinstance(error, ssl.SSLError) or (broker.tls and isinstance(error, ConnectionResetError)):
        reason = getattr(error, "reason", None) or error.strerror
        if reason and _about_ours.search(reason):
            return SinkRefused(f"{where}: it wants a certificate that it accepts ({reason}): set certificate and key")
        return SinkUnavailable(f"{where}: it doesn't take up TLS ({reason}): is that its port for TLS?")
    if isinstance(error, ConnectionResetError) or str(error) == broke_off:
        return SinkUnavailable(
            f"{where}: {broke_off} before it answered: is that its port for TLS? then add tls = true"
        )
    if isinstance(error, socket.gaierror):
        return SinkUnavailable(f"{where}: {str(error.strerror).lower()}: check host, and this machine's DNS")
    if isinstance(error, ConnectionRefusedError):
        return SinkUnavailable(f"{where}: nobody listens there: is the broker running?")
    if isinstance(error, TimeoutError):
        return SinkUnavailable(f"{where}: no answer")
    return SinkUnavailable(f"{where}: {error.strerror or error}")


cures = {
    0x84: "it doesn't speak MQTT {protocol}: change protocol",
    0x85: "it doesn't accept the client id {client_id}: set client_id to one that it does",
    0x86: "it doesn't accept user {username} with this password: check username and password_file",
    0x87: "it doesn't let user {username} in: check username, password_file and its access list",
    0x8A: "it has banned us: ask those who run it",
    0x8C: "it wants more than a password to know us: ask those who run it",
}
"""Codes of CONNACK that a repeat won't change (MQTT 5.0, 3.2.2.2); paho gives those of 3.1.1 in these numbers."""


def unwelcome(broker: Remote, client_id: str, code: int, text: str) -> SinkUnavailable | SinkRefused:
    """Somebody is there and says no."""
    if code not in cures:
        return SinkUnavailable(f"{broker.where}: it doesn't take connections now: {text}")
    username = broker.username or "(none)"
    cure = cures[code].format(protocol=broker.protocol, client_id=client_id, username=username)
    return SinkRefused(f"{broker.where}: {cure}")
