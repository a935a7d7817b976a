"""The demo's upstream, seen from the demo: where it listens, and what has arrived there."""

import msgspec

from gateway.demo.child import Child
from gateway.demo.tally import Report


class Upstream:
    """A broker in a process of its own; see ``counting.py``."""

    def __init__(self, child: Child, port: int) -> None:
        self.port = port
        self._child = child

    @classmethod
    async def start(cls) -> "Upstream":
        """Returns once it listens."""
        child = await Child.start("counting")
        return cls(child, int(await child.listen()))

    async def report(self) -> Report:
        """What has arrived so far."""
        return msgspec.json.decode(await self._child.ask("report"), type=Report)

    async def close(self) -> None:
        """End it."""
        await self._child.close()
