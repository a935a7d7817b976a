"""``redcar run``: the gateway, in the foreground or as a service."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

    from gateway.settings import Settings


_OWN_FILES = 150  # of the log, views, sinks, serial lines: they must never want for one


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    run = commands.add_parser(
        "run",
        help="the gateway",
        epilog="examples:\n  redcar run --config redcar.toml\n"
        "  redcar run            ($REDCAR_CONFIG, redcar.toml or /etc/redcar/redcar.toml)\n",
    )
    run.add_argument("--config", metavar="FILE", help="redcar.toml")
    run.add_argument("--verbose", action="store_true", help="say more about what normally goes without saying")
    run.set_defaults(run=start)


def start(args: argparse.Namespace) -> int:
    """Run until SIGTERM or Ctrl-C."""
    import asyncio
    import logging

    from gateway import config

    settings = config.load(config.find(args.config))
    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.INFO, format="%(levelname)s %(name)s: %(message)s"
    )
    _make_room(settings)
    with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
        return runner.run(_run(settings))


def _make_room(settings: "Settings") -> None:
    """A socket is an open file, and most systems allow 1,024 to begin with; whoever takes the last one takes it from the log."""
    import logging
    import resource

    from msgspec import structs

    wanted = settings.limits.connections + _OWN_FILES
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed < wanted:
        allowed = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
    if allowed < wanted:
        room = max(1, allowed - _OWN_FILES)
        settings.limits = structs.replace(settings.limits, connections=room)
        cure = f"write LimitNOFILE={wanted} in the service (ulimit -n), or fewer connections under [limits]"
        logging.getLogger("redcar").warning(
            "%d connections at most, because this process may open only %d files: %s", room, allowed, cure
        )


def _fastest_loop() -> "Callable[[], AbstractEventLoop]":
    """uvloop where its wheel is installed (the extra ``fast``), else Python's own."""
    try:
        import uvloop
    except ImportError:
        import asyncio

        return asyncio.new_event_loop
    return uvloop.new_event_loop


async def _run(settings: "Settings") -> int:
    import asyncio
    import gc
    import logging
    import signal

    from gateway import __version__, notify
    from gateway.app import open_gateway
    from gateway.hub.guests import is_loopback

    log = logging.getLogger("redcar")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_gateway(settings) as gateway:
        gateway.log.on_end = stop.set
        doors = gateway.hub.doors
        where = ", ".join(f"{one.spoken} on {one.name}" for one in doors)
        log.info(
            "redcar %s: %s: %s; %s events in %s",
            __version__,
            settings.gateway.name,
            where,
            gateway.log.head,
            gateway.log.path,
        )
        if all(is_loopback(one.address) for one in doors):
            log.info(
                "only this machine can connect; to let others in: redcar user add NAME, then in the configuration"
                ' users = "users" under [access], and address = "0.0.0.0" under [[listener]]'
            )
        gc.freeze()  # what is there now stays; events have no cycles, so looking for some costs a seventh of the CPU for nothing
        gc.set_threshold(100_000, 50, 100)
        notify.ready()
        await notify.alive_until(stop)
        notify.stopping()
    return 0
