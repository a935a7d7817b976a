"""Real parts that tests run against. A missing one skips with the command that installs it; on CI that is a failure."""

import os
import shutil
import socket

import pytest


def need(program: str, package: str) -> str:
    """Path of a program from a Debian package."""
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path:
        return path
    text = f"{program} isn't installed: sudo apt-get install {package}"
    if os.environ.get("CI"):
        pytest.fail(text)
    pytest.skip(text)


def free_port() -> int:
    """A TCP port on loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
