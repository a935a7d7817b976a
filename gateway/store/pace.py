"""How long a commit waits for company, so that flash and CPU are spared, and how many there were; ``log.py`` does the waiting."""

import asyncio
import select
from collections.abc import Callable

from msgspec import Struct

enough = 100
"""Pending events that start a commit without waiting: from there on a batch costs about 300 bytes per event."""

few = 10
"""Pending events that start one when nothing more comes: below it a batch costs more than a kilobyte per event."""


unasked = 20
"""Commits for which nobody listens to each arrival, once senders were seen to go on without being acknowledged."""


class Pace(Struct):
    """How long a commit waits for company; seconds."""

    pace: float = 0.020
    linger: float = 0.250
    retry: float = 30.0
    """Between tries while the disk fails."""
    quiet: float = 0.003
    """Without an arrival: then nobody is believed to be about to send more."""
    doze: float = 0.010
    """The longest that the event loop sleeps without listening to anybody."""


class Figures(Struct):
    """What the log has done since it was opened."""

    events: int = 0
    commits: int = 0


_nothing = 500  # µs that three turns of an event loop take at most that has nothing to do


async def idle(now: Callable[[], int]) -> bool:
    """Let everything that is ready have its turn; whether that was nothing to speak of. ``now``: µs."""
    began = now()
    for _ in range(3):
        await asyncio.sleep(0)
    return now() - began < _nothing


def doze(seconds: float) -> None:
    """Stop the whole event loop, on purpose. (Not by time.sleep, which fails where tests turn the clock.)"""
    select.select((), (), (), seconds)
