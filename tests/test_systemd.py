"""The unit and its neighbours, judged by systemd's own programs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts import need

here = Path(__file__).parent.parent / "systemd"


def lines(section: str) -> list[tuple[str, str]]:
    """Directives of a section of the unit, in order; a directive may come several times."""
    text = (here / "redcar.service").read_text()
    body = re.split(r"^\[(\w+)\]$", text, flags=re.MULTILINE)
    sections = dict(zip(body[1::2], body[2::2]))
    return [(name, value) for name, _, value in (line.partition("=") for line in sections[section].split("\n") if line)]


def run(*command: str) -> str:
    """What a program says; it must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    program = need("systemd-analyze", "systemd")
    unit = (here / "redcar.service").read_text().replace("/opt/redcar/bin/redcar", sys.executable)
    (tmp_path / "redcar.service").write_text(unit)
    assert "redcar.service" not in run(
        program, "verify", "--man=no", "--generators=no", str(tmp_path / "redcar.service")
    )


def test_systemd_would_have_found_a_mistake(tmp_path: Path) -> None:
    program = need("systemd-analyze", "systemd")
    unit = (here / "redcar.service").read_text().replace("/opt/redcar/bin/redcar", sys.executable)
    (tmp_path / "redcar.service").write_text(unit.replace("WatchdogSec=60", "WatchdogSec=often"))
    said = run(program, "verify", "--man=no", "--generators=no", str(tmp_path / "redcar.service"))
    assert "redcar.service:11: Failed to parse" in said


def test_exposure_stays_below_2() -> None:
    program = need("systemd-analyze", "systemd")
    unit = str(here / "redcar.service")
    run(program, "security", "--offline=true", "--threshold=20", unit)
    with pytest.raises(AssertionError):
        run(program, "security", "--offline=true", "--threshold=5", unit)


def test_what_the_code_relies_on() -> None:
    service = dict(lines("Service"))
    assert service["Type"] == "notify"  # gateway/notify.py says READY=1 and WATCHDOG=1
    assert int(service["WatchdogSec"]) >= 30
    assert service["RestartPreventExitStatus"] == "2"  # gateway/cli: a faulty file
    assert service["SystemCallErrorNumber"] == "EPERM"  # gateway/clock.py asks the kernel and takes no for an answer
    assert "AF_UNIX" in service["RestrictAddressFamilies"]
    assert "ProcSubset" not in service  # would hide /proc/sys/kernel/random/boot_id
    assert "ExecReload" not in service  # SIGHUP would end the program
    assert dict(lines("Unit"))["Wants"].split() == [
        name for name in dict(lines("Unit"))["After"].split() if name.startswith(("network-online", "modprobe@"))
    ]


def test_every_directive_is_explained() -> None:
    said = (here / "README.md").read_text()
    explained = set()
    for row in re.findall(r"^\| (`.*?) \|", said, re.MULTILINE):
        explained |= set(re.findall(r"`(\w+)`", row))
    assert explained == {name for section in ("Unit", "Service", "Install") for name, _ in lines(section)}


def test_the_user_is_made(tmp_path: Path) -> None:
    program = need("systemd-sysusers", "systemd")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "group").write_text("dialout:x:20:\n")
    run(program, f"--root={tmp_path}", str(here / "redcar.sysusers"))
    assert re.search(
        r"^redcar:x:\d+:\d+:Redcar gateway:/var/lib/redcar:", (tmp_path / "etc" / "passwd").read_text(), re.M
    )
    assert re.search(r"^dialout:x:20:redcar$", (tmp_path / "etc" / "group").read_text(), re.M)


def test_the_folders_are_made(tmp_path: Path) -> None:
    program = need("systemd-tmpfiles", "systemd")
    me = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    group = subprocess.run(["id", "-gn"], capture_output=True, text=True, check=True).stdout.strip()
    text = re.sub(
        r" (\d{4}) +\w+ +\w+$", rf" \1 {me} {group}", (here / "redcar.tmpfiles").read_text(), flags=re.MULTILINE
    )
    (tmp_path / "redcar.conf").write_text(text)
    run(program, "--create", f"--root={tmp_path}", str(tmp_path / "redcar.conf"))
    modes = {
        name: (tmp_path / name).stat().st_mode & 0o777 for name in ("etc/redcar", "etc/redcar/rules", "var/lib/redcar")
    }
    assert modes == {"etc/redcar": 0o750, "etc/redcar/rules": 0o750, "var/lib/redcar": 0o700}


def test_udev_example_is_made_of_matches_and_assignments() -> None:
    for line in (here / "60-redcar.rules").read_text().splitlines():
        if line and not line.startswith("#"):
            assert all(re.fullmatch(r'[A-Z]+(\{\w+\})?(==|\+=|=)"[^"]+"', part) for part in line.split(", ")), line


def test_the_readmes_configuration_is_right(tmp_path: Path) -> None:
    """The indented TOML of the README, put together, passes the checker once the user it speaks of exists."""
    from gateway import config
    from gateway.hub.users import add_user

    said = (here / "README.md").read_text()
    blocks = re.findall(r"(?:^    .*\n|^\n)+", said, re.MULTILINE)
    toml = "".join(block for block in blocks if re.search(r"^    \[+(gateway|access|listener)\]", block, re.MULTILINE))
    toml = "\n".join(line for line in toml.splitlines() if not line.startswith("    sudo"))
    toml = re.sub(r"^    ", "", toml, flags=re.MULTILINE).replace("/var/lib/redcar", str(tmp_path))
    (tmp_path / "redcar.toml").write_text(toml)
    add_user(tmp_path / "users", "workshop", "hunter2")
    made = config.load(tmp_path / "redcar.toml")
    assert made.gateway.name == "cold-store"
    assert made.listener[0].address == "0.0.0.0"
    assert made.access.users == str(tmp_path / "users")
