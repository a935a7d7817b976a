"""What tests of every part need: programs, ports, a loop to tell a story in, and the patience to wait for something."""

import asyncio
import os
import shutil
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

PATIENCE = 20.0  # seconds until a condition that doesn't come true fails the test

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
with suppress(ImportError):  # no wheel for 32-bit ARM
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop
loops = pytest.mark.parametrize("loop", LOOPS)


def tell(story: Callable[[], Coroutine[Any, Any, None]], loop: str) -> None:
    """Tell a story in that kind of event loop."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(story())


async def until(true: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)


async def stop(task: asyncio.Task[Any]) -> None:
    """Cancel it, and wait until it has gone; whatever it failed of before fails the test."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def need(program: str, package: str) -> str:
    """Path of a program from a Debian package."""
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path:
        return path
    text = f"{program} isn't installed: sudo apt-get install {package}"
    if os.environ.get("CI"):
        pytest.fail(text)
    pytest.skip(text)


def free_port() -> int:
    """A TCP port on loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
