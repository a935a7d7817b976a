"""What sinks deliver to in tests: real receivers that can be killed and come back."""

import asyncio
import subprocess
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec
from msgspec import Raw
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from gateway import envelope, sinks
from gateway.envelope import CloudEvent
from gateway.event import Event, event
from gateway.sink import Batch, Identity, Sink
from tests.brokers import started
from tests.parts import free_port

plant = Identity("plant-7", 0x1F3C0A9E5B7D2468)


def facts(lo: int, hi: int) -> list[Event]:
    """Events as the log gives them, with offsets lo..hi."""
    made = []
    for offset in range(lo, hi + 1):
        one = event("reading", f"greenhouse/air-{offset % 3}", {"temperature": offset / 10}, time=offset * 1_000)
        one.offset, one.recorded = offset, offset * 1_000 + 7
        made.append(one)
    return made


def batch(lo: int, hi: int, lane: str = "live") -> Batch:
    """All of lo..hi."""
    return Batch(lane, lo, hi, facts(lo, hi))


class Receiver(Protocol):
    """The other end of a sink."""

    def sink(self, **settings: Any) -> Sink:
        """A sink that delivers here."""

    async def start(self) -> None:
        """Come up (again); returns once nothing that is delivered is missed."""

    def kill(self) -> None:
        """Die at once."""

    def received(self) -> list[CloudEvent]:
        """All that ever arrived, in order of arrival."""


class Broker:
    """A mosquitto on a free port."""

    def __init__(self, folder: Path, *lines: str, anonymous: bool = True) -> None:
        self.port = free_port()
        self._folder = folder / f"mosquitto-{self.port}"
        self._folder.mkdir()
        self._lines = [f"allow_anonymous {str(anonymous).lower()}", *lines]
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Returns once it listens."""
        self._process = await asyncio.to_thread(started, self._folder, self.port, *self._lines)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None


class Subscriber:
    """Hears everything on a broker, in a thread of its own."""

    def __init__(self, port: int, filter: str = "gateways/#") -> None:
        self.messages: list[MQTTMessage] = []
        self._listening = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe(filter, 1)
        self._client.on_subscribe = lambda *_: self._listening.set()
        self._client.on_message = lambda _, __, message: self.messages.append(message)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    async def listening(self) -> "Subscriber":
        """Returns once it is subscribed."""
        assert await asyncio.to_thread(self._listening.wait, 20), "not subscribed within 20 s"
        return self

    def close(self) -> None:
        """Leave, also if the broker is gone."""
        self._client.disconnect()
        self._client.loop_stop()


class Mqtt:
    """A mosquitto and a subscriber to it."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.broker = Broker(folder)
        self._settings = settings
        self._subscribers: list[Subscriber] = []

    def sink(self, **settings: Any) -> Sink:
        return open_sink("mqtt", host="127.0.0.1", port=self.broker.port, **self._settings, **settings)

    async def start(self) -> None:
        await self.broker.start()
        self._subscribers.append(await Subscriber(self.broker.port).listening())

    def kill(self) -> None:
        self.broker.kill()
        if self._subscribers:
            self._subscribers[-1].close()

    def received(self) -> list[CloudEvent]:
        return [
            one for subscriber in self._subscribers for message in list(subscriber.messages) for one in read(message)
        ]


def read(message: MQTTMessage) -> list[CloudEvent]:
    """As a receiver would: the content type says which mode it is (CloudEvents MQTT binding, 3)."""
    payload = bytes(message.payload)
    content_type = getattr(message.properties, "ContentType", envelope.content_type)
    if content_type.startswith("application/cloudevents"):
        return envelope.parse(payload)
    attributes: dict[str, str] = dict(getattr(message.properties, "UserProperty", []))
    named = attributes | {"datacontenttype": content_type, "data": Raw(payload)}
    return [msgspec.convert(named, CloudEvent, strict=False)]


class Folder:
    """A folder that can be unmounted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "stick"
        self._pulled = folder / "pulled"

    def sink(self, **settings: Any) -> Sink:
        return open_sink("file", folder=str(self.folder), **settings)

    async def start(self) -> None:
        if self._pulled.exists():
            self._pulled.rename(self.folder)
        else:
            self.folder.mkdir()

    def kill(self) -> None:
        if self.folder.exists():
            self.folder.rename(self._pulled)

    def received(self) -> list[CloudEvent]:
        files = sorted(self.folder.glob("*.jsonl"), key=lambda file: file.stat().st_mtime_ns)
        return [one for file in files for line in file.read_bytes().splitlines() for one in envelope.parse(line)]


def open_sink(kind: str, **settings: Any) -> Sink:
    """Through the same door as the gateway: settings are checked, the kind is found by name."""
    found = sinks.load(kind)
    config = msgspec.convert({"name": "upstream", "sink": kind} | settings, found.config)
    return found.sink(config, plant)


def all_receivers(folder: Path) -> dict[str, Callable[[], Receiver]]:
    """One per kind of sink and way to use it; the first word is the kind."""
    ways = [(protocol, per_message) for protocol in ("5.0", "3.1.1") for per_message in ("event", "batch")]
    made: dict[str, Callable[[], Receiver]] = {
        f"mqtt {protocol} {per_message}": partial(Mqtt, folder, protocol=protocol, per_message=per_message)
        for protocol, per_message in ways
    }
    return made | {"file": partial(Folder, folder)}
