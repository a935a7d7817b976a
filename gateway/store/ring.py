"""The newest events in memory, for readers that keep up. Bounded by their number and size; whole commits come and go."""

from collections import deque

from gateway.event import Event

largest = 16_000_000
"""Bytes held at most, beside the newest commit: a camera's pictures must not fill the memory."""


class Ring:
    """Batches in the order of their offsets, which follow each other."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._batches: deque[list[Event]] = deque()
        self._sizes: deque[int] = deque()
        self._held = self._size = 0

    @property
    def first(self) -> int | None:
        """Oldest offset held; None: nothing is."""
        return self._batches[0][0].offset if self._batches else None

    def add(self, events: list[Event], size: int) -> None:
        """What was just committed, and the bytes it occupies."""
        if not events:
            return
        self._batches.append(events)
        self._sizes.append(size)
        self._held += len(events)
        self._size += size
        while len(self._batches) > 1 and (self._held - len(self._batches[0]) >= self._most or self._size > largest):
            self._held -= len(self._batches.popleft())
            self._size -= self._sizes.popleft()

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
