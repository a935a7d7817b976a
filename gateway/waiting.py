"""Waiting for something, but not for ever."""

import asyncio
from collections.abc import Awaitable, Callable

Sleep = Callable[[float], Awaitable[object]]
"""Returns after so many seconds: ``asyncio.sleep``, or what a test has in its place."""


async def within(seconds: float | None, what: Awaitable[object]) -> bool:
    """Wait for it, so long at most; None: as long as it takes. Whether it came."""
    try:
        async with asyncio.timeout(seconds):
            await what
    except TimeoutError:
        return False
    return True
