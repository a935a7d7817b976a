"""Blocks out of the bytes of a file whose tree can't be followed any more: wiped header, torn inner pages, half a file.

Every page that looks like a leaf of a table is searched for rows of the table ``block``; their overflow pages are followed,
and only what has its checksum counts. Pages that were freed may still hold blocks of yesterday: whoever takes what is
found must not take the same offsets twice.

    leaf page    0D, ..., number of cells (2 bytes at 3), pointers to them (2 bytes each from 8 on)
    cell         length of the record, rowid: varints; what fits of the record; number of the first overflow page (4 bytes)
    overflow     number of the next page (4 bytes, 0: the last); the rest of the record
    record       length of its header, a type per column: varints; then the columns
    WAL          32 bytes; then frames of 24 bytes (number of the page first) and a page

Source: SQLite, Database File Format, sections 1.6, 2.1 and 4.1.
"""

import mmap
import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from gateway.store import block

page_size = 1_024
"""Ours; what the header says can't be relied on here."""

Page = Callable[[int], bytes]
"""Gives a page by its number."""

_inside = page_size - 35
_least = (page_size - 12) * 32 // 255 - 23

_integers = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
"""Type of a column -> bytes; 8 and 9 are the numbers 0 and 1, from 12 on blobs and texts."""


def carve(path: Path) -> Iterator[block.Row]:
    """Every block that is whole, in the order of the pages, those of the WAL last; possibly some of them twice."""
    wal = path.with_name(path.name + "-wal")
    newer = _frames(wal.read_bytes()) if wal.exists() else {}
    if not path.stat().st_size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:

        def before(number: int) -> bytes:
            return data[(number - 1) * page_size : number * page_size]

        def after(number: int) -> bytes:
            return newer.get(number) or before(number)

        pages = len(data) // page_size
        leaves = ((before(n), after(n)) if n in newer else (before(n),) for n in range(2, pages + 1))
        beyond = (content for number, content in newer.items() if number > pages)
        for leaf in chain(chain.from_iterable(leaves), beyond):
            for cell in _cells(leaf):
                if found := _row(leaf, cell, after) or _row(leaf, cell, before):
                    yield found


def _frames(wal: bytes) -> dict[int, bytes]:
    """The newest content of each page in a WAL, as far as its frames belong to the present round."""
    salt = wal[16:24]
    found: dict[int, bytes] = {}
    for at in range(32, len(wal) - 24 - page_size + 1, 24 + page_size):
        if wal[at + 8 : at + 16] != salt:
            break
        found[int.from_bytes(wal[at : at + 4])] = wal[at + 24 : at + 24 + page_size]
    return found


def _cells(leaf: bytes) -> list[int]:
    """Where the rows of a page begin; [] if it isn't a leaf."""
    if leaf[0] != 13:
        return []
    number = int.from_bytes(leaf[3:5])
    if 8 + 2 * number > len(leaf):
        return []
    return [int.from_bytes(leaf[8 + 2 * n : 10 + 2 * n]) for n in range(number)]


def _row(leaf: bytes, at: int, page: Page) -> block.Row | None:
    """The block that a cell holds; None if it isn't one, or not whole."""
    try:
        length, at = _varint(leaf, at)
        lo, at = _varint(leaf, at)
        if not 40 <= length <= 50_000_000:
            return None
        record = _record(leaf, at, length, page)
        end, at = _varint(record, 0)
        types = []
        while at < end:
            kind, at = _varint(record, at)
            types.append(kind)
        if len(types) != 7 or types[0] != 0 or types[6] < 12 or types[6] % 2:
            return None
        values = []
        for kind in types[1:6]:
            size = _integers.get(kind, 0)
            if not size and kind not in (8, 9):
                return None
            values.append(int.from_bytes(record[at : at + size], signed=True) if size else kind - 8)
            at += size
    except IndexError:
        return None
    data = record[at : at + (types[6] - 12) // 2]
    hi, count, recorded, codec, crc = values
    if zlib.crc32(data) != crc or not lo <= hi:
        return None
    return block.Row(lo, hi, count, recorded, codec, crc, data)


def _record(leaf: bytes, at: int, length: int, page: Page) -> bytes:
    if length <= _inside:
        return leaf[at : at + length]
    local = _least + (length - _least) % (page_size - 4)
    if local > _inside:
        local = _least
    parts, held = [leaf[at : at + local]], local
    following = int.from_bytes(leaf[at + local : at + local + 4])
    while following and held < length:
        content = page(following)
        if len(content) < page_size:
            break
        parts.append(content[4 : 4 + length - held])
        held += len(parts[-1])
        following = int.from_bytes(content[:4])
    return b"".join(parts)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, seven bits each, the ninth eight; and where it ends."""
    value = 0
    for _ in range(8):
        byte = data[at]
        at += 1
        value = value << 7 | byte & 127
        if byte < 128:
            return value, at
    return value << 8 | data[at], at + 1
