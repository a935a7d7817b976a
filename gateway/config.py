"""redcar.toml -> Settings, or every fault of the file at once.

What may stand in the file is declared in ``settings.py``, for a ``[[binding]]`` in the driver's ``Config``, for a
``[[subscription]]`` in the sink's. Checked here is what goes beyond one value: what must exist, be unique, fit together.
"""

import ipaddress
import os
from pathlib import Path
from typing import Any

from gateway import bindings, sinks
from gateway.errors import ConfigError
from gateway.hub.reasons import ProtocolError
from gateway.hub.topics import check_filter
from gateway.places import Document, Place, read
from gateway.settings import Access, Listener, Settings
from gateway.sink import Subscription
from gateway.source import Source
from gateway.typed import choose, shown, table, unknown

_ALWAYS = ("gateway", "log", "access")  # whether they stand in the file or not
_LATER = ("binding", "subscription", "source")  # their types depend on what they name
_SECRETS = (
    "password_file",
    "token_file",
    "key_file",
    "key",
)  # settings that name a file which is nobody else's business
_LENT = "/run/credentials/"  # systemd's; there while the service runs


def find(named: str | None = None) -> Path:
    """The configuration: as named, else $REDCAR_CONFIG, else redcar.toml here, else the system's."""
    chosen = named or os.environ.get("REDCAR_CONFIG")
    here = Path("redcar.toml")
    return Path(chosen) if chosen else here if here.exists() else Path("/etc/redcar/redcar.toml")


def load(file: Path | str) -> Settings:
    """Read and check a configuration. Raises ConfigError with all its faults, those of its rules included."""
    return settings(read(Path(file)))


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
        _listeners(made.listener, made.access, document)
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
    kinds = sinks.kinds()
    if "sink" not in given:
        document.fault(place, "sink is missing", f"write sink = and one of {', '.join(kinds)}")
        return None
    if not choose(given["sink"], kinds, document, (*place, "sink"), "a sink"):
        return None
    try:
        found = sinks.load(given["sink"])
    except (ImportError, AttributeError) as error:
        document.fault((*place, "sink"), f"this sink can't be used ({error})", "install what it needs")
        return None
    made = table(found.config, given, document, place)
    if made is None:
        return None
    if made.start not in ("now", "start"):
        choose(made.start, ["now", "start"], document, (*place, "start"), "where a subscription can begin")
    for name in _SECRETS:
        if getattr(made, name, None):
            _private(given[name], document, (*place, name))
    return made


def _sources(document: Document) -> list[Source]:
    """The brokers that we read as a client."""
    given = _tables("source", document)
    if not given:
        return []
    from gateway.sources.mqtt import Config

    made = [(place, one) for place, table_ in given if (one := table(Config, table_, document, place))]
    bindings.once([((*place, "name"), one.name) for place, one in made], document, "rename one")
    for place, one in made:
        if one.password_file:
            _private(document.data["source"][place[1]]["password_file"], document, (*place, "password_file"))
        for index, topic in enumerate(one.topics):
            try:
                check_filter(topic)
            except ProtocolError as error:
                document.fault((*place, "topics", index), str(error), "see the MQTT standard, 4.7: plant/+/x, plant/#")
    return [one for _, one in made]


def _private(written: str, document: Document, place: Place) -> None:
    """Whether a file is there, and is nobody else's business."""
    path = document.file.parent / written
    mode = _mode(path)
    if written.startswith(_LENT):
        return
    if not mode:
        document.fault(place, f"{shown(written)} can't be found", "make the file, or correct its name")
    elif mode & 0o007:
        document.fault(place, f"everybody can read {shown(written)}", f"run chmod 600 {path}")


