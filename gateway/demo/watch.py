"""What the demo shows, gathered from the running gateway: read from its log, like every reader does."""

from collections import deque
from pathlib import Path

from msgspec import Struct, field

from gateway.app import Gateway
from gateway.event import SECOND, Event


class Picture(Struct):
    """The state of things at one moment."""

    seconds: float = 0.0
    stored: int = 0
    rate: float = 0.0
    backlog: int = 0
    lanes: dict[str, int] = field(default_factory=dict)
    delivered: int = 0
    plugged_in: bool = True
    connected: bool = False
    written: float | None = None
    """Bytes written to disk per event; None: the system doesn't say, or the folder is in memory."""
    alarms: dict[str, Event] = field(default_factory=dict)
    """Occurrence -> its ``alarm.raised``."""
    devices: dict[str, Event] = field(default_factory=dict)
    """Source -> its newest reading."""
    news: list[str] = field(default_factory=list)
    """What happened since the last picture, other than readings."""
    latest: list[Event] = field(default_factory=list)
    """The newest events, but of each source and type one per picture: else the busiest device would fill them."""


class Watch:
    """Takes pictures."""

    def __init__(self, gateway: Gateway) -> None:
        self.raised = 0
        self.cleared = 0
        self.picture = Picture()
        self._gateway = gateway
        self._position = 0
        self._first_written = disk_bytes()
        self._first_stored = gateway.log.head
        self._rates: deque[tuple[float, int]] = deque(maxlen=12)
        self._latest: deque[Event] = deque(maxlen=8)

    async def look(self, seconds: float, plugged_in: bool) -> Picture:
        """Read what is new and say how things stand."""
        log, picture = self._gateway.log, self.picture
        picture.news = []
        newest: dict[tuple[str, str], Event] = {}
        while events := await log.read(self._position + 1):
            self._position = events[-1].offset
            for event in events:
                self._take(event)
                newest[event.source, event.type] = event
        self._latest += sorted(newest.values(), key=lambda event: event.offset)
        picture.latest = list(self._latest)
        picture.seconds, picture.plugged_in = seconds, plugged_in
        picture.stored = log.head
        self._rates.append((seconds, log.head))
        (then, before), (now, after) = self._rates[0], self._rates[-1]
        picture.rate = (after - before) / (now - then) if now > then else 0.0
        (forwarder,) = self._gateway.forwarders
        picture.lanes = {
            lane: sum(owed.size(log.head) for owed in forwarder.consumer.ranges if owed.lane == lane)
            for lane in forwarder.consumer.lanes()
        }
        picture.backlog = forwarder.consumer.lag
        picture.delivered = forwarder.status.delivered
        picture.connected = forwarder.status.connected and plugged_in
        written = disk_bytes() - self._first_written
        stored = log.head - self._first_stored
        picture.written = written / stored if written and stored else None
        return picture

    def _take(self, event: Event) -> None:
        picture = self.picture
        if event.type == "reading":
            picture.devices[event.source] = event
        elif event.type == "alarm.raised":
            self.raised += 1
            picture.alarms[event.data["occurrence"]] = event
            picture.news.append(f"alarm: {event.data['text']} ({event.data['severity']})")
        elif event.type == "alarm.cleared":
            self.cleared += 1
            picture.alarms.pop(event.data["occurrence"], None)
            picture.news.append(f"cleared: {event.source} ({event.data['alarm']})")


def disk_bytes() -> int:
    """Bytes this process has caused to be written to storage; 0 if the system doesn't say. Other files count too, but in
    the demo there are none."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("write_bytes")), 0)


def clock(time: int) -> str:
    """Time of day of an event, for people: UTC, to the second."""
    hours, seconds = divmod(time // SECOND % 86_400, 3_600)
    return f"{hours:02}:{seconds // 60:02}:{seconds % 60:02}"
