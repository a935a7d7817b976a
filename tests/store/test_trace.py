"""The story of an event from the log alone: causes, effects, and its fate at each consumer."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway import deadletters
from gateway.event import Event, event
from gateway.selection import Globs
from gateway.store import files, trace
from gateway.store.consumers import Consumers
from gateway.store.log import Log
from gateway.store.rows import read_events
from tests.store.logs import acknowledged, opened, reading


def told(tmp_path: Path, story: Callable[[Log], Awaitable[None]]) -> sqlite3.Connection:
    """The log after the story, read-only."""

    async def run() -> None:
        log = await opened(tmp_path)
        await story(log)
        await log.close()

    asyncio.run(run())
    return files.open_to_read(tmp_path / files.name)


def caused(cause: int, type: str = "alarm.raised") -> Event:
    return event(type, "plant/air-1", {}, time=5, cause=cause)


def test_causes_and_effects(tmp_path: Path) -> None:
    async def story(log: Log) -> None:
        await acknowledged(log, reading(0), reading(1))
        await acknowledged(log, caused(2))
        await acknowledged(log, *(reading(n) for n in range(1_500)))
        await acknowledged(log, caused(3, "command.requested"), caused(3, "command.sent"), reading(7))

    with told(tmp_path, story) as db:
        (sent,) = read_events(db, 1_505, 1_505, 1)
        assert [(one.offset, one.type) for one in trace.chain(db, sent)] == [(3, "alarm.raised"), (2, "reading")]
        assert [one.offset for one in trace.effects(db, 2)] == [3]
        assert [one.offset for one in trace.effects(db, 3)] == [1_504, 1_505]
        assert list(trace.effects(db, 1_506)) == []


def test_its_fate_at_each_consumer(tmp_path: Path) -> None:
    async def story(log: Log) -> None:
        await acknowledged(log, *(reading(n) for n in range(9)))
        consumers = await Consumers.load(log)
        for name, through in (("cloud", 6), ("stick", 9), ("rules", 9), ("away", 2)):
            consumer = await consumers.open(name)
            live = consumer.owed("live")
            assert live is not None
            deliveries = trace.Deliveries(log, name)
            if name == "stick":
                deliveries.add(live, 1, 4)
                deliveries.part(live, [5, 7])
                deliveries.flush()
            if name == "cloud":
                letter = deadletters.undelivered(reading(0), name, "refused", "too long", 1, 5)
                letter.cause = 6
                await acknowledged(log, letter)
            consumer.advance(live, through, state=b"{}" if name == "rules" else None)
            if name == "stick":
                again = await consumer.owe("replay-{id}", 1, 9, globs=Globs(["*"], ["plant/air-0"]))
                deliveries.add(again, 1, 9)
                deliveries.flush()

    everything = Globs(["reading"], ["*"])
    with told(tmp_path, story) as db:

        def fates(offset: int) -> list[tuple[str, str, str, bool]]:
            (found,) = read_events(db, offset, offset, 1)
            known = {"cloud": everything, "stick": everything, "away": Globs(["alarm.*"], ["*"])}
            return [
                (one.consumer, one.state, one.lane, one.time is not None)
                for one in trace.fates(db, found, list(trace.effects(db, offset)), known)
            ]

        assert fates(5) == [
            ("away", "not selected", "", False),
            ("cloud", "delivered", "", False),
            ("rules", "seen", "", False),
            ("stick", "delivered", "live", True),
        ]
        assert fates(6)[1:] == [
            ("cloud", "refused", "", True),
            ("rules", "seen", "", False),
            ("stick", "delivered", "", False),  # when isn't known any more
        ]
        assert fates(7) == [
            ("away", "not selected", "", False),
            ("cloud", "owed", "live", False),
            ("rules", "seen", "", False),
            ("stick", "delivered", "live", True),
            ("stick", "delivered", "replay-3", True),  # of plant/air-0, as the replay was narrowed to
            ("stick", "owed", "replay-3", False),
        ]
        (found,) = read_events(db, 3, 3, 1)
        assert [one.state for one in trace.fates(db, found, [], {}) if one.consumer == "cloud"] == ["passed"]


def test_the_record_of_deliveries_is_bounded(tmp_path: Path) -> None:
    async def story(log: Log) -> None:
        consumer = await (await Consumers.load(log)).open("cloud")
        live = consumer.owed("live")
        assert live is not None
        for n in range(trace.kept + 50):
            log.append(
                [], also=[("insert into delivered (consumer, lane, lo, hi, time) values ('x', 'live', 1, 1, ?)", (n,))]
            )
        deliveries = trace.Deliveries(log, "cloud")
        deliveries.add(live, 1, 1)
        deliveries.flush()

    with told(tmp_path, story) as db:
        assert db.execute("select count(*) from delivered").fetchone() == (trace.kept,)
        assert db.execute("select max(consumer = 'cloud') from delivered").fetchone() == (1,)


def test_dead_letters_are_a_fold(tmp_path: Path) -> None:
    def letter(reason: str, source: str) -> Event:
        return event("rejected", source, {"stage": "decode", "reason": reason, "permanent": True}, time=1)

    async def story(log: Log) -> None:
        await acknowledged(log, letter("not_json", "a"), letter("checksum", "b"), letter("not_json", "c"))
        await acknowledged(log, *(reading(n) for n in range(1_200)))
        letters = await log.read(1, 3)
        settled = [deadletters.settled(one, how, 2) for one, how in zip(letters, ("dlq.redriven", "dlq.dropped"))]
        await acknowledged(log, *settled, deadletters.undelivered(letters[0], "cloud", "doubtful", "no word", 5, 3))

    with told(tmp_path, story) as db:
        letters = deadletters.waiting(db)
        assert [one.offset for one in letters] == [3, 1_206]
        assert letters[1].data == {
            "stage": "deliver",
            "consumer": "cloud",
            "reason": "doubtful",
            "detail": "no word",
            "permanent": False,
            "attempts": 5,
            "offset": 1,
        }
        for where, offsets in (
            ({"reason": "not_json"}, [3]),
            ({"permanent": "false"}, [1_206]),
            ({"source": "c", "reason": "not_json"}, [3]),
            ({"source": "c", "reason": "doubtful"}, []),
            ({"attempts": "5"}, [1_206]),
        ):
            assert [one.offset for one in deadletters.matching(letters, where)] == offsets
        assert {str(one.data["reason"]) for one in letters} <= deadletters.reasons
