"""One table of packets, written by hand from the standards: what it is, and its bytes. It feeds all codec tests.

Among them the order of fields in CONNECT [MQTT-3.1.3-1] [MQTT-3.1.3-3].
"""

from typing import NamedTuple

from gateway.hub.inlet import Publish
from gateway.hub.limits import Limits
from gateway.hub.packets import (
    V5,
    V311,
    Ack,
    Auth,
    Batch,
    Connack,
    Connect,
    Delivery,
    Disconnect,
    Filter,
    Packet,
    Ping,
    Pong,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    Will,
)
from gateway.hub.properties import Kind
from gateway.hub.reasons import ProtocolError
from gateway.hub.stream import Stream

ANY = frozenset(Kind) - {Kind.WILL}
LIMITS = Limits()


class Row(NamedTuple):
    name: str
    version: int
    packet: Packet
    wire: bytes


def _row(name: str, version: int, packet: Packet, wire: str) -> Row:
    """``wire`` is hex, with text in quotes: ``30 05 00 01 'a' 'hi'``."""
    data = b""
    for word in wire.split():
        data += word[1:-1].encode() if word[0] == "'" else bytes.fromhex(word)
    return Row(name, version, packet, data)


BIG = "x" * 200

TABLE = [
    _row("connect", V311, Connect("c"), "10 0D 0004 'MQTT' 04 02 003C 0001 'c'"),
    _row(
        "connect with everything",
        V311,
        Connect("c", clean=False, keep_alive=10, user="u", password=b"p", will=Will("w", b"gone", 1, True)),
        "10 1C 0004 'MQTT' 04 EC 000A 0001 'c' 0001 'w' 0004 'gone' 0001 'u' 0001 'p'",
    ),
    _row("connect", V5, Connect("c", V5), "10 0E 0004 'MQTT' 05 02 003C 00 0001 'c'"),
    _row(
        "connect with everything",
        V5,
        Connect(
            "c",
            V5,
            clean=False,
            keep_alive=0,
            password=b"p",
            will=Will("w", b"", 2, False, {0x18: 5, 0x01: 1, 0x02: 60, 0x03: "t", 0x08: "r", 0x09: b"\1"}),
            properties={0x11: 3600, 0x21: 20, 0x27: 1024, 0x22: 8, 0x17: 0, 0x19: 1, 0x26: [("a", "1"), ("a", "2")]},
        ),
        "10 51 0004 'MQTT' 05 54 0000"
        " 22 11 00000E10 21 0014 27 00000400 22 0008 17 00 19 01 26 0001 'a' 0001 '1' 26 0001 'a' 0001 '2' 0001 'c'"
        " 18 18 00000005 01 01 02 0000003C 03 0001 't' 08 0001 'r' 09 0001 01 0001 'w' 0000 0001 'p'",
    ),
    _row("connack", V311, Connack(True, 0), "20 02 01 00"),
    _row("connack that refuses", V311, Connack(False, 5), "20 02 00 05"),
    _row("connack", V5, Connack(), "20 03 00 00 00"),
    _row(
        "connack with everything",
        V5,
        Connack(
            False,
            0x87,
            {0x12: "x", 0x13: 60, 0x24: 1, 0x25: 0, 0x28: 1, 0x29: 1, 0x2A: 0, 0x1A: "i", 0x1C: "s", 0x1F: "no"},
        ),
        "20 21 00 87 1E 12 0001 'x' 13 003C 24 01 25 00 28 01 29 01 2A 00 1A 0001 'i' 1C 0001 's' 1F 0002 'no'",
    ),
    _row("publish qos 0", V311, Delivery(Publish("a/b", b"hi")), "30 07 0003 'a/b' 'hi'"),
    _row("publish retained", V311, Delivery(Publish("a", b"hi", 0, True)), "31 05 0001 'a' 'hi'"),
    _row("publish nothing", V311, Delivery(Publish("a", b"")), "30 03 0001 'a'"),
    _row("publish qos 1", V311, Delivery(Publish("a", b"hi", 1), 0x1234), "32 07 0001 'a' 1234 'hi'"),
    _row("publish qos 1 again", V311, Delivery(Publish("a", b"hi", 1, True), 7, True), "3B 07 0001 'a' 0007 'hi'"),
    _row("publish qos 2", V311, Delivery(Publish("a", b"hi", 2), 7), "34 07 0001 'a' 0007 'hi'"),
    _row("publish umlauts", V311, Delivery(Publish("Küche/°C", b"\xff\0")), "30 0E 000A 'Küche/°C' FF00"),
    _row("publish qos 0", V5, Delivery(Publish("a", b"hi")), "30 06 0001 'a' 00 'hi'"),
    _row("publish qos 1", V5, Delivery(Publish("a", b"hi", 1), 7), "32 08 0001 'a' 0007 00 'hi'"),
    _row(
        "publish with everything",
        V5,
        Delivery(
            Publish(
                "",
                b"hi",
                1,
                False,
                {0x01: 1, 0x02: 9, 0x23: 3, 0x08: "r", 0x09: b"c", 0x26: [("k", "v")], 0x0B: [128, 2], 0x03: "j"},
            ),
            7,
        ),
        "32 29 0000 0007 22 01 01 02 00000009 23 0003 08 0001 'r' 09 0001 'c' 26 0001 'k' 0001 'v' 0B 8001 0B 02"
        " 03 0001 'j' 'hi'",
    ),
    _row("publish 200 bytes", V311, Delivery(Publish("a", BIG.encode(), 1), 7), f"32 CD01 0001 'a' 0007 '{BIG}'"),
    _row("publish 200 bytes", V5, Delivery(Publish("a", BIG.encode())), f"30 CC01 0001 'a' 00 '{BIG}'"),
    _row("publish 20,000 bytes", V311, Delivery(Publish("a", b"xy" * 10_000)), f"30 A39C01 0001 'a' '{'xy' * 10_000}'"),
    _row("puback", V311, Ack(Kind.PUBACK, 1), "40 02 0001"),
    _row("pubrec", V311, Ack(Kind.PUBREC, 0xFFFF), "50 02 FFFF"),
    _row("pubrel", V311, Ack(Kind.PUBREL, 1), "62 02 0001"),
    _row("pubcomp", V311, Ack(Kind.PUBCOMP, 1), "70 02 0001"),
    _row("puback", V5, Ack(Kind.PUBACK, 1), "40 02 0001"),
    _row("puback without subscribers", V5, Ack(Kind.PUBACK, 1, 0x10), "40 04 0001 10 00"),
    _row(
        "pubrec with reason",
        V5,
        Ack(Kind.PUBREC, 1, 0x97, {0x1F: "full", 0x26: [("k", "v")]}),
        "50 12 0001 97 0E 1F 0004 'full' 26 0001 'k' 0001 'v'",
    ),
    _row("pubrel of nothing", V5, Ack(Kind.PUBREL, 1, 0x92), "62 04 0001 92 00"),
    _row("pubcomp of nothing", V5, Ack(Kind.PUBCOMP, 1, 0x92), "70 04 0001 92 00"),
    _row("subscribe", V311, Subscribe(2, [Filter("a/#", 1), Filter("+", 2)]), "82 0C 0002 0003 'a/#' 01 0001 '+' 02"),
    _row(
        "subscribe",
        V5,
        Subscribe(2, [Filter("a", 2, True, True, 2), Filter("b", 0)], {0x0B: [300], 0x26: [("k", "v")]}),
        "82 15 0002 0A 0B AC02 26 0001 'k' 0001 'v' 0001 'a' 2E 0001 'b' 00",
    ),
    _row("suback", V311, Suback(2, [1, 0x80]), "90 04 0002 01 80"),
    _row("suback", V5, Suback(2, [1, 0x8F], {0x1F: "no"}), "90 0A 0002 05 1F 0002 'no' 01 8F"),
    _row("unsubscribe", V311, Unsubscribe(3, ["a", "b/+"]), "A2 0A 0003 0001 'a' 0003 'b/+'"),
    _row("unsubscribe", V5, Unsubscribe(3, ["a"]), "A2 06 0003 00 0001 'a'"),
    _row("unsuback", V311, Unsuback(3), "B0 02 0003"),
    _row("unsuback", V5, Unsuback(3, [0, 0x11]), "B0 05 0003 00 00 11"),
    _row("pingreq", V311, Ping(), "C0 00"),
    _row("pingresp", V5, Pong(), "D0 00"),
    _row("disconnect", V311, Disconnect(), "E0 00"),
    _row("disconnect", V5, Disconnect(), "E0 00"),
    _row(
        "disconnect with everything",
        V5,
        Disconnect(0x8E, {0x11: 0, 0x1F: "twin", 0x1C: "s"}),
        "E0 12 8E 10 11 00000000 1F 0004 'twin' 1C 0001 's'",
    ),
    _row("auth", V5, Auth(), "F0 00"),
    _row("auth step", V5, Auth(0x18, {0x15: "m", 0x16: b"\1"}), "F0 0A 18 08 15 0001 'm' 16 0001 01"),
]

