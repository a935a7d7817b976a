"""Clocks that a test moves by hand."""

from gateway.clock import Clock
from gateway.event import SECOND

NOW = 1_790_000_000 * SECOND


class Machine:
    """A computer with both clocks (µs), a boot, and somebody who confirms the time or doesn't."""

    def __init__(self, wall: int = NOW, *, synchronised: bool = False, boot: str = "boot-1") -> None:
        self.wall, self.monotonic, self.synchronised, self.boot = wall, 5 * SECOND, synchronised, boot
        self.asked = 0

    def passes(self, seconds: float) -> None:
        self.wall += round(seconds * SECOND)
        self.monotonic += round(seconds * SECOND)

    def reboots(self, wall: int) -> None:
        self.wall, self.monotonic, self.boot, self.synchronised = wall, 5 * SECOND, f"{self.boot}'", False

    def clock(self, trust: bool = False) -> Clock:
        return Clock(lambda: self.wall * 1000, lambda: self.monotonic * 1000, self._ask, self.boot, trust)

    def _ask(self) -> bool:
        self.asked += 1
        return self.synchronised
