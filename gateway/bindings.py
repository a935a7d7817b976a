"""What a [[binding]] must be beyond the types of its settings: a link its driver can read, names that can be names,
topics that no other binding takes.
"""

import string
from collections.abc import Callable
from typing import Any, TypeVar

from gateway import driver, patterns
from gateway.address import parse
from gateway.driver import Advert, Binding, Driver, Message
from gateway.errors import DeviceRefused
from gateway.places import Document, Place, spoken
from gateway.typed import choose, shown, table

K = TypeVar("K")

_CARRIES: dict[str, type] = {"hub": Message, "serial": bytearray, "tcp": bytearray, "ble": Advert}
_LINKS = [*_CARRIES, "sim", "replay"]  # the last two carry whatever the driver reads
_READS = {
    Message: ("MQTT messages", '"hub:"'),
    bytearray: ("a stream of bytes", '"serial:/dev/serial/by-id/..."'),
    Advert: ("BLE advertisements", '"ble:"'),
}
_NEVER = '+#"\\'  # no source holds these: sources become MQTT topics


def read(given: list[tuple[Place, dict[str, Any]]], document: Document) -> list[Binding]:
    """Every binding that is right by itself; what is wrong with them, and between them, is noted."""
    made = [(place, *one) for place, table_ in given if (one := _binding(table_, document, place))]
    _topics_apart([(place, binding) for place, binding, found in made if found.input is Message], document)
    streams = [(place, binding) for place, binding, found in made if found.input is bytearray]
    ports = [((*place, "link"), one.link) for place, one in streams if one.link.startswith(("serial:", "tcp:"))]
    once(ports, document, "a port has one reader: delete one")
    once([((*place, "source"), one.source) for place, one in streams], document, "give each device its own name")
    return [binding for _, binding, _ in made]


def once(given: list[tuple[Place, str]], document: Document, cure: str) -> None:
    """Note what stands in two places and may stand in one only."""
    first: dict[str, Place] = {}
    for place, value in given:
        other = first.setdefault(value, place)
        if other is not place:
            document.fault(place, f"{shown(value)} stands in {spoken(other)} already", cure)


def kind(
    what: str, kinds: list[str], load: Callable[[str], K], given: dict[str, Any], document: Document, place: Place
) -> K | None:
    """The driver or sink that a table names, or None: then the document has the fault."""
    if what not in given:
        document.fault(place, f"{what} is missing", f"write {what} = and one of {', '.join(kinds)}")
        return None
    if not choose(given[what], kinds, document, (*place, what), f"a {what}"):
        return None
    try:
        return load(given[what])
    except (ImportError, AttributeError) as error:
        document.fault((*place, what), f"this {what} can't be used ({error})", "install what it needs")
        return None


def _binding(given: dict[str, Any], document: Document, place: Place) -> tuple[Binding, Driver] | None:
    found = kind("driver", driver.kinds(), driver.load, given, document, place)
    binding = table(found.config, given, document, place) if found else None
    if found is None or binding is None:
        return None
    before = len(document.faults)
    _link(binding, found, document, (*place, "link"))
    _topics(binding, found, document, place)
    _names(binding, document, (*place, "names"))
    if len(document.faults) == before:
        _source(binding, found, document, (*place, "source"))
    return (binding, found) if len(document.faults) == before else None


def _link(binding: Binding, found: Driver, document: Document, place: Place) -> None:
    scheme, colon, rest = binding.link.partition(":")
    path = rest.partition("?")[0]
    reads, example = _READS[found.input]
    if not colon:
        document.fault(place, f"{shown(binding.link)} isn't a link", f"write e.g. link = {example}")
    elif not choose(scheme, _LINKS, document, place, "a kind of link"):
        return
    elif _CARRIES.get(scheme, found.input) is not found.input:
        document.fault(place, f"{found.kind} reads {reads}, which {scheme}: hasn't", f"write e.g. link = {example}")
    elif scheme in ("serial", "replay") and not path:
        document.fault(place, f"{scheme}: names no file", f'write e.g. link = "{scheme}:/path/to/it"')
    elif scheme == "tcp" and not (path.rpartition(":")[0] and path.rpartition(":")[2].isdecimal()):
        document.fault(place, f"{shown(binding.link)} lacks host or port", 'write e.g. link = "tcp:192.168.1.20:2000"')
    else:
        if scheme in ("serial", "replay") and "://" not in path:
            binding.link = f"{scheme}:{document.resolve(path)}{rest[len(path) :]}"
        if "?" in rest:
            _options(binding.link, document, place)


