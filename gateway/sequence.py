"""Which numbered messages were seen before: per source the highest number and the 63 before it, for ever and in O(1).

A device that counts its messages lets repeats be told from equal measurements. What isn't certain counts as new: storing
something twice can be put right later, dropping it can't.

    ahead of the mark        new
    in the window behind it  new if its bit isn't set: it comes late
    further behind           new: the counter has started again, or it comes very late; it becomes the mark
    0 or 1, behind the mark  new: the counter has started again

A counter of few bits wraps (the packet ids of BTHome at 256), so that a number alone proves nothing after a silence: then
only the very number of the mark, which radios repeat for as long as they have nothing new, is a repeat.
"""

from collections.abc import Iterable

from msgspec import Struct

width = 64
"""Numbers in the window, the mark included."""

silence = 30_000_000
"""Microseconds without a sign of life after which a counter of few bits may have gone round."""

_all = (1 << width) - 1


class Mark(Struct):
    """``window``: bit n is set if mark - n was seen. ``heard``: monotonic µs, None after a restart."""

    mark: int
    window: int = 1
    heard: int | None = None


class Sequences:
    """The marks of all sources that count. What changed belongs into the transaction that holds the readings."""

    def __init__(self, rows: Iterable[tuple[str, int, int]] = ()) -> None:
        self._marks = {source: Mark(mark & _all, window & _all) for source, mark, window in rows}
        self._changed: dict[str, Mark] = {}

    def is_new(self, source: str, number: int, bits: int | None, monotonic: int) -> bool:
        """Whether this number of the source comes for the first time; from now on it was seen.

        bits  width of the counter, where it is so narrow that it wraps; None: it doesn't
        """
        mark = self._marks.get(source)
        if mark is None:
            mark = self._marks[source] = Mark(number, 0)
        heard, mark.heard = mark.heard, monotonic
        ahead = number - mark.mark
        wraps = bits is not None and max(number, mark.mark) < 1 << bits
        if wraps and bits is not None:
            ahead = (ahead + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)
            if ahead and (heard is None or monotonic - heard > silence):
                ahead = width  # any number of rounds later
        if ahead > 0:
            mark.window = (mark.window << ahead | 1) & _all if ahead < width else 1
            mark.mark = number
        elif ahead <= -width or (ahead and number <= 1 and not wraps):
            mark.mark, mark.window = number, 1
        elif mark.window >> -ahead & 1:
            return False
        else:
            mark.window |= 1 << -ahead
        self._changed[source] = mark
        return True

    def changes(self) -> list[tuple[str, tuple[object, ...]]]:
        """Statements that keep what changed since the last call."""
        if not self._changed:
            return []
        changed, self._changed = self._changed, {}
        sql = "insert or replace into sequence (source, mark, window) values (?, ?, ?)"
        return [(sql, (source, _signed(mark.mark), _signed(mark.window))) for source, mark in changed.items()]


known = "select source, mark, window from sequence"


def _signed(number: int) -> int:
    """SQLite's integers have a sign and 64 bits."""
    return number - (1 << 64) if number >> 63 else number
