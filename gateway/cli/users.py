"""``redcar user``: who may connect from other machines."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli.common import misused, several

if TYPE_CHECKING:
    from gateway.hub.access import Access

examples = """\
examples:
  redcar user add workshop                          asks for the password, twice
  redcar user add workshop --password-file secret   takes the first line of a file, for scripts
  redcar user add sensor-17 --generate              makes one and prints it: the best for devices, and the fastest to check
  redcar user list
  redcar user remove workshop
  redcar user rights workshop                       what it may publish, subscribe to and receive, and which line says so
  redcar user rights workshop plant/lamp            may it or not, and why; "" is a client without a name

The file is the one that users names under [access] in redcar.toml; a running gateway sees changes within a second.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``user add``, ``passwd``, ``remove``, ``list`` and ``rights``."""
    group = commands.add_parser(
        "user",
        help="those who may connect from other machines, and what they may do",
        epilog=examples,
    )
    actions = group.add_subparsers(metavar="ACTION", required=True)
    add = actions.add_parser("add", help="add a user")
    add.add_argument("name", metavar="NAME")
    add.set_defaults(run=_add)
    passwd = actions.add_parser("passwd", help="give a user a new password")
    passwd.add_argument("name", metavar="NAME")
    passwd.set_defaults(run=_passwd)
    for action in (add, passwd):
        whence = action.add_mutually_exclusive_group()
        whence.add_argument("--password-file", metavar="FILE", help="its first line is the password")
        whence.add_argument("--generate", action="store_true", help="make a password, and print it once")
    remove = actions.add_parser("remove", help="remove a user; a running gateway cuts it off")
    remove.add_argument("name", metavar="NAME")
    remove.set_defaults(run=_remove)
    list_ = actions.add_parser("list", help="names, one per line")
    list_.add_argument("--json", action="store_true", help="a JSON list")
    list_.set_defaults(run=_list)
    rights = actions.add_parser(
        "rights", help="what a user may do with which topics, and which line of which file says so"
    )
    rights.add_argument("name", metavar="NAME", help='a user; "" is a client without a name')
    rights.add_argument("topic", metavar="TOPIC", nargs="?", help="a topic, or a filter that it would subscribe to")
    rights.add_argument("--client", metavar="ID", default="", help="its client id, where rules have %%c")
    rights.add_argument("--json", action="store_true", help="a JSON list")
    rights.set_defaults(run=_rights)
    for action in (add, passwd, remove, list_, rights):
        action.add_argument("--config", metavar="FILE", help="redcar.toml (or $REDCAR_CONFIG)")
    for action in (add, passwd, remove, list_):
        action.add_argument("--file", metavar="FILE", help="the users file itself, instead of --config")


def _add(args: argparse.Namespace) -> int:
    from gateway.hub.users import add_user, is_name, list_users

    file, named = _file(args)
    known = list_users(file)
    if args.name in known:
        print(
            f"there is a user {args.name} in {file} already: redcar user passwd {args.name} gives it another password"
        )
        return 1
    # a name that can't be used is said before the password is asked for
    add_user(file, args.name, _password(args) if is_name(args.name) else "", made=args.generate)
    print(f"{args.name} may connect now; {file} has {several(len(list_users(file)), 'user')}")
    if not named:
        print(f'to use it, write under [access] in {_config(args)}: users = "{file.name}"; then restart the gateway')
    if not known:
        print("from now on clients on this machine need a name, too, unless [access] says anonymous = true")
    return 0


def _passwd(args: argparse.Namespace) -> int:
    from gateway.hub.users import add_user, list_users

    file, _ = _file(args)
    if args.name not in list_users(file):
        print(f"there is no user {args.name} in {file}: redcar user add {args.name} makes one")
        return 1
    add_user(file, args.name, _password(args), made=args.generate)
    print(f"{args.name} has a new password; a running gateway cuts off who came in with the old one")
    return 0


def _remove(args: argparse.Namespace) -> int:
    from gateway.hub.users import list_users, remove_user

    file, _ = _file(args)
    if not remove_user(file, args.name):
        print(f"there is no user {args.name} in {file}; one that a certificate names: redcar tls revoke {args.name}")
        return 1
    print(f"{args.name} is removed; {file} has {several(len(list_users(file)), 'user')}")
    if _certificates_let_in(args):
        print(f"a certificate that names {args.name} still lets in, if there is one: redcar tls revoke {args.name}")
    return 0


def _certificates_let_in(args: argparse.Namespace) -> bool:
    from gateway import config

    listeners = [] if args.file else config.written(_config(args)).data.get("listener", [])
    return isinstance(listeners, list) and any(isinstance(one, dict) and "client_ca" in one for one in listeners)


def _list(args: argparse.Namespace) -> int:
    from gateway.hub.users import list_users

    file, _ = _file(args)
    names = list_users(file)
    if args.json:
        import json

        print(json.dumps(names))
    elif names:
        print("\n".join(names))
    else:
        print(f"{file} has no users: redcar user add NAME", file=sys.stderr)
    return 0


def _rights(args: argparse.Namespace) -> int:
    """What the configuration says now, whether a gateway runs or not: one that runs takes changes over within a second."""
    import json

    from msgspec import to_builtins

    from gateway import config
    from gateway.hub.access import Access
    from gateway.hub.reasons import ProtocolError
    from gateway.hub.rights import VERBS
    from gateway.hub.why import decide, granted

    settings = config.load(_config(args))
    acl = settings.access.acl
    access = Access(limits=settings.limits, acl=Path(acl) if acl else None)
    user = args.name or None
    found: list[Any]
    try:
        if args.topic is None:
            found = sorted(granted(access, user, args.client), key=lambda one: VERBS.index(one.verb))
            rows = [(one.verb, one.filter, one.where) for one in found]
        else:
            found = decide(access, user, args.client, args.topic)
            rows = [(one.verb, "yes" if one.allowed else "no", one.why) for one in found]
    except ProtocolError as error:
        raise misused(str(error), "name a topic or a filter: plant/lamp, plant/+/t, plant/#") from None
    finally:
        access.close()
    if args.json:
        print(json.dumps(to_builtins(found)))
        return 0
    width = max((len(row[1]) for row in rows), default=0)
    for verb, what, why in rows:
        print(f"{verb:10} {what:{width}}  {why}")
    _tell_more(args, access, Path(settings.access.users) if settings.access.users else None)
    return 0


def _tell_more(args: argparse.Namespace, access: "Access", users: Path | None) -> None:
    """What the rows don't say."""
    from gateway.hub.users import list_users

    user = args.name or None
    rules = access.in_force(user)
    if args.topic is None and not (rules and rules.narrow(user)):
        print("receive    whatever it may subscribe to")
    if rules and not args.client and len(rules.grants(user, "any")) > len(rules.grants(user, "")):
        print("rules with %c count with --client ID only", file=sys.stderr)
    if user and user not in (list_users(users) if users else []):
        print(f"there is no user {user} (one that a certificate names needs no password)", file=sys.stderr)


