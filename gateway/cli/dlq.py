"""``redcar dlq``: dead letters: what couldn't be read or delivered, and what to do about it."""

import argparse
import json
from typing import TYPE_CHECKING

from gateway.cli.common import NoLog, act, add_log, cloud_event, count, harmless, misused, open_log, show_time

if TYPE_CHECKING:
    from gateway.event import Event

examples = """\
examples:
  redcar dlq list                                    what waits for somebody
  redcar dlq list --where reason=not_json --json     one CloudEvent per line
  redcar dlq show 4711                               one of them, whole, with what it is about
  redcar dlq redrive 4711 4712                       deliver again, or read again with the present driver
  redcar dlq redrive --where consumer=cloud          everything that this receiver refused
  redcar dlq drop --where source=cellar/air-1        take them off the list; the log keeps them

--where takes stage, reason, consumer, driver, permanent, source or any other field; it may be repeated. Reasons:
not_json not_text not_a_number truncated checksum unknown_format encrypted sensor_fault too_long (an input that couldn't
be read), refused (a receiver will never take it), doubtful (it never said whether it took it).

exit code: 0 done; 1 some couldn't be redriven, each with why
"""

at_once = 500
"""Letters per request to the gateway."""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``dlq list``, ``show``, ``redrive`` and ``drop``."""
    group = commands.add_parser("dlq", help="what couldn't be read or delivered", epilog=examples)
    actions = group.add_subparsers(metavar="ACTION", required=True)
    list_ = actions.add_parser("list", help="what waits for somebody, oldest first")
    list_.set_defaults(run=_list)
    show = actions.add_parser("show", help="one of them, whole")
    show.add_argument("offset", metavar="OFFSET", type=count)
    show.set_defaults(run=_show)
    redrive = actions.add_parser("redrive", help="deliver again, or read again")
    redrive.set_defaults(run=_settle, do="redrive")
    drop = actions.add_parser("drop", help="take off the list")
    drop.set_defaults(run=_settle, do="drop")
    for action in (redrive, drop):
        action.add_argument("offsets", metavar="OFFSET", type=count, nargs="*")
        action.add_argument("--all", action="store_true", help="everything on the list")
    for action in (list_, redrive, drop):
        action.add_argument("--where", metavar="FIELD=VALUE", action="append", default=[])
    for action in (list_, show, redrive, drop):
        add_log(action)
        action.add_argument("--json", action="store_true", help="JSON, one object per line")


def _list(args: argparse.Namespace) -> int:
    letters = _waiting(args)
    if args.json:
        for letter in letters:
            print(cloud_event(letter, args))
        return 0
    for letter in letters:
        data = letter.data
        about = f"{data['consumer']} <- {data['offset']}" if data.get("stage") == "deliver" else data.get("driver", "?")
        lasting = "" if data.get("permanent", True) else f", {data.get('attempts', '?')} tries"
        why = harmless(f"{letter.source} {data.get('stage')} ({about}): {data.get('reason')}: {data.get('detail')}")
        print(f"{letter.offset} {show_time(letter.time)} {why}{lasting}")
    if not letters:
        print("no dead letters")
    return 0


def _show(args: argparse.Namespace) -> int:
    from gateway.cli.events import line
    from gateway.store.rows import read_events

    db = open_log(args)
    found = read_events(db, args.offset, args.offset, 1)
    if not found or found[0].type != "rejected":
        raise NoLog(f"{args.offset} isn't a dead letter: see redcar dlq list")
    letter = found[0]
    original = read_events(db, letter.cause, letter.cause, 1) if letter.cause else []
    if args.json:
        for one in [letter, *original]:
            print(cloud_event(one, args))
        return 0
    print(f"{letter.offset} {harmless(letter.source)}, {show_time(letter.time)}")
    for key, value in letter.data.items():
        print(f"  {harmless(key):15} {harmless(str(value))}")
    for one in original:
        print(f"about: {line(one)}")
    return 0


def _settle(args: argparse.Namespace) -> int:
    if not args.offsets and not args.where and not args.all:
        raise misused("say which", "OFFSET..., --where FIELD=VALUE, or --all")
    offsets = [letter.offset for letter in _waiting(args)]
    if args.offsets:
        strangers = sorted(set(args.offsets) - set(offsets))
        if strangers:
            raise NoLog(f"{strangers[0]} isn't on the list of dead letters: see redcar dlq list")
        offsets = args.offsets
    failed = False
    for begin in range(0, len(offsets), at_once):
        for told in act(args, {"do": args.do, "offsets": offsets[begin : begin + at_once]}):
            failed = failed or not told["done"]
            print(json.dumps(told) if args.json else f"{told['offset']}: {told['said']}")
    if not offsets and not args.json:
        print("no dead letters")
    return 1 if failed else 0


def _waiting(args: argparse.Namespace) -> "list[Event]":
    from gateway.deadletters import matching, waiting

    where = {}
    for text in args.where:
        key, sign, value = text.partition("=")
        if not sign:
            raise misused(f"--where {text}", "write FIELD=VALUE, e.g. reason=not_json")
        where[key] = value
    return list(matching(waiting(open_log(args)), where))
