"""Records of tests/captures, and what a driver makes of one. See the README there."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from gateway.driver import Advert, Context, Driver, Item, Message
from gateway.errors import Undecodable
from gateway.event import Availability, Reading

captures = Path(__file__).parent.parent / "captures"

Record = dict[str, Any]


def records(kind: str) -> list[Record]:
    """Every record of a driver."""
    lines = [line for file in sorted((captures / kind).glob("*.jsonl")) for line in file.read_text().splitlines()]
    return [json.loads(line) for line in lines]


def payload(record: Record) -> bytes:
    """The bytes of a record."""
    if "payload_hex" in record:
        return bytes.fromhex(record["payload_hex"])
    return str(record["payload"]).encode()


def items(record: Record) -> list[Item]:
    """What a record puts on the wire."""
    if record["transport"] == "serial":
        return [payload(record)]
    if record["transport"] == "ble":
        ble = record["ble"]
        data = {
            key: {id: bytes.fromhex(value) for id, value in ble.get(key, {}).items()}
            for key in ("service_data", "manufacturer_data")
        }
        return [Advert(ble.get("address", "A4:C1:38:00:00:01"), ble.get("local_name"), ble.get("rssi"), **data)]
    return [message(each) for each in [record, *record.get("then", [])]]


def message(record: Record) -> Message:
    """A message of home/outside or home/outside/temperature: the third level names a metric, the second the device."""
    levels = record["topic"].split("/")
    captures = {"area": levels[0], "device": levels[1] if len(levels) > 1 else levels[0]}
    if len(levels) > 2:
        captures["metric"] = levels[-1]
    return Message(record["topic"], payload(record), captures, record.get("retain", False))


class Outcome:
    """What came of some items."""

    def __init__(self, driver: Driver, settings: dict[str, Any], sent: Iterable[Item]) -> None:
        config = msgspec.convert({"driver": driver.kind, **settings}, driver.config)
        self.context = Context(config)
        self.readings: list[Reading] = []
        self.availabilities: list[Availability] = []
        self.rejected: list[Undecodable] = []
        buffer = bytearray()
        for item in sent:
            if isinstance(item, bytes):
                buffer += item
            try:
                for found in driver.decode(buffer if isinstance(item, bytes) else item, self.context):
                    if isinstance(found, Reading):
                        self.readings.append(found)
                    else:
                        self.availabilities.append(found)
            except Undecodable as problem:
                self.rejected.append(problem)
        self.left = bytes(buffer)