def _options(link: str, document: Document, place: Place) -> None:
    try:
        parse(link)
    except DeviceRefused as error:
        problem, _, cure = str(error).removeprefix(f"{link}: ").partition(": ")
        document.fault(place, problem, cure)


def _topics(binding: Binding, found: Driver, document: Document, place: Place) -> None:
    for index, pattern in enumerate(binding.topics):
        if wrong := patterns.fault(pattern):
            document.fault((*place, "topics", index), f"{shown(pattern)}: {wrong[0]}", wrong[1])
    if found.input is Message and not binding.topics:
        document.fault(place, "topics are missing", 'write e.g. topics = ["plant/{area}/{device}"]')


def _names(binding: Binding, document: Document, place: Place) -> None:
    for name, source in binding.names.items():
        if not source or any(sign in source for sign in _NEVER):
            document.fault((*place, name), f"{shown(source)} can't be a source", 'write e.g. "cellar/air-1"')
    once(
        [((*place, name), source) for name, source in binding.names.items()], document, "give each device its own name"
    )


def _source(binding: Binding, found: Driver, document: Document, place: Place) -> None:
    """Whether everything that comes in gets a name."""
    try:
        parts = list(string.Formatter().parse(binding.source))
    except ValueError:  # a brace too many
        parts = [("", None, "?", None)]
    plain = not any(spec or conversion for _, _, spec, conversion in parts)
    wanted = [name for _, name, _, _ in parts if name is not None]
    if not plain or not parts or any(sign in binding.source for sign in _NEVER):
        document.fault(place, f"{shown(binding.source)} can't be a source", 'write e.g. source = "cellar/{device}"')
        return
    if found.input is bytearray and wanted and not getattr(binding, "device", None):
        # a driver that can find names in a stream has a setting ``device`` that says where
        document.fault(place, "a stream doesn't say whose it is", 'name the device, e.g. source = "cellar/dust"')
        return
    for pattern in binding.topics if found.input is Message else ["#"]:
        captured = patterns.captures(pattern)
        in_payload = not captured or "+" in pattern or "#" in pattern  # the driver may find the device's name there
        for name in wanted:
            if name not in captured and not (name == "device" and in_payload):
                use = " or ".join(f"{{{one}}}" for one in captured or ["device"])
                what = f"{shown(pattern)} doesn't capture" if found.input is Message else f"{found.kind} can't know"
                # where it isn't written, the driver's own default asks for what isn't captured: say the whole line
                given = "source" in document.data["binding"][place[1]]
                cure = (
                    f"use {use}"
                    if given
                    else f'write source = "{"/".join(f"{{{one}}}" for one in captured or ["device"])}"'
                )
                document.fault(place, f"{what} {{{name}}}", cure)
                return


def _topics_apart(bindings: list[tuple[Place, Binding]], document: Document) -> None:
    """Whether each topic has one binding. The first that matches takes a message: a later one may only be wider."""
    earlier: list[tuple[Place, str, str]] = []
    for place, binding in bindings:
        for index, pattern in enumerate(binding.topics):
            for theirs, link, before in earlier:
                what_is_left = patterns.covers(pattern, before) and not patterns.covers(before, pattern)
                if link == binding.link and patterns.meet(pattern, before) and not what_is_left:
                    problem = f"{shown(pattern)} has topics that {spoken(theirs)} takes first, with {shown(before)}"
                    document.fault((*place, "topics", index), problem, "make one of the two narrower")
                    break
        earlier += [(place, binding.link, pattern) for pattern in binding.topics]
