"""How much one client, and all of them together, may take; what happens at each limit stands beside it."""

from msgspec import Struct


class Limits(Struct, kw_only=True, frozen=True):
    """Defaults suit a Raspberry Pi with a house full of devices. Sizes in bytes, durations in seconds."""

    connections: int = 2000  # the newest is closed
    per_address: int = 100  # of them from one address other than loopback; likewise
    strangers: int = 20  # of those, not yet let in; likewise
    wrong: int = 10  # wrong passwords of one user from one address in a minute: then they aren't looked at for a minute
    connect_within: float = 5.0  # no whole CONNECT by then: closed
    connect: int = 64 * 1024  # largest CONNECT: closed as soon as its length is read
    packet: int = 256 * 1024  # largest packet: refused from its length, before it is buffered (0x95)
    keep_alive: int = 300  # longest without a word; imposed on 5.0 clients, 3.1.1 ones get what they ask for
    farewell: float = 5.0  # a closed connection that doesn't drain by then is cut off

    receive_maximum: int = 1000  # QoS 1 and 2 messages of one client waiting for the disk: 5.0 clients are told, 0x93
    window: int = 1000  # QoS 1 messages sent to one client and not acknowledged: the rest waits in `unsent`
    unsent: int = 1_000_000  # waiting for a slow reader, beside one socket buffer: closed (0x97)
    waiting: int = 100_000  # stored messages for a client that is away: the oldest are given up, with a gap event
    session_expiry: int = 7 * 86_400  # longest that a session outlasts its connection; a 5.0 client is told
    sessions: int = 1000  # kept for clients: the one that is due first ends

    topic: int = 512  # bytes of a topic or filter; longer ones are refused (0x90, 0x8F)
    levels: int = 16  # of a topic or filter; likewise
    aliases: int = 64  # topic aliases of one 5.0 client: it is told, 0x94
    client_id: int = 256  # bytes; longer ones are refused (0x85)
    subscriptions: int = 5000  # per client; Home Assistant takes one per entity. The next are refused (0x97)
    user_properties: int = 32  # per packet; more: 0x95
    properties: int = 8 * 1024  # bytes of all properties of a packet; more: 0x95
    filters: int = 1000  # per SUBSCRIBE or UNSUBSCRIBE; Home Assistant sends up to 500 at once. More: 0x97

    retained: int = 10_000  # topics; the next aren't retained
    retained_per_user: int = 1_000  # of them published by one user; likewise
    retained_bytes: int = 16_000_000  # topics and payloads; likewise
