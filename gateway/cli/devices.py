"""``redcar devices``, ``adopt`` and ``ignore``: who speaks, and whose readings are stored."""

import argparse
import json
from typing import Any

from gateway.cli.common import act, add_log, ask_running, harmless, open_log, show_time

examples = """\
examples:
  redcar devices                        everybody who was ever heard
  redcar devices --state offered        who waits for your decision
  redcar adopt cellar/air-1             from now on its readings are stored
  redcar ignore '5C:31:3E:0A:11:F2'     from now on what it sends is dropped

A device that no binding accepts (allow, names) is offered. What it sends with QoS 1 is stored as messages meanwhile.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands."""
    devices = commands.add_parser("devices", help="who speaks, and who is accepted", epilog=examples)
    add_log(devices)
    devices.add_argument("--state", choices=["adopted", "offered", "ignored"], help="only these")
    devices.add_argument("--json", action="store_true", help="one object per device and line")
    devices.set_defaults(run=_list)
    for do, help in (("adopt", "store the readings of a device"), ("ignore", "drop what a device sends")):
        one = commands.add_parser(do, help=help, epilog=examples)
        add_log(one)
        one.add_argument("source", metavar="SOURCE", help="as redcar devices shows it")
        one.set_defaults(run=_decide, do=do)


def _list(args: argparse.Namespace) -> int:
    devices = ask_running(args, {"do": "devices"})
    if devices is None:
        devices = _on_disk(args)
    if args.state:
        devices = [one for one in devices if one["state"] == args.state]
    for one in devices:
        print(json.dumps(one) if args.json else _line(one))
    return 0


def _on_disk(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Without a gateway nobody knows who is there."""
    rows = open_log(args).execute("select source, driver, adopted, ignored, since from device order by source")
    return [
        {
            "source": source,
            "driver": driver,
            "state": "adopted" if adopted else "ignored" if ignored else "offered",
            "online": None,
            "since": since,
            "seen": None,
        }
        for source, driver, adopted, ignored, since in rows
    ]


def _line(one: dict[str, Any]) -> str:
    there = "" if one["online"] is None else "online" if one["online"] else "offline"
    seen = f"last seen {show_time(one['seen'])}" if one["seen"] else f"known since {show_time(one['since'])}"
    return f"{harmless(one['source']):30} {one['driver']:12} {one['state']:8} {there:8} {seen}"


def _decide(args: argparse.Namespace) -> int:
    act(args, {"do": args.do, "source": args.source})
    print(f"{args.source} is {'adopted' if args.do == 'adopt' else 'ignored'}")
    return 0
