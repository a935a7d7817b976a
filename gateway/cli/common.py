"""What several commands need: find the log, read a time, show one."""

import argparse
import os
import re
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.errors import ConfigError, Fault, RedcarError

if TYPE_CHECKING:
    from sqlite3 import Connection

    from gateway.event import Event
    from gateway.settings import Settings

units = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class NoLog(RedcarError):
    """There is nothing to look into."""


def misused(problem: str, cure: str, what: str = "redcar") -> ConfigError:
    """The command itself is faulty: exit code 2. ``what``: the command, or the file that it was given."""
    return ConfigError([Fault(what, 0, "", problem, cure)])


def count(text: str) -> int:
    """How many, on the command line."""
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"'{text}' isn't a number: write 0 or more")
    return int(text)


def several(number: int, what: str) -> str:
    """``1 user``, ``2 users``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def harmless(text: str) -> str:
    """What may go to a terminal: names and payloads come from strangers, who could move the cursor or reverse the line."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def add_log(parser: argparse.ArgumentParser) -> None:
    """--config or --data: where the log is."""
    parser.add_argument(
        "--config", metavar="FILE", default=os.environ.get("REDCAR_CONFIG"), help="redcar.toml (or $REDCAR_CONFIG)"
    )
    parser.add_argument("--data", metavar="FOLDER", help="folder of the log, instead of --config")


def log_in(args: argparse.Namespace) -> Path:
    """The file of the log. Raises NoLog if there is none."""
    return _found(args)[0]


def open_log(args: argparse.Namespace) -> "Connection":
    """The log, read-only; sets ``args.identity``. Raises NoLog with what to do."""
    from gateway.sink import Identity
    from gateway.store import files

    path, name = _found(args)
    db = files.open_to_read(path)
    (epoch,) = db.execute("select value from meta where key = 'epoch'").fetchone()
    args.identity = Identity(name, epoch)
    return db


def _found(args: argparse.Namespace) -> tuple[Path, str]:
    """File of the log and name of the gateway."""
    from gateway.store import files

    folder, name = folder_of(args)
    path = folder / files.name
    if not path.exists():
        raise NoLog(f"no log in {folder}: start one with redcar run, or name another folder with --data")
    return path, name


def cloud_event(event: "Event", args: argparse.Namespace) -> str:
    """An event of the log that ``open_log`` has opened, as --json shows it."""
    from gateway.envelope import structured

    return structured(event, args.identity, "live").decode()


def folder_of(args: argparse.Namespace) -> tuple[Path, str]:
    """Folder of the log and name of the gateway."""
    if args.data:
        return Path(args.data), "gateway"
    settings = settings_of(args)
    return Path(settings.gateway.data), settings.gateway.name


def settings_of(args: argparse.Namespace) -> "Settings":
    """The configuration; with --data alone nothing but that folder."""
    from gateway.settings import Gateway, Settings

    if args.data and not args.config:
        return Settings(gateway=Gateway(name="gateway", data=args.data))
    from gateway.config import find, load

    path = find(args.config)
    if not path.exists():
        raise NoLog(f"{path} isn't there: name the configuration with --config, or the log's folder with --data")
    settings = load(path)
    if args.data:
        settings.gateway.data = args.data
    return settings


def ask_running(args: argparse.Namespace, request: dict[str, Any]) -> Any:
    """What the running gateway says; None if none runs."""
    from gateway.control import NotRunning, ask

    try:
        return ask(log_in(args).parent, request)
    except NotRunning:
        return None


def act(args: argparse.Namespace, request: dict[str, Any]) -> Any:
    """Have the running gateway do it; if none runs, do the same ourselves, holding the log meanwhile."""
    from gateway.control import NotRunning, ask

    try:
        return ask(log_in(args).parent, request)
    except NotRunning:
        import asyncio

        return asyncio.run(_act(settings_of(args), request))


async def _act(settings: "Settings", request: dict[str, Any]) -> Any:
    from gateway.app import open_for_operator

    async with open_for_operator(settings) as actions:
        return await actions[request["do"]](request)


def moment(text: str) -> int:
    """A time in µs: ``30m`` ago, or an ISO date and time, local unless it names a zone. Raises ConfigError."""
    ago = re.fullmatch(r"(\d+)([smhd])", text)
    if ago:
        return int((time.time() - int(ago[1]) * units[ago[2]]) * 1_000_000)
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1_000_000)
    except ValueError:
        raise misused(f"'{text}' isn't a time", "write e.g. 30m, 2h, 7d, 2026-11-21 or 2026-11-21T06:00") from None


def show_time(microseconds: int) -> str:
    """Local time for people, with the date where it isn't today."""
    when = datetime.fromtimestamp(microseconds / 1_000_000)
    today = when.date() == datetime.now().date()
    return when.strftime("%H:%M:%S.%f" if today else "%Y-%m-%d %H:%M:%S.%f")[:-3]


def show_span(seconds: float) -> str:
    """How long, for people: ``40 s``, ``5 min``, ``3.5 h``, ``12 d``."""
    seconds = max(0.0, seconds)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5_400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} d"
