"""The demo from beginning to end: open, run, cut the upstream off and bring it back, wait until nothing is owed, count."""

import asyncio
import logging
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway import config
from gateway.app import Gateway, open_gateway
from gateway.demo.child import ChildDied
from gateway.demo.count import Count
from gateway.demo.cut import Cut
from gateway.demo.screen import Screen, open_screen
from gateway.demo.site import Site
from gateway.demo.upstream import Upstream
from gateway.demo.watch import Watch
from gateway.waiting import within

outages = ((0.20, 0.35), (0.55, 0.75))
"""When the upstream is away, as parts of the whole time."""

every = 30.0
"""Seconds of which the same parts are taken if there is no end."""

patience = 90.0
"""Seconds for the rest to arrive once the upstream is back for good: three of the forwarder's longest pauses."""


async def play(folder: Path, *, seconds: float, rate: float, plain: bool) -> int:
    """Run for that long, 0: until q is pressed. Gives 0 if everything acknowledged arrived once and in order, else 1."""
    upstream = await Upstream.start()
    cut = Cut(upstream.port)
    await cut.plug_in()
    site = await Site.start(folder, upstream=cut.port, rate=rate)
    try:
        async with open_gateway(config.load(site.file)) as gateway:
            screen = open_screen(plain)
            try:
                with _logged(screen.say):
                    run = Run(gateway, cut, screen)
                    await site.connect(gateway.ports[0])
                    with _keys(run.pressed):
                        await run.until(seconds)
                    screen.say("the devices stop; what is owed is delivered")
                    sent = await site.stop()
                    stored = await run.until_delivered()
                    count = Count(stored, sent, await upstream.report())
            finally:
                screen.close()
                with suppress(ChildDied):
                    await site.stop()  # before the gateway, or the devices would complain
    finally:
        await site.close()
        cut.pull()
        await upstream.close()
    print("\n".join(["", *count.lines(), *run.lines()]))
    print(
        "right: everything that was acknowledged is upstream, once and in order"
        if count.right
        else "WRONG: the counts differ"
    )
    return 0 if count.right else 1


class Run:
    """The part that is watched."""

    def __init__(self, gateway: Gateway, cut: Cut, screen: Screen) -> None:
        self._gateway = gateway
        self._cut = cut
        self._screen = screen
        self._watch = Watch(gateway)
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._ended = asyncio.Event()
        self._toggled = asyncio.Event()
        self._cuts = 0
        self._away = 0.0
        self._pulled_at = 0.0

    @property
    def _now(self) -> float:
        return self._loop.time() - self._began

    async def until(self, seconds: float) -> None:
        """Until then, or for ever."""
        plan = schedule(seconds)
        at, plugged_in = next(plan)
        while not self._ended.is_set() and not (seconds and self._now >= seconds):
            while self._now >= at:
                await self._plug(plugged_in)
                at, plugged_in = next(plan)
            if self._toggled.is_set():
                self._toggled.clear()
                await self._plug(not self._cut.plugged_in)
            await self._show()

    async def until_delivered(self) -> int:
        """Bring the upstream back and wait until nothing is owed; gives the newest offset of which that is true."""
        self._ended.clear()
        await self._plug(True)
        forwarder = self._gateway.forwarders[0]
        end = self._now + patience
        while forwarder.consumer.lag and self._now < end:
            await self._show()
        stored = self._gateway.log.head
        await self._show()
        return stored

    async def _show(self) -> None:
        self._screen.show(await self._watch.look(self._now, self._cut.plugged_in))
        await within(self._screen.every, self._ended.wait())

    async def _plug(self, plugged_in: bool) -> None:
        if plugged_in == self._cut.plugged_in:
            return
        if plugged_in:
            await self._cut.plug_in()
            self._away += self._now - self._pulled_at
            self._screen.say("the upstream is back")
        else:
            self._cut.pull()
            self._cuts += 1
            self._pulled_at = self._now
            self._screen.say("the upstream is cut off")

    def pressed(self, key: str) -> None:
        """c or q."""
        if key == "q":
            self._ended.set()
        elif key == "c":
            self._toggled.set()

    def lines(self) -> list[str]:
        """What else there is to say in the end."""
        watch = self._watch
        written = f"{watch.picture.written:9,.0f}" if watch.picture.written else "        ?"
        return [
            f"upstream cut off    {self._cuts:9,}   times, for {self._away:.0f} s of {self._now:.0f} s",
            f"alarms raised       {watch.raised:9,}   and {watch.cleared:,} cleared again",
            f"written per event   {written}   bytes to disk",
        ]


def schedule(seconds: float) -> Iterator[tuple[float, bool]]:
    """(when, whether plugged in from then on), for ever."""
    whole = seconds or every
    start = 0.0
    while True:
        for away, back in outages:
            yield start + away * whole, False
            yield start + back * whole, True
        start += whole


@contextmanager
def _logged(say: Callable[[str], None]) -> Iterator[None]:
    """What the gateway logs becomes part of what is shown."""

    class Saying(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            say(f"{record.name}: {record.getMessage()}")

    root, handler = logging.getLogger(), Saying(logging.WARNING)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


@contextmanager
def _keys(pressed: Callable[[str], None]) -> Iterator[None]:
    """Single keys, if somebody sits at the keyboard."""
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    loop = asyncio.get_running_loop()
    tty.setcbreak(sys.stdin)
    loop.add_reader(sys.stdin, lambda: pressed(sys.stdin.read(1)))
    try:
        yield
    finally:
        loop.remove_reader(sys.stdin)
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
