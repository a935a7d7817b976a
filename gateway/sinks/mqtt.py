"""MQTT: publish to a broker or a cloud, QoS 1; delivered means that every PUBACK is there.

MQTT 5.0, an event per message: CloudEvents binary mode, the body as payload, the attributes as user properties. 3.1.1,
and batches: the JSON format, one object or an array. A receiver sees an event again when a connection broke before its
PUBACK came, with the same ``source`` and ``id``; within a lane the order is kept.

Sources: MQTT 5.0 and 3.1.1 (OASIS); CloudEvents MQTT binding 1.0.2, 3.1 and 3.2.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from functools import partial
from string import Formatter
from typing import Annotated, Literal

from msgspec import Meta, Struct

from gateway import envelope
from gateway.driver import Seconds
from gateway.errors import SinkRefused, SinkUnavailable
from gateway.settings import Bytes
from gateway.sink import Batch, Identity, Outcome
from gateway.sinks._broker import Broker, minute, taken_over, tolerated, unreached, unwelcome
from gateway.sinks._messages import Message, Topics, arrays, binary, fitting, overhead, structured
from gateway.sinks._paho import Connection, described


class Config(Broker, kw_only=True):
    """What to publish there, and how."""

    per_message: Annotated[
        Literal["event", "batch"], Meta(description="what a message holds: one event, or a JSON array of events")
    ] = "event"
    topic: Annotated[
        str | None,
        Meta(
            description="where to publish: {gateway}, {lane} and, with an event per message, {source} and {type}; "
            "left out: gateways/{gateway}/{source}/{type}, or gateways/{gateway}/{lane} for batches"
        ),
    ] = None
    window: Annotated[int, Meta(ge=1, le=10_000, description="most messages sent and not acknowledged yet")] = 100
    ack_timeout: Annotated[Seconds, Meta(description="a message unacknowledged for so long: connect anew")] = 60.0
    message_bytes: Annotated[
        Bytes, Meta(description="longest message: a batch is cut to it, an event that is longer is refused")
    ] = 1_000_000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.message_bytes < 2_000:
            raise ValueError("message_bytes: no event fits into so little: write at least 2kB")
        _check(self.template, ["gateway", "lane"] + ["source", "type"] * (self.per_message == "event"))

    @property
    def template(self) -> str:
        """The topic asked for, or the usual one."""
        usual = "gateways/{gateway}/{lane}" if self.per_message == "batch" else "gateways/{gateway}/{source}/{type}"
        return usual if self.topic is None else self.topic


def _check(template: str, known: list[str]) -> None:
    """Raises ValueError if it can't become a topic."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError("topic: a { or } is alone: write e.g. gateways/{gateway}/{lane}") from error
    for _, name, form, conversion in parts:
        if name is not None and (name not in known or form or conversion):
            raise ValueError(f"topic: {{{name}}} isn't known here: use " + ", ".join(f"{{{it}}}" for it in known))
    if not template or any(sign in template for sign in "+#\0"):
        raise ValueError("topic: it is to publish to: neither empty nor with + or #")


refused = {0x87, 0x90, 0x99}
"""Codes of PUBACK that a repeat won't change: not authorized, topic name invalid, payload format invalid."""


class Transfer(Struct, eq=False):
    """A batch on its way."""

    messages: Iterator[Message]
    outcome: Outcome
    owed: set[int]
    done: asyncio.Future[Outcome]
    unacknowledged: int = 0
    exhausted: bool = False

    def settle(self) -> None:
        """Say what became of it; whatever nobody took or refused is still owed."""
        self.outcome.retry = sorted(self.owed - self.outcome.refused.keys())
        if not self.done.done():
            self.done.set_result(self.outcome)


