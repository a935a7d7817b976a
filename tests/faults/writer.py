"""A process that writes numbered events to a log and says on stdout what becomes of them; it ends when stdin does.

python -m tests.faults.writer FOLDER [batch] [retry] [ballast]

acknowledged 7      everything of batch 7 is on the disk: it was said so, and may be relied on
refused 8           whoever sent batch 8 would be told no
well / full / failing
"""

import asyncio
import os
import sys
from pathlib import Path

from gateway.clock import Clock
from gateway.errors import StoreFailed
from gateway.event import event
from gateway.store.log import Log, Pace


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def write(folder: Path, batch: int, retry: float, ballast: int) -> None:
    log = await Log.open(
        folder, Clock(trust=True), pace=Pace(0.005, 0.005, retry), queue=1_000_000, ballast=ballast, machine="test"
    )
    log.disk.ballast.put_back()
    say("opened", log.head)
    stop = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    outstanding: dict[asyncio.Future[None], int] = {}
    state, number = "", 0
    while not stop.done():
        if len(outstanding) < 20 and not log.full:
            events = [
                event("reading", "plant/air", {"n": number * batch + n, "pad": "x" * 80}, time=n) for n in range(batch)
            ]
            done = log.append(events)
            assert done is not None
            outstanding[done] = number
            number += 1
        for done in [one for one in outstanding if one.done()]:
            say("refused" if isinstance(done.exception(), StoreFailed) else "acknowledged", outstanding.pop(done))
        if log.disk.health.state != state:
            state = log.disk.health.state
            say(state)
        # what nobody waits for comes all the same, as serial and BLE do
        log.append([event("reading", "serial", {"n": number}, time=number)], wait=False)
        await asyncio.sleep(0.002)
    await log.close()
    say("closed")


if __name__ == "__main__":
    arguments = [*sys.argv[2:], *["10", "0.2", "0"][len(sys.argv) - 2 :]]
    asyncio.run(write(Path(sys.argv[1]), int(arguments[0]), float(arguments[1]), int(arguments[2])))
