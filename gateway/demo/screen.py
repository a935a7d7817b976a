"""What the demo shows: a picture that renews itself on a terminal, lines anywhere else."""

import sys
from collections.abc import Iterable
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from gateway.demo.watch import Picture, clock
from gateway.event import Event

colours = {"low": "cyan", "medium": "yellow", "high": "red", "critical": "bold red"}


class Screen(Protocol):
    """Shows pictures."""

    every: float
    """Seconds between pictures."""

    def show(self, picture: Picture) -> None:
        """The newest."""

    def say(self, line: str) -> None:
        """Something that happened."""

    def close(self) -> None:
        """Give the terminal back."""


class Lines:
    """For pipes and logs."""

    every = 2.0

    def show(self, picture: Picture) -> None:
        for line in picture.news:
            self.say(line)
        upstream = "upstream connected" if picture.connected else "upstream away     "
        written = f"{picture.written:,.0f}" if picture.written else "?"
        print(
            f"{picture.seconds:5.0f} s  {upstream}  {picture.rate:6.0f} events/s  stored {picture.stored:7,}"
            f"  backlog {picture.backlog:6,}  alarms {len(picture.alarms)}  {written} B written per event",
            flush=True,
        )

    def say(self, line: str) -> None:
        print(f"         {line}", flush=True)

    def close(self) -> None:
        pass


class Terminal:
    """For people."""

    every = 0.25

    def __init__(self, console: Console | None = None) -> None:
        self._said: list[str] = []
        self._live = Live(console=console or Console(), screen=True, auto_refresh=False)
        self._live.start()

    def show(self, picture: Picture) -> None:
        self._said += picture.news
        del self._said[:-6]
        page = Group(
            _figures(picture),
            _side_by_side(_devices(picture), _alarms(picture)),
            Panel(_column(map(_line, picture.latest)), title="newest events", height=10),
            Panel(_column(self._said), title="what happened", height=8),
            Text("  c cuts the upstream off or brings it back     q ends", style="dim"),
        )
        self._live.update(page, refresh=True)

    def say(self, line: str) -> None:
        self._said.append(line)

    def close(self) -> None:
        self._live.stop()


def open_screen(plain: bool) -> Screen:
    """A terminal if there is one."""
    return Lines() if plain or not sys.stdout.isatty() else Terminal()


def _column(lines: Iterable[str]) -> Text:
    return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")


def _figures(picture: Picture) -> Panel:
    grid = Table.grid(expand=True)
    for _ in range(6):
        grid.add_column(justify="center")
    if not picture.plugged_in:
        upstream = Text("cut off", style="bold red")
    else:
        upstream = Text("connected", style="green") if picture.connected else Text("reconnecting", style="yellow")
    lanes = " + ".join(f"{owed:,} {lane}" for lane, owed in picture.lanes.items() if owed) or "0"
    grid.add_row(
        upstream,
        f"{picture.rate:,.0f}",
        f"{picture.stored:,}",
        f"{picture.delivered:,}",
        lanes,
        f"{picture.written:,.0f}" if picture.written else "?",
    )
    names = ("upstream", "events/s", "stored", "delivered", "owed", "bytes written per event")
    grid.add_row(*(Text(name, style="dim") for name in names))
    return Panel(grid, title=f"redcar demo   {picture.seconds:.0f} s")


def _side_by_side(left: Panel, right: Panel) -> Table:
    grid = Table.grid(expand=True)
    grid.add_column(ratio=3)
    grid.add_column(ratio=2)
    grid.add_row(left, right)
    return grid


def _devices(picture: Picture) -> Panel:
    grid = Table.grid(padding=(0, 2))
    for source, event in sorted(picture.devices.items()):
        grid.add_row(source, Text(_values(event), style="dim", no_wrap=True, overflow="ellipsis"))
    return Panel(grid, title="devices", height=11)


def _alarms(picture: Picture) -> Panel:
    grid = Table.grid(padding=(0, 2))
    for event in picture.alarms.values():
        severity = event.data["severity"]
        grid.add_row(Text(severity, style=colours.get(severity, "")), event.data["text"])
    return Panel(grid, title=f"alarms {len(picture.alarms)}", height=11)


def _values(event: Event) -> str:
    shown = (f"{name} {value}" for name, value in event.data.items() if name not in ("n", "_quality"))
    return "  ".join(shown)


def _line(event: Event) -> str:
    return f"{event.offset:7}  {clock(event.time)}  {event.type:16} {event.source:22} {event.body.decode()}"
