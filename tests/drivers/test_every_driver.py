"""What every driver must do, found by file name: a new driver is tested without touching this file."""

import ast
import inspect
import json
import re
from collections.abc import Iterator
from importlib import import_module
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import drivers
from gateway.catalogue import normalise
from gateway.driver import Advert, Binding, Context, Driver, Item, Message, kinds, load
from gateway.errors import Undecodable
from gateway.event import Availability, Quality, Reading
from gateway.patterns import compiled
from tests.drivers.records import Outcome, records

own = sorted(file.stem for file in Path(drivers.__path__[0]).glob("[!_]*.py"))
streams = [kind for kind in own if load(kind).input is bytearray]


def config(driver: Driver) -> Any:
    return driver.config(driver=driver.kind)


def sent(driver: Driver, count: int, seed: int = 7) -> list[tuple[float, Item]]:
    return list(islice(driver.twin(config(driver), Random(seed)), count))


def readings(driver: Driver, chunks: list[bytes]) -> list[Reading]:
    return Outcome(driver, {}, list(chunks)).readings


def test_drivers_are_found_by_file_name() -> None:
    assert {"json", "tasmota", "zigbee2mqtt", "lines", "pms5003", "bthome"} <= set(own) <= set(kinds())
    with pytest.raises(KeyError):
        load("no_such_driver")


@pytest.mark.parametrize("kind", own)
def test_docstring_says_what_it_is_and_where_that_is_written(kind: str) -> None:
    text = import_module(f"drivers.{kind}").__doc__ or ""
    first = text.splitlines()[0]
    assert 20 < len(first) <= 130
    assert first.endswith(".")
    assert re.search(r"\n\nSource: \S.{20,}", text), "no source"
    assert load(kind).summary == first


@pytest.mark.parametrize("kind", own)
def test_imports_nothing_of_redcar_but_the_contract(kind: str) -> None:
    module = import_module(f"drivers.{kind}")
    imports = [node for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.ImportFrom)]
    ours = {node.module for node in imports if node.module and node.module.split(".")[0] in ("gateway", "rules")}
    assert ours <= {"gateway.driver", "gateway.event", "gateway.errors"}


@pytest.mark.parametrize("kind", own)
def test_a_recording_proves_that_it_is_supported(kind: str) -> None:
    assert any(record["expect"]["readings"] for record in records(kind))


@pytest.mark.parametrize("kind", own)
def test_settings_survive_a_file(kind: str) -> None:
    driver = load(kind)
    before = config(driver)
    assert issubclass(driver.config, Binding)
    assert msgspec.convert(json.loads(msgspec.json.encode(before)), driver.config) == before


@pytest.mark.parametrize("kind", own)
def test_twin_and_decoder_agree(kind: str) -> None:
    driver = load(kind)
    items = sent(driver, 200)
    assert {type(item) for _, item in items} == {bytes if driver.input is bytearray else driver.input}
    outcome = Outcome(driver, {}, [item for _, item in items])
    assert not outcome.rejected
    assert len(outcome.readings) >= 60
    for reading in outcome.readings:
        values, flags, quality = normalise(reading)
        assert values
        assert (flags, quality) == (None, Quality.good)


@pytest.mark.parametrize("kind", own)
def test_twin_speaks_of_the_same_device_and_moves_its_values(kind: str) -> None:
    driver = load(kind)
    outcome = Outcome(driver, {}, [item for _, item in sent(driver, 400)])
    by_name: dict[tuple[str | None, str], list[Any]] = {}
    for reading in outcome.readings:
        for metric, value in reading.values.items():
            by_name.setdefault((reading.source, metric), []).append(value)
    assert len(by_name) <= 12
    assert any(len(set(values)) > 5 for values in by_name.values())


@pytest.mark.parametrize("kind", own)
def test_twin_repeats_itself_for_the_same_seed_only(kind: str) -> None:
    driver = load(kind)
    first, again, other = sent(driver, 100, 1), sent(driver, 100, 1), sent(driver, 100, 2)
    assert first == again
    assert first != other
    assert all(wait >= 0 for wait, _ in first)
    assert sum(wait for wait, _ in first) > 0


