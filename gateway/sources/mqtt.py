"""An MQTT broker that already runs (mosquitto, EMQX, Zigbee2MQTT's): read as a client, acknowledged after the commit.

PUBACK leaves when the message is on the disk, in the order the messages came. QoS 2 isn't offered: paho sends PUBREC at once,
and what is lost between PUBREC and the commit nobody sends again; QoS 1 with our memory of repeats is safer. The broker keeps
our session, so what comes while we are away comes when we are back; if it has lost the session, a ``gap`` event says that
something may be missing.

Who speaks to the broker is a ``Link``: paho-mqtt, or our own codec for a busy broker. All else is here, and the same for both.
"""

import asyncio
import logging
from collections import deque
from typing import Annotated, Literal, Protocol

from msgspec import Meta

from gateway.errors import DeviceRefused, LinkLost, SinkRefused, SinkUnavailable, StoreFailed
from gateway.event import event
from gateway.hub.inlet import Inlet, Publish, Read
from gateway.sinks._broker import (
    Answer,
    Authority,
    Certificate,
    CertificateKey,
    Encrypt,
    Host,
    KeepAlive,
    PasswordFile,
    Port,
    Reached,
    User,
    Version,
    answer_within,
    broke_off,
    minute,
    taken_over,
    tolerated,
    unreached,
    unwelcome,
)
from gateway.source import Source
from gateway.store.log import Log

log = logging.getLogger("redcar.source")

short = 5.0
"""Seconds. Not every broker says why it closes: when it lets us in and always closes so soon, somebody has our name."""


class Config(Reached, Source, kw_only=True):
    """A broker, who we are there, and what we want from it."""

    host: Host
    port: Port = 1883
    protocol: Version = "5.0"
    client: Annotated[
        Literal["paho", "own"],
        Meta(description='"paho": the library that most use; "own": Redcar\'s own, some ten times as fast'),
    ] = "paho"
    client_id: Annotated[str | None, Meta(description="left out: redcar-, the gateway's name and ours")] = None
    username: User = None
    password_file: PasswordFile = None
    tls: Encrypt = False
    ca: Authority = None
    certificate: Certificate = None
    key: CertificateKey = None
    keepalive: KeepAlive = 30

    @property
    def sender(self) -> str:
        """What stands as the client in its messages."""
        return f"{self.name}@{self.host}"


class Link(Protocol):
    """One connection to a broker, from dialling to its end. It is made with two functions to call: ``arrived`` with the
    messages of one read, ``ended`` when it is over.

    over  why it ended; None while it lives
    code  reason code the broker gave for ending it, 0 if it gave none
    """

    over: str | None
    code: int

    async def enter(self) -> Answer:
        """Dial and introduce ourselves. Raises OSError, TimeoutError if nobody answers, SinkRefused for a useless file."""

    async def subscribe(self) -> list[int]:
        """Ask for the topics; a reason code for each. Raises ConnectionError if the connection ends before the answer."""

    def acknowledge(self, messages: list[Publish]) -> None:
        """These are on the disk, in the order in which they came."""

    def pause(self) -> None:
        """Read nothing more from the socket, until ``resume``."""

    def resume(self) -> None:
        """Read again."""

    def end(self, why: str) -> None:
        """Hang up, now. What wasn't acknowledged stays unacknowledged."""

    def close(self) -> None:
        """Say goodbye, if the broker still listens."""


