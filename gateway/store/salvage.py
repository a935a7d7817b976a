"""Out of a damaged log into the one that took its place: everything that can still be read, at its old offsets.

The new log's own offsets begin beyond the old ones, so blocks move as they are, checksum and all. What consumers were still
owed becomes backlog, but for MQTT sessions, which go on from their position when all is there, in the log's order. What can't
be read is a ``gap`` with its ranges. The damaged files are kept until somebody removes them.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from gateway.event import event
from gateway.store import block, files, opening, rows
from gateway.store.carve import carve
from gateway.store.consumers import Consumers
from gateway.store.log import Log
from gateway.waiting import Sleep

log = logging.getLogger("redcar.salvage")

at_once = 32
"""Blocks moved in one transaction."""


class Salvaged(Struct):
    """What came out."""

    events: int = 0
    lost: list[list[int]] = field(default_factory=list)
    """[first offset, last offset, how many at most]."""
    beyond: int | None = None
    """Where what could be found ends, if nobody knows how much came after it."""


async def salvage(log_: Log, consumers: Consumers, pause: Sleep) -> None:
    """Move what can be read of ``log_.aside``, beside everything else. Interrupted, it begins anew the next time."""
    while aside := log_.aside:
        await _salvage(log_, consumers, aside, pause)
        log_.aside = opening.waiting(log_.folder)  # where the log that took the place of one was damaged, too
    log_.whole.set()


async def _salvage(log_: Log, consumers: Consumers, aside: Path, pause: Sleep) -> None:
    made = Salvaged()
    done = await log_.query("select 1 from meta where key = 'salvaged' and value = ?", aside.name)
    if not done:
        with closing(files.open_damaged(aside)) as db:
            at, end = 0, _end(db)
            while end is not None and (batch := _next(db, at, end, made.lost)):
                at = batch[-1].hi + 1
                good = [row for row in batch if _is_whole(row, made.lost)]
                made.events += sum(row.count for row in good)
                await log_.store([], also=[rows.insertion(row, "ignore") for row in good])
                await pause(2 * log_.disk.took)
            if made.lost or end is None:
                await _from_the_bytes(log_, aside, made, everything=end is None)
            await _finish(log_, consumers, aside, made, _owed(db))
    files.rename(aside, aside.with_name(f"{aside.name}.salvaged"))
    log.warning("%s: %s events salvaged, at most %s lost", aside, made.events, sum(count for _, _, count in made.lost))


async def _from_the_bytes(log_: Log, aside: Path, made: Salvaged, *, everything: bool) -> None:
    """Where the tree of the file leads nowhere: what its pages hold all the same. Read twice, so that memory stays small."""
    lost = [[0, log_.first - 1, 0]] if everything else made.lost
    taken = await asyncio.to_thread(_survey, aside, lost)
    wanted = {piece.lo: piece.crc for piece in taken}
    pieces = carve(aside)
    while batch := await asyncio.to_thread(_picked, pieces, wanted):
        await log_.store([], also=[rows.insertion(row, "ignore") for row in batch])
    made.events += sum(piece.count for piece in taken)
    if everything:
        made.beyond = taken[-1].hi if taken else 0
        made.lost = [[1, made.beyond, made.beyond]] if taken else []
    made.lost = [rest for lo, hi, _ in made.lost for rest in _without(lo, hi, taken)]


class Piece(Struct):
    """A block found in the bytes, without its data."""

    lo: int
    hi: int
    count: int
    crc: int


def _survey(aside: Path, lost: list[list[int]]) -> list[Piece]:
    """Which of the blocks in the bytes to take: none of yesterday's beside the one they were merged into."""
    found: dict[int, Piece] = {}
    for row in carve(aside):
        better = row.lo not in found or row.count > found[row.lo].count
        if better and any(lo <= row.lo and row.hi <= hi for lo, hi, _ in lost):
            found[row.lo] = Piece(row.lo, row.hi, row.count, row.crc)
    taken: list[Piece] = []
    for _, piece in sorted(found.items()):
        if not taken or piece.lo > taken[-1].hi:
            taken.append(piece)
        elif piece.count > taken[-1].count and (len(taken) < 2 or piece.lo > taken[-2].hi):
            taken[-1] = piece
    return taken


def _picked(pieces: Iterator[block.Row], wanted: dict[int, int]) -> list[block.Row]:
    """The next blocks that are wanted, each once."""
    batch: list[block.Row] = []
    for row in pieces:
        if wanted.get(row.lo) == row.crc:
            del wanted[row.lo]
            batch.append(row)
            if len(batch) == at_once:
                break
    return batch


def _without(lo: int, hi: int, taken: list[Piece]) -> Iterator[list[int]]:
    """What is left of a range."""
    for row in taken:
        if lo <= row.lo and row.hi <= hi:
            if lo < row.lo:
                yield [lo, row.lo - 1, row.lo - lo]
            lo = row.hi + 1
    if lo <= hi:
        yield [lo, hi, hi - lo + 1]


def _next(db: sqlite3.Connection, at: int, end: int, lost: list[list[int]]) -> list[block.Row]:
    """The next blocks that can be read; notes what lies between them and can't."""
    found: list[block.Row] = []
    for row in rows.stored(db, at, end, lambda *hole: lost.append(list(hole))):
        if row.lo >= at:
            found.append(row)
        if len(found) >= at_once:
            break
    return found


def _end(db: sqlite3.Connection) -> int | None:
    """The last offset that the file leads to; None: it leads nowhere."""
    try:
        return rows.mark_of(db)
    except sqlite3.DatabaseError:
        return None


def _is_whole(row: block.Row, lost: list[list[int]]) -> bool:
    if rows.is_sound(row):
        return True
    lost.append([row.lo, row.hi, row.count])
    return False


def _owed(db: sqlite3.Connection) -> list[tuple[str, int, int | None]]:
    """What sinks were still owed: processors have a state, and begin anew; sessions have their position already."""
    sql = (
        "select consumer, lo, hi from owed"
        f" where consumer not in (select consumer from state) and not {opening.sessions} order by lo"
    )
    try:
        return db.execute(sql).fetchall()
    except sqlite3.DatabaseError:
        return []


async def _finish(
    log_: Log, consumers: Consumers, aside: Path, made: Salvaged, owed: list[tuple[str, int, int | None]]
) -> None:
    """What was owed, what is lost, and the note that this is done: one transaction."""
    statements = [files.kept("salvaged", aside.name)]
    for name, lo, hi in owed:
        last = log_.first - 1 if hi is None else hi
        if lo <= last:
            consumer = await consumers.find(name) or await consumers.open(name)
            statements.append(consumer.insertion("backlog", lo, last))
    now = log_.clock.now()
    made.lost.sort()
    data: dict[str, Any] = {"from": aside.name, "events": made.events, "lost": sum(count for _, _, count in made.lost)}
    happened = [event("log.salvaged", "gateway", data, time=now)]
    if made.lost or made.beyond is not None:
        gap = {"reason": "damaged", "count": data["lost"], "ranges": made.lost}
        if made.beyond is not None:
            gap["beyond"] = made.beyond
        happened.append(event("gap", "gateway", gap, time=now))
    await log_.store(happened, also=statements)
