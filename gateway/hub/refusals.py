"""Says who was turned away and what would help, without letting one address flood the journal."""

import logging
from collections.abc import Callable

from msgspec import Struct

_LINES = 10  # per address
_PERIOD = 60.0  # seconds
_ADDRESSES = 1000  # remembered; beyond that the oldest is reported and forgotten

log = logging.getLogger("redcar.hub")


class _Tally(Struct):
    since: float
    lines: int = 0
    silent: int = 0


class Refusals:
    """Ten lines a minute for each address, then a count."""

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
                self._close(next(iter(self._tallies)))
            tally = self._tallies[address] = _Tally(self._now())
        if tally.lines < _LINES:
            tally.lines += 1
            log.warning("%s: %s", address, sentence)
        else:
            tally.silent += 1

    def sweep(self) -> None:
        """Begin a new minute where one is over."""
        due = self._now() - _PERIOD
        for address in [address for address, tally in self._tallies.items() if tally.since <= due]:
            self._close(address)

    def _close(self, address: str) -> None:
        tally = self._tallies.pop(address)
        if tally.silent:
            log.warning("%s: turned away %d more times in the last minute", address, tally.silent)
