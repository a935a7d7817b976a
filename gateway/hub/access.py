"""Who may connect, and what clients may publish and have.

Without users there is no way in but loopback, where nobody needs a name; once there are some, everybody does, unless
``anonymous`` is asked for.
"""

import logging
import shlex
import time
from pathlib import Path
from weakref import WeakValueDictionary

from gateway.errors import ConfigError, Fault, RedcarError
from gateway.hub import rights, users
from gateway.hub.guests import Guesses, is_loopback
from gateway.hub.limits import Limits
from gateway.hub.passwords import Passwords
from gateway.hub.reasons import Reason
from gateway.hub.topics import APART, OWN, excess
from gateway.hub.users import NOBODY, Secret, is_name

log = logging.getLogger("redcar.hub")

_REMEMBERED = 1000  # clients whose rights are remembered; then all are looked up again

LOOPBACK_CURE = 'add a user with "redcar user add NAME", or set address = "127.0.0.1"'


class Refused(RedcarError):
    """A client isn't let in. The text says why and what would help; the client hears the reason code only."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


_OWN_TREE = rights.Rights([])


class Known(dict[bytes, str]):
    """Topics as bytes -> topic: checked, and allowed for those who share this; it lasts as long as one of them has it."""


class Access:
    """The rights of clients, by the users file as it is now: a changed file counts from the next CONNECT on."""

    def __init__(
        self,
        users: Path | None = None,
        anonymous: bool | None = None,
        limits: Limits | None = None,
        acl: Path | None = None,
    ) -> None:
        self._path = users
        self._acl = acl
        self._acl_stamp: tuple[int, ...] | None = None
        self._rights: rights.Rights | None = None
        self._granted: dict[tuple[str | None, str], rights.Granted] = {}
        self._known: WeakValueDictionary[tuple[str | None, str], Known] = WeakValueDictionary()
        self._anonymous = anonymous
        self._limits = limits or Limits()
        self._users: dict[str, Secret] = {}
        self.outdated: set[str | None] = set()
        """Users who are gone or have another password, until whoever ends their connections has done so. None: clients
        without a name, who aren't let in any more."""
        self._stamp: tuple[int, ...] | None = None
        self._guesses = Guesses(self._limits.wrong, time.monotonic)
        self._passwords = Passwords()
        self._load()
        self.outdated.clear()
        if acl:
            self._acl_stamp = _stamp(acl)
            self._rights = rights.load(acl)

    def check_address(self, address: str) -> None:
        """Raise ConfigError if the hub mustn't listen there."""
        self._load()
        if not is_loopback(address) and not self._users:
            problem = f"{address} can be reached from other machines and there are no users"
            raise ConfigError([Fault("redcar.toml", 0, "listener.address", problem, LOOPBACK_CURE)])

    async def admit(
        self,
        name: str | None,
        password: bytes | None,
        address: str,
        *,
        anonymous: bool = True,
        certified: str | None = None,
    ) -> str | None:
        """The user this client is; None: anonymous. Raises Refused.

        anonymous  whether the listener lets clients in without a name, if the settings do
        certified  the name in the client's certificate; None where the listener asks for none
        """
        if certified is not None:
            if not is_name(certified):
                text = f"its certificate's common name {certified[:64]!r} can't be a user's name: make another"
                raise Refused(Reason.NOT_AUTHORIZED, text)
            if name not in (None, certified):
                text = f"it says it is {name!r}, its certificate says {certified!r}: leave the user name out"
                raise Refused(Reason.BAD_USER_OR_PASSWORD, text)
            return certified
        try:
            self._load()
        except ConfigError as error:
            raise Refused(Reason.SERVER_UNAVAILABLE, str(error)) from error
        asked = not self._users if self._anonymous is None else self._anonymous
        local = anonymous and is_loopback(address)
        anonymous = local and asked
        if name is None:
            if anonymous:
                return None
            cure = "set the user name and password made by redcar user add"
            more = ", or write anonymous = true under [access]" if local else ""
            raise Refused(Reason.NOT_AUTHORIZED, f"came without a user name: {cure}{more}")
        if self._guesses.too_many(address, name):
            text = f"too many wrong passwords for user {name[:64]!r} from there: they are looked at again in a minute"
            raise Refused(Reason.BANNED, text)
        secret = self._users.get(name)
        if secret is None:
            if not self._users and anonymous:
                return None  # nobody has a name here yet, and it would have been let in without one
            self._guesses.wrong(address, name)
            await self._passwords.fit(
                name, NOBODY, password or b""
            )  # or the time it takes would tell which users there are
            raise Refused(Reason.BAD_USER_OR_PASSWORD, f"there is no user {name!r}: redcar user add makes one")
        if not await self._passwords.fit(name, secret, password or b""):
            self._guesses.wrong(address, name)
            cure = f"correct it there, or set another with redcar user passwd {shlex.quote(name)}"
            raise Refused(Reason.BAD_USER_OR_PASSWORD, f"wrong password for user {name!r}: {cure}")
        return name

    def refresh(self) -> bool:
        """Look whether the files have changed; whether somebody's rights may have. A faulty ACL changes nothing: were nobody
        allowed anything meanwhile, sessions would lose subscriptions, and 3.1.1 clients messages that they are told we have."""
        try:
            self._load()
        except ConfigError:
            pass  # who comes now hears of it
        changed = bool(self.outdated)
        if self._acl and (stamp := _stamp(self._acl)) != self._acl_stamp:
            self._acl_stamp = stamp
            try:
                self._rights = rights.load(self._acl)
            except ConfigError as error:
                log.error("the rules before still count, until this is corrected: %s", error)
            else:
                self._granted.clear()
                self._known.clear()
                changed = True
                log.info("%s is in force from now on", self._acl)
        return changed

    def known(self, user: str | None, client: str) -> Known:
        """Topics that such clients are known to use rightly, as long as nobody's rights change."""
        return self._known.setdefault(self._scope(user, client), Known())

    def may_publish(self, user: str | None, topic: str, client: str = "") -> tuple[Reason, str] | None:
        """None if that client may; else the reason and what to tell the operator."""
        if topic.startswith("$"):
            return Reason.NOT_AUTHORIZED, "topics that begin with $ belong to the server: use another topic"
        if topic.startswith(OWN):
            return Reason.NOT_AUTHORIZED, f"only Redcar publishes below {OWN}: use another topic"
        much = excess(topic, self._limits)
        if much:
            return Reason.TOPIC_NAME_INVALID, f"{much}: use a simpler topic"
        granted = self._of(user, client)
        if granted and not granted.may_publish(topic):
            return Reason.NOT_AUTHORIZED, f"no rule lets {_called(user)} publish there: {self.cure(user)}"
        return None

    def may_subscribe(self, user: str | None, filter: str, client: str = "") -> bool:
        """Whether a client may have everything that a filter matches."""
        granted = self._of(user, client)
        return granted is None or granted.may_subscribe(filter)

    def may_receive(self, user: str | None, topic: str, client: str = "") -> bool:
        """Whether a client may get a message on a topic."""
        granted = self._of(user, client)
        return granted is None or granted.may_receive(topic)

    def may_have_published(self, user: str | None, topic: str, client: str) -> bool:
        """Whether who published what is retained still may."""
        granted = self._of(user, client)
        return granted is None or topic.startswith(APART) or granted.may_publish(topic)

    def in_force(self, user: str | None) -> rights.Rights | None:
        """The rules that count; None: none. A client with a name has its own tree then, one without is our own house."""
        return self._rights or (_OWN_TREE if user else None)

    def cure(self, user: str | None) -> str:
        """What helps somebody who may not do something."""
        missing = f"add one to {self._acl}" if self._acl else "write a file of rules and name it as access.acl"
        return f"{missing}; redcar user rights {shlex.quote(user or '')} shows what there is"

    def _scope(self, user: str | None, client: str) -> tuple[str | None, str]:
        """Clients with the same scope have the same rights."""
        return user, client if self._rights and self._rights.by_client else ""

    def _of(self, user: str | None, client: str) -> rights.Granted | None:
        rules = self.in_force(user)
        if rules is None:
            return None
        scope = self._scope(user, client)
        granted = self._granted.get(scope)
        if granted is None:
            if len(self._granted) >= _REMEMBERED:
                self._granted.clear()
            granted = self._granted[scope] = rules.of(user, client)
        return granted

    def close(self) -> None:
        """Let the threads go."""
        self._passwords.close()

    def _load(self) -> None:
        if self._path is None:
            return
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        fresh = users.read(self._path) if stamp is not None else {}
        self.outdated |= {name for name, secret in self._users.items() if fresh.get(name) != secret}
        if fresh and not self._users and self._anonymous is None:
            self.outdated.add(None)
        self._stamp, self._users = stamp, fresh


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Changes with the file; None where there is none, empty where nobody may look: then reading it says what is wrong."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    except OSError:
        return ()
    return state.st_mtime_ns, state.st_size, state.st_ino


def _called(user: str | None) -> str:
    return f"user {user!r}" if user else "clients without a name"
