"""Which events somebody wants: globs of types and sources."""

import re
from fnmatch import translate

from msgspec import Struct

from gateway.event import Event


class Globs(Struct, frozen=True):
    """What is selected: events of any of these types and any of these sources."""

    types: list[str]
    sources: list[str]


class Selection:
    """Which events are wanted. Remembers the answer per (type, source): there are few of them."""

    def __init__(self, types: list[str], sources: list[str]) -> None:
        self._types = re.compile("|".join(map(translate, types)))
        self._sources = re.compile("|".join(map(translate, sources)))
        self._known: dict[tuple[str, str], bool] = {}

    def of(self, events: list[Event]) -> list[Event]:
        """Those that are wanted, in order."""
        wanted = self.wants
        return [event for event in events if wanted(event.type, event.source)]

    def wants(self, type: str, source: str) -> bool:
        """Whether an event of this type and source is wanted."""
        key = (type, source)
        try:
            return self._known[key]
        except KeyError:
            if len(self._known) > 10_000:
                self._known.clear()
            answer = bool(self._types.match(type) and self._sources.match(source))
            self._known[key] = answer
            return answer
