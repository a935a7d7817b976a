"""Who gets in: the users file, the rule of loopback, and hashing beside the loop."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ConfigError
from gateway.hub import users
from gateway.hub.access import Access, Refused
from gateway.hub.guests import is_loopback
from gateway.hub.reasons import Reason
from gateway.hub.users import NOBODY, Secret, add_user, list_users, remove_user


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cheap hashes: their cost is stored beside them."""
    monkeypatch.setattr(users, "_N", 16)


def test_users_come_and_go(tmp_path: Path) -> None:
    path = tmp_path / "users"
    assert list_users(path) == []
    add_user(path, "kitchen", "secret")
    add_user(path, "attic", "geheim")
    assert list_users(path) == ["attic", "kitchen"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert "secret" not in path.read_text()
    assert remove_user(path, "kitchen")
    assert not remove_user(path, "kitchen")
    assert list_users(path) == ["attic"]
    assert [one.name for one in tmp_path.iterdir()] == ["users"]


@pytest.mark.parametrize("name", ["", "a+b", "#", "a/b", "a b", "a\n", "x" * 65])
def test_names_that_cannot_be_used(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="use up to 64 characters other than"):
        add_user(tmp_path / "users", name, "secret")
    assert list(tmp_path.iterdir()) == []


def test_all_faults_of_the_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text("\nbob\nann scrypt 17 8 1 AAAA AAAA\neve scrypt 16777216 99 1 AAAA AAAA\n")
    with pytest.raises(ConfigError) as caught:
        list_users(path)
    assert str(caught.value).splitlines() == [
        f"{path}:{line}: this isn't a user's line: remove it and use redcar user add NAME" for line in (2, 3, 4)
    ]


@pytest.mark.parametrize(
    ("address", "want"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("fe80::1%eth0", False),
        ("gateway.lan", False),
        ("", False),
    ],
)
def test_what_is_loopback(address: str, want: bool) -> None:
    assert is_loopback(address) is want


def test_beyond_loopback_only_with_users(tmp_path: Path) -> None:
    path = tmp_path / "users"
    doors = Access(path)
    doors.check_address("127.0.0.1")
    with pytest.raises(ConfigError) as caught:
        doors.check_address("0.0.0.0")
    assert str(caught.value) == (
        "redcar.toml: listener.address: 0.0.0.0 can be reached from other machines and there are no users: "
        'add a user with "redcar user add NAME", or set address = "127.0.0.1"'
    )
    add_user(path, "kitchen", "secret")
    doors.check_address("0.0.0.0")
    doors.close()


ADMIT = [
    ("anonymous", True, None, None, "127.0.0.1", None),
    ("anonymous from elsewhere", True, None, None, "10.0.0.9", Reason.NOT_AUTHORIZED),
    ("anonymous where that is off", False, None, None, "127.0.0.1", Reason.NOT_AUTHORIZED),
    ("anonymous where nobody asked for it", None, None, None, "127.0.0.1", Reason.NOT_AUTHORIZED),
    ("right", False, "kitchen", b"secret", "10.0.0.9", "kitchen"),
    ("wrong", True, "kitchen", b"Secret", "127.0.0.1", Reason.BAD_USER_OR_PASSWORD),
    ("no password", True, "kitchen", None, "127.0.0.1", Reason.BAD_USER_OR_PASSWORD),
    ("stranger", True, "bob", b"secret", "127.0.0.1", Reason.BAD_USER_OR_PASSWORD),
]


@pytest.mark.parametrize(("case", "anonymous", "name", "password", "address", "want"), ADMIT, ids=[r[0] for r in ADMIT])
def test_admission(
    tmp_path: Path,
    case: str,
    anonymous: bool | None,
    name: str | None,
    password: bytes | None,
    address: str,
    want: str | Reason | None,
) -> None:
    add_user(tmp_path / "users", "kitchen", "secret")

    async def story() -> None:
        doors = Access(tmp_path / "users", anonymous)
        for _ in range(2):
            if isinstance(want, Reason):
                with pytest.raises(Refused) as caught:
                    await doors.admit(name, password, address)
                assert caught.value.reason == want
                assert "redcar user " in str(caught.value)
            else:
                assert await doors.admit(name, password, address) == want
        doors.close()

    asyncio.run(story())


def test_a_right_password_is_hashed_once_also_by_a_hundred_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "users"
    add_user(path, "kitchen", "secret")
    calls = []
    real = hashlib.scrypt

    def counted(*args: Any, **named: Any) -> bytes:
        calls.append(args)
        return real(*args, **named)

    monkeypatch.setattr(hashlib, "scrypt", counted)

    async def story() -> None:
        doors = Access(path)
        await asyncio.gather(*(doors.admit("kitchen", b"secret", "10.0.0.9") for _ in range(100)))
        await doors.admit("kitchen", b"secret", "10.0.0.9")
        assert len(calls) == 1
        doors.close()

    asyncio.run(story())


def test_a_changed_file_counts_from_the_next_connect_on(tmp_path: Path) -> None:
    path = tmp_path / "users"
    add_user(path, "kitchen", "secret")

    async def story() -> None:
        doors = Access(path)
        assert await doors.admit("kitchen", b"secret", "10.0.0.9") == "kitchen"
        add_user(path, "kitchen", "changed")
        with pytest.raises(Refused):
            await doors.admit("kitchen", b"secret", "10.0.0.9")
        assert await doors.admit("kitchen", b"changed", "10.0.0.9") == "kitchen"
        path.write_text("nonsense\n")
        with pytest.raises(Refused, match="this isn't a user's line"):
            await doors.admit("kitchen", b"changed", "10.0.0.9")
        doors.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("topic", "want"),
    [
        ("plant/a", None),
        ("redcar", None),
        ("redcar/state/x", Reason.NOT_AUTHORIZED),
        ("$SYS/x", Reason.NOT_AUTHORIZED),
        ("a\tb", Reason.TOPIC_NAME_INVALID),
        ("/" * 200, Reason.TOPIC_NAME_INVALID),
    ],
)
def test_where_clients_may_publish(topic: str, want: Reason | None) -> None:
    refused = Access().may_publish(None, topic)
    assert (refused[0] if refused else None) == want


