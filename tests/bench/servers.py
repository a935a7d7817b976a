"""The servers under load, each in a process of its own, and what the kernel says they cost."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from tests.bench import wire
from tests.parts import free_port, need


class Cost(Struct):
    """What a process has used so far: CPU seconds of all its threads, bytes it caused to be written to the disk."""

    cpu: float
    written: int

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.cpu - other.cpu, self.written - other.written)


class Server(Struct):
    """A running server."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    folder: Path

    def cost(self) -> Cost:
        """Until now. The process's CPU clock has nanoseconds, where /proc/PID/stat counts utime and stime in 10 ms."""
        pid = self.process.pid
        cpu = time.clock_gettime(~pid << 3 | 2)  # CPUCLOCK_SCHED of a process, as clock_getcpuclockid(3) makes it
        return Cost(cpu, _field(Path(f"/proc/{pid}/io"), "write_bytes"))

    def resident(self) -> float:
        """MB (10^6 bytes) of memory in use now."""
        return _field(Path(f"/proc/{self.process.pid}/status"), "VmRSS") * 1024 / 1e6


def _field(file: Path, name: str) -> int:
    for line in file.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise KeyError(f"{file} has no {name}")


def program() -> list[str]:
    """The command ``redcar`` of this Python."""
    return [sys.executable, "-c", "import sys; from gateway.cli import main; sys.exit(main())"]


def configuration(port: int, *, claimed: bool = True, upstream: int | None = None, rules: Path | None = None) -> str:
    """A redcar.toml for the load."""
    text = f'[gateway]\nname = "bench"\ndata = "data"\ntrust_clock = true\nrules = {[str(rules)] if rules else []}\n'
    text += f"[[listener]]\nport = {port}\n"
    if claimed:
        text += '[[binding]]\ndriver = "json"\ntopics = ["plant/{area}/{device}"]\nallow = ["*"]\n'
    if upstream:
        text += '[[subscription]]\nname = "upstream"\nsink = "mqtt"\nhost = "127.0.0.1"\n'
        text += f'port = {upstream}\nper_message = "batch"\n'
    return text


@contextmanager
def redcar(
    folder: Path, *, claimed: bool = True, upstream: int | None = None, rules: Path | None = None
) -> Iterator[Server]:
    """A gateway as an operator runs it, with an empty log; the log goes with it."""
    port = free_port()
    folder.mkdir()
    file = folder / "redcar.toml"
    file.write_text(configuration(port, claimed=claimed, upstream=upstream, rules=rules))
    with running("redcar", [*program(), "run", "--config", str(file)], port, folder) as server:
        yield server
    shutil.rmtree(folder)


@contextmanager
def mosquitto(folder: Path) -> Iterator[Server]:
    """mosquitto as Debian installs it, but without persistence, and without limits that would slow it down."""
    path = need("mosquitto", "mosquitto")
    port = free_port()
    folder.mkdir()
    file = folder / "mosquitto.conf"
    lines = [f"listener {port} 127.0.0.1", "allow_anonymous true", "persistence false", "log_type error"]
    lines += ["max_inflight_messages 0", "max_queued_messages 0"]
    file.write_text("\n".join([*lines, ""]))
    with running("mosquitto", [path, "-c", str(file)], port, folder) as server:
        yield server
    shutil.rmtree(folder)


@contextmanager
def mirror(folder: Path) -> Iterator[Server]:
    """A server that does nothing but acknowledge: how fast the load itself can be."""
    port = free_port()
    folder.mkdir()
    with running("nothing", [sys.executable, "-m", "tests.bench.mirror", str(port)], port, folder) as server:
        yield server
    shutil.rmtree(folder)


@contextmanager
def running(name: str, command: list[str], port: int, folder: Path) -> Iterator[Server]:
    """A server while it runs, once it lets clients in. What it says is in the file ``log`` of its folder."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=Path(__file__).parents[2])
    try:
        server = Server(name, process, port, folder)
        first_answer(server).close()
        yield server
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def first_answer(server: Server, within: float = 20.0) -> socket.socket:
    """A connection as soon as the server lets one in. Raises RuntimeError with its output if it never does."""
    deadline = time.monotonic() + within
    while True:
        try:
            return wire.dial(server.port, "first")
        except OSError as error:
            if server.process.poll() is not None or time.monotonic() > deadline:
                said = (server.folder / "log").read_text(errors="replace")
                raise RuntimeError(f"{server.name} doesn't answer ({error}); it said:\n{said}") from error
            time.sleep(0.005)


def file_system(folder: Path) -> str:
    """Its kind and device: ``ext4 on /dev/sda2``."""
    device = os.stat(folder).st_dev
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, rest = line.partition(" - ")
        if mount.split()[2] == f"{os.major(device)}:{os.minor(device)}":
            kind, source, *_ = rest.split()
            return f"{kind} on {source}"
    return "unknown"
