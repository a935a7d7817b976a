"""The command ``redcar``: one file per group of commands, found by its name.

Exit codes: 0 done; 1 done, and the answer is no (a rule test failed, a count is wrong); 2 a command or a file is faulty,
nothing was started; 3 it can't be done now (no log there, another redcar runs).
"""

import argparse
import os
import pkgutil
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from gateway import __version__

examples = """\
examples:
  redcar demo                          a simulated site, with an upstream that is cut off twice
  redcar check redcar.toml rules/      every fault of every file, nothing is started
  redcar run --config redcar.toml      the gateway
  redcar tail -f                       what happens, as it happens
  redcar events --source 'cellar/*' --since 1h --json
"""


class Parser(argparse.ArgumentParser):
    """Leaves examples as they are written; those of its commands are of the same kind."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, formatter_class=argparse.RawDescriptionHelpFormatter)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = Parser(
        prog="redcar",
        description="IoT edge gateway and MQTT event hub whose acknowledgement means: on disk.",
        epilog=examples,
    )
    top.add_argument("--version", action="version", version=f"redcar {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for found in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        module = import_module(f"gateway.cli.{found.name}")
        if hasattr(module, "register"):
            module.register(commands)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run a command; what is foreseen becomes one sentence on stderr."""
    from gateway.errors import ConfigError, RedcarError

    args = parser().parse_args(arguments)
    try:
        code: int = args.run(args)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except RedcarError as error:
        print(f"redcar: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, _sqlite().OperationalError) as error:
        print(f"redcar: {_told(error)}", file=sys.stderr)
        return 3
    return code


def _sqlite() -> ModuleType:
    """Asked for when something is raised only: it takes its time."""
    return import_module("sqlite3")


def _told(error: Exception) -> str:
    """What the system refused, and what to do."""
    user = "run this as the gateway's user: sudo -u redcar redcar ..."
    if not isinstance(error, OSError):
        return f"the log can't be opened or read ({error}): {user}, and look whether the disk is full or read-only"
    what = f"{error.filename}: " if error.filename else ""
    problem = (error.strerror or str(error)).lower()
    if isinstance(error, PermissionError):
        return f"{what}{problem}: {user}, or correct who may use it"
    if isinstance(error, (FileNotFoundError, NotADirectoryError, FileExistsError)):
        return f"{what}{problem}: correct its name"
    return f"{what}{problem}: look at the disk, then try again"
