"""What a client has in flight towards us, from its PUBLISH to our last word about it. No sockets, no clock.

QoS 1  until PUBACK. Some clients send it again on a timer before that (esp-mqtt), with DUP: it is the same message
QoS 2  until PUBCOMP. Its packet id alone tells that it is the same [MQTT-4.3.3-10]; in the store, too, where the session lasts
"""

from collections import deque

from gateway.hub import encode
from gateway.hub.packets import Batch

QOS2_ID = 125
"""Bytes that a packet id occupies until it is released."""


class Arrivals:
    """Of one connection.

    qos2  packet id -> PUBREC is due; from PUBLISH to PUBREL
    kept  ``qos2`` is in the store as well
    owed  acknowledgements that wait for the disk
    """

    def __init__(self) -> None:
        self.qos2: dict[bytes, bool] = {}
        self.kept = False
        self.owed = 0
        self._unsettled: deque[Batch] = deque()
        self._repeats: set[bytes] | None = None  # packet ids of all that is owed, once a repeat made us look

    def take(self, id: bytes, batch: Batch, ack: bytes, *, once: bool) -> None:
        """A message that is owed an acknowledgement. ``once``: it comes at QoS 2, and isn't refused."""
        batch.acks += ack
        batch.ids.append(id)
        if self._repeats is not None:
            self._repeats.add(id)
        if once:
            self.qos2[id] = False
            batch.received.append(int.from_bytes(id))

    def merge(self, batch: Batch, run: Batch) -> Batch:
        """Both together, in this order."""
        if self._repeats is not None:
            self._repeats.update(run.ids)
        if not (batch.messages or batch.acks):
            return run
        batch.messages += run.messages
        batch.acks += run.acks
        batch.ids += run.ids
        return batch

    def again(self, id: bytes, batch: Batch) -> bool:
        """Whether a repeat at QoS 1 is of something that we have and haven't acknowledged yet. ``batch``: what came just now."""
        if self._repeats is None:
            self._repeats = {one for earlier in (*self._unsettled, batch) for one in earlier.ids}
        return id in self._repeats

    def release(self, id: bytes, batch: Batch) -> bool:
        """PUBREL came. Whether PUBCOMP may leave at once; else it leaves with the batch: were it to overtake the disk, a crash
        would make us take the next message with this id for this one."""
        if not self.kept:
            del self.qos2[id]
            return True
        batch.released.append(int.from_bytes(id))
        batch.acks += encode.PUBCOMP + id
        return False

    def wait(self, batch: Batch) -> None:
        """This waits for the disk now; nothing more belongs to it."""
        self.owed += len(batch.ids)
        self._unsettled.append(batch)

    def settle(self, batch: Batch) -> None:
        """The oldest batch waits no longer."""
        oldest = self._unsettled.popleft()
        assert oldest is batch, "batches are settled in the order they came"
        self.owed -= len(batch.ids)

    def undo(self, batch: Batch) -> None:
        """It is as if its messages at QoS 2 had never come."""
        for id in batch.received:
            self.qos2.pop(encode.packet_id(id), None)

    def stored(self, batch: Batch) -> None:
        """Its packet ids at QoS 2 are on the disk."""
        for id in batch.received:
            self.qos2[encode.packet_id(id)] = True
        for id in batch.released:
            self.qos2.pop(encode.packet_id(id), None)

    def rest(self) -> None:
        """A read is over."""
        self._repeats = None
