"""What lasting sessions and replays need of the log. ``gateway/history.py`` implements it on the store."""

from asyncio import Future
from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from gateway.hub.inlet import Publish, Statement
from gateway.hub.properties import Property


class Told(Struct, gc=False):
    """An event of the log as the message that subscribers get. ``own``: it is Redcar's, below redcar/events/."""

    offset: int
    message: Publish
    own: bool = False

    @property
    def expired(self) -> bool:
        """It may not be sent any more [MQTT-3.3.2-5], unless that has begun [MQTT-4.3.3-7]."""
        properties = self.message.properties
        return properties is not None and properties.get(Property.message_expiry) == 0


def once_stored(future: Future[None], then: Callable[[], object]) -> None:
    """Go on when that is on the disk; never, if it can't be any more."""

    def done(_: object) -> None:
        if not future.cancelled() and not future.exception():
            then()

    future.add_done_callback(done)


class Position(Protocol):
    """How far one session has come in the log, and what it noted there."""

    @property
    def state(self) -> bytes | None:
        """What was noted with it."""

    @property
    def through(self) -> int:
        """Everything up to this offset is done."""

    def advance(self, through: int, state: bytes) -> None:
        """Move; on the disk with some later commit. May move back."""

    def commit(self, through: int, state: bytes) -> Future[None]:
        """Move; done when it is on the disk, however long that takes."""

    def give_up(self, through: int, count: int, state: bytes) -> None:
        """Move beyond ``count`` messages that were never delivered; a gap event says so."""


class History(Protocol):
    """The log, as the hub sees it."""

    @property
    def head(self) -> int:
        """Offset of the newest event."""

    def keep(self, statements: list[Statement]) -> Future[None]:
        """Execute these in one transaction; done when it is on the disk, however long that takes. It fails only when nothing
        can be stored any more."""

    async def read(
        self, lo: int, hi: int, wanted: Callable[[str], bool], own: Callable[[str], bool] | None
    ) -> tuple[list[Told], int]:
        """Messages from offset ``lo`` on, at most up to ``hi``, on topics that are wanted, and how far that was.
        ``own``: which of Redcar's topics are; None: none of them."""

    async def beyond(self, offset: int) -> None:
        """Wait until the log holds an event after that offset."""

    async def offset_at(self, time: int) -> int:
        """First offset recorded at or after that time (µs)."""

    async def find(self, name: str) -> Position | None:
        """The position of that name, if there is one."""

    async def names(self) -> list[str]:
        """Of all positions."""

    def make(self, name: str, through: int) -> tuple[Position, Statement]:
        """A new position, and the statement that keeps it."""

    def drop(self, name: str) -> list[Statement]:
        """Forget a position: the statements for that."""

    def gave_up(self, reason: str, count: int) -> None:
        """Say in the log that so many messages had to be given up."""
