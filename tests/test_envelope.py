"""What leaves Redcar: CloudEvents that say everything the log says."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import envelope
from gateway.event import Event, Quality, event
from gateway.sink import Identity

plant = Identity("plant-7", 0x1F3C0A9E5B7D2468)


def logged(made: Event, offset: int = 1042, recorded: int = 1_777_629_600_000_005) -> Event:
    """As the log gives it back."""
    made.offset, made.recorded, made.decoded = offset, recorded, None
    return made


reading = event("reading", "greenhouse/air-1", {"temperature": 21.5}, time=1_777_629_599_123_456)


def test_a_reading_in_full() -> None:
    assert envelope.structured(logged(reading), plant, "live") == (
        b'{"specversion":"1.0","source":"plant-7/greenhouse/air-1","type":"reading","subject":"greenhouse/air-1",'
        b'"datacontenttype":"application/json","lane":"live","id":"1f3c0a9e5b7d2468-1042",'
        b'"time":"2026-05-01T09:59:59.123456Z","recordedtime":"2026-05-01T10:00:00.000005Z",'
        b'"sequence":"0000000000000001042","data":{"temperature":21.5}}'
    )


def test_attributes_say_the_same_as_the_structured_form() -> None:
    alarm = {"alarm": "freezer too warm", "severity": "high"}
    made = logged(event("alarm.raised", "freezer", alarm, time=1, quality=Quality.stale, cause=77))
    whole = json.loads(envelope.structured(made, plant, "backlog"))
    assert whole.pop("data") == alarm
    assert {name: str(value) for name, value in whole.items()} == envelope.attributes(made, plant, "backlog")
    assert whole["quality"] == "stale"
    assert whole["causationid"] == "1f3c0a9e5b7d2468-77"
    assert (whole["severitytext"], whole["severitynumber"]) == ("HIGH", 17)


def test_a_good_reading_carries_nothing_superfluous() -> None:
    named = envelope.attributes(logged(reading), plant, "live")
    assert not {"quality", "causationid", "severitytext", "severitynumber"} & named.keys()


@pytest.mark.parametrize("data", [{}, {"severity": "dire"}, {"severity": ["high"]}, {"severity": None}])
def test_an_alarm_of_unknown_severity_has_none(data: dict[str, object]) -> None:
    made = logged(event("alarm.acknowledged", "freezer", data, time=1))
    assert "severitytext" not in envelope.attributes(made, plant, "live")
    (back,) = envelope.parse(envelope.structured(made, plant, "live"))
    assert (back.event().data, back.severitytext) == (data, "")


@pytest.mark.parametrize(
    ("gateway", "source", "want"),
    [
        ("plant-7", "greenhouse/air-1", "plant-7/greenhouse/air-1"),
        ("plant 7", "Kühlraum/1", "plant%207/K%C3%BChlraum/1"),
        ("b8:27:eb", "ble/A4:C1:38:01", "b8%3A27%3Aeb/ble/A4:C1:38:01"),
        ("a/b", "c#d?e", "a%2Fb/c%23d%3Fe"),
    ],
)
def test_source_is_a_uri_reference(gateway: str, source: str, want: str) -> None:
    assert envelope.attributes(Event(0, source, "reading", b"{}"), Identity(gateway, 1), "live")["source"] == want


@pytest.mark.parametrize(
    ("time", "want"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (1_709_164_800_000_001, "2024-02-29T00:00:00.000001Z"),
        (2**62, "9999-12-31T23:59:59.387904Z"),
        (-(2**62), "0001-01-01T00:00:00.612096Z"),
    ],
)
def test_times(time: int, want: str) -> None:
    assert envelope.timestamp(time) == want


def test_ids_and_sequences_sort_as_the_log_does() -> None:
    offsets = [1, 9, 10, 99, 100, 10**12, 2**63 - 1]
    named = [envelope.attributes(logged(reading, offset), plant, "live") for offset in offsets]
    assert [one["sequence"] for one in named] == sorted(one["sequence"] for one in named)
    assert len({(one["source"], one["id"]) for one in named}) == len(offsets)


def test_the_same_offset_of_another_epoch_is_another_event() -> None:
    copied = Identity("plant-7", 2)
    assert envelope.attributes(reading, plant, "live")["id"] != envelope.attributes(reading, copied, "live")["id"]


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
nanoless = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)
facts = st.builds(
    Event,
    time=nanoless,
    source=names,
    type=names | st.just("alarm.raised"),
    body=st.dictionaries(
        names | st.just("severity"), st.integers() | st.text(st.characters(exclude_categories=["Cs"]))
    ).map(lambda data: json.dumps(data, ensure_ascii=False).encode()),
    quality=st.sampled_from(Quality).map(int) | st.just(250),
    cause=st.integers(0, 2**63 - 1),
    offset=st.integers(1, 2**63 - 1),
    recorded=nanoless,
)
identities = st.builds(Identity, names, st.integers(0, 2**64 - 1))


def seen(made: Event) -> tuple[object, ...]:
    """All that the log holds of it."""
    return tuple(getattr(made, name) for name in made.__struct_fields__ if name != "decoded")


@given(st.lists(facts, max_size=5), identities, names)
def test_nothing_is_lost_on_the_way(events: list[Event], identity: Identity, lane: str) -> None:
    received = envelope.parse(envelope.join([envelope.structured(one, identity, lane) for one in events]))
    known = [made for made in events if made.quality != 250]
    assert [seen(one.event()) for one in received if one.quality != "250"] == [seen(made) for made in known]
    assert all(one.identity() == identity and one.lane == lane for one in received)


@given(facts, identities)
def test_every_event_is_a_valid_cloudevent(made: Event, identity: Identity) -> None:
    named = envelope.attributes(made, identity, "live")
    assert all(re.fullmatch("[a-z0-9]{1,20}", name) for name in named)
    assert all(named.values())
    assert re.fullmatch(r"[A-Za-z0-9._~%-]+/[A-Za-z0-9._~!$&()*+,;=:@/%-]+", named["source"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", named["time"])
    (back,) = envelope.parse(envelope.structured(made, identity, "live"))
    assert back.id == named["id"]
