"""``redcar status``: how the log is doing, how long there is room for, and what it costs the card."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from gateway.cli.common import add_log, ask_running, log_in, show_time

if TYPE_CHECKING:
    from sqlite3 import Connection

    from gateway.settings import Settings

day = 86_400


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    status = commands.add_parser(
        "status",
        help="size, growth and health of the log",
        epilog="examples:\n  redcar status\n  redcar status --json\n\n"
        "exit code: 0 the log is well; 1 something isn't, and it says what\n",
    )
    add_log(status)
    status.add_argument("--json", action="store_true", help="one object; sizes in bytes, times in µs")
    status.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """From the files; what only a running gateway knows comes from itself."""
    from contextlib import closing

    from gateway.store import files

    path = log_in(args)
    settings = _settings(args)
    with closing(files.open_to_read(path)) as db:
        said = _of_the_log(db, path.parent, settings)
    said["gateway"] = ask_running(args, {"do": "status"})
    said["problems"] = _problems(said)
    if args.json:
        print(json.dumps(said))
    else:
        print("\n".join(_lines(said)))
    return 1 if said["problems"] else 0


def _settings(args: argparse.Namespace) -> "Settings":
    from gateway.settings import Settings

    if args.data:
        return Settings()
    from gateway.config import find, load

    return load(find(args.config))


def _of_the_log(db: "Connection", folder: Any, settings: "Settings") -> dict[str, Any]:
    import msgspec

    from gateway.store import files, opening, rows
    from gateway.store.care import Written
    from gateway.store.disk import free
    from gateway.store.retention import cap_of

    sizes = files.measure(db, folder)
    room = free(folder)
    cap = cap_of(settings.retention.cap, sizes.counted + sizes.spare + room)
    meta = dict(db.execute("select key, value from meta").fetchall())
    (events, blocks) = db.execute("select coalesce(sum(count), 0), count(*) from block").fetchone()
    ends = [db.execute(f"select recorded from block order by lo {way} limit 1").fetchone() for way in ("asc", "desc")]
    oldest, newest = (end[0] if end else None for end in ends)
    written = msgspec.json.decode(meta.get("written", "{}"), type=Written)
    last = max(written.days, key=int, default=None)
    today = {"bytes": written.days[last], "events": written.events.get(last, 0)} if last else {"bytes": 0, "events": 0}
    return {
        "folder": str(folder),
        "epoch": f"{meta['epoch']:x}",
        "size": {"used": sizes.used, "free_pages": sizes.spare, "wal": sizes.wal, "other": sizes.other, "cap": cap},
        "disk_free": room,
        "events": events,
        "blocks": blocks,
        "head": rows.mark_of(db),
        "oldest": oldest,
        "newest": newest,
        **_growth_of(db, oldest, cap - sizes.counted),
        "written": today,
        "flash_budget": settings.log.flash_budget,
        "lost": [list(row) for row in db.execute("select lo, hi from lost order by lo")],
        "aside": [path.name for path in [opening.waiting(folder)] if path],
        "closed": bool(meta.get("clean", 1)),
    }


def _growth_of(db: "Connection", oldest: int | None, left: int) -> dict[str, Any]:
    """What came within the last day, and when so many bytes are filled if it goes on so."""
    import time

    from gateway.store import rows

    now = int(time.time() * 1_000_000)
    since = max(now - day * 1_000_000, oldest or now)
    sql = "select coalesce(sum(count), 0), coalesce(sum(length(data)), 0) from block where lo >= ?"
    events, size = db.execute(sql, (rows.offset_at(db, since),)).fetchone()
    days = (now - since) / 1e6 / day
    if days < 1 / 24:  # less than an hour says nothing about a day
        return {"events_per_day": None, "growth_per_day": None, "cap_reached": None}
    growth = size / days
    reached = now + int(left / growth * day * 1e6) if growth > 0 and left > 0 else None
    return {"events_per_day": events / days, "growth_per_day": growth, "cap_reached": reached}


def _problems(said: dict[str, Any]) -> list[str]:
    found = []
    health = (said["gateway"] or {}).get("health") or {}
    if health.get("state", "well") != "well":
        found.append(f"the disk is {health['state']}: {health['problem']}")
    if said["lost"]:
        found.append(f"events in {len(said['lost'])} ranges can't be read: stop the gateway and run redcar repair")
    if said["aside"]:
        found.append(
            f"{said['aside'][0]} waits to be salvaged: redcar run does it in the background, redcar repair at once"
        )
    if said["gateway"] is None and not said["closed"]:
        found.append("no gateway runs, and the last one wasn't stopped properly: redcar run checks the log")
    budget = said["flash_budget"]
    if budget and said["written"]["bytes"] > budget:
        found.append(
            f"{size(said['written']['bytes'])} written today, more than the {size(budget)} the card is meant to bear"
        )
    return found


def _lines(said: dict[str, Any]) -> list[str]:
    sizes = said["size"]
    whole = sizes["used"] + sizes["wal"] + sizes["other"]
    lines = [
        f"log       {said['folder']}, epoch {said['epoch']}",
        f"events    {said['events']:,} in {said['blocks']:,} blocks, the last is {said['head']}",
    ]
    if said["oldest"]:
        lines.append(f"from      {show_time(said['oldest'])} to {show_time(said['newest'])}")
    lines += [
        f"size      {size(whole)} of {size(sizes['cap'])} (events {size(sizes['used'])}, WAL {size(sizes['wal'])}, "
        f"ballast and kept aside {size(sizes['other'])}; "
        f"free inside {size(sizes['free_pages'])}, on the disk {size(said['disk_free'])})",
        f"growth    {_growth(said)}",
    ]
    written = said["written"]
    if written["bytes"]:
        each = f", {written['bytes'] / written['events']:.0f} bytes per event" if written["events"] else ""
        budget = f", of {size(said['flash_budget'])}" if said["flash_budget"] else ""
        lines.append(f"written   {size(written['bytes'])} today{budget}{each}")
    running = said["gateway"]
    if running:
        lines += _of_the_hub(running["hub"])
        for title, peers in (("sink  ", "sinks"), ("source", "sources")):
            for one in running.get(peers, []):
                how = "connected" if one["connected"] else one["problem"] or "not connected"
                lines.append(f"{title}    {one['name']}: {how}")
        for link in running.get("links", []):
            counts = ", ".join(f"{count} {reason}" for reason, count in sorted(link["drops"].items()))
            lines.append(f"dropped   {link['name']}: {counts}")
    lines += [f"problem   {problem}" for problem in said["problems"]] or ["health    the log is well"]
    return lines


def _of_the_hub(hub: dict[str, Any]) -> list[str]:
    refused = f"; refused {hub['refused']:,} times, see the log" if hub["refused"] else ""
    paused = "; nobody is read, because the disk can't keep up" if hub["paused"] else ""
    return [
        *(f"listener  {one}" for one in hub["listeners"]),
        f"clients   {hub['clients']} connected, {hub['away']} away, {hub['subscriptions']:,} subscriptions, "
        f"{hub['retained']:,} retained topics{refused}{paused}",
    ]


def _growth(said: dict[str, Any]) -> str:
    if said["growth_per_day"] is None:
        return "not known before the log is an hour old"
    daily = f"{said['events_per_day']:,.0f} events, {size(said['growth_per_day'])} a day"
    return daily + (f"; the cap is reached {_when(said['cap_reached'])}" if said["cap_reached"] else "")


def _when(microseconds: int) -> str:
    import time
    from datetime import datetime

    days = (microseconds / 1e6 - time.time()) / day
    if days > 3_650:
        return "in more than ten years"
    return f"on {datetime.fromtimestamp(microseconds / 1e6):%Y-%m-%d}, in {days:.0f} days; from then on the oldest goes"


def size(bytes: float) -> str:
    """For people: 12.3 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if bytes < 1000 or unit == "GB":
            return f"{bytes:.0f} {unit}" if unit == "B" or bytes >= 100 else f"{bytes:.1f} {unit}"
        bytes /= 1000
    raise AssertionError
