"""Rule files to a RuleSet: all faults of all files at once, or all rules, each after those it asks for."""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

from gateway.errors import ConfigError, Fault
from rules.check import nearest
from rules.lines import find, scan
from rules.rule import Rule, RuleSet
from rules.table import Table

longest_chain = 20
"""Rules that ask for each other's alarms in a row; an alarm at the far end has to travel through all of them."""

_LINE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_FIRST_RULE = 'begin with [rule.freezer_warm], on = "freezer", when = "temperature > -15 °C for 10m"'


def load(paths: Iterable[Path]) -> RuleSet:
    """The rules of these files and folders (their ``*.toml``). Raises ConfigError with every fault found."""
    faults: list[Fault] = []
    tables: list[Table] = []
    for path in paths:
        for file in _files(path, faults):
            tables += _read(file, faults)
    known: dict[str, Table] = {}
    for table in tables:
        first = known.setdefault(table.name, table)
        if first is not table:
            table.fault((), f"a rule of that name is in {first.file}:{first.line}", "give it another name")
    rules = {table.name: rule for table in known.values() if (rule := table.rule()) is not None}
    for table in known.values():
        _asked(table, known)
    ordered = _ordered(rules, known)
    for table in tables:
        faults += table.faults
    if faults:
        raise ConfigError(faults)
    return RuleSet(tuple(ordered))


def _files(path: Path, faults: list[Fault]) -> list[Path]:
    if path.is_dir():
        return sorted(path.glob("*.toml"))
    if not path.exists():
        faults.append(Fault(str(path), 0, "", "there is no such file or folder", "check the path"))
        return []
    return [path]


def _read(file: Path, faults: list[Fault]) -> list[Table]:
    """The rule tables of one file, unchecked."""

    def fault(line: int, place: str, problem: str, cure: str) -> None:
        faults.append(Fault(str(file), line, place, problem, cure))

    try:
        text = file.read_bytes().decode()
        content = tomllib.loads(text)
    except OSError as error:
        fault(0, "", f"can't be read ({error.strerror})", "check the file and its permissions")
        return []
    except UnicodeDecodeError as error:
        fault(0, "", f"isn't UTF-8 text (byte {error.start})", "save it as UTF-8")
        return []
    except tomllib.TOMLDecodeError as error:
        where = _LINE.search(str(error))
        line = int(where[1]) if where and where[1] else text.count("\n") + 1
        column = f"column {where[2]}: " if where and where[2] else ""
        fault(line, "", f"{column}{_LINE.sub('', str(error))}", 'TOML needs: key = "text", [rule.name] above its keys')
        return []
    lines = scan(text)
    for key in content:
        if key == "action":
            fault(
                find(lines, (key,)), key, "not yet: actions", "forward alarm.* events with a [[subscription]] instead"
            )
        elif key != "rule":
            fault(find(lines, (key,)), key, "isn't a key of a rule file", nearest(key, ("rule",)))
    found = content.get("rule", {})
    if not isinstance(found, dict) or not all(isinstance(table, dict) for table in found.values()):
        fault(find(lines, ("rule",)), "rule", "isn't a table of rules", _FIRST_RULE)
        return []
    return [Table(str(file), name, table, lines) for name, table in found.items()]


def _asked(table: Table, known: dict[str, Table]) -> None:
    """Everybody whose alarm is asked for has to be there."""
    for place, asked, column in table.asked:
        if asked not in known:
            others = sorted(name for name in known if name != table.name)
            cure = nearest(asked, others) if others else "write that rule first"
            table.fault(place, f"column {column}: no rule is called {asked}", cure)
        elif not known[asked].enabled:
            table.fault(
                place, f"column {column}: rule {asked} is switched off", "take it out, or write enabled = true there"
            )


def _ordered(rules: dict[str, Rule], known: dict[str, Table]) -> list[Rule]:
    """By name, but each rule after those whose alarms it asks for. Rules that ask in a circle are a fault."""
    ordered: dict[str, Rule] = {}
    refused: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        if name in ordered or name not in rules or name in refused:
            return
        if name in way or len(way) > longest_chain:
            circle = " -> ".join((*way[way.index(name) if name in way else 0 :], name))
            problem = f"asks in a circle: {circle}" if name in way else f"asks through more than {longest_chain} rules"
            known[name].fault(known[name].asked[0][0] if known[name].asked else (), problem, "take one alarm() out")
            refused.update(way)
            return
        for asked in rules[name].asks:
            visit(asked, (*way, name))
        ordered[name] = rules[name]

    for name in sorted(rules):
        visit(name, ())
    return list(ordered.values())
