"""A process of the demo: lines go in, lines of JSON come out. It ends when its stdin does, so it never outlives us."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process

from gateway.errors import RedcarError
from gateway.waiting import within


class ChildDied(RedcarError):
    """It ended unasked."""


class Child:
    """Runs ``main()`` of a module of this package."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._asking = asyncio.Lock()

    @classmethod
    async def start(cls, module: str, *args: str) -> "Child":
        """Returns at once; its first words tell that it is ready."""
        command = f"import sys; from gateway.demo.{module} import main; sys.exit(main())"
        words = [sys.executable, "-W", "ignore", "-c", command, *args]
        return cls(  # a session of its own: Ctrl-C is for us
            await asyncio.create_subprocess_exec(*words, stdin=PIPE, stdout=PIPE, limit=2**24, start_new_session=True)
        )

    async def listen(self) -> bytes:
        """The next line it says. Raises ChildDied."""
        assert self._process.stdout
        line = await self._process.stdout.readline()
        if not line:
            raise ChildDied(f"a process of the demo ended unasked, with code {await self._process.wait()}")
        return line

    async def ask(self, line: str) -> bytes:
        """Say something, and what it answers."""
        assert self._process.stdin
        async with self._asking:
            self._process.stdin.write(line.encode() + b"\n")
            return await self.listen()

    async def close(self) -> None:
        """End it; five seconds are enough."""
        assert self._process.stdin
        self._process.stdin.close()
        if not await within(5.0, self._process.wait()):
            self._process.kill()
            await self._process.wait()