class Reader:
    """Reads one broker. ``run`` lasts as long as a connection; whoever supervises it starts it again."""

    def __init__(self, config: Config, inlet: Inlet, store: Log, gateway: str) -> None:
        self.config = config
        self.connected = False
        self.problem: str | None = None
        self.received = 0
        self._inlet = inlet
        self._store = store
        self._client_id = config.client_id or f"redcar-{gateway}-{config.name}"
        self._known = False  # we were there before, so there is a session to be lost
        self._lost: deque[float] = deque()
        self._link: Link | None = None
        self._waiting: deque[tuple[list[Publish], asyncio.Future[None] | None]] = deque()

    async def run(self) -> None:
        """Connect, subscribe, read until the connection ends. Raises LinkLost or DeviceRefused."""
        try:
            await self._read()
        except (LinkLost, DeviceRefused) as error:
            self.problem = str(error)
            raise

    async def _read(self) -> None:
        if self._inlet.full:
            raise LinkLost(f"{self.config.where}: not read now: the disk has to take what is here already")
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        self._waiting.clear()
        try:
            link = self._link = self._made(ended)
            try:
                await self._enter(link)
                began = loop.time()
                async with asyncio.timeout(answer_within):
                    self._check(await link.subscribe())
                self.connected, self.problem = True, None
                await ended.wait()
            finally:
                self.connected = False
                self._link = None
                link.close()
        except (SinkUnavailable, SinkRefused) as error:
            raise _as_link(error) from error
        except TimeoutError as error:
            raise LinkLost(f"{self.config.where}: no answer to SUBSCRIBE") from error
        except ConnectionError:
            pass  # before it answered
        raise self._why(link, loop.time() - began)

    def room(self) -> None:
        """The inlet takes more again."""
        if self._link:
            self._link.resume()

    def _made(self, ended: asyncio.Event) -> Link:
        """One that isn't connected yet. Each is imported where it is wanted: paho takes a quarter of a second."""
        if self.config.client == "own":
            from gateway.sources._own import Own

            return Own(self.config, self._client_id, self._take, lambda _: ended.set())
        from gateway.sources._paho import Paho

        return Paho(self.config, self._client_id, self._take, lambda _: ended.set())

    async def _enter(self, link: Link) -> None:
        config = self.config
        try:
            answer = await link.enter()
        except OSError as error:
            raise unreached(config, error) from error
        if answer.code:
            raise unwelcome(config, self._client_id, answer.code, answer.text)
        if self._known and not answer.present:
            log.warning("%s has lost our session: what came while we were away may be missing", config.where)
            data = {"reason": "session_lost", "count": 0, "consumer": config.name}
            self._store.append([event("gap", "gateway", data, time=self._store.clock.now())], wait=False)
        self._known = True

    def _check(self, granted: list[int]) -> None:
        """Whether the broker lets us have what we want."""
        where = self.config.where
        for topic, code in zip(self.config.topics, granted):
            if code in _ungranted:
                raise DeviceRefused(f"{where}: {_ungranted[code].format(topic=topic)}")
            if code >= 0x80:
                raise DeviceRefused(f"{where}: it doesn't let us subscribe to {topic}: check its access list")
            if code < self.config.qos:
                log.warning("%s gives %s at QoS 0 only: what comes while we are away is lost", where, topic)

    def _why(self, link: Link, lasted: float) -> LinkLost | DeviceRefused:
        where, now = self.config.where, asyncio.get_running_loop().time()
        if link.code == taken_over or (link.over == broke_off and lasted < short):
            self._lost.append(now)
            while now - self._lost[0] > minute:
                self._lost.popleft()
            if len(self._lost) > tolerated:
                self._lost.clear()
                text = f"{where}: somebody else is connected there as {self._client_id}, and we put each other out"
                text += ": give this source another client_id"
                log.error("%s", text)  # the supervisor said that the link is lost, and won't say more until it works
                return DeviceRefused(text)
        return LinkLost(f"{where}: {link.over}")

    def _take(self, messages: list[Publish]) -> None:
        """What one read of the socket brought."""
        self.received += len(messages)
        flight = sum([len(earlier) for earlier, _ in self._waiting]) + len(messages)
        future = self._inlet.publish([Read(messages, flight)])
        self._waiting.append((messages, future))
        if future is None:
            self._settle()
        else:
            future.add_done_callback(self._settle)
        if self._link and self._inlet.full:
            self._link.pause()

    def _settle(self, _: asyncio.Future[None] | None = None) -> None:
        """Acknowledge what is on the disk, oldest first, all that one commit has stored at once."""
        stored: list[Publish] = []
        failed = False
        while self._waiting and not failed:
            messages, future = self._waiting[0]
            if future and not future.done():
                break
            self._waiting.popleft()
            error = None if future is None or future.cancelled() else future.exception()
            failed = error is not None or (future is not None and future.cancelled())
            if not failed:
                stored += messages
            elif isinstance(error, StoreFailed) and error.later:
                self._inlet.refused(messages)
        link = self._link
        if link is None or link.over is not None:
            return
        if stored:
            link.acknowledge(stored)
        if failed:
            link.end("its messages couldn't be stored: it has to send them again")


_ungranted = {
    0x8F: "it takes {topic} for no filter: correct topics",
    0x97: "it wants no more subscriptions from us: ask those who run it, or subscribe to less in topics",
    0x9E: "it has no shared subscriptions: take $share/.../ out of {topic}",
    0xA2: "it has no wildcards: name the topics instead of {topic}",
}
"""Codes of SUBACK whose cure isn't the access list (MQTT 5.0, 3.9.3)."""


def _as_link(error: SinkUnavailable | SinkRefused) -> LinkLost | DeviceRefused:
    return LinkLost(str(error)) if isinstance(error, SinkUnavailable) else DeviceRefused(str(error))
