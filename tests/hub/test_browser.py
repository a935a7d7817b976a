"""A page in a real browser, with MQTT.js: over WebSocket with user and password, and what it and the operator hear if not."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from gateway.cli import main
from gateway.hub.access import Access
from gateway.hub.doors import Door
from gateway.hub.inlet import Publish
from gateway.hub.listener import Hub
from gateway.hub.packets import V5, V311
from gateway.hub.users import add_user
from tests.hub.peers import Desk, hub_at
from tests.hub.programs import run
from tests.parts import need, until

ALONE = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-sync
--disable-component-update --disable-dev-shm-usage --ignore-certificate-errors"""


@asynccontextmanager
async def page(files: dict[str, bytes]) -> AsyncIterator[tuple[str, list[Any]]]:
    """A web server on loopback; its address, and what pages have posted to it."""
    told: list[Any] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        size = next((int(line.split(":")[1]) for line in head if line.lower().startswith("content-length:")), 0)
        body = await reader.readexactly(size)
        if head[0].startswith("POST"):
            told.append(json.loads(body))
        found = files.get(head[0].split()[1].partition("?")[0].lstrip("/"))
        kind = b"text/html" if found and found.startswith(b"<!doctype") else b"text/javascript"
        answer = b"200 OK\r\nContent-Type: " + kind if found else b"404 Not Found"
        found = found or b""
        writer.write(
            b"HTTP/1.1 " + answer + b"\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(found) + found
        )
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", told


@asynccontextmanager
async def browser(address: str, profile: Path) -> AsyncIterator[None]:
    """Chromium on that page."""
    process = await run(need("chromium", "chromium"), *ALONE.split(), f"--user-data-dir={profile}", address)
    try:
        yield
    finally:
        process.terminate()
        await process.communicate()
        shutil.rmtree(profile, ignore_errors=True)


@asynccontextmanager
async def panel(
    folder: Path, mqttjs: Path, door: Door, welcome: bool = True, **asked: object
) -> AsyncIterator[tuple[Hub, Desk, list[Any]]]:
    """A hub behind a WebSocket door that knows a user panel; a page in a browser that wants in."""
    add_user(folder / "users", "panel", "pw")
    files = {
        "page": Path(__file__).with_name("browser.html").read_bytes(),
        "mqtt.min.js": (mqttjs / "node_modules/mqtt/dist/mqtt.min.js").read_bytes(),
    }
    desk = Desk()
    async with hub_at(desk, access=Access(folder / "users")) as (hub, _), page(files) as (origin, told):
        door.origins = [origin] if welcome else ["https://panel.example"]
        port = await hub.listen(door)
        hub.publish([Publish("panel/room", b"21.5", 1, True)])
        url = f"{'wss' if door.certificate else 'ws'}://127.0.0.1:{port}/mqtt"
        more = urlencode({"url": url, "user": "panel", "password": "pw", "version": V5, **asked})
        async with browser(f"{origin}/page?{more}", folder / "profile"):
            yield hub, desk, told


@pytest.mark.parametrize(("version", "safe"), [(V5, False), (V311, False), (V5, True)])
def test_a_page_sees_and_switches(version: int, safe: bool, tmp_path: Path, mqttjs: Path) -> None:
    async def story() -> None:
        door = Door(websocket=True, anonymous=False)
        if safe:
            assert main(["tls", "init", "--folder", str(tmp_path / "tls")]) == 0
            door.certificate, door.key = str(tmp_path / "tls/server.crt"), str(tmp_path / "tls/server.key")
        async with panel(tmp_path, mqttjs, door, version=version) as (hub, desk, told):
            await until(lambda: ["subscribed", 1] in told, 60)
            hub.publish([Publish("panel/room", b"22.0")])
            await until(lambda: len(told) == 4)
            assert sorted(told) == [
                ["message", "panel/lamp", "on", False],
                ["message", "panel/room", "21.5", True],
                ["message", "panel/room", "22.0", False],
                ["subscribed", 1],
            ]
            assert [(one.topic, one.payload, one.user) for one in desk.messages] == [("panel/lamp", b"on", "panel")]

    asyncio.run(story())


def test_a_page_of_another_origin(tmp_path: Path, mqttjs: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with panel(tmp_path, mqttjs, Door(websocket=True), welcome=False) as (hub, _, told):
            await until(lambda: ["close"] in told, 60)
            assert hub.status().connects == 0
            assert (
                f"a WebSocket client on {hub.doors[-1].name} was turned away: pages of 'http://127.0.0.1:"
                in caplog.text
            )
            assert 'may not connect: add it to the listener, origins = ["http://127.0.0.1:' in caplog.text

    asyncio.run(story())


def test_a_page_with_a_wrong_password_hears_so(tmp_path: Path, mqttjs: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        door = Door(websocket=True, anonymous=False)
        async with panel(tmp_path, mqttjs, door, password="guess") as (_, _, told):
            await until(lambda: any(one[0] == "error" for one in told), 60)
            assert told[0][:2] == ["error", 0x86]
            assert "wrong password for user 'panel': correct it there" in caplog.text
            assert "guess" not in caplog.text

    asyncio.run(story())
