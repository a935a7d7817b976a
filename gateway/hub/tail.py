"""Brings what is in the log to those who are owed it.

One reader follows the end of the log for all members that keep up. Whoever is behind, because it was away or reads
slowly, is fetched for by a task of its own, from where it stopped to where the reader is; there it joins the others.
The seam is an offset: nothing is missing there and nothing comes twice.
"""

import asyncio
from collections.abc import Callable, Coroutine

from gateway.hub.broker import Broker
from gateway.hub.group import Group
from gateway.hub.history import History
from gateway.hub.members import Member


class Tail:
    """position  everything up to this offset was handed to those who keep up
    start     runs something beside everything else
    """

    def __init__(
        self, broker: Broker, history: History, start: Callable[[Coroutine[None, None, None]], object]
    ) -> None:
        self.position = history.head
        self._broker = broker
        self._history = history
        broker.hired = lambda member: start(self._fetch(member))
        broker.summoned = self._summon
        self._start = start

    async def run(self) -> None:
        """Follow the log for ever."""
        history, broker = self._history, self._broker
        while True:
            await history.beyond(self.position)
            if not (broker.feeds or broker.groups or broker.curious):
                self.position = history.head
                continue
            own = broker.wanted if broker.curious else None
            told, through = await history.read(self.position + 1, history.head, broker.owed, own)
            broker.tell(told, through)
            self.position = through

    async def _fetch(self, member: Member) -> None:
        """Fetch for one member until it leaves."""
        feed = member.feed
        session = member.session
        if feed is None:
            return
        room = asyncio.Event()
        feed.wake = room.set

        def wanted(topic: str) -> bool:
            return feed.unfinished or bool(member.route(topic).matched)

        while session and member.session is session and member.feed is feed:
            if feed.seen >= self.position and not feed.live:
                feed.live = True
            if feed.live:
                # the tail says when it has no room for it any more; a look now and then costs nothing
                await room.wait()
                room.clear()
                continue
            room.clear()
            begin = feed.seen
            told, through = await self._history.read(begin + 1, self.position, wanted, wanted)
            if member.session is not session or feed.seen != begin:
                continue  # it was told to begin elsewhere
            if self._broker.fetched(member, told):
                feed.pass_by(through)
            else:
                await room.wait()

    def _summon(self, group: Group) -> None:
        group.served = True
        self._start(self._serve(group))

    async def _serve(self, group: Group) -> None:
        """Fetch for a group as long as one of its members is connected: first what has to be sent again."""
        room = asyncio.Event()
        group.wake = room.set
        while group.present:
            room.clear()
            due, begin = group.due(), group.seen
            if due is not None:
                told, _ = await self._history.read(due, due, _any, _any)
                if not self._broker.handed_again(group, due, told):
                    await room.wait()
            elif begin >= self.position:
                group.follow()
                await room.wait()
            else:
                told, through = await self._history.read(begin + 1, self.position, group.wanted, group.wanted)
                if group.seen == begin and not self._broker.handed(group, told, through):
                    await room.wait()
        group.served = False


def _any(topic: str) -> bool:
    return True
