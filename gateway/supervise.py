"""Keep one task alive. Its failures are its own: the others don't notice.

It is said once that something fails and once that it works again, not every time in between. The waits grow from
``shortest`` to ``longest``, each drawn anew from the whole range below it, so that a hundred links that were lost
together don't come back together; they start small again after ``settled`` seconds without a failure.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from random import Random

from gateway.errors import RedcarError
from gateway.waiting import Sleep

log = logging.getLogger("redcar.supervise")

shortest = 0.5
refused = 300.0  # seconds between tries where somebody has to act first
steady = 5.0  # seconds after which a new try counts as a success
settled = 60.0


async def supervise(
    name: str,
    start: Callable[[], Awaitable[None]],
    *,
    rng: Random,
    longest: float = 30.0,
    sleep: Sleep = asyncio.sleep,
) -> None:
    """Run ``start()`` again whenever it fails, until it returns. The one place that catches every exception."""
    loop = asyncio.get_running_loop()
    attempt = 0
    down_since: float | None = None

    def recovered() -> None:
        nonlocal down_since
        if down_since is not None:
            log.info("%s: working again after %.0f s", name, loop.time() - down_since)
        down_since = None

    while True:
        began = loop.time()
        recovery = loop.call_later(steady, recovered)
        try:
            await start()
            return
        except Exception as failure:  # noqa: BLE001
            problem = _one(failure)
        finally:
            recovery.cancel()
        if loop.time() - began >= settled:
            attempt = 0
        wait = rng.uniform(shortest, max(shortest, min(longest, shortest * 2**attempt)))
        attempt = min(attempt + 1, 16)
        if isinstance(problem, RedcarError) and not problem.retry:
            wait = refused
        if down_since is None:
            down_since = loop.time()
            _say(name, problem, wait)
        await sleep(wait)


def _say(name: str, problem: Exception, wait: float) -> None:
    what = str(problem) if str(problem).startswith(name) else f"{name}: {problem}"
    if not isinstance(problem, RedcarError):
        log.error("%s: unforeseen, please report it: %r", name, problem, exc_info=problem)
    elif problem.retry:
        log.warning("%s; trying again in %.1f s, then ever more slowly", what, wait)
    else:
        log.error("%s; nothing comes from there until that is done; trying again every %.0f min", what, wait / 60)


def _one(failure: Exception) -> Exception:
    """The only failure of a task group as itself."""
    while isinstance(failure, ExceptionGroup) and len(failure.exceptions) == 1:
        failure = failure.exceptions[0]
    return failure
