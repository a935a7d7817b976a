"""A gateway as an operator runs it, in a process that a test may kill."""

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.bench import servers, wire


class Child:
    """``redcar run`` on a folder: may be started, killed and started again."""

    def __init__(self, folder: Path, port: int, program: list[str] | None = None) -> None:
        self.port = port
        self._program = program or servers.program()
        self._config = folder / "redcar.toml"
        self._log = folder / "redcar.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, under: list[str] | None = None, environment: dict[str, str] | None = None) -> None:
        """Don't wait until it listens. ``under``: a command that runs it; ``environment``: in addition to ours."""
        command = [*(under or []), *self._program, "run", "--config", str(self._config)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **(environment or {})})

    @property
    def pid(self) -> int:
        """Of the gateway itself."""
        assert self._process is not None
        own = self._process.pid
        children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
        name = Path(f"/proc/{own}/comm").read_text().strip()
        return int(children[0]) if name == "strace" and children else own

    def listening(self, within: float) -> bool:
        """Wait until it lets clients in, until the time is up, or until it is killed. Fails with its output if it has ended by
        itself."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if not self.alive:
                assert self._process is not None
                assert self._process.returncode == -signal.SIGKILL, self.said()
                return False
            try:
                wire.dial(self.port, "knock").close()
            except OSError:
                time.sleep(0.01)
            else:
                return True
        return False

    def kill(self) -> None:
        """SIGKILL, unless that has happened: it learns nothing of it."""
        assert self._process is not None
        if self.alive:
            with suppress(ProcessLookupError, FileNotFoundError):  # at this moment
                os.kill(self.pid, signal.SIGKILL)
        assert self._process.wait(10) == -signal.SIGKILL, self.said()

    def stop(self) -> None:
        """SIGTERM; it has to end well."""
        assert self._process is not None
        os.kill(self.pid, signal.SIGTERM)
        assert self._process.wait(20) == 0, self.said()

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process is not None and self._process.poll() is None

    def owed(self) -> list[dict[str, Any]]:
        """What its readers are still owed, as ``redcar consumers`` tells."""
        command = [*servers.program(), "consumers", "--config", str(self._config), "--json"]
        done = subprocess.run(command, capture_output=True, timeout=20, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def often(self, words: str) -> int:
        """How often it has said that so far."""
        return self._log.read_text(errors="replace").count(words)

    def said(self) -> str:
        """Its log, the end of it."""
        return self._log.read_text(errors="replace")[-4000:]

    def kill_if_alive(self) -> None:
        """For the end of a test, however it ended."""
        if self._process is not None and self._process.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self._process.wait(10)
