"""``redcar backup``, ``restore``, ``repair``, ``migrate``: the log's files in good hands."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.common import add_log, folder_of, log_in

if TYPE_CHECKING:
    from gateway.store.backup import Copy


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the four commands."""
    backup = commands.add_parser(
        "backup",
        help="copy the log while the gateway runs",
        epilog="examples:\n  redcar backup /mnt/usb/events-2026-11-21.db\n\n"
        "The copy is read back before this says that it is done.\n",
    )
    backup.add_argument("file", metavar="FILE", type=Path, help="where to; must not be there yet")
    backup.set_defaults(run=run_backup)
    restore = commands.add_parser(
        "restore",
        help="put a copy in the place of the log",
        epilog="examples:\n  systemctl stop redcar && redcar restore /mnt/usb/events-2026-11-21.db\n\n"
        "The files that were there are kept aside. A new epoch begins, and its first event is log.restored.\n",
    )
    restore.add_argument("file", metavar="FILE", type=Path, help="made by redcar backup")
    restore.set_defaults(run=run_restore)
    repair = commands.add_parser(
        "repair",
        help="look at every byte of the log; if it is damaged, save what can be read",
        epilog="examples:\n  systemctl stop redcar && redcar repair\n\n"
        "exit code: 0 the log is sound, or is now; 3 a gateway runs on it, or there is none\n",
    )
    repair.set_defaults(run=run_repair)
    migrate = commands.add_parser(
        "migrate",
        help="bring the log of an older redcar up to date",
        epilog="examples:\n  redcar migrate --check     what would be done; exit code 1 if anything\n  redcar migrate\n\n"
        "redcar run does the same by itself. Before it a copy is put beside the log.\n",
    )
    migrate.add_argument("--check", action="store_true", help="only say whether it is needed")
    migrate.set_defaults(run=run_migrate)
    for command in (backup, restore, repair, migrate):
        add_log(command)
    for command in (backup, restore):
        command.add_argument("--json", action="store_true", help="one object")


def run_backup(args: argparse.Namespace) -> int:
    """Copy, verify, say what is in it."""
    from gateway.store.backup import backup

    _say(args, backup(log_in(args).parent, args.file), "holds")
    return 0


def run_restore(args: argparse.Namespace) -> int:
    """Replace the log by a copy."""
    from gateway.store.backup import restore

    folder, _ = folder_of(args)
    copy, aside = restore(folder, args.file)
    _say(args, copy, "is the log now:")
    if aside and not args.json:
        print(f"the log that was there is kept as {aside}")
    return 0


def _say(args: argparse.Namespace, copy: "Copy", verb: str) -> None:
    if args.json:
        said = {"file": str(copy.path), "bytes": copy.bytes, "events": copy.events}
        print(json.dumps({**said, "last": copy.head, "epoch": f"{copy.epoch:x}"}))
    else:
        print(
            f"{copy.path} {verb} {copy.events} events, the last of them {copy.head}; {copy.bytes / 1e6:.1f} MB, read back"
        )


def run_repair(args: argparse.Namespace) -> int:
    """Check everything; if it must be, set the log aside and salvage it."""
    import asyncio

    from gateway.store import opening
    from gateway.store.backup import faults

    path = log_in(args)
    with opening.alone(path.parent):
        found = faults(path)
        for one in found[:10]:
            print(one)
        if found:
            opening.set_aside(path.parent, f"redcar repair: {found[0]}")
        elif not opening.waiting(path.parent):
            print(f"{path} is sound")
            return 0
    asyncio.run(_salvaged(path.parent))
    return 0


async def _salvaged(folder: Path) -> None:
    import asyncio

    from gateway.clock import Clock
    from gateway.store.consumers import Consumers
    from gateway.store.log import Log
    from gateway.store.salvage import salvage

    log = await Log.open(folder, Clock())
    try:
        consumers = await Consumers.load(log)
        for name in await consumers.names():
            await consumers.open(name)
        aside = log.aside
        if aside:
            await salvage(log, consumers, asyncio.sleep)
            done = (await log.query("select sum(count) from block where lo < ?", log.first))[0][0] or 0
            print(
                f"{done} events are in the new log; the damaged one is kept as {aside}.salvaged: remove it when you like"
            )
    finally:
        await log.close()


def run_migrate(args: argparse.Namespace) -> int:
    """Say whether the log is of an older version; without --check, change that."""
    import sqlite3
    from contextlib import closing

    from gateway.store import files, migrate, opening

    path = log_in(args)
    with closing(files.open_to_read(path)) as db:
        ahead = migrate.outlook(db)
    if not ahead:
        print(f"{path} has version {migrate.version}: nothing to do")
        return 0
    print(f"{path} has version {ahead[0]}; this redcar works with {migrate.version}")
    if args.check:
        return 1
    with opening.alone(path.parent), closing(sqlite3.connect(path, isolation_level=None)) as db:
        files.tune(db)
        migrate.bring_up(db, path)
    print(f"migrated; the log as it was is {path.with_name(f'events.v{ahead[0]}.backup')}")
    return 0
