"""Hands what a client published to its subscribers: as much in one turn of the event loop as others can wait for.

One read may hold six thousand messages, and each may go to hundreds. What is left waits for its next turn, in order, and
meanwhile nothing more is read from that client.
"""

from collections.abc import Callable
from typing import Protocol

from gateway.hub.inlet import Publish


class Publisher(Protocol):
    """A connection. ``behind``: not everything is handed over."""

    behind: bool

    def regulate(self) -> None:
        """Read only if it isn't."""


class Passage:
    """portion  hands over some of these messages; how many
    later    calls something in the next turn of the event loop"""

    def __init__(
        self, portion: Callable[[list[Publish]], int], later: Callable[[Callable[[], object]], object]
    ) -> None:
        self._portion = portion
        self._later = later
        self._waiting: dict[Publisher, list[Publish]] = {}

    def route(self, publisher: Publisher, messages: list[Publish]) -> None:
        """Hand these over, after what this publisher has published before."""
        before = self._waiting.get(publisher)
        if before is not None:
            before.extend(messages)
            return
        done = self._portion(messages)
        if done < len(messages):
            if not self._waiting:
                self._later(self._turn)
            self._waiting[publisher] = messages[done:]
            publisher.behind = True
            publisher.regulate()

    def _turn(self) -> None:
        publisher = next(iter(self._waiting))
        messages = self._waiting.pop(publisher)
        done = self._portion(messages)
        if done < len(messages):
            self._waiting[publisher] = messages[done:]  # behind the others
        else:
            publisher.behind = False
            publisher.regulate()
        if self._waiting:
            self._later(self._turn)
