"""How many come from where, and who guesses passwords. Loopback is exempt from counting: there everybody has one address."""

import ipaddress
from collections import Counter, deque
from collections.abc import Callable

from gateway.hub.limits import Limits

_MINUTE = 60.0
_REMEMBERED = 10_000  # addresses that are counted, and pairs of address and user; beyond it the oldest is forgotten


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach it, or come from it."""
    if address == "localhost":
        return True
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return bool((mapped or ip).is_loopback)


class Guests:
    """Sockets by address. ``now``: seconds that never step."""

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        self._limits = limits
        self._now = now
        self._open: Counter[str] = Counter()
        self._strangers: Counter[str] = Counter()
        self._arrived: dict[str, tuple[float, int]] = {}  # when its minute began, how many since

    def enter(self, address: str) -> str | None:
        """A socket was opened; why it is one too many, if it is. Every ``enter`` needs its ``leave``."""
        if is_loopback(address):
            return None
        limits = self._limits
        self._open[address] += 1
        self._strangers[address] += 1
        if self._arrives(address) > limits.arrivals:
            cure = "does it come and go, or share its client id? If not, raise arrivals under [limits]"
            return f"{limits.arrivals} connections from this address within a minute: {cure}"
        if self._open[address] > limits.per_address:
            cure = "if they are yours, raise per_address under [limits]"
            return f"{limits.per_address} clients from this address are connected already: {cure}"
        if self._strangers[address] > limits.strangers:
            cure = "if they are yours, raise strangers under [limits]"
            return f"{limits.strangers} clients from this address have connected and not said who they are: {cure}"
        return None

    def _arrives(self, address: str) -> int:
        now = self._now()
        began, count = self._arrived.get(address, (now, 0))
        if now - began >= _MINUTE:
            del self._arrived[address]
            began, count = now, 0
        elif not count and len(self._arrived) >= _REMEMBERED:
            del self._arrived[next(iter(self._arrived))]
        self._arrived[address] = began, count + 1
        return count + 1

    def known(self, address: str) -> None:
        """One was let in."""
        if not is_loopback(address):
            _less(self._strangers, address)

    def leave(self, address: str, known: bool) -> None:
        """A socket was closed; ``known``: its client had been let in."""
        if is_loopback(address):
            return
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
