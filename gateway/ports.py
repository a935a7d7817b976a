"""Streams of bytes: serial ports and TCP connections. Both end with LinkLost and a sentence, or DeviceSilent."""

import asyncio
import errno
import getpass
import os
import socket
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

from gateway.address import Address
from gateway.errors import DeviceRefused, DeviceSilent, LinkLost
from gateway.waiting import Sleep

if TYPE_CHECKING:
    import serial

connecting = 10.0  # seconds for a TCP connection to come about
chunk = 65_536
busy = 0.010  # above 50 kbit/s bytes collect this long: a sixth of the CPU. The kernel keeps 44 ms at 921,600 baud
just_plugged_in = 1.0  # udev sets the group of a port shortly after the port is there


@asynccontextmanager
async def serial_port(
    address: Address, baud: int, silent_after: float | None, sleep: Sleep
) -> AsyncIterator[AsyncIterator[bytes]]:
    """Chunks as they come. The port is ours alone; ``by-id`` names are looked up anew at every opening."""
    try:
        port = _opened(address, baud)
    except PermissionError:
        await sleep(just_plugged_in)
        try:
            port = _opened(address, baud)
        except PermissionError:
            cure = f"sudo usermod -aG dialout {getpass.getuser()}, then start again"
            raise DeviceRefused(f"{address.name}: this user may not open the port: {cure}") from None
    try:
        async with aclosing(_chunks(port, address, silent_after, sleep)) as chunks:
            yield chunks
    finally:
        port.close()


def _opened(address: Address, baud: int) -> "serial.Serial":
    """pyserial opens and configures. It isn't used for reading: the event loop is ten times cheaper per line."""
    import serial

    name, path, options = address.name, address.target, address.options
    try:
        if not stat.S_ISCHR(os.stat(path).st_mode):
            raise DeviceRefused(f"{name}: {path} isn't a serial port: ls /dev/serial/by-id shows which there are")
        return serial.Serial(
            path,
            int(options.get("baud", baud)),
            bytesize=int(options.get("bits", 8)),
            parity=options.get("parity", "N"),
            stopbits=float(options.get("stop", 1)),
            timeout=0,
            exclusive=True,
        )
    except ValueError as error:
        raise DeviceRefused(f"{name}: {error}") from None
    except OSError as error:  # a SerialException is one
        match error.errno:
            case errno.EACCES | errno.EPERM:
                raise PermissionError from None
            case errno.ENOENT | errno.ENODEV | errno.ENXIO:
                cure = "there is no such port: plug it in; ls /dev/serial/by-id shows what is there"
            case errno.EAGAIN | errno.EBUSY:
                cure = f"another program has the port: sudo fuser -v {path} shows which"
            case _:
                cure = f"the port can't be set up ({error}): unplug it and plug it in again"
        raise LinkLost(f"{name}: {cure}") from None


async def _chunks(
    port: "serial.Serial", address: Address, silent_after: float | None, sleep: Sleep
) -> AsyncGenerator[bytes, None]:
    loop, descriptor = asyncio.get_running_loop(), port.fileno()
    while True:
        readable = loop.create_future()
        loop.add_reader(descriptor, _done, readable)
        try:
            async with asyncio.timeout(silent_after):
                await readable
        except TimeoutError:
            raise _silent(address, silent_after) from None
        finally:
            loop.remove_reader(descriptor)
        if port.baudrate > 50_000:
            await sleep(busy)
        try:
            data = os.read(descriptor, chunk)
        except OSError as error:
            raise LinkLost(f"{address.name}: unplugged ({os.strerror(error.errno or 0)}): plug it in again") from None
        if not data:
            raise LinkLost(f"{address.name}: unplugged, or another program reads from it, too: plug it in again")
        yield data


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _silent(address: Address, silent_after: float | None) -> DeviceSilent:
    return DeviceSilent(f"{address.name}: no byte for {silent_after:g} s: is the device powered, is the speed right?")


@asynccontextmanager
async def tcp_connection(address: Address, silent_after: float | None) -> AsyncIterator[AsyncIterator[bytes]]:
    """Chunks as they come, nothing of what came first thrown away."""
    host, _, port = address.target.rpartition(":")
    try:
        async with asyncio.timeout(connecting):
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except OSError as error:  # a TimeoutError is one
        why = error.strerror or f"no answer within {connecting:.0f} s"
        raise LinkLost(f"{address.name}: can't connect ({why}): is it switched on, are host and port right?") from None
    try:
        _keep_alive(writer.get_extra_info("socket"))
        async with aclosing(_received(reader, address, silent_after)) as chunks:
            yield chunks
    finally:
        writer.close()


def _keep_alive(connection: Any) -> None:
    """A device that lost its power says nothing: ask after a minute of silence, give up after another half."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def _received(
    reader: asyncio.StreamReader, address: Address, silent_after: float | None
) -> AsyncGenerator[bytes, None]:
    while True:
        try:
            async with asyncio.timeout(silent_after):
                data = await reader.read(chunk)
        except TimeoutError:
            raise _silent(address, silent_after) from None
        except OSError as error:
            raise LinkLost(f"{address.name}: the connection broke ({error.strerror or error})") from None
        if not data:
            raise LinkLost(f"{address.name}: the other side closed the connection")
        yield data
