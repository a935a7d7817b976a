"""Checks [[listener]] beside [access]: who could come in, whether ports and TLS files fit, what could never work."""

import ipaddress
import re
from typing import Any

from gateway import bindings
from gateway.errors import ConfigError
from gateway.places import LENT, Document, Place, mode, private
from gateway.settings import Access, Listener
from gateway.typed import shown

_ANYWHERE = {"0.0.0.0": 4, "::": 6}
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/?#\sA-Z]+")


def check(listeners: list[Listener], access: Access, document: Document) -> None:
    """Note what is wrong."""
    users = _users(document.data["access"]["users"], document) if access.users else []
    ports: list[tuple[Place, str]] = []
    for index, listener in enumerate(listeners):
        place = ("listener", index, "address")
        written = document.data["listener"][index] if "listener" in document.data else {}
        try:
            ip = ipaddress.ip_address("127.0.0.1" if listener.address == "localhost" else listener.address)
        except ValueError:
            problem = f"{shown(listener.address)} isn't an IP address"
            document.fault(place, problem, 'write e.g. "127.0.0.1", or "0.0.0.0" for every network')
            continue
        if listener.port:
            ports.append((("listener", index, "port"), f"{ip}:{listener.port}"))
            _overlap(listener, ip, index, listeners, document)
        _tls(listener, written, index, document)
        _origins(listener, index, document)
        if (getattr(ip, "ipv4_mapped", None) or ip).is_loopback:
            continue
        if written.get("anonymous"):
            problem = "nobody comes in from other machines without a name"
            cure = "delete it, and let each have a user: redcar user add NAME"
            document.fault(("listener", index, "anonymous"), problem, cure)
        if not users and users is not None and not listener.client_ca:
            cure = "run redcar user add NAME"
            if not access.users:
                cure = f'write users = "users" under [access], then {cure}'
            document.fault(place, f"{shown(listener.address)} lets the network in, and there are no users", cure)
    bindings.once(ports, document, "delete one")


def _overlap(listener: Listener, ip: Any, index: int, listeners: list[Listener], document: Document) -> None:
    """A port that another listener takes on all addresses."""
    for number, other in enumerate(listeners):
        same = other.port == listener.port and other.address != listener.address
        if same and _ANYWHERE.get(other.address) == ip.version:
            problem = f"listener[{number + 1}] takes port {listener.port} of every address"
            document.fault(("listener", index, "port"), problem, "set another port, or delete one")


def _tls(listener: Listener, written: dict[str, Any], index: int, document: Document) -> None:
    """Whether the files of a TLS listener are there and fit together."""
    before = len(document.faults)
    lent = False
    for name in ("certificate", "key", "client_ca", "client_crl"):
        if name in written and not mode(document.file.parent / written[name]):
            if written[name].startswith(LENT):
                lent = True
                continue
            cure = "run redcar tls init, or name the file that is there"
            document.fault(("listener", index, name), f"{shown(written[name])} can't be found", cure)
        if name != "certificate" and name in written and not listener.certificate:
            problem = "there is no TLS without the server's certificate"
            document.fault(("listener", index, name), problem, 'write certificate = "tls/server.crt"')
    if listener.client_crl and not listener.client_ca:
        problem, cure = "nobody shows a certificate here", 'write client_ca = "tls/ca.crt"'
        document.fault(("listener", index, "client_crl"), problem, cure)
    if "key" in written and mode(document.file.parent / written["key"]):
        private(written["key"], document, ("listener", index, "key"))
    if lent or not listener.certificate or len(document.faults) > before:
        return
    from gateway.hub.certificates import Unusable, context

    try:
        context(listener.certificate, listener.key, listener.client_ca, listener.client_crl)
    except Unusable as error:
        document.fault(("listener", index, "certificate"), error.problem, error.cure)


def _origins(listener: Listener, index: int, document: Document) -> None:
    """What a browser could say of a page."""
    place = ("listener", index, "origins")
    if listener.origins and not listener.websocket:
        document.fault(place, "only WebSocket clients name an origin", "write websocket = true, or delete it")
    for number, origin in enumerate(listener.origins):
        if not _ORIGIN.fullmatch(origin):
            cure = 'write it in small letters, with its scheme and nothing behind: "https://panel.lan"'
            document.fault((*place, number), f"{shown(origin)} isn't the origin of a page", cure)


def _users(written: str, document: Document) -> list[str] | None:
    """Names of the users; None if their file is faulty, which is noted."""
    from gateway.hub.users import list_users

    path = document.file.parent / written
    if mode(path):
        private(written, document, ("access", "users"))
    try:
        return list_users(path)
    except ConfigError as error:
        document.faults += error.faults
        return None
