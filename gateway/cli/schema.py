"""``redcar schema``: what each type of event holds."""

import argparse
import json

from gateway.cli.common import misused

examples = """\
examples:
  redcar schema                     every type, with a sentence
  redcar schema alarm.raised        its JSON Schema
  redcar schema --all > types.json  those of all types, as one object
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``schema``."""
    parser = commands.add_parser(
        "schema",
        help="what each type of event holds, as JSON Schema",
        epilog=examples,
    )
    parser.add_argument("type", metavar="TYPE", nargs="?", help="reading, alarm.raised ...")
    parser.add_argument("--all", action="store_true", help="the schemas of all types, as one JSON object")
    parser.add_argument("--json", action="store_true", help="the list as JSON, one object per line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the list, or schemas."""
    from gateway import schema, versions

    if args.all:
        print(json.dumps({type: schema.exported(type) for type in schema.types}, indent=2))
    elif args.type in schema.types:
        print(json.dumps(schema.exported(args.type), indent=2))
    elif args.type:
        raise misused(f"there is no type '{args.type}'", f"use {', '.join(schema.types)}", "schema")
    else:
        for type in schema.types:
            version = versions.current.get(type, 1)
            if args.json:
                print(json.dumps({"type": type, "version": version, "description": schema.summary(type)}))
            else:
                print(f"{type:20} {version}  {schema.summary(type)}")
    return 0
