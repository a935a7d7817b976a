"""What is kept of an input gives it back whole."""

import base64

from hypothesis import given
from hypothesis import strategies as st

from gateway import evidence
from gateway.driver import Advert, Message

data = st.dictionaries(st.text("0123456789abcdef", min_size=4, max_size=4), st.binary(max_size=40), max_size=3)


@given(st.text(max_size=40), st.binary(max_size=200), st.booleans())
def test_a_message(topic: str, payload: bytes, retain: bool) -> None:
    assert evidence.restored(evidence.kept(Message(topic, payload, retain=retain))) == Message(
        topic, payload, retain=retain
    )


@given(st.binary(max_size=evidence.longest))
def test_a_stream(wire: bytes) -> None:
    assert evidence.restored(evidence.kept(bytearray(wire))) == bytearray(wire)


@given(st.none() | st.text(max_size=9), st.none() | st.integers(-100, 0), data, data)
def test_an_advertisement(
    name: str | None, rssi: int | None, service: dict[str, bytes], manufacturer: dict[str, bytes]
) -> None:
    advert = Advert("A4:C1:38:8D:18:B2", name, rssi, service, manufacturer)
    assert evidence.restored(evidence.kept(advert)) == advert


def test_of_a_long_stream_the_end_is_kept() -> None:
    kept = evidence.kept(bytearray(b"\xff" + bytes(5_000) + b"\xff"))
    assert base64.b64decode(kept["payload_base64"]) == bytes(evidence.longest - 1) + b"\xff"
