"""Waiting for something, but not for ever."""

import asyncio
from collections.abc import Awaitable


async def within(seconds: float | None, what: Awaitable[object]) -> bool:
    """Wait for it, so long at most; None: as long as it takes. Whether it came."""
    try:
        async with asyncio.timeout(seconds):
            await what
    except TimeoutError:
        return False
    return True
