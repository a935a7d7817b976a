"""MQTT inside WebSocket (RFC 6455; MQTT 5.0, 6). Sans-IO: bytes in, bytes out; no sockets, no clock.

    GET /mqtt HTTP/1.1 ...        the handshake: once, at most 8 kB; refused with a status and a reason in words
    FIN RSV opcode | MASK length | (extended length) | mask | payload

A browser sends its page's origin: only those on the list may come in, or any page a user visits could speak to us with
the browser's address. Programs send none, or, as paho does, the host that they connect to: no page can come from there,
because we serve none. (Except a page whose name was led to our address after it was loaded; so without TLS, where the
certificate holds the names, the host must be a bare address.) What is inside binary frames is passed on as it comes,
whole frames or not [MQTT-6.0.0-2].
"""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from hashlib import sha1
from ipaddress import ip_address

from gateway.hub.strangers import stranger

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # 1.3
_LONGEST = 8192  # bytes of a handshake
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10

NORMAL, PROTOCOL_ERROR, UNACCEPTABLE = 1000, 1002, 1003
"""Why a connection is closed (7.4.1)."""


class WebSocket:
    """The server's side of one connection.

    open    the handshake is over
    closed  nothing more is to be read; what there is to ``take`` is to be written, then the socket closed
    why     what was wrong, if something was
    """

    def __init__(self, origins: Sequence[str] = (), safe: bool = False) -> None:
        self.open = False
        self.closed = False
        self.why = ""
        self._origins = origins
        self._safe = safe  # inside TLS
        self._out: list[bytes] = []
        self._rest = b""
        self._left = 0  # bytes of the current frame's payload still to come
        self._mask = 0
        self._fragmented = False

    def receive(self, data: bytes) -> bytes:
        """MQTT bytes in what came. Answers of this layer are to be written first, see ``take``."""
        if self.closed:
            return b""
        if not self.open:
            if not self._rest and data and (why := stranger(data[0], "WebSocket")):
                self.closed, self.why = True, why
                return b""
            head, end, data = (self._rest + data).partition(b"\r\n\r\n")
            if not end or len(head) > _LONGEST:
                self._rest = head
                if len(head) > _LONGEST:
                    self._refuse("431 Request Header Fields Too Large", "the handshake is too long")
                return b""
            self._rest = b""
            if not self._shake(head):
                return b""
        return self._frames(data)

    def take(self) -> bytes:
        """What has to be written now, once."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def wrap(self, data: bytes, opcode: int = _BINARY) -> bytes:
        """A frame to the client: whole and unmasked."""
        size = len(data)
        if size < 126:
            return bytes((0x80 | opcode, size)) + data
        if size < 65_536:
            return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + data
        return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + data

    def farewell(self, code: int = NORMAL) -> bytes:
        """The frame that closes, once; nothing before the handshake."""
        if self.closed or not self.open:
            return b""
        self.closed = True
        return self.wrap(code.to_bytes(2, "big"), _CLOSE)

    def _shake(self, head: bytes) -> bool:
        request, *lines = head.decode("latin-1").split("\r\n")
        fields: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            key = name.strip().lower()
            fields[key] = f"{fields[key]},{value.strip()}" if key in fields else value.strip()
        asked = {one.strip() for one in fields.get("sec-websocket-protocol", "").split(",")}
        tokens = {one.strip().lower() for one in fields.get("connection", "").split(",")}
        if (
            not request.startswith("GET ")
            or "upgrade" not in tokens
            or fields.get("upgrade", "").lower() != "websocket"
        ):
            self._refuse("426 Upgrade Required", "this is MQTT in WebSocket, not a web page", "Upgrade: websocket")
        elif fields.get("sec-websocket-version") != "13":
            self._refuse("426 Upgrade Required", "only version 13 is spoken", "Sec-WebSocket-Version: 13")
        elif "mqtt" not in asked:  # [MQTT-6.0.0-3]
            self._refuse("400 Bad Request", "the subprotocol mqtt isn't offered [MQTT-6.0.0-3]")
        elif not _is_key(fields.get("sec-websocket-key", "")):
            self._refuse("400 Bad Request", "Sec-WebSocket-Key isn't 16 bytes in base64")
        elif not self._welcome(fields.get("origin"), fields.get("host", "")):
            origin = fields["origin"][:100]
            cure = f'add it to the listener, origins = ["{origin}"]'
            self._refuse("403 Forbidden", f"pages of {origin!r} may not connect: {cure}")
        else:
            accept = b64encode(sha1(fields["sec-websocket-key"].encode() + _GUID, usedforsecurity=False).digest())
            answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            self._out.append(answer + b"Sec-WebSocket-Accept: " + accept + b"\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")
            self.open = True
        return self.open

    def _welcome(self, origin: str | None, host: str) -> bool:
        if origin is None or "*" in self._origins or origin in self._origins:
            return True
        return bool(host) and origin.partition("://")[2] == host and (self._safe or _is_bare(host))

    def _refuse(self, status: str, why: str, *more: str) -> None:
        self.closed, self.why = True, why
        body = f"{why}\n"
        lines = [f"HTTP/1.1 {status}", *more, "Connection: close", "Content-Type: text/plain; charset=utf-8"]
        self._out.append("\r\n".join([*lines, f"Content-Length: {len(body.encode())}", "", body]).encode())

    def _frames(self, data: bytes) -> bytes:
        found = []
        data = self._rest + data
        at = 0
        while at < len(data) and not self.closed:
            if self._left:
                part = data[at : at + self._left]
                found.append(self._unmask(part))
                self._left -= len(part)
                at += len(part)
                continue
            after = self._frame(data, at)
            if after == at:
                break
            at = after
        self._rest = data[at:]
        return b"".join(found)

    def _frame(self, data: bytes, at: int) -> int:
        """The head of a frame, or a whole control frame; where it ended, or ``at`` if it isn't complete."""
        if len(data) < at + 2:
            return at
        first, second = data[at], data[at + 1]
        opcode, size = first & 0x0F, second & 0x7F
        start = at + 2
        if first & 0x70 or not second & 0x80:
            return self._violated("reserved bits, or a frame that isn't masked (5.1, 5.2)")
        if opcode >= _CLOSE and (size > 125 or not first & 0x80):
            return self._violated("a control frame that is long or in parts (5.5)")
        if size >= 126:
            more = 2 if size == 126 else 8
            if len(data) < start + more:
                return at
            size = int.from_bytes(data[start : start + more], "big")
            start += more
        if len(data) < start + 4:
            return at
        mask = int.from_bytes(data[start : start + 4], "big")
        start += 4
        if opcode >= _CLOSE:
            if len(data) < start + size:
                return at
            self._mask = mask
            self._control(opcode, self._unmask(data[start : start + size]))
            return start + size
        if opcode == _TEXT:
            return self._violated("a text frame [MQTT-6.0.0-1]", UNACCEPTABLE)
        if (opcode == _CONTINUATION) != self._fragmented or opcode not in (_CONTINUATION, _BINARY):
            return self._violated("frames in an impossible order (5.4)")
        self._fragmented = not first & 0x80
        self._left, self._mask = size, mask
        return start

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == _PING:
            self._out.append(self.wrap(payload, _PONG))
        elif opcode == _CLOSE:
            self._out.append(self.farewell())
        elif opcode != _PONG:
            self._violated(f"opcode {opcode} doesn't exist")

    def _violated(self, why: str, code: int = PROTOCOL_ERROR) -> int:
        self.why = why
        self._out.append(self.farewell(code))
        return -1

    def _unmask(self, data: bytes) -> bytes:
        """XOR with the mask repeated, which then goes on where this part ended."""
        size = len(data)
        if not size:
            return data
        key = self._mask.to_bytes(4, "big")
        whole = int.from_bytes(key * (size // 4 + 1), "big") >> 8 * (4 - size % 4)
        turn = size % 4
        self._mask = int.from_bytes(key[turn:] + key[:turn], "big")
        return (int.from_bytes(data, "big") ^ whole).to_bytes(size, "big")


def _is_bare(host: str) -> bool:
    """Whether it is an address, and no name that somebody else's DNS could lead to us."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        return name == "localhost" or bool(ip_address(name))
    except ValueError:
        return False


def _is_key(text: str) -> bool:
    try:
        return len(b64decode(text, validate=True)) == 16
    except ValueError:
        return False
