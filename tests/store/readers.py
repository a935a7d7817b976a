"""Readers of a log: consumers, and a processor that emits something."""

from collections.abc import Callable

from gateway.event import Event, event
from gateway.store.consumers import Consumer, Consumers
from gateway.store.log import Log


async def consumer(log: Log, name: str = "cloud") -> Consumer:
    return await (await Consumers.load(log)).open(name)


def ranges(found: Consumer) -> list[tuple[str, int, int | None]]:
    return [(one.lane, one.lo, one.hi) for one in found.ranges]


class Doubler:
    """Emits one event for each reading, and remembers how many it saw."""

    def __init__(self) -> None:
        self.seen = self.position = 0
        self.before: Callable[[], object] = lambda: None

    def restore(self, state: bytes | None) -> None:
        if state:
            self.seen, self.position = map(int, state.split())

    def handle(self, events: list[Event]) -> list[Event]:
        self.before()
        emitted = []
        for one in events:
            self.position = one.offset
            if one.type == "reading":
                self.seen += 1
                emitted.append(
                    event(
                        "doubled", one.source, {"n": one.data["n"], "seen": self.seen}, time=one.time, cause=one.offset
                    )
                )
        return emitted

    def snapshot(self) -> bytes:
        return b"%d %d" % (self.seen, self.position)

    def due(self) -> int | None:
        return None
