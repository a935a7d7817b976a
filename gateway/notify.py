"""What systemd is told (Type=notify): ready, alive, stopping. Says nothing where nobody listens."""

import asyncio
import os
import socket

from gateway.waiting import within


def ready() -> None:
    """Everything is open; what is sent now is taken."""
    _tell("READY=1")


def stopping() -> None:
    """We are on the way out; what is taken is still being stored."""
    _tell("STOPPING=1")


async def alive_until(stop: asyncio.Event) -> None:
    """Wait for ``stop``, and pet the watchdog from the event loop meanwhile: a loop that hangs is restarted."""
    every = int(os.environ.get("WATCHDOG_USEC", "0")) / 1_000_000 / 3
    while not stop.is_set():
        if not await within(every or None, stop.wait()):
            _tell("WATCHDOG=1")


def _tell(message: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.sendto(message.encode(), "\0" + address[1:] if address.startswith("@") else address)
