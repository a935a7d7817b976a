"""The users file, made by ``redcar user add``: one line per user; nobody else needs to read it (mode 0600).

name scrypt 16384 8 1 <salt> <hash>        n, r and p of scrypt; salt and hash in base64
"""

import contextlib
import hashlib
import hmac
import os
import re
import secrets
from base64 import b64decode, b64encode
from pathlib import Path

from msgspec import Struct

from gateway.errors import ConfigError, Fault

_N, _R, _P = 16384, 8, 1  # 16 MB and, on a Pi 4, some 0.2 s for each try
_MADE = 16  # n for a made password: nobody can guess 128 random bits, so checking it needn't be slow
_FORBIDDEN = re.compile(r"[+#/\s\x00-\x1f\x7f-\x9f]")


def _hash(password: bytes, salt: bytes, n: int, r: int, p: int, size: int) -> bytes:
    return hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=1 << 28, dklen=size)


class Secret(Struct, frozen=True):
    n: int
    r: int
    p: int
    salt: bytes
    hash: bytes

    def fits(self, password: bytes) -> bool:
        own = _hash(password, self.salt, self.n, self.r, self.p, len(self.hash))
        return hmac.compare_digest(own, self.hash)


NOBODY = Secret(_N, _R, _P, bytes(16), bytes(32))


def is_name(text: str) -> bool:
    """Whether a user can be called that."""
    return bool(text) and len(text) <= 64 and not _FORBIDDEN.search(text)


def add_user(path: Path, name: str, password: str, *, made: bool = False) -> None:
    """Add a user, or give one a new password; ``made``: by chance. Raises ConfigError for a name that can't be used."""
    if not is_name(name):
        problem = f"{name!r} can't be a user's name"
        raise _fault(path, 0, problem, "use up to 64 characters other than + # / and blanks")
    if not password:
        raise _fault(path, 0, f"{name} has no password", "give one; anonymous access is on loopback only")
    users = read(path)
    salt = secrets.token_bytes(16)
    n = _MADE if made else _N
    users[name] = Secret(n, _R, _P, salt, _hash(password.encode(), salt, n, _R, _P, 32))
    _write(path, users)


def remove_user(path: Path, name: str) -> bool:
    """Remove a user; False if there was none. A running gateway cuts it off."""
    users = read(path)
    found = users.pop(name, None) is not None
    if found:
        _write(path, users)
    return found


def list_users(path: Path) -> list[str]:
    """Names, in order."""
    return sorted(read(path))


def read(path: Path) -> dict[str, Secret]:
    users: dict[str, Secret] = {}
    faults = []
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise _fault(path, 0, f"the users file can't be read ({error})", "let the service's user own it") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            users.update((_user(line),))
        except ValueError:
            problem = "this isn't a user's line"
            faults.append(Fault(str(path), number, "", problem, "remove it and use redcar user add NAME"))
    if faults:
        raise ConfigError(faults)
    return users


def _user(line: str) -> tuple[str, Secret]:
    name, kind, *cost, salt, hash = line.split()
    n, r, p = map(int, cost)
    secret = Secret(n, r, p, b64decode(salt, validate=True), b64decode(hash, validate=True))
    # what scrypt itself would refuse, and what would eat the machine
    if kind != "scrypt" or n < 2 or n & (n - 1) or min(r, p) < 1 or 128 * n * r > 1 << 27 or p > 64:
        raise ValueError(kind)
    if len(secret.hash) < 16:
        raise ValueError(hash)
    return name, secret


def _write(path: Path, users: dict[str, Secret]) -> None:
    """All or nothing: a power cut leaves the old file or the new one. It belongs to whom the folder belongs."""
    lines = [
        f"{name} scrypt {one.n} {one.r} {one.p} {b64encode(one.salt).decode()} {b64encode(one.hash).decode()}\n"
        for name, one in sorted(users.items())
    ]
    fresh = path.with_name(path.name + ".new")
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        if os.geteuid() == 0:
            folder_of = path.parent.stat()
            os.fchown(descriptor, folder_of.st_uid, folder_of.st_gid)
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    os.rename(fresh, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _fault(path: Path, line: int, problem: str, cure: str) -> ConfigError:
    return ConfigError([Fault(str(path), line, "", problem, cure)])