class Sink:
    """Keeps at most ``window`` messages unacknowledged; a lane half of it, so that a backlog never shuts live out."""

    def __init__(self, config: Config, identity: Identity) -> None:
        self.fixed_batches = config.per_message == "batch"
        self._config = config
        self._client_id = config.client_id or f"redcar-{identity.gateway}"
        self._connection: Connection | None = None
        self._window = config.window
        self._largest = 0
        self._transfers: list[Transfer] = []
        self._lost: deque[tuple[float, int]] = deque(maxlen=10)  # when connections ended, and with which code
        topics = Topics(config.template, identity.gateway)
        if config.per_message == "batch":
            kind = described(envelope.batch_content_type, {}) if config.protocol == "5.0" else None
            self._compose = arrays(topics, identity, kind)
        else:
            self._compose = (binary if config.protocol == "5.0" else structured)(topics, identity)

    async def connect(self) -> None:
        """See ``gateway.sink.Sink``."""
        await self.close()
        config = self._config
        if self._recently(taken_over) > tolerated:
            raise SinkRefused(self._explain(taken_over, ""))
        connection = Connection(config, self._client_id, config.ack_timeout, self._ended)
        try:
            answer = await connection.open()
        except OSError as error:
            raise unreached(config, error) from error
        if answer.code:
            connection.close()
            raise unwelcome(config, self._client_id, answer.code, answer.text)
        if answer.most_qos == 0:
            connection.close()
            raise SinkRefused(f"{config.where}: it never acknowledges (QoS 0 only): choose another broker")
        self._window = min(config.window, answer.receive_maximum)
        self._largest = min(config.message_bytes, answer.largest_packet)
        self._connection = connection

    async def send(self, batch: Batch) -> Outcome:
        """See ``gateway.sink.Sink``."""
        connection = self._connection
        if connection is None:
            raise SinkUnavailable(f"{self._config.where}: not connected")
        if connection.over is not None:
            raise SinkUnavailable(self._explain(connection.code, connection.over))
        outcome = Outcome()
        messages = self._compose(batch, self._largest - overhead)
        owed = {event.offset for event in batch.events}
        done = asyncio.get_running_loop().create_future()
        transfer = Transfer(fitting(messages, self._largest, outcome), outcome, owed, done)
        self._transfers.insert(0 if batch.lane == "live" else len(self._transfers), transfer)
        try:
            self._fill(connection)
            return await transfer.done
        finally:
            self._transfers.remove(transfer)

    async def close(self) -> None:
        """See ``gateway.sink.Sink``."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _fill(self, connection: Connection) -> None:
        """Send whatever there is room for, live first."""
        share = max(1, self._window // 2)
        for transfer in self._transfers:
            while not transfer.exhausted and len(connection.waiting) < self._window and transfer.unacknowledged < share:
                message = next(transfer.messages, None)
                if message is None:
                    transfer.exhausted = True
                    break
                answered = partial(self._answered, connection, transfer, message.offsets)
                connection.publish(message.topic, message.payload, message.properties, answered)
                transfer.unacknowledged += 1
            if transfer.exhausted and not transfer.unacknowledged:
                transfer.settle()

    def _answered(self, connection: Connection, transfer: Transfer, offsets: list[int], code: int, text: str) -> None:
        transfer.unacknowledged -= 1
        if code in refused:
            transfer.outcome.refused.update(dict.fromkeys(offsets, f"{self._config.where}: {text}"))
        elif not code:
            transfer.owed.difference_update(offsets)
        self._fill(connection)

    def _ended(self, connection: Connection) -> None:
        """The connection is gone, and with it the certainty about what was under way."""
        if connection is self._connection:
            self._lost.append((asyncio.get_running_loop().time(), connection.code))
        problem = self._explain(connection.code, connection.over or "")
        for transfer in self._transfers:
            if transfer.outcome.refused:  # some brokers refuse a message and hang up: keep what we learned from it
                transfer.settle()
            elif not transfer.done.done():
                transfer.done.set_exception(SinkUnavailable(problem))

    def _recently(self, code: int) -> int:
        """How many connections ended like that within the last minute."""
        since = asyncio.get_running_loop().time() - minute
        return sum(ended == code and at > since for at, ended in self._lost)

    def _explain(self, code: int, why: str) -> str:
        where = self._config.where
        if code == taken_over:
            whose = f"another client connected as {self._client_id} and took our place"
            return f"{where}: {whose}: give one of the two another client_id"
        often = self._recently(0)
        if often > tolerated:  # 3.1.1 has no words for it, and not every 5.0 broker uses them
            why += f", {often} times within a minute: does another client use the id {self._client_id}?"
        return f"{where}: {why}"
