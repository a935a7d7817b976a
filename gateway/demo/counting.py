"""The upstream's own process: an amqtt broker on loopback that counts what it is sent.

It counts when a PUBLISH has been read and before it is acknowledged. A subscriber would see less: of a connection that is
cut amqtt forgets messages that it has acknowledged and not yet passed on.

It prints its port, then answers every line on stdin with a ``Report`` as JSON. It ends with stdin, so it never outlives
the demo.
"""

import asyncio
import logging
import socket
import sys

import msgspec
from amqtt.broker import Broker
from amqtt.contexts import BaseContext
from amqtt.mqtt.publish import PublishPacket
from amqtt.plugins.base import BasePlugin

from gateway.demo.tally import Tally

tally = Tally()


class Counting(BasePlugin[BaseContext]):  # type: ignore[misc]  # amqtt has no types
    """amqtt finds it by its name and tells it of every packet."""

    async def on_mqtt_packet_received(self, *, packet: object, session: object = None) -> None:
        """Called in the order of arrival."""
        if isinstance(packet, PublishPacket) and packet.data is not None:
            tally.take(bytes(packet.data))


async def serve() -> None:
    """Until stdin ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    listeners = {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}}
    anybody = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    broker = Broker({"listeners": listeners, "plugins": anybody | {f"{Counting.__module__}.Counting": {}}})
    await broker.start()
    print(port, flush=True)
    questions = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(questions), sys.stdin)
    while await questions.readline():
        print(msgspec.json.encode(tally.report()).decode(), flush=True)
    await broker.shutdown()


def main() -> None:
    """Called by ``upstream.py``."""
    logging.disable(logging.CRITICAL)
    asyncio.run(serve())
