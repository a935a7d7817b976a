"""The longer campaign: kills, storms and power cuts, until the time is up. It stops at the first promise that is broken.

    make faults                              ten minutes, with a seed it prints
    make faults ARGS="--minutes 60 --seed 7"

The seed repeats the moments that were drawn; what the machine made of them may differ.
"""

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random, SystemRandom
from tempfile import TemporaryDirectory

from gateway.hub.packets import V5, V311
from tests.faults import test_kill, test_kill_at, test_kill_hub, test_power_cut, test_storm

Round = Callable[[Path, Random], tuple[int, str]]
"""Gives how many it did, and what there is to say about them. Raises AssertionError with the promise that was broken."""


def kills_of_a_store(folder: Path, rng: Random) -> tuple[int, str]:
    """At system calls: within commits, checkpoints, trims, merges, starts."""
    life = test_kill_at.lives(folder, rng, 25)
    batches = sum(line.startswith("acknowledged") for line in life.said)
    return life.kills, f"{batches} batches acknowledged, 0 lost"


def kills_of_a_salvage(folder: Path, rng: Random) -> tuple[int, str]:
    """While a damaged log is set aside, and salvaged."""
    return test_kill_at.salvaged(folder, rng, 8), "0 lost"


def kills_of_a_gateway(folder: Path, rng: Random) -> tuple[int, str]:
    """Under load, with rules and two archives: at random moments, at system calls, in the start."""
    acknowledged = test_kill.killed(folder, rng, 20)
    return 20, f"{acknowledged} messages acknowledged, 0 lost; no alarm forgotten or repeated"


def kills_of_a_hub(folder: Path, rng: Random) -> tuple[int, str]:
    """Between a publisher and a subscriber at QoS 2, at random moments and at system calls."""
    topic = rng.choice(("q", test_kill_hub.claimed))
    arrived = test_kill_hub.killed(folder, rng, rng.choice((V311, V5)), 15, topic)
    return 15, f"{arrived} messages at QoS 2, each stored and delivered once, in order"


def kills_between_workers(folder: Path, rng: Random) -> tuple[int, str]:
    """The same with two subscribers that share the work."""
    qos = rng.choice((1, 2))
    arrived = test_kill_hub.shared(folder, rng, rng.choice((V311, V5)), 15, qos)
    return 15, f"{arrived} messages shared at QoS {qos}, 0 lost{'' if qos == 1 else ', 0 twice'}"


def storms(folder: Path, rng: Random) -> tuple[int, str]:
    """Nobody is killed, but clients come and go all the time, and all that may take long does."""
    for n in range(10):
        asyncio.run(test_storm.storm(folder / str(n), rng, rng.choice((V311, V5)), rng.choice((1, 2))))
    return 10, f"{10 * test_storm.messages} messages, 0 lost; at QoS 2 0 twice"


def power_cuts(folder: Path, rng: Random) -> tuple[int, str]:
    """As SQLite syncs for us: nothing may be missing."""
    states = 800
    made = test_power_cut.recorded(folder, rng.choice((40, 120, 250)))
    broken = [one for one in test_power_cut.broken(made, rng, states, folder / "data") if one]
    assert broken == []
    return states, "0 lost, 0 corrupt"


def fewer_syncs(folder: Path, rng: Random) -> tuple[int, str]:
    """The control: as it would be with fewer syncs, or none. Something must be missing, or this notices nothing."""
    states, said = 50, []
    for synchronous in ("normal", "off"):
        (folder / synchronous).mkdir()
        made = test_power_cut.recorded(folder / synchronous, 60, synchronous)
        found = test_power_cut.broken(made, rng, states, folder / synchronous / "data")
        assert any(found), f"synchronous={synchronous} broke nothing"
        said.append(f"{synchronous}: {sum(map(bool, found))} of {states} broke a promise, as they must")
    return 2 * states, "; ".join(said)


rounds: dict[str, Round] = {
    "kills of a store": kills_of_a_store,
    "kills of a gateway": kills_of_a_gateway,
    "kills of a hub": kills_of_a_hub,
    "kills of a hub with workers": kills_between_workers,
    "storms of clients": storms,
    "kills of a salvage": kills_of_a_salvage,
    "power cuts": power_cuts,
    "power cuts with fewer syncs": fewer_syncs,
}


def main() -> int:
    """Round by round, each kind in its turn."""
    parser = argparse.ArgumentParser(prog="make faults ARGS=...")
    parser.add_argument("--minutes", type=float, default=10.0, help="begin no round after that (10)")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(1_000_000))
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)  # the logs say what was done to them
    end = time.monotonic() + 60 * asked.minutes
    done = dict.fromkeys(rounds, 0)
    rng = Random(asked.seed)
    print(f"seed {asked.seed}", flush=True)
    while time.monotonic() < end:
        for name, round in rounds.items():
            if time.monotonic() >= end:
                break
            with TemporaryDirectory(prefix="redcar-faults-") as folder:
                try:
                    count, said = round(Path(folder), rng)
                except AssertionError as error:
                    print(f"{name}: BROKEN, with seed {asked.seed}: {error}")
                    return 1
            done[name] += count
            print(f"{name:28} {count:5}   {said}", flush=True)
    print("\n" + "\n".join(f"{name:28} {count:5}" for name, count in done.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
