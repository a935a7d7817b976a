"""What BlueZ says over D-Bus that bleak doesn't pass on, and what its errors mean for the operator.

Source: BlueZ 5.8x documentation, org.bluez.Adapter and org.bluez.Error; D-Bus Specification 0.43, NameOwnerChanged.
"""

import asyncio
import getpass
import sys
from asyncio import Queue
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bleak.exc import BleakBluetoothNotAvailableError, BleakDBusError

from gateway.errors import DeviceRefused, LinkLost, RedcarError

if sys.platform == "linux":  # bleak brings dbus-fast there only
    from bleak.backends.bluezdbus.utils import assert_reply, get_dbus_authenticator
    from dbus_fast import BusType, Message, MessageType, Variant
    from dbus_fast.aio import MessageBus

settling = 0.25  # seconds a radio gets between off and on

_NOT_AVAILABLE = {
    "NO_BLUETOOTH": "there is no Bluetooth adapter: plug one in, or take dtoverlay=disable-bt out of config.txt",
    "NO_BLE_CENTRAL_ROLE": "the adapter is too old for BLE: use another one",
    "POWERED_OFF": "the Bluetooth adapter is switched off: bluetoothctl power on; if that fails: sudo rfkill unblock bluetooth",
}
_ERRORS = {
    "org.bluez.Error.InProgress": "another program is scanning, or bluetoothd is stuck: sudo systemctl restart bluetooth",
    "org.bluez.Error.NotReady": _NOT_AVAILABLE["POWERED_OFF"],
    "org.freedesktop.DBus.Error.ServiceUnknown": "bluetoothd doesn't run: sudo systemctl start bluetooth",
    "org.freedesktop.DBus.Error.NameHasNoOwner": "bluetoothd doesn't run: sudo systemctl start bluetooth",
    "org.freedesktop.DBus.Error.NoReply": "bluetoothd doesn't answer: sudo systemctl restart bluetooth",
    "org.freedesktop.DBus.Error.UnknownObject": "the adapter is gone: plug it in again",
}
_DENIED = ("org.freedesktop.DBus.Error.AccessDenied", "org.bluez.Error.NotAuthorized")


def explained(name: str, error: Exception) -> RedcarError:
    """The error as a sentence with its cure; DeviceRefused where trying again won't help."""
    if isinstance(error, TimeoutError):
        return LinkLost(f"{name}: bluetoothd doesn't answer: sudo systemctl restart bluetooth")
    if isinstance(error, FileNotFoundError | ConnectionError | EOFError):
        return LinkLost(f"{name}: there is no D-Bus system bus: sudo systemctl start dbus")
    denied = isinstance(error, BleakDBusError) and error.dbus_error in _DENIED
    if isinstance(error, BleakBluetoothNotAvailableError):
        denied = error.reason.name.startswith("DENIED")
        if error.reason.name in _NOT_AVAILABLE:
            return LinkLost(f"{name}: {_NOT_AVAILABLE[error.reason.name]}")
    if denied:
        cure = f"sudo usermod -aG bluetooth {getpass.getuser()}, then start again"
        return DeviceRefused(f"{name}: this user may not use Bluetooth: {cure}")
    if isinstance(error, BleakDBusError) and error.dbus_error in _ERRORS:
        return LinkLost(f"{name}: {_ERRORS[error.dbus_error]}")
    return LinkLost(f"{name}: {' '.join(map(str, error.args)) or type(error).__name__}")


@asynccontextmanager
async def trouble(adapter: str | None) -> AsyncIterator[Queue[str]]:
    """Sentences about bluetoothd and the adapter, as things happen to them. A scanner notices none of it by itself."""
    news: Queue[str] = Queue()
    if sys.platform != "linux":
        yield news
        return
    path = f"/org/bluez/{adapter or 'hci'}"

    def heard(message: Message) -> None:
        if message.message_type is not MessageType.SIGNAL:
            return
        if message.member == "NameOwnerChanged" and message.body[0] == "org.bluez":
            back = "bluetoothd restarted" if message.body[2] else "bluetoothd stopped: sudo systemctl start bluetooth"
            news.put_nowait(back)
        elif message.member == "PropertiesChanged" and (message.path or "").startswith(path):
            powered = message.body[1].get("Powered")
            if powered is not None and not powered.value:
                news.put_nowait(_NOT_AVAILABLE["POWERED_OFF"])
        elif message.member == "InterfacesRemoved" and "org.bluez.Adapter1" in message.body[1]:
            news.put_nowait("the adapter was unplugged: plug it in again")

    async with _system_bus() as bus:
        bus.add_message_handler(heard)
        for rule in (
            "sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='org.bluez'",
            "interface='org.freedesktop.DBus.Properties',member='PropertiesChanged',arg0='org.bluez.Adapter1'",
            "interface='org.freedesktop.DBus.ObjectManager',member='InterfacesRemoved',arg0path='/org/bluez/'",
        ):
            await _call(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus", "AddMatch", "s", f"type='signal',{rule}")
        yield news


async def switch_off_and_on(adapter: str | None) -> None:
    """What wakes a radio that bluetoothd believes to be scanning. Returns once it is on again."""
    path = f"/org/bluez/{adapter or 'hci0'}"
    async with _system_bus() as bus:
        for on in (False, True):
            await _call(bus, "org.bluez", path, "Set", "ssv", "org.bluez.Adapter1", "Powered", Variant("b", on))
            await asyncio.sleep(settling)


@asynccontextmanager
async def _system_bus() -> AsyncIterator[MessageBus]:
    bus = MessageBus(bus_type=BusType.SYSTEM, auth=get_dbus_authenticator())
    try:
        yield await bus.connect()
    finally:
        bus.disconnect()


async def _call(bus: MessageBus, name: str, path: str, member: str, signature: str, *body: object) -> None:
    interface = "org.freedesktop.DBus.Properties" if member == "Set" else name
    reply = await bus.call(Message(name, path, interface, member, signature=signature, body=[*body]))
    assert reply
    assert_reply(reply)
