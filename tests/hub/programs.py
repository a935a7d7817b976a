"""Clients of others, run against the hub: programs, and paho."""

import asyncio
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from gateway.hub.packets import V5
from tests.parts import PATIENCE, need, until


async def run(*command: str | Path) -> Process:
    return await asyncio.create_subprocess_exec(*map(str, command), stdout=PIPE, stderr=PIPE)


async def ended(process: Process, code: int = 0) -> tuple[str, str]:
    """Output and errors of a program that has to end with that code."""
    out, err = await asyncio.wait_for(process.communicate(), 3 * PATIENCE)
    assert process.returncode == code, err.decode()
    return out.decode(), err.decode()


def mosquitto(program: str, port: int, version: int, *more: str) -> tuple[str, ...]:
    """The command line of mosquitto_pub or mosquitto_sub: what the documentation of devices shows first."""
    name = "mqttv5" if version == V5 else "mqttv311"
    return (need(program, "mosquitto-clients"), "-h", "127.0.0.1", "-p", str(port), "-V", name, *more)


class Paho:
    """A paho client whose callbacks fill lists."""

    def __init__(self, version: int, id: str, transport: Literal["tcp", "websockets"] = "tcp") -> None:
        protocol = paho.MQTTv5 if version == V5 else paho.MQTTv311
        self.client = paho.Client(CallbackAPIVersion.VERSION2, id, protocol=protocol, transport=transport)
        self.got: list[paho.MQTTMessage] = []
        self.said: list[tuple[str, Any]] = []
        self.client.on_message = lambda client, data, message: self.got.append(message)
        self.client.on_connect = lambda client, data, flags, reason, properties: self.said.append(("connect", reason))
        self.client.on_subscribe = lambda client, data, id, reasons, properties: self.said.append(("suback", reasons))
        self.client.on_publish = lambda client, data, id, reason, properties: self.said.append(("puback", reason))
        self.client.on_disconnect = lambda client, data, flags, reason, properties: self.said.append(("bye", reason))

    async def enter(self, port: int, host: str = "127.0.0.1") -> None:
        self.client.connect_async(host, port)
        self.client.loop_start()
        await until(lambda: self.said)
        assert self.said.pop() == ("connect", "Success")

    async def leave(self) -> None:
        self.client.disconnect()
        await asyncio.to_thread(self.client.loop_stop)
