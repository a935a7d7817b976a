"""Waiting for something, but not for ever."""

import asyncio

from gateway.waiting import within


def test_whether_it_came() -> None:
    async def story() -> None:
        event = asyncio.Event()
        assert not await within(0.01, event.wait())
        asyncio.get_running_loop().call_soon(event.set)
        assert await within(None, event.wait())
        assert await within(0.0, event.wait())  # it was there already

    asyncio.run(story())
