"""The demo's site, seen from the demo: its devices in a process of their own, and the configuration that fits them."""

import shutil
from pathlib import Path

import msgspec

from gateway.demo.child import Child
from gateway.demo.fleet import Sent

configuration = """\
# What redcar demo ran with. After it: redcar events --config {folder}/redcar.toml

[gateway]
name = "demo"
data = "data"
rules = ["rules.toml"]

[[listener]]
port = 0

[[binding]]
driver = "json"
topics = ["coldstore/{{device}}"]
source = "coldstore/{{device}}"
allow = ["coldstore/*"]

[[binding]]
driver = "json"
topics = ["workshop/{{device}}"]
source = "workshop/{{device}}"
allow = ["workshop/*"]
units = {{ pressure = "bar" }}

[[binding]]
driver = "zigbee2mqtt"
source = "coldstore/{{device}}"
allow = ["coldstore/*"]

[[binding]]
driver = "tasmota"
source = "workshop/{{device}}"
allow = ["workshop/*"]

[[binding]]
driver = "pms5003"
link = "serial:{dust}"
source = "workshop/dust"
allow = ["workshop/dust"]

[[binding]]
driver = "lines"
link = "serial:{lathe}"
source = "workshop/lathe"
allow = ["workshop/lathe"]

[[binding]]
driver = "bthome"
link = "sim:?seed=8&speed=5"
names = {{ "A4:C1:38:8D:18:B2" = "office/air" }}

[[subscription]]
name = "upstream"
sink = "mqtt"
host = "127.0.0.1"
port = {upstream}
protocol = "3.1.1"
per_message = "batch"
types = ["*"]
"""


class Site:
    """Devices and configuration in one folder."""

    def __init__(self, child: Child, file: Path) -> None:
        self.file = file
        """The redcar.toml."""
        self._child = child

    @classmethod
    async def start(cls, folder: Path, *, upstream: int, rate: float) -> "Site":
        """Open the serial lines and write the configuration; nothing is sent yet. ``upstream``: its port."""
        child = await Child.start("fleet", str(folder), str(rate))
        paths = msgspec.json.decode(await child.listen(), type=dict[str, str])
        file = folder / "redcar.toml"
        file.write_text(configuration.format(folder=folder, upstream=upstream, **paths))
        shutil.copy(Path(__file__).with_name("rules.toml"), folder)
        return cls(child, file)

    async def connect(self, port: int) -> None:
        """Connect the devices to the gateway and let them begin."""
        await self._child.ask(f"connect {port}")

    async def report(self) -> Sent:
        """What they have sent."""
        return msgspec.json.decode(await self._child.ask("report"), type=Sent)

    async def stop(self) -> Sent:
        """Let them send no more; gives what they sent, all of it acknowledged."""
        return msgspec.json.decode(await self._child.ask("stop"), type=Sent)

    async def close(self) -> None:
        """End the process."""
        await self._child.close()
