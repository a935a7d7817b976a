"""redcar.toml -> Settings, or every fault of the file at once.

What may stand in the file is declared in ``settings.py``, for a ``[[binding]]`` in the driver's ``Config``, for a
``[[subscription]]`` in the sink's. Checked here is what goes beyond one value: what must exist, be unique, fit together.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway import bindings, listeners, sinks
from gateway.errors import ConfigError, Fault
from gateway.hub.reasons import ProtocolError
from gateway.hub.topics import check_filter
from gateway.places import LENT, Document, Place, mode, private, read
from gateway.settings import Settings
from gateway.sink import Subscription
from gateway.source import Source
from gateway.typed import choose, shown, table, unknown

_HERE, _SYSTEM = Path("redcar.toml"), Path("/etc/redcar/redcar.toml")
_ALWAYS = ("gateway", "log", "access")  # whether they stand in the file or not
_LATER = ("binding", "subscription", "source")  # their types depend on what they name
_SECRETS = ("password_file", "token_file", "key_file", "key")  # they name a file which is nobody else's business
_PUBLIC = ("ca", "certificate")  # and those that anybody may read


def find(named: str | None = None) -> Path:
    """The configuration: as named, else $REDCAR_CONFIG, else redcar.toml here, else the system's."""
    chosen = named or os.environ.get("REDCAR_CONFIG")
    return Path(chosen) if chosen else _HERE if _HERE.exists() else _SYSTEM


def load(file: Path | str) -> Settings:
    """Read and check a configuration. Raises ConfigError with all its faults, those of its rules included."""
    return settings(written(file))


def written(file: Path | str) -> Document:
    """A configuration as it stands there, not checked. Raises ConfigError if it can't be read."""
    if file == _SYSTEM and not _SYSTEM.exists():
        cure = "write one, which may be empty to begin with, or name it with --config FILE"
        raise ConfigError([Fault(str(_SYSTEM), 0, "", f"isn't there, and there is no {_HERE} here", cure)])
    return read(Path(file))


def settings(document: Document) -> Settings:
    """Check what was read. Raises ConfigError with all faults, in the order of the lines."""
    known = list(Settings.__struct_fields__)
    unknown(document.data, known, document, ())
    made = Settings()
    for name in known:
        if name not in _LATER and (name in document.data or name in _ALWAYS):
            part = table(Settings, {name: document.data.get(name, {})}, document, ())
            setattr(made, name, getattr(part, name, None))  # None: faulty, and no longer of use
    made.binding = bindings.read(_tables("binding", document), document)
    subscriptions = [
        (place, subscription)
        for place, given in _tables("subscription", document)
        if (subscription := _subscription(given, document, place))
    ]
    made.subscription = [subscription for _, subscription in subscriptions]
    bindings.once([((*place, "name"), one.name) for place, one in subscriptions], document, "rename one")
    made.source = _sources(document)
    if made.listener and made.access:
        listeners.check(made.listener, made.access, document)
    if made.access and made.access.acl:
        _acl(made.access.acl, document)
    if made.gateway:
        _rules(document)
        _views(document)
    if document.faults:
        raise ConfigError(
            sorted(document.faults, key=lambda fault: (fault.file != str(document.file), fault.file, fault.line))
        )
    return made


def _tables(name: str, document: Document) -> list[tuple[Place, dict[str, Any]]]:
    """The tables of every [[name]], with their places."""
    given = document.data.get(name, [])
    if not isinstance(given, list):
        document.fault((name,), "there can be several of these", f"write [[{name}]], with two brackets")
        return []
    for index, one in enumerate(given):
        if not isinstance(one, dict):
            document.fault((name, index), f"{shown(one)} isn't a table", f"write [[{name}]] and its settings below it")
    return [((name, index), one) for index, one in enumerate(given) if isinstance(one, dict)]


def _subscription(given: dict[str, Any], document: Document, place: Place) -> Subscription | None:
    found = bindings.kind("sink", sinks.kinds(), sinks.load, given, document, place)
    made = table(found.config, given, document, place) if found else None
    if made is None:
        return None
    if made.start not in ("now", "start"):
        choose(made.start, ["now", "start"], document, (*place, "start"), "where a subscription can begin")
    _files(made, given, document, place)
    return made


def _sources(document: Document) -> list[Source]:
    """The brokers that we read as a client."""
    given = _tables("source", document)
    if not given:
        return []
    from gateway.sources.mqtt import Config

    made = [(place, table_, one) for place, table_ in given if (one := table(Config, table_, document, place))]
    bindings.once([((*place, "name"), one.name) for place, _, one in made], document, "rename one")
    for place, table_, one in made:
        _files(one, table_, document, place)
        for index, topic in enumerate(one.topics):
            try:
                check_filter(topic)
            except ProtocolError as error:
                document.fault((*place, "topics", index), str(error), "see the MQTT standard, 4.7: plant/+/x, plant/#")
    return [one for _, _, one in made]


def _files(made: Subscription | Source, given: dict[str, Any], document: Document, place: Place) -> None:
    """Whether the files that it names are there, and secrets nobody else's business."""
    for name in _SECRETS:
        if getattr(made, name, None):
            private(given[name], document, (*place, name))
    for name in _PUBLIC:
        written = getattr(made, name, None) and given[name]
        if written and not written.startswith(LENT) and not mode(document.file.parent / written):
            document.fault((*place, name), f"{shown(written)} can't be found", "correct its name")


def _acl(file: str, document: Document) -> None:
    """Whether the rights are there and right."""
    from gateway.hub.rights import load

    _tried(lambda: load(Path(file)), document)


def _rules(document: Document) -> None:
    """Whether the rules are there and right."""
    if files := _named("rules", document, "name a file or a folder"):
        from rules.load import load

        _tried(lambda: load(files), document)


def _views(document: Document) -> None:
    """Whether the user's own views are there and right."""
    if files := _named("views", document, "name a .sql file or a folder"):
        from gateway.store.views.custom import load

        _tried(lambda: load(files), document)


def _named(setting: str, document: Document, cure: str) -> list[Path]:
    """The files that [gateway] names there, as far as they can be found."""
    there: list[Path] = []
    for index, written in enumerate(document.data.get("gateway", {}).get(setting, [])):
        if mode(path := document.file.parent / written):
            there.append(path)
        else:
            document.fault(("gateway", setting, index), f"{shown(written)} can't be found", cure)
    return there


def _tried(load: Callable[[], object], document: Document) -> None:
    """Other files have faults of their own, with their names and lines."""
    try:
        load()
    except ConfigError as error:
        document.faults += error.faults
