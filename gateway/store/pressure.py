"""What is given up before it is stored: serial and BLE can't be slowed down while the disk takes nothing."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from gateway.event import Event
from gateway.store.rows import Statement

overhead = 200
"""Bytes an event occupies in memory beside its body."""


def weight(events: Sequence[Event]) -> int:
    """Bytes that events occupy in memory, about."""
    return sum([len(event.body) for event in events]) + overhead * len(events)


def burden(also: Sequence[Statement]) -> int:
    """The same of statements: what is in their texts and blobs."""
    return sum(len(value) for _, values in also for value in values if isinstance(value, bytes | str))


class GivenUp:
    """Counts readings for which there was no room in memory, until somebody can be told."""

    def __init__(self) -> None:
        self._sources: Counter[str] = Counter()

    def from_(self, events: list[Event]) -> list[Event]:
        """Give up the readings of these; gives the rest."""
        kept = [event for event in events if event.type != "reading"]
        self._sources.update(event.source for event in events if event.type == "reading")
        return kept

    def owned_up(self) -> dict[str, Any] | None:
        """What there is to say in a gap event, once; None: nothing."""
        if not self._sources:
            return None
        said = {"reason": "memory", "count": self._sources.total(), "sources": dict(self._sources)}
        self._sources = Counter()
        return said
