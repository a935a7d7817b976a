"""``redcar user``: who may connect from other machines."""

import argparse
from pathlib import Path

examples = """\
examples:
  redcar user add workshop                          asks for the password, twice
  redcar user add workshop --password-file secret   takes the first line of a file, for scripts
  redcar user list
  redcar user remove workshop

The file is the one that users names under [access] in redcar.toml; a running gateway sees changes at the next connection.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``user add``, ``user remove`` and ``user list``."""
    group = commands.add_parser(
        "user",
        help="add, remove and list those who may connect from other machines",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = group.add_subparsers(metavar="ACTION", required=True)
    add = actions.add_parser("add", help="add a user, or give one a new password")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--password-file", metavar="FILE", help="its first line is the password")
    add.set_defaults(run=_add)
    remove = actions.add_parser("remove", help="remove a user; connections that are open stay")
    remove.add_argument("name", metavar="NAME")
    remove.set_defaults(run=_remove)
    list_ = actions.add_parser("list", help="names, one per line")
    list_.add_argument("--json", action="store_true", help="a JSON list")
    list_.set_defaults(run=_list)
    for action in (add, remove, list_):
        action.add_argument("--config", metavar="FILE", help="redcar.toml (or $REDCAR_CONFIG)")
        action.add_argument("--file", metavar="FILE", help="the users file itself, instead of --config")


def _add(args: argparse.Namespace) -> int:
    from gateway.hub.users import add_user

    file, named = _file(args)
    add_user(file, args.name, _password(args))
    print(f"{args.name} may connect now; {file} has {_count(file)}")
    if not named:
        print(f'to use it, write under [access] in {_config(args)}: users = "{file.name}"')
    return 0


def _remove(args: argparse.Namespace) -> int:
    from gateway.hub.users import remove_user

    file, _ = _file(args)
    if not remove_user(file, args.name):
        print(f"there is no user {args.name} in {file}")
        return 1
    print(f"{args.name} is removed; {file} has {_count(file)}")
    return 0


def _list(args: argparse.Namespace) -> int:
    from gateway.hub.users import list_users

    names = list_users(_file(args)[0])
    if args.json:
        import json

        print(json.dumps(names))
    else:
        for name in names:
            print(name)
    return 0


def _config(args: argparse.Namespace) -> Path:
    from gateway.config import find

    return find(args.config)


def _file(args: argparse.Namespace) -> tuple[Path, bool]:
    """The users file, and whether the configuration names it. Works while the rest of the configuration is faulty:
    a missing user may be what is wrong with it."""
    from gateway import places

    if args.file:
        return Path(args.file), True
    document = places.read(_config(args))
    access = document.data.get("access")
    users = access.get("users") if isinstance(access, dict) else None
    return Path(document.resolve(users if isinstance(users, str) else "users")), isinstance(users, str)


def _password(args: argparse.Namespace) -> str:
    """Asked without showing it, or from a file; never from the command line, which every user of the machine can read."""
    from gateway.errors import ConfigError, Fault

    if args.password_file:
        try:
            lines = Path(args.password_file).read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                [
                    Fault(
                        args.password_file,
                        0,
                        "",
                        f"can't be read ({getattr(error, 'strerror', None) or error})".lower(),
                        "check its name",
                    )
                ]
            ) from None
        return lines[0] if lines else ""
    import warnings
    from getpass import GetPassWarning, getpass

    warnings.simplefilter("error", GetPassWarning)  # it would show what is typed
    try:
        first = getpass(f"password for {args.name}: ")
        second = getpass("again: ")
    except (EOFError, GetPassWarning):
        problem, cure = "there is no terminal to ask for the password on", "use --password-file FILE"
        raise ConfigError([Fault("redcar user add", 0, "", problem, cure)]) from None
    if second != first:
        raise ConfigError([Fault("redcar user add", 0, "", "the two passwords differ", "try again")])
    return first


def _count(file: Path) -> str:
    from gateway.hub.users import list_users

    number = len(list_users(file))
    return f"{number} user{'' if number == 1 else 's'}"
