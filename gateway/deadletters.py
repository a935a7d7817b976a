"""Dead letters: ``rejected`` events that say what couldn't be read or delivered, and why.

    stage      decode (an input; the event holds its bytes) or deliver (``offset`` and ``cause`` point at the original)
    reason     of the closed list below; ``detail`` says it in words
    permanent  trying again as things are won't help
    attempts   how often it was tried

The list of those that wait for somebody is a fold: rejected, minus what a ``dlq.redriven`` or ``dlq.dropped`` points at.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from gateway.errors import Undecodable
from gateway.event import Event, event
from gateway.store.rows import head_of, search

if TYPE_CHECKING:
    from sqlite3 import Connection

reasons = Undecodable.reasons | {"refused", "doubtful"}
"""refused: the receiver will never take it; doubtful: it never said whether it took it."""

rejected, redriven, dropped = "rejected", "dlq.redriven", "dlq.dropped"


def undelivered(original: Event, consumer: str, reason: str, detail: str, attempts: int, now: int) -> Event:
    """A delivery that was given up."""
    said = {"stage": "deliver", "consumer": consumer, "reason": reason, "detail": detail}
    tried = {"permanent": reason == "refused", "attempts": attempts, "offset": original.offset}
    return event(rejected, original.source, {**said, **tried}, time=now, cause=original.offset)


def settled(letter: Event, how: str, now: int) -> Event:
    """Somebody has dealt with it: ``redriven`` or ``dropped``."""
    return event(how, letter.source, {"offset": letter.offset}, time=now, cause=letter.offset)


def waiting(db: "Connection") -> list[Event]:
    """Dead letters that wait for somebody, oldest first. Looks at every block, but into those only that hold some."""
    letters: dict[int, Event] = {}
    for found in _all(db):
        if found.type == rejected:
            letters[found.offset] = found
        else:
            letters.pop(found.cause, None)
    return list(letters.values())


def matching(letters: Iterable[Event], where: dict[str, str]) -> Iterator[Event]:
    """Those whose data, or source, is as ``where`` says."""
    for letter in letters:
        said = {
            key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in letter.data.items()
        }
        if all(wanted == (letter.source if key == "source" else said.get(key)) for key, wanted in where.items()):
            yield letter


def _all(db: "Connection") -> Iterator[Event]:
    wanted = {rejected, redriven, dropped}
    found = search(db, 1, head_of(db), lambda outline: not wanted.isdisjoint(outline.types))
    return (one for one in found if one.type in wanted)
