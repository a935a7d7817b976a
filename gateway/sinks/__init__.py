"""Where a consumer delivers to. A sink is one file here, or an entry point in the group ``redcar.sinks``.

Its file name is its kind; files that begin with an underscore are shared between sinks. What a sink is stands in
``gateway/sink.py``.
"""

from collections.abc import Callable

from msgspec import Struct

from gateway.kinds import find, known, summary
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
    return known(__name__)


def load(kind: str) -> Kind:
    """The sink of that kind. Raises KeyError if there is none."""
    module = find(__name__, kind)
    return Kind(kind, module.Config, module.Sink, summary(module))
