"""The hub in figures."""

from msgspec import Struct


class Status(Struct, frozen=True):
    """What ``redcar status`` shows of the hub. Totals count from the start.

    paused      sockets aren't read, because the disk can't keep up
    connects    clients that were let in
    most        clients connected at once so far
    away        sessions kept for clients that aren't connected
    received    messages taken; sent: messages given to subscribers
    declined    messages not taken, because the client may not publish there
    refused     what was said in the journal or only counted: clients turned away, cut off or told no
    lost        messages at QoS 0, or wills, that couldn't be stored
    unretained  messages not retained, because there are too many topics or bytes
    shared      of the subscriptions
    """

    connections: int
    clients: int
    most: int
    away: int
    subscriptions: int
    retained: int
    paused: bool
    connects: int
    received: int
    sent: int
    declined: int
    refused: int
    lost: int
    unretained: int
    shared: int
    bytes_received: int
    bytes_sent: int
