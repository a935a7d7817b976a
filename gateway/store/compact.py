"""Merge the small blocks of old commits into large ones: a tenth of the room on the disk, and of the work to read them.

At ten events per commit a block costs 60 bytes per event, in blocks of a thousand 13. Every event is written once more for
that. Blocks of different eras of the clock stay apart.
"""

import sqlite3

from msgspec import Struct

from gateway.errors import StoreDamaged
from gateway.store import block, files, rows
from gateway.store.rows import Statement

worth_merging = 300
"""Blocks with more events than this are left as they are."""

largest = 500_000
"""Bytes of blocks that are merged into one: pictures stay in the small pieces they came in."""

settled = 60
"""Seconds a block stays as it is: whoever reads the news finds it in memory or in small pieces."""


class Merge(Struct):
    """What one transaction puts together."""

    statements: list[Statement]
    through: int
    """Everything up to this offset has been looked at."""
    blocks: int = 0
    events: int = 0


def plan(db: sqlite3.Connection, start: int, before: int) -> Merge | None:
    """The next blocks to merge: those that begin at ``start`` or later and were recorded before that time. None: there
    aren't enough yet to fill a large one."""
    borders = {lo for (lo,) in db.execute("select lo from clock where lo >= ?", (start,))}
    group: list[tuple[int, int]] = []
    count = size = 0
    sql = "select lo, hi, count, recorded, length(data) from block where lo >= ? and lo < (select max(lo) from block) order by lo"
    for lo, hi, events, recorded, weight in db.execute(sql, (start,)):
        if recorded >= before:
            return None
        size += weight
        large = events > worth_merging or weight > largest
        if group and (count + events > block.longest or size > largest or large or lo in borders):
            break
        if large:
            return Merge([], hi)
        group.append((lo, hi))
        count += events
    else:
        return None
    if len(group) == 1:
        return Merge([], group[0][1])
    return _merge(db, group)


def _merge(db: sqlite3.Connection, group: list[tuple[int, int]]) -> Merge:
    (first, _), (last, through) = group[0], group[-1]
    found = [
        block.Row(*row)
        for row in db.execute(f"select {rows.columns} from block where lo between ? and ? order by lo", (first, last))
    ]
    try:
        merged = block.encode(
            [event for row in found for event in block.decode(row, as_stored=True)], block.small, as_stored=True
        )
    except StoreDamaged:
        return Merge([], through)  # left alone: whoever reads it says so
    statements = [rows.deletion(first, last), rows.insertion(merged), files.kept("merged", through)]
    return Merge(statements, through, len(found), merged.count)
