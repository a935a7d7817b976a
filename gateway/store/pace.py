"""How long a commit waits for company, so that flash and CPU are spared, and how many there were; ``log.py`` does the waiting."""

from msgspec import Struct

enough = 100
"""Pending events that start a commit without waiting: from there on a batch costs about 300 bytes per event."""

few = 10
"""Pending events that start one when nothing more comes: below it a batch costs more than a kilobyte per event."""


class Pace(Struct):
    """How long a commit waits for company; seconds."""

    pace: float = 0.020
    linger: float = 0.250
    retry: float = 30.0
    """Between tries while the disk fails."""
    quiet: float = 0.003
    """Without an arrival: then nobody is believed to be about to send more."""


class Figures(Struct):
    """What the log has done since it was opened."""

    events: int = 0
    commits: int = 0
