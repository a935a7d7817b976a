"""The path of a reading, from a message or a link to the log."""

import struct
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from gateway.driver import Advert, Context
from gateway.event import SECOND, Event
from gateway.hub.inlet import Publish, Read
from gateway.ingest import Bound, Ingest
from gateway.patterns import compiled
from tests.clocks import NOW, Machine
from tests.entrance import PLANT, bind, published, told


def short(events: list[Event]) -> list[tuple[str, str]]:
    return [(one.source, one.type) for one in events]


def air(payload: bytes, qos: int = 1, topic: str = "plant/cellar/air-1") -> Publish:
    return Publish(topic, payload, qos)


def test_a_claimed_message_becomes_a_reading(tmp_path: Path) -> None:
    bound = [bind("json", **PLANT, allow=["cellar/*"])]
    events = published(tmp_path, bound, air(b'{"temperature": 4.5, "humidity": 71}'))
    assert short(events) == [
        ("cellar/air-1", "device.adopted"),
        ("cellar/air-1", "device.online"),
        ("cellar/air-1", "reading"),
    ]
    assert events[-1].data == {"temperature": 4.5, "humidity": 71}
    assert events[-1].quality == 0


def test_a_message_that_nobody_claims_is_kept_as_it_came(tmp_path: Path) -> None:
    events = published(tmp_path, [], Publish("some/topic", b"hello", 1, client="c1"), Publish("raw", b"\xff\x00", 1))
    assert events[0].data == {"topic": "some/topic", "payload": "hello", "qos": 1, "client": "c1"}
    assert events[1].data == {"topic": "raw", "payload_base64": "/wA=", "qos": 1}


def test_qos_0_that_nobody_claims_is_not_stored(tmp_path: Path) -> None:
    assert published(tmp_path, [], Publish("some/topic", b"hello", 0)) == []


def test_qos_0_that_is_claimed_is_stored(tmp_path: Path) -> None:
    events = published(tmp_path, [bind("json", **PLANT, allow=["*"])], air(b'{"temperature": 4.5}', qos=0))
    assert events[-1].type == "reading"


def test_an_unknown_device_is_offered_once_and_loses_nothing(tmp_path: Path) -> None:
    bound = [bind("json", **PLANT)]
    events = published(tmp_path, bound, air(b'{"temperature": 4.5}'), air(b'{"temperature": 4.6}'))
    assert short(events) == [
        ("cellar/air-1", "device.discovered"),
        ("plant/cellar/air-1", "message"),
        ("plant/cellar/air-1", "message"),
    ]


def test_a_payload_that_can_not_be_read_is_a_dead_letter_with_its_bytes(tmp_path: Path) -> None:
    bound = [bind("json", **PLANT, allow=["*"])]
    events = published(tmp_path, bound, air(b'{"temperature": }'), air(b'{"temperature": 4.5}'), air(b"\xff\xfe"))
    rejected = [one for one in events if one.type == "rejected"]
    assert [one.source for one in rejected] == ["cellar/air-1", "cellar/air-1"]
    assert rejected[0].data["reason"] == "not_json"
    assert rejected[0].data["payload"] == '{"temperature": }'
    assert rejected[0].data["topic"] == "plant/cellar/air-1"
    assert rejected[1].data["payload_base64"] == "//4="
    assert events[-2].data == {"temperature": 4.5}  # the device's other messages are unaffected


def test_keep_raw_stores_the_payload_beside_the_reading(tmp_path: Path) -> None:
    events = published(tmp_path, [bind("json", **PLANT, allow=["*"], keep_raw=True)], air(b'{"temperature": 4.5}'))
    assert [one.type for one in events][-2:] == ["reading", "message"]


def test_a_value_beyond_belief_is_flagged_not_dropped(tmp_path: Path) -> None:
    events = published(tmp_path, [bind("json", **PLANT, allow=["*"])], air(b'{"temperature": 21, "humidity": 140}'))
    assert events[-1].data["_quality"] == {"humidity": "out_of_range"}
    assert events[-1].data["humidity"] == 140
    assert events[-1].quality != 0


def test_names_rename_and_accept(tmp_path: Path) -> None:
    bound = [bind("bthome", link="ble:", names={"A4:C1:38:8D:18:B2": "cellar/door"})]
    advert = Advert("A4:C1:38:8D:18:B2", None, -60, {"fcd2": bytes.fromhex("40000902ca0903bf13")})

    async def story(ingest: Ingest) -> None:
        ingest.take(bound[0], advert)
        ingest.take(bound[0], advert)  # sensors repeat an advertisement: the packet id says so
        ingest.take(bound[0], Advert("00:00:00:00:00:01", None, -60, dict(advert.service_data)))

    events = told(tmp_path, bound, story)
    assert short(events) == [
        ("cellar/door", "device.adopted"),
        ("cellar/door", "device.online"),
        ("cellar/door", "reading"),
        ("00:00:00:00:00:01", "device.discovered"),
    ]


