"""The data types MQTT is made of (5.0, 1.5), to and from bytes.

Everything is big-endian. Text and binary data carry a two-byte length; a variable byte integer has 1 to 4 bytes of
7 bits each, least significant first.
"""

from struct import Struct as Format

from gateway.hub.reasons import malformed

TWO = Format(">H")
FOUR = Format(">I")
VARINT_MAX = 268_435_455


class Reader:
    """Takes the types from the front of data[at:end]. Running out is a malformed packet."""

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes, at: int = 0, end: int | None = None) -> None:
        self.data = data
        self.at = at
        self.end = len(data) if end is None else end

    @property
    def left(self) -> int:
        """Bytes not taken yet."""
        return self.end - self.at

    def take(self, size: int) -> bytes:
        """The next bytes as they are."""
        at = self.at
        if at + size > self.end:
            raise malformed("the packet ends in the middle of a field")
        self.at = at + size
        return self.data[at : at + size]

    def byte(self) -> int:
        """One byte."""
        return self.take(1)[0]

    def two(self) -> int:
        """Two byte integer."""
        return int(TWO.unpack(self.take(2))[0])

    def four(self) -> int:
        """Four byte integer."""
        return int(FOUR.unpack(self.take(4))[0])

    def varint(self) -> int:
        """Variable byte integer, in as few bytes as it can be written with [MQTT-1.5.5-1]."""
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if not byte and shift:
                    raise malformed("a variable byte integer has more bytes than it needs [MQTT-1.5.5-1]")
                return value
        raise malformed("a variable byte integer has more than four bytes")

    def binary(self) -> bytes:
        """Binary data."""
        return self.take(self.two())

    def text(self) -> str:
        """UTF-8 text without NUL [MQTT-1.5.4-1] [MQTT-1.5.4-2]."""
        return as_text(self.binary())

    def pair(self) -> tuple[str, str]:
        """A name and a value."""
        return self.text(), self.text()


def as_text(raw: bytes) -> str:
    """Decode what has to be MQTT text."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise malformed(f"not UTF-8 at byte {error.start} of a text [MQTT-1.5.4-1]") from None
    if "\0" in text:
        raise malformed("NUL in a text [MQTT-1.5.4-2]")
    return text


def byte(value: int) -> bytes:
    """One byte."""
    return bytes((value,))


def varint(value: int) -> bytes:
    """Variable byte integer."""
    if value < 0x80:
        return bytes((value,))
    if value < 0x4000:
        return bytes((value & 0x7F | 0x80, value >> 7))
    if value < 0x20_0000:
        return bytes((value & 0x7F | 0x80, value >> 7 & 0x7F | 0x80, value >> 14))
    if value > VARINT_MAX:
        raise ValueError(f"{value} is more than a variable byte integer can hold")
    return bytes((value & 0x7F | 0x80, value >> 7 & 0x7F | 0x80, value >> 14 & 0x7F | 0x80, value >> 21))


def binary(value: bytes) -> bytes:
    """Binary data, at most 65,535 bytes."""
    return TWO.pack(len(value)) + value


def text(value: str) -> bytes:
    """UTF-8 text."""
    return binary(value.encode())


def pair(value: tuple[str, str]) -> bytes:
    """A name and a value."""
    return text(value[0]) + text(value[1])
