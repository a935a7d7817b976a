"""Everything foreseen that can go wrong, and who can act on it.

``retry`` is decided where the error is made: True means that trying again later may help.
The messages are part of the interface: say what happened, and what to do.
"""

from asyncio import Future

from msgspec import Struct


class RedcarError(Exception):
    """Base of the tree."""

    retry = False


class Fault(Struct, frozen=True):
    """One thing wrong in a file, with its cure.

    ``redcar.toml:14: binding[1].baud: 'fast' isn't a whole number: write e.g. baud = 9600``
    """

    file: str
    line: int
    place: str
    problem: str
    cure: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        place = f" {self.place}:" if self.place else ""
        return f"{where}:{place} {self.problem}: {self.cure}"


class ConfigError(RedcarError):
    """The operator edits a file. Holds all faults of all files, so that one round of editing is enough."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


class Undecodable(RedcarError):
    """A payload that its driver can't read. It becomes a ``rejected`` event with its bytes.

    reason  one of a closed list: ``not_json``, ``not_text``, ``not_a_number``, ``truncated``, ``checksum``,
            ``unknown_format``, ``encrypted``, ``sensor_fault``, ``too_long``, ``driver_failed``
    detail  what was seen, in words for a person
    """

    reasons = frozenset(
        (
            "not_json",
            "not_text",
            "not_a_number",
            "truncated",
            "checksum",
            "unknown_format",
            "driver_failed",
            "encrypted",
            "sensor_fault",
            "too_long",
        )
    )

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class CannotListen(RedcarError):
    """An address or port of ours can't be had now: another program has it, or the network isn't up yet."""

    retry = True


class LinkLost(RedcarError):
    """The port is gone, absent or busy, the adapter is off. The supervisor tries again."""

    retry = True


class DeviceSilent(RedcarError):
    """Nothing usable came for the time configured. The supervisor reopens the link."""

    retry = True


class DeviceRefused(RedcarError):
    """The device or the system said no for good (permission, wrong kind). Trying again won't help."""


class SinkUnavailable(RedcarError):
    """Nobody answers there now. Events are kept and sent later."""

    retry = True


class SinkRefused(RedcarError):
    """The sink's configuration can't work (bad credentials, no such topic). Somebody has to change something."""


class StoreFull(RedcarError):
    """No room on the disk. Nothing is acknowledged until there is; what was acknowledged is safe."""

    retry = True


class StoreFailed(RedcarError):
    """The disk didn't take a commit. It isn't known whether what was in it is stored: whoever sent it sends it again.

    later  done when the disk has taken it after all, as it does once it works again; None: this process won't see that
    """

    retry = True
    later: "Future[None] | None" = None


class StoreLocked(RedcarError):
    """Another process writes this log."""


class StoreNewer(RedcarError):
    """The log was written by a newer Redcar."""


class StoreDamaged(RedcarError):
    """A page of the log can't be read."""
