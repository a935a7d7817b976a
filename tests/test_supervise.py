"""A task is kept alive, and what is said about it is what a night operator can use."""

import asyncio
import logging
from random import Random

import pytest

from gateway import supervise as supervising
from gateway.errors import ConfigError, DeviceRefused, Fault, LinkLost
from gateway.supervise import supervise


class Stop(BaseException):
    """Ends a story from inside of the task."""


def tried(failures: list[Exception], *, longest: float = 30.0, seed: int = 1) -> list[float]:
    """Waits between the tries of a task that fails like that, and then returns."""
    waits: list[float] = []
    left = list(failures)

    async def start() -> None:
        if left:
            raise left.pop(0)

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    asyncio.run(supervise("cellar/air", start, rng=Random(seed), longest=longest, sleep=sleep))
    return waits


def test_a_task_that_returns_is_done() -> None:
    assert tried([]) == []


def test_waits_grow_from_half_a_second_to_the_longest_and_are_drawn_anew() -> None:
    waits = tried([LinkLost("no such port")] * 200)
    assert len(waits) == 200
    assert all(0.5 <= wait <= 30 for wait in waits)
    assert waits[0] == 0.5
    assert max(waits[:5]) <= 8
    assert max(waits) > 25
    assert min(waits[20:]) < 3  # anywhere below: links lost together don't come back together
    assert waits != tried([LinkLost("no such port")] * 200, seed=2)
    assert max(tried([LinkLost("no such port")] * 50, longest=10)) <= 10


def test_what_nobody_can_retry_is_tried_slowly() -> None:
    fault = Fault("redcar.toml", 3, "binding[1].link", "it isn't there", "write it")
    assert tried([DeviceRefused("not allowed"), ConfigError([fault])]) == [300, 300]


def test_a_failure_is_said_once_and_so_is_the_recovery(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "steady", 0.0)
    caplog.set_level(logging.INFO, "redcar.supervise")
    tries = 0

    async def start() -> None:
        nonlocal tries
        tries += 1
        if tries < 5:
            raise LinkLost("serial:/dev/ttyUSB0: there is no such port")
        async with asyncio.timeout(10):
            while not any("working again" in record.message for record in caplog.records):
                await asyncio.sleep(0.001)

    async def story() -> None:
        await supervise("cellar/air", start, rng=Random(1), sleep=lambda _: asyncio.sleep(0))

    asyncio.run(story())
    said = [(record.levelname, record.message) for record in caplog.records]
    assert said == [
        (
            "WARNING",
            "cellar/air: serial:/dev/ttyUSB0: there is no such port; trying again in 0.5 s, then ever more slowly",
        ),
        ("INFO", "cellar/air: working again after 0 s"),
    ]


def test_the_unforeseen_is_reported_with_its_traceback_and_survived(caplog: pytest.LogCaptureFixture) -> None:
    tried([ZeroDivisionError("division by zero")])
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.message == "cellar/air: unforeseen, please report it: ZeroDivisionError('division by zero')"
    assert record.exc_info


def test_a_refusal_is_an_error_without_traceback(caplog: pytest.LogCaptureFixture) -> None:
    tried([DeviceRefused("this user may not open the port")])
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.message == (
        "cellar/air: this user may not open the port; nothing comes from there until that is done; trying again every 5 min"
    )
    assert not record.exc_info


def test_a_problem_that_begins_with_the_name_is_not_given_it_again(caplog: pytest.LogCaptureFixture) -> None:
    tried([LinkLost("cellar/air: unplugged")])
    assert caplog.records[0].message == "cellar/air: unplugged; trying again in 0.5 s, then ever more slowly"


def test_the_one_failure_of_a_task_group_counts_as_itself(caplog: pytest.LogCaptureFixture) -> None:
    tried([ExceptionGroup("inner", [ExceptionGroup("innermost", [LinkLost("gone")])])])
    assert [record.message for record in caplog.records] == [
        "cellar/air: gone; trying again in 0.5 s, then ever more slowly"
    ]


def test_what_ends_the_program_is_not_kept_alive() -> None:
    async def start() -> None:
        raise Stop

    with pytest.raises(Stop):
        asyncio.run(supervise("cellar/air", start, rng=Random(1)))


def test_cancelling_ends_it() -> None:
    async def start() -> None:
        await asyncio.Event().wait()

    async def story() -> None:
        task = asyncio.create_task(supervise("cellar/air", start, rng=Random(1)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(story())
