"""Pages of the file are overwritten under a gateway at work, as a dying card does. Nobody is told "stored" by a log that can't
store; the gateway ends and says why; the next one sets the log aside, salvages it and owns up to what can't be read."""

import asyncio
from contextlib import closing
from pathlib import Path
from random import Random

import msgspec
import pytest

from gateway.app import Gateway, open_gateway
from gateway.clock import Clock
from gateway.errors import StoreDamaged
from gateway.event import Event
from gateway.settings import Gateway as Who
from gateway.settings import Listener, Settings
from gateway.store import files
from tests.faults.test_gateway_disk import Press, press
from tests.parts import free_port, until


def of_a_table(name: str, path: Path) -> list[int]:
    """The page with which a table begins."""
    with closing(files.open_to_read(path)) as db:
        return [db.execute("select rootpage from sqlite_schema where name = ?", (name,)).fetchone()[0]]


def all_but_the_first(path: Path) -> list[int]:
    return list(range(2, path.stat().st_size // 1024 + 1))


async def ruin(gateway: Gateway, what: str) -> None:
    """Overwrite these pages, and have the writer forget what it knows of them."""
    disk, path = gateway.log.disk, gateway.log.path
    await disk._db.run(lambda db: db.execute("pragma wal_checkpoint(truncate)").fetchall())
    pages = all_but_the_first(path) if what == "all" else of_a_table(what, path)
    with path.open("r+b", buffering=0) as file:
        for page in pages:
            file.seek((page - 1) * 1024)
            file.write(Random(page).randbytes(1024))
    await disk._db.run(lambda db: db.execute("pragma shrink_memory").fetchall())


async def everything(gateway: Gateway) -> list[Event]:
    events: list[Event] = []
    while page := await gateway.log.read(events[-1].offset + 1 if events else 1):
        events += page
    return events


@pytest.mark.parametrize("what", ["block", "all"])
def test_pages_that_are_overwritten_under_load(what: str, tmp_path: Path) -> None:
    settings = Settings(gateway=Who(name="test", data=str(tmp_path / "data")), listener=[Listener(port=free_port())])

    async def story() -> None:
        with press(settings.listener[0].port) as device:
            with pytest.raises(StoreDamaged, match="is set aside at the next start"):
                async with open_gateway(settings, clock=Clock(trust=True)) as gateway:
                    await work(gateway, device, what)
            acknowledged = device.acknowledged
            assert len(acknowledged) < len(device.sent)
            async with open_gateway(settings, clock=Clock(trust=True)) as gateway:
                await until(lambda: gateway.log.aside is None)
                await until(lambda: not device.unacknowledged)
                events = await everything(gateway)
        numbers = {msgspec.json.decode(one.data["payload"])["n"] for one in events if one.type == "message"}
        assert numbers >= set(range(len(device.sent))) - acknowledged
        gaps = [one.data for one in events if one.type == "gap" and one.data["reason"] == "damaged"]
        if what == "block":
            assert numbers >= acknowledged
        else:
            assert gaps[0]["beyond"] == 0  # nothing is left, and that is what it says

    asyncio.run(story())


async def work(gateway: Gateway, device: Press, what: str) -> None:
    """Until nothing can be stored any more."""
    ended = asyncio.Event()
    gateway.log.on_end = ended.set
    device.send(1_000)
    await until(lambda: not device.unacknowledged)
    await ruin(gateway, what)
    device.send(500)
    await asyncio.wait_for(ended.wait(), 20)
    head, acknowledged = gateway.log.head, device.acknowledged
    device.send(500)
    await asyncio.sleep(0.5)
    assert gateway.log.head == head
    assert device.acknowledged == acknowledged
