"""The clock's judgement, with time sources that the test moves by hand."""

import time
from pathlib import Path

import pytest

from gateway.clock import Clock, Era, Synchronisation, boot_id
from gateway.event import SECOND
from tests.clocks import NOW, Machine


def test_times_are_in_microseconds() -> None:
    clock = Machine().clock()
    assert clock.now() == NOW
    assert clock.monotonic() == 5 * SECOND
    assert clock.boot == "boot-1"


@pytest.mark.parametrize("moved", [20_000 * 86_400, 3600, 1.001, -1.001, -3600, -20_000 * 86_400])
def test_a_step_begins_an_era_once(moved: float) -> None:
    machine = Machine()
    clock = machine.clock()
    first = clock.era()
    apart = first.apart
    machine.passes(2)
    assert clock.era() is first
    machine.wall += round(moved * SECOND)
    second = clock.era()
    assert second is not first
    assert (first.apart, second.apart - apart) == (apart, round(moved * SECOND))
    machine.passes(2)
    assert clock.era() is second


@pytest.mark.parametrize("trust", [True, False])
def test_a_second_and_less_is_no_step(trust: bool) -> None:
    machine = Machine()
    clock = machine.clock(trust)
    era = clock.era()
    for moved in (1.0, -1.0, 0.5):
        machine.passes(10)
        machine.wall += round(moved * SECOND)
        assert clock.era() is era


def test_slow_corrections_of_a_trusted_clock_never_add_up_to_a_step() -> None:
    machine = Machine()
    clock = machine.clock(trust=True)
    era = clock.era()
    for _ in range(10_000):
        machine.passes(5)
        machine.wall += 2500  # 500 ppm, the fastest the kernel slews
        assert clock.era() is era
    assert era.apart == machine.wall - machine.monotonic


def test_a_clock_that_nobody_confirms_drifts_by_a_second_in_an_era() -> None:
    machine = Machine()
    clock = machine.clock()
    eras: list[Era] = []
    for _ in range(1_000):
        machine.passes(5)
        machine.wall += 2500
        era = clock.era()
        if not eras or era is not eras[-1]:
            eras.append(era)
        assert abs(machine.wall - machine.monotonic - era.apart) <= SECOND
    assert len(eras) == 3


def test_trust_won_and_lost_begins_an_era() -> None:
    machine = Machine()
    clock = machine.clock()
    eras = [clock.era()]
    for machine.synchronised in (True, False):
        machine.passes(5)
        eras.append(clock.era())
    assert [era.trusted for era in eras] == [False, True, False]


def test_clock_is_trusted_once_it_is_confirmed() -> None:
    machine = Machine(wall=0)
    clock = machine.clock()
    assert not clock.trusted()
    machine.synchronised = True
    machine.passes(5)
    assert clock.trusted()


def test_the_system_is_asked_at_most_every_five_seconds() -> None:
    machine = Machine()
    clock = machine.clock()
    for _ in range(100):
        clock.trusted()
        machine.passes(0.1)
    assert machine.asked == 2


def test_a_wall_clock_set_back_doesnt_stop_the_asking() -> None:
    machine = Machine()
    clock = machine.clock()
    clock.trusted()
    machine.wall = 0
    machine.monotonic += 5 * SECOND
    machine.synchronised = True
    assert clock.trusted()


def test_operator_vouches_for_the_clock() -> None:
    machine = Machine()
    assert machine.clock(trust=True).trusted()
    assert machine.asked == 0


def test_timesyncds_mark_is_believed(tmp_path: Path) -> None:
    (tmp_path / "synchronized").touch()
    assert Synchronisation(tmp_path / "synchronized")()


def test_without_a_mark_the_kernel_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for answer in (True, False):
        monkeypatch.setattr("gateway.clock._kernel", lambda answer=answer: answer)
        assert Synchronisation(tmp_path / "absent")() is answer


@pytest.mark.parametrize(("answer", "want"), [("b true", True), ("b false", False), ("", False)])
def test_where_the_kernel_cant_be_asked_timedate1_is(
    answer: str, want: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busctl = tmp_path / "busctl"
    go = tmp_path / "go"
    busctl.write_text(f"#!/bin/sh\nwhile [ ! -e {go} ]; do sleep 0.01; done\necho '{answer}'\n")
    busctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("gateway.clock._kernel", lambda: None)
    sync = Synchronisation(tmp_path / "absent")
    assert not sync()  # the question is on its way
    go.touch()
    assert sync._asking is not None
    sync._asking.join(30)
    assert sync() is want
    sync._asking.join(30)


def test_nobody_to_ask_means_no_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("gateway.clock._kernel", lambda: None)
    sync = Synchronisation(tmp_path / "absent")
    sync()
    assert sync._asking is not None
    sync._asking.join(30)
    assert not sync()
    sync._asking.join(30)


def test_this_machines_clocks_can_be_read() -> None:
    clock = Clock()
    assert abs(clock.now() - time.time() * SECOND) < 60 * SECOND
    first = clock.monotonic()
    assert clock.monotonic() >= first
    assert clock.boot == boot_id()
    assert clock.trusted() in (True, False)
    assert clock.era() is clock.era()
