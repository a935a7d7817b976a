"""``redcar tail`` and ``redcar events``: look into the log, beside a running gateway or without one."""

import argparse
import sys
import time
from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import chain
from typing import TYPE_CHECKING, Any

from gateway.cli.common import add_log, cloud_event, count, harmless, moment, open_log, show_time

if TYPE_CHECKING:
    from sqlite3 import Connection

    from gateway.event import Event

page = 1_000


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands of this group."""
    tail = commands.add_parser(
        "tail",
        help="the newest events, and with -f what comes",
        epilog="examples:\n  redcar tail\n  redcar tail -f --type 'alarm.*'\n  redcar tail -f --json | jq .data.temperature\n",
    )
    add_log(tail)
    _add_filters(tail)
    tail.add_argument("-f", "--follow", action="store_true", help="go on with what comes, until Ctrl-C")
    tail.add_argument("-n", "--lines", type=count, default=20, metavar="N", help="begin with the newest N (default 20)")
    tail.set_defaults(run=run_tail)

    events = commands.add_parser(
        "events",
        help="stored events of a time or source",
        epilog="examples:\n  redcar events --source 'cellar/*' --since 2h\n"
        "  redcar events --type alarm.raised --since 2026-11-01 --until 2026-11-02T06:00 --json\n",
    )
    add_log(events)
    _add_filters(events)
    events.add_argument("--since", metavar="T", help="from then on: 30m, 2h, 7d ago, or 2026-11-21T06:00 (local time)")
    events.add_argument("--until", metavar="T", help="up to then")
    events.add_argument("--as-of", metavar="T", help="only what the log held then")
    events.add_argument("--limit", type=count, default=sys.maxsize, metavar="N", help="stop after N")
    events.set_defaults(run=run_events)


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", default="*", metavar="GLOB", help="of these sources: 'cellar/*'")
    parser.add_argument("--type", default="*", metavar="GLOB", help="of these types: reading, 'alarm.*'")
    parser.add_argument("--json", action="store_true", help="one CloudEvent per line")


def run_tail(args: argparse.Namespace) -> int:
    """The newest events that match; then, with -f, those that come."""
    from gateway.store.rows import head_of, read_events

    db = open_log(args)
    head = head_of(db)
    newest: list[Event] = []
    high = head
    while high > 0 and len(newest) < args.lines:
        low = max(1, high - page + 1)
        newest[:0] = [event for event in read_events(db, low, high, page) if _wanted(event, args)]
        high = low - 1
    for event in newest[max(0, len(newest) - args.lines) :]:
        _show(event, args)
    while args.follow:
        sys.stdout.flush()
        time.sleep(0.25)  # another process writes; SQLite has no way to wake us
        for event in _stored(db, head + 1, head_of(db)):
            head = event.offset
            if _wanted(event, args):
                _show(event, args)
    return 0


def run_events(args: argparse.Namespace) -> int:
    """Everything stored that matches, oldest first."""
    from gateway.store.rows import head_of, offset_at

    db = open_log(args)
    first = offset_at(db, moment(args.since)) if args.since else 1
    last = offset_at(db, moment(args.until) + 1) - 1 if args.until else head_of(db)
    left = args.limit
    if args.as_of:
        last = min(last, offset_at(db, moment(args.as_of) + 1) - 1)
    for event in _stored(db, first, last):
        if left <= 0:
            break
        if _wanted(event, args):
            _show(event, args)
            left -= 1
    return 0


def _stored(db: "Connection", lo: int, hi: int) -> "Iterator[Event]":
    from gateway.store.rows import pages

    return chain.from_iterable(pages(db, lo, hi))


def _wanted(event: "Event", args: argparse.Namespace) -> bool:
    if args.type == "*" and event.type == "tick":
        return False
    return fnmatchcase(event.source, args.source) and fnmatchcase(event.type, args.type)


def _show(event: "Event", args: argparse.Namespace) -> None:
    print(cloud_event(event, args) if args.json else line(event))


def line(event: "Event") -> str:
    """An event for people: ``4711 14:03:07.120 cellar/air-1 reading temperature=4.1 humidity=71``."""
    from gateway.event import Quality

    data = " ".join(f"{key}={_short(value)}" for key, value in event.data.items())
    quality = "" if event.quality == 0 else f" [{Quality(event.quality).grade}: {Quality(event.quality).name}]"
    cause = f" <- {event.cause}" if event.cause else ""
    about = f"{event.source} {event.type} {data}"
    return f"{event.offset} {show_time(event.time)} {harmless(about).rstrip()}{quality}{cause}"


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 120 else text[:119] + "…"