def test_a_made_password_is_checked_at_once_and_a_wrong_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand devices come back after a power cut; and the time a wrong one takes doesn't tell who exists."""
    monkeypatch.undo()
    path = tmp_path / "users"
    add_user(path, "device", "made by chance", made=True)
    cost = int(path.read_text().split()[2])
    assert cost * 100 < NOBODY.n

    async def story() -> None:
        tried: list[int] = []
        access = Access(path)
        fits = Secret.fits

        def counted(secret: Secret, password: bytes) -> bool:
            tried.append(secret.n)
            return fits(secret, password)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Secret, "fits", counted)
            for _ in range(3):
                assert await access.admit("device", b"made by chance", "10.0.0.1") == "device"
            assert tried == [cost], "remembered"
            with pytest.raises(Refused):
                await access.admit("device", b"wrong", "10.0.0.1")
            assert tried[1:] == [cost, NOBODY.n]
        access.close()

    asyncio.run(story())


def test_files_that_nobody_may_look_at_change_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "conf"
    folder.mkdir()
    add_user(folder / "users", "panel", "secret word")
    (folder / "acl.toml").write_text('[[rule]]\npublish = ["plant/#"]\n')
    access = Access(folder / "users", acl=folder / "acl.toml")
    folder.rename(tmp_path / "old")
    folder.write_text("")  # a file in the folder's place: nothing below it can be looked at, not even by root
    assert not access.refresh()
    assert not access.refresh()
    assert not access.outdated
    assert access.may_publish("panel", "plant/a") is None
    assert caplog.text.count("the rules before still count") == 1
    with pytest.raises(Refused, match="the users file can't be read"):
        asyncio.run(access.admit("panel", b"secret word", "127.0.0.1"))
    access.close()


def test_anonymous_until_users_exist(tmp_path: Path) -> None:
    async def story() -> None:
        access = Access(tmp_path / "users")
        assert await access.admit(None, None, "127.0.0.1") is None
        assert await access.admit("kitchen", b"any", "127.0.0.1") is None, "nobody has a name yet"
        assert not access.refresh()
        add_user(tmp_path / "users", "kitchen", "secret")
        with pytest.raises(Refused) as caught:
            await access.admit(None, None, "127.0.0.1")
        cure = "set the user name and password made by redcar user add, or write anonymous = true under [access]"
        assert str(caught.value) == f"came without a user name: {cure}"
        assert access.refresh()
        assert access.outdated == {None}, "who is inside without a name has to go"
        access.close()

    asyncio.run(story())
