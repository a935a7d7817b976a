"""``redcar check``: every fault of configurations and rule files, before anything is started."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.common import misused, several

if TYPE_CHECKING:
    from gateway.errors import Fault
    from gateway.places import Document

examples = """\
examples:
  redcar check                         redcar.toml here, $REDCAR_CONFIG or /etc/redcar/redcar.toml, with its rules
  redcar check redcar.toml rules/      a configuration, and every rule file of a folder
  redcar check --json redcar.toml      for an editor: file, line, place, problem and cure of each fault
  redcar check --settings              what a redcar.toml can say, and what is so if it doesn't; --settings limits: a table

exit code: 0 nothing is wrong; 1 something is, each fault on a line of its own
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``check``."""
    parser = commands.add_parser(
        "check",
        help="say everything that is wrong with configurations and rules",
        epilog=examples,
    )
    parser.add_argument("files", metavar="FILE", nargs="*", help="redcar.toml, a rule file, or a folder of these")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.add_argument(
        "--settings", metavar="TABLE", nargs="?", const="", help="show what can be set, and to what it is if it isn't"
    )
    parser.set_defaults(run=check)


def check(args: argparse.Namespace) -> int:
    """Check files; print their faults."""
    from gateway import config

    if args.settings is not None:
        return _show(args.settings)
    files = _files(args.files) if args.files else [config.find()]
    right, faults = _check(files)
    if args.json:
        import msgspec

        print(msgspec.json.encode({"ok": not faults, "files": [*map(str, files)], "faults": faults}).decode())
    else:
        for line in [*faults, *right]:
            print(line)
    return 1 if faults else 0


def _show(table: str) -> int:
    from gateway.settings import TABLES
    from gateway.sources.mqtt import Config
    from gateway.typed import explained

    tables = TABLES | {"source": Config}
    shown = {name: cls for name, cls in tables.items() if table in ("", name)}
    for name, cls in shown.items():
        print(f"[[{name}]]" if name in ("listener", "source") else f"[{name}]", *explained(cls), "", sep="\n")
    if not shown:
        print(f"there is no table {table}: there are {', '.join(tables)}")
    return 0 if shown else 1


def _files(named: list[str]) -> list[Path]:
    files: list[Path] = []
    for path in map(Path, named):
        found = sorted(path.glob("*.toml")) if path.is_dir() else [path]
        if not found:
            raise misused("there is no .toml file in this folder", "name another", str(path))
        files += found
    return files


def _check(files: list[Path]) -> tuple[list[str], "list[Fault]"]:
    """A line for each file that is right, and what is wrong with the others. A fault two files share is told once."""
    from gateway import config
    from gateway.errors import ConfigError

    right: list[str] = []
    faults: list[Fault] = []
    rules: list[Path] = []
    for file in files:
        try:
            document = config.written(file)
            if _has_rules(document):
                rules.append(file)
                continue
            found = config.settings(document)
            bound, subscribed = len(found.binding), len(found.subscription)
            right.append(f"{file}: right, {several(bound, 'binding')}, {several(subscribed, 'subscription')}")
        except ConfigError as error:
            faults += [fault for fault in error.faults if fault not in faults]
    if rules:
        from rules.load import load

        try:
            load(rules)  # together: their names must differ
            right += [f"{file}: right" for file in rules]
        except ConfigError as error:
            faults += [fault for fault in error.faults if fault not in faults]
    return right, faults


def _has_rules(document: "Document") -> bool:
    """A rule file says so by its tables; everything else is read as a configuration."""
    from gateway.settings import Settings

    tables = document.data.keys()
    return not tables & set(Settings.__struct_fields__) and bool(tables & {"rule", "action"})