@pytest.mark.parametrize("kind", [kind for kind in own if load(kind).input is Message])
def test_twin_publishes_where_its_binding_listens(kind: str) -> None:
    driver = load(kind)
    patterns = [compiled(topic) for topic in config(driver).topics]
    assert patterns
    for _, item in sent(driver, 50):
        assert isinstance(item, Message)
        assert any(pattern.fullmatch(item.topic) for pattern in patterns), item.topic


@pytest.mark.parametrize("kind", streams)
@pytest.mark.parametrize("size", [1, 3, 7, 4096])
def test_how_a_stream_is_cut_makes_no_difference(kind: str, size: int) -> None:
    driver = load(kind)
    stream = b"".join(bytes(item) for _, item in sent(driver, 120) if isinstance(item, bytes))
    cut = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert readings(driver, cut) == readings(driver, [stream])


@pytest.mark.parametrize("kind", streams)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_line_noise_between_frames_loses_at_most_two_percent(kind: str, seed: int) -> None:
    driver, rng = load(kind), Random(seed)
    frames = [item for _, item in sent(driver, 1200) if isinstance(item, bytes)]
    noisy = []
    for at, frame in enumerate(frames):
        noisy.append(rng.randbytes(rng.randrange(1, 40)) + frame if at % 60 == 59 else frame)
    clean, heard = readings(driver, frames), readings(driver, noisy)
    assert len(heard) >= 0.98 * len(clean)
    assert sum(reading in clean for reading in heard) >= 0.999 * len(heard)


@pytest.mark.parametrize("kind", streams)
@pytest.mark.parametrize("unit", [b"\0", b"9", b"\xff", b"BM", b"BM\0\x1c", b"{", b'{"a":', b"20;", b"1;2;1;0;0;"])
def test_endless_garbage_is_not_hoarded(kind: str, unit: bytes) -> None:
    driver = load(kind)
    context, buffer = Context(config(driver)), bytearray()
    for _ in range(200):
        buffer += unit * (4096 // len(unit))
        list(driver.decode(buffer, context))
        assert len(buffer) <= 8192
    assert weight(context.memory) < 10_000
    assert len(context.drops) < 10


@pytest.mark.parametrize("kind", own)
def test_memory_stays_small_whatever_is_sent(kind: str) -> None:
    driver = load(kind)
    context, rng, buffer = Context(config(driver)), Random(3), bytearray()
    for count in range(3000):
        word = f"x{rng.getrandbits(40):x}"
        data = json.dumps({word: 1, "temperature": 2, f"{word}.a": {"b": [1, 2]}, "device": word}).encode()
        item: Any = Message(f"a/{word}/SENSOR", data, {"area": "a", "device": word})
        if driver.input is Advert:
            item = Advert(
                f"A4:C1:38:{count % 256:02X}:{count // 256:02X}:01", None, None, {"fcd2": b"\x40\x01" + data[:1]}
            )
        elif driver.input is bytearray:
            buffer += data + b"\r\n"
            item = buffer
        try:
            list(driver.decode(item, context))
        except Undecodable:
            pass
    assert weight(context.memory) < 20_000
    assert len(context.drops) < 10


def weight(thing: object) -> int:
    """How many things are in it, all the way down."""
    if isinstance(thing, dict):
        return sum(weight(key) + weight(value) for key, value in thing.items())
    if isinstance(thing, list | tuple | set | frozenset):
        return sum(map(weight, thing))
    if isinstance(thing, msgspec.Struct):
        return sum(weight(getattr(thing, name)) for name in thing.__struct_fields__)
    return 1 + len(thing) // 100 if isinstance(thing, str | bytes) else 1


# ---------------------------------------------------------------- never raises anything but Undecodable

names = """
temperature temp tempf hum value unit type time ts last_seen state contact voltage DS18B20 Temperature ENERGY Total TempUnit
Wifi Signal ZbReceived StatusSNS friendly_name definition exposes property battery a.b bridge data
"""
keys = st.sampled_from(names.split()) | st.text(max_size=8)
scalars = (
    st.none() | st.booleans() | st.integers() | st.integers(-(10**400), 10**400) | st.floats() | st.text(max_size=12)
    | st.sampled_from(["21.5", "nan", "on", "online", "1e999", "21.5 °C", "2024-01-01T00:00:00Z", "-", "C", "F", "K"])
)  # fmt: skip
objects = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6))


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    if draw(st.booleans()):
        return draw(st.binary(max_size=60))
    try:
        text = json.dumps(draw(objects), ensure_ascii=draw(st.booleans()))
    except ValueError:  # an integer of thousands of digits
        return b"0"
    data = text.encode("utf-8", "surrogatepass")
    at = draw(st.integers(0, len(data) * 2))
    return data[:at]


