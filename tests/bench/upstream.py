"""The far end of the whole job: a subscriber that counts the readings in what the gateway forwards. A process of its own:

    python -m tests.bench.upstream PORT COUNT      prints "ready", then, once it has COUNT readings, when that was

It looks for bytes and parses nothing, so that it takes little of the machine that is measured.
"""

import sys
import time

from tests.bench import wire

MARK = b'"type":"reading"'
"""Once in every reading that is forwarded as a CloudEvent."""


def main(port: int, count: int) -> None:
    """Count until all are there. Raises ConnectionError if the broker goes away."""
    link = wire.dial(port, "far-end")
    link.sendall(wire.subscribe("gateways/#"))
    wire.exactly(link, 5)
    print("ready", flush=True)
    link.settimeout(120)
    seen, tail = 0, b""
    while seen < count:
        data = link.recv(1 << 20)
        if not data:
            raise ConnectionError(f"the broker closed after {seen} of {count} readings")
        data = tail + data
        seen += data.count(MARK)
        tail = data[1 - len(MARK) :]
    print(time.monotonic(), seen, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
