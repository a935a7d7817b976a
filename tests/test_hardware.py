"""Every set-up in hardware/: what can be bought, wired, configured and simulated is held against itself."""

import csv
import heapq
import re
import tomllib
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from gateway import config, driver
from gateway.catalogue import METRICS, normalise
from gateway.driver import Context
from gateway.event import Reading
from rules.load import load as load_rules
from rules.trial import run

hardware = Path(__file__).parent.parent / "hardware"
setups = sorted(path.parent for path in hardware.glob("*/redcar.toml"))
each_setup = pytest.mark.parametrize("setup", setups, ids=lambda path: path.name)

# The 40-pin header of every Raspberry Pi since the B+: what isn't power or ground is a GPIO, and stands 3.3 V at most.
PI = {str(pin): {"volts": 3.3} for pin in range(1, 41)}
PI |= {str(pin): {"volts": 5.0} for pin in (2, 4)}
PI |= {str(pin): {"volts": 0.0} for pin in (6, 9, 14, 20, 25, 30, 34, 39)}


def test_there_are_setups_and_the_index_has_them() -> None:
    assert setups
    index = (hardware / "README.md").read_text()
    assert set(re.findall(r"\]\(([\w-]+)/README\.md\)", index)) == {setup.name for setup in setups}


@each_setup
def test_nothing_is_missing(setup: Path) -> None:
    for name in ("README.md", "bom.csv", "wiring.toml", "redcar.toml", "twin.toml", "rules"):
        assert (setup / name).exists(), name


