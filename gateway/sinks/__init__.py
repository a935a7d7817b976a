"""Where a consumer delivers to. A sink is one file here, or an entry point in the group ``redcar.sinks``.

Its file name is its kind; files that begin with an underscore are shared between sinks. What a sink is stands in
``gateway/sink.py``.
"""

import pkgutil
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType

from msgspec import Struct

from gateway.sink import Identity, Sink, Subscription


class Kind(Struct, frozen=True):
    """A kind of sink as the core sees it."""

    name: str
    config: type[Subscription]
    sink: Callable[[Subscription, Identity], Sink]
    summary: str
    """First line of the file's docstring."""


def kinds() -> list[str]:
    """Every kind that can be named in a subscription, in order."""
    own = {found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_")}
    return sorted(own | {point.name for point in entry_points(group="redcar.sinks")})


def load(kind: str) -> Kind:
    """The sink of that kind. Raises KeyError if there is none."""
    if not kind.startswith("_") and any(found.name == kind for found in pkgutil.iter_modules(__path__)):
        return _describe(kind, import_module(f"{__name__}.{kind}"))
    for point in entry_points(group="redcar.sinks"):
        if point.name == kind:
            return _describe(kind, point.load())
    raise KeyError(kind)


def _describe(kind: str, module: ModuleType) -> Kind:
    summary = (module.__doc__ or "").strip().splitlines()[0]
    return Kind(kind, module.Config, module.Sink, summary)
