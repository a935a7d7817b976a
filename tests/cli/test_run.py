"""``redcar run`` in a process of its own, where the system is tight."""

import re
import resource
import socket
import subprocess
import sys
from pathlib import Path

from tests.bench import wire
from tests.parts import free_port

PROGRAM = "import sys; from gateway.cli import main; sys.exit(main())"


def test_where_few_files_may_be_open_the_log_wants_for_none(tmp_path: Path) -> None:
    """180 files: a neighbour is acknowledged while somebody opens more sockets than there are."""
    port = free_port()
    (tmp_path / "redcar.toml").write_text(f"[[listener]]\nport = {port}\n")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "run", "--config", str(tmp_path / "redcar.toml")],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (180, 180)),
    )
    links: list[socket.socket] = []
    try:
        assert process.stderr is not None
        said = ""
        while "MQTT on" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        assert re.search(
            r"30 connections at most, because this process may open only 180 files: write LimitNOFILE=2150", said
        )
        neighbour = wire.dial(port, "neighbour")
        links.append(neighbour)
        for id in range(1, 201):
            links.append(socket.create_connection(("127.0.0.1", port), 10))
            if id % 20 == 0:
                neighbour.sendall(wire.publish("a", b"x", id))
                assert wire.exactly(neighbour, 4) == wire.puback(id)
    finally:
        for link in links:
            link.close()
        process.terminate()
        _, rest = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "turned away: 30 clients are connected already: if they are yours, raise connections under [limits]" in rest
    assert "Traceback" not in rest
