"""Rule files to a RuleSet: all faults of all files at once, or all rules, each after those it asks for."""

from collections.abc import Iterable
from pathlib import Path

from gateway import places
from gateway.errors import ConfigError, Fault
from gateway.places import Document
from rules.rule import Rule, RuleSet
from rules.table import Table
from rules.tokens import nearest

longest_chain = 20
"""Rules that ask for each other's alarms in a row; an alarm at the far end has to travel through all of them."""

_FIRST = 'begin with [rule.freezer_warm], on = "freezer", when = "temperature > -15 °C for 10m"'


def load(paths: Iterable[Path]) -> RuleSet:
    """The rules of these files and folders (their ``*.toml``). Raises ConfigError with every fault found."""
    faults: list[Fault] = []
    documents: list[Document] = []
    for path in paths:
        for file in sorted(path.glob("*.toml")) if path.is_dir() else [path]:
            try:
                documents.append(places.read(file))
            except ConfigError as error:
                faults += error.faults
    known: dict[str, Table] = {}
    rules: dict[str, Rule] = {}
    for document in documents:
        for table in _tables(document):
            first = known.setdefault(table.name, table)
            if first is not table:
                where = f"{first.document.file}:{first.line}"
                table.fault((), f"a rule of that name is in {where}", "give it another name")
            elif (rule := table.rule()) is not None:
                rules[table.name] = rule
    for table in known.values():
        _asked(table, known)
    ordered = _ordered(rules, known)
    for document in documents:
        faults += sorted(document.faults, key=lambda fault: fault.line)
    if faults:
        raise ConfigError(faults)
    return RuleSet(tuple(ordered))


def _tables(document: Document) -> list[Table]:
    """The rules of one file, unchecked."""
    for key, value in document.data.items():
        place = (key, *([next(iter(value), "")] if isinstance(value, dict) else []))
        if key == "action":
            document.fault(place, "not yet: actions", "forward alarm.* events with a [[subscription]] of redcar.toml")
        elif key != "rule":
            document.fault(place, "isn't part of a rule file", nearest(key, ("rule",)))
    found = document.data.get("rule", {})
    if not isinstance(found, dict):
        document.fault(("rule",), "isn't a table of rules", _FIRST)
        return []
    for name, keys in found.items():
        if not isinstance(keys, dict):
            document.fault(("rule", name), "isn't the table of a rule", _FIRST)
    return [Table(document, name) for name, keys in found.items() if isinstance(keys, dict)]


def _asked(table: Table, known: dict[str, Table]) -> None:
    """Everybody whose alarm is asked for has to be there."""
    for key, asked, column in table.asked:
        if asked not in known:
            others = sorted(name for name in known if name != table.name)
            cure = nearest(asked, others) if others else "write that rule, or take the alarm() out"
            table.fault((key,), f"column {column}: no rule is called {asked}", cure)
        elif not known[asked].enabled:
            cure = "take it out, or write enabled = true there"
            table.fault((key,), f"column {column}: rule {asked} is switched off", cure)


def _ordered(rules: dict[str, Rule], known: dict[str, Table]) -> list[Rule]:
    """By name, but each rule after those whose alarms it asks for. Rules that ask in a circle are a fault."""
    ordered: dict[str, Rule] = {}
    refused: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        if name in ordered or name not in rules or name in refused:
            return
        if name in way or len(way) > longest_chain:
            problem = f"asks through more than {longest_chain} rules"
            if name in way:
                problem = f"asks in a circle: {' -> '.join((*way[way.index(name) :], name))}"
            known[name].fault((known[name].asked[0][0],) if known[name].asked else (), problem, "take one alarm() out")
            refused.update(way)
            return
        for asked in rules[name].asks:
            visit(asked, (*way, name))
        ordered[name] = rules[name]

    for name in sorted(rules):
        visit(name, ())
    return list(ordered.values())
