"""One session and its client, in any order of what they may do: nothing is acknowledged before it is stored, nothing twice,
nothing is lost between them, and neither window is ever exceeded."""

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.hub import encode
from gateway.hub.inlet import Publish
from gateway.hub.limits import Limits
from gateway.hub.packets import V5, V311, Ack, Batch, Connack, Connect, Delivery, Packet, Ping, Pong
from gateway.hub.properties import Kind, Properties, Property
from gateway.hub.reasons import ProtocolError, Reason
from gateway.hub.session import Session
from tests.hub.table import open_stream, parse

WINDOW = 3
MOST = Limits(receive_maximum=6, window=WINDOW)
IDS = st.integers(1, 8)  # few, so that they are used again


class Flow(RuleBasedStateMachine):
    """The client's side is a model of what a right client knows."""

    @initialize(version=st.sampled_from((V311, V5)), own=st.integers(1, 5))
    def come_in(self, version: int, own: int) -> None:
        self.version = version
        self.session = Session(MOST, 0.0)
        self.stream = open_stream(version)
        self.window = min(WINDOW, own) if version == V5 else WINDOW
        self.unstored: deque[Batch] = deque()
        self.published: dict[int, int] = {}  # packet id -> QoS: sent, not acknowledged to the end
        self.acknowledged: set[int] = set()  # of them at QoS 2: PUBREC has come
        self.stored: list[bytes] = []
        self.said = 0  # messages published
        self.due: deque[bytes] = deque()  # messages for the client that it hasn't got, in order
        self.flying: dict[int, int] = {}  # packet id -> QoS: the client has it and hasn't answered
        self.received: set[int] = set()  # of them at QoS 2: it has answered PUBREC
        self.delivered = 0
        properties: Properties | None = {Property.receive_maximum: own} if version == V5 else None
        self.send(Connect("c", version, properties=properties))
        self.session.accept(None, "c", {}, lambda topic: None, 0.0)
        assert isinstance(self.hear()[0], Connack)

    def send(self, *packets: Packet) -> list[Batch]:
        """From the client; what is to be stored."""
        events = self.session.receive(b"".join(encode.encode(one, self.version) for one in packets), 0.0)
        assert not any(isinstance(one, ProtocolError) for one in events), events
        batches = [one for one in events if isinstance(one, Batch)]
        self.unstored.extend(batches)
        return batches

    def hear(self) -> list[Packet | ProtocolError]:
        """What the session says, as far as it concerns messages already taken into the model."""
        self.session.out.more()
        heard = parse(self.stream, self.session.out.take())
        for packet in heard:
            if isinstance(packet, Delivery):
                assert packet.message.payload == self.due.popleft(), "in order, and none left out"
                if packet.message.qos:
                    assert packet.id not in self.flying, "an id that is in use [MQTT-2.2.1-4]"
                    self.flying[packet.id] = packet.message.qos
            elif isinstance(packet, Ack) and packet.kind is Kind.PUBACK:
                assert self.published.pop(packet.id) == 1
            elif isinstance(packet, Ack) and packet.kind is Kind.PUBREC:
                assert self.published[packet.id] == 2
                self.acknowledged.add(packet.id)
            elif isinstance(packet, Ack) and packet.kind is Kind.PUBCOMP:
                assert self.published.pop(packet.id) == 2
                self.acknowledged.remove(packet.id)
            elif isinstance(packet, Ack):
                assert packet.kind is Kind.PUBREL
                assert packet.id in self.received
        return heard

    @precondition(lambda self: len(self.published) < MOST.receive_maximum)
    @rule(qos=st.sampled_from((0, 1, 2)), id=IDS)
    def publish(self, qos: int, id: int) -> None:
        if qos and id in self.published:
            return
        self.said += 1
        if qos:
            self.published[id] = qos
        (batch,) = self.send(Delivery(Publish("t", str(self.said).encode(), qos), id if qos else 0))
        assert [one.qos for one in batch.messages] == [qos]
        assert not [one for one in self.hear() if isinstance(one, Ack)], "before it is stored"

    @precondition(lambda self: set(self.published) - self.acknowledged)
    @rule(draw=st.data())
    def publish_again(self, draw: st.DataObject) -> None:
        """On a timer, as esp-mqtt does: it is known, and isn't stored again."""
        id = draw.draw(st.sampled_from(sorted(set(self.published) - self.acknowledged)))
        batches = self.send(Delivery(Publish("t", b"again", self.published[id]), id, True))
        assert not any(batch.messages for batch in batches)
        self.hear()

    @precondition(lambda self: self.unstored)
    @rule()
    def commit(self) -> None:
        batch = self.unstored.popleft()
        self.stored += [one.payload for one in batch.messages]
        self.session.acknowledge(batch)
        self.hear()

    @precondition(lambda self: self.acknowledged)
    @rule(draw=st.data())
    def release(self, draw: st.DataObject) -> None:
        id = draw.draw(st.sampled_from(sorted(self.acknowledged)))
        self.send(Ack(Kind.PUBREL, id))
        self.hear()
        assert id not in self.published

    @rule(qos=st.sampled_from((0, 1, 2)))
    def deliver(self, qos: int) -> None:
        self.delivered += 1
        payload = str(self.delivered).encode()
        self.due.append(payload)
        assert self.session.out.deliver(Publish("d", payload, qos), qos)
        self.hear()

    @precondition(lambda self: self.flying)
    @rule(draw=st.data(), refuse=st.booleans())
    def answer(self, draw: st.DataObject, refuse: bool) -> None:
        self.step(draw.draw(st.sampled_from(sorted(self.flying))), refuse=refuse and self.version == V5)

    def step(self, id: int, *, refuse: bool = False) -> None:
        """PUBACK, or the next step of QoS 2."""
        if self.flying[id] == 1:
            del self.flying[id]
            self.send(Ack(Kind.PUBACK, id))
        elif id in self.received:
            del self.flying[id]
            self.received.remove(id)
            self.send(Ack(Kind.PUBCOMP, id))
        elif refuse:
            del self.flying[id]
            self.send(Ack(Kind.PUBREC, id, Reason.QUOTA_EXCEEDED))  # [MQTT-4.3.3-4]: that ends it
        else:
            self.received.add(id)
            self.send(Ack(Kind.PUBREC, id))
        self.hear()

    @rule()
    def stall(self) -> None:
        self.session.out.stall()
        self.hear()

    @rule()
    def resume(self) -> None:
        self.session.out.resume()
        self.hear()

    @rule()
    def ping(self) -> None:
        self.send(Ping())
        assert Pong() in self.hear()

    @invariant()
    def windows(self) -> None:
        if hasattr(self, "session"):
            assert len(self.flying) <= self.window
            assert not self.session.over

    def teardown(self) -> None:
        """Everybody does what is due: then all is stored and delivered, once, and nothing is left."""
        if not hasattr(self, "session"):
            return
        self.session.out.resume()
        while self.unstored:
            self.commit()
        for id in sorted(self.acknowledged):
            self.send(Ack(Kind.PUBREL, id))
        self.hear()
        while self.unstored:
            self.commit()
        self.hear()
        while self.flying:
            self.step(min(self.flying))
        assert not self.due
        assert self.published == {}
        assert self.stored == [str(n).encode() for n in range(1, self.said + 1)]
        assert self.session.weight == 0


TestFlow = Flow.TestCase
TestFlow.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
