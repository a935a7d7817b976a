"""$SYS/broker/...: the figures that dashboards made for mosquitto show, under its names, as far as they are true here.

    version, uptime                                     "redcar 0.1.0", "86400 seconds"
    clients/{connected,disconnected,total,maximum}      disconnected: whose session is kept; active and inactive, as well
    messages/{received,sent}, publish/messages/...      PUBLISH only, so both are the same; dropped: taken from nobody
    bytes/{received,sent}                               what was read from sockets and written to them, TLS aside
    store/messages/{count,bytes}, messages/stored       events in the log, and its file
    retained messages/count, subscriptions/count, shared_subscriptions/count
    load/.../{1min,5min,15min}                          per minute: connections, messages, publish, bytes

heap, publish/bytes and clients/expired are left out: nobody counts them here.
"""

from gateway import __version__
from gateway.hub.inlet import Publish
from gateway.hub.listener import Hub
from gateway.rates import Load
from gateway.store.log import Log


class Figures:
    """Counts from its making."""

    def __init__(self, hub: Hub, log: Log) -> None:
        self._hub = hub
        self._log = log
        self._began = hub.now()
        self._loads: dict[str, Load] = {}
        self._oldest = log.head + 1

    async def count(self) -> None:
        """Ask how far back the log goes: retention moves its beginning."""
        oldest = (await self._log.query("select min(lo) from block"))[0][0]
        self._oldest = self._log.head + 1 if oldest is None else oldest

    def look(self) -> list[Publish]:
        """The messages, as of now. Loads need a look every few seconds, whether somebody wants it or not."""
        now, hub = self._hub.now(), self._hub.status()
        totals = {
            "bytes/received": hub.bytes_received,
            "bytes/sent": hub.bytes_sent,
            "messages/received": hub.received,
            "messages/sent": hub.sent,
            "publish/messages/received": hub.received,
            "publish/messages/sent": hub.sent,
            "publish/messages/dropped": hub.declined + hub.lost,
        }
        figures: dict[str, object] = {
            "version": f"redcar {__version__}",
            "uptime": f"{now - self._began:.0f} seconds",
            "clients/connected": hub.clients,
            "clients/active": hub.clients,
            "clients/disconnected": hub.away,
            "clients/inactive": hub.away,
            "clients/total": hub.clients + hub.away,
            "clients/maximum": hub.most,
            **totals,
            "messages/stored": self._log.head - self._oldest + 1,
            "store/messages/count": self._log.head - self._oldest + 1,
            "store/messages/bytes": self._log.path.stat().st_size,
            "retained messages/count": hub.retained,
            "subscriptions/count": hub.subscriptions,
            "shared_subscriptions/count": hub.shared,
        }
        for name, total in {"connections": hub.connects, **totals}.items():
            load = self._loads.setdefault(name, Load(self._began))
            load.look(total, now)
            for minutes, average in load.averages.items():
                figures[f"load/{name.replace('publish/messages', 'publish')}/{minutes}min"] = f"{average:.2f}"
        return [Publish(f"$SYS/broker/{name}", str(value).encode(), 0, True) for name, value in figures.items()]
