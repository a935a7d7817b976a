"""Whole lines out of a stream, for drivers of devices that speak text."""

from collections import Counter
from collections.abc import Iterator

from msgspec import Struct

longest = 2048
"""Bytes of a line; the longest recorded has 620. A longer one is noise: reading goes on behind the next end."""


class Lines(Struct):
    """Where the reading of a stream stands. What isn't text, or doesn't end, is counted in ``drops``."""

    drops: Counter[str]
    end: bytes = b"\n"
    endless: bool = False

    def take(self, buffer: bytearray) -> Iterator[str]:
        """The whole lines of the buffer, without their ends and blanks around them; the last half line stays in it."""
        *whole, rest = bytes(buffer).split(self.end)
        if whole and self.endless:
            self.endless = False
            del whole[0]
        if len(rest) > longest and not self.endless:
            self.endless = True
            self.drops["too_long"] += 1
        buffer[:] = b"" if self.endless else rest
        for line in whole:
            try:
                if len(line) > longest:
                    self.drops["too_long"] += 1
                elif text := line.decode().strip("\0 \t\r\n"):
                    yield text
            except UnicodeDecodeError:
                self.drops["not_text"] += 1
