"""``redcar views``: last values, devices, alarms and roll-ups, now or as of any time."""

import argparse
import json
from fnmatch import fnmatchcase
from typing import Any

from gateway.cli.common import NoLog, act, add_log, harmless, log_in, misused, moment, open_log, show_time

examples = """\
examples:
  redcar views                                        what there is, and how far it is
  redcar views show last --source 'cellar/*'          the newest value of each metric
  redcar views show alarms --as-of 2026-11-21T06:00   what was active then
  redcar views show 15m --source cellar/air-1 --since 24h --json
  redcar views rebuild                                make them all anew from the log

views: last, devices, alarms, and the roll-ups 1m, 15m, 1h (count, min, max, mean, sum, last of each metric). As of a time in
the past they are made from the log: what was given up before can't be counted any more.
"""

_times = ("time", "first", "last_seen", "raised", "start", "acknowledged", "shelved")


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``views``, ``views show`` and ``views rebuild``."""
    group = commands.add_parser("views", help="last values, devices, alarms, roll-ups", epilog=examples)
    add_log(group)
    group.add_argument("--json", action="store_true", help="JSON, one object per line")
    group.set_defaults(run=run_list)
    actions = group.add_subparsers(metavar="ACTION")
    show = actions.add_parser("show", help="what is in one", epilog=examples)
    show.add_argument("name", metavar="VIEW", help="last, devices, alarms, 1m, 15m, 1h")
    show.add_argument("--source", metavar="GLOB", default="*", help="of these sources")
    show.add_argument("--since", metavar="T", help="roll-ups from then on: 2h, 7d ago, or 2026-11-21T06:00")
    show.add_argument("--as-of", metavar="T", help="as it was then")
    show.set_defaults(run=run_show)
    rebuild = actions.add_parser("rebuild", help="make them anew from the log, beside the running gateway or without")
    rebuild.add_argument("name", metavar="VIEW", nargs="?", help="one of your own; without it, all built-in views")
    rebuild.set_defaults(run=run_rebuild)
    for action in (show, rebuild):
        add_log(action)
        action.add_argument("--json", action="store_true", help="JSON, one object per line")


def run_list(args: argparse.Namespace) -> int:
    """Each view with its rows, and the position of all."""
    from gateway.store.rows import head_of
    from gateway.store.views.custom import positions, shown
    from gateway.store.views.keep import tables
    from gateway.store.views.rows import place

    db = open_log(args)
    position, head = place(db).lo - 1, head_of(db)
    found = [(name, count, position) for name, count in tables(db).items()]
    folder = log_in(args).parent
    found += [(name, len(shown(folder, name)), lo - 1) for name, lo in positions(folder).items()]
    for name, count, position in found:
        if args.json:
            print(json.dumps({"view": name, "rows": count, "position": position, "owed": max(0, head - position)}))
        else:
            print(f"{name:20} {count:8} rows, up to event {position} of {head}")
    return 0


def run_show(args: argparse.Namespace) -> int:
    """The rows of one view."""
    from gateway.store.views.custom import positions, shown
    from gateway.store.views.rows import Snapshot, names

    folder = log_in(args).parent
    own = positions(folder)
    if args.name in own and not args.as_of:
        for row in shown(folder, args.name):
            if fnmatchcase(str(row.get("source", "")), args.source):
                print(json.dumps(row) if args.json else _line(row))
        return 0
    if args.name not in names:
        raise misused(f"there is no view '{args.name}'", f"use {', '.join([*names, *own])}", "views show")
    found = Snapshot(open_log(args), moment(args.as_of) if args.as_of else None)
    since = moment(args.since) if args.since else 0
    for row in found.rows(args.name, args.source, since):
        print(json.dumps(row) if args.json else _line(row))
    return 0


def run_rebuild(args: argparse.Namespace) -> int:
    """Through the running gateway, or in its place."""
    from gateway.store.views.custom import forget, positions
    from gateway.store.views.rows import names

    if args.name and args.name not in names:
        folder = log_in(args).parent
        if args.name not in positions(folder):
            raise NoLog(f"there is no view '{args.name}': see redcar views")
        forget(folder, args.name)
        print(json.dumps({"view": args.name}) if args.json else f"{args.name} is made anew from the next start on")
        return 0
    count = act(args, {"do": "rebuild_views"})
    print(json.dumps({"events": count}) if args.json else f"rebuilt from {count} events")
    return 0


def _line(row: dict[str, Any]) -> str:
    return harmless(" ".join(f"{key}={_text(key, value)}" for key, value in row.items() if value is not None))


def _text(key: str, value: Any) -> str:
    if key in _times and isinstance(value, int):
        return show_time(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
