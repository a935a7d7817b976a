"""Between the reads of clients and the disk. What one turn of the event loop brings, from however many clients, is handed to the
inlet at once, and one future says when it is on the disk.

    bring ─► hand_in ─► inlet.publish ─► on the disk ─► Connection.settle

Batches are settled strictly in the order they were brought, so acknowledgements and what subscribers see keep the order in
which a client published.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from gateway.hub.inlet import Read, Statement
from gateway.hub.packets import Batch

if TYPE_CHECKING:
    from gateway.hub.connection import Connection

_AT_ONCE = 1000  # messages that don't wait for the end of the turn: a commit can begin, and a full inlet is noticed

Brought = deque[tuple["Connection", Batch]]
Take = Callable[[list[Read], Sequence[Statement]], asyncio.Future[None] | None]


class Intake:
    """Of a hub. ``take``: hands to the inlet; ``unstored``: told if that fails where nobody waits."""

    def __init__(self, take: Take, unstored: Callable[[int, asyncio.Future[None]], None]) -> None:
        self._take = take
        self._unstored = unstored
        self._brought: Brought = deque()
        self._messages = 0
        self._waiting: deque[tuple[asyncio.Future[None] | None, Brought]] = deque()
        self._call_soon = asyncio.get_running_loop().call_soon

    def bring(self, connection: "Connection", batch: Batch) -> None:
        """This came in one read."""
        if not self._brought:
            self._call_soon(self.hand_in)
        self._brought.append((connection, batch))
        self._messages += len(batch.messages)
        if self._messages > _AT_ONCE:
            self.hand_in()

    def hand_in(self) -> None:
        """All that was brought so far, now: something follows that must not overtake it."""
        if not self._brought:
            return
        brought, self._brought, self._messages = self._brought, deque(), 0
        reads = [Read(batch.messages, connection.session.flight) for connection, batch in brought if batch.messages]
        also = [
            row for connection, batch in brought if batch.received or batch.released for row in connection.rows(batch)
        ]
        try:
            future = self._take(reads, also) if reads or also else None
        except BaseException:  # a mistake of ours: nothing was taken, so none of them may wait for it for ever
            for connection, batch in brought:
                connection.session.undo(batch)
                connection.abort()
            raise
        later: Brought = deque()
        alone: Brought = deque()  # QoS 0 only: nobody is told when it is on the disk, so nobody waits for it
        for one in brought:
            connection, batch = one
            if connection.waiting or (future and batch.acks):
                connection.waiting += 1
                later.append(one)
            else:
                alone.append(one)
        if later:
            self._waiting.append((future, later))
            if future:
                future.add_done_callback(self._settle)
        if alone and future:
            count = sum([len(batch.messages) for _, batch in alone])
            future.add_done_callback(partial(self._unstored, count))
        for connection, batch in alone:
            connection.settle(batch)

    async def finish(self, within: float) -> None:
        """Let what was taken be acknowledged, as far as that is possible in so many seconds."""
        self.hand_in()
        futures = {future for future, _ in self._waiting if future}
        if futures:
            await asyncio.wait(futures, timeout=within)
            await asyncio.sleep(0)  # their callbacks acknowledge

    def _settle(self, _: asyncio.Future[None]) -> None:
        while self._waiting:
            future, brought = self._waiting[0]
            if future and not future.done():
                return
            if not brought:
                self._waiting.popleft()
                continue
            connection, batch = brought.popleft()  # first of all: a mistake of ours here mustn't stop everybody
            connection.waiting -= 1
            connection.settle(batch, future)
