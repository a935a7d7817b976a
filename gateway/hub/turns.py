"""Long work in portions, one in each turn of the event loop, so that nobody waits for the whole of somebody else's.

One read may hold six thousand messages, each for hundreds of subscribers, and one SUBSCRIBE a thousand filters, each of
which is held against ten thousand retained topics. What is left waits, in order, and clients take turns.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

Client = TypeVar("Client")
Work = TypeVar("Work")

Call = Callable[[], object]
Later = Callable[[Call], object]
"""Has something called in the next turn of the event loop."""


class Turns(Generic[Client, Work]):
    """some  does a portion of a client's work: how much that was"""

    def __init__(self, some: Callable[[Client, list[Work]], int], later: Later) -> None:
        self._some = some
        self._later = later
        self._left: dict[Client, list[Work]] = {}

    def begin(self, client: Client, work: list[Work]) -> int:
        """Do a portion at once, or put all of it behind what this client waits for already. How much is left for it."""
        before = self._left.get(client)
        if before is not None:
            before += work
            return len(before)
        return self._some_of(client, work)

    def _some_of(self, client: Client, work: list[Work]) -> int:
        left = work[self._some(client, work) :]
        if left:
            if not self._left:
                self._later(self._turn)
            self._left[client] = left  # behind the others
        return len(left)

    def _turn(self) -> None:
        client = next(iter(self._left))
        work = self._left.pop(client)
        if self._left:
            self._later(self._turn)  # first of all: a mistake of ours here mustn't stop everybody
        self._some_of(client, work)
