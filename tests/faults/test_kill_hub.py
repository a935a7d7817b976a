"""kill -9 between a publisher and a subscriber at QoS 2, whose sessions last: each message exactly once, in order, in the log
and at the subscriber (4.3.3), or at one of those who share a subscription. At random moments, at system calls, and while
clients come back from a lost connection."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from gateway.hub.packets import V5, V311
from tests.faults import gateway
from tests.faults.child import Child
from tests.faults.clients import Client, Publisher, Subscriber, meet, odd
from tests.faults.test_disk import strace
from tests.faults.test_kill import stored
from tests.faults.test_kill_at import killing, seeded
from tests.parts import free_port

kills = 8

CONFIGURATION = """
[gateway]
name = "victim"
data = "data"
[[listener]]
port = {port}
[[binding]]
driver = "json"
topics = ["plant/{{area}}/{{device}}/{{metric}}"]
allow = ["*"]
"""

claimed = "plant/hall/press/count"
"""A topic whose messages become readings: they are kept as they came for a session that is owed them."""

calls = {"pwrite64": 200, "fdatasync": 80, "sendto": 200}
"""Calls before which the hub is killed, within a commit, after it, before a word; and how many it makes at least."""


class Arena:
    """A hub that is killed, and clients that aren't."""

    def __init__(self, folder: Path, version: int, rng: Random) -> None:
        port = free_port()
        (folder / "redcar.toml").write_text(CONFIGURATION.format(port=port))
        self.child = Child(folder, port, gateway.program)
        self._version = version
        self._rng = rng

    def begin(self, subscribers: list[Subscriber]) -> None:
        """Let them subscribe, and kill it at the moment they know."""
        self.child.start()
        assert self.child.listening(20), self.child.said()
        self._meet([*subscribers], 30, lambda: all(one.subscribed for one in subscribers))
        self.child.kill()

    def life(self, clients: list[Client]) -> None:
        """One life of the hub, at whose end it is killed."""
        at_call = self._rng.random() < 0.5
        call, most = self._rng.choice(list(calls.items()))
        self.child.start(under=killing(call, self._rng.randint(1, most)) if at_call else None)
        if self.child.listening(20):
            seconds = 3.0 if at_call else self._rng.choice((0.1, 1.0)) * self._rng.random()
            self._meet(clients, seconds, lambda: not self.child.alive)
        self.child.kill()

    def hardship(self, clients: list[Client], fault: str, done: Callable[[], bool]) -> None:
        """A life with a disk that fails now and then, and a good end."""
        self.child.start(under=strace(fault))
        assert self.child.listening(20), self.child.said()
        self._meet(clients, 40, done)
        self.child.stop()

    def finish(self, clients: list[Client], done: Callable[[], bool]) -> None:
        """The last life, until everything is delivered."""
        self.child.start()
        assert self.child.listening(20), self.child.said()
        self._meet(clients, 40, done)
        self.child.stop()

    def _meet(self, clients: list[Client], seconds: float, done: Callable[[], bool]) -> None:
        asyncio.run(meet(self.child.port, self._version, clients, seconds, done))


def killed(folder: Path, rng: Random, version: int, times: int, topic: str = "q") -> int:
    """One publisher, one subscriber, so many kills; gives how many messages made it."""
    arena = Arena(folder, version, rng)
    publisher, subscriber = Publisher(rng, topic=topic), Subscriber(rng, filter=topic)
    try:
        arena.begin([subscriber])
        for _ in range(times):
            arena.life([subscriber, publisher])
        publisher.most = publisher.next + 300  # and it goes on
        arena.finish([subscriber, publisher], lambda: publisher.done and len(subscriber.got) >= publisher.most)
    finally:
        arena.child.kill_if_alive()
    check(folder, publisher, subscriber)
    return publisher.next


def check(folder: Path, publisher: Publisher, subscriber: Subscriber) -> None:
    """Each message once and in order, wherever it has to be."""
    events = asyncio.run(stored(folder / "data"))
    numbers = [int(one.data["payload"]) for one in events if one.type == "message"]
    assert numbers == list(range(publisher.next)), odd("the log", numbers)
    if publisher.topic == claimed:
        readings = [int(one.data["count"]) for one in events if one.type == "reading"]
        assert readings == numbers, odd("the readings", readings)
    assert subscriber.got == list(range(publisher.next)), odd("the subscriber", subscriber.got)


def shared(folder: Path, rng: Random, version: int, times: int, qos: int) -> int:
    """The same with two workers that share the work."""
    arena = Arena(folder, version, rng)
    publisher = Publisher(rng)
    workers = [Subscriber(rng, f"worker-{n}", "$share/g/q", qos) for n in range(2)]

    def got() -> list[int]:
        return sorted(number for one in workers for number in one.got)

    try:
        arena.begin(workers)
        for _ in range(times):
            there: list[Client] = [*workers[: rng.choice((0, 1, 2))], publisher]
            arena.life(there)
        publisher.most = publisher.next + 300  # and it goes on
        arena.finish([*workers, publisher], lambda: publisher.done and len(set(got())) >= publisher.most)
    finally:
        arena.child.kill_if_alive()
    arrived = got() if qos == 2 else sorted(set(got()))
    assert arrived == list(range(publisher.next)), odd("the workers", arrived)
    return publisher.next


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("version", "topic"), [(V311, "q"), (V5, claimed)])
def test_exactly_once_through_kills(version: int, topic: str, tmp_path: Path) -> None:
    """Also what a driver claims: the first kill is right after SUBACK, and from there on the subscriber is owed it raw."""
    assert killed(tmp_path, seeded(), version, kills, topic) > 300


@pytest.mark.timeout(180)
@pytest.mark.parametrize("qos", [1, 2])
def test_a_group_gets_everything_through_kills(qos: int, tmp_path: Path) -> None:
    """At QoS 2 once, at QoS 1 at least once; also what came while both workers were away."""
    assert shared(tmp_path, seeded(), V5, kills, qos) > 300


@pytest.mark.timeout(180)
def test_exactly_once_though_syncs_fail(tmp_path: Path) -> None:
    """What was refused is sent again, and what was refused is stored all the same: once."""
    rng = seeded()
    arena = Arena(tmp_path, V5, rng)
    publisher, subscriber = Publisher(rng, topic=claimed), Subscriber(rng, filter=claimed)
    try:
        arena.begin([subscriber])
        fault = "fdatasync:error=EIO:when=20+30"
        arena.hardship([subscriber, publisher], fault, lambda: publisher.next > 3_000)
        failures = arena.child.often("the disk fails")
        publisher.most = publisher.next + 300  # and it goes on
        arena.finish([subscriber, publisher], lambda: publisher.done and len(subscriber.got) >= publisher.most)
    finally:
        arena.child.kill_if_alive()
    print(f"{publisher.next} messages, {failures} failures of the disk")
    assert failures > 3
    check(tmp_path, publisher, subscriber)
