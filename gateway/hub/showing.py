"""Shows new subscriptions what is retained: one filter with wildcards at a time, in turns of the event loop.

To look through ten thousand topics takes milliseconds, and one SUBSCRIBE may hold a thousand filters: meanwhile the others
get their turn. Sessions take turns as well. What is shown is as retained when its turn comes, so nothing old follows
something newer.
"""

from collections import deque
from collections.abc import Callable, Sequence

from gateway.hub.session import Session

Show = Callable[[Session, str, int, Sequence[int]], bool]
"""Give a session what is retained and matches a filter; False: it reads too slowly and is put out."""


class Showing:
    """later  calls something in the next turn of the event loop; None: there is none, and no others who wait."""

    def __init__(self, show: Show) -> None:
        self.later: Callable[[Callable[[], object]], object] | None = None
        self._show = show
        self._waiting: dict[Session, deque[tuple[str, int, Sequence[int]]]] = {}
        self._under_way = False

    def begin(self, session: Session, wanted: Sequence[tuple[str, int]], identifiers: Sequence[int]) -> int:
        """Filters, each with its QoS; the first is looked at now. How many of this session wait."""
        if wanted:
            waiting = self._waiting.setdefault(session, deque())
            waiting.extend((filter, qos, identifiers) for filter, qos in wanted)
            if len(waiting) == len(wanted):
                self._some(session)
        if self._waiting and self.later is None:
            while self._waiting:
                self._some(next(iter(self._waiting)))
        elif self._waiting and self.later and not self._under_way:
            self._under_way = True
            self.later(self._turn)
        return len(self._waiting.get(session, ()))

    def _turn(self) -> None:
        self._some(next(iter(self._waiting)))
        self._under_way = bool(self._waiting)
        if self._waiting and self.later:
            self.later(self._turn)

    def _some(self, session: Session) -> None:
        """Filters that are found at once, and one that has to be looked for; then it is behind the others."""
        waiting = self._waiting.pop(session)
        while waiting and not session.over:
            filter, qos, identifiers = waiting.popleft()
            if not self._show(session, filter, qos, identifiers):
                break
            if waiting and ("+" in filter or "#" in filter):
                self._waiting[session] = waiting
                break
        session.flush()