def _config(args: argparse.Namespace) -> Path:
    from gateway.config import find

    return find(args.config)


def _file(args: argparse.Namespace) -> tuple[Path, bool]:
    """The users file, and whether the configuration names it. Works while the rest of the configuration is faulty:
    a missing user may be what is wrong with it."""
    from gateway import config

    if args.file:
        return Path(args.file), True
    document = config.written(_config(args))
    access = document.data.get("access")
    users = access.get("users") if isinstance(access, dict) else None
    return Path(document.resolve(users if isinstance(users, str) else "users")), isinstance(users, str)


def _password(args: argparse.Namespace) -> str:
    """Asked without showing it, made, or from a file; never from the command line, which every user of the machine can
    read."""
    if args.generate:
        import secrets

        made = secrets.token_urlsafe(16)
        print(made)
        return made
    if args.password_file:
        try:
            lines = Path(args.password_file).read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            problem = f"can't be read ({getattr(error, 'strerror', None) or error})".lower()
            raise misused(problem, "check its name", args.password_file) from None
        return lines[0] if lines else ""
    import warnings
    from getpass import GetPassWarning, getpass

    warnings.simplefilter("error", GetPassWarning)  # it would show what is typed
    try:
        first = getpass(f"password for {args.name}: ")
        second = getpass("again: ")
    except (EOFError, GetPassWarning):
        problem, cure = "there is no terminal to ask for the password on", "use --generate, or --password-file FILE"
        raise misused(problem, cure, "redcar user add") from None
    if second != first:
        raise misused("the two passwords differ", "try again", "redcar user add")
    return first
