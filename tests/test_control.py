"""The operator's door: answers, faults, and callers that misbehave."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.control import Declined, NotRunning, ask, longest, serve
from gateway.errors import StoreFull


async def double(request: dict[str, Any]) -> Any:
    return request["number"] * 2


async def refuse(request: dict[str, Any]) -> Any:
    raise StoreFull("no room on the disk")


def serving(folder: Path, story: Callable[[], Awaitable[None]]) -> None:
    async def told() -> None:
        async with asyncio.timeout(30), serve(folder, {"double": double, "refuse": refuse}):
            await story()

    asyncio.run(told())


async def asked(folder: Path, request: dict[str, Any]) -> Any:
    return await asyncio.to_thread(ask, folder, request)


def test_it_answers(tmp_path: Path) -> None:
    async def story() -> None:
        assert await asyncio.gather(*(asked(tmp_path, {"do": "double", "number": n}) for n in range(20))) == [
            2 * n for n in range(20)
        ]

    serving(tmp_path, story)


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"do": "refuse"}, "no room on the disk"),
        ({"do": "fly"}, "nobody knows how to do 'fly': there are double, refuse"),
        ({}, "nobody knows how to do None: there are double, refuse"),
    ],
)
def test_it_declines_in_a_sentence(tmp_path: Path, request_: dict[str, Any], sentence: str) -> None:
    async def story() -> None:
        with pytest.raises(Declined) as declined:
            await asked(tmp_path, request_)
        assert str(declined.value) == sentence

    serving(tmp_path, story)


@pytest.mark.parametrize(
    "wire",
    [b"", b"\n", b"{", b"[1]\n", b"\xff\xfe\n", b'{"do": [7]}\n', b'{"do": "double"', b"x" * (longest + 100) + b"\n"],
)
def test_a_caller_that_talks_nonsense_disturbs_nobody(tmp_path: Path, wire: bytes) -> None:
    def caller() -> None:
        with socket.socket(socket.AF_UNIX) as knock:
            knock.connect(str(tmp_path / "control"))
            try:
                knock.sendall(wire)
                knock.shutdown(socket.SHUT_WR)
                while knock.recv(65_536):
                    pass
            except ConnectionError:
                pass  # it hung up on us

    async def story() -> None:
        await asyncio.to_thread(caller)
        assert await asked(tmp_path, {"do": "double", "number": 2}) == 4

    serving(tmp_path, story)


def test_a_caller_that_stays_does_not_keep_it_open(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as knock:

        async def story() -> None:
            await asyncio.to_thread(knock.connect, str(tmp_path / "control"))
            assert await asked(tmp_path, {"do": "double", "number": 2}) == 4

        serving(tmp_path, story)
        assert knock.recv(100) == b""
    assert not (tmp_path / "control").exists()


def test_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match=r"no gateway runs on .*: start it with redcar run"):
        ask(tmp_path, {"do": "double"})
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(tmp_path / "control"))  # bound, and nobody listens: what a crash leaves
    with pytest.raises(NotRunning):
        ask(tmp_path, {"do": "double"})


def test_a_folder_with_a_long_name(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 200)
    folder.mkdir()

    async def story() -> None:
        assert await asked(folder, {"do": "double", "number": 2}) == 4

    serving(folder, story)