@each_setup
def test_bill_of_materials_is_complete(setup: Path) -> None:
    with (setup / "bom.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    assert list(rows[0]) == ["ref", "qty", "part", "mpn", "supplier", "alternative"]
    for row in rows:
        assert all(value and value == value.strip() for value in row.values()), row
        assert int(row["qty"]) > 0
    assert len({row["ref"] for row in rows}) == len(rows)


def faults(wiring: dict[str, Any]) -> list[str]:
    """What would not work, or would not work twice."""
    parts = {"pi": PI} | {name: pins for name, pins in wiring.items() if name != "wire"}
    used: set[str] = set()
    wrong = []
    for wire in wiring["wire"]:
        ends = []
        for end in (wire["from"], wire["to"]):
            part, _, pin = end.partition(".")
            if pin not in parts.get(part, {}):
                wrong.append(f"{end} isn't a pin")
                continue
            ends.append(parts[part][pin])
            if end in used and ends[-1].get("function") != "ground" and ends[-1]["volts"]:
                wrong.append(f"{end} has two wires")
            used.add(end)
        if len(ends) == 2 and ends[0]["volts"] != ends[1]["volts"]:
            wrong.append(f"{wire['from']} and {wire['to']} differ in voltage")
        if [one.get("function") for one in ends] in (["in", "in"], ["out", "out"]):
            wrong.append(f"{wire['from']} and {wire['to']} both listen, or both speak")
        if not wire.get("colour"):
            wrong.append(f"{wire['from']} has no colour")
    return wrong


@each_setup
def test_wiring(setup: Path) -> None:
    assert faults(tomllib.loads((setup / "wiring.toml").read_text())) == []


def test_wiring_mistakes_are_found() -> None:
    sensor = {"1": {"function": "supply", "volts": 5.0}, "2": {"function": "out", "volts": 3.3}}
    sensor["3"] = {"function": "in", "volts": 3.3}
    adapter = {"rx": {"function": "in", "volts": 3.3}}
    wires = [
        ("pi.2", "sensor.1"),
        ("pi.4", "sensor.2"),
        ("pi.8", "sensor.3"),
        ("pi.8", "sensor.9"),
        ("sensor.3", "adapter.rx"),
    ]
    wiring: dict[str, Any] = {"sensor": sensor, "adapter": adapter}
    wiring["wire"] = [{"from": a, "to": b, "colour": "red"} for a, b in wires]
    del wiring["wire"][0]["colour"]
    assert faults(wiring) == [
        "pi.2 has no colour",
        "pi.4 and sensor.2 differ in voltage",
        "pi.8 has two wires",
        "sensor.9 isn't a pin",
        "sensor.3 has two wires",
        "sensor.3 and adapter.rx both listen, or both speak",
    ]


@each_setup
def test_twin_differs_in_links_and_log_only(setup: Path) -> None:
    real, twin = config.load(setup / "redcar.toml"), config.load(setup / "twin.toml")
    assert all(binding.link.startswith("sim:?seed=") for binding in twin.binding)
    assert not any(binding.link.startswith("sim:") for binding in real.binding)
    assert len({binding.link for binding in twin.binding}) == len(twin.binding), "equal seeds make equal devices"
    assert real.gateway.data != twin.gateway.data
    twin.gateway.data = real.gateway.data
    for ours, theirs in zip(real.binding, twin.binding, strict=True):
        theirs.link = ours.link
    assert msgspec.to_builtins(real) == msgspec.to_builtins(twin)


def simulated(setup: Path, seconds: float) -> dict[str, list[tuple[float, dict[str, Any]]]]:
    """What the twin's devices say in that time, as the log would have it: source -> (second, values)."""
    said: dict[str, list[tuple[float, dict[str, Any]]]] = {}
    newest: dict[str, int | None] = {}
    queue: list[tuple[float, int, Any]] = []
    bound = []
    for number, binding in enumerate(config.load(setup / "twin.toml").binding):
        found = driver.load(binding.driver)
        items = found.twin(binding, Random(int(binding.link.partition("seed=")[2])))
        bound.append((found, binding, Context(binding), items, bytearray()))
        heapq.heappush(queue, (0.0, number, None))
    while queue:
        at, number, item = heapq.heappop(queue)
        found, binding, context, items, buffer = bound[number]
        if isinstance(item, bytes | bytearray):
            buffer += item
            item = buffer
        for reading in found.decode(item, context) if item is not None else ():
            assert isinstance(reading, Reading)
            values, marks, _ = normalise(reading)
            assert not marks
            source = binding.names.get(reading.source or "", binding.source)
            if reading.sequence is None or reading.sequence != newest.get(source):  # a repeat is stored once
                said.setdefault(source, []).append((at, values))
            newest[source] = reading.sequence
        wait, following = next(items)
        if at + wait <= seconds:
            heapq.heappush(queue, (at + wait, number, following))
        assert not context.drops
    return said


@each_setup
def test_twin_sends_what_the_readme_promises(setup: Path) -> None:
    rows = re.findall(r"^\| ([\w/-]+) \| ([\w, ]+) \| (\d+) s \|$", (setup / "README.md").read_text(), re.MULTILINE)
    promised = {source: (set(metrics.split(", ")), int(every)) for source, metrics, every in rows}
    said = simulated(setup, 3600)
    assert set(said) == set(promised)
    for source, (metrics, every) in promised.items():
        seen = said[source]
        assert {metric for _, values in seen for metric in values} == metrics
        assert metrics <= set(METRICS)
        assert len(seen) <= 3600 / every * 1.05
        assert seen[-1][0] - seen[0][0] > 3000


@each_setup
def test_a_seed_makes_every_run_the_same(setup: Path) -> None:
    assert simulated(setup, 600) == simulated(setup, 600)


@each_setup
def test_rules_pass_their_own_tests(setup: Path) -> None:
    rules = load_rules([setup / "rules"])
    assert rules.rules
    for rule in rules.rules:
        assert rule.trials, f"{rule.name} has no test"
        for trial in rule.trials:
            assert run(rules.only(rule.name), rule.name, trial) == list(trial.expect), f"{rule.name}: {trial.name}"


@each_setup
def test_rules_look_at_devices_that_exist(setup: Path) -> None:
    sources = {
        source
        for binding in config.load(setup / "redcar.toml").binding
        for source in [*binding.names.values(), binding.source]
    }
    for rule in load_rules([setup / "rules"]).rules:
        assert any(rule.matches(source) for source in sources), rule.name
