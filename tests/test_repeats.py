"""Messages sent again: known by DUP flag and packet id, never by guess."""

from pathlib import Path

import pytest

from gateway import repeats
from gateway.hub.inlet import Publish, Read
from gateway.ingest import Ingest
from gateway.repeats import Repeats
from tests.entrance import told


def message(n: int, id: int, *, dup: bool = False, client: str = "c1") -> Publish:
    return Publish("some/topic", b"%d" % n, 1, client=client, dup=dup, packet_id=id.to_bytes(2) if id else b"")


def test_a_redelivery_is_acknowledged_and_not_stored_again(tmp_path: Path) -> None:
    async def story(ingest: Ingest) -> None:
        for batch in (
            [message(1, 7), message(1, 8)],
            [message(1, 7, dup=True), message(1, 8, dup=True), message(2, 9)],
        ):
            stored = ingest.publish([Read(batch)])
            assert stored is not None
            await stored
        pending = ingest.publish([Read([message(3, 10)])])
        repeated = ingest.publish([Read([message(3, 10, dup=True)])])
        assert pending is not None
        assert repeated is not None
        assert not repeated.done()  # not before the first is on the disk
        await repeated
        assert pending.done()

    events = told(tmp_path, [], story)
    assert [one.data["payload"] for one in events] == ["1", "1", "2", "3"]


@pytest.mark.parametrize(
    "second",
    [
        message(1, 7),  # no flag: equal messages are two
        message(2, 7, dup=True),  # other content
        message(1, 8, dup=True),  # other id
        message(1, 7, dup=True, client="c2"),  # other client
        message(1, 0, dup=True),  # an id that nobody handed over
    ],
)
def test_nothing_is_taken_for_a_repeat_by_guess(second: Publish) -> None:
    known = Repeats()
    known.new(Read([message(1, 7)]))
    assert known.new(Read([second])) == [second]


def test_an_id_means_the_latest_message_that_bore_it() -> None:
    known = Repeats()
    known.new(Read([message(1, 7), message(2, 7)]))
    assert known.new(Read([message(2, 7, dup=True)])) == []
    assert len(known.new(Read([message(1, 7, dup=True)]))) == 1


@pytest.mark.parametrize(("flight", "least"), [(0, 100), (30, 100), (1000, 1000)])
def test_what_was_in_flight_and_the_rest_of_its_read_is_known(flight: int, least: int) -> None:
    known = Repeats()
    known.new(Read([message(0, 1)], flight))
    for start in range(0, 5000, 10):
        known.new(Read([message(n, n + 1) for n in range(start, start + 10)], 10))
    assert known.new(Read([message(n, n + 1, dup=True) for n in range(5000 - least, 5000)])) == []
    assert len(known.new(Read([message(n, n + 1, dup=True) for n in range(4990 - least)]))) == 4990 - least


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "most", 10_000)
    known = Repeats()
    for n in range(1_000):
        known.new(Read([message(n, 1, client=f"c{n}")]))
    assert known.new(Read([message(999, 1, dup=True, client="c999")])) == []
    assert len(known.new(Read([message(0, 1, dup=True, client="c0")]))) == 1
    assert known._size <= 10_000 + 300
    assert known._size == sum(one.size for one in known._clients.values())


def test_what_a_mistake_of_ours_kept_from_the_log_is_new_when_it_comes_again() -> None:
    known = Repeats()
    read = Read([message(1, 7), message(2, 8)])
    known.new(read)
    known.forget([Read([]), read, read])
    assert known._size == 0
    again = [message(1, 7, dup=True), message(2, 8, dup=True)]
    assert known.new(Read(again)) == again
