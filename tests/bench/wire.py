"""The few packets of MQTT 3.1.1 that a load consists of, made before the measurement begins.

Own code on purpose: a generator that shares the hub's codec would share its mistakes.
"""

import socket

CONNACK = b"\x20\x02\x00\x00"
DISCONNECT = b"\xe0\x00"


def connect(client_id: str, keep_alive: int = 300) -> bytes:
    """A clean session, no will, no user."""
    return _packet(0x10, _text("MQTT") + b"\x04\x02" + keep_alive.to_bytes(2, "big") + _text(client_id))


def publish(topic: str, payload: bytes, id: int) -> bytes:
    """QoS 1, not retained."""
    return _packet(0x32, _text(topic) + id.to_bytes(2, "big") + payload)


def puback(id: int) -> bytes:
    """What acknowledges it."""
    return b"\x40\x02" + id.to_bytes(2, "big")


def subscribe(topic: str) -> bytes:
    """At QoS 0: nothing to acknowledge."""
    return _packet(0x82, b"\x00\x01" + _text(topic) + b"\x00")


def dial(port: int, client_id: str) -> socket.socket:
    """A client of a server on loopback, let in. Raises OSError."""
    link = socket.create_connection(("127.0.0.1", port), timeout=10)
    try:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.sendall(connect(client_id))
        answer = exactly(link, 4)
        if answer != CONNACK:
            raise ConnectionRefusedError(f"port {port}: CONNACK {answer.hex(' ')}")
    except OSError:
        link.close()
        raise
    return link


def exactly(link: socket.socket, count: int) -> bytes:
    """So many bytes. Raises ConnectionError if they don't come."""
    data = b""
    while len(data) < count:
        more = link.recv(count - len(data))
        if not more:
            raise ConnectionError(f"closed after {len(data)} of {count} bytes")
        data += more
    return data


def _packet(head: int, body: bytes) -> bytes:
    size, length = len(body), b""
    while size > 0x7F:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([head]) + length + bytes([size]) + body


def _text(text: str) -> bytes:
    return len(text.encode()).to_bytes(2, "big") + text.encode()
