"""What an enemy can do to ``redcar run``, in small: memory is flat when it does it again, and the neighbour is served.

In large, with figures: ``python -m tests.hub.enemy``.
"""

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests.bench import servers
from tests.bench.servers import Server
from tests.hub import enemy
from tests.hub.enemy import suffered

SMALL: dict[str, Callable[[int], object]] = {
    "sockets that say nothing": partial(enemy.sockets, count=300),
    "half CONNECTs": partial(enemy.halves, count=300),
    "half packets": partial(enemy.half_packets, count=200),
    "a byte a second": partial(enemy.drip, count=100, seconds=1),
    "deaf subscribers": partial(enemy.deaf, count=20, messages=2_000),
    "filters that all match": partial(enemy.filters, count=300, topics=50),
    "walks through what is retained": partial(enemy.walks, rounds=1, topics=500),
    "SUBSCRIBE and UNSUBSCRIBE": partial(enemy.storms, rounds=100),
    "retained floods": partial(enemy.retained, count=3_000),
    "wills": partial(enemy.wills, count=100),
    "a will of 256 MB": enemy.giant_will,
    "QoS 2 that is never released": partial(enemy.unreleased, count=1, ids=20_000),
    "two clients of one id": partial(enemy.thieves, rounds=20),
    "devices that nobody has": partial(enemy.strangers, count=2_000),
    "topics of a million levels": partial(enemy.deep, count=4),
    "ever new names": partial(enemy.names, count=400),
    "sessions that last": partial(enemy.sessions, count=20),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A gateway in a process of its own, which suffers all of it."""
    with servers.redcar(tmp_path_factory.mktemp("enemy") / "server") as running:
        yield running
        assert running.process.poll() is None
        said = (running.folder / "log").read_text()
    assert "Traceback" not in said
    assert said.count("WARNING") < 300, "the journal isn't flooded"


@pytest.mark.parametrize("name", SMALL)
def test_memory_is_flat_and_the_neighbour_is_served(server: Server, name: str) -> None:
    first = suffered(server, SMALL[name], settle=0.2)
    second = suffered(server, SMALL[name], settle=0.2)
    assert first.most - first.before < 100.0
    # not first.after: how much of what it needed the C library gives back to the system differs from time to time
    assert second.after - first.most < 20.0, f"{first}; {second}"
    assert min(first.answered, second.answered) >= 3
