"""Items without a device: a driver's twin, and what was recorded."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.driver import Advert, Driver, Item, Message
from gateway.errors import DeviceRefused
from gateway.event import SECOND
from gateway.waiting import Sleep


@asynccontextmanager
async def without_device(items: AsyncGenerator[Item, None]) -> AsyncIterator[AsyncIterator[Item]]:
    """Items that end when they like."""
    async with aclosing(items):
        yield items


async def sim(twin: Iterator[tuple[float, Item]], speed: float, sleep: Sleep) -> AsyncGenerator[Item, None]:
    """What the twin puts on the wire, at its pace times ``speed``."""
    for wait, item in twin:
        await sleep(wait / speed)
        yield item


async def replay(file: Path, driver: Driver, speed: float, baud: int, sleep: Sleep) -> AsyncGenerator[Item, None]:
    """Records by their ``time`` (microseconds), else one per second; raw bytes as fast as the port is."""
    try:
        with file.open("rb") as recorded:
            if file.suffix != ".jsonl":
                while data := recorded.read(64):
                    yield data
                    await sleep(len(data) * 10 / baud / speed)
                return
            before = None
            for number, line in enumerate(recorded, 1):
                for record in _records(line, f"replay:{file}:{number}"):
                    at = record.get("time")
                    gap = 1.0 if at is None or before is None else max(0.0, (at - before) / SECOND)
                    before = at
                    await sleep(gap / speed)
                    yield _item(record, driver, f"replay:{file}:{number}")
    except OSError as error:
        raise DeviceRefused(f"replay:{file}: {error.strerror}: is the name right?") from None


def _records(line: bytes, where: str) -> list[dict[str, Any]]:
    try:
        record = json.loads(line)
        return [record, *record.get("then", ())]
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise DeviceRefused(f"{where}: not a JSON object") from None


def _item(record: dict[str, Any], driver: Driver, where: str) -> Item:
    """What was recorded, as the link gave it."""
    try:
        if driver.input is Advert:
            ble = record["ble"]
            service, company = (
                {id: bytes.fromhex(data) for id, data in ble.get(key, {}).items()}
                for key in ("service_data", "manufacturer_data")
            )
            return Advert(ble.get("address", ""), ble.get("local_name"), ble.get("rssi"), service, company)
        payload = bytes.fromhex(record["payload_hex"]) if "payload_hex" in record else record["payload"].encode()
        if driver.input is Message:
            return Message(record["topic"], payload, retain=record.get("retain", False))
        return bytes(payload)
    except (KeyError, ValueError, AttributeError, TypeError):
        raise DeviceRefused(f"{where}: not something that {driver.kind} reads") from None
