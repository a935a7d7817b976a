"""What several commands need: find the log, read a time, show one."""

import argparse
import os
import re
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import RedcarError

if TYPE_CHECKING:
    from sqlite3 import Connection

units = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class NoLog(RedcarError):
    """There is nothing to look into."""


def add_log(parser: argparse.ArgumentParser) -> None:
    """--config or --data: where the log is."""
    parser.add_argument(
        "--config", metavar="FILE", default=os.environ.get("REDCAR_CONFIG"), help="redcar.toml (or $REDCAR_CONFIG)"
    )
    parser.add_argument("--data", metavar="FOLDER", help="folder of the log, instead of --config")


def open_log(args: argparse.Namespace) -> "Connection":
    """The log, read-only; sets ``args.identity``. Raises NoLog with what to do."""
    from gateway.sink import Identity
    from gateway.store import files

    folder, name = folder_of(args)
    path = folder / files.name
    if not path.exists():
        raise NoLog(f"no log in {folder}: start one with redcar run, or name another folder with --data")
    db = files.open_to_read(path)
    (epoch,) = db.execute("select value from meta where key = 'epoch'").fetchone()
    args.identity = Identity(name, epoch)
    return db


def folder_of(args: argparse.Namespace) -> tuple[Path, str]:
    """Folder of the log and name of the gateway."""
    if args.data:
        return Path(args.data), "gateway"
    path = Path(args.config or "redcar.toml")
    if not path.exists():
        raise NoLog(f"{path} isn't there: name the configuration with --config, or the log's folder with --data")
    from gateway.config import load

    settings = load(path)
    return path.parent / settings.gateway.data, settings.gateway.name


def moment(text: str) -> int:
    """A time in µs: ``30m`` ago, or an ISO date and time, local unless it names a zone."""
    ago = re.fullmatch(r"(\d+)([smhd])", text)
    if ago:
        return int((time.time() - int(ago[1]) * units[ago[2]]) * 1_000_000)
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1_000_000)
    except ValueError:
        raise NoLog(f"'{text}' isn't a time: write e.g. 30m, 2h, 7d, 2026-11-21 or 2026-11-21T06:00") from None


def show_time(microseconds: int) -> str:
    """Local time for people, with the date where it isn't today."""
    when = datetime.fromtimestamp(microseconds / 1_000_000)
    today = when.date() == datetime.now().date()
    return when.strftime("%H:%M:%S.%f" if today else "%Y-%m-%d %H:%M:%S.%f")[:-3]
