"""A link's text, taken apart: ``serial:/dev/ttyUSB0?baud=115200``."""

from msgspec import Struct

from gateway.errors import DeviceRefused

_OPTIONS = {
    "serial": ("baud", "parity", "bits", "stop"),
    "tcp": (),
    "ble": ("scan",),
    "sim": ("speed", "seed"),
    "replay": ("speed",),
}


class Address(Struct, frozen=True):
    """``name`` is the whole text, for messages."""

    name: str
    scheme: str
    target: str
    options: dict[str, str]

    @property
    def speed(self) -> float:
        """How much faster than the device itself. Raises DeviceRefused."""
        text = self.options.get("speed", "1x")
        try:
            speed = float("inf") if text == "max" else float(text.removesuffix("x"))
        except ValueError:
            speed = 0
        if not speed > 0:
            raise DeviceRefused(f"{self.name}: speed is a number like 10, or max")
        return speed


def parse(text: str) -> Address:
    """The parts of a link that can be opened. Raises DeviceRefused if it isn't one, or an option isn't one."""
    address, _, query = text.partition("?")
    scheme, _, target = address.partition(":")
    options = dict(part.partition("=")[::2] for part in query.split("&") if part)
    known = _OPTIONS.get(scheme)
    if known is None:
        raise DeviceRefused(f"{text}: nothing to open: use one of {', '.join(f'{scheme}:' for scheme in _OPTIONS)}")
    for option in options:
        if option not in known:
            raise DeviceRefused(f"{text}: {scheme}: has no option '{option}', only {', '.join(known) or 'none'}")
    return Address(text, scheme, target, options)
