"""The operator's door to a running gateway: a Unix socket in the folder of its log, one JSON object per line.

    {"do": "adopt", "source": "cellar/air-1"}  ->  {"ok": ...}  or  {"error": "a sentence"}

Whoever may open the folder may knock: 0600, as the log itself. What can be done is a table of functions.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from gateway.errors import RedcarError

Action = Callable[[dict[str, Any]], Awaitable[Any]]
"""Takes the request; what it returns becomes JSON. A RedcarError becomes the sentence of the answer."""

name = "control"

longest = 1_000_000
"""Bytes of a request."""


class NotRunning(RedcarError):
    """No gateway runs on this log."""


class Declined(RedcarError):
    """The gateway won't, and says why."""


@asynccontextmanager
async def serve(folder: Path, actions: Mapping[str, Action]) -> AsyncIterator[None]:
    """Answer until the block ends. Call it while holding the log's lock: what is left of a socket there is stale then."""
    path = folder / name
    path.unlink(missing_ok=True)
    door = socket.socket(socket.AF_UNIX)
    with _address(folder) as address:
        door.bind(address)
    path.chmod(0o600)
    talking: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talking.add(task)
        try:
            await _talk(reader, writer, actions)
        except asyncio.CancelledError:
            pass  # we are closing
        finally:
            talking.discard(task)
            writer.close()

    server = await asyncio.start_unix_server(talk, sock=door, limit=longest)
    try:
        yield
    finally:
        server.close()
        for task in talking:
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)
        path.unlink(missing_ok=True)


async def _talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, actions: Mapping[str, Action]) -> None:
    with suppress(ConnectionError, ValueError):  # gone, or a line too long
        while line := await reader.readline():
            writer.write(msgspec.json.encode(await answer(line, actions)) + b"\n")
            await writer.drain()


async def answer(line: bytes, actions: Mapping[str, Action]) -> dict[str, Any]:
    """What to say to one request."""
    try:
        request = msgspec.json.decode(line, type=dict[str, Any])
        action = actions.get(str(request.get("do")))
        if action is None:
            return {"error": f"nobody knows how to do {request.get('do')!r}: there are {', '.join(sorted(actions))}"}
        return {"ok": await action(request)}
    except msgspec.MsgspecError as error:
        return {"error": f"not understood: {error}"}
    except RedcarError as error:
        return {"error": str(error)}


def ask(folder: Path, request: dict[str, Any], seconds: float = 60.0) -> Any:
    """Ask a running gateway. Raises NotRunning, or Declined with its sentence."""
    with socket.socket(socket.AF_UNIX) as knock:
        knock.settimeout(seconds)
        try:
            with _address(folder) as address:
                knock.connect(address)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise NotRunning(f"no gateway runs on {folder}: start it with redcar run") from error
        except PermissionError as error:
            raise Declined(f"{folder}: not permitted: run this as the gateway's user") from error
        try:
            knock.sendall(msgspec.json.encode(request) + b"\n")
            with knock.makefile("rb") as lines:
                line = lines.readline()
        except (OSError, TimeoutError) as error:
            raise Declined(f"the gateway on {folder} doesn't answer: {error}") from error
    if not line:
        raise Declined(f"the gateway on {folder} closed without an answer: see its messages")
    said = msgspec.json.decode(line, type=dict[str, Any])
    if "error" in said:
        raise Declined(said["error"])
    return said["ok"]


@contextmanager
def _address(folder: Path) -> Iterator[str]:
    """The socket's name, short enough for any folder: a name may have 107 bytes."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)
