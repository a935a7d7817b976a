"""Which time to believe: the one place that reads the clocks.

A Pi has no clock of its own: it boots at the time of its last shutdown, or in 1970, and jumps when NTP answers. So what
happens between two moments is measured with ``monotonic()``, which only goes forward and starts anew with every boot;
``now()`` is what the machine believes, and ``trusted()`` says whether anybody has confirmed it.

Who confirms, in the order in which we ask: systemd-timesyncd's mark, the kernel's sync flag (adjtimex, read only), and
where the service's own walls hide that, org.freedesktop.timedate1, which also speaks for chrony.
"""

import ctypes
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from gateway.event import SECOND

_MARK = Path("/run/systemd/timesync/synchronized")
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_TIME_ERROR = 5  # adjtimex(2): the clock isn't synchronised


class Era(Struct):
    """A stretch of time in which the wall clock wasn't set and its trust didn't change.

    apart    wall minus monotonic time, µs; follows the slow corrections of a clock that is trusted
    trusted  whether somebody confirms the wall clock
    """

    apart: int
    trusted: bool


class Clock:
    """Wall time, monotonic time, and what the first is worth.

    trust  believe the wall clock unasked: the machine has a clock of its own and no NTP
    """

    def __init__(
        self,
        wall: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], int] = time.monotonic_ns,
        synchronised: Callable[[], bool] | None = None,
        boot: str | None = None,
        trust: bool = False,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._synchronised = synchronised or Synchronisation()
        self.boot = boot or boot_id()
        self._trust = trust
        self._confirmed = False
        self._asked: int | None = None
        self._apart = (wall() - monotonic()) // 1000
        self._era: Era | None = None

    def now(self) -> int:
        """µs since 1970 UTC, as far as this machine knows."""
        return self._wall() // 1000

    def monotonic(self) -> int:
        """µs since some moment of this boot. For intervals: nobody can set it."""
        return self._monotonic() // 1000

    def trusted(self) -> bool:
        """Whether ``now()`` is confirmed. Asks at most every 5 s; cheap enough for every batch."""
        if self._trust:
            return True
        at = self.monotonic()
        if self._asked is None or at - self._asked >= 5 * SECOND:
            self._asked = at
            self._confirmed = self._synchronised()
        return self._confirmed

    def era(self) -> Era:
        """The era we are in: another object as soon as the wall clock was set by more than a second, or won or lost trust.

        Cheap enough for every batch. NTP's gentle corrections stay far below a second between two calls; a clock that nobody
        confirms may drift by a second in one era.
        """
        trusted = self.trusted()
        apart = (self._wall() - self._monotonic()) // 1000
        moved, self._apart = apart - self._apart, apart
        era = self._era
        if era is None or trusted != era.trusted or abs(moved) > SECOND:
            era = self._era = Era(apart, trusted)
        elif trusted:
            era.apart = apart
        elif abs(apart - era.apart) > SECOND:
            era = self._era = Era(apart, trusted)
        return era


def boot_id() -> str:
    """Names this boot: monotonic times compare only within one. Where the kernel has none: names this process."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return os.urandom(16).hex()


class Synchronisation:
    """Whether something keeps the system's clock right. False as long as nobody says so."""

    def __init__(self, mark: Path = _MARK) -> None:
        self._mark = mark
        self._said = False
        self._asking: threading.Thread | None = None

    def __call__(self) -> bool:
        if self._mark.exists():
            return True
        kernel = _kernel()
        if kernel is not None:
            return kernel
        if self._asking is None or not self._asking.is_alive():
            # starting a program takes milliseconds that the event loop doesn't have: the answer serves the next call
            self._asking = threading.Thread(target=self._ask, name="timedate1", daemon=True)
            self._asking.start()
        return self._said

    def _ask(self) -> None:
        name = "org.freedesktop.timedate1"
        question = ["busctl", "get-property", name, "/org/freedesktop/timedate1", name, "NTPSynchronized"]
        try:
            answer = subprocess.run(question, capture_output=True, timeout=10, check=False)
            self._said = answer.stdout.strip() == b"b true"
        except (OSError, subprocess.TimeoutExpired):
            self._said = False


class _Timex(ctypes.Structure):
    """struct timex of adjtimex(2); ``modes`` = 0 asks and changes nothing. The rest is room for the answer."""

    _fields_ = [("modes", ctypes.c_uint), ("rest", ctypes.c_long * 64)]


def _kernel() -> bool | None:
    """The kernel's sync flag; None where it can't be asked."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.byref(_Timex()))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR
