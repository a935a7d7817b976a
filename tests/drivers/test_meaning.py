"""What payloads mean beyond their recordings: names, units, channels, devices. One row is one payload."""

from typing import Any

import msgspec
import pytest

from gateway.driver import Advert, Item, Message, load
from gateway.event import Availability, Reading
from tests.drivers.records import Outcome


def decoded(kind: str, settings: dict[str, Any], *items: Item) -> Outcome:
    return Outcome(load(kind), settings, items)


def said(data: object, topic: str = "plant/hall/air", **captures: str) -> Message:
    return Message(topic, data if isinstance(data, bytes) else msgspec.json.encode(data), captures)


objects: list[tuple[str, dict[str, Any], object, Reading]] = [
    ("short names", {}, {"temp": 21.5, "hum": 48}, Reading({"temperature": 21.5, "humidity": 48})),
    ("own names", {}, {"soil1": 350, "Soil 2": 410}, Reading({"soil1": 350, "soil_2": 410})),
    ("quoted", {}, {"temp": "21.5", "serial": "0042"}, Reading({"temperature": 21.5})),
    ("switches", {}, {"lamp": "on", "door": False, "temp": 1}, Reading({"temperature": 1, "lamp": True, "door": False})),
    ("text", {}, {"mode": "eco", "temp": 1}, Reading({"temperature": 1})),
    ("text by name", {"metrics": {"mode": "mode"}}, {"mode": "eco"}, Reading({"mode": "eco"})),
    ("left out", {"metrics": {"rssi": ""}}, {"rssi": -70, "temp": 1}, Reading({"temperature": 1})),
    ("renamed", {"metrics": {"v": "voltage"}, "units": {"v": "mV"}}, {"v": 3}, Reading({"voltage": 3}, units={"voltage": "mV"})),
    ("unit in the key", {}, {"temp_F": 68.0}, Reading({"temperature": 68.0}, units={"temperature": "°F"})),
    ("twice", {}, {"tempf": 68.0, "tempc": 20.0}, Reading({"temperature": 20.0})),
    ("twice, other way", {}, {"tempc": 20.0, "tempf": 68.0}, Reading({"temperature": 20.0})),
    ("inside", {}, {"bme": {"temp": 1}, "data": {"hum": 2}}, Reading({"temperature.bme": 1, "humidity": 2})),
    ("deep inside", {}, {"a": {"b": {"temp": 1, "x": 2}}}, Reading({"temperature.a_b": 1, "a_b_x": 2})),
    ("list", {}, {"temp": [20, None, 22]}, Reading({"temperature.1": 20, "temperature.3": 22})),
    ("unit beside", {}, {"temp": {"value": 68, "unit": "°F"}}, Reading({"temperature": 68}, units={"temperature": "°F"})),
    ("named", {}, {"values": [{"type": "tempf", "value": "48"}]}, Reading({"temperature": 48.0}, units={"temperature": "°F"})),
    ("one bad", {}, {"temp": True, "hum": 40}, Reading({"humidity": 40})),
    ("time", {}, {"temp": 1, "ts": 1704164645}, Reading({"temperature": 1}, time=1704164645000000)),
    ("device", {"device": ["model", "id"]}, {"model": "WH1080", "id": 7, "temp": 1}, Reading({"temperature": 1}, "WH1080/7")),
    ("a number too large for 64 bits", {}, {"temp": 10**30, "hum": 1}, Reading({"temperature": 1e30, "humidity": 1})),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "data", "want"), [row[1:] for row in objects], ids=[row[0] for row in objects])
def test_json_object(settings: dict[str, Any], data: object, want: Reading) -> None:
    outcome = decoded("json", settings, said(data), said(data))  # the second time from what was learned the first time
    assert outcome.readings == [want, want]


def test_json_knows_a_huge_number_on_its_fast_path_too() -> None:
    outcome = decoded("json", {}, said({"temp": 1, "hum": 2}), said({"temp": 2**70, "hum": 2}))
    assert outcome.readings[1].values == {"temperature": float(2**70), "humidity": 2}


singles: list[tuple[bytes, str, Reading | Availability | None]] = [
    (b"21.5", "temperature", Reading({"temperature": 21.5})),
    (b'"21.5"', "temp", Reading({"temperature": 21.5})),
    ("68 °F".encode(), "temperature", Reading({"temperature": 68.0}, units={"temperature": "°F"})),
    (b'{"value": 68, "unit": "F"}', "temperature", Reading({"temperature": 68}, units={"temperature": "F"})),
    (b"ON", "lamp", Reading({"lamp": True})),
    (b"7", "soil", Reading({"soil": 7})),
    (b"offline", "status", Availability(False)),
    (b'{"state":"online"}', "availability", Availability(True)),
    (b"hello", "greeting", None),
    (b"", "temperature", None),
]


@pytest.mark.parametrize(("payload", "metric", "want"), singles, ids=[str(row[0]) for row in singles])
def test_json_single_value(payload: bytes, metric: str, want: Reading | Availability | None) -> None:
    outcome = decoded("json", {}, said(payload, metric=metric))
    assert [*outcome.readings, *outcome.availabilities] == ([want] if want else [])
    assert not outcome.rejected


def test_json_keeps_good_values_beside_a_bad_one_and_counts_it() -> None:
    outcome = decoded("json", {}, said({"temp": "21,5", "hum": 40}))
    assert outcome.readings == [Reading({"humidity": 40})]
    assert outcome.context.drops == {"not_a_number": 1}
    assert str(decoded("json", {}, said({"temp": "21,5"})).rejected[0]) == "not_a_number: temperature: '21,5'"


def test_tasmota_names_a_block_once_another_measures_the_same_and_from_then_on() -> None:
    one = {"AM2301": {"Temperature": 20.0}, "TempUnit": "C"}
    outcome = decoded("tasmota", {}, said(one, "tele/a/SENSOR"), said({**one, "BMP280": {"Temperature": 21.0}}, "tele/a/SENSOR"),
                      said(one, "tele/a/SENSOR"), said(one, "tele/b/SENSOR"))  # fmt: skip
    assert [list(reading.values) for reading in outcome.readings] == [
        ["temperature"], ["temperature.AM2301", "temperature.BMP280"], ["temperature.AM2301"], ["temperature"],
    ]  # fmt: skip


def test_tasmota_chip_temperature_is_not_the_rooms() -> None:
    outcome = decoded(
        "tasmota", {}, said({"ESP32": {"Temperature": 41.7}, "DS18B20": {"Temperature": 20}}, "tele/a/SENSOR")
    )
    assert outcome.readings[0].values == {"temperature.ESP32": 41.7, "temperature": 20}


def test_tasmota_zigbee_power_is_a_switch_not_watts() -> None:
    outcome = decoded("tasmota", {}, said({"ZbReceived": {"Plug": {"Power": 1, "ActivePower": 35}}}, "tele/a/SENSOR"))
    assert outcome.readings == [Reading({"power": 35}, "Plug")]


def test_tasmota_units_stand_in_the_payload_and_paths_can_be_named() -> None:
    data = {"DS18B20": {"Temperature": 68}, "OPENTHERM": {"TB": 31.0}, "TempUnit": "F"}
    outcome = decoded("tasmota", {"metrics": {"OPENTHERM.TB": "temperature.boiler"}}, said(data, "tele/a/SENSOR"))
    assert outcome.readings == [Reading({"temperature": 68, "temperature.boiler": 31.0}, units={"temperature": "F"})]


zigbee: list[tuple[str, object, Reading | Availability | None]] = [
    ("door 2", {"contact": True, "last_seen": 1704164645000}, Reading({"opening": False}, "door 2", time=1704164645000000)),
    ("hall/air/temperature", b"21.5", Reading({"temperature": 21.5}, "hall/air")),
    ("hall/air/availability", b"offline", Availability(False, "hall/air")),
    ("hall/air/availability", {"state": "online"}, Availability(True, "hall/air")),
    ("bridge/state", b"online", Availability(True, "bridge")),
    ("hall/air/set", {"temperature": 1}, None),
    ("hall/air/get", {"temperature": ""}, None),
    ("bridge/info", {"version": "2.0"}, None),
    ("leak", {"water_leak": True, "child_lock": True}, Reading({"moisture_detected": True}, "leak")),
    ("light", {"illuminance": 7000, "illuminance_lux": 5}, Reading({"illuminance": 5}, "light")),
    ("pm", {"power": -8388608}, None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "want"), zigbee, ids=[f"{row[0]} {row[1]}" for row in zigbee])
def test_zigbee2mqtt(name: str, data: object, want: Reading | Availability | None) -> None:
    for base in ("zigbee2mqtt/", "attic/zigbee/"):
        outcome = decoded(
            "zigbee2mqtt", {"topics": ["zigbee2mqtt/#", "attic/zigbee/{device#}"]}, said(data, base + name)
        )
        assert [*outcome.readings, *outcome.availabilities] == ([want] if want else [])


def test_zigbee2mqtt_reports_what_the_bridge_describes_with_a_unit() -> None:
    exposes = [{"type": "climate", "features": [{"type": "numeric", "property": "set_point", "unit": "°C"}]}]
    devices = [
        {"friendly_name": "trv", "definition": {"exposes": exposes}},
        {"friendly_name": "Coordinator", "definition": None},
    ]
    outcome = decoded("zigbee2mqtt", {}, said({"set_point": 20}, "zigbee2mqtt/trv"),
                      said(devices, "zigbee2mqtt/bridge/devices"), said({"set_point": 20}, "zigbee2mqtt/trv"))  # fmt: skip
    assert outcome.readings == [Reading({"set_point": 20}, "trv", {"set_point": "°C"})]


