"""kill -9 of the gateway between what a broker delivers and the commit: nothing is lost, whoever reads."""

import asyncio
from pathlib import Path

import pytest

from tests.brokers import mosquitto, often
from tests.faults.child import Child
from tests.parts import free_port, until
from tests.sources.site import numbered, send
from tests.store.logs import stored

CONFIGURATION = """
[gateway]
name = "victim"
data = "data"
trust_clock = true
[log]
pace = "2s"                       # so long a second commit waits: there we kill
[[listener]]
port = {own}
[[binding]]
driver = "json"
topics = ["plant/{{area}}/{{device}}"]
allow = ["*"]
[[source]]
name = "site"
host = "127.0.0.1"
port = {port}
topics = ["plant/#"]
protocol = "{protocol}"
client = "{client}"
"""

SENT = "Sending PUBLISH to redcar-victim-site"
TAKEN = "Received PUBACK from redcar-victim-site"


@pytest.mark.parametrize(("client", "protocol"), [("paho", "5.0"), ("own", "3.1.1")])
def test_kill_nine_between_delivery_and_commit(client: str, protocol: str, tmp_path: Path) -> None:
    """Twice, each time with five messages in the gateway's memory."""
    port, own = free_port(), free_port()
    (tmp_path / "redcar.toml").write_text(CONFIGURATION.format(port=port, own=own, protocol=protocol, client=client))
    child = Child(tmp_path, own)
    lives, each = 2, 5  # so few that the log waits for more

    async def life(number: int) -> None:
        lo = number * (each + 1)
        child.start()
        assert await asyncio.to_thread(child.listening, 20), child.said()
        await until(lambda: often(tmp_path, "Sending SUBACK to redcar-victim-site") == number + 1)
        await send(port, *numbered(lo, lo + 1))
        await until(lambda: often(tmp_path, TAKEN) == lo + 1)  # and what had come again; now a pause begins
        sent = often(tmp_path, SENT)
        await send(port, *numbered(lo + 1, lo + 1 + each))
        await until(lambda: often(tmp_path, SENT) == sent + each)
        child.kill()
        assert often(tmp_path, TAKEN) == lo + 1

    async def story() -> None:
        for number in range(lives):
            await life(number)
        child.start()
        assert await asyncio.to_thread(child.listening, 20), child.said()
        await until(lambda: often(tmp_path, TAKEN) == lives * (each + 1))
        child.stop()
        values = [one.data["n"] for one in await stored(tmp_path / "data") if one.type == "reading"]
        assert list(dict.fromkeys(values)) == list(range(lives * (each + 1)))

    with mosquitto(tmp_path, port, "allow_anonymous true", "max_inflight_messages 0"):
        try:
            asyncio.run(story())
        finally:
            child.kill_if_alive()
