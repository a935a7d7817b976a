"""A cable between gateway and upstream that can be pulled and plugged in again: a TCP proxy on loopback."""

import asyncio


class Cut:
    """Forwards ``port`` to the target while plugged in; pulled, nobody listens and nothing gets through."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self.carried = 0
        """Bytes towards the target."""
        self._target = target
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()

    @property
    def plugged_in(self) -> bool:
        """Whether anything gets through."""
        return self._server is not None

    async def plug_in(self) -> None:
        """From now on connections are carried; always on the same port."""
        if self._server is None:
            self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    def pull(self) -> None:
        """At once, in the middle of whatever is under way."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for end in self._ends:
            end.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            self._ends.discard(writer)
            writer.transport.abort()
            return
        self._ends.add(far_writer)
        try:
            await asyncio.gather(self._copy(reader, far_writer, True), self._copy(far_reader, writer, False))
        except OSError:
            pass
        finally:
            for end in (writer, far_writer):
                self._ends.discard(end)
                end.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, onwards: bool) -> None:
        while self.plugged_in and (some := await reader.read(65_536)):
            if onwards:
                self.carried += len(some)
            writer.write(some)
            await writer.drain()
        writer.transport.abort()
