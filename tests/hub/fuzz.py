"""Spoiled packets into several clients around one broker, and into a whole gateway, until the time is over:

    python -m tests.hub.fuzz --seconds 60 --seed 7

Whatever comes, a session answers or ends with one ProtocolError, its neighbours go on, nothing grows without bound, and at
the end nobody is left. A run is repeated with its seed; the step at which something else happened is said.
"""

import argparse
import asyncio
import logging
import sys
import time
from random import Random

from gateway.hub.access import Access
from gateway.hub.broker import Broker
from gateway.hub.limits import Limits
from gateway.hub.packets import Batch, Connect, Disconnect, Subscribe, Unsubscribe
from gateway.hub.reasons import ProtocolError
from gateway.hub.retained import Retained
from gateway.hub.session import Session
from gateway.hub.subscriptions import Subscriptions
from gateway.hub.turns import Call
from gateway.hub.websocket import WebSocket
from tests.hub.room import let_in
from tests.hub.table import TABLE

SMALL = Limits(packet=4096, connect=2048, retained=50, retained_bytes=20_000, unsent=50_000, subscriptions=20)
WIRES = [row.wire for row in TABLE if len(row.wire) < 600]
CONNECTS = [row.wire for row in TABLE if isinstance(row.packet, Connect)]
CLIENTS = 6


class Room:
    """The clients, and what they caused."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.retained = Retained(SMALL, lambda: 0.0)
        self.turns: list[Call] = []
        access = Access()
        self.broker = Broker(SMALL, access)
        self.subscriptions = Subscriptions(self.broker, self.retained, access, SMALL, self.turns.append)
        self.sessions: list[Session] = []
        self.errors = self.packets = 0

    def step(self) -> None:
        """One client says something."""
        while len(self.sessions) < CLIENTS:
            self.sessions.append(self.enter())
        session = self.rng.choice(self.sessions)
        self.feed(session, self.chunk())
        while self.turns:
            self.turns.pop()()
        if session.over or self.rng.random() < 0.01:
            self.leave(session)
            self.sessions.remove(session)
        assert len(session.out.take()) <= SMALL.unsent + 8 * SMALL.packet
        assert len(session._stream._rest) <= 2 * SMALL.packet + 700
        assert len(self.retained) <= SMALL.retained
        assert self.broker.subscriptions <= CLIENTS * SMALL.subscriptions

    def enter(self) -> Session:
        """Somebody new; some already spoil their CONNECT."""
        session = Session(SMALL, 0.0)
        wire = self.rng.choice(CONNECTS)
        self.follow(session, session.receive(self.spoil(wire) if self.rng.random() < 0.2 else wire, 0.0))
        return session

    def chunk(self) -> bytes:
        """A few packets, some spoiled, some cut off, some junk."""
        parts = []
        for _ in range(self.rng.randint(1, 4)):
            wire = self.rng.choice(WIRES)
            draw = self.rng.random()
            parts.append(wire if draw < 0.6 else self.spoil(wire) if draw < 0.95 else self.rng.randbytes(40))
        data = b"".join(parts)
        return data[: self.rng.randint(1, len(data))] if self.rng.random() < 0.1 else data

    def spoil(self, wire: bytes) -> bytes:
        """Some bytes changed, left out or doubled."""
        data = bytearray(wire)
        for _ in range(self.rng.randint(1, 3)):
            at = self.rng.randrange(len(data))
            kind = self.rng.randrange(4)
            if kind == 0:
                data[at] = self.rng.randrange(256)
            elif kind == 1:
                data[at] ^= 1 << self.rng.randrange(8)
            elif kind == 2 and len(data) > 1:
                del data[at]
            else:
                data[at:at] = data[at : at + self.rng.randint(1, 4)]
        return bytes(data)

    def feed(self, session: Session, data: bytes) -> None:
        """Bytes, and what the hub would do about them."""
        self.packets += 1
        self.follow(session, session.receive(data, 0.0))

    def follow(self, session: Session, events: object) -> None:
        """As a connection does, with a disk that is always there."""
        assert isinstance(events, list)
        for event in events:
            if isinstance(event, Connect):
                id = self.rng.choice("abcdefgh")
                let_in(self.broker, session, id)
                self.follow(session, session.accept(None, id, {}, lambda topic: None, 0.0))
            elif isinstance(event, Batch):
                self.retained.changes(event.messages)
                session.acknowledge(event)
                self.retained.settle(event.messages)
                self.broker.route(event.messages)
            elif isinstance(event, Subscribe):
                self.subscriptions.subscribe(session, event)
            elif isinstance(event, Unsubscribe):
                self.subscriptions.unsubscribe(session, event)
            elif isinstance(event, ProtocolError):
                self.errors += 1
                assert session.over
            elif isinstance(event, Disconnect):
                assert session.over

    def leave(self, session: Session) -> None:
        """Its connection is gone, unless somebody else has taken its place."""
        if session.member and session.member.session is session:
            self.broker.part(session.member)
            self.broker.drop(session.member)

    def close(self) -> None:
        """Nobody stays behind."""
        for session in self.sessions:
            self.leave(session)
        assert (self.broker.members, self.broker.subscriptions, self.broker.curious) == ({}, 0, 0)
        assert not self.broker._tree.root.children


def websocket(rng: Random) -> None:
    """Junk after the handshake of a browser."""
    web = WebSocket()
    web.open = True
    for _ in range(4):
        web.receive(rng.randbytes(rng.randint(1, 60)))
    assert len(web.take()) < 2000


def main() -> int:
    """Fuzz; 0 if nothing happened."""
    from tests.hub import siege  # which uses what is here

    parser = argparse.ArgumentParser(prog="python -m tests.hub.fuzz")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None)
    args = parser.parse_args()
    logging.disable(logging.ERROR)  # each refusal is a line
    seed = args.seed if args.seed is not None else Random().randrange(1 << 32)
    rng = Random(seed)
    print(f"seed {seed}", flush=True)
    end = time.monotonic() + args.seconds
    steps = errors = rooms = besieged = 0
    while time.monotonic() < end:
        room = Room(rng)
        rooms += 1
        try:
            for _ in range(2000):
                steps += 1
                room.step()
            room.close()
            websocket(rng)
            besieged += asyncio.run(siege.lay(Random(rng.randrange(1 << 32)), 2000, end))
        except BaseException:
            print(f"seed {seed}, room {rooms}, step {steps}", file=sys.stderr)
            raise
        errors += room.errors
    print(
        f"{steps:,} reads, {errors:,} of them ended their client, {besieged:,} into a whole gateway; nothing else happened"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
