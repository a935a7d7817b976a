"""What holds for the whole run."""

import os
import sys
import threading

import pytest

_ended: list[int] = []


def pytest_sessionfinish(exitstatus: int) -> None:
    """Remember how it went."""
    _ended.append(int(exitstatus))


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """A story that failed half-way leaves threads that wait for work: they would keep the process for ever."""
    left = [one.name for one in threading.enumerate() if one is not threading.main_thread() and not one.daemon]
    if left and _ended:
        print(f"left running: {', '.join(left)}", flush=True)
        sys.stderr.flush()
        os._exit(_ended[-1] or 1)