def test_lines_of_columns_that_are_damaged_do_not_count() -> None:
    columns = {"columns": ["temperature", "", "humidity"], "units": {"temperature": "°F"}}
    stream = b"8.1,x,40\n68.2,x,41\n68.2,41\n68.2,x,4\x081\n\xff68.2,x,41\n68.3;x;nan\r\n\n"
    outcome = decoded("lines", columns, stream)
    assert outcome.readings == [
        Reading({"temperature": 68.2, "humidity": 41.0}, units={"temperature": "°F"}),
        Reading({"temperature": 68.3}, units={"temperature": "°F"}),
    ]
    assert outcome.context.drops == {"columns": 1, "not_a_number": 1, "not_text": 1}


def test_lines_with_their_own_delimiter_and_device() -> None:
    outcome = decoded(
        "lines", {"delimiter": "|", "device": ["id"]}, b'{"id":"a","temp":1}|{"id":"b","temp":2}|{"id":"c"'
    )
    assert [(reading.source, reading.values) for reading in outcome.readings] == [
        ("a", {"temperature": 1}),
        ("b", {"temperature": 2}),
    ]
    assert outcome.left == b'{"id":"c"'


def test_lines_reads_on_after_a_line_without_an_end() -> None:
    outcome = decoded("lines", {}, b"9" * 3000, b"9" * 3000, b'9\n{"temp":1}\n')
    assert outcome.readings == [Reading({"temperature": 1})]
    assert outcome.context.drops == {"too_long": 1}


def test_rflink_and_mysensors_join_what_is_one_device() -> None:
    stream = b"20;01;Oregon;ID=2D;TEMP=80de;HUM=45;\r\n20;02;Oregon;ID=2D;TEMP=8zde;\r\n20;03;OK;\r\nregon;ID=2D;\r\n"
    outcome = decoded("rflink", {"device": ["protocol"]}, stream)
    assert outcome.readings == [Reading({"temperature": -22.2, "humidity": 45}, "Oregon")]
    assert outcome.context.drops == {"not_a_number": 1, "nothing_known": 1}
    outcome = decoded(
        "mysensors", {"device": ["node"]}, b"12;6;1;0;0;36.5\n12;7;1;0;16;1\n12;255;3;0;0;87\n12;6;1;1;0;36.5\n"
    )
    assert [reading.source for reading in outcome.readings] == ["12", "12", "12"]
    assert [reading.values for reading in outcome.readings] == [
        {"temperature": 36.5},
        {"tripped": True},
        {"battery": 87.0},
    ]


def test_bthome_buttons_are_reported_where_asked_for() -> None:
    advert = Advert("A4:C1:38:8D:18:B2", service_data={"fcd2": bytes.fromhex("4400053a003a013c01033cff03")})
    assert decoded("bthome", {}, advert).readings == []
    reading = decoded("bthome", {"events": True}, advert).readings[0]
    assert reading.values == {"button": "press", "dimmer": -3, "dimmer.2": 3}
    assert (reading.source, reading.sequence) == ("A4:C1:38:8D:18:B2", 5)


def test_bthome_keeps_what_stands_before_an_unknown_object() -> None:
    outcome = decoded("bthome", {}, Advert("A4:C1:38:8D:18:B2", service_data={"fcd2": bytes.fromhex("4002ca09fe01")}))
    assert outcome.readings[0].values == {"temperature": 25.06}
    assert outcome.context.drops == {"unknown_format": 1}


def test_bthome_refuses_a_replayed_counter() -> None:
    pytest.importorskip("cryptography", reason="encrypted devices: pip install cryptography")
    key = {"keys": {"54:48:E6:8F:80:A5": "231d39c1d7cc1ab1aee224cd096db932"}}
    older, newer = (
        Advert("54:48:E6:8F:80:A5", service_data={"fcd2": bytes.fromhex(data)})
        for data in ("41e445f3c9962b332211006c7c4519", "41a47266c95f730011223378237214")
    )
    outcome = decoded("bthome", key, older, newer, newer, older)
    assert [reading.sequence for reading in outcome.readings] == [1122867, 857870592, 857870592]
    assert "a replay" in str(outcome.rejected[0])


def test_pms5003t_has_temperature_and_humidity() -> None:
    frame = bytes.fromhex("424d001c001700270029001600230029100804a90116000c00d400e09a0004aa")
    assert decoded("pms5003", {}, frame).readings[0].values == {"pm1": 22, "pm25": 35, "pm10": 41}
    values = decoded("pms5003", {"model": "PMS5003T"}, frame).readings[0].values
    assert values == {"pm1": 22, "pm25": 35, "pm10": 41, "temperature": 21.2, "humidity": 22.4}


def test_pms5003_loses_no_frame_behind_a_head_that_was_noise() -> None:
    frame = bytes.fromhex("424d001c00000007000700000007000700bd003f002a001b000000009700029f")
    outcome = decoded("pms5003", {}, b"BM\0\x1c" + frame + b"B" + frame)
    assert len(outcome.readings) == 2
    assert outcome.context.drops == {"checksum": 1, "noise": 2}
    assert outcome.left == b""
