"""The disk fails under a whole gateway, with a client that sends again what wasn't acknowledged: nothing is lost, and the rules,
whose own commits were refused like everybody's, neither forget nor repeat an alarm."""

import asyncio
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from gateway.event import Event
from gateway.store import files
from gateway.store.rows import head_of, read_blocks
from tests.faults import gateway
from tests.faults.child import Child
from tests.faults.test_disk import strace
from tests.faults.test_kill import check_alarms, check_archive, stored, victim, wait_until_nothing_is_owed


class Press:
    """A device with a client library that doesn't give up. Its temperature crosses the rule's limit every 40 messages."""

    def __init__(self, port: int) -> None:
        self.broken = 0
        self.sent: list[int] = []
        """Packet ids, by the number of the message."""
        self._acknowledged: set[int] = set()
        self._client = Client(CallbackAPIVersion.VERSION2, "press", clean_session=False)
        self._client.max_inflight_messages_set(50)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self._client.connect_async("127.0.0.1", port)
        self._client.loop_start()

    def _on_disconnect(self, *_: object) -> None:
        self.broken += 1

    def _on_publish(self, _client: object, _data: object, id: int, *_: object) -> None:
        self._acknowledged.add(id)

    def say(self, **values: float) -> None:
        data = {"n": len(self.sent), **values}
        self.sent.append(self._client.publish("plant/hall/press", msgspec.json.encode(data), qos=1).mid)

    def send(self, count: int, *, often: bool = False) -> None:
        """So many. ``often``: nearly every one raises or clears an alarm."""
        turn = 2 if often else 80
        for number in range(len(self.sent), len(self.sent) + count):
            self.say(temperature=90 if number % turn < turn // 2 else 60, humidity=90 if number % 300 < 150 else 50)

    @property
    def acknowledged(self) -> set[int]:
        """Numbers of the messages that were."""
        return {number for number, id in enumerate(self.sent) if id in self._acknowledged}

    @property
    def unacknowledged(self) -> int:
        return len(self.sent) - len(self._acknowledged)

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def press(port: int) -> Iterator[Press]:
    made = Press(port)
    try:
        yield made
    finally:
        made.stop()


def until(true: Callable[[], object], what: Callable[[], str], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


def in_the_log(folder: Path, type: str) -> Callable[[], list[Event]]:
    """What there is of a type by now."""

    def look() -> list[Event]:
        with closing(files.open_to_read(folder / "data" / files.name)) as db:
            return [one for one in read_blocks(db, 1, head_of(db), 1_000_000) if one.type == type]

    return look


def grow_damp(device: Press, child: Child, folder: Path) -> None:
    """However fast the disk was: once it is humid for long enough."""
    device.say(temperature=60, humidity=90)
    until(lambda: not device.unacknowledged, child.said)
    raised = in_the_log(folder, "alarm.raised")
    until(lambda: any(one.data["alarm"] == "damp" for one in raised()), child.said)


def check_numbers(device: Press, events: list[Event]) -> None:
    """Everything is there, and hardly anything twice: what was in flight when the disk failed."""
    numbers = [one.data["n"] for one in events if one.type == "reading"]
    assert set(numbers) == set(range(len(device.sent)))
    assert len(numbers) - len(set(numbers)) <= 50 * device.broken


def test_a_sync_that_fails_costs_a_client_its_connection_and_nothing_else(tmp_path: Path) -> None:
    with victim(tmp_path) as child:
        child.start(under=strace("fdatasync:error=EIO:when=25"))  # of every connection to the file: again and again
        assert child.listening(20)
        with press(child.port) as device:
            while device.broken < 3:
                device.send(100)
                until(lambda: device.unacknowledged < 50, child.said)
            until(lambda: not device.unacknowledged, child.said)
            grow_damp(device, child, tmp_path)
        wait_until_nothing_is_owed(child)
        child.stop()
        assert "the disk fails (disk I/O error): nothing is acknowledged" in child.said()
        assert "the disk takes events again" in child.said()
        (rules,) = [lane for lane in child.owed() if lane["consumer"] == "rules"]
    events = asyncio.run(stored(tmp_path / "data"))
    check_numbers(device, events)
    check_alarms(tmp_path, [one for one in events if one.offset < rules["lo"]], events)
    check_archive(tmp_path, "archive", [one for one in events if one.offset < rules["lo"]])


def test_a_disk_that_takes_nothing_for_seconds_leaves_the_rules_as_they_were(tmp_path: Path) -> None:
    with victim(tmp_path, gateway.program) as child:
        configuration = (tmp_path / "redcar.toml").read_text()
        (tmp_path / "redcar.toml").write_text(configuration.partition("[[subscription]]")[0])  # the rules alone
        child.start()
        assert child.listening(20)
        with press(child.port) as device:
            wal = tmp_path / "data" / "events.db-wal"
            while wal.stat().st_size < 100_000:  # a checkpoint may have made it small again
                device.send(1_000)
                until(lambda: not device.unacknowledged, child.said)
            failures = 0
            while failures < 3 or not child.often("rules: the disk failed"):
                assert failures < 10, child.said()
                refuse_for_seconds(child, device)
                failures += 1
                assert child.often("the disk fails") == failures
            grow_damp(device, child, tmp_path)
        child.stop()
        assert child.often("the disk takes events again") == failures
        (rules,) = [lane for lane in child.owed() if lane["consumer"] == "rules"]
    events = asyncio.run(stored(tmp_path / "data"))
    check_numbers(device, events)
    check_alarms(tmp_path, [one for one in events if one.offset < rules["lo"]], events)


def refuse_for_seconds(child: Child, device: Press) -> None:
    """Under load, nothing can be written beyond 64 KiB of any file (EFBIG)."""
    before = child.often("the disk fails")
    _, hard = resource.prlimit(child.pid, resource.RLIMIT_FSIZE)
    device.send(1_500, often=True)
    until(lambda: device.unacknowledged < 1_200, child.said)
    resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (65_536, hard))
    until(lambda: child.often("the disk fails") > before, child.said)
    time.sleep(1.5)  # whoever had failed is started anew, and its last commit still waits
    left = device.unacknowledged
    time.sleep(0.5)
    assert device.unacknowledged == left
    resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (hard, hard))
    until(lambda: not device.unacknowledged, child.said)
