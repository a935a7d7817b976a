"""How fast, and what it costs: ``make bench``, or ``python -m tests.bench [--json FILE] [--only start,memory]``.

A line of JSON per measurement, then a table: the median, the best, and how it stands to what we aim for. Rates depend on
the machine; ratios to mosquitto, which runs in the same minutes, much less.
"""

import argparse
import platform
import sqlite3
import sys
import tempfile
from pathlib import Path

import msgspec

from tests.bench import backlog, measures, servers, store, table


def main() -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the measurements there instead of to stdout")
    parser.add_argument("--only", metavar="NAMES", help="some of: " + ", ".join(PARTS))
    parser.add_argument("--folder", metavar="FOLDER", default=".", help="on the disk to be measured; here, if left out")
    parser.add_argument("--rounds", metavar="N", type=int, default=3)
    parser.add_argument("--messages", metavar="N", type=int, default=200_000, help="per measurement of speed")
    args = parser.parse_args()
    wanted = args.only.split(",") if args.only else list(PARTS)
    unknown = [name for name in wanted if name not in PARTS]
    if unknown:
        parser.error(f"--only: {unknown[0]} isn't one of {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=args.folder) as name:
        folder = Path(name).resolve()
        measures.room(folder)
        disk = servers.file_system(folder)
        if disk.startswith(("tmpfs", "ramfs")):
            parser.error(f"--folder: {folder.parent} is on {disk}: name a folder on a real disk")
        made = []
        with open(args.json, "w") if args.json else sys.stdout as out:
            for part in wanted:
                for measurement in PARTS[part](folder, args):
                    made.append(measurement)
                    print(msgspec.json.encode(measurement).decode(), file=out, flush=True)
            python = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
            print(f"\n{platform.machine()}, {python}, data on {disk}\n\n{table.text(made)}", file=sys.stdout)
    return 0


def made(folder: Path) -> Path:
    """A new folder."""
    folder.mkdir()
    return folder


PARTS = {
    "acknowledged": lambda folder, args: measures.acknowledged(folder, args.rounds, args.messages),
    "waiting": lambda folder, args: measures.waiting(folder, args.rounds),
    "saturated": lambda folder, args: measures.saturated(folder, args.rounds, args.messages),
    "paced": lambda folder, args: measures.paced(folder, 10.0),
    "memory": lambda folder, args: measures.memory(folder, 300_000),
    "start": lambda folder, args: measures.start(folder, args.rounds),
    "store": lambda folder, args: store.store(made(folder / "store")),
    "backlog": lambda folder, args: backlog.backlog(made(folder / "backlog")),
}
"""What can be measured, in this order."""


if __name__ == "__main__":
    sys.exit(main())
