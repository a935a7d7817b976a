"""Sessions that outlast their connection, as rows: the statements that keep them, and reading them back.

What such a session is owed isn't here: that is a consumer of the log, ``mqtt/<client id>``.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.hub.inlet import Statement
from gateway.hub.members import Member, Subscription
from gateway.hub.packets import Will
from gateway.hub.topics import split

SESSIONS = "select client, user, expiry, ended, will from session"
SUBSCRIPTIONS = "select client, filter, qos, options, identifier, since from subscription"
RECEIVED = "select client, packet_id from qos2"

_pack = msgspec.msgpack.Encoder().encode
_will = msgspec.msgpack.Decoder(Will).decode

_NO_LOCAL, _AS_PUBLISHED, _LOGGED = 1, 2, 4


PREFIX = "mqtt/"
"""Of the names of such consumers."""


def name(member: Member) -> str:
    """Of the consumer."""
    return PREFIX + member.client_id


def kept(member: Member, ended: int | None = None) -> Statement:
    """The session as it is now. ``ended``: when its connection did, µs."""
    will = _pack(member.will) if member.will else None
    sql = "insert or replace into session (client, user, expiry, ended, will) values (?, ?, ?, ?, ?)"
    return sql, (member.client_id, member.user, member.expiry, ended, will)


def dropped(client_id: str) -> list[Statement]:
    """The session is over."""
    return [(f"delete from {table} where client = ?", (client_id,)) for table in ("session", "subscription", "qos2")]


def subscribed(member: Member, one: Subscription) -> Statement:
    """A subscription, new or changed."""
    options = one.no_local * _NO_LOCAL | one.retain_as_published * _AS_PUBLISHED | one.logged * _LOGGED
    sql = (
        "insert or replace into subscription (client, filter, qos, options, identifier, since)"
        " values (?, ?, ?, ?, ?, ?)"
    )
    return sql, (member.client_id, one.filter, one.qos, options, one.identifier, one.since)


def unsubscribed(member: Member, filter: str) -> Statement:
    """A subscription given up."""
    return "delete from subscription where client = ? and filter = ?", (member.client_id, filter)


def received(client_id: str, packet_id: int) -> Statement:
    """A message at QoS 2 has come; the same packet id until ``released`` is the same message."""
    return "insert or replace into qos2 (client, packet_id) values (?, ?)", (client_id, packet_id)


def released(client_id: str, packet_id: int) -> Statement:
    """PUBREL: the next message with this id is another."""
    return "delete from qos2 where client = ? and packet_id = ?", (client_id, packet_id)


def members(
    sessions: Iterable[Any], subscriptions: Iterable[Any], received: Iterable[Any], now: float, wall: int | None
) -> list[tuple[Member, list[Subscription]]]:
    """Rows as members that are away. ``now`` by the loop's clock; ``wall`` µs since 1970, None where it can't be believed."""
    found: dict[str, tuple[Member, list[Subscription]]] = {}
    for client, user, expiry, ended, will in sessions:
        member = Member(client, user)
        member.expiry, member.stored = expiry, True
        member.will = _will(will) if will else None
        away = 0.0 if wall is None or ended is None else max(0.0, (wall - ended) / 1e6)
        member.leave(now - away)
        found[client] = member, []
    for client, filter, qos, options, identifier, since in subscriptions:
        if client in found:
            group, pattern = split(filter)
            one = Subscription(filter, qos, identifier=identifier, since=since, pattern=pattern, group=group)
            one.no_local, one.retain_as_published = bool(options & _NO_LOCAL), bool(options & _AS_PUBLISHED)
            one.logged = bool(options & _LOGGED)
            found[client][1].append(one)
    for client, packet_id in received:
        if client in found:
            found[client][0].qos2[packet_id.to_bytes(2, "big")] = True
    return list(found.values())
