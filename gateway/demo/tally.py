"""Count what arrives upstream: what is missing, what came twice, what came out of order. Knows nothing of the gateway."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct, field

from gateway import envelope


class Ranges:
    """A set of whole numbers that mostly follow each other, kept as ranges."""

    def __init__(self, pairs: Iterable[tuple[int, int]] = ()) -> None:
        self._lo: list[int] = []
        self._hi: list[int] = []
        for lo, hi in pairs:
            self._lo.append(lo)
            self._hi.append(hi)

    def add(self, number: int) -> bool:
        """True if it wasn't there."""
        at = bisect_right(self._lo, number)
        if at and self._hi[at - 1] >= number:
            return False
        joins_left = at > 0 and self._hi[at - 1] == number - 1
        joins_right = at < len(self._lo) and self._lo[at] == number + 1
        if joins_left and joins_right:
            self._hi[at - 1] = self._hi.pop(at)
            del self._lo[at]
        elif joins_left:
            self._hi[at - 1] = number
        elif joins_right:
            self._lo[at] = number
        else:
            self._lo.insert(at, number)
            self._hi.insert(at, number)
        return True

    def pairs(self) -> list[tuple[int, int]]:
        """(lo, hi) of every range, in order."""
        return list(zip(self._lo, self._hi))

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._lo, number)
        return at > 0 and self._hi[at - 1] >= number

    def __len__(self) -> int:
        return sum(hi - lo + 1 for lo, hi in self.pairs())

    def __iter__(self) -> Iterator[int]:
        for lo, hi in self.pairs():
            yield from range(lo, hi + 1)


class Report(Struct):
    """What has arrived so far.

    offsets     positions in the gateway's log, as (lo, hi)
    numbers     source -> numbers its device gave to its messages, as (lo, hi)
    repeats     events that came again with the id they had: a receiver drops those
    duplicates  (source, number) of measurements that came again as another event: nobody could drop those
    disorder    events that came after a later one of their lane
    unreadable  messages that aren't CloudEvents
    """

    offsets: list[tuple[int, int]] = field(default_factory=list)
    numbers: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    repeats: int = 0
    duplicates: list[tuple[str, int]] = field(default_factory=list)
    disorder: int = 0
    unreadable: int = 0

    @property
    def events(self) -> int:
        """Different events."""
        return sum(hi - lo + 1 for lo, hi in self.offsets)


class _Numbered(Struct):
    n: int | None = None


_number = msgspec.json.Decoder(_Numbered)


class Tally:
    """Takes messages as they come. Devices that are to be checked end to end put a running number ``n`` into theirs."""

    def __init__(self) -> None:
        self._offsets = Ranges()
        self._numbers: dict[str, Ranges] = {}
        self._newest: dict[str, int] = {}
        self._report = Report()

    def take(self, payload: bytes) -> None:
        """One message: a CloudEvent, or a batch of them."""
        try:
            received = envelope.parse(payload)
        except msgspec.DecodeError:
            self._report.unreadable += 1
            return
        for one in received:
            self._one(one)

    def _one(self, one: envelope.CloudEvent) -> None:
        offset = int(one.sequence)
        if not self._offsets.add(offset):
            self._report.repeats += 1
            return
        if offset < self._newest.get(one.lane, 0):
            self._report.disorder += 1
        self._newest[one.lane] = offset
        if one.type == "reading":
            number = _number.decode(one.data).n
            if number is not None and not self._numbers.setdefault(one.subject, Ranges()).add(number):
                self._report.duplicates.append((one.subject, number))

    def report(self) -> Report:
        """As of now."""
        self._report.offsets = self._offsets.pairs()
        self._report.numbers = {source: numbers.pairs() for source, numbers in self._numbers.items()}
        return self._report
