"""The newest events in memory, for readers that keep up. Bounded by their number; whole commits come and go."""

from collections import deque

from gateway.event import Event


class Ring:
    """Batches in the order of their offsets, which follow each other."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._batches: deque[list[Event]] = deque()
        self._held = 0

    @property
    def first(self) -> int | None:
        """Oldest offset held; None: nothing is."""
        return self._batches[0][0].offset if self._batches else None

    def add(self, events: list[Event]) -> None:
        """What was just committed."""
        if not events:
            return
        self._batches.append(events)
        self._held += len(events)
        while len(self._batches) > 1 and self._held - len(self._batches[0]) >= self._most:
            self._held -= len(self._batches.popleft())

    def read(self, lo: int, last: int) -> list[Event]:
        """Those from lo to last; lo isn't before the first."""
        batches: list[list[Event]] = []
        for events in reversed(self._batches):
            first = events[0].offset
            if first <= last:
                batches.append(events[max(0, lo - first) : last - first + 1])
            if first <= lo:
                break
        return [event for events in reversed(batches) for event in events]