@st.composite
def messages(draw: st.DrawFn) -> Message:
    last = draw(
        st.sampled_from(["SENSOR", "STATE", "LWT", "availability", "bridge/devices", "bridge/state", "x/temperature"])
    )
    captures = {"device": "x", "area": "a"} | ({"metric": draw(keys)} if draw(st.booleans()) else {})
    return Message(f"zigbee2mqtt/x/{last}" if draw(st.booleans()) else last, draw(payloads()), captures)


@st.composite
def adverts(draw: st.DrawFn) -> Advert:
    data = draw(st.binary(max_size=24))
    if draw(st.booleans()):
        data = bytes([draw(st.sampled_from([0x40, 0x41, 0x42, 0x43, 0x44]))]) + data
    return Advert(draw(st.sampled_from(["A4:C1:38:8D:18:B2", "6F3C", ""])), None, None, {"fcd2": data})


words = [
    b"42\r\n",
    b"BM",
    b"BM\0\x1c",
    b"{",
    b"}",
    b'{"temp":',
    b"\n",
    b"20;",
    b";ID=1;TEMP=",
    b"12;6;1;0;0;",
    b"T=",
    b"\xff",
    b"24.5,6",
]
chunks = st.lists(st.sampled_from(words) | st.binary(max_size=40), max_size=12)


def tried(driver: Driver, item: Any, context: Context) -> Iterator[Reading]:
    try:
        for found in driver.decode(item, context):
            if isinstance(found, Availability):
                continue
            yield found
    except Undecodable as problem:
        if problem.reason not in Undecodable.reasons:
            raise


def check(driver: Driver, item: Any, context: Context) -> None:
    for reading in tried(driver, item, context):
        assert reading.values
        values, _, _ = normalise(reading)
        msgspec.json.encode(values)
        msgspec.json.encode(reading.source)
        assert reading.time is None or reading.time > 0


@pytest.mark.parametrize("kind", [kind for kind in own if load(kind).input is Message])
def test_any_message_is_read_or_refused(kind: str) -> None:
    driver = load(kind)
    context = Context(driver.config(driver=kind))

    @settings(max_examples=250, deadline=None)
    @given(messages())
    def story(message: Message) -> None:
        check(driver, message, context)

    story()


@pytest.mark.parametrize("kind", [kind for kind in own if load(kind).input is Advert])
def test_any_advertisement_is_read_or_refused(kind: str) -> None:
    driver = load(kind)
    whole = msgspec.convert({"driver": kind, "keys": {"": "0" * 32}, "events": True}, driver.config)
    contexts = [Context(config(driver)), Context(whole)]

    @settings(max_examples=250, deadline=None)
    @given(adverts(), st.sampled_from(contexts))
    def story(advert: Advert, context: Context) -> None:
        check(driver, advert, context)

    story()


@pytest.mark.parametrize("kind", streams)
def test_any_stream_is_read_or_counted(kind: str) -> None:
    driver = load(kind)

    @settings(max_examples=250, deadline=None)
    @given(chunks)
    def story(pieces: list[bytes]) -> None:
        context, buffer = Context(config(driver)), bytearray()
        for piece in pieces:
            buffer += piece
            check(driver, buffer, context)

    story()
