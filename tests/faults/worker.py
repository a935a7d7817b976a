"""A process that does everything a store does, and says on stdout what is on the disk as soon as it was told so.

python -m tests.faults.worker FOLDER ROUNDS [full | normal | off]

opened 0               the head it found
acknowledged 7 12 31   numbers 7..12 are on the disk, the first at offset 31
seen 40                the rules' position, their state and their alarm are
delivered 40           what the sink has got; its position may lag behind in the table
merged 40              blocks up to there are one
given up 1 40          so are the gap that says so and that it is gone
salvaged               what was in the log that had been set aside
closed

It checkpoints every 20 pages, so that a short run meets every phase of it. ``normal`` and ``off`` are what SQLite would
do if it were asked to sync less: a check that finds nothing wrong with them checks nothing.
"""

import asyncio
import os
import sys
import traceback
from pathlib import Path
from random import Random

from gateway.clock import Clock
from gateway.event import event
from gateway.selection import Globs
from gateway.store import compact
from gateway.store.care import Care
from gateway.store.consumers import Consumers
from gateway.store.log import Log, Pace
from gateway.store.ranges import Flight
from gateway.store.retention import Limits, plan_delete
from gateway.store.salvage import salvage


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())  # one call: it is one step of a record


def pad(number: int) -> str:
    """Its content can be told from its number."""
    return Random(number).randbytes(Random(number).randint(0, 60)).hex()


async def work(folder: Path, rounds: int, synchronous: str) -> None:
    log = await Log.open(folder, Clock(trust=True), pace=Pace(0.0, 0.05, 0.2), ring=50, machine="test")
    await log.disk._db.run(lambda db: db.execute("pragma wal_autocheckpoint = 20"))
    await log.disk._db.run(lambda db: db.execute(f"pragma synchronous = {synchronous}"))
    say("opened", log.head)
    consumers = await Consumers.load(log)
    salvaging = asyncio.create_task(salvage(log, consumers, asyncio.sleep)) if log.aside else None
    rules, sink = await consumers.open("rules"), await consumers.open("sink")
    seeing, sending = rules.owed("live"), sink.owed("live")
    assert seeing
    assert sending
    care = Care(log, Limits())
    rng = Random(log.head)
    number, merged = log.head * 1000, 0

    for turn in range(rounds):
        readings = [
            event("reading", "plant/air", {"n": number + n, "pad": pad(number + n)}, time=number + n)
            for n in range(rng.choice((1, 1, 3, 10, 40)))
        ]
        number += len(readings)
        stored = log.append(readings)
        if turn % 3 == 0:  # in one commit with the readings
            lo = seeing.lo
            through = log.head
            alarm = event("alarm.raised", "plant/air", {"from": lo, "through": through}, time=number)
            await log.store([alarm], also=rules.done(seeing, through, state=b"%d" % through))
            say("seen", through)
        assert stored
        await stored
        say("acknowledged", readings[0].data["n"], readings[-1].data["n"], readings[0].offset)
        if turn % 4 == 0:
            if turn % 8 == 0:
                await sink.fix(sending, Flight([log.head], Globs(["*"], ["*"])))
            sending.flight = None
            sink.advance(sending, log.head)
            say("delivered", log.head)
        if turn % 7 == 6 and (made := await log.look(compact.plan, merged + 1, log.clock.now() + 1)):
            stored = log.append([], also=made.statements)
            assert stored
            await stored
            merged = made.through
            say("merged", merged)
        if turn % 9 == 8:
            gone = await log.look(plan_delete, 0, 3)
            if gone.blocks:
                await care._give_up(gone, "cap", "delete")
                for lo, hi, _ in gone.ranges:
                    say("given up", lo, hi)
    if salvaging:
        await salvaging
        say("salvaged")
    await log.close()
    say("closed")


if __name__ == "__main__":
    failed = True
    try:
        asyncio.run(work(Path(sys.argv[1]), int(sys.argv[2]), (*sys.argv[3:], "full")[0]))
        failed = False
    finally:
        if failed:  # the threads of the connections would wait for ever
            traceback.print_exc()
            os._exit(1)
