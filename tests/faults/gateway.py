"""``redcar`` with a short breath: a failed disk is tried again every 0.3 s, not every 30, ages are looked at every half second,
and the clock is confirmed while the file named by CONFIRMED exists (it is asked every 5 s, as ever).

python -m tests.faults.gateway run --config FILE
"""

import os
import sys
from functools import partial
from pathlib import Path

from gateway import app, cli, clock
from gateway.store import care
from gateway.store.log import Pace

program = [sys.executable, "-m", "tests.faults.gateway"]

if __name__ == "__main__":
    care.every = 0.5
    setattr(app, "Pace", partial(Pace, retry=0.3))
    if "CONFIRMED" in os.environ:
        mark = Path(os.environ["CONFIRMED"])
        setattr(clock.Synchronisation, "__call__", lambda self: mark.exists())
    sys.exit(cli.main())
