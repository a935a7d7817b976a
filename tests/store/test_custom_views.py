"""A user's own views: checked before anything starts, kept beside the log, alone with their failures."""

import asyncio
import logging
from pathlib import Path

import pytest

from gateway.clock import Clock
from gateway.errors import ConfigError
from gateway.event import Event, event
from gateway.store.log import Log
from gateway.store.views import custom
from tests.parts import stop

opened = """-- view: openings
-- types: reading
-- sources: cellar/*
-- how often each door was opened
create table openings (source text primary key, times integer not null, newest integer check (newest < 100));
insert into openings
    select :source, 1, :time where json_extract(:data, '$.door') = 'open'
    on conflict (source) do update set times = times + 1, newest = max(newest, excluded.newest);
"""


def view(folder: Path, text: str = opened) -> list[custom.Custom]:
    (folder / "view.sql").write_text(text)
    return custom.load([folder])


def doors(*times: int, source: str = "cellar/door") -> list[Event]:
    return [event("reading", source, {"door": "open" if time % 2 else "shut"}, time=time) for time in times]


async def kept(log: Log, one: custom.Custom) -> None:
    """Until it has taken everything, or ended."""
    task = asyncio.create_task(custom.follow(log, one))
    async with asyncio.timeout(20):
        while not task.done() and custom.positions(log.folder).get(one.name, 0) <= log.head:
            await asyncio.sleep(0.02)
    await stop(task)


def test_it_is_kept_over_restarts_and_made_anew_when_it_changes(tmp_path: Path) -> None:
    async def session(one: custom.Custom, *times: int) -> None:
        log = await Log.open(tmp_path / "data", Clock(trust=True))
        await log.store([*doors(*times), *doors(1, source="attic/door")])
        await kept(log, one)
        await log.close()

    (one,) = view(tmp_path)
    asyncio.run(session(one, 1, 2, 3))
    asyncio.run(session(one, 5))
    assert custom.shown(tmp_path / "data", "openings") == [{"source": "cellar/door", "times": 3, "newest": 5}]
    (other,) = view(tmp_path, opened.replace("cellar/*", "*"))
    asyncio.run(session(other, 7))
    assert {row["source"]: row["times"] for row in custom.shown(tmp_path / "data", "openings")} == {
        "cellar/door": 4,
        "attic/door": 3,
    }
    custom.forget(tmp_path / "data", "openings")
    asyncio.run(session(other))
    assert [row["times"] for row in custom.shown(tmp_path / "data", "openings")] == [4, 4]


def test_its_failures_are_its_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        log = await Log.open(tmp_path / "data", Clock(trust=True))
        for time in (1, 101, 3):
            await log.store(doors(time))
        (one,) = view(tmp_path)
        with caplog.at_level(logging.ERROR):
            await kept(log, one)
        assert log.head == 3
        await log.close()

    asyncio.run(story())
    assert "view openings: CHECK constraint failed" in caplog.text
    assert custom.shown(tmp_path / "data", "openings") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' can't name a view"),
        ("-- view: a;b\n", "'a;b' can't name a view"),
        ("-- view: a\ncreate table a (x);", "isn't one create table and one insert"),
        (opened + "drop table openings;", "isn't one create table and one insert"),
        (opened.replace("create table openings", "create table block"), "not authorized"),
        (opened.replace(":source, 1, :time", ":who, 1, :time"), "binding"),
        (opened.replace("create table", "create trigger"), "isn.t one create table"),
        ("-- view: a\ncreate table a (x);\ninsert into a select count(*) from sqlite_stat1;", "no such table"),
        ("-- view: a\ncreate table a (x);\ninsert into a select load_extension('x');", "not authorized"),
        (
            "-- view: a\ncreate table a (x);\n"
            "insert into a with recursive n(i) as (select 1 union all select i + 1 from n) select i from n;",
            "not authorized|prohibited",
        ),
    ],
)
def test_what_isnt_safe_or_isnt_sql_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        view(tmp_path, text)


def test_two_views_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other.sql").write_text(opened)
    with pytest.raises(ConfigError, match="two views named openings"):
        view(tmp_path)
