"""How many come from where, and who guesses passwords. Loopback is exempt from counting: there everybody has one address."""

from collections import Counter, deque
from collections.abc import Callable

from gateway.hub.limits import Limits

_MINUTE = 60.0
_REMEMBERED = 10_000  # pairs of address and user whose wrong passwords are counted; beyond it the oldest is forgotten


class Guests:
    """Sockets by address."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open: Counter[str] = Counter()
        self._strangers: Counter[str] = Counter()

    def enter(self, address: str) -> str | None:
        """A socket was opened; why it is one too many, if it is. Every ``enter`` needs its ``leave``."""
        self._open[address] += 1
        self._strangers[address] += 1
        if self._open[address] > self._limits.per_address:
            return f"{self._limits.per_address} clients from this address are connected already"
        if self._strangers[address] > self._limits.strangers:
            return f"{self._limits.strangers} clients from this address have connected and not said who they are"
        return None

    def known(self, address: str) -> None:
        """One was let in."""
        _less(self._strangers, address)

    def leave(self, address: str, known: bool) -> None:
        """A socket was closed; ``known``: its client had been let in."""
        _less(self._open, address)
        if not known:
            _less(self._strangers, address)

    def __bool__(self) -> bool:
        return bool(self._open or self._strangers)


def _less(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]


class Guesses:
    """Wrong passwords of one user from one address: too many, and they aren't looked at for a minute."""

    def __init__(self, most: int, now: Callable[[], float]) -> None:
        self._most = most
        self._now = now
        self._times: dict[tuple[str, str], deque[float]] = {}

    def wrong(self, address: str, user: str) -> None:
        """One more."""
        times = self._times.pop((address, user), None) or deque(maxlen=self._most)
        if len(self._times) >= _REMEMBERED:
            del self._times[next(iter(self._times))]
        times.append(self._now())
        self._times[address, user] = times

    def too_many(self, address: str, user: str) -> bool:
        """Whether to look at another at all."""
        times = self._times.get((address, user))
        return times is not None and len(times) == self._most and self._now() - times[0] < _MINUTE
