"""What the log costs: ``python -m tests.bench.store [--folder FOLDER]``, or ``store(folder)`` for the whole bench."""

import argparse
import asyncio
import resource
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

from gateway.clock import Clock
from gateway.event import Event, event
from gateway.store import block, files, migrate, rows
from gateway.store.care import Care, written_by_us
from gateway.store.log import Log, Pace
from gateway.store.retention import Limits
from tests.bench.measures import Measurement
from tests.bench.table import text


def readings(count: int, seed: int = 1) -> list[Event]:
    """What sensors send: three metrics that drift, forty devices."""
    rng = Random(seed)
    now = time.time_ns() // 1000
    return [
        event(
            "reading",
            f"plant/area-{n % 4}/air-{n % 40}",
            {
                "temperature": round(20 + rng.gauss(0, 2), 2),
                "humidity": round(50 + rng.gauss(0, 5), 1),
                "battery": 90 + n % 7,
            },
            time=now + n * 1000,
        )
        for n in range(count)
    ]


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _append(folder: Path, batch: int, count: int) -> list[tuple[str, float, str]]:
    events = readings(count)
    log = await Log.open(folder, Clock(trust=True), pace=Pace(0.0, 0.0))
    written, cpu, began = written_by_us(), _cpu(), time.perf_counter()
    for start in range(0, count, batch):
        await log.store(events[start : start + batch])
    took, used = time.perf_counter() - began, _cpu() - cpu
    await log.close()
    return [
        ("events", count / took, "/s"),
        ("CPU per event", used / count * 1e6, "µs"),
        ("written per event", (written_by_us() - written) / count, "B"),
    ]


async def _merge(folder: Path) -> list[tuple[str, float, str]]:
    hour = 3_600 * 10**9
    shift = 0
    clock = Clock(lambda: time.time_ns() + shift, lambda: time.monotonic_ns() + shift, lambda: True, trust=True)
    log = await Log.open(folder, clock, pace=Pace(0.0, 0.0))
    events = readings(30_000)
    for start in range(0, len(events), 10):
        await log.store(events[start : start + 10])
    size = "select sum(length(data)) from block"
    ((before,),) = await log.query(size)
    full = (await log.look(files.measure, folder)).used
    shift = hour
    care = Care(log, Limits())
    written, cpu = written_by_us(), _cpu()
    await care.merge()
    used = _cpu() - cpu
    ((after,),) = await log.query(size)
    small = (await log.look(files.measure, folder)).used
    await log.close()
    return [
        ("data per event before", before / len(events), "B"),
        ("data per event after", after / len(events), "B"),
        ("on the disk per event before", full / len(events), "B"),
        ("on the disk per event after", small / len(events), "B"),
        ("written per event for it", (written_by_us() - written) / care.merged, "B"),
        ("CPU per event for it", used / care.merged * 1e6, "µs"),
    ]


def large(folder: Path, count: int) -> None:
    """A log of that many events, quickly: the same thousand over and over."""
    folder.mkdir()
    events = readings(1_000)
    for n, one in enumerate(events, 1):
        one.offset, one.recorded = n, 1_700_000_000_000_000
    made = block.encode(events, block.small)
    with closing(sqlite3.connect(folder / files.name, isolation_level=None)) as db:
        files.tune(db)
        migrate.bring_up(db, folder / files.name)
        db.execute("begin")
        for lo in range(1, count + 1, 1_000):
            made.lo, made.hi, made.recorded = lo, lo + 999, 1_700_000_000_000_000 + lo * 1_000
            db.execute(*rows.insertion(made))
        db.execute("commit")
        files.prepare(db)
        files.finish(db, count)


async def _open(folder: Path) -> float:
    began = time.perf_counter()
    log = await Log.open(folder, Clock(trust=True))
    await log.store(readings(1))
    took = time.perf_counter() - began
    await log.close()
    return took


async def _read(folder: Path, count: int) -> float:
    log = await Log.open(folder, Clock(trust=True))
    began, at = time.perf_counter(), 1
    while at <= count:
        at = (await log.read(at, limit=1_000))[-1].offset + 1
    took = time.perf_counter() - began
    await log.close()
    return count / took


async def _trim(folder: Path, share: float) -> list[tuple[str, float, str]]:
    """Trim while somebody appends one event after another: how long do they wait?"""
    log = await Log.open(folder, Clock(trust=True), pace=Pace(0.0, 0.0))
    care = Care(log, Limits())
    sizes = await log.look(files.measure, folder)
    head = log.head
    waits: list[float] = []

    async def append() -> None:
        events = readings(100_000)
        while True:
            began = time.perf_counter()
            await log.store([events.pop()])
            waits.append(time.perf_counter() - began)

    busy = asyncio.create_task(append())
    await asyncio.sleep(2)
    calm = sorted(waits)
    waits.clear()
    care.cap = sizes.counted - int(sizes.used * share)
    began, cpu = time.perf_counter(), _cpu()
    await care.keep_within()
    took, used = time.perf_counter() - began, _cpu() - cpu
    busy.cancel()
    await asyncio.gather(busy, return_exceptions=True)
    ((first,),) = await log.query("select min(lo) from block where count > 10")
    trimmed = min(first, head) - 1
    waits.sort()
    await log.close()
    return [
        ("events trimmed", trimmed / took, "/s"),
        ("CPU per event", (used - 0.0) / trimmed * 1e6, "µs"),
        ("longest commit", care.worst * 1000, "ms"),
        ("append meanwhile, p99", waits[int(len(waits) * 0.99)] * 1000, "ms"),
        ("append meanwhile, longest", waits[-1] * 1000, "ms"),
        ("append before, p99", calm[int(len(calm) * 0.99)] * 1000, "ms"),
    ]


def store(folder: Path, count: int = 10_000_000) -> Iterator[Measurement]:
    """All of it; takes a minute and 200 MB."""
    for batch, events in ((1, 2_000), (10, 20_000), (100, 100_000), (1_000, 300_000)):
        for who, value, unit in asyncio.run(_append(folder / f"batch-{batch}", batch, events)):
            yield Measurement(f"log, {batch} per commit", who, value, unit)
    for who, value, unit in asyncio.run(_merge(folder / "merge")):
        yield Measurement("log, merging commits of 10", who, value, unit)
    large(folder / "large", count)
    size = (folder / "large" / files.name).stat().st_size
    yield Measurement(f"log of {count:,} events", "on the disk", size / 1e6, "MB")
    yield Measurement(
        f"log of {count:,} events", "open and append the first", asyncio.run(_open(folder / "large")), "s"
    )
    yield Measurement(
        f"log of {count:,} events", "read and decoded", asyncio.run(_read(folder / "large", 1_000_000)), "/s"
    )
    for who, value, unit in asyncio.run(_trim(folder / "large", 0.5)):
        yield Measurement("log, half of it trimmed", who, value, unit)


def main() -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.store", description=__doc__)
    parser.add_argument("--folder", default=".", help="on the disk to be measured; here, if left out")
    parser.add_argument("--events", type=int, default=10_000_000)
    args = parser.parse_args()
    made = []
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=args.folder) as name:
        for one in store(Path(name), args.events):
            made.append(one)
            print(one.what, one.who, f"{one.value:.4g}", one.unit, file=sys.stderr)
    print(text(made))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
