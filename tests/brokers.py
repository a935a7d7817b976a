"""A broker of another make to test beside: a real mosquitto."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.parts import PATIENCE, need


def started(folder: Path, port: int, *lines: str) -> subprocess.Popen[bytes]:
    """As soon as it listens. What it does stands in mosquitto.log."""
    file = folder / "mosquitto.conf"
    own = ["user root", "log_type all", f"listener {port} 127.0.0.1", "max_queued_messages 0"]
    file.write_text("\n".join([*own, *(lines or ("allow_anonymous true",)), ""]))
    with (folder / "mosquitto.log").open("wb") as log:
        process = subprocess.Popen([need("mosquitto", "mosquitto"), "-c", str(file)], stdout=log, stderr=log)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except ConnectionRefusedError:
            assert process.poll() is None, "mosquitto didn't start"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        else:
            return process


@contextmanager
def mosquitto(folder: Path, port: int, *lines: str) -> Iterator[None]:
    """Until the end."""
    process = started(folder, port, *lines)
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def often(folder: Path, words: str) -> int:
    """How often mosquitto has said that."""
    return (folder / "mosquitto.log").read_text(errors="replace").count(words)
