"""What MQTT clients send again after a lost PUBACK: the last messages of each client, to be recognised by DUP flag, packet id
and content. Without the flag nothing is a repeat: equal messages are stored twice. At QoS 2 the packet id alone tells, from
PUBLISH to PUBREL: see ``hub/session.py``.

It costs a look at the length of each payload and no more: messages are compared only when one claims to be a repeat. It lasts
as long as the process: what comes again after a restart of the gateway is stored again.
"""

from collections import OrderedDict, deque

from gateway.hub.inlet import Publish, Read

fewest = 100
"""Messages of a client that are remembered at least, and with them the rest of the read they came in; more, if it has ever had
more in flight. (What is on its way back to it over a slow link is acknowledged for us, and not yet for the client.)"""

most = 8_000_000
"""Bytes of all clients together; beyond it those are forgotten that were silent for longest."""

overhead = 250
"""Bytes a message occupies beside its payload."""


class _Recent:
    def __init__(self) -> None:
        self.batches: deque[tuple[list[Publish], int]] = deque()  # and their bytes
        self.messages = 0
        self.size = 0
        self.most = fewest

    def add(self, batch: list[Publish], flight: int) -> int:
        """How many bytes more there are now."""
        self.most = max(self.most, flight)
        grown = sum([len(message.payload) for message in batch]) + overhead * len(batch)
        self.batches.append((batch, grown))
        self.messages += len(batch)
        while self.messages - len(self.batches[0][0]) >= self.most:
            gone, size = self.batches.popleft()
            self.messages -= len(gone)
            grown -= size
        self.size += grown
        return grown


class Repeats:
    """The last messages of each client."""

    def __init__(self) -> None:
        self._clients: OrderedDict[str, _Recent] = OrderedDict()
        self._size = 0
        self._refused: dict[str, list[list[Publish]]] = {}

    def new(self, read: Read) -> list[Publish]:
        """What isn't a repeat; from now on it is known."""
        messages = read.messages
        for message in messages:
            if message.dup:
                messages = self._without_repeats(messages)
                break
        if messages and messages[-1].packet_id:
            self._remember(messages[0].client, messages, read.flight)
            if self._refused and not messages[-1].dup:
                self._refused.pop(messages[0].client, None)
        return messages

    def refused(self, messages: list[Publish]) -> None:
        """A failing disk refused these, and takes them after all: known, however many they are, until their client goes on
        with something new."""
        if sum(len(one.payload) + overhead for all in self._refused.values() for batch in all for one in batch) > most:
            self._refused.clear()
        if messages:
            self._refused.setdefault(messages[0].client, []).append(messages)

    def forget(self, reads: list[Read]) -> None:
        """Nothing of these is stored: whatever their clients send again is new."""
        for read in reads:
            known = self._clients.pop(read.messages[0].client, None) if read.messages else None
            self._size -= known.size if known else 0

    def _without_repeats(self, messages: list[Publish]) -> list[Publish]:
        new: list[Publish] = []
        for message in messages:
            if not (message.dup and message.qos == 1 and message.packet_id and self._known(message, new)):
                new.append(message)
        return new

    def _known(self, repeat: Publish, before: list[Publish]) -> bool:
        recent = self._clients.get(repeat.client)
        earlier = [batch for batch, _ in reversed(recent.batches)] if recent else []
        for batch in (before, *earlier, *reversed(self._refused.get(repeat.client, ()))):
            for message in reversed(batch):
                if message.packet_id == repeat.packet_id:  # the latest that bore this id
                    return message.topic == repeat.topic and message.payload == repeat.payload
        return False

    def _remember(self, client: str, messages: list[Publish], flight: int) -> None:
        recent = self._clients.get(client)
        if recent is None:
            recent = self._clients[client] = _Recent()
        else:
            self._clients.move_to_end(client)
        self._size += recent.add(messages, flight)
        while self._size > most and len(self._clients) > 1:
            self._size -= self._clients.popitem(last=False)[1].size
