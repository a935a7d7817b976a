"""Anomaly detectors. A detector is one file here (or an entry point in the group ``redcar.detectors``); its file name is
its kind, ``detector = "extremes"`` in a rule. It holds a class ``Detector`` without arguments, for one series of numbers:
"""

from collections.abc import Sequence
from functools import cache
from typing import Protocol

from gateway.kinds import find, known


class Detector(Protocol):
    """Score first, then learn: a value is judged by what came before it. Never raises; bounded memory; reads no clock."""

    def score(self, time: int, value: float) -> float:
        """How odd this value is: 0 (nothing to say) to 1. Times are in µs and mostly rise."""

    def learn(self, time: int, value: float) -> None:
        """Take the value into what is normal."""

    def why(self) -> str:
        """The latest score above 0 in words that go on from the name of the metric: ``12 is below ...``"""

    def state(self) -> list[float]:
        """All it knows, as numbers."""

    def restore(self, state: Sequence[float]) -> None:
        """Go on from there."""


def kinds() -> list[str]:
    """Every kind that a rule can name, in order."""
    return known(__name__)


@cache
def load(kind: str) -> type[Detector]:
    """The detector of that kind. Raises KeyError if there is none."""
    found: type[Detector] = find(__name__, kind).Detector
    return found
