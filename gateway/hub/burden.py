"""What all clients together make us hold in memory: half packets, messages they don't read, QoS 2 ids they don't release.

Each client's share is bounded, and two thousand shares would still fill a small machine. No account is kept while messages
pass: everybody is weighed once a second, and when much has come from those who make us hold some.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar

from gateway.hub.arrivals import QOS2_ID
from gateway.hub.limits import Limits
from gateway.hub.members import Member
from gateway.hub.reasons import Reason
from gateway.hub.sessions import Sessions

if TYPE_CHECKING:
    from gateway.hub.connection import Connection

T = TypeVar("T")


class Burden:
    """Of connections, and of sessions that are away."""

    def __init__(self, limits: Limits, connections: "Iterable[Connection]", sessions: Sessions) -> None:
        self._limits = limits
        self._connections = connections
        self._sessions = sessions
        self._grown = 0  # bytes since everybody was weighed

    def add(self, size: int) -> None:
        """So many bytes came from somebody who makes us hold some."""
        self._grown += size
        if self._grown > self._limits.held // 8:
            self.shed()

    def shed(self) -> None:
        """Weigh everybody; beyond the limit those go who hold most."""
        self._grown = 0
        weights: dict[Connection | Member, int] = {one: one.weight for one in self._connections}
        weights |= {one: QOS2_ID * len(one.qos2) for one in self._sessions if one.qos2}
        for one in heaviest(weights, self._limits.held):
            text = f"it holds {weights[one]:,} bytes, and all clients too many: if they are yours, raise held under [limits]"
            if isinstance(one, Member):
                self._sessions.expire(one, text)
            else:
                one.end(Reason.QUOTA_EXCEEDED, text)


def heaviest(weights: dict[T, int], most: int) -> list[T]:
    """Those who weigh most, until the others together weigh no more than ``most``."""
    over = sum(weights.values()) - most
    found: list[T] = []
    for one in sorted(weights, key=weights.__getitem__, reverse=True) if over > 0 else ():
        found.append(one)
        over -= weights[one]
        if over <= 0:
            break
    return found
