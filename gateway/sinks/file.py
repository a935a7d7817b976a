"""Files: a folder with one file per batch, CloudEvents as JSON lines; for a USB stick, a share, or a tool that sweeps it up.

    plant-7-1f3c0a9e5b7d2468-live-0000000000000001042-0000000000000001099.jsonl
    gateway epoch            lane from                to

A file appears under this name once it is whole and on the disk, never before; so its name says that it is done, and a
batch that is sent again after a crash finds it there. Names sort in the order of the log within a lane.
"""

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from msgspec import Meta

from gateway import envelope
from gateway.errors import SinkRefused, SinkUnavailable
from gateway.sink import Batch, Identity, Outcome, Subscription


class Config(Subscription, kw_only=True):
    """Where to put the files."""

    folder: Annotated[
        str,
        Meta(
            min_length=1,
            description="folder for the files; it must exist, so that nothing fills a missing mount",
            extra={"unit": "path"},
        ),
    ]


passing = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOENT, errno.ENODEV, errno.ESTALE, errno.ETIMEDOUT}
"""Full, or gone for now; everything else (not permitted, read-only, not a folder) waits for somebody."""


class Sink:
    """Writes, flushes and renames in a thread: a slow card doesn't hold up the loop."""

    fixed_batches = True  # the name of a file says what is in it

    def __init__(self, config: Config, identity: Identity) -> None:
        self._folder = Path(config.folder)
        self._identity = identity
        self._prefix = f"{quote(identity.gateway, safe='')}-{identity.epoch:016x}"

    async def connect(self) -> None:
        """See ``gateway.sink.Sink``."""
        await asyncio.to_thread(self._try, self._clear_unfinished)

    async def send(self, batch: Batch) -> Outcome:
        """See ``gateway.sink.Sink``."""
        lines = [envelope.structured(event, self._identity, batch.lane) for event in batch.events]
        name = f"{self._prefix}-{quote(batch.lane, safe='')}-{batch.lo:019d}-{batch.hi:019d}.jsonl"
        await asyncio.to_thread(self._try, self._write, name, b"\n".join([*lines, b""]))
        return Outcome()

    async def close(self) -> None:
        """See ``gateway.sink.Sink``."""

    def _write(self, name: str, content: bytes) -> None:
        done = self._folder / name
        if not done.exists():
            unfinished = self._folder / f".{name}.part"
            with unfinished.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            unfinished.rename(done)
        self._flush_folder()

    def _clear_unfinished(self) -> None:
        """What a crash left half written. The events in it are still owed."""
        for unfinished in self._folder.iterdir():
            if unfinished.name.startswith(f".{self._prefix}-") and unfinished.name.endswith(".part"):
                unfinished.unlink()
        self._flush_folder()

    def _flush_folder(self) -> None:
        """A name is on the disk only after this."""
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _try(self, write: Callable[..., None], *args: object) -> None:
        try:
            write(*args)
        except OSError as error:
            if error.errno == errno.ENOENT:
                raise SinkUnavailable(f"{self._folder} doesn't exist: mount it, or make it") from error
            if error.errno in passing:
                raise SinkUnavailable(f"{self._folder}: {error.strerror}: make room, or see to the disk") from error
            raise SinkRefused(f"{self._folder}: {error.strerror}: let Redcar write there, or change folder") from error
