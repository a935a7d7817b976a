"""What Redcar itself says to MQTT clients beside the events: retained, so that whoever subscribes knows how things stand.

    redcar/status               {"status": "online", "name": "plant-7", "version": "0.1.0"}; offline before it stops
    redcar/state/<source>       flat JSON of the last values that can be believed: {"temperature": 4.1, "_time": ...}
    redcar/alarms/<name>        {"active": true, "sources": {"cellar/air-1": {"severity": ..., "since": ..., ...}}}; for every
                                rule, so that who was away while an alarm was cleared knows it, also after a restart
    $SYS/broker/...             the figures that dashboards for other brokers show; every 10 s; see ``figures.py``

A state is put into words when somebody listens or asks, not with every reading. Events themselves are on redcar/events/, from
the log; see ``history.py``.
"""

import asyncio
from collections.abc import Iterable

import msgspec

from gateway import __version__
from gateway.envelope import timestamp
from gateway.event import Quality
from gateway.figures import Figures
from gateway.hub.inlet import Publish
from gateway.hub.listener import Hub
from gateway.message import as_topic
from gateway.store.log import Log
from gateway.store.views.keep import Keeper
from gateway.waiting import within

every = 10.0  # seconds between two looks at the figures
at_most = 0.05  # seconds until we look again whether the views have caught up

_encode = msgspec.json.Encoder().encode
_BAD = Quality.no_data


class Broadcast:
    """Follows the log behind the views, and says what has changed. ``rules``: names of alarms that can be."""

    def __init__(self, hub: Hub, log: Log, keeper: Keeper, name: str, rules: Iterable[str] = ()) -> None:
        self._hub = hub
        self._log = log
        self._keeper = keeper
        self._name = name
        self._stale: set[str] = set()
        self._alarms: set[str] = set()
        self._told = set(rules)
        self._position = log.head
        self._overlooked = True  # the log goes on, and nobody listens
        self._figures = Figures(hub, log)
        self._figures_at = -every
        hub.retained.renew = self._renew
        hub.publish([self._status("online")])

    async def run(self) -> None:
        """Until cancelled."""
        self._position = self._log.head
        await self._figures.count()
        await self._caught_up(self._position)
        while True:
            if self._due() and self._hub.broker.curious:
                await self._figures.count()
            self._say()
            if not await within(every, self._log.beyond(self._position)):
                continue
            if not self._hub.broker.curious:
                self._position, self._overlooked = self._log.head, True
                continue
            events, self._position = await self._log.onward(self._position + 1)
            changed = {one.source for one in events if one.type == "reading"}
            alarms = {str(one.data.get("alarm", "")) for one in events if one.type.startswith("alarm.")}
            await self._caught_up(self._position)
            self._stale |= changed
            self._alarms |= alarms

    def close(self) -> None:
        """The last word."""
        self._hub.publish([self._status("offline")])

    async def _caught_up(self, position: int) -> None:
        while self._keeper.position <= position:  # noqa: ASYNC110 - the views move without a word
            await asyncio.sleep(at_most)

    def _say(self) -> None:
        """To those who listen."""
        broker = self._hub.broker
        figures: list[Publish] = []
        if self._due():
            self._figures_at = self._hub.now()
            figures = self._figures.look()
        if not broker.curious:
            return
        self._look()
        listened = [one for one in self._stale if broker.wanted(_topic("state", one))]
        if listened or self._alarms:
            self._hub.publish([*self._states(listened), *self._raised()])
            self._stale.difference_update(listened)
        self._hub.publish([one for one in figures if broker.wanted(one.topic)])

    def _due(self) -> bool:
        return self._hub.now() - self._figures_at >= every

    def _look(self) -> None:
        """While nobody listened anything may have changed."""
        if self._overlooked:
            self._overlooked = self._keeper.position <= self._position
            self._stale |= set(self._keeper.views.cells)
            self._alarms |= {alarm for alarm, _ in self._keeper.views.alarms} | self._told

    def _renew(self) -> None:
        """Somebody is about to be shown what is retained."""
        self._look()
        messages = [*self._states(self._stale), *self._raised(), *self._figures.look()]
        self._stale.clear()
        self._hub.retained.settle(messages)

    def _states(self, sources: Iterable[str]) -> list[Publish]:
        found = []
        for source in sources:
            cells = self._keeper.views.cells.get(source, {}).values()
            good = [cell for cell in cells if cell.value is not None and cell.quality < _BAD]
            if good:
                state = {cell.metric: cell.value for cell in good}
                state["_time"] = timestamp(max(cell.time for cell in good))
                found.append(_said(_topic("state", source), _encode(state)))
        return found

    def _raised(self) -> list[Publish]:
        found = []
        active: dict[str, dict[str, dict[str, str | None]]] = {name: {} for name in self._alarms}
        for (name, source), alarm in self._keeper.views.alarms.items():
            if name in active:
                active[name][source] = {
                    "severity": alarm.severity,
                    "text": alarm.text,
                    "since": timestamp(alarm.raised),
                    "acknowledged": timestamp(alarm.acknowledged) if alarm.acknowledged is not None else None,
                }
        self._told |= self._alarms
        for name, sources in active.items():
            found.append(_said(_topic("alarms", name), _encode({"active": bool(sources), "sources": sources})))
        self._alarms.clear()
        return found

    def _status(self, status: str) -> Publish:
        return _said("redcar/status", _encode({"status": status, "name": self._name, "version": __version__}))


def _topic(kind: str, name: str) -> str:
    return as_topic(f"redcar/{kind}/{name}")


def _said(topic: str, payload: bytes) -> Publish:
    return Publish(topic, payload, 0, True)
