"""Bluetooth without a radio: a private D-Bus, and on it a service that behaves like bluetoothd for one adapter.

    async with private_bus(folder) as address, FakeBluez(address) as bluez:
        await bluez.advertise("A4:C1:38:8D:18:B2", {"fcd2": data})

Whatever scans finds the bus by DBUS_SYSTEM_BUS_ADDRESS. Nothing here needs root, a kernel with Bluetooth, or bluez: only the
program dbus-daemon, and dbus-fast, which bleak brings. bleak keeps one connection per event loop: one story, one loop.

Source: BlueZ 5.8x documentation, org.bluez.Adapter and org.bluez.Device; D-Bus Specification 0.43, "Standard Interfaces".
"""

import asyncio
import os
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true"/>
    <allow receive_type="method_call"/>
    <allow receive_type="signal"/>
    <allow receive_requested_reply="true"/>
  </policy>
</busconfig>
"""

ADAPTER, DEVICE = "org.bluez.Adapter1", "org.bluez.Device1"
MONITORS = "org.bluez.AdvertisementMonitorManager1"
PROPERTIES, OBJECTS = "org.freedesktop.DBus.Properties", "org.freedesktop.DBus.ObjectManager"

Interfaces = dict[str, dict[str, Variant]]


@asynccontextmanager
async def private_bus(folder: Path, program: str = "dbus-daemon") -> AsyncIterator[str]:
    """A message bus of our own; gives its address, and makes it the system bus of this process meanwhile."""
    config = folder / "bus.conf"
    config.write_text(_CONFIG.format(path=folder / "bus"))
    options = (f"--config-file={config}", "--nofork", "--nopidfile", "--print-address=1")
    daemon = await asyncio.create_subprocess_exec(
        program, *options, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert daemon.stdout
    before = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS")
    try:
        address = (await daemon.stdout.readline()).decode().strip()
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = address
        yield address
    finally:
        os.environ.pop("DBUS_SYSTEM_BUS_ADDRESS", None)
        if before is not None:
            os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = before
        if daemon.returncode is None:
            daemon.terminate()
        await daemon.wait()


class FakeBluez:
    """bluetoothd with the adapter hci0.

    calls   every method that was called, in order
    faults  method -> errors to answer with, (name, text), one per call
    hangs   methods that never answer
    """

    def __init__(
        self, address: str, *, adapter: bool = True, powered: bool = True, roles: tuple[str, ...] = ("central",)
    ) -> None:
        self._address = address
        self._bus: MessageBus
        self._objects: dict[str, Interfaces] = {"/org/bluez": {}}
        self._emitted = 0
        self.calls: list[str] = []
        self.faults: defaultdict[str, deque[tuple[str, str]]] = defaultdict(deque)
        self.hangs: set[str] = set()
        if adapter:
            self._objects["/org/bluez/hci0"] = _adapter(powered, roles)

    async def __aenter__(self) -> "FakeBluez":
        self._bus = await MessageBus(bus_address=self._address).connect()
        self._bus.add_message_handler(self._called)
        await self._bus.request_name("org.bluez")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._bus.disconnect()

    @property
    def scanning(self) -> bool:
        """Whether somebody has started a discovery."""
        adapter = self._objects.get("/org/bluez/hci0")
        return bool(adapter and adapter[ADAPTER]["Discovering"].value)

    async def advertise(
        self,
        address: str,
        service_data: dict[str, bytes] | None = None,
        manufacturer_data: dict[str, bytes] | None = None,
        *,
        name: str | None = None,
        rssi: int = -60,
    ) -> None:
        """What the radio hears. Keys are four hex digits. The first advert of a device makes it known, later ones change it."""
        data = {
            "RSSI": Variant("n", rssi),
            "ServiceData": Variant(
                "a{sv}", {_long(key): Variant("ay", value) for key, value in (service_data or {}).items()}
            ),
            "ManufacturerData": Variant(
                "a{qv}", {int(key, 16): Variant("ay", value) for key, value in (manufacturer_data or {}).items()}
            ),
        }
        path = f"/org/bluez/hci0/dev_{address.replace(':', '_')}"
        if path in self._objects:
            await self._change(path, DEVICE, data)
        else:
            self._objects[path] = {DEVICE: {**_device(address, name), **data}}
            await self._emit("/", OBJECTS, "InterfacesAdded", "oa{sa{sv}}", [path, self._objects[path]])

    async def power(self, on: bool) -> None:
        """Somebody switches the adapter off or on: bluetoothctl, rfkill."""
        await self._change(
            "/org/bluez/hci0", ADAPTER, {"Powered": Variant("b", on), "Discovering": Variant("b", False)}
        )

    async def unplug_adapter(self) -> None:
        """The adapter and all its devices vanish."""
        for path in sorted((path for path in self._objects if path.startswith("/org/bluez/hci0")), reverse=True):
            await self._emit("/", OBJECTS, "InterfacesRemoved", "oas", [path, [*self._objects.pop(path)]])

    async def plug_adapter(self) -> None:
        """A fresh adapter, switched on."""
        self._objects["/org/bluez/hci0"] = _adapter(True, ("central",))
        await self._emit(
            "/", OBJECTS, "InterfacesAdded", "oa{sa{sv}}", ["/org/bluez/hci0", self._objects["/org/bluez/hci0"]]
        )

    async def crash(self) -> None:
        """The name is released, without a word about objects."""
        await self._bus.release_name("org.bluez")

    async def come_back(self) -> None:
        """A new bluetoothd: same adapter, no devices, nobody scans."""
        self._objects = {"/org/bluez": {}, "/org/bluez/hci0": _adapter(True, ("central",))}
        await self._bus.request_name("org.bluez")

    # ------------------------------------------------------------ D-Bus

    def _called(self, message: Message) -> Message | bool | None:
        if message.message_type is not MessageType.METHOD_CALL or not message.member:
            return None
        if message.interface in ("org.freedesktop.DBus.Peer", "org.freedesktop.DBus.Introspectable"):
            return None
        self.calls.append(message.member)
        if message.member in self.hangs:
            return True  # taken, and never answered
        if self.faults[message.member]:
            return Message.new_error(message, *self.faults[message.member].popleft())
        objects = self._objects.get(message.path or "")
        match message.member:
            case "GetManagedObjects":
                return Message.new_method_return(message, "a{oa{sa{sv}}}", [self._objects])
            case _ if objects is None:
                return Message.new_error(message, "org.freedesktop.DBus.Error.UnknownObject", f"no {message.path}")
            case "GetAll":
                return Message.new_method_return(message, "a{sv}", [objects[message.body[0]]])
            case "Get":
                return Message.new_method_return(message, "v", [objects[message.body[0]][message.body[1]]])
            case "Set":
                interface, name, value = message.body
                self._later(self._change(message.path or "", interface, {name: value}))
                return Message.new_method_return(message)
            case "StartDiscovery" | "StopDiscovery":
                on = message.member == "StartDiscovery"
                if on and not objects[ADAPTER]["Powered"].value:
                    return Message.new_error(message, "org.bluez.Error.NotReady", "Resource Not Ready")
                self._later(self._change(message.path or "", ADAPTER, {"Discovering": Variant("b", on)}))
                return Message.new_method_return(message)
            case "SetDiscoveryFilter" | "RegisterMonitor" | "UnregisterMonitor" | "RemoveDevice":
                return Message.new_method_return(message)
        return Message.new_error(message, "org.freedesktop.DBus.Error.UnknownMethod", f"no {message.member}")

    def _later(self, change: Any) -> None:
        """Reply first, change after."""
        asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(change))

    async def _change(self, path: str, interface: str, changed: dict[str, Variant]) -> None:
        if path in self._objects:
            self._objects[path][interface].update(changed)
            await self._emit(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [interface, changed, []])

    async def _emit(self, path: str, interface: str, member: str, signature: str, body: list[Any]) -> None:
        await self._bus.send(Message.new_signal(path, interface, member, signature, body))
        self._emitted += 1
        if self._emitted % 50 == 0:  # dbus-fast gives up when its socket is full: let the daemon catch up
            bus = "org.freedesktop.DBus"
            await self._bus.call(Message(destination=bus, path="/org/freedesktop/DBus", interface=bus, member="GetId"))


def _long(uuid: str) -> str:
    return f"0000{uuid}-0000-1000-8000-00805f9b34fb"


def _adapter(powered: bool, roles: tuple[str, ...]) -> Interfaces:
    return {
        ADAPTER: {
            "Address": Variant("s", "00:1A:7D:DA:71:13"),
            "AddressType": Variant("s", "public"),
            "Name": Variant("s", "fake"),
            "Alias": Variant("s", "fake"),
            "Class": Variant("u", 0),
            "Powered": Variant("b", powered),
            "Discoverable": Variant("b", False),
            "Pairable": Variant("b", False),
            "Discovering": Variant("b", False),
            "UUIDs": Variant("as", []),
            "Roles": Variant("as", [*roles]),
        },
        MONITORS: {
            "SupportedMonitorTypes": Variant("as", ["or_patterns"]),
            "SupportedFeatures": Variant("as", []),
        },
    }


def _device(address: str, name: str | None) -> dict[str, Variant]:
    flags = ("Connected", "Paired", "Bonded", "Trusted", "Blocked", "LegacyPairing", "ServicesResolved")
    alias = name or address.replace(":", "-")
    return {
        "Address": Variant("s", address),
        "AddressType": Variant("s", "public"),
        "Alias": Variant("s", alias),
        "Adapter": Variant("o", "/org/bluez/hci0"),
        "UUIDs": Variant("as", []),
        **dict.fromkeys(flags, Variant("b", False)),
        **({"Name": Variant("s", name)} if name else {}),
    }