def _mode(path: Path) -> int:
    """Kind and permissions of a file; 0 if it can't be found, or not looked at."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _listeners(listeners: list[Listener], access: Access, document: Document) -> None:
    """Whether the network is let in only where there are users."""
    users = _users(document.data["access"]["users"], document) if access.users else []
    ports: list[tuple[Place, str]] = []
    for index, listener in enumerate(listeners):
        place = ("listener", index, "address")
        if listener.port:
            ports.append((("listener", index, "port"), f"{listener.address}:{listener.port}"))
        try:
            inside = listener.address == "localhost" or _is_loopback(listener.address)
        except ValueError:
            problem = f"{shown(listener.address)} isn't an IP address"
            document.fault(place, problem, 'write e.g. "127.0.0.1", or "0.0.0.0" for every network')
            continue
        _tls(listener, index, document)
        if not inside and not users and users is not None and not listener.client_ca:
            cure = "run redcar user add NAME"
            if not access.users:
                cure = f'write users = "users" under [access], then {cure}'
            document.fault(place, f"{shown(listener.address)} lets the network in, and there are no users", cure)
    bindings.once(ports, document, "delete one")


def _tls(listener: Listener, index: int, document: Document) -> None:
    """Whether the files of a TLS listener are there and fit together."""
    given = document.data.get("listener")
    written = given[index] if given else {}
    for name in ("certificate", "key", "client_ca", "client_crl"):
        if name != "key" and name in written and not _mode(document.file.parent / written[name]):
            cure = "run redcar tls init, or name the file that is there"
            document.fault(("listener", index, name), f"{shown(written[name])} can't be found", cure)
        if name != "certificate" and name in written and not listener.certificate:
            problem = "there is no TLS without the server's certificate"
            document.fault(("listener", index, name), problem, 'write certificate = "tls/server.crt"')
    if listener.client_crl and not listener.client_ca:
        problem, cure = "nobody shows a certificate here", 'write client_ca = "tls/ca.crt"'
        document.fault(("listener", index, "client_crl"), problem, cure)
    if "key" in written:
        _private(written["key"], document, ("listener", index, "key"))
    if listener.certificate and not any(fault.place.startswith(f"listener[{index + 1}]") for fault in document.faults):
        from gateway.hub.tls import Unusable, context

        try:
            context(listener.certificate, listener.key, listener.client_ca, listener.client_crl)
        except Unusable as error:
            document.fault(("listener", index, "certificate"), error.problem, error.cure)
    if listener.origins and not listener.websocket:
        problem = "only WebSocket clients name an origin"
        document.fault(("listener", index, "origins"), problem, "write websocket = true, or delete it")


def _is_loopback(address: str) -> bool:
    ip = ipaddress.ip_address(address)
    return bool((getattr(ip, "ipv4_mapped", None) or ip).is_loopback)


def _users(written: str, document: Document) -> list[str] | None:
    """Names of the users; None if their file is faulty, which is noted."""
    from gateway.hub.users import list_users

    path = document.file.parent / written
    if _mode(path):
        _private(written, document, ("access", "users"))
    try:
        return list_users(path)
    except ConfigError as error:
        document.faults += error.faults
        return None


def _acl(file: str, document: Document) -> None:
    """Whether the rights are there and right. Their faults have their own file and lines."""
    from gateway.hub.rights import load as load_rights

    try:
        load_rights(Path(file))
    except ConfigError as error:
        document.faults += error.faults


def _rules(document: Document) -> None:
    """Whether the rules are there and right. Their faults have their own files and lines."""
    there: list[Path] = []
    for index, written in enumerate(document.data.get("gateway", {}).get("rules", [])):
        if _mode(path := document.file.parent / written):
            there.append(path)
        else:
            document.fault(("gateway", "rules", index), f"{shown(written)} can't be found", "name a file or a folder")
    if not there:
        return
    from rules.load import load as load_rules

    try:
        load_rules(there)
    except ConfigError as error:
        document.faults += error.faults


def _views(document: Document) -> None:
    """Whether the user's own views are there and right."""
    there: list[Path] = []
    for index, written in enumerate(document.data.get("gateway", {}).get("views", [])):
        if _mode(path := document.file.parent / written):
            there.append(path)
        else:
            document.fault(
                ("gateway", "views", index), f"{shown(written)} can't be found", "name a .sql file or a folder"
            )
    if not there:
        return
    from gateway.store.views.custom import load as load_views

    try:
        load_views(there)
    except ConfigError as error:
        document.faults += error.faults
