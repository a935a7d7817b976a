"""How much one client, and all of them together, may take; what happens at each limit stands beside it.

It is the table [limits] of redcar.toml: ``redcar check --settings`` shows it with these sentences.
"""

from typing import Annotated

from msgspec import Meta, Struct

Size = Annotated[int, Meta(gt=0, extra={"unit": "bytes"})]
Time = Annotated[float, Meta(gt=0, extra={"unit": "duration"})]
Count = Annotated[int, Meta(gt=0)]
Two = Annotated[int, Meta(gt=0, le=65_535)]
"""What two bytes can say."""


class Limits(Struct, kw_only=True, frozen=True):
    """Defaults suit a Raspberry Pi with a house full of devices. "Likewise": as in the line before."""

    connections: Annotated[Count, Meta(description="at once: the newest is closed")] = 2000
    per_address: Annotated[Count, Meta(description="of them from one address other than loopback: likewise")] = 100
    strangers: Annotated[Count, Meta(description="of those, not yet let in: likewise")] = 20
    arrivals: Annotated[Count, Meta(description="connections a minute from one address: likewise")] = 600
    wrong: Annotated[
        Count, Meta(description="wrong passwords a minute of one user from one address: no more are looked at")
    ] = 10
    connect_within: Annotated[Time, Meta(description="no whole CONNECT by then: closed")] = 5.0
    connect: Annotated[
        Annotated[int, Meta(ge=512, le=268_435_460, extra={"unit": "bytes"})],
        Meta(description="largest CONNECT, will included: closed when its length is read"),
    ] = 16_384
    packet: Annotated[
        Annotated[int, Meta(ge=1024, le=268_435_460, extra={"unit": "bytes"})],
        Meta(description="largest packet: closed when its length is read (0x95)"),
    ] = 262_144
    keep_alive: Annotated[
        Annotated[int, Meta(ge=1, le=65_535, extra={"unit": "duration"})],
        Meta(description="longest silence, in whole seconds; 5.0 clients are told, 3.1.1 ones get what they ask for"),
    ] = 300
    farewell: Annotated[Time, Meta(description="a closed connection that hasn't drained by then is cut off")] = 5.0

    receive_maximum: Annotated[
        Two, Meta(description="QoS 1 and 2 messages of one client in flight: 5.0 clients are told, then closed (0x93)")
    ] = 1000
    window: Annotated[
        Two, Meta(description="messages in flight to one client: the rest waits in unsent, or in the log")
    ] = 1000
    unsent: Annotated[Size, Meta(description="for a client that reads slowly: closed (0x97)")] = 1_000_000
    held: Annotated[
        Size, Meta(description="half packets, unsent and unreleased messages of all clients: those go who hold most")
    ] = 32_000_000
    waiting: Annotated[
        Count, Meta(description="stored messages for a client that is away: the oldest are given up, with a gap event")
    ] = 100_000
    session_expiry: Annotated[
        Annotated[int, Meta(gt=0, lt=0xFFFF_FFFF, extra={"unit": "duration"})],
        Meta(description="longest that a session outlasts its connection, in whole seconds: 5.0 clients are told"),
    ] = 604_800
    sessions: Annotated[
        Count, Meta(description="that outlast their connection: the one that is due first ends, with a gap event")
    ] = 1000

    topic: Annotated[Two, Meta(description="bytes of a topic or filter: refused (0x90, 0x8F)")] = 512
    levels: Annotated[Count, Meta(description="of a topic or filter: likewise; beyond 16 it counts for several")] = 128
    aliases: Annotated[
        Annotated[int, Meta(ge=0, le=65_535)],
        Meta(description="of topics, on one connection: 5.0 clients are told (0x94)"),
    ] = 64
    client_id: Annotated[Two, Meta(description="bytes of a client id: refused (0x85)")] = 256
    subscriptions: Annotated[
        Count, Meta(description="of one client: the next are refused (0x97); Home Assistant takes one per entity")
    ] = 5000
    all_subscriptions: Annotated[Count, Meta(description="of all clients: likewise")] = 20_000
    filters: Annotated[
        Count, Meta(description="in one SUBSCRIBE: closed (0x97); Home Assistant sends up to 500 at once")
    ] = 1000
    user_properties: Annotated[Count, Meta(description="in one packet: closed (0x95)")] = 32
    properties: Annotated[Size, Meta(description="of all properties in one packet: likewise")] = 8192

    retained: Annotated[
        Count, Meta(description="topics with a retained message: the next aren't, with a gap event")
    ] = 10_000
    retained_per_user: Annotated[Count, Meta(description="of them published by one user: likewise")] = 1000
    retained_bytes: Annotated[Size, Meta(description="of all these topics and messages: likewise")] = 16_000_000
