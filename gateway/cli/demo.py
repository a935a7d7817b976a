"""``redcar demo``: the main job on a simulated site, with an upstream that is cut off and brought back."""

import argparse


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    demo = commands.add_parser(
        "demo",
        help="a simulated site, with an upstream that is cut off twice",
        description="Eight simulated devices on MQTT over TCP, serial lines and BLE; rules; an upstream broker that is cut"
        " off and brought back; in the end a count of what has arrived. Exit code 0: the count is right; 1: it isn't.",
        epilog="examples:\n  redcar demo\n  redcar demo --seconds 0          until q is pressed; c cuts the upstream off\n"
        "  redcar demo --rate 1000 --plain\n",
    )
    demo.add_argument("--seconds", metavar="N", type=float, default=60.0, help="end by itself after N (60); 0: never")
    demo.add_argument("--rate", metavar="N", type=float, default=500.0, help="messages/s of the busiest device (500)")
    demo.add_argument("--data", metavar="FOLDER", help="keep configuration and log in this new folder")
    demo.add_argument("--plain", action="store_true", help="lines instead of a picture, as when it isn't a terminal")
    demo.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Play it."""
    import asyncio
    import sys
    import tempfile
    from pathlib import Path

    try:
        import amqtt  # noqa: F401
        import rich  # noqa: F401
    except ImportError as missing:
        print(f"redcar demo needs {missing.name}: pip install 'redcar[demo]'", file=sys.stderr)
        return 2
    from gateway.demo.story import play

    with tempfile.TemporaryDirectory(prefix="redcar-demo-", dir=_disk()) as temporary:
        folder = Path(args.data or temporary).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            print(f"{folder} isn't empty: name a new folder", file=sys.stderr)
            return 2
        with asyncio.Runner() as runner:
            return runner.run(play(folder, seconds=args.seconds, rate=args.rate, plain=args.plain))


def _disk() -> str | None:
    """A folder that is on a disk, where /tmp often isn't: what is written is part of the picture."""
    import os

    return "/var/tmp" if os.access("/var/tmp", os.W_OK) else None
