"""``redcar run`` in a process of its own, where the system is tight."""

import re
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

from gateway.hub import encode
from gateway.hub.packets import V311, Connect
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


def test_what_an_operator_sees_of_the_listeners(tmp_path: Path) -> None:
    """A fresh machine: run, look, be refused, add the first user, come in."""

    def redcar(*words: str) -> str:
        command = [sys.executable, "-c", PROGRAM, *words, "--config", str(tmp_path / "redcar.toml")]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout

    (tmp_path / "redcar.toml").write_text(LISTENERS)
    (tmp_path / "password").write_text("secret\n")
    command = [sys.executable, "-c", PROGRAM, "run", "--config", str(tmp_path / "redcar.toml")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        ports = [int(port) for port in re.findall(r":(\d+)[,;]", said)]
        assert f": MQTT on 127.0.0.1:{ports[0]}, MQTT in WebSocket on [::1]:{ports[1]}; " in said
        assert "only this machine can connect; to let others in: redcar user add NAME" in process.stderr.readline()
        wire.dial(ports[0], "anybody").close()
        assert "sensors may connect now" in redcar(
            "user", "add", "sensors", "--password-file", str(tmp_path / "password")
        )
        deadline = time.monotonic() + 10
        while (answer := _connack(ports[0], None)) != 5:
            assert time.monotonic() < deadline, answer
        assert "refused client 'c' on 127.0.0.1:" in process.stderr.readline()
        assert _connack(ports[0], "sensors") == 0
        shown = redcar("status")
        assert f"listener  MQTT on 127.0.0.1:{ports[0]}\nlistener  MQTT in WebSocket on [::1]:{ports[1]}\n" in shown
        assert (
            "clients   0 connected, 0 away, 0 subscriptions, 1 retained topics; refused 1 times, see the log" in shown
        )
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0


LISTENERS = """
[access]
users = "users"
[[listener]]
port = 0
[[listener]]
address = "::1"
port = 0
websocket = true
"""


def _connack(port: int, user: str | None) -> int:
    """What a client at 3.1.1 is answered."""
    own = Connect("c", V311, user=user, password=b"secret" if user else None)
    with socket.create_connection(("127.0.0.1", port), 10) as link:
        link.sendall(encode.encode(own, V311))
        return wire.exactly(link, 4)[3]
