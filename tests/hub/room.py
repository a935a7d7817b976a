"""Clients without sockets: one, and several around a broker."""

from typing import Any

from gateway.hub import encode
from gateway.hub.access import Access
from gateway.hub.broker import Broker
from gateway.hub.happenings import Event
from gateway.hub.inlet import Publish
from gateway.hub.limits import Limits
from gateway.hub.packets import (
    V5,
    Connack,
    Connect,
    Delivery,
    Filter,
    Packet,
    Subscribe,
    Unsubscribe,
)
from gateway.hub.reasons import ProtocolError, Reason
from gateway.hub.retained import Retained
from gateway.hub.session import Session
from gateway.hub.subscriptions import Subscriptions
from gateway.hub.turns import Call
from tests.hub.table import open_stream, parse


def only_safe(topic: str) -> tuple[Reason, str] | None:
    return (Reason.NOT_AUTHORIZED, "secret") if topic.startswith("$") else None


def let_in(broker: Broker, session: Session, id: str) -> None:
    """As where no session lasts."""
    if member := broker.members.get(id):
        broker.take_over(member)
        broker.drop(member)
    broker.join(session, id)


class Client:
    """The other end: packets in, packets out, at a time we choose."""

    def __init__(self, version: int = V5, limits: Limits | None = None, **connect: Any) -> None:
        self.version = version
        self.session = Session(limits or Limits(), now=0.0)
        self.stream = open_stream(version)
        self.asked = Connect(version=version, **{"client_id": "c", **connect})

    def send(self, *packets: Packet, now: float = 0.0) -> list[Event]:
        data = b"".join(encode.encode(packet, self.version) for packet in packets)
        return self.session.receive(data, now)

    def got(self) -> list[Packet | ProtocolError]:
        return parse(self.stream, self.session.out.take())

    def come_in(self, *early: Packet, broker: Broker | None = None) -> "Client":
        """Connect, and be let in."""
        (event,) = self.send(self.asked, *early)
        assert event == self.asked
        if broker:
            let_in(broker, self.session, self.asked.client_id)
        self.session.accept(None, self.asked.client_id or "assigned", {}, only_safe, 0.0)
        assert isinstance(self.got()[0], Connack)
        return self


def say(topic: str = "a", payload: bytes = b"x", qos: int = 0, id: int = 0, dup: bool = False, **more: Any) -> Delivery:
    return Delivery(Publish(topic, payload, qos, **more), id, dup)


class Room:
    """Clients around one broker.

    turns     of the event loop, which isn't there: what the broker wants called in the next one
    at_once   don't wait for them
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.retained = Retained(self.limits)
        self.turns: list[Call] = []
        self.at_once = True
        access = Access()
        self.broker = Broker(self.limits, access)
        self.subscriptions = Subscriptions(self.broker, self.retained, access, self.limits, self.turns.append)

    def enter(self, id: str, version: int = V5, *filters: Filter, **connect: Any) -> Client:
        client = Client(version, self.limits, client_id=id, **connect).come_in(broker=self.broker)
        if filters:
            self.ask(client, Subscribe(1, list(filters)))
            client.got()
        return client

    def ask(self, client: Client, packet: Subscribe | Unsubscribe) -> None:
        for event in client.send(packet):
            if isinstance(event, Subscribe):
                self.subscriptions.subscribe(client.session, event)
            else:
                assert isinstance(event, Unsubscribe)
                self.subscriptions.unsubscribe(client.session, event)
        while self.at_once and self.turns:
            self.turns.pop()()

    def leave(self, client: Client) -> None:
        assert client.session.member
        self.broker.part(client.session.member)
        self.broker.drop(client.session.member)

    def say(self, *messages: Publish) -> None:
        self.retained.settle(messages)
        self.broker.route(messages)
