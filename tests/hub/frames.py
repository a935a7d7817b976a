"""WebSocket as a client speaks it, by hand."""

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # the RFC's own example (1.3), and what must be answered
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

FIELDS = {
    "Host": "gateway:9001",
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "chat, mqtt",
}


def shake(request: str = "GET /mqtt HTTP/1.1", **fields: str | None) -> bytes:
    own = {**FIELDS, **{name.replace("_", "-"): value for name, value in fields.items()}}
    return "\r\n".join([request, *(f"{k}: {v}" for k, v in own.items() if v is not None), "", ""]).encode()


def frame(payload: bytes, opcode: int = 2, fin: bool = True, mask: bytes = b"\1\2\3\4") -> bytes:
    size = len(payload)
    head = bytes((fin << 7 | opcode,))
    if size < 126:
        head += bytes((0x80 | size,))
    elif size < 65_536:
        head += b"\xfe" + size.to_bytes(2, "big")
    else:
        head += b"\xff" + size.to_bytes(8, "big")
    return head + mask + bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))
