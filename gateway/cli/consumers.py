"""``redcar consumers``: what each reader of the log is still owed, and how it is doing."""

import argparse
import json
from typing import Any

from gateway.cli.common import act, add_log, ask_running, harmless, open_log, show_span, show_time

examples = """\
examples:
  redcar consumers            per consumer and lane: what is owed, how fast it goes, what is in the way
  redcar consumers --json     the same, one object per line
  redcar consumers --forget old-cloud     its subscription is gone: owe it nothing any more

"owed nothing" in every lane proves that everything was delivered. Beside a running gateway the figures are live; without
one they are those on the disk.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    consumers = commands.add_parser(
        "consumers",
        help="what each reader of the log is still owed",
        epilog=examples,
    )
    add_log(consumers)
    consumers.add_argument("--json", action="store_true", help="one object per lane and line")
    consumers.add_argument("--forget", metavar="NAME", help="owe this one nothing any more; it must be out of use")
    consumers.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """One line per consumer and lane."""
    if args.forget:
        told = act(args, {"do": "forget", "consumer": args.forget})
        print(json.dumps(told) if args.json else f"{args.forget} is forgotten; it was owed {told['owed']}")
        return 0
    lanes = ask_running(args, {"do": "consumers"})
    if lanes is None:
        lanes = _on_disk(args)
    for lane in lanes:
        print(json.dumps(lane) if args.json else _line(lane))
    return 0


def _on_disk(args: argparse.Namespace) -> list[dict[str, Any]]:
    import msgspec

    from gateway.store.ranges import by_lane, columns, from_row
    from gateway.store.rows import head_of, read_events

    db = open_log(args)
    head = head_of(db)
    consumers: dict[str, list[Any]] = {}
    for name, *values in db.execute(f"select consumer, {columns} from owed order by consumer, lo"):
        consumers.setdefault(name, []).append(from_row(*values))
    told = []
    for name, ranges in consumers.items():
        for lane in by_lane(ranges, head):
            hi = head if lane.hi is None else min(lane.hi, head)
            oldest = read_events(db, lane.lo, hi, 1) if lane.owed else []
            recorded = oldest[0].recorded if oldest else None
            told.append({"consumer": name, **msgspec.to_builtins(lane), "oldest": recorded, "in_use": None})
    return told


def _line(lane: dict[str, Any]) -> str:
    """``cloud  backlog  owed 1200, oldest from 14:03:07 (5 min), 480/s; not connected: ... (try 3, next at 14:10:02)``."""
    import time

    parts = ["owed nothing"]
    if lane["owed"]:
        parts = [f"owed {lane['owed']}"]
        if lane["oldest"] is not None:
            age = show_span(time.time() - lane["oldest"] / 1_000_000)
            parts.append(f"oldest from {show_time(lane['oldest'])} ({age} ago)")
    if lane.get("rate"):
        parts.append(f"{lane['rate']:g}/s")
    how = "; nobody reads it" if lane["in_use"] is False else ""
    if lane.get("connected") is False:
        how = "; not connected" + (f": {lane['problem']}" if lane["problem"] else "")
        if lane["next_try"]:
            how += f" (tried {lane['attempts']} times, again at {show_time(lane['next_try'])})"
    return harmless(f"{lane['consumer']:20} {lane['lane']:12} {', '.join(parts)}{how}")
