"""``redcar trace``: the story of one event, from the log alone."""

import argparse
import json
from typing import TYPE_CHECKING

from gateway.cli.common import (
    NoLog,
    add_log,
    ask_running,
    cloud_event,
    count,
    harmless,
    open_log,
    settings_of,
    show_time,
)

if TYPE_CHECKING:
    from gateway.event import Event
    from gateway.store.trace import Fate

examples = """\
examples:
  redcar trace 4711
  redcar trace 4711 --json

It says what the event is and when it came; what caused it, back to the first; what it caused; which rules look at it; and
for each consumer, when it was delivered or in which lane it is owed. "passed" is said where the subscription isn't at
hand: it was delivered, or not selected.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    trace = commands.add_parser(
        "trace",
        help="where an event came from, and what became of it",
        epilog=examples,
    )
    add_log(trace)
    trace.add_argument("offset", metavar="OFFSET", type=count)
    trace.add_argument("--json", action="store_true", help="one JSON object")
    trace.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Tell it."""
    import msgspec

    from gateway.selection import Globs
    from gateway.store import trace
    from gateway.store.rows import head_of, read_events

    db, settings = open_log(args), settings_of(args)
    found = read_events(db, args.offset, args.offset, 1)
    if not found:
        head = head_of(db)
        why = f"the newest is {head}" if args.offset > head else "it was given up: look for gap events around it"
        why = why if args.offset > 0 else "the first is 1"
        raise NoLog(f"the log has no event {args.offset}: {why}")
    event = found[0]
    causes, effects = list(trace.chain(db, event)), list(trace.effects(db, event.offset))
    rules = _rules(settings.gateway.rules, event)
    fates = trace.fates(db, event, effects, {one.name: Globs(one.types, one.sources) for one in settings.subscription})
    _ahead(args, fates, {one.name for one in settings.subscription})
    if args.json:
        told = {
            "event": json.loads(cloud_event(event, args)),
            "causes": [json.loads(cloud_event(one, args)) for one in causes],
            "effects": [json.loads(cloud_event(one, args)) for one in effects],
            "rules": rules,
            "consumers": msgspec.to_builtins(fates),
        }
        print(json.dumps(told))
    else:
        _tell(event, causes, effects, rules, fates)
    return 0


def _tell(event: "Event", causes: "list[Event]", effects: "list[Event]", rules: list[str], fates: "list[Fate]") -> None:
    from gateway.cli.events import line

    print(line(event))
    print(f"  happened    {show_time(event.time)}")
    print(f"  stored      {show_time(event.recorded)}")
    for label, events in (("because of", causes), ("led to", effects)):
        for one in events:
            print(f"  {label:11} {line(one)}")
    if rules:
        print(f"  rules       {', '.join(rules)}")
    for fate in fates:
        when = f" {show_time(fate.time)}" if fate.time else ""
        lane = f" (lane {fate.lane})" if fate.lane else ""
        print(f"  {harmless(fate.consumer):11} {fate.state}{when}{lane}")


def _ahead(args: argparse.Namespace, fates: "list[Fate]", subscriptions: set[str]) -> None:
    """A running gateway saves some positions once a minute only: those in its memory count."""
    begins = {(one["consumer"], one["lane"]): one["lo"] for one in ask_running(args, {"do": "consumers"}) or []}
    for fate in fates:
        if fate.state == "owed" and begins.get((fate.consumer, fate.lane), 0) > args.offset:
            fate.state, fate.lane = ("delivered" if fate.consumer in subscriptions else "seen"), ""


def _rules(paths: list[str], event: "Event") -> list[str]:
    """Names of the rules of the configuration that look at it, as they are now."""
    if event.type != "reading" or not paths:
        return []
    from pathlib import Path

    from rules.load import load

    ruleset = load([Path(path) for path in paths])
    return [one.name for one in ruleset.rules if one.matches(event.source) or event.source in one.named]
