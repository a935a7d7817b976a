"""What redcar.toml can say, typed, with defaults. ``config.py`` fills it; nobody else reads the file.

A field's documentation is its ``Meta(description=...)``: the checker, ``--help`` and the README's table are made from it.
"""

import socket
from typing import Annotated

from msgspec import Meta, Struct, field

from gateway.driver import Binding, Seconds
from gateway.hub.limits import Limits
from gateway.sink import Subscription
from gateway.source import Source

Bytes = Annotated[int, Meta(gt=0, extra={"unit": "bytes"})]
"""A size. Files write it as text with its unit, "16MB", "2GB"; settings hold bytes."""

Cap = Annotated[int, Meta(ge=64_000_000, extra={"unit": "bytes"})]
"""The same for a whole log: its WAL and ballast need 48 MB of it."""

FilePath = Annotated[str, Meta(min_length=1, extra={"unit": "path"})]
"""A file or folder. Files write it relative to their own folder; settings hold it absolute."""


class Gateway(Struct, kw_only=True):
    """Who we are."""

    name: Annotated[
        str,
        Meta(pattern=r"^[^\s/+#\x00]+$", description="name upstream, no space / + or #; keep it for ever"),
    ] = field(default_factory=socket.gethostname)
    data: Annotated[FilePath, Meta(description="folder of the log; relative to the configuration file")] = "data"
    rules: Annotated[list[FilePath], Meta(description="rule files or folders of them; relative to the file")] = field(
        default_factory=list
    )
    views: Annotated[list[FilePath], Meta(description="your own views: .sql files or folders of them")] = field(
        default_factory=list
    )
    devices: Annotated[
        int, Meta(ge=1, description="that bindings adopt by themselves; what more there is waits for redcar adopt")
    ] = 5_000
    trust_clock: Annotated[
        bool, Meta(description="believe the clock though nobody confirms it: it has a battery, and there is no NTP")
    ] = False


class LogSettings(Struct, kw_only=True):
    """How events get onto the disk."""

    pace: Annotated[Seconds, Meta(description="shortest time between two commits somebody waits for")] = 0.020
    linger: Annotated[Seconds, Meta(description="longest time an event nobody waits for stays in memory")] = 0.250
    queue: Annotated[Bytes, Meta(description="events waiting for a commit; beyond it sockets aren't read")] = 16_000_000
    ring: Annotated[int, Meta(ge=100, description="newest events kept in memory for readers that keep up")] = 5_000
    flash_budget: Annotated[
        Bytes | None, Meta(description="bytes a day the card may be written; redcar status compares")
    ] = None


class Retention(Struct, kw_only=True):
    """How much of the past is kept. Whatever is given up is announced by a gap event."""

    cap: Annotated[
        Cap | None,
        Meta(description="most the log may take on the disk; if left out 2GB, or 80 % of the disk where that is less"),
    ] = None
    age: Annotated[Seconds | None, Meta(description="delete what is older and owed to nobody; alarms stay")] = None
    ages: Annotated[
        dict[str, Seconds],
        Meta(description="the same by glob of event types; the first that matches counts", extra={"unit": "duration"}),
    ] = field(default_factory=dict)
    thin: Annotated[
        int, Meta(ge=2, description="of owed readings there is no room for, every n-th is kept at first")
    ] = 10


class Listener(Struct, kw_only=True):
    """One address on which the hub accepts MQTT."""

    address: Annotated[str, Meta(description="IPv4 or IPv6 address; beyond loopback only once users exist")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Meta(ge=0, le=65535, description="TCP port; 0 takes a free one and prints it")] = 1883
    certificate: Annotated[FilePath | None, Meta(description="PEM file with the server's certificate: TLS")] = None
    key: Annotated[FilePath | None, Meta(description="PEM file with its key; if left out, it is in the same file")] = (
        None
    )
    client_ca: Annotated[
        FilePath | None, Meta(description="only clients with a certificate of this CA; its common name is the user")
    ] = None
    client_crl: Annotated[
        FilePath | None, Meta(description="PEM file of revoked certificates of that CA; redcar tls revoke makes it")
    ] = None
    websocket: Annotated[bool, Meta(description="MQTT in WebSocket, for browsers")] = False
    origins: Annotated[list[str], Meta(description='web pages that may connect by WebSocket: "https://panel.lan"')] = (
        field(default_factory=list)
    )
    anonymous: Annotated[bool, Meta(description="false: a password even on loopback, whatever [access] says")] = True


class Access(Struct, kw_only=True):
    """Who may connect."""

    users: Annotated[
        FilePath | None, Meta(description="file of names and hashed passwords, made by redcar user add")
    ] = None
    anonymous: Annotated[
        bool | None,
        Meta(description="let clients in without a password, on loopback only; if left out, until users exist"),
    ] = None
    acl: Annotated[
        FilePath | None,
        Meta(description="file of rules: who may use which topics; without it a user has the tree <user>/#"),
    ] = None


class Settings(Struct, kw_only=True):
    """A whole redcar.toml."""

    gateway: Gateway = field(default_factory=Gateway)
    log: LogSettings = field(default_factory=LogSettings)
    retention: Retention = field(default_factory=Retention)
    listener: list[Listener] = field(default_factory=lambda: [Listener()])
    access: Access = field(default_factory=Access)
    limits: Limits = field(default_factory=Limits)
    binding: list[Binding] = field(default_factory=list)
    subscription: list[Subscription] = field(default_factory=list)
    source: list[Source] = field(default_factory=list)


TABLES: dict[str, type[Struct]] = {
    "gateway": Gateway,
    "log": LogSettings,
    "retention": Retention,
    "listener": Listener,
    "access": Access,
    "limits": Limits,
}
"""Those whose settings don't depend on what they name."""
