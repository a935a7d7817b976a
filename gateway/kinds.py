"""Where drivers, sinks and detectors are found: each is a file in its package, or an entry point in the group ``redcar.`` and
the package's name. The file's name is its kind; files that begin with an underscore are shared between others.
"""

import pkgutil
from importlib import import_module
from importlib.metadata import EntryPoints, entry_points
from types import ModuleType


def known(package: str) -> list[str]:
    """Every kind that can be named, in order."""
    return sorted(_own(package) | _others(package).names)


def find(package: str, kind: str) -> ModuleType:
    """The module of that kind; our own before others. Raises KeyError if there is none."""
    if kind in _own(package):
        return import_module(f"{package}.{kind}")
    for point in _others(package):
        if point.name == kind:
            found: ModuleType = point.load()
            return found
    raise KeyError(kind)


def summary(module: ModuleType) -> str:
    """First line of its docstring."""
    return (module.__doc__ or "").strip().splitlines()[0]


def _own(package: str) -> set[str]:
    files = pkgutil.iter_modules(import_module(package).__path__)
    return {found.name for found in files if not found.name.startswith("_")}


def _others(package: str) -> EntryPoints:
    return entry_points(group=f"redcar.{package.rpartition('.')[2]}")
