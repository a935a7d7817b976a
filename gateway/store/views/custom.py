"""A user's own view: a file of SQL, run for every event it asks for, in a database of its own beside the log.

    -- view: door_openings
    -- types: reading
    -- sources: cellar/*
    create table door_openings (source text primary key, times integer not null, newest integer not null);
    insert into door_openings
        select :source, 1, :time where json_extract(:data, '$.door') = 'open'
        on conflict (source) do update set times = times + 1, newest = max(newest, excluded.newest);

The parameters are :offset :time :source :type :data :quality. The statements may touch that one table and nothing else. Rows and
position are one transaction in views.db; what fails there ends that view, with a message, and nothing else notices.
"""

import asyncio
import logging
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from msgspec import Struct

from gateway.errors import ConfigError, Fault
from gateway.event import Event
from gateway.selection import Selection
from gateway.store import block, files
from gateway.store.log import Log

log = logging.getLogger("redcar.views")

name = "views.db"

once_in = 1.0
"""Seconds between transactions of a view that keeps up: each costs a sync of the card."""

_header = re.compile(r"--\s*(view|types|sources)\s*:\s*(.*?)\s*")

_position = "create table if not exists position (view text primary key, lo integer not null, source text not null)"

_parameters = {"offset": 1, "time": 0, "source": "", "type": "", "data": "{}", "quality": 0}

_always = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION}
_on_table = {sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_READ}
_on_index = {sqlite3.SQLITE_CREATE_INDEX, sqlite3.SQLITE_REINDEX}


class Custom(Struct, frozen=True):
    """One such file, checked."""

    name: str
    types: list[str]
    sources: list[str]
    create: str
    insert: str


def load(paths: list[Path]) -> list[Custom]:
    """The views of these files, and of the .sql files of these folders. Raises ConfigError with all faults."""
    found: dict[str, Custom] = {}
    faults: list[Fault] = []
    for path in paths:
        for file in sorted(path.glob("*.sql")) if path.is_dir() else [path]:
            try:
                one = _read(file)
                if one.name in found:
                    raise ConfigError([Fault(str(file), 0, "", f"there are two views named {one.name}", "rename one")])
                found[one.name] = one
            except ConfigError as error:
                faults += error.faults
    if faults:
        raise ConfigError(faults)
    return list(found.values())


def _read(file: Path) -> Custom:
    def fault(problem: str, cure: str) -> ConfigError:
        return ConfigError([Fault(str(file), 0, "", problem, cure)])

    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise fault(f"can't be read ({error})", "name a file of SQL") from None
    headers = [match for line in text.splitlines() if (match := _header.fullmatch(line.strip()))]
    said: dict[str, str] = {match[1]: match[2] for match in headers}
    named = said.get("view", "")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,60}", named) or named.startswith("sqlite_") or named == "position":
        raise fault(f"'{named}' can't name a view", "write a first line like -- view: door_openings")
    parts = _statements(text)
    if [part.split(None, 1)[0].lower() for part in parts] != ["create", "insert"]:
        raise fault("isn't one create table and one insert", "write these two, each with a semicolon at its end")
    made = Custom(named, _globs(said.get("types", "reading")), _globs(said.get("sources", "*")), *parts)
    try:
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as db, _confined(db, made):
            db.execute(made.create)
            db.execute(made.insert, _parameters)
    except sqlite3.IntegrityError:
        pass  # an event without data needn't fit
    except sqlite3.Error as error:
        cure = f"it may touch the table {named} only, with the parameters :{' :'.join(_parameters)}"
        raise fault(str(error), cure) from None
    return made


def _globs(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _statements(text: str) -> list[str]:
    """The statements without comments before them."""
    found, rest = [], ""
    for line in text.splitlines():
        if not rest.strip() and line.lstrip().startswith("--"):
            continue
        rest += line + "\n"
        if sqlite3.complete_statement(rest):
            found.append(rest.strip())
            rest = ""
    return [*found, rest.strip()] if rest.strip() else found


@contextmanager
def _confined(db: sqlite3.Connection, custom: Custom) -> Iterator[None]:
    """Within this the connection may do what the view needs, and no more."""

    def may(action: int, first: str | None, second: str | None, _: str | None, __: str | None) -> int:
        table = second if action == sqlite3.SQLITE_CREATE_INDEX else first
        own = table == custom.name or (table or "").startswith("sqlite_")
        if action in _always:
            allowed = second != "load_extension"
        else:
            allowed = own and action in _on_table | _on_index
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY

    db.set_authorizer(may)
    try:
        yield
    finally:
        db.set_authorizer(None)


async def follow(log_: Log, custom: Custom) -> None:
    """Keep one view until cancelled; ends with a message where its statements fail."""
    db = await files.connect(log_.folder / name)
    try:
        lo = await db.run(_begin, custom)
        selection = Selection(custom.types, custom.sources)
        while True:
            await log_.beyond(lo - 1)
            events, through = await log_.onward(lo)
            lo = through + 1
            await db.run(_apply, custom, selection.of(events), lo)
            if len(events) < block.longest:
                await asyncio.sleep(once_in)
    except sqlite3.Error as error:
        log.error(
            "view %s: %s; it isn't kept up to date until its file is mended and redcar started again",
            custom.name,
            error,
        )
    finally:
        await db.close()


def _begin(db: sqlite3.Connection, custom: Custom) -> int:
    """Where it stopped; from the start where it is new, or another than before."""
    files.tune(db)
    with db:
        db.execute("begin immediate")
        db.execute(_position)
        source = custom.create + custom.insert + str(custom.types) + str(custom.sources)
        row = db.execute("select lo, source from position where view = ?", (custom.name,)).fetchone()
        if row is None or row[1] != source:
            db.execute(f"drop table if exists {custom.name}")
            db.execute("insert or replace into position values (?, 1, ?)", (custom.name, source))
            with _confined(db, custom):
                db.execute(custom.create)
            row = (1, source)
    return int(row[0])


def _apply(db: sqlite3.Connection, custom: Custom, events: list[Event], lo: int) -> None:
    with db:
        db.execute("begin immediate")
        with _confined(db, custom):
            db.executemany(custom.insert, map(_values, events))
        db.execute("update position set lo = ? where view = ?", (lo, custom.name))


def _values(one: Event) -> dict[str, object]:
    return {
        "offset": one.offset,
        "time": one.time,
        "source": one.source,
        "type": one.type,
        "data": one.body.decode(),
        "quality": one.quality,
    }


def forget(folder: Path, view: str) -> None:
    """Have it made anew: from the next start on, or at once if nobody follows it."""
    with closing(sqlite3.connect(folder / name, isolation_level=None)) as db:
        db.execute("delete from position where view = ?", (view,))


def positions(folder: Path) -> dict[str, int]:
    """The user's views that there are, and the first offset that each hasn't seen."""
    if not (folder / name).exists():
        return {}
    with closing(files.open_to_read(folder / name)) as db:
        if not db.execute("select 1 from sqlite_master where name = 'position'").fetchone():
            return {}  # the first view is just being made
        return dict(db.execute("select view, lo from position order by view"))


def shown(folder: Path, view: str) -> list[dict[str, object]]:
    """All rows of one."""
    with closing(files.open_to_read(folder / name)) as db:
        found = db.execute(f'select * from "{view}"')
        columns = [column[0] for column in found.description]
        return [dict(zip(columns, row)) for row in found]
