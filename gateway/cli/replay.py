"""``redcar replay``: deliver a part of the past again, beside what is delivered now."""

import argparse
from typing import TYPE_CHECKING

from gateway.cli.common import NoLog, act, add_log, misused, moment, open_log, settings_of, show_span, show_time

if TYPE_CHECKING:
    from sqlite3 import Connection

    from gateway.selection import Selection
    from gateway.sink import Subscription

examples = """\
examples:
  redcar replay --consumer cloud --from 2026-11-20 --to 2026-11-21 --dry-run       how much that would be
  redcar replay --consumer cloud --from 2026-11-20 --to 2026-11-21                 as fast as backlog_rate allows
  redcar replay --consumer cloud --from 2h --to 1h --source 'cellar/*' --speed 1x  as it happened

Times are those at which events were stored. The replay has a lane of its own, replay-<number>: live and backlog go on
undisturbed, and receivers can tell it from them. redcar consumers shows how far it is.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    replay = commands.add_parser(
        "replay",
        help="deliver a part of the past again",
        epilog=examples,
    )
    add_log(replay)
    replay.add_argument("--consumer", metavar="NAME", required=True, help="the subscription to deliver to")
    replay.add_argument("--from", dest="since", metavar="T", required=True, help="30m, 2h, 7d ago, or 2026-11-21T06:00")
    replay.add_argument("--to", dest="until", metavar="T", required=True, help="likewise; now = 0s")
    replay.add_argument("--source", metavar="GLOB", action="append", help="only of these sources; may be repeated")
    replay.add_argument("--type", metavar="GLOB", action="append", help="only of these types; may be repeated")
    replay.add_argument(
        "--speed", metavar="SPEED", default="max", help="1x as it was recorded, 10x ten times faster, or max (default)"
    )
    replay.add_argument("--dry-run", action="store_true", help="say how much it is, and change nothing")
    replay.add_argument("--json", action="store_true", help="one JSON object")
    replay.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Insert a range, or say what it would be."""
    import json

    from gateway.selection import Selection
    from gateway.store.rows import head_of, offset_at

    speed = _speed(args.speed)
    db = open_log(args)
    lo, hi = offset_at(db, moment(args.since)), min(head_of(db), offset_at(db, moment(args.until) + 1) - 1)
    if lo > hi:
        print("nothing was recorded then")
        return 1
    types, sources = args.type or ["*"], args.source or ["*"]
    if args.dry_run:
        events, size, seconds = _measure(db, lo, hi, Selection(types, sources), _subscription(args), speed)
        if args.json:
            print(json.dumps({"lo": lo, "hi": hi, "events": events, "bytes": size, "seconds": round(seconds, 1)}))
        else:
            span = f"{show_time(_recorded(db, lo))} .. {show_time(_recorded(db, hi))}"
            print(f"{events} events of {lo}..{hi}, stored {span}")
            print(f"{size} bytes, in about {show_span(seconds)}; nothing was changed")
        return 0
    request = {"consumer": args.consumer, "lo": lo, "hi": hi, "types": types, "sources": sources, "speed": speed}
    made = act(args, {"do": "replay", **request})
    print(json.dumps(made) if args.json else f"{args.consumer} is owed {lo}..{hi} again, in lane {made['lane']}")
    return 0


def _speed(text: str) -> float | None:
    """None: as fast as allowed."""
    if text == "max":
        return None
    try:
        speed = float(text.removesuffix("x"))
    except ValueError:
        speed = 0.0
    if not 0.001 <= speed <= 1e6:
        raise misused(f"'{text}' isn't a speed", "write 1x, 10x or max")
    return speed


def _measure(
    db: "Connection", lo: int, hi: int, wanted: "Selection", subscription: "Subscription", speed: float | None
) -> tuple[int, int, float]:
    """Events that would be delivered, the bytes of their data, and about how many seconds it takes."""
    from gateway.selection import Selection
    from gateway.store.rows import pages

    subscribed = Selection(subscription.types, subscription.sources)
    count = size = first = last = 0
    for page in pages(db, lo, hi):
        if events := subscribed.of(wanted.of(page)):
            count += len(events)
            size += sum(len(event.body) for event in events)
            first, last = first or events[0].recorded, events[-1].recorded
    seconds = count / subscription.backlog_rate
    return count, size, max(seconds, (last - first) / 1_000_000 / speed) if speed else seconds


def _subscription(args: argparse.Namespace) -> "Subscription":
    known = settings_of(args).subscription
    for one in known:
        if one.name == args.consumer:
            return one
    names = ", ".join(one.name for one in known) or "none: name the configuration with --config"
    raise NoLog(f"there is no subscription {args.consumer}: there is {names}")


def _recorded(db: "Connection", offset: int) -> int:
    """When that offset, or the next one that is left, was stored."""
    from gateway.store.rows import read_events

    return read_events(db, offset, offset + 1_000_000, 1)[0].recorded
