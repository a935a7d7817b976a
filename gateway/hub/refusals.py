"""Says who was turned away and what would help, without letting one address flood the journal."""

import logging
from collections.abc import Callable

from msgspec import Struct, field

_LINES = 10  # for one address in its period
_PERIOD = 60.0  # seconds; twice as long each time an address goes on
_LONGEST = 600.0
_ADDRESSES = 1000  # remembered; beyond that the oldest is reported and forgotten

log = logging.getLogger("redcar.hub")


class _Tally(Struct):
    since: float
    period: float = _PERIOD
    said: set[str] = field(default_factory=set)
    silent: int = 0
    full: bool = False


class Refusals:
    """For each address ten different sentences in a minute, then a count. Who goes on is heard every two minutes, every
    four, in the end every ten: a device that tries each second for a week mustn't fill the card."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.total = 0
        self._now = now
        self._tallies: dict[str, _Tally] = {}

    def note(self, address: str, sentence: str) -> None:
        """Log a sentence with reason and remedy, or count it."""
        self.total += 1
        tally = self._tallies.get(address)
        if tally is None:
            if len(self._tallies) >= _ADDRESSES:
                oldest = next(iter(self._tallies))
                self._count(oldest, self._tallies.pop(oldest))
            tally = self._tallies[address] = _Tally(self._now())
        if len(tally.said) < _LINES and sentence not in tally.said:
            tally.said.add(sentence)
            log.warning("%s: %s", address, sentence)
            return
        tally.silent += 1
        log.debug("%s: %s", address, sentence)
        if sentence not in tally.said and not tally.full:
            tally.full = True
            log.warning(
                "%s: of what else is wrong there only the count is said for a while: redcar run --verbose says all",
                address,
            )

    def sweep(self) -> None:
        """Count up where a period is over, and forget who was quiet in it."""
        now = self._now()
        for address, tally in list(self._tallies.items()):
            if now - tally.since < tally.period:
                continue
            if tally.said:
                self._count(address, tally)
                self._tallies[address] = _Tally(now, min(2 * tally.period, _LONGEST))
            else:
                del self._tallies[address]

    def _count(self, address: str, tally: _Tally) -> None:
        if tally.silent:
            minutes = round(tally.period / 60)
            span = f"{minutes} minutes" if minutes > 1 else "minute"
            log.warning("%s: turned away %d more times in the last %s", address, tally.silent, span)