def test_a_stream_is_taken_in_pieces(tmp_path: Path) -> None:
    bound = [bind("pms5003", link="serial:/dev/null", source="hall/dust")]
    frame = bytes.fromhex("424d001c00000008000800000008000800d20046002d001e00000000970002c5")

    async def story(ingest: Ingest) -> None:
        buffer = bytearray()
        for byte in frame * 2:
            buffer.append(byte)
            ingest.take(bound[0], buffer)

    events = told(tmp_path, bound, story)
    assert [one.type for one in events] == ["device.adopted", "device.online", "reading", "reading"]
    assert events[-1].source == "hall/dust"
    assert events[-1].data["pm25"] == 8


def test_a_last_will_and_silence_take_a_device_offline(tmp_path: Path) -> None:
    machine = Machine()

    async def story(ingest: Ingest) -> None:
        ingest.publish([Read([air(b'{"temperature": 4.5}')])])
        machine.passes(4)
        ingest.watch()
        machine.passes(2)
        ingest.watch()
        ingest.watch()
        ingest.publish([Read([air(b'{"temperature": 4.5}')])])

    events = told(tmp_path, [bind("json", **PLANT, allow=["*"], silent_after=5.0)], story, machine.clock(trust=True))
    assert [one.type for one in events] == [
        "device.adopted",
        "device.online",
        "reading",
        "device.offline",
        "device.online",
        "reading",
    ]
    assert events[3].data["reason"] == "nothing for 5 s"


@pytest.mark.parametrize(
    ("pattern", "topic", "captures"),
    [
        ("plant/{area}/{device}", "plant/a/b", {"area": "a", "device": "b"}),
        ("plant/{area}/{device}", "plant/a/b/c", None),
        ("plant/{area}/{device}", "plant//b", None),
        ("z/{device#}", "z/a/b", {"device": "a/b"}),
        ("tele/+/{device}_x", "tele/q/air_x", {"device": "air"}),
        ("a.b/#", "a.b/c/d", {}),
        ("a.b/#", "aXb/c", None),
    ],
)
def test_topic_patterns(pattern: str, topic: str, captures: dict[str, str] | None) -> None:
    found = compiled(pattern).fullmatch(topic)
    assert (found.groupdict() if found else None) == captures


def test_a_name_from_a_payload_can_not_become_a_wildcard(tmp_path: Path) -> None:
    bound = [bind("zigbee2mqtt", topics=["zigbee2mqtt/{device#}"], source="home/{device}", allow=["*"])]
    events = published(tmp_path, bound, Publish("zigbee2mqtt/a\x07b", b'{"temperature": 4.5}', 1))
    assert events[-1].source == "home/a_b"


@pytest.mark.parametrize(
    "bug", [KeyError("no"), struct.error("short"), RuntimeError("no"), NameError("no"), OSError("no")]
)
def test_a_driver_that_fails_costs_the_message_and_not_the_connection(
    bug: Exception, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def decode(item: Any, context: Context) -> list[Any]:
        raise bug

    good = bind("json", **PLANT, allow=["*"])
    bound = Bound(good.binding, structs.replace(good.driver, decode=decode), good.context)
    events = published(tmp_path, [bound], air(b'{"temperature": 4.5}'), air(b'{"temperature": 4.6}'))
    assert [one.data["reason"] for one in events] == ["driver_failed", "driver_failed"]
    assert events[0].data["payload"] == '{"temperature": 4.5}'
    assert [record.message for record in caplog.records] == [
        f"cellar/air-1: the driver json fails at what it got, please report it: {type(bug).__name__}: {bug}"
    ]


def test_a_device_whose_clock_is_wrong_is_told_once_and_stored_at_its_arrival(tmp_path: Path) -> None:
    times = (-86_400, 59, 61, 3600, -1)  # seconds from now

    async def story(ingest: Ingest) -> None:
        for one in times:
            ingest.publish([Read([air(b'{"temperature": 4.5, "timestamp": %d}' % (NOW // SECOND + one))])])

    events = told(tmp_path, [bind("json", **PLANT, allow=["*"])], story, Machine().clock(trust=True))
    readings = [one for one in events if one.type == "reading"]
    assert [(one.time - NOW) // SECOND for one in readings] == [-86_400, 59, 0, 0, -1]
    assert ["_quality" in one.data for one in readings] == [False, False, True, True, False]
    said = [(one.type, one.data["seconds"]) for one in events if "clock" in one.type]
    assert said == [("device.clock_wrong", 61.0), ("device.clock_right", -1.0)]
