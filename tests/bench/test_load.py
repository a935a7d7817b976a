"""The load generator is what all figures rest on: it counts right, it keeps its window, it notices a wrong answer."""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from tests.bench import load, servers, table, wire
from tests.bench.load import Order
from tests.bench.measures import Measurement

Answer = Callable[[socket.socket], None]


@contextmanager
def server(answer: Answer) -> Iterator[int]:
    """A server that lets one client in and then does as told; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            link, _ = listening.accept()
            with link:
                link.settimeout(10)
                wire.exactly(link, len(wire.connect("load-0")))
                link.sendall(wire.CONNACK)
                answer(link)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(10)


size = len(wire.publish("plant/hall/air-0000", load.payload(0, 0, Random(0)), 1))


def test_every_payload_is_as_long_and_a_packet_says_its_length_right() -> None:
    rng = Random(1)
    assert {len(load.payload(device, turn, rng)) for device in range(100) for turn in range(0, 400, 7)} == {125}
    packet = wire.publish("plant/hall/air-0000", b"x" * 125, 258)
    assert packet[:3] == b"\x32\x94\x01"  # 148 bytes follow: 2 + 19 of topic, 2 of id, 125
    assert packet[3:26] == b"\x00\x13plant/hall/air-0000\x01\x02"
    assert len(packet) == 3 + 148


@pytest.mark.parametrize(("connections", "window", "rate"), [(1, 100, None), (7, 3, None), (1, 10, 20_000.0)])
def test_all_messages_are_sent_and_counted(connections: int, window: int, rate: float | None, tmp_path: Path) -> None:
    with servers.mirror(tmp_path / "mirror") as mirror:
        order = Order(port=mirror.port, connections=connections, window=window, messages=9_100, rate=rate, limit=30)
        result = load.run(order)
    assert result.acknowledged == 9_100
    assert result.began < result.ended
    assert (result.p50 is None) == (rate is None)


def test_no_more_than_a_window_is_under_way() -> None:
    got: list[bytes] = []

    def answer(link: socket.socket) -> None:
        got.append(wire.exactly(link, 5 * size))
        link.settimeout(0.2)
        with pytest.raises(TimeoutError):
            link.recv(1)  # the sixth isn't sent before something is acknowledged
        link.settimeout(10)
        link.sendall(wire.puback(1)[:3])
        link.sendall(wire.puback(1)[3:] + wire.puback(2))
        got.append(wire.exactly(link, 2 * size))
        link.sendall(b"".join(wire.puback(n) for n in range(3, 8)))
        link.recv(2)

    with server(answer) as port:
        assert load.run(Order(port=port, window=5, messages=7, limit=10)).acknowledged == 7
    ids = b"".join(got)
    at = 3 + 2 + len("plant/hall/air-0000")
    assert [int.from_bytes(ids[n * size + at : n * size + at + 2], "big") for n in range(7)] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("out of order", wire.puback(2)),
        ("not sent yet", b"".join(wire.puback(n) for n in range(1, 7))),
        ("another packet", b"\x50\x02\x00\x01"),
        ("the end", b""),
    ],
)
def test_an_answer_that_is_none_ends_the_measurement(name: str, wrong: bytes) -> None:
    def answer(link: socket.socket) -> None:
        wire.exactly(link, 5 * size)
        link.sendall(wrong)

    with server(answer) as port, pytest.raises(ConnectionError, match="after 0 acknowledgements came"):
        load.run(Order(port=port, window=5, messages=20, limit=10))


def test_a_server_that_stops_answering_ends_it_too() -> None:
    def answer(link: socket.socket) -> None:
        wire.exactly(link, 5 * size)
        link.sendall(wire.puback(1))
        while link.recv(65_536):
            pass

    with server(answer) as port, pytest.raises(TimeoutError, match="1 messages were acknowledged in time"):
        load.run(Order(port=port, window=5, messages=20, limit=0.2))


def test_the_table_shows_medians_ratios_and_aims() -> None:
    made = [
        Measurement("1 connection x 1,000", who, value, "messages/s", number)
        for who, values in (("redcar, readings", (90_000, 70_000, 80_000)), ("mosquitto", (30_000, 50_000, 32_000)))
        for number, value in enumerate(values, 1)
    ]
    made.append(Measurement("memory", "idle", 61.25, "MB"))
    assert [line.split("  ") for line in re.sub("  +", "  ", table.text(made)).splitlines()] == [
        ["what", "median", "best", "beside mosquitto", "aim"],
        [
            "1 connection x 1,000",
            "redcar, readings",
            "80,000",
            "90,000",
            "messages/s",
            "2.50 x, best 1.80 x",
            ">= 2 x: reached",
        ],
        ["1 connection x 1,000", "mosquitto", "32,000", "50,000", "messages/s"],
        ["memory", "idle", "61.2", "MB", "<= 60: missed"],
    ]
