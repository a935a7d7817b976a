"""A server that parses nothing, stores nothing and acknowledges everything: ``python -m tests.bench.mirror PORT``.

It shows how fast the load can be, so that nobody takes its limit for a server's.
"""

import selectors
import socket
import sys

from tests.bench import wire


class Peer:
    """One client of ``load.py``: all its packets are of equal length, so their ids stand at equal distances."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.rest = b""
        self.size = self.id = 0

    def read(self) -> bool:
        """Answer what came. False: it is gone."""
        data = self.link.recv(1 << 20)
        if not data or data == wire.DISCONNECT:
            return False
        if data[0] == 0x10 and not self.size:
            self.link.sendall(wire.CONNACK)
            return True
        data = self.rest + data
        if not self.size:
            long = data[1] > 0x7F
            start = 3 if long else 2
            self.size = start + (data[1] & 0x7F) + (data[2] << 7 if long else 0)
            self.id = start + 2 + (data[start] << 8) + data[start + 1]
        count = len(data) // self.size
        self.rest = data[count * self.size :]
        answer = bytearray(wire.puback(0) * count)
        answer[2::4] = data[self.id : count * self.size : self.size]
        answer[3::4] = data[self.id + 1 : count * self.size : self.size]
        self.link.sendall(answer)
        return True


def main(port: int) -> None:
    """Serve until the process is ended."""
    with selectors.DefaultSelector() as selector, socket.create_server(("127.0.0.1", port), backlog=200) as server:
        selector.register(server, selectors.EVENT_READ, None)
        while True:
            for key, _ in selector.select():
                if key.data is None:
                    link, _ = server.accept()
                    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    selector.register(link, selectors.EVENT_READ, Peer(link))
                elif not key.data.read():
                    selector.unregister(key.data.link)
                    key.data.link.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
