"""``redcar consumers``: what each reader of the log is still owed."""

import argparse
import json

from gateway.cli.common import add_log, open_log, show_time


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    consumers = commands.add_parser(
        "consumers",
        help="what each reader of the log is still owed",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n  redcar consumers\n  redcar consumers --json\n",
    )
    add_log(consumers)
    consumers.add_argument("--json", action="store_true", help="one object per lane and line")
    consumers.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """One line per consumer and lane. Positions are those on the disk: up to a second old while the gateway runs."""
    from gateway.store.log import head_of, read_events

    db = open_log(args)
    head = head_of(db)
    for consumer, lane, lo, hi in db.execute(
        "select consumer, lane, lo, hi from owed order by consumer, lane <> 'live', lo"
    ):
        owed = max(0, min(hi, head) - lo + 1 if hi is not None else head - lo + 1)
        oldest = read_events(db, lo, min(head, hi) if hi is not None else head, 1) if owed else []
        time = oldest[0].recorded if oldest else None
        if args.json:
            print(json.dumps({"consumer": consumer, "lane": lane, "lo": lo, "hi": hi, "owed": owed, "oldest": time}))
        else:
            since = f", oldest from {show_time(time)}" if time else ""
            print(f"{consumer:20} {lane:10} {f'owed {owed}' if owed else 'owed nothing'}{since}")
    return 0
