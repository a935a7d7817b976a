"""A disk that fails, or lets a commit wait, when a test says so."""

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any

from gateway.store import rows
from gateway.store.log import Log


def fail_once(log: Log, *, stored: bool) -> asyncio.Event:
    """The next commit fails, with its bytes on the disk or not. The event is set when it has."""
    disk = log.disk
    run, failed = disk._db.run, asyncio.Event()

    async def failing(function: Callable[..., Any], *args: Any) -> Any:
        if function is not rows.store:
            return await run(function, *args)
        setattr(disk._db, "run", run)
        if stored:
            await run(function, *args)
        failed.set()
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error

    setattr(disk._db, "run", failing)
    return failed


def hold(log: Log) -> asyncio.Event:
    """The next commit, and all after it, waits for the event."""
    run, go = log.disk._db.run, asyncio.Event()

    async def held(function: Callable[..., Any], *args: Any) -> Any:
        if function is rows.store:
            await go.wait()
        return await run(function, *args)

    setattr(log.disk._db, "run", held)
    return go