NAMES = [f"{row.name} {row.version}" for row in TABLE]


def open_stream(version: int, known: list[str] | None = None) -> Stream:
    """A stream that takes every packet; those on known topics take the short road."""
    stream = Stream(ANY, LIMITS.packet, LIMITS, version)
    stream.known = {topic.encode(): topic for topic in known or ()}
    return stream


def parse(stream: Stream, *chunks: bytes) -> list[Packet | ProtocolError]:
    """Feed chunks; what came of it, batches taken apart, so that both roads can be compared."""
    found: list[Packet | ProtocolError] = []
    for chunk in chunks:
        items = stream.feed(chunk)
        while stream.held:
            stream.held = False
            items += stream.feed(b"")
        for item in items:
            if isinstance(item, Batch):
                found += apart(item)
            else:
                found.append(item)
    for one in found:
        if isinstance(one, Delivery):
            assert (int.from_bytes(one.message.packet_id), one.message.dup) == (one.id, one.dup)
            one.message.packet_id, one.message.dup = b"", False  # what is compared says it once
    return found


def apart(batch: Batch) -> list[Packet]:
    """The packets a batch was made of: PUBLISHes first."""
    assert b"".join(b"\x40\2" + id for id in batch.ids) == batch.acks
    ids = iter(batch.ids)
    found: list[Packet] = [
        Delivery(one, int.from_bytes(next(ids)) if one.qos else 0, one.dup) for one in batch.messages
    ]
    return found + [Ack(Kind.PUBACK, id) for id in batch.acked]
